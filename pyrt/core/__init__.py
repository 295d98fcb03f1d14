# SPDX-License-Identifier: Apache-2.0
"""The fast core: namespaces, broadcast, frames. Imports nothing else of pyrt and is usable alone."""
