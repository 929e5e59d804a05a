"""Memory for whole volumes that the next volume can take over.

A volume's memory comes from the system as zeros and goes back as a whole: the C library keeps no block of that size. So
who loads one volume after another has every page cleared by the kernel before it is written, which takes a third of
the time in which an uncompressed series is loaded. Here the memory of the last volume that was given up is kept
for the next one of about its size. It is marked as free (MADV_FREE) meanwhile: the system takes it without asking when
it needs it, and where a system cannot do that, nothing is kept.
"""

from __future__ import annotations

import math
import mmap
import sys
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["empty", "release"]

LEAST_NBYTES = 32 << 20
"""Smaller blocks are kept by the C library (glibc: DEFAULT_MMAP_THRESHOLD_MAX)."""
MOST_NBYTES = 1 << 30
"""Of more, what the system shows as resident would surprise whoever watches it."""

_CAN_KEEP = sys.platform.startswith("linux") and hasattr(mmap, "MADV_FREE")
_kept: list[mmap.mmap] = []  # at most one; changes are atomic, because finalizers run at any moment in any thread


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """`numpy.empty` of a volume.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    C-contiguous array; its values are undefined.

    Raises
    ------
    MemoryError
    """
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if not _CAN_KEEP or not LEAST_NBYTES <= nbytes <= MOST_NBYTES:
        release()
        return np.empty(shape, dtype)
    try:
        block = _take(nbytes)
    except (OSError, ValueError):
        return np.empty(shape, dtype)  # which says what is wrong
    import ctypes

    # An object between array and memory, which every view of the array keeps alive: it dies with the last of them.
    owner = (ctypes.c_char * nbytes).from_buffer(block)
    weakref.finalize(owner, _keep, block).atexit = False
    return np.ndarray(shape, dtype, buffer=memoryview(owner))


def release() -> None:
    """Give what is kept back to the system: before memory is taken in another way, so that both never count at once."""
    _kept.clear()


def _take(nbytes: int) -> mmap.mmap:
    """Memory of this size: the start of what was kept, if that is enough."""
    try:
        block = _kept.pop()
    except IndexError:
        return _map(nbytes)
    if len(block) >= nbytes:
        # Also where the size is right: it is refused while anybody can still reach the memory. The finalizer runs
        # before its object lets go of it, and an object in a cycle may even come back to life after that.
        with suppress(BufferError, OSError, SystemError, ValueError):
            block.resize(nbytes)
            return block
    del block  # before more is taken
    return _map(nbytes)


def _map(nbytes: int) -> mmap.mmap:
    block = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            block.madvise(mmap.MADV_HUGEPAGE)  # as NumPy does
    return block


def _keep(block: mmap.mmap) -> None:
    try:
        block.madvise(mmap.MADV_FREE)
    except OSError:  # a kernel that cannot
        return
    _kept[:] = [block]
