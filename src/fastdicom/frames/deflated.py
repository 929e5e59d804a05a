"""The deflated transfer syntax: one deflate stream after the file meta group holds the whole data set (PS3.5 A.5)."""

from __future__ import annotations

import struct
import zlib

from fastdicom.frames.base import pixel_error
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

_BLOCK_NBYTES = 1 << 20
_LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})


class InflatedReader:
    """The pixel data of an inflated data set; offsets are those of the inflated data set, other bytes are not kept."""

    def __init__(self, data: bytes | bytearray, base: int) -> None:
        self._data = memoryview(data)
        self._base = base
        self.size = base + len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset`, which must not lie before the pixel data."""
        start = max(0, offset - self._base)
        return bytes(self._data[start : start + length])

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` from `offset`; return the number of bytes copied."""
        start = max(0, offset - self._base)
        part = self._data[start : start + buffer.nbytes]
        buffer[: part.nbytes] = part
        return part.nbytes

    def close(self) -> None:
        self._data = memoryview(b"")

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
        Holds no more than the declared pixel data; what lies before them is inflated and dropped. A stream that ends
        early gives a shorter reader, so that only the frames that are absent fail.

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
    position = meta_group_end(reader, path=path)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    seen, end = 0, location.offset + wanted
    kept = bytearray()  # grows in place: parts to be joined would be there twice
    pending = b""
    while seen < end and not stream.eof:
        if not pending:
            pending = reader.read_at(position, _BLOCK_NBYTES)
            position += len(pending)
            if not pending:
                break
        try:
            part = stream.decompress(pending, min(_BLOCK_NBYTES, end - seen))
        except zlib.error as error:
            raise pixel_error(
                f"The deflated data set breaks after {seen} inflated bytes, of {end} wanted ({error}). "
                "The file is damaged; copy it again from its origin.",
                path,
                expected=end,
                found=seen,
            ) from error
        pending = stream.unconsumed_tail
        if seen + len(part) > location.offset:
            kept += memoryview(part)[max(0, location.offset - seen) :]
        seen += len(part)
    if not kept:
        raise pixel_error(
            f"The data set inflates to {seen} bytes, but its pixel data start at {location.offset}. The file is "
            "truncated; copy it again from its origin.",
            path,
            expected=end,
            found=seen,
        )
    return InflatedReader(kept, location.offset)
