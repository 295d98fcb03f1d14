# SPDX-License-Identifier: Apache-2.0
# Made by cffi from csrc/ffi_build.py, whose declarations are the types.
from typing import Any

import cffi

ffi: cffi.FFI
lib: Any
