"""Where bytes come from: files found in a source, and ranged reads of any of them.

A source is turned into `FileRef` records once; from then on a locator string is all that is needed to open a file
again, in any thread, process or machine that sees the same file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastdicom.errors import SourceError, SourceNotFoundError, UsageError
from fastdicom.types import ByteReader, FileRef, Skipped

__all__ = ["Discovered", "discover", "open_reader"]

Discovered = tuple[list[FileRef], list[Skipped]]


def discover(source: Any) -> Discovered:
    """Find the files of a source, without opening any.

    Parameters
    ----------
    source : str, path, or iterable of them
        A file, a folder (searched with its sub-folders), or a list of files.

    Returns
    -------
    (files, skipped)
        Files in a stable order (sorted by path within a folder); entries that cannot be listed, and why.

    Raises
    ------
    SourceNotFoundError
        A path does not exist.
    """
    if isinstance(source, (str, os.PathLike)):
        return _discover_path(os.fspath(source))
    if isinstance(source, Iterable):
        files: list[FileRef] = []
        skipped: list[Skipped] = []
        seen: set[str] = set()
        for item in source:
            found, passed = discover(item)
            files += [ref for ref in found if ref.locator not in seen and not seen.add(ref.locator)]  # type: ignore[func-returns-value]
            skipped += passed
        return files, skipped
    raise UsageError(
        f"A source of type {type(source).__name__} cannot be read. Pass a path, a list of paths, a folder or a URL.",
        argument="source",
    )


def _discover_path(path: str) -> Discovered:
    root = Path(path)
    if not root.exists():
        raise SourceNotFoundError(
            f"{path} does not exist. Check the path; relative paths start at {Path.cwd()}.", path=path
        )
    if not root.is_dir():
        return [_ref(path)], []
    files: list[FileRef] = []
    skipped: list[Skipped] = []

    def cannot_list(error: OSError) -> None:
        skipped.append(Skipped(str(error.filename), "unreadable", f"cannot be listed: {error.strerror}"))

    for folder in _walk(path, cannot_list):
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda item: item.name):
                if entry.is_file():
                    stat = entry.stat()
                    files.append(FileRef(entry.path, stat.st_size, stat.st_mtime_ns))
    return files, skipped


def _walk(path: str, on_error: Any) -> Iterator[str]:
    """Folders below `path`, itself included, each real folder once (symbolic links may form loops)."""
    seen: set[tuple[int, int]] = set()
    for folder, below, _ in os.walk(path, followlinks=True, onerror=on_error):
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in seen:
            below.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        below.sort()
        yield folder


def _ref(path: str) -> FileRef:
    stat = os.stat(path)
    return FileRef(path, stat.st_size, stat.st_mtime_ns)


def open_reader(locator: str) -> ByteReader:
    """Open one file for ranged reads.

    Raises
    ------
    SourceError
        The file cannot be opened; SourceNotFoundError where it is gone.
    """
    try:
        return LocalReader(locator)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{locator} does not exist any more. Scan the source again.", path=locator) from error
    except OSError as error:
        raise SourceError(
            f"{locator} cannot be opened: {error.strerror}. Check its permissions.", path=locator
        ) from error


class LocalReader:
    """Ranged reads of a local file through pread: no shared position, one descriptor."""

    __slots__ = ("_fd", "size")

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        self.size = os.fstat(self._fd).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):  # one call moves at most 2 GiB on Linux
            count = os.preadv(self._fd, [buffer[done:]], offset + done)
            if count == 0:
                break
            done += count
        return done

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> LocalReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
