# SPDX-License-Identifier: Apache-2.0
"""The documentation is held to the code: every flag is described, every link leads somewhere, every command exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pyrt.commands.flags import parse
from pyrt.daemon import main
from pyrt.daemon.dispatch import Commands, commands

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
COMMANDS = (REPOSITORY / "docs" / "commands.md").read_text()
LINK = re.compile(r"\]\(([^)\s]+)\)")
TABLE = commands()
VERBS = [verb for verb in TABLE.verbs if TABLE.load(verb)]
INTERNAL_FLAGS = {"background"}  # for the client that starts a daemon
# What is typed at a prompt, a line with one of the scripts, and pyrt's commands within a sentence.
TYPED = re.compile(r"^ {4}\$ (.+)$|^ {4}((?:\w+=\S+ )*scripts/.+)$|`((?:pyrt|scripts/)[^`]*)`", re.MULTILINE)


def section(verb: str) -> str:
    """What docs/commands.md says of a verb, heading included."""
    found = re.search(rf"^## {verb}\b.*?(?=^## |\Z)", COMMANDS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section on {verb}"
    return found[0]


def anchor(heading: str) -> str:
    """The anchor that renderers of Markdown give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def load(verb: str, table: Commands = TABLE) -> Any:
    return table.load(verb)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_every_flag_is_described(verb: str) -> None:
    text = section(verb)
    for flag in getattr(load(verb), "FLAGS", ()):
        assert re.search(rf"`--{flag.name}[` ]", text), f"{verb} --{flag.name}"
        assert not flag.short or re.search(rf"`-{flag.short}[`, ]", text), f"{verb} -{flag.short}"
        assert flag.help and not flag.help.endswith("."), f"{verb} --{flag.name}: {flag.help!r}"


@pytest.mark.parametrize("verb", VERBS)
def test_no_flag_is_described_that_there_is_not(verb: str) -> None:
    flags = getattr(load(verb), "FLAGS", ())
    rows = "\n".join(re.findall(r"^\| (`-.*?) \|", section(verb), re.MULTILINE))
    assert set(re.findall(r"--([\w-]+)", rows)) <= {flag.name for flag in flags}


@pytest.mark.parametrize("verb", VERBS)
def test_the_usage_is_the_headings(verb: str) -> None:
    assert section(verb).splitlines()[0] == f"## {verb} {load(verb).USAGE}".rstrip()


def test_the_options_before_the_command_are_described() -> None:
    for flag in main.FLAGS:
        if flag.name not in INTERNAL_FLAGS:
            assert f"`--{flag.name}" in COMMANDS, flag.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        if "://" in target:
            continue
        path, _, name = target.partition("#")
        linked = document.parent / path if path else document
        assert linked.exists(), target
        if name:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert name in map(anchor, headings), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_shown_exists(document: Path) -> None:
    calls = 0
    for match in TYPED.finditer(document.read_text()):
        line = match[match.lastindex or 0]
        for words in simple_commands(line):
            if words[0].startswith("scripts/"):
                assert (REPOSITORY / words[0]).is_file(), line
            elif words[0] == "pyrt":
                check_call(words[1:], line)
            calls += words[0] == "pyrt"
    assert calls >= (15 if document.name in ("README.md", "commands.md") else 0)


def simple_commands(line: str) -> list[list[str]]:
    """Split a shell line into its commands, without comments, assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;<>()"):
            found.append([])
        elif found[-1] or not re.fullmatch(r"\w+=.*", word):
            found[-1].append(word)
    return [words for words in found if words]


def check_call(words: list[str], line: str) -> None:
    """A pyrt command line as in the documents: its options, its verb and its flags are real ones."""
    while words and words[0].startswith("-"):
        if words[0] in ("--root", "--run-dir", "-H", "--bridge", "--engine"):
            words = words[1:]
        words = words[1:]
    if not words or not words[0].islower():  # -d, or a placeholder such as COMMAND
        return
    assert words[0] in VERBS, line
    if "--help" not in words:
        parse(words[0], getattr(load(words[0]), "FLAGS", ()), words[1:])
