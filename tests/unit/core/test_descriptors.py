# SPDX-License-Identifier: Apache-2.0
"""The limit of descriptors: raised for oneself, kept for those that are started, and how many are left."""

from __future__ import annotations

import os
import subprocess
import sys

from pyrt.core import descriptors

RAISED = """
import os, resource
from pyrt.core import descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
descriptors.raise_limit()
descriptors.raise_limit()  # of no effect: what counts is the first
child = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
descriptors.hand_down(child)
print(descriptors.limit(), descriptors.handed_down(), *resource.prlimit(child, resource.RLIMIT_NOFILE))
os.kill(child, 9)
os.waitpid(child, 0)
descriptors.hand_down(child)  # who has ended already is no error
"""


def test_what_is_left() -> None:
    before = descriptors.left()
    pipe = os.pipe()
    assert descriptors.left() == before - 2
    for fd in pipe:
        os.close(fd)
    assert descriptors.left() == before < descriptors.limit()


def test_raised_and_handed_down() -> None:
    done = subprocess.run([sys.executable, "-c", RAISED], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["200", "100", "100", "200"]
