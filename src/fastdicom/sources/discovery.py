"""A source to the files in it."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import stat as modes
from collections.abc import Iterable, Iterator
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
        files, skipped = discover(sorted(glob.glob(expanded, include_hidden=True)))
    if not files and not skipped:
        raise SourceNotFoundError(
            f"No file matches {pattern}. Check the pattern; relative ones start at {os.getcwd()}.", path=pattern
        )
    return files, skipped


def _matching_files(pattern: str) -> Discovered:
    """Files that match a pattern with ``**`` (any folders); unlike glob's, the walk ends where links form loops."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = os.path.join(*parts[:fixed])
    regex = "".join("(?:[^/]+/)*" if part == "**" else _component(part) + "/" for part in parts[fixed:])
    matches = re.compile((regex + "[^/]+/" if parts[-1] == "**" else regex).removesuffix("/")).fullmatch
    files, skipped = _discover_folder(root)
    kept = [ref for ref in files if matches(Path(ref.locator).relative_to(root).as_posix())]
    return kept, [item for item in skipped if matches(Path(item.path).relative_to(root).as_posix())]


def _component(part: str) -> str:
    """A regular expression for one component; its ``*`` does not cross folders as none has a slash in its name."""
    return fnmatch.translate(part).removesuffix("\\Z").replace(".*", "[^/]*").replace("(?s:.)", "[^/]")


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
        if is_url(ref.locator):
            raise
        return [], [Skipped(ref.locator, "unreadable", str(error))]
    except OSError as error:
        return [], [Skipped(ref.locator, "unreadable", f"cannot be read: {error.strerror}")]
    return [ref], []


def _discover_folder(root: str) -> Discovered:
    """All files below a folder; each real folder once, as symbolic links may form loops."""
    files: list[FileRef] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            skipped.append(Skipped(folder, "unreadable", f"the folder cannot be listed: {error.strerror}"))
            continue
        below = []
        for entry in ordered:
            if entry.is_dir():
                below.append(entry.path)
                continue
            try:
                status = entry.stat()
            except OSError as error:
                kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
                skipped.append(Skipped(entry.path, kind, f"cannot be opened: {error.strerror}"))
                continue
            if modes.S_ISREG(status.st_mode):
                files.append(FileRef(entry.path, status.st_size, status.st_mtime_ns))
            else:
                skipped.append(Skipped(entry.path, "unreadable", "neither a file nor a folder"))
        waiting += reversed(below)
    return files, skipped
