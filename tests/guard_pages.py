"""Arrays that end where a page begins that nobody may touch: what reads or writes past them ends the process."""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

PAGE = mmap.PAGESIZE


@cache
def _block(pages: int, place: int) -> mmap.mmap:
    """`pages` pages and a forbidden one; reused, for there is no end of tests."""
    block = mmap.mmap(-1, (pages + 1) * PAGE)
    if sys.platform.startswith("linux"):
        address = ctypes.addressof(ctypes.c_char.from_buffer(block))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if protect(address + pages * PAGE, PAGE, 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    return block


_places = iter(range(1 << 62))


def guarded(shape: int | tuple[int, ...], dtype: DTypeLike, fill: int | None = None) -> NDArray[Any]:
    """An array right before a forbidden page. The next 32 calls give other memory."""
    shape = (shape,) if isinstance(shape, int) else shape
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    pages = 1 << max(0, -(-nbytes // PAGE) - 1).bit_length()
    block = _block(pages, next(_places) % 32)
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer=block, offset=pages * PAGE - nbytes)
    if fill is not None:
        array[...] = fill
    return array
