# SPDX-License-Identifier: Apache-2.0
"""Images: what they are, where they are kept, how they come out of archives."""

from __future__ import annotations

from pyrt.image.graph import Graph
from pyrt.image.image import Image
from pyrt.image.layers import LayerStore
from pyrt.image.tagstore import TagStore

__all__ = ["Graph", "Image", "LayerStore", "TagStore"]
