"""The reversible wavelet backwards, row by row: each coefficient is read once, each sample is written once.

Numbers between levels have 16 bits; the caller knows that they fit.

Source: ISO 15444-1 annex F (2D_SR, 1D_FILTR of the 5-3 filter), of an image that starts at 0, 0.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel

__all__ = ["LINES", "join_bands"]

LINES = 5
"""Rows of memory that `join_bands` needs: one low row, two high ones, two even ones."""
_LOW, _HIGH, _EVEN = np.int64(0), np.int64(1), np.int64(3)
_0, _1 = np.uint64(0), np.uint64(1)
_ONE, _TWO = np.int32(1), np.int32(2)


@kernel()
def _join_columns(low, low_at, low_count, high, high_at, high_count, rows, row, even):
    """One row of two halves, to ``rows[row]`` (equations F-5 and F-6)."""
    low_at, high_at = np.uint64(low_at), np.uint64(high_at)
    low_count, high_count = np.uint64(low_count), np.uint64(high_count)
    if high_count == _0:  # a single column
        rows[row, _0] = low[low_at]
        return
    first = np.int32(high[high_at])
    even[_0] = np.int32(low[low_at]) - ((first + first + _TWO) >> _TWO)
    for k in range(_1, high_count):
        both = np.int32(np.int32(high[high_at + k - _1]) + np.int32(high[high_at + k]) + _TWO)
        even[k] = np.int32(low[low_at + k]) - (both >> _TWO)
    if low_count > high_count:
        last = np.int32(high[high_at + high_count - _1])
        even[high_count] = np.int32(low[low_at + high_count]) - ((last + last + _TWO) >> _TWO)
    else:
        even[high_count] = even[high_count - _1]
    for k in range(high_count):
        value = np.int32(even[k])
        both = np.int32(value + np.int32(even[k + _1]))
        rows[row, k << _1] = value
        rows[row, (k << _1) + _1] = np.int32(high[high_at + k]) + (both >> _ONE)
    if low_count > high_count:
        rows[row, high_count << _1] = even[high_count]


@kernel(inline=True)
def _put(out, at, value, added, checked, seen):
    """A sample to its place; return `seen` with its bits."""
    out[at] = np.int32(value + added)
    return np.int32(seen | np.int32(value + checked))


@kernel()
def join_bands(low, low_at, bands, places, height, width, rows, even, out, out_at, added, checked):
    """The image of a level from its four bands.

    low, bands : int16; the low band begins at `low_at`, the others (HL, LH, HH) at `places`
    height, width : of the image
    rows, even : (LINES, width), (width + 1,) int16, memory
    out : int16, the image goes to `out_at`
    added, checked : to each sample, before it is written; and before its bits are noted
    Returns all bits that are noted of any; a number below 0 where one of them is.
    """
    low_rows, high_rows = (height + 1) >> 1, height >> 1
    low_columns, high_columns = (width + 1) >> 1, width >> 1
    count, seen, added, checked = np.uint64(width), np.int32(0), np.int32(added), np.int32(checked)
    if high_rows == 0:  # a single row is as it is: nothing is taken from it
        for x in range(count):
            rows[_HIGH, x] = rows[_HIGH + 1, x] = 0
    for k in range(low_rows):
        to = np.uint64(out_at + 2 * k * width)
        now, before = k & 1, 1 - (k & 1)
        low_place, high_place = low_at + k * low_columns, places[0] + k * high_columns
        _join_columns(low, low_place, low_columns, bands, high_place, high_columns, rows, _LOW, even)
        if k < high_rows:
            low_place, high_place = places[1] + k * low_columns, places[2] + k * high_columns
            _join_columns(bands, low_place, low_columns, bands, high_place, high_columns, rows, _HIGH + now, even)
        # Beyond an edge the row on the other side stands in.
        below = _HIGH + now if k < high_rows else _HIGH + before
        above = _HIGH + before if k > 0 else _HIGH + now
        even_now, even_before = _EVEN + now, _EVEN + before
        for x in range(count):
            both = np.int32(np.int32(rows[above, x]) + np.int32(rows[below, x]) + _TWO)
            value = np.int32(np.int32(rows[_LOW, x]) - (both >> _TWO))
            rows[even_now, x] = value
            seen = _put(out, to + x, value, added, checked, seen)
        if k > 0:
            to -= count
            for x in range(count):
                both = np.int32(np.int32(rows[even_before, x]) + np.int32(rows[even_now, x]))
                value = np.int32(np.int32(rows[above, x]) + (both >> _ONE))
                seen = _put(out, to + x, value, added, checked, seen)
    if high_rows == low_rows:
        last = (low_rows - 1) & 1
        to = np.uint64(out_at + (height - 1) * width)
        for x in range(count):
            value = np.int32(np.int32(rows[_HIGH + last, x]) + np.int32(rows[_EVEN + last, x]))
            seen = _put(out, to + x, value, added, checked, seen)
    return np.int64(seen)
