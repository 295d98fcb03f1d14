# SPDX-License-Identifier: Apache-2.0
"""A seccomp program made several times shorter: it asks in which range a number is, not which number it is.

Of the numbers that a profile names most neighbours have the same answer. The kernel, which checks a program, compiles
it and runs it once for each system call there is before a container's first instruction, takes so much less time.
What goes in is what libseccomp has made of the rules, read off instruction by instruction: how it joins several rules
for one number, and what it does about architectures, stays its own affair, and no answer changes.
"""

from __future__ import annotations

from pyrt.engine.seccomp_code import read, write
from pyrt.engine.seccomp_graph import ARCHITECTURE, JEQ, JGT, NUMBER, Graph, Unfit, Word

_MOST_EXCEPTIONS = 3  # in a row within a span; with more of them a division of the span is quicker
_MOST_COMPARISONS = 64  # of an argument that are looked through for ranges; it takes the square of it


def by_ranges(program: bytes) -> bytes:
    """Return a program that answers as the given one does. It is never longer; what does not fit the form stays."""
    try:
        graph, root = read(program)
        most = len(program)  # far more than the program has numbers in it
        architectures = []
        for architecture, whole in graph.runs(root, ARCHITECTURE, most):
            numbers = [(first, _sorted_argument(graph, node)) for first, node in graph.runs(whole, NUMBER, most)]
            architectures.append((architecture, _search(graph, NUMBER, numbers)))
        shorter = write(graph, _search(graph, ARCHITECTURE, architectures))
    except Unfit:
        return program
    return min(program, shorter, key=len)


def _sorted_argument(graph: Graph, node: int) -> int:
    """Return the conditions of a system call; with ranges if they are all on one word and this makes them fewer."""
    tests = graph.tests(node)
    words = {test.word.offset for test in tests}
    if len(words) != 1 or len(tests) > _MOST_COMPARISONS:
        return node
    (offset,) = words
    try:
        sorted_node = _search(graph, offset, graph.runs(node, offset, 2 * len(tests) + 1))
    except Unfit:
        return node
    return sorted_node if len(graph.tests(sorted_node)) < len(tests) else node


def _search(graph: Graph, offset: int, runs: list[tuple[int, int]]) -> int:
    """Return the binary search among (first value, node) for a word's value."""
    spans = _spans(runs)
    word = Word(offset)

    def between(low: int, high: int) -> int:
        if high - low > 1:
            middle = (low + high) // 2
            return graph.test(word, JGT, spans[middle][0] - 1, between(middle, high), between(low, middle))
        _, node, exceptions = spans[low]
        for value, exception in exceptions:  # the last is asked for first: of architectures that is the 64-bit one
            node = graph.test(word, JEQ, value, exception, node)
        return node

    return between(0, len(spans))


def _spans(runs: list[tuple[int, int]]) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """Return (first value, node, exceptions): single values between two runs of the same node are its exceptions.

    One is a single test then, where two runs more would be two.
    """
    spans: list[tuple[int, int, list[tuple[int, int]]]] = []
    for first, node in runs:
        if len(spans) > 1:
            (_, around, others), (value, exception, _) = spans[-2:]
            if around == node and value == first - 1 and len(others) < _MOST_EXCEPTIONS:
                spans.pop()
                others.append((value, exception))
                continue
        spans.append((first, node, []))
    return spans
