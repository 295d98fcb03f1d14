# SPDX-License-Identifier: Apache-2.0
"""The name that an image is to get, in its two spellings."""

from __future__ import annotations

from collections.abc import Sequence

from pyrt.image.tagstore import DEFAULT_TAG, validate


def repository_and_tag(words: Sequence[str]) -> tuple[str, str]:
    """Read REPOSITORY [TAG], as Docker 0.1.0 had it, or REPOSITORY:TAG. Raises UsageError for what is no name."""
    repository, tag = words[0], DEFAULT_TAG
    if len(words) == 2:
        tag = words[1]
    elif ":" in repository:
        repository, _, tag = repository.rpartition(":")
    validate(repository, tag)
    return repository, tag
