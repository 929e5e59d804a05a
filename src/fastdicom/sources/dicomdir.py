"""DICOMDIR: the files that a directory of DICOM media names (PS3.10 8, PS3.3 F)."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastdicom._quiet import import_pydicom, quiet_pydicom
from fastdicom.errors import SourceError
from fastdicom.sources.objects import OBJECT_SCHEME
from fastdicom.types import ByteReader, FileRef, Skipped

__all__ = ["is_dicomdir", "referenced_files"]

MEDIA_STORAGE_DIRECTORY = b"1.2.840.10008.1.3.10"
_RECORDS = 0x0004_1220
"""Directory Record Sequence."""
MAX_NBYTES = 1 << 28
"""A record has some hundred bytes, so this is a million files."""


def media_class(head: bytes) -> bytes:
    """Media Storage SOP Class UID of a file that begins with these bytes (512 or more), b"" where it names none."""
    at = head.find(b"\2\0\2\0UI") if head[128:132] == b"DICM" else -1
    return head[at + 8 : at + 8 + head[at + 6]].rstrip(b"\0 ") if at >= 0 and len(head) > at + 6 else b""


def is_dicomdir(head: bytes) -> bool:
    """Whether a file that begins with these bytes (512 or more) is a DICOMDIR: its class is in the file meta group."""
    return media_class(head) == MEDIA_STORAGE_DIRECTORY


def referenced_files(path: str, reader: ByteReader) -> tuple[list[FileRef], list[Skipped]]:
    """The files that a DICOMDIR names, each once, in its order.

    Only files in its folder or below are read: a medium from elsewhere must not name others of this machine.

    Returns
    -------
    (files, skipped)
        Skipped: files that are not there, and names that lead out of the folder. Of a URL, what is there shows when it
        is read.

    Raises
    ------
    SourceError
        The DICOMDIR cannot be read, or has no folder.
    """
    remote = "://" in path
    if remote and ("::" in path or "?" in path or path.startswith(OBJECT_SCHEME)):
        raise SourceError(
            f"{path} is a DICOMDIR, and the files that it names cannot be found from there. Pass its path, its folder, "
            "or the files themselves.",
            path=path,
        )
    folder = path.rpartition("/")[0] if remote else os.path.dirname(path)
    real_folder = folder if remote else os.path.realpath(folder)
    files: dict[str, FileRef] = {}
    skipped: dict[str, Skipped] = {}
    listings: dict[str, dict[str, str]] = {}
    for parts in _file_ids(path, reader):
        shown = os.path.join(folder, *[part.strip(os.sep) or "?" for part in parts])
        if any(part in ("", ".", "..") or set(part) & set("/\\\0:") for part in parts):
            skipped[shown] = Skipped(shown, "unreadable", "the DICOMDIR names it in a way that leaves its folder")
            continue
        if remote:
            names = [quote(part) for part in parts] if path.startswith("http") else parts
            url = "/".join([folder, *names])
            files[url] = FileRef(url, -1)
            continue
        found = _find(folder, parts, listings)
        if found is None:
            skipped[shown] = Skipped(shown, "missing", "the DICOMDIR names it, but it is not there")
        elif os.path.commonpath([real_folder, os.path.realpath(found)]) != real_folder:
            skipped[shown] = Skipped(shown, "unreadable", "a link leads out of the folder of the DICOMDIR")
        else:
            stat = Path(found).stat()
            files[found] = FileRef(found, stat.st_size, stat.st_mtime_ns)
    return list(files.values()), list(skipped.values())


def _file_ids(path: str, reader: ByteReader) -> list[list[str]]:
    """Components of every Referenced File ID (0004,1500) of the records in use."""
    import_pydicom()
    from pydicom import dcmread

    if reader.size > MAX_NBYTES:
        raise SourceError(
            f"{path} has {reader.size} bytes, more than any DICOMDIR. Pass its folder instead.", path=path
        )
    try:
        with quiet_pydicom():
            # From memory: what a length claims beyond the end is not allocated.
            dataset: Any = dcmread(io.BytesIO(reader.read_at(0, reader.size)))
            _check_complete(dataset)
            # A record that is not in use, 0000H, is to be ignored (PS3.3 F.3.2.2).
            records = [r for r in dataset.get("DirectoryRecordSequence") or [] if r.get("RecordInUseFlag") != 0]
            values = [record.get("ReferencedFileID") for record in records]
    except Exception as error:
        raise SourceError(
            f"{path} is a damaged DICOMDIR: {type(error).__name__}: {error}. Pass its folder instead.", path=path
        ) from error
    return [[value] if isinstance(value, str) else [str(part) for part in value] for value in values if value]


def _check_complete(dataset: Any) -> None:
    """Raise EOFError where records are missing: pydicom reads what there is, and says nothing."""
    if _RECORDS not in dataset:  # Type 2; what pydicom finds no end of, it leaves out
        raise EOFError("it ends before its records")
    raw = dataset.get_item(_RECORDS)
    value = getattr(raw, "value", None)
    if not isinstance(value, bytes):  # of undefined length: read to its delimiter, or not at all
        return
    at, nbytes = 0, len(value)
    if nbytes < raw.length:
        raise EOFError(f"{nbytes} of {raw.length} bytes of its records are there")
    while at + 8 <= nbytes:
        (length,) = struct.unpack_from("<I" if raw.is_little_endian else ">I", value, at + 4)
        if length == 0xFFFF_FFFF:  # ends at a delimiter that only pydicom finds
            return
        at += 8 + length
    if at != nbytes:
        raise EOFError("the last of its records is not all there")


def _find(folder: str, parts: list[str], listings: dict[str, dict[str, str]]) -> str | None:
    """The file of these components; media are written in capitals, and copied in any letter case."""
    current = folder
    for part in parts:
        exact = os.path.join(current, part)
        if not os.path.lexists(exact):
            if current not in listings:
                try:
                    listings[current] = {name.casefold(): name for name in sorted(os.listdir(current), reverse=True)}
                except OSError:
                    listings[current] = {}
            name = listings[current].get(part.casefold())
            if name is None:
                return None
            exact = os.path.join(current, name)
        current = exact
    return current if Path(current).is_file() else None
