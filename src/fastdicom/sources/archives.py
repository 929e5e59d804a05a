"""Members of zip archives, read in ranges where they lie: nothing is unpacked to disk."""

from __future__ import annotations

import struct
import threading
import zlib
from collections import OrderedDict
from dataclasses import dataclass

from fastdicom.errors import SourceError, SourceNotFoundError
from fastdicom.sources.readers import ReaderFile
from fastdicom.types import ByteReader, FileRef, Skipped

__all__ = ["ZIP_SCHEME", "is_zip", "members", "open_member", "split_locator"]

ZIP_SCHEME = "zip://"
_LINK = "::"
_STORED, _DEFLATED = 0, 8
_CHUNK = 1 << 16
_LOCAL_HEADER = 30


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    packed_size: int
    size: int
    method: int
    encrypted: bool


_indexes: OrderedDict[tuple[str, int], dict[str, _Member]] = OrderedDict()
_lock = threading.Lock()
_KEPT = 8


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a zip archive (APPNOTE 4.3.7, 4.3.16)."""
    return head[:4] in (b"PK\3\4", b"PK\5\6")


def split_locator(locator: str) -> tuple[str, str]:
    """(member, locator of the archive)."""
    member, _, archive = locator.removeprefix(ZIP_SCHEME).partition(_LINK)
    return member, archive


def members(archive: str, reader: ByteReader) -> tuple[list[FileRef], list[Skipped]]:
    """The files in an archive, in the order of their names.

    Raises
    ------
    SourceError
        The archive is damaged.
    """
    files, skipped = [], []
    for name, member in sorted(_index(archive, reader).items()):
        locator = f"{ZIP_SCHEME}{name}{_LINK}{archive}"
        if member.encrypted or member.method not in (_STORED, _DEFLATED):
            how = "encrypted" if member.encrypted else f"packed with method {member.method}"
            skipped.append(Skipped(locator, "unreadable", f"{how}; unpack the archive and pass the folder"))
        elif _LINK in name:
            skipped.append(Skipped(locator, "unreadable", f"its name contains {_LINK}; unpack the archive"))
        else:
            files.append(FileRef(locator, member.size))
    return files, skipped


def open_member(locator: str, archive_reader: ByteReader) -> ByteReader:
    """Open one member; `archive_reader` becomes the member's, and is closed with it."""
    name, archive = split_locator(locator)
    member = _index(archive, archive_reader).get(name)
    if member is None:
        raise SourceNotFoundError(f"{archive} has no member {name} (any more). Scan it again.", path=locator)
    header = archive_reader.read_at(member.offset, _LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
        raise SourceError(f"{name} in {archive} has no header where the archive says. Copy it again.", path=locator)
    start = member.offset + _LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))
    packed = min(member.packed_size, max(0, archive_reader.size - start))
    if member.method == _STORED:
        return _StoredReader(archive_reader, start, min(member.size, packed))
    return _DeflatedReader(archive_reader, start, packed, member.size, locator)


def _index(archive: str, reader: ByteReader) -> dict[str, _Member]:
    """The central directory, kept for the next members."""
    key = (archive, reader.size)
    with _lock:
        if key in _indexes:
            _indexes.move_to_end(key)
            return _indexes[key]
    import zipfile  # slow to import, and seldom needed

    try:
        with zipfile.ZipFile(ReaderFile(reader)) as file:
            index = {
                entry.filename: _Member(
                    entry.header_offset,
                    entry.compress_size,
                    entry.file_size,
                    entry.compress_type,
                    bool(entry.flag_bits & 1),
                )
                for entry in file.infolist()
                if not entry.is_dir()
            }
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
        raise SourceError(f"{archive} is a damaged zip archive: {error}. Copy it again.", path=archive) from error
    with _lock:
        _indexes[key] = index
        while len(_indexes) > _KEPT:
            _indexes.popitem(last=False)
    return index


class _Part:
    """What both kinds of member share."""

    def __init__(self, archive: ByteReader, start: int, size: int) -> None:
        self._archive = archive
        self._start = start
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        raise NotImplementedError

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._archive.close()

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _StoredReader(_Part):
    """A member that is not compressed: a range of the archive."""

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, max(0, self.size - offset))
        return self._archive.read_at(self._start + offset, length)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        return self._archive.readinto_at(self._start + offset, buffer[: max(0, self.size - offset)])


class _DeflatedReader(_Part):
    """A compressed member: inflated as far as it is read, from the front again for what lies before.

    Not more than what is asked for is ever inflated at once, so a bomb does not unpack.
    """

    def __init__(self, archive: ByteReader, start: int, packed: int, size: int, locator: str) -> None:
        # Deflate makes at most 1032 bytes of one (zlib's technical notes): a directory that says more is wrong.
        super().__init__(archive, start, min(size, packed * 1032))
        self._packed = packed
        self._locator = locator
        self._rewind()

    def _rewind(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._taken = 0
        self._position = 0

    def read_at(self, offset: int, length: int) -> bytes:
        if offset < self._position:
            self._rewind()
        while self._position < offset:
            if not self._inflate(min(_CHUNK * 4, offset - self._position)):
                return b""
        parts: list[bytes] = []
        while length > 0:
            part = self._inflate(min(length, 1 << 24))
            if not part:
                break
            parts.append(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _inflate(self, most: int) -> bytes:
        """At most `most` of the next bytes; none at the end."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail
            if not packed:
                packed = self._archive.read_at(self._start + self._taken, min(_CHUNK, self._packed - self._taken))
                self._taken += len(packed)
            try:
                part = self._inflater.decompress(packed, most)
            except zlib.error as error:
                raise SourceError(
                    f"{self._locator} is damaged: {error}. Copy the archive again.", path=self._locator
                ) from error
            self._position += len(part)
            if part or not packed:
                return part
        return b""
