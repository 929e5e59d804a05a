"""From what a codec returns to *stored values*: what pydicom's ``pixel_array`` has, in dtype, sign, bits and colour."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._arrays import same_memory
from fastdicom.codecs.colour import needs_rgb, ybr_full_to_rgb_inplace
from fastdicom.codecs.streams import JPEGLS_SYNTAXES, StreamError, StreamHeader
from fastdicom.types import PixelFormat

__all__ = ["corrected", "mask_unused_bits_inplace", "place_for", "to_stored", "unused_bits"]


def unused_bits(fmt: PixelFormat) -> int:
    """Bits above Bits Stored in each allocated word: overlays or rubbish that stored values must not show.

    Zero where there is nothing to mask. Like pydicom this counts from Bits Stored; the standard requires High Bit to be
    one less (PS3.3 C.7.6.3.1).
    """
    if fmt.pixel_keyword != "PixelData" or not 0 < fmt.bits_stored < fmt.bits_allocated:
        return 0
    return fmt.bits_allocated - fmt.bits_stored


def mask_unused_bits_inplace(frame: NDArray[Any], shift: int) -> None:
    """Clear (unsigned) or sign-extend over (signed) the upper `shift` bits of each word."""
    if shift <= 0:
        return
    if frame.dtype.kind == "u":
        np.bitwise_and(frame, frame.dtype.type((1 << 8 * frame.itemsize - shift) - 1), out=frame)
    else:
        np.left_shift(frame, shift, out=frame)
        np.right_shift(frame, shift, out=frame)


def place_for(header: StreamHeader, out: NDArray[Any] | None) -> NDArray[Any]:
    """Where a decoder of our own puts the samples of a gray stream of up to 16 bits: `out` where they fit it as it is.

    Returns
    -------
    (rows, columns) array of uint8 or uint16, by the precision of the stream
    """
    itemsize = 1 if header.precision <= 8 else 2
    if out is None or not (out.flags.c_contiguous and out.flags.aligned) or out.itemsize != itemsize:
        out = np.empty((header.rows, header.columns), f"u{itemsize}")
    return out.view(f"u{itemsize}")


def to_stored(
    raw: NDArray[Any], fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None, *, is_rgb: bool = False
) -> NDArray[Any]:
    """Turn the array of a codec into stored values, in `out` where given.

    Parameters
    ----------
    raw : (rows, columns[, samples]) integer array
        As the codec returned it; it may be `out` itself, viewed with another sign.
    header : StreamHeader, optional
        Sign and precision of the code stream, where it has them.
    is_rgb : bool
        The codec has already converted YBR to RGB.

    Raises
    ------
    StreamError
        Another shape than the header of the file describes, or samples that do not fit Bits Allocated.
    """
    dtype = fmt.stored_dtype
    if raw.shape != fmt.frame_shape:
        if raw.size != np.prod(fmt.frame_shape) or raw.shape[:2] != fmt.frame_shape[:2]:
            raise StreamError(f"it decodes to shape {raw.shape} where the file header says {fmt.frame_shape}")
        raw = raw.reshape(fmt.frame_shape)
    return corrected(_to_dtype(raw, dtype, out), fmt, header, is_rgb=is_rgb)


def corrected(
    frames: NDArray[Any], fmt: PixelFormat, header: StreamHeader | None, *, is_rgb: bool = False
) -> NDArray[Any]:
    """Samples of `fmt.stored_dtype`, one frame or several, with the sign, bits and colour of stored values.

    In place where `frames` can be written to.
    """
    shift, to_rgb = _shift(fmt, header), not is_rgb and needs_rgb(fmt, header)
    if (shift or to_rgb) and not frames.flags.writeable:
        frames = frames.copy()
    if shift:
        mask_unused_bits_inplace(frames, shift)
    if to_rgb:
        # A stream of fewer bits carries samples of its own depth in words of the file's.
        bits = fmt.bits_stored if header is None else min(header.precision, fmt.bits_stored)
        ybr_full_to_rgb_inplace(frames, bits)
    return frames


def _shift(fmt: PixelFormat, header: StreamHeader | None) -> int:
    """Bits to shift out and back in: the rules of pydicom 3 for each family of codecs."""
    width = 8 * fmt.stored_dtype.itemsize
    if header is not None and header.kind == "jpeg2000":
        # The code stream knows its sign; where the file header disagrees, the same bits are read with the other sign.
        monochrome = fmt.photometric_interpretation.startswith("MONOCHROME")
        mismatch = header.signed != bool(fmt.pixel_representation)
        return max(0, width - header.precision) if monochrome and mismatch else 0
    if fmt.transfer_syntax_uid in JPEGLS_SYNTAXES:
        # JPEG-LS has no sign at all, so the sign bit is the top bit of the precision.
        precision = header.precision if header is not None else fmt.bits_stored
        return max(0, width - precision) if fmt.pixel_representation else 0
    if header is not None and header.kind == "jpegxl" and not fmt.pixel_representation:
        return 0  # a bit above the precision is never set, and one above Bits Stored is another value
    if header is not None and header.kind == "jpeg" and not fmt.pixel_representation:
        return unused_bits(fmt) if header.precision > fmt.bits_stored else 0  # no bit above the precision is ever set
    return unused_bits(fmt)


def _to_dtype(raw: NDArray[Any], dtype: np.dtype[Any], out: NDArray[Any] | None) -> NDArray[Any]:
    if raw is out and raw.dtype == dtype:
        return raw
    if raw.dtype.itemsize == dtype.itemsize and raw.dtype.kind != "f":
        raw = raw.view(dtype)  # same bits, the sign of the file header
    elif raw.dtype.itemsize < dtype.itemsize:
        raw = raw.view(f"{dtype.kind}{raw.dtype.itemsize}")
    elif raw.size and dtype.kind in "iu":
        low, high = int(raw.min()), int(raw.max())
        limits = np.iinfo(dtype)
        if low < limits.min or high > limits.max:
            raise StreamError(f"its values {low} to {high} do not fit {dtype.name}, which Bits Allocated asks for")
    if out is None:
        return raw if raw.dtype == dtype else raw.astype(dtype)
    if raw.dtype != out.dtype or not same_memory(raw, out):
        np.copyto(out, raw, casting="unsafe")
    return out
