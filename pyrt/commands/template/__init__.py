# SPDX-License-Identifier: Apache-2.0
"""Templates for `--format`: the subset of Go's text/template that docker's users type.

A template runs in the daemon, so it is bounded: in length, depth, steps and output. It sees nothing but the values it
is given, and calls nothing but the functions of pyrt.commands.template.functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pyrt.commands.template.evaluator import Evaluator
from pyrt.commands.template.functions import FUNCTIONS, LAZY
from pyrt.commands.template.parser import Parser
from pyrt.commands.template.tokens import TemplateError
from pyrt.commands.template.values import ValueProblem, get_field

__all__ = ["Template", "TemplateError"]


class Template:
    """A template that has been read. Raises TemplateError for one that is wrong.

    `known`, if given, are the fields of the objects it will see: another one is an error at once, objects or none.
    """

    def __init__(self, text: str, known: Collection[str] = ()) -> None:
        tree = Parser(text, frozenset(FUNCTIONS) | LAZY).parse()
        self._nodes = tree.nodes
        self.fields = frozenset(tree.fields)
        for name, position in tree.fields.items() if known else ():
            try:
                get_field(dict.fromkeys(known), name)
            except ValueProblem as problem:
                raise TemplateError(position, str(problem)) from None

    def render(self, value: Any, substitutes: Mapping[str, str] | None = None) -> str:
        """Return what the template makes of a value. Raises TemplateError.

        `substitutes` may name functions that stand in for others: {"json": "print"}.
        """
        return Evaluator(value, substitutes or {}).run(self._nodes)
