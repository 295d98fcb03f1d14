# SPDX-License-Identifier: Apache-2.0
"""Which signals end a container's first process by pyrt's hand, because the kernel would discard them."""

from __future__ import annotations

import signal

import pytest

from pyrt.container.signals import HARMLESS, RT_SIGTIMEDWAIT, ends_by_default


def status(*, blocked: int = 0, ignored: int = 0, caught: int = 0) -> str:
    return f"Name:\tsleep\nSigQ:\t0/1\nSigBlk:\t{blocked:016x}\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"


def bit(number: int) -> int:
    return 1 << (number - 1)


@pytest.mark.parametrize("number", [1, 2, 3, 6, 10, 13, 14, 15, 29, 30, 31, 34, 64])
def test_a_plain_program_ends(number: int) -> None:
    assert ends_by_default(number, status(), "35 0x1 0x2")
    assert ends_by_default(number, status(), "running")
    for masked in ("blocked", "ignored", "caught"):
        assert not ends_by_default(number, status(**{masked: bit(number)}), "35")
        assert ends_by_default(number, status(**{masked: ~bit(number) & (1 << 64) - 1}), "35")


@pytest.mark.parametrize("number", [*HARMLESS, signal.SIGKILL, 0])
def test_what_ends_nobody_or_needs_no_help(number: int) -> None:
    assert not ends_by_default(number, status(), "35")


def test_waiting_for_signals_is_the_programs_own_affair() -> None:
    assert not ends_by_default(15, status(), f"{RT_SIGTIMEDWAIT} 0x7ffc 0x0")
    assert ends_by_default(15, status(), f"{RT_SIGTIMEDWAIT}9 0x7ffc 0x0")


def test_a_program_that_went_on_in_between() -> None:
    waiting = f"{RT_SIGTIMEDWAIT} 0x7ffc 0x0"
    assert not ends_by_default(15, status(), waiting, "running")
    assert not ends_by_default(15, status(), "running", waiting)


def test_a_program_that_was_woken_by_a_signal_and_waits_for_a_processor() -> None:
    assert not ends_by_default(15, f"{status()}SigPnd:\t0\nShdPnd:\t{bit(10):x}\n", "running", "running")
    held_back = status(blocked=bit(10))
    assert ends_by_default(15, f"{held_back}SigPnd:\t0\nShdPnd:\t{bit(10):x}\n", "running", "running")


def test_nothing_to_go_by() -> None:
    """A zombie has no masks: nothing hides the signal, and sending SIGKILL to it changes nothing."""
    assert ends_by_default(15, "Name:\tx\nState:\tZ\n", "")
