"""Pixels that are no pixels: Pixel Padding as a mask or filled; and images of one bit.

Sources: PS3.3 C.7.5.1.1.2 (Pixel Padding Value and Range Limit), C.7.6.24 and C.7.6.25 (of floats, which may be NaN),
PS3.5 8.2 (bits of 1-bit images, lowest first).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.errors import ValuesError
from fastdicom.kernels._layout import BITS, as_rows, readable, row_shape

__all__ = ["fill_padding", "padding_mask", "unpack_bits"]

AnyArray = NDArray[Any]


def padding_mask(values: AnyArray, value: float, range_limit: float | None, out: NDArray[np.bool_]) -> None:
    """Write where `values` are padding.

    Parameters
    ----------
    values : integers or floats of up to 32 bits (float64 too), any shape; rows may be strided
        Stored values, exact in every bit.
    value, range_limit : float
        Pixel Padding Value (0028,0120) and Range Limit (0028,0121), whichever is larger; both inclusive. Read with the
        sign of Pixel Representation. A `value` of NaN: every NaN is padding, and nothing else.
    out : same shape, bool
    """
    _padding(values, value, range_limit, out.view(np.uint8), np.uint8(1), keep=False)


def fill_padding(stored: AnyArray, value: float, range_limit: float | None, fill: float, out: AnyArray) -> None:
    """Set `out` to `fill` wherever `stored` is padding; leave the rest.

    Parameters
    ----------
    stored, value, range_limit
        As for :func:`padding_mask`.
    fill : number that the dtype of `out` holds
    out : same shape, any dtype of 1, 2 or 4 bytes (others: slower), for example the rescaled values
        May be (a view of) the memory of `stored`.
    """
    _padding(stored, value, range_limit, out, out.dtype.type(fill), keep=True)


def _padding(
    values: AnyArray, value: float, range_limit: float | None, out: AnyArray, fill: Any, *, keep: bool
) -> None:
    if values.shape != out.shape:
        raise ValuesError(
            f"Padding of {values.shape} values cannot be marked in {out.shape}: give arrays of one shape."
        )
    low, high = _bounds(values.dtype, value, range_limit)
    if value != value and values.dtype.kind == "f":
        _set_nans(values, out, fill, keep=keep)
        return
    if low is None:
        if not keep:
            out[...] = 0
        return
    shape = row_shape(values, out)
    target = as_rows(out, shape)
    if target is None or out.itemsize == 8 or values.itemsize == 8:
        inside = (values >= low) & (values <= high)
        if keep:
            out[inside] = fill
        else:
            out[...] = inside
        return
    source = readable(values, shape)
    bits = BITS[out.itemsize]
    limits = np.array([low, high], source.flat.dtype)
    fills = np.array([fill], out.dtype).view(bits)
    if keep:
        _fill_rows(*source, target.flat.view(bits), target.step, *shape, limits, fills)
    else:
        _mask_rows(*source, target.flat, target.step, *shape, limits)


def _set_nans(values: AnyArray, out: AnyArray, fill: Any, *, keep: bool) -> None:
    """What compares with nothing, not even with itself."""
    inside = np.isnan(values)
    if keep:
        out[inside] = fill
    else:
        out[...] = inside


def _bounds(dtype: np.dtype[Any], value: float, range_limit: float | None) -> tuple[Any, Any]:
    """The inclusive range in `dtype`, or (None, None) where it holds no number of that dtype."""
    if value != value:
        return None, None
    ends = sorted((value, value if range_limit is None else range_limit))
    if dtype.kind == "f":
        return dtype.type(ends[0]), dtype.type(ends[1])
    limits = np.iinfo(dtype)
    low, high = max(int(np.ceil(ends[0])), int(limits.min)), min(int(np.floor(ends[1])), int(limits.max))
    return (low, high) if low <= high else (None, None)


def unpack_bits(data: bytes | bytearray | memoryview, first_bit: int, out: NDArray[np.uint8]) -> None:
    """Write one 1-bit frame as zeros and ones.

    Parameters
    ----------
    data : bytes
        Holds the frame's bits, lowest bit of a byte first.
    first_bit : int
        Frames follow each other without padding, so a frame may begin within a byte: its first bit in `data`.
    out : (rows, columns) uint8

    Notes
    -----
    NumPy's own unpacking is faster than a compiled loop.
    """
    packed = np.frombuffer(data, np.uint8)
    if first_bit < 0 or first_bit + out.size > 8 * packed.size:
        raise ValuesError(
            f"A 1-bit frame of {out.size} pixels from bit {first_bit} needs {-(-(first_bit + out.size) // 8)} bytes; "
            f"there are {packed.size}. The pixel data is shorter than Rows, Columns and Number of Frames say."
        )
    first_byte, offset = divmod(first_bit, 8)
    bits = np.unpackbits(packed[first_byte:], count=offset + out.size, bitorder="little")
    out[...] = bits[offset:].reshape(out.shape)


_TYPES = ("uint16", "int16", "uint8", "int8", "float32", "int32", "uint32")


@kernel(
    [
        f"void(const({a}[::1]), intp, {b}[::1], intp, intp, intp, const({a}[::1]), const({b}[::1]))"
        for b in ("uint16", "uint32", "uint8")
        for a in _TYPES
    ],
    warm=0,
)
def _fill_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, limits, fills
):
    low, high, fill = limits[0], limits[1], fills[0]
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            inside = (values[i] >= low) & (values[i] <= high)
            results[i] = fill if inside else results[i]


@kernel(
    [f"void(const({a}[::1]), intp, uint8[::1], intp, intp, intp, const({a}[::1]))" for a in _TYPES],
    warm=0,
)
def _mask_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, limits
):
    low, high = limits[0], limits[1]
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            results[i] = (values[i] >= low) & (values[i] <= high)
