# SPDX-License-Identifier: Apache-2.0
"""Templates: what docker's users type, what is wrong with what they mistype, and that nothing breaks the evaluator."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrt.commands.template import Template, TemplateError

WEB: dict[str, Any] = {
    "ID": "4f5e",
    "Names": "web",
    "Running": True,
    "Pid": 812,
    "Load": 1.5,
    "Size": 1048576.0,
    "Nothing": None,
    "Empty": [],
    "Config": {"Env": ["A=1", "B=two words"], "Image": "bb", "Cmd": ["sleep", "<60>"]},
    "Ports": {"80/tcp": [{"HostPort": "8099"}], "443/tcp": []},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        (r"{{.ID}}\t{{.Names}}\n", "4f5e\tweb\n"),
        ("{{ .Config.Image }}", "bb"),
        ("{{.config.image}}", "bb"),
        ("{{.Running}} {{.Pid}} {{.Load}} {{.Size}} {{.Nothing}}", "true 812 1.5 1048576 <no value>"),
        ("{{.Config.Env}}", "[A=1 B=two words]"),
        ("{{.Ports}}", "map[443/tcp:[] 80/tcp:[map[HostPort:8099]]]"),
        ("{{json .Config}}", '{"Env":["A=1","B=two words"],"Image":"bb","Cmd":["sleep","<60>"]}'),
        ("{{.Config | json | len}}", "65"),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=two words;"),
        ("{{range $i, $e := .Config.Env}}{{$i}}={{$e}} {{$.ID}};{{end}}", "0=A=1 4f5e;1=B=two words 4f5e;"),
        ("{{range $port, $_ := .Ports}}{{$port}} {{end}}", "443/tcp 80/tcp "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range .Nothing}}x{{end}}", ""),
        ('{{range $e := .Config.Env}}{{if eq $e "A=1"}}{{continue}}{{end}}{{$e}}{{break}}{{end}}', "B=two words"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8099"),
        ('{{index .Ports "80/tcp" 0 "HostPort"}}', "8099"),
        ('{{index .Ports "1/udp"}}', ""),
        ("{{if .Running}}up{{else}}down{{end}}", "up"),
        ("{{if .Nothing}}a{{else if .Empty}}b{{else}}c{{end}}", "c"),
        ("{{with .Config}}{{.Image}} of {{$.ID}}{{end}}", "bb of 4f5e"),
        ("{{with .Empty}}{{.X}}{{else}}nothing{{end}}", "nothing"),
        ("{{with $c := .Config}}{{$c.Image}}{{end}}", "bb"),
        ("{{$n := 0}}{{range .Config.Env}}{{$n = len .}}{{end}}{{$n}}", "11"),
        ("{{len .Names}} {{len .Config.Env}}", "3 2"),
        ('{{join .Config.Cmd " "}}', "sleep <60>"),
        ('{{index (split "a,b,c" ",") 1}}', "b"),
        ('{{upper .Names}} {{lower "ABC"}} {{title "up for long"}}', "WEB abc Up For Long"),
        (
            '{{printf "%-6s|%5d|%05.1f|%q|%v|%x|%%" .Names .Pid .Load "a\\"b" .Empty 255}}',
            'web   |  812|001.5|"a\\"b"|[]|ff|%',
        ),
        ('{{"a" | printf "%s-%s" "b"}}', "b-a"),
        ('{{print "a" 1 2 "b"}}{{println "c" 3}}', "a1 2bc 3\n"),
        (
            '{{eq .Pid 1 812}} {{ne .Names "x"}} {{lt 1 2}} {{le 2 2}} {{gt 1 2}} {{ge 1.5 2}}',
            "true true true true false false",
        ),
        ('{{and .Running .Names}} {{or .Nothing .Empty "last"}} {{not .Running}}', "web last false"),
        ("{{or .Running (index .Empty 5)}}", "true"),
        (
            "{{slice .ID 1 3}} {{slice .Config.Env 1}} {{truncate .ID 2}}|{{pad .ID 1 2}}|",
            "f5 [B=two words] 4f| 4f5e  |",
        ),
        ("a  {{- .ID -}}  b", "a4f5eb"),
        ("a {{- /* remark }} */ -}} b {{/* */}}c", "ab c"),
        ("{{-3}} {{- 4}}", "-34"),
        ("{{`raw \\t`}}{{\"\\t\\u00e9\\x41\\101\"}}{{'a'}}", "raw \\t\té" + "AA97"),
        ("{{true}} {{nil}} {{0x10}} {{.5}}", "true <no value> 16 0.5"),
        ("}} {", "}} {"),
    ],
)
def test_render(template: str, text: str) -> None:
    assert Template(template).render(WEB) == text


@pytest.mark.parametrize(
    ("template", "position", "text"),
    [
        ("{{.ID", 1, "'{{' without '}}'"),
        ("ab {{", 4, "'{{' without '}}'"),
        ("{{}}", 3, "a value is missing"),
        ("{{.ID | }}", 8, "a value is missing"),
        ("{{#}}", 3, "unexpected '#'"),
        ('{{"abc}}', 3, "unexpected '\"'"),
        ('{{"a\\d"}}', 5, "no such escape"),
        ('{{"\\ud800"}}', 4, "no such character"),
        ("{{'ab'}}", 3, "one character"),
        ("{{1e99}}", 3, "too large"),
        ("{{nosuch .ID}}", 3, "'nosuch' is no function; there are and eq ge"),
        ('{{template "x"}}', 3, "'template' is no function"),
        ('{{define "x"}}{{end}}', 3, "'define' is no function"),
        ("{{$x}}", 3, "undefined variable $x"),
        ("{{$x = 1}}", 3, "cannot be assigned to: $x"),
        ("{{if .ID}}{{$x := 1}}{{end}}{{$x}}", 31, "undefined variable"),
        ("{{if .ID}}", 3, "'if' without 'end'"),
        ("{{range .Config.Env}}{{else}}", 3, "'range' without 'end'"),
        ("{{end}}", 3, "'end' without"),
        ("x{{else}}", 4, "'else' without"),
        ("{{break}}", 3, "outside of 'range'"),
        ("{{(len .ID}}", 11, "')' is missing"),
        ("{{.ID .Names}}", 7, "only a function takes arguments"),
        ("{{.ID | .Names}}", 9, "only a function can follow"),
        ("{{.ID.\x00}}", 7, "unexpected '\\x00'"),
        ("{{.Nosuch}}", 3, "there is no field .Nosuch; there are .ID .Names"),
        ("{{.Config.Nosuch}}", 3, "there is no field .Nosuch; there are .Env .Image .Cmd"),
        ("{{.ID.Length}}", 3, "text has no field .Length"),
        ("{{index .Empty 0}}", 3, "index: index 0 is out of range: there are 0"),
        ("{{index .Pid 0}}", 3, "index: a number cannot be indexed"),
        ("{{len .Pid}}", 3, "len: a number has no length"),
        ("{{len}}", 3, "len wants 1 arguments and got 0"),
        ("{{upper .Pid}}", 3, "upper: expected text, not a number"),
        ("{{eq .Pid .Names}}", 3, "a number and text cannot be compared"),
        ("{{lt .Empty .Empty}}", 3, "have no order"),
        ('{{printf "%d" .ID}}', 3, "%d cannot show text"),
        ('{{printf "%d"}}', 3, "nothing is left for %d"),
        ('{{printf "x" 1}}', 3, "no place for 1"),
        ('{{printf "%999999999d" 1}}', 3, "at most 1000 wide"),
        ("{{range .Pid}}{{end}}", 9, "range cannot go over a number"),
        ("{{and}}", 3, "and wants arguments"),
    ],
)
def test_errors_say_what_and_where(template: str, position: int, text: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(template).render(WEB)
    assert str(caught.value).startswith(f"template, character {position}: ")
    assert text in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1200


def test_unknown_fields_are_told_before_there_is_an_object() -> None:
    known = ["ID", "Names"]
    assert Template("{{.id}}{{range .Names}}{{.Whatever}}{{end}}", known).fields == {"id", "Names"}
    for wrong in ("{{.Name}}", "{{range .Names}}{{$.Name}}{{end}}", "{{if .Names}}{{.Name}}{{end}}"):
        with pytest.raises(TemplateError, match=r"there is no field \.Name; there are \.ID \.Names"):
            Template(wrong, known)


@pytest.mark.parametrize(
    "template",
    [
        "{{" + "(" * 5000 + ".ID" + ")" * 5000 + "}}",
        "{{if .ID}}" * 5000,
        "{{if .ID}}{{else if .ID}}" + "{{else if .ID}}" * 3000 + "{{end}}",
        "x" * 100_000,
        "{{range $.Many}}" * 9 + "x" + "{{end}}" * 9,
        '{{$x := "xxxxxxxxxxxxxxxx"}}' + '{{$x = printf "%s%s" $x $x}}' * 60,
        "{{range .Many}}" + '{{printf "%1000s" "x"}}' * 400 + "{{end}}",
        "{{range .Many}}{{json $}}{{end}}",
    ],
)
def test_bombs_are_refused(template: str) -> None:
    started = time.process_time()
    with pytest.raises(TemplateError):
        Template(template).render({"ID": "1", "Many": ["y" * 100] * 1000})
    assert time.process_time() - started < 10


PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        " ",
        "(",
        ")",
        "|",
        ".",
        ".ID",
        ".Config",
        ".Env",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        '"',
        '"a"',
        "`",
        "'",
        "\\",
        "1",
        "-",
        "0x",
        "1.5",
        "if ",
        "else ",
        "end",
        "range ",
        "with ",
        "break",
        "continue",
        "printf ",
        '"%d"',
        "%s",
        "index ",
        "json ",
        "len ",
        "and ",
        "eq ",
        "slice ",
        "split ",
        "join ",
        "true",
        "nil",
        "/*",
        "*/",
        "\n",
        "é",
        "\udc80",
        "\x00",
    ]
)


@settings(max_examples=1500, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join) | st.text(max_size=60))
def test_whatever_is_typed_renders_or_is_a_template_error(text: str) -> None:
    try:
        assert isinstance(Template(text).render(WEB), str)
    except TemplateError as error:
        assert "\n" not in str(error) or "\n" in text


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12).map(lambda pieces: "{{" + " ".join(pieces) + "}}"))
def test_whatever_stands_in_an_action_renders_or_is_a_template_error(text: str) -> None:
    try:
        Template(text).render(WEB)
    except TemplateError:
        pass
