"""The deflated transfer syntax: one deflate stream after the file meta group holds the whole data set (PS3.5 A.5)."""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastdicom.frames.base import pixel_error
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

_INPUT_NBYTES = 1 << 14
_OUTPUT_NBYTES = 1 << 18
_KEPT_NBYTES = 1 << 22
"""Inflated pixel data of several frames up to this size are kept; those of one frame always: it is read once."""

_MAX_PLACES = 384
"""Places in the stream from which inflating can go on; each holds about 60 KiB: a window of zlib and some input."""

_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


class _Cursor:
    """Goes forward through a deflate stream."""

    def __init__(self, reader: ByteReader, stream: Any, position: int, seen: int, path: str, end: int) -> None:
        self.reader = reader
        self.stream = stream
        self.position = position
        """Of the first byte in the file that zlib has not taken."""
        self.seen = seen
        """Inflated bytes so far."""
        self.path = path
        self.end = end
        self.pending = b""

    def advance(self, limit: int) -> bytes:
        """The next inflated bytes, at most `limit`; empty at the end of the stream or of the file."""
        while not self.stream.eof:
            if not self.pending:
                self.pending = self.reader.read_at(self.position, _INPUT_NBYTES)
            taken = len(self.pending)
            try:
                part: bytes = self.stream.decompress(self.pending, limit)
            except zlib.error as error:
                raise pixel_error(
                    f"The deflated data set breaks after {self.seen} inflated bytes, of {self.end} wanted ({error}). "
                    "The file is damaged; copy it again from its origin.",
                    self.path,
                    expected=self.end,
                    found=self.seen,
                ) from error
            self.pending = self.stream.unconsumed_tail
            self.position += taken - len(self.pending)
            self.seen += len(part)
            if part or not taken:
                return part
        return b""

    def place(self) -> _Place:
        return _Place(self.seen, self.position, self.stream.copy())


class _Place(NamedTuple):
    """From where inflating can go on."""

    seen: int
    position: int
    stream: Any


@dataclass(frozen=True)
class InflatedData:
    """What is kept of the pixel data of a deflated file; may be used by several threads."""

    base: int
    """Offset of the pixel data in the inflated data set."""
    size: int
    """Bytes of the inflated data set up to the end of the pixel data."""
    data: memoryview
    """The pixel data, or nothing where they are large."""
    places: list[_Place]
    path: str

    def open(self, reader: ByteReader) -> InflatedReader:
        """The pixel data, through a reader of the file."""
        return InflatedReader(self, reader)


class InflatedReader:
    """The pixel data of an inflated data set; offsets are those of the inflated data set, other bytes are not read.

    What is large is not kept: a read inflates anew from the nearest place, or goes on where the last one ended. For one
    thread.
    """

    def __init__(self, inflated: InflatedData, reader: ByteReader) -> None:
        self.inflated = inflated
        self.size = inflated.size
        self._reader = reader
        self._cursor: _Cursor | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset`, which must not lie before the pixel data."""
        buffer = bytearray(max(0, min(length, self.size - max(offset, self.inflated.base))))
        return bytes(buffer[: self.readinto_at(offset, memoryview(buffer))])

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return the number of bytes copied."""
        base, data = self.inflated.base, self.inflated.data
        start = max(offset, base)
        wanted = max(0, min(buffer.nbytes, self.size - start))
        if data:
            buffer[:wanted] = data[start - base : start - base + wanted]
            return wanted
        cursor = self._cursor_at(start) if wanted else None
        done = 0
        while cursor is not None and done < wanted:
            part = cursor.advance(min(_OUTPUT_NBYTES, wanted - done))
            if not part:
                break  # the file has changed
            buffer[done : done + len(part)] = part
            done += len(part)
        return done

    def _cursor_at(self, offset: int) -> _Cursor:
        inflated = self.inflated
        seen, position, stream = inflated.places[bisect_right(inflated.places, offset, key=lambda one: one.seen) - 1]
        cursor = self._cursor
        if cursor is None or not seen <= cursor.seen <= offset:
            cursor = _Cursor(self._reader, stream.copy(), position, seen, inflated.path, self.size)
            self._cursor = cursor
        while cursor.seen < offset and cursor.advance(min(_OUTPUT_NBYTES, offset - cursor.seen)):
            pass
        return cursor

    def close(self) -> None:
        self._cursor = None

    def __enter__(self) -> InflatedReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def meta_group_end(reader: ByteReader, *, path: str = "") -> int:
    """Offset of the first byte after the file meta group, found by walking its elements (group lengths can lie)."""
    data = reader.read_at(0, 1 << 16)
    position = 132 if data[128:132] == b"DICM" else 0
    while data[position : position + 2] == b"\x02\x00" and position + 12 <= len(data):
        if data[position + 4 : position + 6] in _LONG_VRS:
            position += 12 + struct.unpack_from("<I", data, position + 8)[0]
        else:
            position += 8 + struct.unpack_from("<H", data, position + 6)[0]
    if position in (0, 132) or position > len(data):
        raise pixel_error(
            f"The file meta group is absent or longer than {len(data)} bytes, so the start of the deflated data set is "
            "unknown. The file is damaged; copy it again from its origin.",
            path,
        )
    return position


def inflate(
    reader: ByteReader, location: PixelLocation, fmt: PixelFormat | None = None, *, path: str = ""
) -> InflatedReader:
    """Inflate the pixel data of a deflated file (1.2.840.10008.1.2.1.99).

    Parameters
    ----------
    location : PixelLocation
        Its offset counts from the start of the inflated data set.
    fmt : PixelFormat, optional
        Bounds the memory by the image it describes, where the element claims more.

    Returns
    -------
    InflatedReader
        Holds no more than the declared pixel data: those of one frame, a few MiB of several frames, else none, but
        places to go on from. A stream that ends early gives a shorter reader, so that only the frames that are absent
        fail.

    Raises
    ------
    PixelDataError
        The stream is not a deflate stream, or holds no pixel data at all.
    """
    wanted = location.length
    if fmt is not None:
        needed = -(-fmt.frame_bits * max(1, location.number_of_frames) // 8)
        # Up to a frame more: whether it is padding, `check_surplus` must see.
        wanted = needed if wanted < 0 else min(wanted, needed + fmt.frame_bits // 8)
    if wanted < 0:
        raise pixel_error("Deflated pixel data of undefined length cannot be located; rewrite the file.", path)
    end = location.offset + wanted
    cursor = _Cursor(reader, zlib.decompressobj(-zlib.MAX_WBITS), meta_group_end(reader, path=path), 0, path, end)
    # The whole stream is inflated once before any of it is used: a frame before a break may be damaged, too.
    keep = location.number_of_frames <= 1 or wanted <= _KEPT_NBYTES
    kept = bytearray()  # grows in place: parts to be joined would be there twice
    places = [cursor.place()]
    step = _place_distance(fmt, wanted, max(1, location.number_of_frames))
    border = location.offset
    while cursor.seen < end:
        if cursor.seen == border:
            if not keep:
                places.append(cursor.place())
            border += step
        before = cursor.seen
        part = cursor.advance(min(_OUTPUT_NBYTES, min(border, end) - before))
        if not part:
            break
        if keep and cursor.seen > location.offset:
            kept += part
    seen = cursor.seen
    if seen <= location.offset:
        raise pixel_error(
            f"The data set inflates to {seen} bytes, but its pixel data start at {location.offset}. The file is "
            "truncated; copy it again from its origin.",
            path,
            expected=end,
            found=seen,
        )
    return InflatedData(location.offset, seen, memoryview(kept), places, path).open(reader)


def _place_distance(fmt: PixelFormat | None, nbytes: int, frames: int) -> int:
    """Inflated bytes between places: each begins a frame, so that frames can be read in any order."""
    frame_nbytes = max(1, nbytes // frames if fmt is None else fmt.frame_bits // 8)
    return frame_nbytes * max(1, -(-frames // _MAX_PLACES), _OUTPUT_NBYTES // frame_nbytes)
