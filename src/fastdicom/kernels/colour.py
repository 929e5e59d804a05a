"""Colour: YBR to RGB, and planes to pixels.

Sources: PS3.3 C.7.6.3.1.2 (YBR_FULL, YBR_FULL_422, YBR_ICT, YBR_RCT); ISO/IEC 15444-1 annex G (the last two).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.errors import ValuesError
from fastdicom.kernels._layout import BITS

__all__ = ["interleave", "ybr_full_422_to_rgb", "ybr_full_to_rgb", "ybr_ict_to_rgb", "ybr_rct_to_rgb"]

AnyArray = NDArray[Any]

# The coefficients of PS3.3 C.7.6.3.1.2 solved for RGB, as integers over 2**22: fine enough that, with the nudge that
# carries exact halves (1.772 * 125 = 221.5) over the edge, every 8 bit input rounds as the exact formula does, half up.
_SHIFT = 22
_HALF = (1 << (_SHIFT - 1)) + 64
_RED_CR = round(1.402 * (1 << _SHIFT))
_GREEN_CB = round(0.114 * 1.772 / 0.587 * (1 << _SHIFT))
_GREEN_CR = round(0.299 * 1.402 / 0.587 * (1 << _SHIFT))
_BLUE_CB = round(1.772 * (1 << _SHIFT))


def ybr_full_to_rgb(ybr: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Convert YBR_FULL pixels; also 8 bit YBR_ICT samples with chroma centred on 128, whose formula is the same.

    Parameters
    ----------
    ybr : (..., 3) uint8
    out : same shape, uint8
        May be `ybr` itself.

    Notes
    -----
    Equal to pydicom for all 16.7 million inputs: each component is the exact value rounded half up and clipped to
    0..255, but for the green of 28 inputs, all at exact halves, which float32 rounds down.
    """
    _check_pixels(ybr, out)
    if not out.flags.c_contiguous or (out is not ybr and np.may_share_memory(ybr, out)):
        copy = np.ascontiguousarray(ybr).copy()
        _ybr_full(copy.reshape(-1), copy.reshape(-1))
        out[...] = copy
        return
    _ybr_full(np.ascontiguousarray(ybr).reshape(-1), out.reshape(-1))


def ybr_full_422_to_rgb(data: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Convert one native YBR_FULL_422 frame, stored as Y Y Cb Cr for each two pixels of a row.

    Parameters
    ----------
    data : (2 * rows * columns,) uint8
    out : (rows, columns, 3) uint8, columns even

    Source: PS3.3 C.7.6.3.1.2; both pixels of a pair get the pair's chroma.
    """
    if out.dtype != np.uint8 or out.ndim != 3 or out.shape[2] != 3 or data.dtype != np.uint8:
        raise ValuesError(f"YBR_FULL_422 needs uint8 data and a (rows, columns, 3) uint8 output, not {out.shape}.")
    pixels = out.shape[0] * out.shape[1]
    if out.shape[1] % 2 or data.size != 2 * pixels:
        raise ValuesError(
            f"A YBR_FULL_422 frame of {out.shape[0]} x {out.shape[1]} pixels has {2 * pixels} bytes and an even number "
            f"of columns; there are {data.size} bytes. Correct Rows, Columns or Photometric Interpretation (0028,0004)."
        )
    if not out.flags.c_contiguous:
        copy = np.empty(out.shape, np.uint8)
        ybr_full_422_to_rgb(data, copy)
        out[...] = copy
        return
    _ybr_full_422(np.ascontiguousarray(data).reshape(-1), out.reshape(-1))


def ybr_rct_to_rgb(ybr: AnyArray, out: AnyArray, *, bits: int) -> None:
    """Undo the reversible component transform of JPEG 2000 where a decoder has not.

    Parameters
    ----------
    ybr : (..., 3) int16 or int32
        Y in 0..2**bits - 1; Cb and Cr signed differences in -(2**bits - 1)..2**bits - 1.
    out : same shape, uint8 or uint16
    bits : int
        Precision of the colour samples; results are clipped to it.

    Source: ISO/IEC 15444-1 G.2: G = Y - floor((Cb + Cr) / 4), R = Cr + G, B = Cb + G.
    """
    _through(_rct, ybr, out, bits)


def ybr_ict_to_rgb(ybr: AnyArray, out: AnyArray, *, bits: int) -> None:
    """Undo the irreversible component transform of JPEG 2000 where a decoder has not.

    Parameters
    ----------
    ybr : (..., 3) int16 or int32
        Y in 0..2**bits - 1; Cb and Cr centred on 0.
    out : same shape, uint8 or uint16
    bits : int
        Precision of the colour samples; results are rounded half up and clipped to it.

    Source: ISO/IEC 15444-1 G.3.
    """
    _through(_ict, ybr, out, bits)


def interleave(planes: AnyArray, out: AnyArray) -> None:
    """Planar Configuration 1 to 0: ``out[..., s] = planes[s]``.

    Parameters
    ----------
    planes : (samples, rows, columns), any dtype of 1, 2, 4 or 8 bytes
    out : (rows, columns, samples), same dtype; other memory than `planes`

    Source: PS3.3 C.7.6.3.1.3.
    """
    if out.shape != (*planes.shape[1:], planes.shape[0]) or out.dtype != planes.dtype:
        raise ValuesError(
            f"Planes {planes.shape} {planes.dtype.name} interleave to {(*planes.shape[1:], planes.shape[0])} of that "
            f"dtype, not to {out.shape} {out.dtype.name}."
        )
    if np.may_share_memory(planes, out):
        planes = planes.copy()
    if planes.shape[0] != 3 or planes.itemsize > 2 or not out.flags.c_contiguous:
        out[...] = np.moveaxis(planes, 0, -1)
        return
    bits = BITS[planes.itemsize]
    _interleave(np.ascontiguousarray(planes).reshape(3, -1).view(bits), out.reshape(-1).view(bits))


def _check_pixels(source: AnyArray, out: AnyArray) -> None:
    if source.shape != out.shape or source.shape[-1:] != (3,) or source.dtype != np.uint8 or out.dtype != np.uint8:
        raise ValuesError(
            f"YBR_FULL is converted from (..., 3) uint8 to the same, not from {source.shape} {source.dtype.name} to "
            f"{out.shape} {out.dtype.name}. Colour of other depths: load values='stored' and convert it yourself."
        )


def _through(convert: Any, ybr: AnyArray, out: AnyArray, bits: int) -> None:
    if ybr.shape != out.shape or ybr.shape[-1:] != (3,) or out.dtype not in (np.uint8, np.uint16):
        raise ValuesError(f"A component transform from {ybr.shape} to {out.shape} {out.dtype.name} is not possible.")
    if not 0 < bits <= 8 * out.itemsize:
        raise ValuesError(f"Samples of {bits} bits do not fit {out.dtype.name}: give an output that holds them.")
    target = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
    convert(np.ascontiguousarray(ybr.astype(np.int32, copy=False)).reshape(-1), target.reshape(-1), (1 << bits) - 1)
    if target is not out:
        out[...] = target


# --- compiled -------------------------------------------------------------------------------------------------------


@kernel()
def _clip8(value):  # type: ignore[no-untyped-def]
    return np.uint8(min(max(value, np.int32(0)), np.int32(255)))


@kernel()
def _red(y, cr):  # type: ignore[no-untyped-def]
    return _clip8(np.int32(y + np.int32(np.int32(np.int32(cr * np.int32(_RED_CR)) + np.int32(_HALF)) >> _SHIFT)))


@kernel()
def _green(y, cb, cr):  # type: ignore[no-untyped-def]
    part = np.int32(np.int32(cb * np.int32(_GREEN_CB)) + np.int32(cr * np.int32(_GREEN_CR)))
    # Exact halves that pydicom's float32 misses from below (fused multiply-adds of its matrix product).
    below = np.int32((cb == -50) & (cr == 50) & (y >= 19) & (y <= 46))
    return _clip8(np.int32(np.int32(y - below) + np.int32(np.int32(np.int32(_HALF) - part) >> _SHIFT)))


@kernel()
def _blue(y, cb):  # type: ignore[no-untyped-def]
    return _clip8(np.int32(y + np.int32(np.int32(np.int32(cb * np.int32(_BLUE_CB)) + np.int32(_HALF)) >> _SHIFT)))


@kernel("void(const(uint8[::1]), uint8[::1])", warm=0)
def _ybr_full(source, target):  # type: ignore[no-untyped-def]
    for i in range(source.size // 3):
        y = np.int32(source[3 * i])
        cb = np.int32(source[3 * i + 1]) - np.int32(128)
        cr = np.int32(source[3 * i + 2]) - np.int32(128)
        target[3 * i] = _red(y, cr)
        target[3 * i + 1] = _green(y, cb, cr)
        target[3 * i + 2] = _blue(y, cb)


@kernel("void(const(uint8[::1]), uint8[::1])", warm=0)
def _ybr_full_422(source, target):  # type: ignore[no-untyped-def]
    for pair in range(source.size // 4):
        cb = np.int32(source[4 * pair + 2]) - np.int32(128)
        cr = np.int32(source[4 * pair + 3]) - np.int32(128)
        for k in range(2):
            y = np.int32(source[4 * pair + k])
            at = 6 * pair + 3 * k
            target[at] = _red(y, cr)
            target[at + 1] = _green(y, cb, cr)
            target[at + 2] = _blue(y, cb)


_TRANSFORM = [f"void(const(int32[::1]), {b}[::1], int64)" for b in ("uint8", "uint16")]


@kernel(_TRANSFORM, warm=0)
def _rct(source, target, top):  # type: ignore[no-untyped-def]
    for i in range(source.size // 3):
        cb = np.int64(source[3 * i + 1])
        cr = np.int64(source[3 * i + 2])
        green = source[3 * i] - ((cb + cr) >> 2)
        target[3 * i] = min(max(cr + green, 0), top)
        target[3 * i + 1] = min(max(green, 0), top)
        target[3 * i + 2] = min(max(cb + green, 0), top)


@kernel(_TRANSFORM, warm=0)
def _ict(source, target, top):  # type: ignore[no-untyped-def]
    for i in range(source.size // 3):
        y = source[3 * i] + 0.5
        cb = np.float64(source[3 * i + 1])
        cr = np.float64(source[3 * i + 2])
        target[3 * i] = min(max(np.int64(np.floor(y + 1.402 * cr)), 0), top)
        target[3 * i + 1] = min(max(np.int64(np.floor(y - 0.344136 * cb - 0.714136 * cr)), 0), top)
        target[3 * i + 2] = min(max(np.int64(np.floor(y + 1.772 * cb)), 0), top)


@kernel([f"void(const({a}[:, ::1]), {a}[::1])" for a in ("uint8", "uint16")], warm=0)
def _interleave(planes, target):  # type: ignore[no-untyped-def]
    first, second, third = planes[0], planes[1], planes[2]
    for i in range(first.size):
        target[3 * i] = first[i]
        target[3 * i + 1] = second[i]
        target[3 * i + 2] = third[i]
