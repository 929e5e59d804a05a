"""Our own RLE decoder (PS3.5 annex G): all byte planes at once in blocks that stay in the L1 cache, without the GIL."""

from __future__ import annotations

import struct
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.codecs.base import Decoder
from fastdicom.codecs.stored import to_stored
from fastdicom.codecs.streams import StreamError, StreamHeader
from fastdicom.types import PixelFormat

__all__ = ["DECODERS", "decode", "decode_spans", "parse_segments"]

_BLOCK = 4096  # bytes of each plane decoded before they are interleaved
_RUN = 128  # the longest run: a plane may be filled, and written, by nearly this much past a block
_WIDTH = _BLOCK + 2 * _RUN
_OK = -1


def _decode_all(
    source: NDArray[np.uint8], bounds: NDArray[np.int64], pixels: int, bytes_per_sample: int, out: NDArray[np.uint8]
) -> tuple[int, int]:
    """`_decode_frames` with the memory that it works in."""
    segments = bounds.shape[1] // 2
    planes, state = np.empty((segments, _WIDTH), np.uint8), np.empty((2, segments), np.uint64)
    return _decode_frames(source, bounds, pixels, bytes_per_sample, planes, state, out)


@kernel(
    "UniTuple(int64, 2)(const(uint8[::1]), const(int64[:, ::1]), int64, int64, uint8[:, ::1], uint64[:, ::1], "
    "uint8[::1])"
)
def _decode_frames(
    source: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    pixels: int,
    bytes_per_sample: int,
    planes: NDArray[np.uint8],
    state: NDArray[np.uint64],
    out: NDArray[np.uint8],
) -> tuple[int, int]:
    """Decode frames into `out`, up to one that is damaged: how many, and -1 or what that one returned."""
    for k in range(len(bounds)):
        answer = _decode_segments(source, bounds[k], pixels, bytes_per_sample, planes, state, out, k)
        if answer != _OK:
            return k, answer
    return len(bounds), _OK


@kernel()
def _decode_segments(
    source: NDArray[np.uint8],
    bounds: NDArray[np.int64],
    pixels: int,
    bytes_per_sample: int,
    planes: NDArray[np.uint8],
    state: NDArray[np.uint64],
    out: NDArray[np.uint8],
    frame: int,
) -> int:
    """Decode into little endian interleaved `out`; return -1, or segment s that is too short, or -2 - s: too long.

    bounds : (2 * segments,) start and end of each segment in `source`, already checked against its length
    planes : (segments, _WIDTH), what is decoded of each; state : (2, segments), where each is

    The indices are unsigned: a signed one could be negative, and the check for that keeps LLVM from making vectors of
    the run loops (measured: 30 times slower). Runs are written, and literals copied, in full length: 128 bytes with
    vectors take less time than the right number of them by a call (measured: a third). What is too much is
    overwritten by what follows, or lies past the block.
    """
    segments = len(bounds) // 2
    position, filled = state[0], state[1]
    one, run, size = np.uint64(1), np.uint64(_RUN), np.uint64(len(source))
    for s in range(segments):
        position[s] = np.uint64(bounds[2 * s])
        filled[s] = np.uint64(0)
    first = np.uint64(frame) * np.uint64(pixels) * np.uint64(segments)
    for start in range(0, pixels, _BLOCK):
        wanted = np.uint64(min(_BLOCK, pixels - start))
        for s in range(segments):
            plane = planes[s]
            at, have, end = position[s], filled[s], np.uint64(bounds[2 * s + 1])
            while have < wanted:
                if at >= end:
                    return s
                head = source[at]
                at += one
                if head < 128:
                    count = min(np.uint64(head) + one, end - at)
                    if at + run <= size:
                        for i in range(run):
                            plane[have + i] = source[at + i]
                    else:
                        for i in range(count):
                            plane[have + i] = source[at + i]
                    at += count
                    have += count
                elif head > 128:
                    if at >= end:
                        return s
                    value = source[at]
                    at += one
                    for i in range(run):
                        plane[have + i] = value
                    have += np.uint64(257) - np.uint64(head)
            position[s], filled[s] = at, have
        base = first + np.uint64(start) * np.uint64(segments)
        if segments == 1:
            plane = planes[0]
            for i in range(wanted):
                out[base + i] = plane[i]
        elif segments == 2 and bytes_per_sample == 2:
            high, low = planes[0], planes[1]
            for i in range(wanted):
                out[base + i + i] = low[i]
                out[base + i + i + one] = high[i]
        else:
            for s in range(segments):
                # The most significant byte of a sample comes first; in little endian its place is the last.
                place = np.uint64(s - s % bytes_per_sample + bytes_per_sample - 1 - s % bytes_per_sample)
                for i in range(wanted):
                    out[base + i * np.uint64(segments) + place] = planes[s, i]
        for s in range(segments):  # a run may have gone past the block: at most 127 bytes of the next
            rest = filled[s] - wanted
            for i in range(rest):
                planes[s, i] = planes[s, wanted + i]
            filled[s] = rest
    for s in range(segments):
        # A byte of padding may be seen as the start of a run, and up to 3 zeros as one more byte.
        at, end = position[s], np.uint64(bounds[2 * s + 1])
        surplus = filled[s] > one or end > at + np.uint64(3)
        if not surplus and end > at + one:
            for i in range(end - at):
                surplus = surplus or source[at + i] % 128 != 0  # 128: no operation
        if surplus:
            return -2 - s
    return _OK


def parse_segments(data: bytes | memoryview, expected: int) -> list[int]:
    """Start and end of each segment, one after the other, checked against the length of the data (PS3.5 G.5).

    Raises
    ------
    StreamError
        Not the expected number of segments, or offsets outside the data.
    """
    if len(data) < 64:
        raise StreamError(f"it has {len(data)} bytes where an RLE header alone has 64")
    segments, *offsets = struct.unpack_from("<16I", data)
    if segments != expected:
        raise StreamError(f"it has {segments} RLE segments where the file header asks for {expected}")
    starts = offsets[:segments]
    if any(start > end for start, end in pairwise([64, *starts, len(data)])):
        raise StreamError(f"its RLE segments {starts} do not lie in order within its {len(data)} bytes")
    return [bound for pair in pairwise([*starts, len(data)]) for bound in pair]


def decode_spans(buffer: NDArray[np.uint8], spans: NDArray[np.int64], fmt: PixelFormat, out: NDArray[Any]) -> int:
    """Decode gray frames for `decode_together`."""
    itemsize = fmt.stored_dtype.itemsize
    segments: list[list[int]] = []
    with suppress(StreamError):
        for first, last in spans.tolist():
            segments.append(parse_segments(buffer[first:last].data, itemsize))
    bounds = np.array(segments, np.int64).reshape(-1, 2 * itemsize) + spans[: len(segments), :1]
    return _decode_all(buffer, bounds, fmt.rows * fmt.columns, itemsize, out.reshape(-1).view(np.uint8))[0]


def decode(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Decode one RLE frame to stored values."""
    itemsize = fmt.stored_dtype.itemsize
    bounds = np.array([parse_segments(data, fmt.samples_per_pixel * itemsize)], np.int64)
    frame = out if out is not None and out.flags.c_contiguous else np.empty(fmt.frame_shape, fmt.stored_dtype)
    source, pixels = np.frombuffer(data, np.uint8), fmt.rows * fmt.columns
    _, short = _decode_all(source, bounds, pixels, itemsize, frame.reshape(-1).view(np.uint8))
    if short > _OK and fmt.bits_allocated == 1:  # eight pixels a byte (PS3.5 8.2.2); a byte a pixel is seen as well
        packed = np.empty(-(-pixels // 8), np.uint8)
        _, short = _decode_all(source, bounds, packed.size, 1, packed)
        frame[...] = np.unpackbits(packed, count=pixels, bitorder="little").reshape(fmt.frame_shape)
    if short < _OK:
        raise StreamError(
            f"RLE segment {-2 - short} of {bounds.size // 2} goes on after the {pixels} pixels, so Rows or Columns "
            "are wrong"
        )
    if short != _OK:
        raise StreamError(f"RLE segment {short} of {bounds.size // 2} ends before the {pixels} pixels do")
    return to_stored(frame, fmt, header, out)


DECODERS = (
    Decoder(
        name="fastdicom.rle",
        backend="fastdicom",
        syntaxes=frozenset({"1.2.840.10008.1.2.5"}),
        decode=decode,
        releases_gil=True,
        writes_into=True,
    ),
)
