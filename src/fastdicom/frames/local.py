"""Ranges of many local files in one compiled call: no interpreter, and so no waiting for it, between files.

Where the values asked for follow from the bytes by arithmetic alone, they are made in the same call, of each range as
soon as it is read: it is in the cache of the core then, and in the memory of the result already.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom._posix import (
    OPEN_FLAGS,
    STATX_SIZE,
    STATX_WORDS,
    close,
    has_statx,
    mtime_ns_of,
    open_,
    pread,
    statx,
)
from fastdicom.kernels import modular_in_place

__all__ = ["can_read_local_ranges", "read_local_ranges"]

PATH, SIZE, MTIME, OFFSET, NBYTES = 0, 1, 2, 3, 4
"""Columns of the ranges."""
AT_EMPTY_PATH, SIZE_AND_MTIME = 0x1000, 0x240
NO_NUMBERS = np.empty((0, 4), dtype=np.uint8)


def can_read_local_ranges() -> bool:
    """Whether this system lets compiled code read files and see that they are unchanged."""
    return has_statx()


def read_local_ranges(
    names: NDArray[np.uint8], ranges: NDArray[np.int64], out: NDArray[Any], numbers: NDArray[Any] | None = None
) -> bool:
    """Read ranges of bytes, one after the other, into `out`. Neighbours of one file are read through one descriptor.

    Parameters
    ----------
    names : (N,) uint8, C-contiguous
        Paths, as `c_names` has them.
    ranges : (ranges, 5) int64, C-contiguous
        For each: where the path of its file begins in `names`; size, and modification time in ns, that the file must
        still have (-1 and 0: any); offset in the file; number of bytes.
    out : uint8, uint16, uint32 or uint64 with the bytes of all ranges, 1-D, C-contiguous
    numbers : (ranges, 4) of the dtype of `out`, optional
        Rescale each range, which then holds whole items, with these (`modular_numbers`).

    Returns
    -------
    bool
        False where a file cannot be opened, has changed or ends early: `out` is then undefined, and reading the files
        one at a time finds out which and why.
    """
    starts, counts = ranges[:, PATH], ranges[:, NBYTES]
    if not len(ranges) or counts.min() < 0 or counts.sum() != out.nbytes:
        raise ValueError(f"{len(ranges)} ranges do not fill the {out.nbytes} bytes of out")
    if starts.min() < 0 or starts.max() >= len(names) or names[-1] != 0:
        raise ValueError(f"{len(names)} bytes of names do not hold the path of every range")
    if numbers is None:
        out, numbers = out.view(np.uint8), NO_NUMBERS
    elif numbers.shape != (len(ranges), 4) or (counts % out.itemsize).any():
        raise ValueError(f"numbers of shape {numbers.shape} are not for {len(ranges)} ranges of {out.dtype.name}")
    return bool(_read_ranges(names, ranges, out, np.zeros(STATX_WORDS, dtype=np.int64), numbers))


@kernel()
def _is_unchanged(descriptor, empty_path, size, mtime_ns, facts):
    if statx(descriptor, empty_path, np.int32(AT_EMPTY_PATH), np.uint32(SIZE_AND_MTIME), facts.ctypes.data) != 0:
        return False
    if size >= 0 and facts[STATX_SIZE] != size:
        return False
    return mtime_ns in (0, mtime_ns_of(facts))


@kernel(
    [
        f"boolean(const(uint8[::1]), const(int64[:, ::1]), uint{n}[::1], int64[::1], const(uint{n}[:, ::1]))"
        for n in (8, 16, 32, 64)
    ],
    warm=2,
)
def _read_ranges(paths, requests, out, facts, numbers):
    empty_path = paths.ctypes.data + len(paths) - 1
    descriptor, opened = np.int32(-1), np.int64(-1)
    complete, start = True, np.int64(0)
    for k in range(len(requests)):
        if requests[k, PATH] != opened:
            if descriptor >= 0:
                close(descriptor)
            opened = requests[k, PATH]
            descriptor = open_(paths.ctypes.data + opened, np.int32(OPEN_FLAGS))
            if descriptor < 0:
                return False
            if not _is_unchanged(descriptor, empty_path, requests[k, SIZE], requests[k, MTIME], facts):
                complete = False
                break
        done, nbytes = np.int64(0), requests[k, NBYTES]
        while done < nbytes:  # a network file system may give less than asked for
            got = pread(descriptor, out.ctypes.data + start + done, nbytes - done, requests[k, OFFSET] + done)
            if got <= 0:
                break
            done += got
        if done < nbytes:
            complete = False
            break
        if len(numbers) > 0:
            first, count = start // out.itemsize, nbytes // out.itemsize
            modular_in_place(out[first : first + count], count, np.int64(1), count, numbers[k])
        start += nbytes
    if descriptor >= 0:
        close(descriptor)
    return complete
