"""File objects of this process as sources: they get a locator, and live as long as the user or that locator does."""

from __future__ import annotations

import io
import itertools
import os
import threading
import weakref
from pathlib import Path
from typing import Any

from fastdicom.errors import SourceError, SourceNotFoundError, UsageError
from fastdicom.sources.readers import ObjectReader, SeekableFile
from fastdicom.types import FileRef

__all__ = ["OBJECT_SCHEME", "keep_alive", "open_object", "ref_of_object"]

OBJECT_SCHEME = "object://"

_numbers = itertools.count()
_lock = threading.Lock()
_objects: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
_locators: weakref.WeakKeyDictionary[Any, tuple[str, threading.Lock]] = weakref.WeakKeyDictionary()


class _ObjectLocator(str):
    """A locator that keeps its file object: what came from a generator lives as long as the catalog that names it.

    A copy in another process, or one made by ``str``, is a plain string.
    """

    file: Any

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def keep_alive(locator: str, of: str) -> str:
    """`locator`, which keeps the file object that the locator `of` keeps, if it does."""
    return _locator_of(locator, of.file) if isinstance(of, _ObjectLocator) else locator


def _locator_of(text: str, file: Any) -> _ObjectLocator:
    locator = _ObjectLocator(text)
    locator.file = file
    return locator


def ref_of_object(file: SeekableFile) -> FileRef:
    """A locator for an open binary file object; of a local file on disk, its path.

    Raises
    ------
    UsageError
        The object has no random access, or is a text file.
    """
    path = getattr(file, "name", None)
    if isinstance(path, str) and isinstance(file, (io.BufferedReader, io.FileIO)) and Path(path).is_file():
        stat = Path(path).stat()
        if os.path.samestat(stat, os.fstat(file.fileno())):
            return FileRef(os.path.abspath(path), stat.st_size, stat.st_mtime_ns)
    try:
        seekable = bool(getattr(file, "seekable", lambda: hasattr(file, "seek"))())
    except Exception:  # a closed file: reading it says so
        seekable = True
    if isinstance(file, io.TextIOBase) or not seekable:
        raise UsageError(
            f"A {type(file).__name__} is not a binary file with random access. Open it with mode 'rb', or read it into "
            "io.BytesIO.",
            argument="source",
        )
    with _lock:
        try:
            if file not in _locators:
                _locators[file] = f"{OBJECT_SCHEME}{os.getpid()}-{next(_numbers)}", threading.Lock()
            locator, own_lock = _locators[file]
            _objects[locator] = file
        except TypeError as error:
            raise UsageError(
                f"A {type(file).__name__} cannot be referred to: {error}. Read it into io.BytesIO.", argument="source"
            ) from error
    try:
        size = ObjectReader(file, own_lock).size
    except SourceError:  # met again, and reported, by whoever reads it
        size = -1
    return FileRef(_locator_of(locator, file), size)


def open_object(locator: str) -> ObjectReader:
    """Open what `ref_of_object` named.

    Raises
    ------
    SourceNotFoundError
        The object is gone, or belongs to another process.
    """
    with _lock:
        file = _objects.get(locator)
        if file is not None:
            return ObjectReader(file, _locators[file][1])
    raise SourceNotFoundError(
        f"{locator} is a file object that this process does not have (any more). Keep it while its volume is in use, "
        "and write it to disk for processes and clusters.",
        path=locator,
    )
