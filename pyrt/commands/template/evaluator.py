# SPDX-License-Identifier: Apache-2.0
"""Carrying out a template on one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pyrt.commands.template.functions import LAZY, apply
from pyrt.commands.template.parser import Block, Node, Operand, Pipeline
from pyrt.commands.template.tokens import TemplateError, Token
from pyrt.commands.template.values import MAX_CHARACTERS, ValueProblem, get_field, kind, show, truth

MAX_STEPS = 100_000


class _Leave(Exception):
    """`break` or `continue`, on its way to its `range`."""

    def __init__(self, verb: str) -> None:
        self.verb = verb


class Evaluator:
    """One rendering: its variables, its output, and how much of its steps it has used."""

    def __init__(self, root: Any, substitutes: Mapping[str, str]) -> None:
        self._root = root
        self._substitutes = substitutes
        self._variables: list[tuple[str, Any]] = [("$", root)]
        self._output: list[str] = []
        self._room = MAX_CHARACTERS
        self._steps = MAX_STEPS

    def run(self, nodes: tuple[Node, ...]) -> str:
        """Raises TemplateError."""
        self._nodes(nodes, self._root)
        return "".join(self._output)

    def _nodes(self, nodes: tuple[Node, ...], dot: Any) -> None:
        for node in nodes:
            if isinstance(node, str):
                self._print(node, 0)
            elif isinstance(node, Block):
                self._block(node, dot)
            elif isinstance(node, Token):
                raise _Leave(node.text)
            else:
                value = self._pipeline(node, dot)
                if not node.names:
                    self._print(show(value), node.position)

    def _print(self, text: str, position: int) -> None:
        self._spend(position, 1)
        self._room -= len(text)
        if self._room < 0:
            raise TemplateError(position, f"it prints more than {MAX_CHARACTERS} characters")
        self._output.append(text)

    def _spend(self, position: int, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise TemplateError(position, f"it takes more than {MAX_STEPS} steps")

    def _block(self, block: Block, dot: Any) -> None:
        outer = len(self._variables)
        if block.verb == "range":
            self._range(block, dot)
        else:
            value = self._pipeline(block.pipeline, dot)
            if truth(value):
                self._nodes(block.body, value if block.verb == "with" else dot)
            else:
                self._nodes(block.otherwise, dot)
        del self._variables[outer:]

    def _range(self, block: Block, dot: Any) -> None:
        pipeline = block.pipeline
        value = self._value(pipeline, dot)
        if not isinstance(value, (dict, list, tuple)) and value is not None:
            raise TemplateError(pipeline.position, f"range cannot go over {kind(value)}")
        pairs: Iterable[tuple[Any, Any]] = sorted(value.items()) if isinstance(value, dict) else enumerate(value or ())
        outer = len(self._variables)
        for key, item in pairs:
            self._spend(pipeline.position, 1)
            values = (key, item) if len(pipeline.names) == 2 else (item,)
            for name, one in zip(pipeline.names, values, strict=False):
                self._assign(name, one, declare=pipeline.declares)
            try:
                self._nodes(block.body, item)
            except _Leave as leave:
                if leave.verb == "break":
                    return
            finally:
                del self._variables[outer:]
        if not value:
            self._nodes(block.otherwise, dot)

    def _assign(self, name: str, value: Any, *, declare: bool) -> None:
        if declare:
            self._variables.append((name, value))
            return
        at = max(at for at, (known, _) in enumerate(self._variables) if known == name)
        self._variables[at] = (name, value)

    def _pipeline(self, pipeline: Pipeline, dot: Any) -> Any:
        value = self._value(pipeline, dot)
        for name in pipeline.names:
            self._assign(name, value, declare=pipeline.declares)
        return value

    def _value(self, pipeline: Pipeline, dot: Any) -> Any:
        first, *others = pipeline.commands
        value = self._command(first, dot, ())
        for command in others:
            value = self._command(command, dot, (value,))
        return value

    def _command(self, command: tuple[Operand, ...], dot: Any, piped: tuple[Any, ...]) -> Any:
        head, *operands = command
        self._spend(head.position, 1)
        if head.kind != "function":
            return self._operand(head, dot)
        if head.value in LAZY:
            return self._lazy(head, operands, dot, piped)
        arguments = [*(self._operand(operand, dot) for operand in operands), *piped]
        self._spend(head.position, sum(len(one) >> 8 for one in arguments if hasattr(one, "__len__")))
        try:
            return apply(self._substitutes.get(head.value, head.value), arguments)
        except ValueProblem as problem:
            raise TemplateError(head.position, str(problem)) from None

    def _lazy(self, head: Operand, operands: list[Operand], dot: Any, piped: tuple[Any, ...]) -> Any:
        """`and` and `or` return the argument that decides; those behind it are not looked at."""
        if not operands and not piped:
            raise TemplateError(head.position, f"{head.value} wants arguments")
        value = None
        for operand in operands:
            value = self._operand(operand, dot)
            if truth(value) == (head.value == "or"):
                return value
        return piped[0] if piped else value

    def _operand(self, operand: Operand, dot: Any) -> Any:
        self._spend(operand.position, 1)
        value: Any
        match operand.kind:
            case "literal":
                return operand.value
            case "function":
                return self._command((operand,), dot, ())
            case "variable":
                value = next(value for name, value in reversed(self._variables) if name == operand.value)
            case "(":
                value = self._value(operand.value, dot)
            case _:
                value = dot
        try:
            for name in operand.fields:
                value = get_field(value, name)
        except ValueProblem as problem:
            raise TemplateError(operand.position, str(problem)) from None
        return value
