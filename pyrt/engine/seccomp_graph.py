# SPDX-License-Identifier: Apache-2.0
"""What a seccomp program decides, as a graph: tests of the call's words, and at their ends the answers.

Each node is made once, so that two parts of a program that decide alike are the same node, and cost nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

NUMBER, ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
HIGHEST = 0xFFFFFFFF
JEQ, JGT, JGE, JSET = 0x15, 0x25, 0x35, 0x45  # is equal, is greater, is at least, has any of these bits
_MOST_VISITS = 100_000  # of nodes, in about a second; what libseccomp writes needs some thousands


class Unfit(Exception):
    """A program that is no graph of tests, or one too tangled to take apart. It can only be used as it is."""


class Word(NamedTuple):
    """What a test looks at: 32 bits of struct seccomp_data, and of them those in `mask`."""

    offset: int
    mask: int = HIGHEST


class Test(NamedTuple):
    """A conditional jump; `yes` and `no` are nodes. There is no JGE: that is JGT of one less."""

    word: Word
    jump: int
    value: int
    yes: int
    no: int


class Graph:
    """Tests and answers (values that seccomp takes from a program). A node is its index."""

    def __init__(self) -> None:
        self._nodes: list[Test | int] = []
        self._indices: dict[Test | int, int] = {}
        self._visits = 0

    def __getitem__(self, node: int) -> Test | int:
        return self._nodes[node]

    def answer(self, value: int) -> int:
        """Return the node of an answer."""
        return self._node(value)

    def test(self, word: Word, jump: int, value: int, yes: int, no: int) -> int:
        """Return the node of a test, or what it leads to if that is certain."""
        if jump == JGE:
            if value == 0:
                return yes
            jump, value = JGT, value - 1
        if jump == JEQ:
            impossible = bool(value & ~word.mask)
        elif jump == JGT:
            impossible = value >= word.mask
        else:
            impossible = not value & word.mask
        if impossible or yes == no:
            return no
        if word.mask == 0:  # only JEQ 0 comes here
            return yes
        return self._node(Test(word, jump, value, yes, no))

    def _node(self, content: Test | int) -> int:
        index = self._indices.setdefault(content, len(self._nodes))
        if index == len(self._nodes):
            self._nodes.append(content)
        return index

    def tests(self, root: int) -> list[Test]:
        """Return the tests between a node and its answers."""
        contents = (self._nodes[node] for node in self.children_first(root))
        return [content for content in contents if isinstance(content, Test)]

    def children_first(self, root: int, follow: Callable[[Test], Iterable[int]] | None = None) -> list[int]:
        """Return the nodes from `root` on, each behind those that it leads to: all, or what `follow` says.

        Without recursion: a profile may compare one argument with a thousand values, one after the other. Raises Unfit
        when so much has been visited in the course of time that it will never end.
        """
        done: dict[int, None] = {}
        waiting = [root]
        while waiting:
            node = waiting[-1]
            content = self._nodes[node]
            missing: list[int] = []
            if isinstance(content, Test):
                children = follow(content) if follow else (content.yes, content.no)
                missing = [child for child in children if child not in done]
            if missing:
                waiting += missing
            else:
                done[waiting.pop()] = None
        self._visits += len(done)
        if self._visits > _MOST_VISITS:
            raise Unfit("tests of different words alternate too often")
        return list(done)

    def runs(self, root: int, offset: int, most: int) -> list[tuple[int, int]]:
        """Return what a word of the call leads to, as (first value, node), ascending: each goes on to the next one.

        The nodes do not test the word any more. Raises Unfit if a walk over the values takes more than `most` steps.
        """
        runs: list[tuple[int, int]] = []
        first = 0
        for _ in range(most):
            node, last = self._given(root, offset, first)
            if not runs or runs[-1][1] != node:
                runs.append((first, node))
            if last == HIGHEST:
                return runs
            first = last + 1
        raise Unfit(f"more than {most} runs of the word at {offset}")

    def _given(self, root: int, offset: int, value: int) -> tuple[int, int]:
        """Return what `root` comes to when a word has this value, and up to which value it comes to the same."""
        last = HIGHEST
        while isinstance(content := self._nodes[root], Test) and content.word.offset == offset:
            holds, its_last = _outcome(content, value)
            root, last = content.yes if holds else content.no, min(last, its_last)
        if not isinstance(content, Test):
            return root, last  # the most common end; the rest is for tests of other words in between
        known: dict[Test, tuple[bool, int]] = {}

        def follow(test: Test) -> tuple[int, ...]:
            if test.word.offset != offset:
                return test.yes, test.no
            if test not in known:
                known[test] = _outcome(test, value)
            return (test.yes if known[test][0] else test.no,)

        results: dict[int, tuple[int, int]] = {}
        for node in self.children_first(root, follow):
            content = self._nodes[node]
            if not isinstance(content, Test):
                results[node] = node, HIGHEST
            elif content in known:
                holds, known_last = known[content]
                child, its_last = results[content.yes if holds else content.no]
                results[node] = child, min(known_last, its_last)
            else:
                (yes, yes_last), (no, no_last) = results[content.yes], results[content.no]
                word, jump, wanted = content[:3]
                results[node] = self.test(word, jump, wanted, yes, no), min(yes_last, no_last)
        node, its_last = results[root]
        return node, min(last, its_last)


def _outcome(test: Test, value: int) -> tuple[bool, int]:
    """Return whether a test holds for a value of its word, and up to which value, at least, it stays so."""
    mask, wanted = test.word.mask, test.value
    seen = value & mask
    if test.jump == JSET:
        return bool(seen & wanted), _same_above(value, mask & wanted)
    holds = seen == wanted if test.jump == JEQ else seen > wanted
    last = _same_above(value, mask)
    if _same_above(0, mask) | mask == HIGHEST:  # nothing but low bits is masked, so what is seen rises with the value
        if seen > wanted:
            last = HIGHEST
        elif test.jump == JGT:
            last = max(last, wanted)
        elif seen < wanted:
            last = wanted - 1
    return holds, last


def _same_above(value: int, bits: int) -> int:
    """Return the last of the values from `value` on in which these bits are the same."""
    return value | ((bits & -bits) - 1)
