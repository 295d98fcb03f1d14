# SPDX-License-Identifier: Apache-2.0
"""The daemon's front: listeners, one session a client, dispatch of a call to its command's module."""
