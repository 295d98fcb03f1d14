# SPDX-License-Identifier: Apache-2.0
"""Classic BPF, as much of it as seccomp has: a program read into a graph of decisions, and a graph written down."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pyrt.engine.seccomp_graph import HIGHEST, JEQ, JGE, JGT, JSET, Graph, Test, Unfit, Word

LOAD, AND, JUMP, RETURN = 0x20, 0x54, 0x05, 0x06
Instruction = tuple[int, int, int, int]  # code, jt, jf, k
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_FARTHEST = 255 - 1  # of a conditional jump, before an instruction for its other target comes in between


def encode(program: Iterable[Instruction]) -> bytes:
    """Return a program as the kernel takes it."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def read(program: bytes) -> tuple[Graph, int]:
    """Return the graph of a program that the kernel would take, and its root. Raises Unfit for what is no test."""
    code = list(_INSTRUCTION.iter_unpack(program))
    # What the accumulator can hold, by instruction. Jumps only go forward: once through, and all of it is known.
    held: list[dict[Word | None, None]] = [{} for _ in code]
    held[0][None] = None
    for position, instruction in enumerate(code):
        for word in held[position]:
            for target, its_word in _targets(position, instruction, word):
                held[target][its_word] = None
    graph = Graph()
    nodes: dict[tuple[int, Word | None], int] = {}
    for position in reversed(range(len(code))):
        operation, _, _, k = code[position]
        for word in held[position]:
            children = [nodes[target] for target in _targets(position, code[position], word)]
            if not children:
                node = graph.answer(k)
            elif len(children) == 1:
                node = children[0]
            else:
                assert word is not None
                node = graph.test(word, operation, k, *children)
            nodes[position, word] = node
    return graph, nodes[0, None]


def _targets(position: int, instruction: Instruction, word: Word | None) -> list[tuple[int, Word | None]]:
    """Return where an instruction leads to when the accumulator holds `word`, and what it holds there."""
    operation, true, false, k = instruction
    following = position + 1
    if operation == RETURN:
        return []
    if operation == LOAD:
        return [(following, Word(k))]
    if operation == JUMP:
        return [(following + k, word)]
    if word is None or operation not in (AND, JEQ, JGT, JGE, JSET):
        raise Unfit(f"instruction {operation:#x} at {position}")
    if operation == AND:
        return [(following, Word(word.offset, word.mask & k))]
    return [(following + true, word), (following + false, word)]


def write(graph: Graph, root: int) -> bytes:
    """Return the program of a graph.

    It is made from its end. A conditional jump reaches 255 instructions, which the answers' own may be away from: then
    the answer is given once more nearby. To another test an unconditional jump goes on.
    """
    nodes = graph.children_first(root)
    loading = {root}  # the tests that are come to with something else in the accumulator
    for node in nodes:
        if isinstance(content := graph[node], Test):
            loading.update(child for child in content[-2:] if _word(graph, child) != content.word)
    backward: list[Instruction] = []
    begins: dict[int, int] = {}  # the length of `backward` with a node's first instruction
    tests: dict[int, int] = {}  # the same for its jump, which what it tests need not be loaded for again

    def reach(child: int, word: Word) -> int:
        begin = tests[child] if _word(graph, child) == word else begins[child]
        if len(backward) - begin <= _FARTHEST:
            return begin
        content = graph[child]
        if isinstance(content, Test):
            backward.append((JUMP, 0, 0, len(backward) - begin))
        else:
            backward.append((RETURN, 0, 0, content))
            begins[child] = len(backward)
        return len(backward)

    for node in nodes:
        content = graph[node]
        if isinstance(content, Test):
            word = content.word
            yes, no = reach(content.yes, word), reach(content.no, word)
            backward.append((content.jump, len(backward) - yes, len(backward) - no, content.value))
            tests[node] = len(backward)
            if node in loading:
                if word.mask != HIGHEST:
                    backward.append((AND, 0, 0, word.mask))
                backward.append((LOAD, 0, 0, word.offset))
        else:
            backward.append((RETURN, 0, 0, content))
        begins[node] = len(backward)
    return encode(reversed(backward))


def _word(graph: Graph, node: int) -> Word | None:
    content = graph[node]
    return content.word if isinstance(content, Test) else None
