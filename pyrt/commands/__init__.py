# SPDX-License-Identifier: Apache-2.0
"""One module a verb; its flags, its usage and its help live there and nowhere else."""
