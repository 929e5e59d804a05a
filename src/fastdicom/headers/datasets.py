"""One file read by pydicom into the raw values of the wanted columns: any DICOM that pydicom can read.

This is the reader that is always right, and the one that the compiled walk hands over to: big endian, deflated,
enhanced multi-frame objects, private blocks in unusual places, and everything malformed.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fastdicom._quiet import import_pydicom, quiet_pydicom
from fastdicom.errors import FastDicomError, HeaderError, SourceError
from fastdicom.headers.columns import ELEMENTS, Column
from fastdicom.headers.frame_groups import (
    FEW_FRAMES,
    LEAST_NBYTES,
    count_fragments,
    frame_overrides,
    max_frames,
    native_frame_nbytes,
)
from fastdicom.sources.readers import ReaderFile
from fastdicom.types import ByteReader

__all__ = ["FileHeader", "looks_like_dicom", "open_clamped", "read_file_header"]

RawValue = bytes | tuple[int, int] | None
MAX_INFLATED_HEADER = 64 << 20
"""Bytes: a deflate stream may be a bomb, of which each byte makes a thousand."""
MAX_TEXT_NBYTES = 2048
"""No legal value of a wanted text is as long (PS3.5 6.2), and a column is as wide as its longest value."""
UNDEFINED_LENGTH = 0xFFFF_FFFF
DEFLATED = ("1.2.840.10008.1.2.1.99",)
VIDEO = "1.2.840.10008.1.2.4.10"
"""How the UIDs of MPEG-2, MPEG-4 and HEVC begin (PS3.6 table A-1)."""
PIXEL_TAGS = {0x7FE0_0010: "PixelData", 0x7FE0_0008: "FloatPixelData", 0x7FE0_0009: "DoubleFloatPixelData"}
_LONG_VRS = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_BINARY_SIZE = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "AT": 2, "OV": 8}
_WANTED = {column.tag: column for column in ELEMENTS if not column.creator}
_WANTED_PRIVATE = tuple(column for column in ELEMENTS if column.creator)


@dataclass
class FileHeader:
    """The raw values of one file: those of the file, and per frame those that differ."""

    values: dict[str, RawValue] = field(default_factory=dict)
    frames: list[dict[str, bytes]] = field(default_factory=list)
    """Overrides of `values`, one dict for each frame; a single empty dict for a single-frame file."""
    pixel_keyword: str = ""
    """Empty where the file has no pixel data."""
    pixel_offset: int = -1
    pixel_length: int = 0
    size: int = -1
    """Bytes of the file."""


class _Clamped(ReaderFile):
    """A `ReaderFile` whose reads never ask for more than the file has.

    pydicom reads as many bytes as a length field says, and Python allocates them first: a length of 4 GiB in a file of
    1 KiB must not.
    """

    name = ""  # pydicom asks every file object for one

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._reader.size - self._position)
        data = self._reader.read_at(self._position, left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        return data


class _Buffered(io.BufferedReader):
    """Buffered reads for pydicom's many small ones, clamped for its large ones."""

    def __init__(self, raw: _Clamped, size: int) -> None:
        super().__init__(raw, buffer_size=65536)
        self._size = size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def open_clamped(reader: ByteReader) -> io.BufferedReader:
    """A file object over `reader` that pydicom can read without allocating more than the file has."""
    return _Buffered(_Clamped(reader), reader.size)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file that starts with these bytes (132 or more) is DICOM, by content.

    With the preamble of PS3.10 7.1, or without it: then the first element must be one of group 2 or 8 with a
    plausible VR or length (ACR-NEMA files, and those that lost their preamble).
    """
    if head[128:132] == b"DICM":
        return True
    if len(head) < 8:
        return False
    group, element, length = struct.unpack("<HHI", head[:8])
    vr = head[4:6]
    known = (b"UL", b"OB", b"UI", b"SH", b"CS", b"DA", b"TM", b"LO", b"DT", b"UN")
    if group in (0x0002, 0x0008):
        return vr in known or (element <= 0x0070 and length <= 256)
    group, element, length = struct.unpack(">HHI", head[:8])
    return group in (0x0002, 0x0008) and vr in known


def read_file_header(reader: ByteReader) -> FileHeader:
    """Read the header of one file with pydicom.

    Raises
    ------
    HeaderError
        pydicom cannot read it to the pixel data (or, where it has none, to its end).
    """
    header = FileHeader(size=reader.size)
    try:
        with quiet_pydicom():  # damage that matters shows in the values; pydicom's notes do not
            dataset = _read_dataset(reader, header)
            _take_values(dataset, header)
            header.frames = frame_overrides(dataset, header.values, raw_value, partial(_most_frames, header, reader))
    except FastDicomError:
        raise
    except RecursionError as error:
        raise HeaderError("sequences are nested too deeply") from error
    except (zlib.error, MemoryError, OverflowError) as error:
        raise HeaderError(f"the header cannot be unpacked: {type(error).__name__}: {error}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise SourceError(f"the file cannot be read: {error}. Check the disk or the connection.") from error
        # Bad bytes make pydicom raise almost anything, EOFError and plain OSError among it.
        raise HeaderError(f"the header is malformed: {type(error).__name__}: {error}") from error
    return header


def _most_frames(header: FileHeader, reader: ByteReader, count: int) -> int:
    """How many frames the pixel data may hold; `count` of them are claimed."""
    syntax = header.values.get("transfer_syntax_uid")
    name = syntax.decode("ascii", "replace") if isinstance(syntax, bytes) else ""
    size = reader.size - header.pixel_offset
    if name in DEFLATED:
        frame_nbytes = native_frame_nbytes(header.values.get)
        return min(
            max_frames(min(header.pixel_length, 32 * reader.size), frame_nbytes),
            max(FEW_FRAMES, reader.size // LEAST_NBYTES),
        )
    if header.pixel_length >= 0:
        return max_frames(size, native_frame_nbytes(header.values.get))
    most = max_frames(size)
    if not most < count <= size // LEAST_NBYTES:
        return most
    # One fragment may hold a whole video (PS3.5 8.2.5 to 8.2.8); elsewhere each frame has one or more.
    return count if name.startswith(VIDEO) else max(most, count_fragments(reader, header.pixel_offset, count))


@dataclass
class _Stop:
    """Stops pydicom at the pixel data and remembers what it saw there."""

    tag: int = 0
    vr: str | None = None
    length: int = 0

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        if int(tag) not in PIXEL_TAGS:
            return False
        self.tag, self.vr, self.length = int(tag), vr, length
        return True


def _read_dataset(reader: ByteReader, header: FileHeader) -> Any:
    import_pydicom()
    from pydicom.filereader import read_partial

    stop = _Stop()
    file = open_clamped(reader)
    syntax = _transfer_syntax(file)
    if syntax in DEFLATED:
        dataset, position = _read_deflated(file, stop, header)
        explicit = True
    else:
        file.seek(0)
        # The file object is the seam: `force` because content was checked before, not because anything goes.
        dataset = read_partial(file, stop_when=stop, force=True)
        position = file.tell()
        implicit, little_endian = dataset.original_encoding
        explicit = not implicit
        header.values["transfer_syntax_uid"] = _meta_syntax(dataset, explicit, bool(little_endian))
    if stop.tag:
        header.pixel_keyword = PIXEL_TAGS[stop.tag]
        long_form = explicit and (stop.vr is None or stop.vr in _LONG_VRS)
        header.pixel_offset = position + (12 if long_form else 8)
        header.pixel_length = -1 if stop.length == 0xFFFF_FFFF else stop.length
    return dataset


def _meta_syntax(dataset: Any, explicit: bool, little: bool) -> bytes:
    """Transfer Syntax UID of the file meta, or the one that the encoding found implies (PS3.5 10.1)."""
    meta = getattr(dataset, "file_meta", None)
    uid = str(meta.get("TransferSyntaxUID", "") or "") if meta is not None else ""
    if not uid:
        uid = "1.2.840.10008.1.2" if not explicit else "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
    return uid.strip("\0 ").encode("ascii", "replace")


def _transfer_syntax(file: io.BufferedReader) -> str:
    import_pydicom()
    from pydicom.filereader import _read_file_meta_info, read_preamble

    file.seek(0)
    try:
        if read_preamble(file, force=True) is None:
            file.seek(0)
        return str(_read_file_meta_info(file).get("TransferSyntaxUID", ""))
    except Exception:  # whatever is wrong there is met again, and named, by the full read
        return ""


def _read_deflated(file: io.BufferedReader, stop: _Stop, header: FileHeader) -> tuple[Any, int]:
    """Inflate only as much of the data set as its header needs: a bomb must not unpack."""
    import_pydicom()
    from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble

    file.seek(0)
    read_preamble(file, force=True)
    header.values["transfer_syntax_uid"] = str(_read_file_meta_info(file).TransferSyntaxUID).encode("ascii")
    start = file.tell()
    limit = 1 << 18
    while limit <= MAX_INFLATED_HEADER:
        file.seek(start)
        content, complete = _inflate(file, limit)
        plain = io.BytesIO(content)
        try:
            dataset = read_dataset(plain, is_implicit_VR=False, is_little_endian=True, stop_when=stop)
        except Exception:
            if complete:
                raise
        else:
            if stop.tag or complete:
                return dataset, plain.tell()
        limit *= 8
    raise HeaderError(f"more than {MAX_INFLATED_HEADER} bytes of deflated header before the pixel data")


def _inflate(file: io.BufferedReader, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the deflate stream from here, and whether these are all."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    parts: list[bytes] = []
    left = limit
    while left > 0 and not inflater.eof:
        packed = inflater.unconsumed_tail or file.read(1 << 16)
        if not packed:
            break
        parts.append(inflater.decompress(packed, left))
        left -= len(parts[-1])
    return b"".join(parts), left > 0


def raw_value(dataset: Any, tag: int, column: Column) -> bytes | None:
    """Value of an element as little-endian bytes in the VR of `column`; None where it is absent."""
    if tag not in dataset:
        return None
    value = _raw_value(dataset, tag, column)
    if value is not None and len(value) > MAX_TEXT_NBYTES and column.kind in ("code", "text"):
        raise HeaderError(f"{column.name} has {len(value)} bytes, more than the {MAX_TEXT_NBYTES} of any legal value")
    return value


def _raw_value(dataset: Any, tag: int, column: Column) -> bytes | None:
    element = dataset.get_item(tag)
    vr = element.VR or column.vr
    value = element.value
    if isinstance(value, bytes) and getattr(element, "is_raw", False):
        if vr in ("UN", "OB", column.vr) or (vr not in _BINARY_SIZE and column.vr not in _BINARY_SIZE):
            size = 1 if vr in ("UN", "OB") else _BINARY_SIZE.get(vr, 1)
            if size > 1 and not element.is_little_endian:
                return np.frombuffer(value[: len(value) // size * size], f">u{size}").astype(f"<u{size}").tobytes()
            return value
        if {vr, column.vr} == {"US", "SS"}:
            return value if element.is_little_endian else np.frombuffer(value, ">u2").astype("<u2").tobytes()
    return encode_value(dataset[tag].value, column)


def encode_value(value: Any, column: Column) -> bytes | None:
    """A converted value (numbers, strings, lists of them) as the bytes that `column` expects."""
    if value is None or value == "":
        return None
    items = list(value) if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]
    formats = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FD": "<d", "FL": "<f"}
    if column.vr in formats:
        code = formats[column.vr]
        try:
            return b"".join(struct.pack(code, float(v) if code in ("<d", "<f") else int(v)) for v in items)
        except (ValueError, TypeError, struct.error):
            return None
    texts = [v if isinstance(v, bytes) else repr(v).encode() if type(v) is float else str(v).encode() for v in items]
    return b"\\".join(texts)


def _take_values(dataset: Any, header: FileHeader) -> None:
    present = set(dataset.keys())  # as plain integers: asking the Dataset itself is slow
    for tag in present & _WANTED.keys():
        if tag >> 16 != 2:
            header.values[_WANTED[tag].name] = _take_value(dataset, tag, _WANTED[tag])
    for column in _WANTED_PRIVATE:
        private = _private_tag(dataset, present, column)
        if private in present:
            header.values[column.name] = _take_value(dataset, private, column)


def _take_value(dataset: Any, tag: int, column: Column) -> RawValue:
    if column.kind not in ("flag", "span"):
        return raw_value(dataset, tag, column)
    element: Any = dataset.get_item(tag)
    if column.kind == "flag":
        return b"1" if element.value else None
    length = getattr(element, "length", UNDEFINED_LENGTH)
    return (element.value_tell, length) if length != UNDEFINED_LENGTH else None


def _private_tag(dataset: Any, present: set[int], column: Column) -> int:
    """The tag of a private element in the block that its creator reserved in this file (PS3.5 7.8); -1: in none."""
    group = column.tag >> 16
    for reservation in sorted(tag for tag in present if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF):
        creator = dataset.get_item(reservation).value
        text = creator if isinstance(creator, bytes) else str(creator).encode()
        if text.strip(b"\0 ") == column.creator:
            return (group << 16) | ((reservation & 0xFF) << 8) | (column.tag & 0xFF)
    return -1
