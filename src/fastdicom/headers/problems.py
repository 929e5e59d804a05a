"""What a header alone says about pixel data that cannot be read, before any of them is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers.columns import INT_MISSING, HeaderTable

__all__ = ["NOT_APART", "native_surplus", "pixel_problems"]

NOT_APART = "cannot be taken apart"
"""In the problem of each picture of several slices whose places are not known. Its pixels are sound."""
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def pixel_problems(table: HeaderTable) -> NDArray[Any]:
    """Why the pixel data of each row cannot be whole; "" where nothing speaks against them.

    Returns
    -------
    (N,) object array of str: the file ends inside its pixel data, or the element is shorter than Rows x Columns x ...
    """
    problems = table["problem"].copy()
    rows, columns = table["frame_rows"], table["frame_columns"]
    empty = (rows <= 0) | (columns <= 0)
    length, offset, size = table["pixel_length"], table["pixel_offset"], table["file_size"]
    native = length >= 0
    located = native & (table["transfer_syntax_uid"] != _DEFLATED) & (size >= 0)
    beyond = located & (offset + length > size)
    needed = np.where(empty, 0, -(-table["frames_in_file"] * _frame_bits(table) // 8))
    short = native & ~empty & (length < needed)
    # One frame or more left over is another image than the header describes; less is padding, if the pixels agree:
    # `read_native_frame` looks at its bytes.
    frame_nbytes = np.maximum(-(-_frame_bits(table) // 8), 2)  # a single byte makes the length even
    excess = native & ~empty & ~beyond & (length - needed >= frame_nbytes)
    for row in np.flatnonzero(empty | beyond | short | excess):
        if empty[row]:
            reason = f"Rows x Columns is {_shown(rows[row])} x {_shown(columns[row])}"
        elif beyond[row]:
            reason = f"the file ends {int(offset[row] + length[row] - size[row])} bytes before its pixel data do"
        elif excess[row]:
            reason = (
                f"the pixel data have {int(length[row])} bytes where Rows, Columns, Bits Allocated and Number of "
                f"Frames describe {int(needed[row])}"
            )
        else:
            reason = f"the pixel data have {int(length[row])} of {int(needed[row])} bytes"
        problems[row] = problems[row] or reason
    return problems


def native_surplus(table: HeaderTable) -> NDArray[np.int64]:
    """(N,) bytes of native pixel data after the last frame; 0 or less where there are none."""
    length = table["pixel_length"]
    needed = -(-table["frames_in_file"] * _frame_bits(table) // 8)
    surplus: NDArray[np.int64] = np.where(length >= 0, length - needed, 0)
    return surplus


def _frame_bits(table: HeaderTable) -> NDArray[np.int64]:
    """Bits of one native frame of each row (PS3.5 8.1.1); YBR_FULL_422 stores two samples a pixel."""
    samples = np.where(table["samples_per_pixel"] == INT_MISSING, 1, table["samples_per_pixel"])
    samples = np.where(table["photometric_interpretation"] == b"YBR_FULL_422", 2, samples)
    bits = np.where(table["pixel_keyword"] == b"FloatPixelData", 32, table["bits_allocated"])
    bits = np.where(table["pixel_keyword"] == b"DoubleFloatPixelData", 64, bits)
    total: NDArray[np.int64] = table["frame_rows"] * table["frame_columns"] * samples * np.maximum(bits, 0)
    return total


def _shown(value: Any) -> str:
    return "absent" if value == INT_MISSING else str(int(value))
