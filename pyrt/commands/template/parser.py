# SPDX-License-Identifier: Apache-2.0
"""The syntax of templates: from tokens to a tree.

The language is Go's text/template without `define`, `template` and `block`, so no template calls itself. Nesting is
bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

from pyrt.commands.template.tokens import TemplateError, Token, number_value, string_value, tokens

MAX_CHARACTERS = 64 << 10
MAX_DEPTH = 40
_LITERALS = {"true": True, "false": False, "nil": None}


@dataclass(frozen=True, slots=True)
class Operand:
    """`.`, `$name`, a literal, a function or a pipeline in parentheses (`kind` tells), and the fields behind it."""

    kind: str
    value: Any
    position: int
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands, each of operands; the value goes to the variables, if there are any."""

    position: int
    commands: tuple[tuple[Operand, ...], ...]
    names: tuple[str, ...] = ()
    declares: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """`if`, `with` or `range`."""

    verb: str
    pipeline: Pipeline
    body: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node = str | Pipeline | Block | Token  # a Token: break or continue


@dataclass(slots=True)
class Tree:
    """A parsed template; `fields` are those of the object itself, with the place of their first use."""

    nodes: tuple[Node, ...] = ()
    fields: dict[str, int] = field(default_factory=dict)


class Parser:
    """Parses one template; `functions` are the names that may be called."""

    def __init__(self, text: str, functions: frozenset[str]) -> None:
        if len(text) > MAX_CHARACTERS:
            raise TemplateError(MAX_CHARACTERS, f"longer than {MAX_CHARACTERS} characters")
        self._tokens = list(tokens(text))
        self._at = 0
        self._functions = functions
        self._variables = ["$"]
        self._loops = 0
        self._depth = 0
        self._inner = 0  # how many blocks around us have changed what "." is
        self.tree = Tree()

    def parse(self) -> Tree:
        """Raises TemplateError."""
        nodes, ending = self._nodes()
        if ending.kind != "end":
            self._fail(ending, f"'{ending.text}' without an 'if', 'with' or 'range'")
        self.tree.nodes = nodes
        return self.tree

    def _fail(self, token: Token, text: str) -> NoReturn:
        raise TemplateError(token.position, text)

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _accept(self, *texts: str) -> Token | None:
        return self._take() if self._next.kind in ("mark", "word") and self._next.text in texts else None

    def _close(self) -> None:
        token = self._take()
        if token.kind != "close":
            self._fail(token, f"unexpected {token.text!r}")

    def _enter(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(token, f"nested more than {MAX_DEPTH} deep")

    def _nodes(self) -> tuple[tuple[Node, ...], Token]:
        """Parse up to the end, or to an `else` or `end`, which is returned taken."""
        found: list[Node] = []
        while (token := self._take()).kind != "end":
            if token.kind == "text":
                found.append(token.text)
                continue
            if word := self._accept("else", "end"):
                return tuple(found), word
            if word := self._accept("if", "with", "range"):
                found.append(self._block(word))
            elif word := self._accept("break", "continue"):
                if not self._loops:
                    self._fail(word, f"'{word.text}' outside of 'range'")
                self._close()
                found.append(word)
            else:
                found.append(self._pipeline())
                self._close()
        return tuple(found), token

    def _block(self, word: Token) -> Block:
        self._enter(word)
        outer = len(self._variables)
        pipeline = self._pipeline(ranging=word.text == "range")
        self._close()
        changes, loops = word.text != "if", word.text == "range"
        self._inner += changes
        self._loops += loops
        body, ending = self._nodes()
        self._inner -= changes
        self._loops -= loops
        otherwise: tuple[Node, ...] = ()
        if ending.text == "else":
            if chained := self._accept("if", "with"):
                otherwise = (self._block(chained),)  # its end is ours
                del self._variables[outer:]
                self._depth -= 1
                return Block(word.text, pipeline, body, otherwise)
            self._close()
            otherwise, ending = self._nodes()
        if ending.text != "end":
            self._fail(word if ending.kind == "end" else ending, f"'{word.text}' without 'end'")
        self._close()
        del self._variables[outer:]
        self._depth -= 1
        return Block(word.text, pipeline, body, otherwise)

    def _pipeline(self, *, ranging: bool = False) -> Pipeline:
        start, names, declares = self._next, self._names(ranging), False
        if names:
            declares = self._take().text == ":="
            for name in names:
                if name == "$" or not declares and name not in self._variables:
                    self._fail(start, f"cannot be assigned to: {name[:40]}")
        commands = [self._command()]
        while self._accept("|"):
            commands.append(self._command())
            if commands[-1][0].kind != "function":
                self._fail(self._tokens[self._at - 1], "only a function can follow '|'")
        if declares:
            self._variables += names
        return Pipeline(start.position, tuple(commands), names, declares)

    def _names(self, ranging: bool) -> tuple[str, ...]:
        """The variables before := or =, which is the next token then."""
        ahead = self._tokens[self._at : self._at + 4]
        if ahead[0].kind != "variable" or len(ahead) < 2:
            return ()
        if ahead[1].text in (":=", "="):
            self._at += 1
            return (ahead[0].text,)
        if ranging and ahead[1].text == "," and ahead[2].kind == "variable" and ahead[3].text in (":=", "="):
            self._at += 3
            return (ahead[0].text, ahead[2].text)
        return ()

    def _command(self) -> tuple[Operand, ...]:
        operands: list[Operand] = []
        while self._next.kind not in ("close", "end") and self._next.text not in ("|", ")"):
            if operands and not self._next.spaced and self._next.text != "(":
                self._fail(self._next, f"unexpected {self._next.text!r}")
            operands.append(self._operand())
        if not operands:
            self._fail(self._next, "a value is missing")
        if len(operands) > 1 and operands[0].kind != "function":
            raise TemplateError(operands[1].position, "only a function takes arguments")
        return tuple(operands)

    def _operand(self) -> Operand:
        token = self._take()
        kind, value = token.kind, token.text
        fields: list[str] = []
        if kind == "string":
            return Operand("literal", string_value(token), token.position)
        if kind == "number":
            return Operand("literal", number_value(token), token.position)
        if kind == "word" and value in _LITERALS:
            return Operand("literal", _LITERALS[value], token.position)
        if kind == "word":
            if value not in self._functions:
                known = " ".join(sorted(self._functions))
                self._fail(token, f"'{value[:40]}' is no function; there are {known}")
            return Operand("function", value, token.position)
        if kind == "variable":
            if value not in self._variables:
                self._fail(token, f"undefined variable {value[:40]}")
        elif kind == "field":
            kind, value, fields = ".", "", [value[1:]]
        elif value == ".":
            kind = "."
        elif value == "(":
            self._enter(token)
            kind, inner = "(", self._pipeline()
            if not self._accept(")"):
                self._fail(self._next, "')' is missing")
            self._depth -= 1
            return Operand(kind, inner, token.position, self._fields([]))
        else:
            self._fail(token, f"unexpected {value!r}")
        operand = Operand(kind, value, token.position, self._fields(fields))
        if operand.fields and (value == "$" or (kind == "." and not self._inner)):
            self.tree.fields.setdefault(operand.fields[0], token.position)
        return operand

    def _fields(self, fields: list[str]) -> tuple[str, ...]:
        while self._next.kind == "field" and not self._next.spaced:
            fields.append(self._take().text[1:])
        return tuple(fields)
