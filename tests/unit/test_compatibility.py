# SPDX-License-Identifier: Apache-2.0
"""docs/compatibility.md is held to the table of verbs, and the old flags to the parser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyrt.commands.flags import parse
from pyrt.daemon.dispatch import commands

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "compatibility.md").read_text()
TABLE = commands()
VERBS = {verb for verb in TABLE.verbs if TABLE.load(verb)}
# The verbs of Docker 0.1.0, and their flags with a value where they take one.
ANCESTORS = {
    "run": [["-d"], ["-i"], ["-t"], ["-e", "A=1"], ["-m", "16777216"], ["-p", "80"], ["-u", "daemon"]],
    "ps": [["-a"], ["-q"], ["-notrunc"]],
    "images": [["-a"], ["-q"]],
    "tag": [["-f"]],
    "attach": [["-i"], ["-o"], ["-e"]],
    **dict.fromkeys(
        "import commit diff history export rmi inspect logs port start stop restart kill rm wait".split(), []
    ),
    **dict.fromkeys("login pull push info version help".split(), []),
}
ROWS = {
    row[1]: [cell.strip() for cell in row[0].strip("|").split("|")]
    for row in re.finditer(r"^\| `(\w+)` \|.*\|$", DOCUMENT, re.MULTILINE)
}


@pytest.mark.parametrize("verb", ANCESTORS)
def test_every_verb_of_the_ancestor_has_a_row_that_is_true(verb: str) -> None:
    assert verb in ROWS, f"docs/compatibility.md has no row for {verb}"
    promised = "not yet" not in ROWS[verb][2]
    assert promised == (verb in VERBS), f"docs/compatibility.md: what it says of {verb!r} is not so (any more)"


@pytest.mark.parametrize("verb", ANCESTORS)
def test_every_flag_of_the_ancestor_is_named_and_taken(verb: str) -> None:
    named = re.findall(r"`(-\w+)`", ROWS[verb][1])
    assert named == [words[0] for words in ANCESTORS[verb]]
    command = TABLE.load(verb)
    for words in ANCESTORS[verb] if command else ():
        _, left = parse(verb, getattr(command, "FLAGS", ()), words)
        assert left == []


def test_no_row_is_about_another_verb() -> None:
    assert set(ROWS) == set(ANCESTORS)
