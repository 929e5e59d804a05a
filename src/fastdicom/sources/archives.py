"""Members of zip archives, read in ranges where they lie: nothing is unpacked to disk."""

from __future__ import annotations

import glob
import struct
import threading
import time
import zlib
from collections import OrderedDict
from dataclasses import dataclass

from fastdicom.errors import SourceError, SourceNotFoundError
from fastdicom.sources import patterns
from fastdicom.sources.objects import keep_alive
from fastdicom.sources.readers import ReaderFile
from fastdicom.types import ByteReader, FileRef, Skipped

__all__ = ["ZIP_SCHEME", "is_zip", "members", "open_member", "split_locator"]

ZIP_SCHEME = "zip://"
_LINK = "::"
_STORED, _DEFLATED = 0, 8
_CHUNK = 1 << 16
_LOCAL_HEADER = 30
_UTF8 = 1 << 11
"""Flag of a name in UTF-8 (APPNOTE 4.4.4); others are in code page 437."""


@dataclass(frozen=True, slots=True)
class _Member:
    offset: int
    packed_size: int
    size: int
    method: int
    encrypted: bool
    name: bytes
    """As it is written in the archive."""
    hidden: int
    """Members of this name that come before it: those who unpack the archive would overwrite them."""


_Index = dict[str, _Member]
_indexes: OrderedDict[tuple[str, int, int], tuple[float, _Index]] = OrderedDict()
"""By locator, size and modification time (0 where a reader has none): when the index was read, and the index."""
_lock = threading.Lock()
_KEPT = 8
_RENEWAL_S = 1.0
"""A damaged archive is not indexed anew for each of its members."""


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a zip archive (APPNOTE 4.3.7, 4.3.16)."""
    return head[:4] in (b"PK\3\4", b"PK\5\6")


def split_locator(locator: str) -> tuple[str, str]:
    """(member, locator of the archive)."""
    member, _, archive = locator.removeprefix(ZIP_SCHEME).partition(_LINK)
    return member, archive


def members(archive: str, reader: ByteReader, wanted: str = "") -> tuple[list[FileRef], list[Skipped]]:
    """The files in an archive, in the order of their names: one, those below a folder, or those of a pattern.

    Raises
    ------
    SourceError
        The archive is damaged; SourceNotFoundError where it has nothing that is wanted.
    """
    index = _index(archive, reader, anew=True)
    if wanted in index:
        names = [wanted]
    else:
        parts = wanted.split("/") if glob.has_magic(wanted) else patterns.parts_of_folder(wanted)
        names = sorted(name for name in index if patterns.is_path_match(name, parts))
        if wanted and not names:
            raise SourceNotFoundError(f"{archive} has no member {wanted}. Check the name.", path=archive)
    files, skipped = [], []
    if not index:
        skipped.append(Skipped(archive, "not-dicom", "an empty zip archive"))
    for name in names:
        member = index[name]
        locator = keep_alive(f"{ZIP_SCHEME}{name}{_LINK}{archive}", archive)
        if member.encrypted or member.method not in (_STORED, _DEFLATED):
            how = "encrypted" if member.encrypted else f"packed with method {member.method}"
            skipped.append(Skipped(locator, "unreadable", f"{how}; unpack the archive and pass the folder"))
        elif _LINK in name or name.endswith(":"):
            how = f"contains {_LINK}" if _LINK in name else "ends in a colon"
            skipped.append(Skipped(locator, "unreadable", f"its name {how}; unpack the archive"))
        else:
            files.append(FileRef(locator, member.size))
        skipped += [
            Skipped(f"{locator} ({k})", "unreadable", "another member of this name follows it in the archive")
            for k in range(1, member.hidden + 1)
        ]
    return files, skipped


def open_member(locator: str, archive_reader: ByteReader) -> ByteReader:
    """Open one member; `archive_reader` becomes the member's, and is closed with it."""
    name, archive = split_locator(locator)
    member = _index(archive, archive_reader).get(name)
    start = _start_of(member, archive_reader) if member is not None else -1
    if start < 0:
        # An archive that was written again has another index, also where neither its size nor its time tell.
        member = _index(archive, archive_reader, anew=True, at_most_every=_RENEWAL_S).get(name)
        start = _start_of(member, archive_reader) if member is not None else -1
    if member is None:
        raise SourceNotFoundError(f"{archive} has no member {name} (any more). Scan it again.", path=locator)
    if start < 0:
        raise SourceError(
            f"{archive} does not have {name} where its index says. Copy it again, and scan it again.", path=locator
        )
    packed = min(member.packed_size, max(0, archive_reader.size - start))
    if member.method == _STORED:
        return _StoredReader(archive_reader, start, min(member.size, packed))
    return _DeflatedReader(archive_reader, start, packed, member.size, locator)


def _start_of(member: _Member, reader: ByteReader) -> int:
    """Where the data of a member begin; -1 where its local header (APPNOTE 4.3.7) is not that of this member."""
    header = reader.read_at(member.offset, _LOCAL_HEADER + len(member.name))
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\3\4":
        return -1
    name_nbytes, extra_nbytes = struct.unpack("<HH", header[26:30])
    if name_nbytes != len(member.name) or header[_LOCAL_HEADER:] != member.name:
        return -1
    return int(member.offset + _LOCAL_HEADER + name_nbytes + extra_nbytes)


def _index(archive: str, reader: ByteReader, *, anew: bool = False, at_most_every: float = 0.0) -> _Index:
    """The central directory, kept for the next members; read again where `anew`."""
    key = (str(archive), reader.size, int(getattr(reader, "mtime_ns", 0)))
    with _lock:
        if key in _indexes:
            read_at, kept = _indexes[key]
            if not anew or time.monotonic() - read_at < at_most_every:
                _indexes.move_to_end(key)
                return kept
    import zipfile  # slow to import, and seldom needed

    index: _Index = {}
    try:
        try:
            entries = zipfile.ZipFile(ReaderFile(reader)).infolist()
        except UnicodeDecodeError:
            entries = zipfile.ZipFile(_WithoutFalseFlags(reader)).infolist()
        for entry in entries:
            if not entry.is_dir():
                before = index.get(entry.filename)
                index[entry.filename] = _Member(
                    entry.header_offset,
                    entry.compress_size,
                    entry.file_size,
                    entry.compress_type,
                    bool(entry.flag_bits & 1),
                    entry.orig_filename.encode("utf-8" if entry.flag_bits & _UTF8 else "cp437"),
                    0 if before is None else before.hidden + 1,
                )
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
        raise SourceError(f"{archive} is a damaged zip archive: {error}. Copy it again.", path=archive) from error
    with _lock:
        _indexes[key] = time.monotonic(), index
        _indexes.move_to_end(key)
        while len(_indexes) > _KEPT:
            _indexes.popitem(last=False)
    return index


class _WithoutFalseFlags(ReaderFile):
    """An archive with names that are not in UTF-8, but say so: zipfile would refuse all of it.

    zipfile reads the central directory (APPNOTE 4.3.12) at once; such names lose their flag there.
    """

    def read(self, nbytes: int = -1, /) -> bytes:
        data = bytearray(super().read(nbytes) or b"")
        at = 0
        while data[at : at + 4] == b"PK\1\2" and len(data) >= at + 46:
            (flags,) = struct.unpack_from("<H", data, at + 8)
            lengths = struct.unpack_from("<HHH", data, at + 28)
            try:
                data[at + 46 : at + 46 + lengths[0]].decode("utf-8")
            except UnicodeDecodeError:
                struct.pack_into("<H", data, at + 8, flags & ~_UTF8)
            at += 46 + sum(lengths)
        return bytes(data)


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
