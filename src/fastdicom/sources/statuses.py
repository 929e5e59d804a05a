"""What the system says of many files of a folder, in one compiled call."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom._posix import STATX_MODE, STATX_SIZE, STATX_WORDS, c_names, has_statx, mtime_ns_of, statx

__all__ = ["statuses_of"]

FEW = 64
"""Files for which loading the compiled code is not worth its while."""
TYPE_SIZE_AND_MTIME = 0x241


def statuses_of(folder: str, names: Sequence[str]) -> NDArray[np.int64] | None:
    """Type (`stat.S_IFMT`), size and modification time (ns) of files of a folder, or of what links lead to.

    Parameters
    ----------
    names : sequence of str
        Of entries of the folder.

    Returns
    -------
    (len(names), 3) int64
        Type 0: the system does not say; `os.stat` finds out why. None: it is no faster than asking for each.
    """
    if len(names) < FEW or not has_statx():
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        statuses = np.zeros((len(names), 3), dtype=np.int64)
        _ask(descriptor, *c_names(names), np.zeros(STATX_WORDS, dtype=np.int64), statuses)
    finally:
        os.close(descriptor)
    return statuses


@kernel("void(int64, const(uint8[::1]), const(int64[::1]), int64[::1], int64[:, ::1])")
def _ask(folder, names, starts, facts, statuses):
    for k in range(len(starts)):
        name = names.ctypes.data + starts[k]
        if statx(np.int32(folder), name, np.int32(0), np.uint32(TYPE_SIZE_AND_MTIME), facts.ctypes.data) == 0:
            statuses[k, 0] = facts[STATX_MODE] >> 32 & 0xF000
            statuses[k, 1] = facts[STATX_SIZE]
            statuses[k, 2] = mtime_ns_of(facts)
