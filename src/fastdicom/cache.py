"""The catalogue cache: header tables kept between scans, so that an unchanged file costs one stat.

One ``.npz`` file: a zip of plain ``.npy`` arrays, one a column, which NumPy, Julia, R and C++ read without fastdicom.
A database or a folder of chunks would be opened by more tools, but takes longer to load than fastdicom takes to read
the headers again (docs/decisions.md); Parquet would do, but needs a package of 100 MB that nothing else here needs.

Names of the arrays: ``column/<name>`` with one entry a row of the header table, ``row/file`` which file a row belongs
to, ``file/locator``, ``file/size``, ``file/mtime_ns``, ``file/plain`` (neither an archive nor a DICOMDIR),
``skipped/file``, ``skipped/kind``, ``skipped/reason``, and two of one text: ``fastdicom``, the version, and
``checksum``. Texts are UTF-8 bytes. Nothing in it names a patient, but UIDs and descriptions do name studies.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat as modes
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import FastDicomWarning, SourceError, UsageError
from fastdicom.headers import COLUMNS, HeaderTable
from fastdicom.types import FileRef, Skipped

__all__ = ["HeaderCache", "check_cache_path", "read_with_cache"]

VERSION = 3
RACE_NS = 2_000_000_000
"""A file written so shortly before the cache may change again without a new modification time (FAT: 2 s)."""

_MARK = "fastdicom"
"""The first array of a cache, by which one is recognised before it is replaced."""

Read = Callable[[Sequence[FileRef]], HeaderTable]


def read_with_cache(
    files: Sequence[FileRef], path: str | os.PathLike[str], read: Read, cache: HeaderCache | None = None
) -> HeaderTable:
    """Header table of `files`, of which only those are read that changed since the cache was written.

    Parameters
    ----------
    files : sequence of FileRef
        A file is unchanged where locator, size and modification time are; where the file system does not tell them,
        the file is read.
    path : path
        The cache, created or brought up to date. One that is damaged or of another version is replaced.
    read : callable (files) -> HeaderTable
        Reads what the cache does not have; rows and ``skipped`` in the order of its files.
    cache : HeaderCache, optional
        What is at `path`, where it has been loaded already.

    Returns
    -------
    HeaderTable
        Equal to ``read(files)``.

    Raises
    ------
    UsageError
        At `path` is something that is not a cache.
    SourceError
        At `path` nothing can be read, or written.

    Warns
    -----
    FastDicomWarning
        The cache could not be written. The headers have been read all the same.
    """
    if cache is None:
        cache = HeaderCache.load(path)
    known = cache.lookup(files)
    unknown = np.flatnonzero(known < 0)
    if len(unknown) == 0 and len(files) == len(cache.files) and not cache.learnt:
        return cache.select(known)
    fresh = read([files[index] for index in unknown.tolist()]) if len(unknown) else HeaderTable.empty()
    table = _merged(files, [cache.select(known[known >= 0]), fresh])
    renewed = HeaderCache.of(files, table, cache.is_plain)
    # Files that cannot be kept are read in every scan, and no reason to write.
    kept = set(renewed.files)
    if not cache.is_sound or cache.learnt & kept or kept != set(cache.files):
        try:
            renewed.save(path)
        except SourceError as error:
            warnings.warn(f"{error} The scan is complete; the next one reads all again.", FastDicomWarning, 3)
    return table


def check_cache_path(path: Any) -> str:
    """The absolute path of a cache; nothing but a cache, an empty file or none at all may be there.

    Raises
    ------
    UsageError
        There is something else, which writing the cache would destroy.
    SourceError
        Its folder does not exist, or it cannot be read.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        text = ""
    if not text or "://" in text:
        raise UsageError(f"cache={path!r} is not the path of a local file. Pass one, or None.", argument="cache")
    target = os.path.realpath(text)
    folder = os.path.dirname(target)
    if not Path(folder).is_dir():
        raise SourceError(
            f"The cache {text} cannot be written: the folder {folder} does not exist. Create it, or pass cache=None.",
            path=text,
        )
    try:
        status = Path(target).stat()
        what = "" if modes.S_ISREG(status.st_mode) else "a folder or a device"
        if not what and status.st_size:
            with open(target, "rb") as file:
                what = "" if _is_cache(file.read(_HEAD_NBYTES), status.st_size) else "a file of another kind"
    except FileNotFoundError:
        return target
    except OSError as error:
        raise SourceError(
            f"The cache {text} cannot be read: {error.strerror}. Check its permissions, or pass cache=None.", path=text
        ) from error
    if what:
        raise UsageError(
            f"cache={text!r} is {what}, which the cache would replace. Pass another path, or remove it.",
            argument="cache",
            path=text,
        )
    return target


_HEAD_NBYTES = 256


def _is_cache(head: bytes, size: int) -> bool:
    """Whether a file is a cache, of any version, or what damage left of one: its first array tells."""
    name = f"{_MARK}.npy".encode()
    return head[:4] == b"PK\3\4" and (name in head or size < 30 + len(name))


def _merged(files: Sequence[FileRef], tables: Iterable[HeaderTable]) -> HeaderTable:
    """Tables of different files as one, in the order of `files`."""
    order = {ref.locator: index for index, ref in enumerate(files)}
    parts = [part for part in tables if len(part) or part.skipped]
    if len(parts) == 1:
        return parts[0]
    table = HeaderTable.concatenate(parts)
    file_of_row = np.array([order[locator] for locator in table["path"].tolist()], dtype=np.int64)
    ordered = table.take(np.argsort(file_of_row, kind="stable"))
    ordered.skipped = sorted(table.skipped, key=lambda item: order.get(item.path, len(order)))
    return ordered


@dataclass
class HeaderCache:
    """A header table, and the files that it was read from."""

    files: list[FileRef]
    table: HeaderTable
    file_of_row: NDArray[np.int64]
    """(N,) index into `files`."""
    plain: NDArray[np.bool_]
    """(len(files),) the file was found to be neither an archive nor a DICOMDIR."""
    is_sound: bool = True
    """False where nothing could be read at its path."""
    learnt: set[FileRef] = field(default_factory=set)
    """Files of the cache that were found to be plain since."""

    @cached_property
    def index(self) -> dict[FileRef, int]:
        return {ref: k for k, ref in enumerate(self.files)}

    def is_plain(self, ref: FileRef) -> bool:
        place = self.index.get(ref, -1)
        return ref in self.learnt or (place >= 0 and bool(self.plain[place]))

    def note_plain(self, ref: FileRef) -> None:
        self.learnt.add(ref)

    @classmethod
    def empty(cls) -> HeaderCache:
        return cls([], HeaderTable.empty(), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_), is_sound=False)

    @classmethod
    def of(cls, files: Sequence[FileRef], table: HeaderTable, is_plain: Callable[[FileRef], bool]) -> HeaderCache:
        """What can be kept of a table: files whose change would show, and that could be read."""
        newest = time.time_ns() - RACE_NS
        # Permissions, disks and connections recover, and neither size nor time of the file tell.
        failed = {item.path for item in table.skipped if item.kind in ("unreadable", "missing")}
        kept = [
            ref
            for ref in files
            if ref.size >= 0
            and 0 < ref.mtime_ns < newest
            and "object://" not in ref.locator
            and ref.locator not in failed
        ]
        index = {ref.locator: k for k, ref in enumerate(kept)}
        file_of_row = np.array([index.get(locator, -1) for locator in table["path"].tolist()], dtype=np.int64)
        rows = np.flatnonzero(file_of_row >= 0)
        part = table.take(rows)
        part.skipped = [item for item in table.skipped if item.path in index]
        # A file without any trace in the table must not be taken for one without frames.
        traced = {*file_of_row.tolist(), *(index[item.path] for item in part.skipped)}
        if len(traced - {-1}) < len(kept):
            return cls.of([ref for k, ref in enumerate(kept) if k in traced], table, is_plain)
        plain = np.array([is_plain(ref) for ref in kept], dtype=np.bool_)
        plain[file_of_row[rows]] = True  # an image
        return cls(kept, part, file_of_row[rows], plain)

    def lookup(self, files: Sequence[FileRef]) -> NDArray[np.int64]:
        """(len(files),) index of each file in the cache; -1 where it is not there or has changed."""
        return np.array([self.index.get(ref, -1) for ref in files], dtype=np.int64)

    def select(self, known: NDArray[np.int64]) -> HeaderTable:
        """The table of some of the files, in their order."""
        count = len(self.files)
        if len(known) == count and np.array_equal(known, np.arange(count)):
            return self.table
        place = np.full(count, -1, dtype=np.int64)
        place[known] = np.arange(len(known))
        new_place = place[self.file_of_row] if len(self.file_of_row) else np.empty(0, dtype=np.int64)
        rows = np.flatnonzero(new_place >= 0)
        table = self.table.take(rows[np.argsort(new_place[rows], kind="stable")])
        index = {ref.locator: int(place[k]) for k, ref in enumerate(self.files)}
        table.skipped = sorted(
            (item for item in self.table.skipped if index[item.path] >= 0), key=lambda item: index[item.path]
        )
        return table

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the cache beside `path` and move it there, so that no reader meets half of one.

        Raises
        ------
        SourceError
            It cannot be written.
        """
        index = {ref.locator: k for k, ref in enumerate(self.files)}
        skipped = self.table.skipped
        arrays: dict[str, NDArray[Any]] = {
            _MARK: np.array([_fingerprint()]),
            "file/locator": _texts(ref.locator for ref in self.files),
            "file/size": np.array([ref.size for ref in self.files], dtype=np.int64),
            "file/mtime_ns": np.array([ref.mtime_ns for ref in self.files], dtype=np.int64),
            "file/plain": self.plain,
            "row/file": self.file_of_row,
            "skipped/file": np.array([index[item.path] for item in skipped], dtype=np.int64),
            "skipped/kind": _texts(item.kind for item in skipped),
            "skipped/reason": _texts(item.reason for item in skipped),
        }
        for name, values in self.table.columns.items():
            if name != "path":
                arrays[f"column/{name}"] = _texts(values.tolist()) if values.dtype == object else values
        arrays["checksum"] = np.array([_checksum(arrays)])
        target = Path(os.path.realpath(path))
        temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            try:
                with open(temporary, "xb") as file:
                    with suppress(FileNotFoundError):  # who could not read the old one cannot read the new one
                        temporary.chmod(modes.S_IMODE(target.stat().st_mode))
                    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
                temporary.replace(target)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise
        except OSError as error:
            raise SourceError(
                f"The cache {target} cannot be written: {error.strerror or error}. Pass cache=None, or another path.",
                path=str(target),
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HeaderCache:
        """Read a cache; an empty one where there is none, or none that this version understands.

        Raises
        ------
        UsageError, SourceError
            As `check_cache_path`.
        """
        target = check_cache_path(path)
        # A damaged zip directory makes zipfile raise about anything; whatever it is, the cache is made anew.
        try:
            with open(target, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                if arrays[_MARK].tolist() != [_fingerprint()]:
                    return cls.empty()
                every = {name: arrays[name] for name in arrays.files}
                if every.pop("checksum").tolist() != [_checksum(every)]:
                    return cls.empty()
                return cls._of_arrays(every)
        except Exception:
            return cls.empty()

    @classmethod
    def _of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> HeaderCache:
        locators = [_text(raw) for raw in arrays["file/locator"].tolist()]
        sizes, times = arrays["file/size"].tolist(), arrays["file/mtime_ns"].tolist()
        files = [FileRef(*each) for each in zip(locators, sizes, times, strict=True)]
        file_of_row = arrays["row/file"].astype(np.int64)
        columns: dict[str, NDArray[Any]] = {"path": _objects([locators[k] for k in file_of_row.tolist()])}
        for name in arrays:
            if name.startswith("column/"):
                columns[name.removeprefix("column/")] = arrays[name]
        columns["problem"] = _objects([_text(raw) for raw in columns["problem"].tolist()])
        if any(len(values) != len(file_of_row) for values in columns.values()):
            raise ValueError("columns of different lengths")
        of_file, kinds, reasons = (arrays[f"skipped/{name}"].tolist() for name in ("file", "kind", "reason"))
        skipped = [
            Skipped(locators[k], _text(kind), _text(reason))
            for k, kind, reason in zip(of_file, kinds, reasons, strict=True)
        ]
        return cls(files, HeaderTable(columns, skipped), file_of_row, arrays["file/plain"].astype(np.bool_))


def _fingerprint() -> str:
    """What must be equal for a cache to be understood: its own version, that of fastdicom, and the columns."""
    from fastdicom import __version__

    columns = hashlib.sha256(repr(COLUMNS).encode()).hexdigest()[:16]
    return f"headers {VERSION} {__version__} {columns}"


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Of names, types and values: zip checks each array, but not that they are all there and have their names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype.str} {values.shape};".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _texts(values: Iterable[str]) -> NDArray[Any]:
    # A trailing NUL would be lost in an S array; no path or message has one.
    return np.array([value.encode("utf-8", "surrogateescape") for value in values], dtype="S")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _objects(values: list[str]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
