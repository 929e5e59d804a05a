"""The code stream of a file with one frame, in what follows the start of its pixel data: no index, and one read."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.frames.encapsulated import HEADER_NBYTES
from fastdicom.frames.markers import HEAD_NBYTES, starts_frame
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

__all__ = ["holds_only_frame", "most_of_only_frame", "only_frame", "only_frames", "read_only_frame"]

_ITEM_HEADER = struct.Struct("<II")
_ITEM_TAG, _DELIMITER_TAG = 0xE000FFFE, 0xE0DDFFFE
SLACK_NBYTES = 1 << 16
"""What a code stream may have beyond twice the pixels that it encodes: headers, padding."""
READ_AHEAD_NBYTES = 1 << 26


def read_only_frame(
    reader: ByteReader,
    location: PixelLocation,
    scratch: bytearray | None = None,
    fmt: PixelFormat | None = None,
    *,
    path: str = "",
) -> memoryview | None:
    """The code stream of a file with one frame, by one read of all that follows the start of its pixel data.

    Parameters
    ----------
    scratch : bytearray, optional
        Memory to read into, made larger where need be. New memory for each frame costs more than the read itself.
    fmt : PixelFormat, optional
        What the frame is, which tells how much of the file may be its own.

    Returns
    -------
    memoryview of bytes, or None where the items are not plainly an offset table, fragments and a delimiter, or the
    rest of the file is large: then `index_frames` and `read_encapsulated` find what is there or say what is wrong.
    """
    rest = reader.size - location.offset
    if not holds_only_frame(location.number_of_frames, location.length, rest, most_of_only_frame(fmt)):
        return None
    if scratch is None:
        scratch = bytearray(rest)
    elif len(scratch) < rest:
        try:
            scratch.extend(bytes(rest - len(scratch)))
        except BufferError:  # somebody still holds the frame before
            scratch = bytearray(rest)
    data = memoryview(scratch)[:rest]
    if reader.readinto_at(location.offset, data) < rest:
        return None
    return only_frame(data)


def most_of_only_frame(fmt: PixelFormat | None) -> int:
    """Bytes that `only_frame` is for at most: where a file goes on long after its frame, by what `fmt` makes likely,
    what is needed is found first.
    """
    return READ_AHEAD_NBYTES if fmt is None else min(READ_AHEAD_NBYTES, fmt.frame_bits // 4 + SLACK_NBYTES)


def holds_only_frame(number_of_frames: Any, length: Any, rest: Any, most: Any) -> Any:
    """Whether `only_frame` is for a file, or which of several it is for.

    Parameters
    ----------
    number_of_frames, length : int or array of int
        As in `PixelLocation`.
    rest : int or array of int
        Bytes that the file has from its pixel data on.
    most : int or array of int
        From `most_of_only_frame`.

    Returns
    -------
    bool or array of bool
    """
    return (number_of_frames == 1) & (length < 0) & (rest > 2 * HEADER_NBYTES) & (rest <= most)


def only_frame(data: memoryview) -> memoryview | None:
    """The code stream of the one frame in the items that `data` starts with: a part of `data` if in one fragment.

    None where the items are not plainly an offset table, fragments and a delimiter.
    """
    parts: list[memoryview] = []
    position, end = 0, len(data) - HEADER_NBYTES
    while position <= end:
        tag, length = _ITEM_HEADER.unpack_from(data, position)
        position += HEADER_NBYTES
        if tag != _ITEM_TAG:
            # Fragments after the first item, which is the offset table.
            whole = tag == _DELIMITER_TAG and len(parts) > 1 and any(len(part) for part in parts[1:])
            if not whole:
                return None
            if any(starts_frame(bytes(part[:HEAD_NBYTES]), None) for part in parts[2:]):
                return None
            return parts[1] if len(parts) == 2 else memoryview(b"".join(parts[1:]))
        if length > len(data) - position:
            return None
        parts.append(data[position : position + length])
        position += length
    return None


def only_frames(data: NDArray[np.uint8], lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64] | None:
    """`only_frame` of several files in one compiled call.

    Parameters
    ----------
    data : (N,) uint8, C-contiguous
        What follows the start of the pixel data of one file, then that of the next.
    lengths : sequence or array of int
        Bytes of each, N together.

    Returns
    -------
    (len(lengths), 2) int64
        Start and end of the code streams in `data`; None where one is not plainly in one fragment.
    """
    ends, spans = np.cumsum(lengths, dtype=np.int64), np.empty((len(lengths), 2), dtype=np.int64)
    if len(ends) and ends[-1] != len(data):
        raise ValueError(f"{len(lengths)} lengths do not add up to the {len(data)} bytes of data")
    return spans if _spans_of_frames(data, ends, spans) else None


@kernel()
def _number(data, at):
    """Four bytes, little endian."""
    return (
        np.int64(data[at]) | np.int64(data[at + 1]) << 8 | np.int64(data[at + 2]) << 16 | np.int64(data[at + 3]) << 24
    )


@kernel("boolean(const(uint8[::1]), const(int64[::1]), int64[:, ::1])")
def _spans_of_frames(data, ends, spans):
    at = np.int64(0)
    for k in range(len(ends)):
        # The headers of the offset table, of the fragment and of the delimiter, each behind the contents of the other.
        for item in range(3):
            if at + HEADER_NBYTES > ends[k]:
                return False
            tag, length = _number(data, at), _number(data, at + 4)
            at += HEADER_NBYTES
            if item == 2:
                if tag != _DELIMITER_TAG:
                    return False
                break
            if tag != _ITEM_TAG or length > ends[k] - at:
                return False
            if item == 1:
                if length == 0:
                    return False
                spans[k, 0], spans[k, 1] = at, at + length
            at += length
        at = ends[k]
    return True
