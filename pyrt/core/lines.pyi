# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass
from typing import Final

REACH_BYTES: Final[int]

class DamageError(ValueError): ...

@dataclass(frozen=True, slots=True)
class Cut:
    offset: int
    starts: tuple[int, ...]
    end: int

def find(
    dirfd: int, *, tail: int | None = None, since_ns: int | None = None, until_ns: int | None = None
) -> Cut: ...
