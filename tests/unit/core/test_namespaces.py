# SPDX-License-Identifier: Apache-2.0
"""What of pyrt.core.namespaces can be told without privilege: refusals, and the shape of plans and errors."""

from __future__ import annotations

import pytest

from pyrt.core import namespaces
from pyrt.core.namespaces import NEWNET, NEWNS, NEWPID, Plan, StepError


@pytest.mark.parametrize("wanted", [0, NEWNS, NEWPID, NEWPID | NEWNET])
def test_the_host_itself_is_never_made_a_container(wanted: int) -> None:
    with pytest.raises(ValueError, match="NEWNS, NEWPID"):
        namespaces.prepare(wanted)


def test_every_public_name_is_there() -> None:
    assert all(hasattr(namespaces, name) for name in namespaces.__all__)


def test_a_plan_refuses_what_cannot_be_passed_on() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Plan().argv(["a\0b"])
    with pytest.raises(ValueError):
        Plan().address("300.0.0.1", 24, "10.0.0.1")


def test_a_step_error_says_what_failed() -> None:
    assert str(StepError("exec", 2, "/nosuch")) == "exec: /nosuch: No such file or directory"
    assert str(StepError("init", 0, "it died")) == "init: it died"
