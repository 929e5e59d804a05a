"""A source to the files in it."""

from __future__ import annotations

import errno
import glob
import os
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastdicom.errors import SourceError, SourceNotFoundError, UsageError
from fastdicom.sources import patterns
from fastdicom.sources.archives import ZIP_SCHEME, is_zip, members, split_locator
from fastdicom.sources.dicomdir import is_dicomdir, referenced_files
from fastdicom.sources.objects import OBJECT_SCHEME, keep_alive, ref_of_object
from fastdicom.sources.opening import local_path, open_reader
from fastdicom.sources.readers import read_head
from fastdicom.sources.remote import discover_url, discover_urls, is_url
from fastdicom.sources.statuses import statuses_of
from fastdicom.types import FileRef, Skipped

__all__ = ["Discovered", "PlainFiles", "discover"]

Discovered = tuple[list[FileRef], list[Skipped]]

_HEAD_NBYTES = 1024
_AT_ONCE = 512


class PlainFiles(Protocol):
    """What is known of files from before: of a plain one nobody needs to look whether others are in it."""

    def is_plain(self, ref: FileRef) -> bool:
        """Whether a file, of this size and time, is neither an archive nor a DICOMDIR."""

    def note_plain(self, ref: FileRef) -> None:
        """It has been found to be neither."""


def discover(source: Any, known: PlainFiles | None = None) -> Discovered:
    """Find the files of a source.

    Parameters
    ----------
    source : str, path, bytes file object, FileRef, or iterable of them
        A file, a folder (searched with its sub-folders), a pattern (``data/**/*.dcm``), a zip archive, a DICOMDIR, an
        fsspec URL, an open binary file. What a file is, its content says.
    known : PlainFiles, optional
        Local files that it knows are not opened.

    Returns
    -------
    (files, skipped)
        Each file once, in a stable order (sorted by name within a folder); entries that cannot be read, and why.
        Items of a list that are not there or damaged are such entries, unless there is nothing else.

    Raises
    ------
    SourceNotFoundError
        A path does not exist.
    SourceError
        A file cannot be read; an archive or a DICOMDIR is damaged.
    """
    files: dict[str, FileRef] = {}
    skipped: dict[str, Skipped] = {}
    failures: list[SourceError] = []
    for found, passed in _discover_each(source, known, failures):
        for ref in found:
            files.setdefault(ref.locator, ref)
        for item in passed:
            skipped.setdefault(item.path, item)
    if failures and not files and len(skipped) <= len(failures):
        raise failures[0]
    return list(files.values()), [item for item in skipped.values() if item.path not in files]


def _discover_each(source: Any, known: PlainFiles | None, failures: list[SourceError]) -> Iterator[Discovered]:
    if _is_one(source):
        yield _discover_one(source, known)
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray, memoryview)):
        for item, answer in _asked_for(source):
            if not _is_one(item):
                yield from _discover_each(item, known, failures)
                continue
            try:
                yield _discover_file(*answer) if answer else _discover_one(item, known)
            except SourceError as error:
                failures.append(error)
                yield [], [_skipped_item(_name_of(item), error)]
    else:
        raise UsageError(
            f"A source of type {type(source).__name__} cannot be read. Pass a path, a list of paths, a folder, a URL, "
            "or an open binary file (io.BytesIO for bytes).",
            argument="source",
        )


def _asked_for(items: Iterable[Any]) -> Iterator[tuple[Any, tuple[FileRef, bytes] | None]]:
    """Each item, and what a server answered where it was asked for many at once."""
    if not isinstance(items, (list, tuple)):  # each of which may be made for us
        yield from ((item, None) for item in items)
        return
    for start in range(0, len(items), _AT_ONCE):
        part = items[start : start + _AT_ONCE]
        answers = discover_urls([item for item in part if isinstance(item, str)], _HEAD_NBYTES)
        yield from ((item, answers.get(item) if isinstance(item, str) else None) for item in part)


def _is_one(source: Any) -> bool:
    return isinstance(source, (str, FileRef, os.PathLike)) or (hasattr(source, "read") and hasattr(source, "seek"))


def _discover_one(source: Any, known: PlainFiles | None) -> Discovered:
    if isinstance(source, FileRef):
        return [source], []
    if isinstance(source, (str, os.PathLike)):
        return _discover_path(os.fsdecode(source), known)
    return _discover_file(ref_of_object(source))


def _name_of(item: Any) -> str:
    """What an item of a list is called among the skipped."""
    if not isinstance(item, (str, os.PathLike)):
        return ref_of_object(item).locator
    text = os.fsdecode(item)
    return text if is_url(text) else os.path.abspath(_expanded(text))


def _expanded(text: str) -> str:
    """A path with ``~`` replaced by the home folder; one that is no user's is a name like others."""
    if not text.startswith("~") or (text[1:2] not in ("", "/") and os.path.lexists(text)):
        return text
    return os.path.expanduser(text)  # noqa: PTH111 (Path raises RuntimeError for users that are not there)


def _discover_path(text: str, known: PlainFiles | None) -> Discovered:
    if not text:
        raise SourceNotFoundError("The source is an empty path. Pass '.' for the current folder.", path=text)
    if is_url(text):
        local = local_path(text)
        if local is None:
            return _discover_remote(text)
        text = local
    root = os.path.abspath(_expanded(text))
    try:
        status = os.stat(root)  # noqa: PTH116 (half the time of Path's, for each file of a list)
    except (OSError, ValueError) as error:
        if glob.has_magic(text):
            return _discover_pattern(text, known)
        raise _failure(text, error) from error
    if modes.S_ISDIR(status.st_mode):
        return _discover_folder(root)
    if not modes.S_ISREG(status.st_mode):
        return [], [Skipped(root, "unreadable", "neither a file nor a folder")]
    return _discover_local_file(FileRef(root, status.st_size, status.st_mtime_ns), known)


def _failure(text: str, error: OSError | ValueError) -> SourceError:
    if isinstance(error, PermissionError):
        return SourceError(f"{text} is in a folder that cannot be entered. Check its permissions.", path=text)
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return SourceError(f"{text} is a link that leads back to itself. Remove it, or mend it.", path=text)
    if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
        return SourceError(f"{text} cannot be read: {error.strerror}. Check the disk or the connection.", path=text)
    return SourceNotFoundError(
        f"{text} does not exist. Check the path; relative paths start at {os.getcwd()}.", path=text
    )


def _discover_pattern(pattern: str, known: PlainFiles | None) -> Discovered:
    expanded = _expanded(pattern)
    if "**" in Path(expanded).parts:
        files, skipped = _matching_files(os.path.abspath(expanded))
    else:
        files, skipped = _matches_of_glob(expanded, known)
    if not files and not skipped:
        raise SourceNotFoundError(
            f"No file matches {pattern}. Check the pattern; relative ones start at {os.getcwd()}.", path=pattern
        )
    return files, skipped


def _matches_of_glob(pattern: str, known: PlainFiles | None) -> Discovered:
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    for path in sorted(glob.glob(pattern, include_hidden=True)):
        absolute = os.path.abspath(path)
        try:
            found, passed = _discover_path(absolute, known)
        except SourceError as error:
            found, passed = [], [_skipped_item(absolute, error)]
        files += found
        skipped += passed
    return files, skipped


def _matching_files(pattern: str) -> Discovered:
    """Files that match a pattern with ``**`` (any folders); unlike glob's, the walk ends where links form loops."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.join(*parts[:fixed])
    return _discover_folder(root, parts[fixed:]) if Path(root).is_dir() else ([], [])


def _discover_remote(url: str) -> Discovered:
    if url.startswith(ZIP_SCHEME) and "::" in url:
        return _discover_in_archive(url)
    if url.startswith(OBJECT_SCHEME):
        with open_reader(url) as reader:
            return [FileRef(url, reader.size)], []
    files, head = discover_url(url, _HEAD_NBYTES)
    return _discover_file(files[0], head) if len(files) == 1 else (files, [])


def _discover_in_archive(url: str) -> Discovered:
    """A member of a zip archive, those of a folder in it, or those that match a pattern."""
    name, archive = split_locator(url)
    if not is_url(archive) or local_path(archive) is not None:
        archive = os.path.abspath(_expanded(local_path(archive) or archive))
    with open_reader(archive) as reader:
        return members(keep_alive(archive, url), reader, name)


def _discover_local_file(ref: FileRef, known: PlainFiles | None) -> Discovered:
    if known is not None and known.is_plain(ref):
        return [ref], []
    try:
        head = read_head(ref.locator, _HEAD_NBYTES)
    except OSError as error:
        raise SourceError(
            f"{ref.locator} cannot be read: {error.strerror}. Check its permissions and the disk.", path=ref.locator
        ) from error
    found = _discover_file(ref, head)
    if known is not None and found == ([ref], []):
        known.note_plain(ref)
    return found


def _discover_file(ref: FileRef, head: bytes | None = None) -> Discovered:
    """The file itself, or what it contains or names."""
    try:
        if head is None:
            with open_reader(ref.locator, ref.size) as reader:
                head = reader.read_at(0, _HEAD_NBYTES)
        if is_zip(head):
            with open_reader(ref.locator, ref.size) as reader:
                return members(ref.locator, reader)
        if is_dicomdir(head):
            with open_reader(ref.locator, ref.size) as reader:
                return referenced_files(ref.locator, reader)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(
            f"{ref.locator} cannot be read: {error.strerror}. Copy it again.", path=ref.locator
        ) from error
    return [ref], []


def _discover_folder(root: str, parts: Sequence[str] = patterns.ANYTHING) -> Discovered:
    """All files below a folder that match a pattern, each once.

    Symbolic links may form loops, and may lead to one folder by several names: each real folder is visited once in
    each state of the pattern.
    """
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int, patterns.Places]] = set()
    taken: set[tuple[int, int, str]] = set()
    waiting = [(root, patterns.start(parts))]
    while waiting:
        folder, places = waiting.pop()
        try:
            status = Path(folder).stat()
            device, inode = status.st_dev, status.st_ino
            if (device, inode, places) in seen:
                continue
            seen.add((device, inode, places))
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(folder, "unreadable", f"the folder cannot be listed: {error.strerror}"))
            continue
        below, matching = [], []
        for entry in ordered:
            try:
                if entry.is_dir():
                    if deeper := patterns.below(places, entry.name, parts):
                        below.append((entry.path, deeper))
                    continue
                if not patterns.is_match(places, entry.name, parts) or (device, inode, entry.name) in taken:
                    continue
                taken.add((device, inode, entry.name))
                matching.append(entry)
            except OSError as error:
                if patterns.is_match(places, entry.name, parts):
                    skipped.append(_skipped_entry(entry.path, error))
        found, passed = _with_statuses(folder, matching)
        files += found
        skipped += passed
        waiting += reversed(below)
    return files, skipped


def _with_statuses(folder: str, entries: Sequence[os.DirEntry[str]]) -> Discovered:
    """Those entries of a folder that are files."""
    try:
        statuses = statuses_of(folder, [entry.name for entry in entries])
    except OSError:  # the folder is gone since
        statuses = None
    if statuses is not None and (statuses[:, 0] == modes.S_IFREG).all():
        return list(map(FileRef, [entry.path for entry in entries], *statuses[:, 1:].T.tolist())), []
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    for entry in entries:
        try:
            status = entry.stat()
        except OSError as error:
            skipped.append(_skipped_entry(entry.path, error))
            continue
        if modes.S_ISREG(status.st_mode):
            files.append(FileRef(entry.path, status.st_size, status.st_mtime_ns))
        else:
            skipped.append(Skipped(entry.path, "unreadable", "neither a file nor a folder"))
    return files, skipped


def _skipped_entry(path: str, error: OSError) -> Skipped:
    kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    return Skipped(path, kind, f"cannot be opened: {error.strerror}")


def _skipped_item(path: str, error: SourceError) -> Skipped:
    return Skipped(path, "missing" if isinstance(error, SourceNotFoundError) else "unreadable", str(error))
