# SPDX-License-Identifier: Apache-2.0
"""`--format`: how a listing prints its rows, where its own table is not what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyrt.commands.flags import Flag
from pyrt.commands.table import table
from pyrt.commands.template import Template
from pyrt.commands.template.values import to_json

COLUMN_LEAST = 10


def format_flag(short: str | None = None) -> Flag:
    """The flag of a listing; `-f` where that is not its filter."""
    text = "Print 'json', a template such as '{{.ID}}', or 'table {{.ID}}\\t{{.Status}}'"
    return Flag("format", short, kind=str, default="", metavar="TEMPLATE", help=text)


class Format:
    """A `--format` that has been read: `json`, a template for each row, or `table` and a template with tabs.

    `headings` maps the fields of a row to their headings; without it the fields are not known beforehand. Raises
    UsageError for a wrong template.
    """

    def __init__(self, text: str, headings: Mapping[str, str] | None = None) -> None:
        self._headings = headings or {}
        self.table = text == "table" or text.startswith("table ")
        template = text.removeprefix("table").lstrip(" ") if self.table else text
        if self.table and not template:
            template = "\t".join(f"{{{{.{name}}}}}" for name in self._headings)
        self._template = None if text == "json" else Template(template, tuple(self._headings))

    def uses(self, field: str) -> bool:
        """Tell whether a template names this field: one that is costly is only worked out then."""
        return self._template is not None and field in self._template.fields

    def one(self, row: Mapping[str, Any]) -> str:
        """Return what is printed for one row, without the newline. Raises UsageError."""
        return to_json(row) if self._template is None else self._template.render(row)

    def all(self, rows: Iterable[Mapping[str, Any]]) -> str:
        """Return what is printed for all rows. Raises UsageError."""
        texts = [self.one(row) for row in rows]
        if not self.table or self._template is None:
            return "".join(f"{text}\n" for text in texts)
        heading = self._template.render(self._headings, {"json": "print"})
        cells = [text.rstrip("\n").split("\t") for text in (heading, *texts)]
        width = max(map(len, cells))
        return table([[*row, *[""] * (width - len(row))] for row in cells], minimum=COLUMN_LEAST)
