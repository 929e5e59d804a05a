"""Uncompressed frames: little and big endian, planar, bit-packed, sub-sampled; and the deflated image frame."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs.base import Decoder
from fastdicom.codecs.stored import mask_unused_bits_inplace, to_stored, unused_bits
from fastdicom.codecs.streams import StreamError, StreamHeader
from fastdicom.errors import DecodeError
from fastdicom.frames import check_surplus, native_bit_offset, native_frame_span, read_exactly, read_native_into
from fastdicom.frames.base import BIG_ENDIAN, NATIVE_SYNTAXES
from fastdicom.kernels import interleave, unpack_bits, ybr_full_422_to_rgb
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

__all__ = ["DECODERS", "decode_native", "is_plain", "is_word_data", "read_native_frame"]


def is_plain(fmt: PixelFormat) -> bool:
    """Whether the bytes in the file, apart from their order and the bits above Bits Stored, are the stored values."""
    one_range = fmt.samples_per_pixel == 1 or fmt.planar_configuration == 0
    return fmt.bits_allocated % 8 == 0 and one_range and not fmt.photometric_interpretation.startswith("YBR_")


def decode_native(
    data: bytes | memoryview | NDArray[np.uint8],
    fmt: PixelFormat,
    out: NDArray[Any] | None = None,
    *,
    bit_offset: int = 0,
    mask: bool = True,
) -> NDArray[Any]:
    """Turn the bytes of one uncompressed frame into stored values.

    Parameters
    ----------
    data : bytes of the frame
        At least as many as it needs; more are ignored (padding).
    bit_offset : int
        For Bits Allocated 1: bit of the first byte at which the frame starts.
    mask : bool
        Clear or sign-extend the bits above Bits Stored.

    Raises
    ------
    StreamError
        Too few bytes.
    """
    needed = -(-(bit_offset + fmt.frame_bits) // 8)
    if len(data) < needed:
        raise StreamError(f"it has {len(data)} bytes where {fmt.rows} x {fmt.columns} pixels need {needed}")
    if fmt.bits_allocated == 1:
        bits = np.empty(fmt.frame_shape, np.uint8)
        unpack_bits(np.frombuffer(data, np.uint8, needed).data, bit_offset, bits)
        return to_stored(bits, fmt, None, out)
    dtype = fmt.stored_dtype
    in_file = dtype.newbyteorder(">" if fmt.transfer_syntax_uid == BIG_ENDIAN else "<")
    samples = np.frombuffer(data, in_file, needed // dtype.itemsize)
    frame = np.empty(fmt.frame_shape, dtype) if out is None else out
    if fmt.photometric_interpretation == "YBR_FULL_422":
        if dtype == np.uint8 and fmt.bits_stored == 8 and fmt.columns % 2 == 0 and fmt.samples_per_pixel == 3:
            ybr_full_422_to_rgb(samples, frame)
            return frame
        raw = _expand_422(samples, fmt)
    elif fmt.samples_per_pixel > 1 and fmt.planar_configuration == 1:
        planes = samples.reshape(fmt.samples_per_pixel, fmt.rows, fmt.columns)
        if planes.dtype == dtype:
            interleave(planes, frame)
            raw = frame
        else:
            raw = planes.transpose(1, 2, 0)
    else:
        raw = samples.reshape(fmt.frame_shape)
    if raw is not frame:
        np.copyto(frame, raw)
    return to_stored(frame, fmt if mask else _all_bits(fmt), None, frame)


def _all_bits(fmt: PixelFormat) -> PixelFormat:
    return replace(fmt, bits_stored=fmt.bits_allocated, high_bit=fmt.bits_allocated - 1)


def _expand_422(samples: NDArray[Any], fmt: PixelFormat) -> NDArray[Any]:
    """Y1 Y2 Cb Cr to Y1 Cb Cr Y2 Cb Cr (PS3.3 C.7.6.3.1.2)."""
    if samples.size % 4 or fmt.samples_per_pixel != 3:
        raise StreamError(f"YBR_FULL_422 needs pairs of pixels of 3 samples, not {fmt.frame_shape}")
    quads = samples.reshape(-1, 4)
    pairs = np.empty((len(quads), 2, 3), samples.dtype)
    pairs[:, :, 0] = quads[:, :2]
    pairs[:, :, 1:] = quads[:, np.newaxis, 2:]
    return pairs.reshape(fmt.frame_shape)


def read_native_frame(
    reader: ByteReader,
    fmt: PixelFormat,
    location: PixelLocation,
    frame: int,
    out: NDArray[Any],
    *,
    rows: slice | None = None,
    mask: bool = True,
    path: str = "",
) -> None:
    """Read one native frame, or a band of its rows, as stored values into `out`.

    Plain data (see :func:`is_plain`) go from the file straight into a contiguous `out` with one read.

    Parameters
    ----------
    out : (rows, columns[, samples]) array of ``fmt.stored_dtype``
    rows : slice, optional
        Band of rows, step 1. Only its bytes are read where they are one range.
    mask : bool
        False leaves what is above Bits Stored for a later, fused kernel.

    Raises
    ------
    PixelDataError
        The pixel data or the file end before the frame does.
    """
    check_surplus(reader, fmt, location, frame, path=path)
    big_endian = fmt.transfer_syntax_uid == BIG_ENDIAN
    words = big_endian and fmt.bits_allocated == 8 and is_word_data(reader, location)
    if is_plain(fmt) and not words and out.flags.c_contiguous:
        read_native_into(reader, fmt, location, frame, out.reshape(-1).view(np.uint8), rows, path=path)
        if big_endian and out.dtype.itemsize > 1:
            out.byteswap(inplace=True)
        if mask:
            mask_unused_bits_inplace(out, unused_bits(fmt))
        return
    offset, nbytes = native_frame_span(fmt, location, frame, path=path)
    if words:  # 8-bit samples in 16-bit big endian words: each pair of bytes is swapped, from the start of the value on
        lead = (offset - location.offset) % 2
        pairs = read_exactly(reader, offset - lead, nbytes + lead + (nbytes + lead) % 2, path=path, frame=frame)
        data = np.frombuffer(pairs, "<u2").byteswap().view(np.uint8)[lead : lead + nbytes]
    else:
        data = np.frombuffer(read_exactly(reader, offset, nbytes, path=path, frame=frame), np.uint8)
    try:
        if rows is None:
            decode_native(data, fmt, out, bit_offset=native_bit_offset(fmt, frame), mask=mask)
        else:
            out[...] = decode_native(data, fmt, bit_offset=native_bit_offset(fmt, frame), mask=mask)[rows]
    except StreamError as error:
        raise DecodeError(f"Frame {frame} of {path} cannot be read: {error}.", path=path, frame=frame) from error


def is_word_data(reader: ByteReader, location: PixelLocation) -> bool:
    """VR OW of the element: in explicit VR big endian it stands 8 bytes before the value (PS3.5 7.1.2)."""
    return location.offset >= 12 and reader.read_at(location.offset - 8, 2) == b"OW"


def _decode(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """A native frame in fragments of its own: nothing but a byte that makes the length even, or zeros, may follow."""
    needed = -(-fmt.frame_bits // 8)
    if len(data) > needed + 1 and any(memoryview(data)[needed:]):
        raise StreamError(f"it has {len(data)} bytes where {fmt.rows} x {fmt.columns} pixels need {needed}")
    return decode_native(data, fmt, out)


def _decode_deflated(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Deflated Image Frame Compression: each frame a deflate stream of its native bytes (PS3.5 A.4.13)."""
    needed = -(-fmt.frame_bits // 8)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    frame = stream.decompress(data, needed + 2)
    if len(frame) > needed + 1:
        raise StreamError(f"it inflates to more than the {needed} bytes that {fmt.rows} x {fmt.columns} pixels need")
    if len(frame) >= needed and not stream.eof:
        raise StreamError("its deflate stream has no end")
    return decode_native(frame, fmt, out)


DECODERS = (
    Decoder(
        name="native",
        backend="fastdicom",
        syntaxes=NATIVE_SYNTAXES | {"1.2.840.10008.1.2.1.98"},  # .98: native frames in fragments
        decode=_decode,
        releases_gil=True,
        writes_into=True,
    ),
    Decoder(
        name="fastdicom.deflate",
        backend="fastdicom",
        syntaxes=frozenset({"1.2.840.10008.1.2.8.1"}),
        decode=_decode_deflated,
        releases_gil=True,
    ),
)
