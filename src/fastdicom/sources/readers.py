"""Ranged reads of one file: local, of an open file object, and the file object that libraries ask for."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from fastdicom.errors import SourceError
from fastdicom.types import ByteReader

__all__ = ["LocalReader", "ObjectReader", "ReaderFile", "SeekableFile", "read_head"]

# Without O_NONBLOCK, opening a pipe would wait for its other end.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_head(path: str, nbytes: int) -> bytes:
    """The first bytes of a local file, for no more than they cost."""
    descriptor = os.open(path, _FLAGS)
    try:
        return os.read(descriptor, nbytes)
    finally:
        os.close(descriptor)


class LocalReader:
    """Ranged reads of a local file through pread: no shared position, one descriptor."""

    __slots__ = ("_fd", "mtime_ns", "size")

    def __init__(self, path: str) -> None:
        self._fd = -1
        self._fd = os.open(path, _FLAGS)
        stat = os.fstat(self._fd)
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns

    def read_at(self, offset: int, length: int) -> bytes:
        data = os.pread(self._fd, length, offset)
        while len(data) < length:  # one call moves at most 2 GiB on Linux
            more = os.pread(self._fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        done = 0
        while done < len(buffer):
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


class SeekableFile(Protocol):
    """What is needed of a file object: binary, with random access."""

    def read(self, size: int = -1, /) -> Any: ...

    def seek(self, offset: int, whence: int = 0, /) -> Any: ...

    def tell(self) -> int: ...


@contextmanager
def _failures_named(file: object) -> Iterator[None]:
    """A file object is anybody's code, and may raise anything."""
    try:
        yield
    except Exception as error:
        raise SourceError(
            f"A {type(file).__name__} cannot be read: {type(error).__name__}: {error}. Open it again, or read it into "
            "io.BytesIO."
        ) from error


class ObjectReader:
    """Ranged reads of an open file object of the user, which stays open; safe in threads."""

    def __init__(self, file: SeekableFile, lock: threading.Lock) -> None:
        self._file = file
        self._lock = lock
        with lock, _failures_named(file):
            end = file.seek(0, io.SEEK_END)
            # Not every file tells where it went: mmap does from Python 3.13 on.
            self.size = int(file.tell() if end is None else end)

    def read_at(self, offset: int, length: int) -> bytes:
        length = min(length, max(0, self.size - offset))
        parts: list[bytes] = []
        with self._lock, _failures_named(self._file):
            self._file.seek(offset)
            while length > 0:  # unbuffered files may return less
                part = self._file.read(length)
                if not part:
                    break
                parts.append(bytes(part))
                length -= len(part)
        return b"".join(parts)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """The object is the user's."""

    def __enter__(self) -> ObjectReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class ReaderFile(io.RawIOBase):
    """A `ByteReader` as a read-only file object."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, self._reader.size)[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        count = self._reader.readinto_at(self._position, view[: max(0, self._reader.size - self._position)])
        self._position += count
        return count
