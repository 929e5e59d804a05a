"""Arrays as compiled loops want them: flat memory, a step from row to row, native byte order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

AnyArray = NDArray[Any]

_FLAT_LIMIT = 1 << 30
"""Kernels count within a row in int32."""

BITS = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
"""Unsigned dtype by item size: kernels that only move bits are compiled once for signed, unsigned and float."""


_BAND_PIXELS = 1 << 17
"""1 MiB of float64, which stays in the cache of a core."""


def row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the first axis that cover an array: what makes float64 of every pixel on its way takes a band at a
    time, since whole frames of it would take several times the memory of the image."""
    columns = 1
    for size in shape[1:]:
        columns *= size
    step = max(1, _BAND_PIXELS // max(1, columns))
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


class Rows(NamedTuple):
    """A 2-D view as flat memory: element (r, c) is ``flat[r * step + c]``."""

    flat: AnyArray
    step: int


def row_shape(*arrays: AnyArray) -> tuple[int, int]:
    """(rows, columns) in which all `arrays`, which have one shape, are walked: one long row where memory allows."""
    first = arrays[0]
    if first.ndim < 2 or (first.size <= _FLAT_LIMIT and all(a.flags.c_contiguous for a in arrays)):
        return 1, first.size
    return first.shape[0], first.size // max(1, first.shape[0])


def as_rows(array: AnyArray, shape: tuple[int, int]) -> Rows | None:
    """`array` as flat memory with rows of `shape`, without a copy; None where its memory does not allow that."""
    rows, columns = shape
    if array.flags.c_contiguous:
        return Rows(array.reshape(-1), columns)
    if array.ndim < 2 or array.size == 0 or not array[0].flags.c_contiguous:
        return None
    step, rest = divmod(array.strides[0], array.itemsize)
    if rest or step < columns:
        return None
    # Ends with the last element of the array, so it never reaches beyond the memory that the array owns.
    return Rows(as_strided(array, ((rows - 1) * step + columns,), (array.itemsize,)), step)


def readable(array: AnyArray, shape: tuple[int, int]) -> Rows:
    """`array` in native byte order as rows; copied only where it must be."""
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    found = as_rows(array, shape)
    return found if found is not None else Rows(np.ascontiguousarray(array).reshape(-1), shape[1])
