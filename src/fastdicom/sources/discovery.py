"""A source to the files in it."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fastdicom.errors import FastDicomError, SourceNotFoundError, UsageError
from fastdicom.sources.archives import ZIP_SCHEME, is_zip, members
from fastdicom.sources.dicomdir import is_dicomdir, referenced_files
from fastdicom.sources.objects import OBJECT_SCHEME, ref_of_object
from fastdicom.sources.opening import local_path, open_reader
from fastdicom.sources.remote import discover_url, is_url
from fastdicom.types import FileRef, Skipped

__all__ = ["Discovered", "discover"]

Discovered = tuple[list[FileRef], list[Skipped]]

_HEAD_NBYTES = 1024


def discover(source: Any) -> Discovered:
    """Find the files of a source.

    Parameters
    ----------
    source : str, path, bytes file object, FileRef, or iterable of them
        A file, a folder (searched with its sub-folders), a pattern (``data/**/*.dcm``), a zip archive, a DICOMDIR, an
        fsspec URL, an open binary file. What a file is, its content says.

    Returns
    -------
    (files, skipped)
        Each file once, in a stable order (sorted by name within a folder); entries that cannot be read, and why.

    Raises
    ------
    SourceNotFoundError
        A path does not exist.
    SourceError
        An archive or a DICOMDIR is damaged.
    """
    files: dict[str, FileRef] = {}
    skipped: dict[str, Skipped] = {}
    for found, passed in _discover_each(source):
        for ref in found:
            files.setdefault(ref.locator, ref)
        for item in passed:
            skipped.setdefault(item.path, item)
    return list(files.values()), [item for item in skipped.values() if item.path not in files]


def _discover_each(source: Any) -> Iterator[Discovered]:
    if isinstance(source, FileRef):
        yield [source], []
    elif isinstance(source, (str, os.PathLike)):
        yield _discover_path(os.fspath(source))
    elif hasattr(source, "read") and hasattr(source, "seek"):
        yield _discover_file(ref_of_object(source))
    elif isinstance(source, Iterable) and not isinstance(source, (bytes, bytearray, memoryview)):
        for item in source:
            yield from _discover_each(item)
    else:
        raise UsageError(
            f"A source of type {type(source).__name__} cannot be read. Pass a path, a list of paths, a folder, a URL, "
            "or an open binary file (io.BytesIO for bytes).",
            argument="source",
        )


def _discover_path(path: str | bytes) -> Discovered:
    text = os.fsdecode(path)
    if not text:
        raise SourceNotFoundError("The source is an empty path. Pass '.' for the current folder.", path=text)
    if is_url(text):
        local = local_path(text)
        if local is None:
            return _discover_remote(text)
        text = local
    root = os.path.abspath(Path(text).expanduser())
    try:
        status = Path(root).stat()
    except (OSError, ValueError) as error:
        if glob.has_magic(text):
            return _discover_pattern(text)
        if isinstance(error, PermissionError):
            raise SourceNotFoundError(
                f"{text} is in a folder that cannot be entered. Check its permissions."
            ) from error
        raise SourceNotFoundError(
            f"{text} does not exist. Check the path; relative paths start at {os.getcwd()}.", path=text
        ) from error
    if modes.S_ISDIR(status.st_mode):
        return _discover_folder(root)
    if not modes.S_ISREG(status.st_mode):
        return [], [Skipped(root, "unreadable", "neither a file nor a folder")]
    return _discover_file(FileRef(root, status.st_size, status.st_mtime_ns))


def _discover_pattern(pattern: str) -> Discovered:
    expanded = str(Path(pattern).expanduser())
    if "**" in Path(expanded).parts:
        files, skipped = _matching_files(os.path.abspath(expanded))
    else:
        files, skipped = _matches_of_glob(expanded)
    if not files and not skipped:
        raise SourceNotFoundError(
            f"No file matches {pattern}. Check the pattern; relative ones start at {os.getcwd()}.", path=pattern
        )
    return files, skipped


def _matches_of_glob(pattern: str) -> Discovered:
    found: list[Any] = []
    lost: list[Skipped] = []
    for path in sorted(glob.glob(pattern, include_hidden=True)):
        try:
            Path(path).stat()
        except OSError as error:
            lost.append(_skipped_entry(os.path.abspath(path), error))
        else:
            found.append(path)
    files, skipped = discover(found)
    return files, [*skipped, *lost]


def _matching_files(pattern: str) -> Discovered:
    """Files that match a pattern with ``**`` (any folders); unlike glob's, the walk ends where links form loops."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.join(*parts[:fixed])
    return _discover_folder(root, parts[fixed:]) if Path(root).is_dir() else ([], [])


def _below(places: frozenset[int], name: str, parts: Sequence[str]) -> frozenset[int]:
    """Where in a pattern a folder `name` leads from a folder that is at `places` of it; empty: nothing matches below.

    A pattern is a small automaton, and a walk that knows its state needs no path to tell what can match.
    """
    stay = {place for place in places if parts[place] == "**"}
    step = {place + 1 for place in places - stay if fnmatch.fnmatchcase(name, parts[place])}
    return _with_empty_matches(stay | step, parts)


def _with_empty_matches(places: Iterable[int], parts: Sequence[str]) -> frozenset[int]:
    """``**`` stands for no folder, too."""
    reached: set[int] = set()
    waiting = list(places)
    while waiting:
        place = waiting.pop()
        if place < len(parts) and place not in reached:
            reached.add(place)
            if parts[place] == "**":
                waiting.append(place + 1)
    return frozenset(reached)


def _is_match(places: frozenset[int], name: str, parts: Sequence[str]) -> bool:
    last = len(parts) - 1
    return last in places and (parts[last] == "**" or fnmatch.fnmatchcase(name, parts[last]))


def _discover_remote(url: str) -> Discovered:
    if url.startswith((ZIP_SCHEME, OBJECT_SCHEME)):
        with open_reader(url) as reader:
            return [FileRef(url, reader.size)], []
    files, skipped = discover_url(url)
    return _discover_file(files[0]) if len(files) == 1 else (files, skipped)


def _discover_file(ref: FileRef) -> Discovered:
    """The file itself, or what it contains or names."""
    try:
        with open_reader(ref.locator, ref.size) as reader:
            head = reader.read_at(0, _HEAD_NBYTES)
            if is_zip(head):
                return members(ref.locator, reader)
            if is_dicomdir(head) and not is_url(ref.locator):
                return referenced_files(ref.locator, reader)
    except FastDicomError as error:
        if is_url(ref.locator) and not ref.locator.startswith(OBJECT_SCHEME):
            raise
        return [], [Skipped(ref.locator, "unreadable", str(error))]
    except OSError as error:
        return [], [Skipped(ref.locator, "unreadable", f"cannot be read: {error.strerror}")]
    return [ref], []


def _discover_folder(root: str, parts: Sequence[str] = ("**",)) -> Discovered:
    """All files below a folder that match a pattern, each once.

    Symbolic links may form loops, and may lead to one folder by several names: each real folder is visited once in
    each state of the pattern.
    """
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int, frozenset[int]]] = set()
    taken: set[tuple[int, int, str]] = set()
    waiting = [(root, _with_empty_matches([0], parts))]
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
        below = []
        for entry in ordered:
            try:
                if entry.is_dir():
                    if deeper := _below(places, entry.name, parts):
                        below.append((entry.path, deeper))
                    continue
                if not _is_match(places, entry.name, parts) or (device, inode, entry.name) in taken:
                    continue
                taken.add((device, inode, entry.name))
                status = entry.stat()
            except OSError as error:
                if _is_match(places, entry.name, parts):
                    skipped.append(_skipped_entry(entry.path, error))
                continue
            if modes.S_ISREG(status.st_mode):
                files.append(FileRef(entry.path, status.st_size, status.st_mtime_ns))
            else:
                skipped.append(Skipped(entry.path, "unreadable", "neither a file nor a folder"))
        waiting += reversed(below)
    return files, skipped


def _skipped_entry(path: str, error: OSError) -> Skipped:
    kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
    return Skipped(path, kind, f"cannot be opened: {error.strerror}")
