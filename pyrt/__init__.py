# SPDX-License-Identifier: Apache-2.0
"""A container runtime for Linux in Python, with compiled hot paths."""

__version__ = "0.1.0"
