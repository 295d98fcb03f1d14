# SPDX-License-Identifier: Apache-2.0
"""The command line's grammar, seen from a command's side."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.commands.flags import (
    Flag,
    HelpWanted,
    Options,
    duration,
    natural,
    parse,
    shown,
    size_bytes,
    size_or_unlimited,
    usage,
)
from pyrt.errors import UsageError

FLAGS = (
    Flag("detach", "d", help="Run in the background"),
    Flag("interactive", "i"),
    Flag("tty", "t"),
    Flag("rm"),
    Flag("no-trunc"),
    Flag("env", "e", kind=list, metavar="NAME[=VALUE]", help="Set a variable"),
    Flag("memory", "m", kind=size_bytes, default=0, metavar="BYTES"),
    Flag("name", kind=str, default=""),
    Flag("hostname", "h", kind=str, default=""),
)


def read(*words: str, flags: tuple[Flag, ...] = FLAGS) -> tuple[Options, list[str]]:
    return parse("run", flags, words)


def test_nothing_given() -> None:
    options, arguments = read()
    assert (options.detach, options.env, options.memory, options.name) == (False, [], 0, "")
    assert arguments == []


@pytest.mark.parametrize("words", [["-d"], ["--detach"], ["-detach"], ["-d=true"], ["--detach=1"], ["-detach=T"]])
def test_a_switch_in_every_spelling(words: list[str]) -> None:
    assert read(*words)[0].detach is True


def test_a_switch_turned_off() -> None:
    assert read("-d", "--detach=false")[0].detach is False


@pytest.mark.parametrize(
    "words", [["-e", "A=b=c"], ["-e=A=b=c"], ["--env", "A=b=c"], ["--env=A=b=c"], ["-env", "A=b=c"]]
)
def test_a_value_in_every_spelling(words: list[str]) -> None:
    assert read(*words, "image")[0].env == ["A=b=c"]


def test_lists_keep_their_order_and_are_not_shared_between_calls() -> None:
    assert read("-e", "A", "-e=B", "--env", "C")[0].env == ["A", "B", "C"]
    assert read()[0].env == []


def test_clusters() -> None:
    options, arguments = read("-it", "-die", "A", "image")
    assert (options.interactive, options.tty, options.detach, options.env) == (True, True, True, ["A"])
    assert arguments == ["image"]


def test_the_long_name_wins_over_a_cluster() -> None:
    flags = (Flag("rm"), Flag("r", "r"), Flag("m", "m"))
    options, _ = read("-rm", flags=flags)
    assert (options.rm, options.r, options.m) == (True, False, False)


@pytest.mark.parametrize("word", ["-notrunc", "--no-trunc", "--notrunc", "-no-trunc"])
def test_the_spelling_of_docker_010(word: str) -> None:
    assert read(word)[0].no_trunc is True


def test_the_first_word_that_is_no_flag_ends_them() -> None:
    assert read("-d", "image", "-i", "--rm")[1] == ["image", "-i", "--rm"]
    assert read("-d", "--", "-i")[1] == ["-i"]
    assert read("-", "-d")[1] == ["-", "-d"]
    assert read("", "-d")[1] == ["", "-d"]


def test_the_last_value_counts() -> None:
    assert read("-m", "1k", "-m=2k")[0].memory == 2048


@pytest.mark.parametrize("word", ["--help", "-help", "--help=x"])
def test_help(word: str) -> None:
    with pytest.raises(HelpWanted):
        read("-d", word)


def test_h_is_help_only_where_nothing_else_is_h() -> None:
    assert read("-h", "box")[0].hostname == "box"
    with pytest.raises(HelpWanted):
        read("-h", flags=(Flag("all", "a"),))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--x"], "unknown flag --x; see 'pyrt run --help'"),
        (["-x"], "unknown flag -x"),
        (["--d"], "unknown flag --d"),
        (["-dx"], "unknown flag -dx"),
        (["-p80:80"], "unknown flag -p80:80"),
        (["-m64m"], "unknown flag -m64m"),
        (["-em", "1"], "unknown flag -em"),
        (["---detach"], "unknown flag ---detach"),
        (["--=x"], "unknown flag --"),
        (["-=x"], "unknown flag -"),
        (["--env"], "flag --env needs a value"),
        (["-it", "-e"], "flag -e needs a value"),
        (["--memory=lots"], "invalid value 'lots' for --memory: expected a size"),
        (["--memory="], "invalid value '' for --memory"),
        (["-d=maybe"], "invalid value 'maybe' for --detach: expected true or false"),
        (["--a\nb\x1b[31m"], r"unknown flag '--a\nb\x1b[31m'"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_converters_fault_names_the_metavar() -> None:
    with pytest.raises(UsageError, match="invalid value 'x' for --count: expected NUMBER"):
        read("--count", "x", flags=(Flag("count", kind=int, default=0, metavar="NUMBER"),))


def test_an_undeclared_option_is_a_programmers_error() -> None:
    with pytest.raises(AttributeError):
        _ = read()[0].nonsense


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_words_give_options_or_a_usage_error(words: list[str]) -> None:
    try:
        _, arguments = read(*words)
    except (UsageError, HelpWanted):
        return
    assert arguments == words[len(words) - len(arguments) :]


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("1k", 1024), ("64m", 64 << 20), ("64M", 64 << 20), ("64mb", 64 << 20),
     ("64MiB", 64 << 20), ("1.5g", 3 << 29), ("2t", 2 << 40), ("10b", 10)],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "m", "-1", "1x", "1 m", "1.m", "0x10", "٣", "1e3", "9" * 30, "9" * 5000, "1.5.5g"]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises((UsageError, ValueError)):
        size_bytes(text)


def test_a_size_or_no_limit() -> None:
    assert (size_or_unlimited("-1"), size_or_unlimited("1k")) == (-1, 1024)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("2.5s", 2.5), ("500ms", 0.5), ("1h30m", 5400), ("1d", 86400), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1", "1h 30m", "1y", "1h30", "nan", "inf", "9" * 12, "x10s"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        duration(text)


def test_numbers() -> None:
    assert natural("42") == 42
    for text in ("", "-1", "1.0", "9" * 19, "٣"):
        with pytest.raises(UsageError):
            natural(text)


def test_usage_comes_from_the_declaration() -> None:
    command: Any = SimpleNamespace(
        __doc__="Run a command\n\nMore.", USAGE="[OPTIONS] IMAGE", FLAGS=FLAGS[:1] + FLAGS[5:6]
    )
    assert usage("run", command) == (
        "Usage: pyrt run [OPTIONS] IMAGE\n"
        "\n"
        "Run a command\n"
        "\n"
        "  -d, --detach            Run in the background\n"
        "  -e, --env NAME[=VALUE]  Set a variable\n"
    )
    command.FLAGS = (*command.FLAGS, Flag("long", kind=str, metavar="X" * 40, help="Below"))
    assert usage("run", command).endswith(
        f"  -e, --env NAME[=VALUE]  Set a variable\n      --long {'X' * 40}\n{'':26}Below\n"
    )
    bare: Any = SimpleNamespace(__doc__="Show it", USAGE="")
    assert usage("show", bare) == "Usage: pyrt show\n\nShow it\n"


def test_shown_is_printable_and_short() -> None:
    assert shown("plain") == "plain"
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 10_000)) == 80
