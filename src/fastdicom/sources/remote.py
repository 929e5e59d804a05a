"""Files of any fsspec file system, read in ranges."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any

from fastdicom.errors import FastDicomError, MissingDependencyError, SourceError, SourceNotFoundError
from fastdicom.types import FileRef

__all__ = ["RemoteReader", "discover_url", "discover_urls", "is_url", "read_ranges"]

_HTTP = ("http://", "https://")


def is_url(locator: str) -> bool:
    return "://" in locator


@lru_cache(maxsize=64)
def _file_system(prefix: str) -> Any:
    from fsspec.core import url_to_fs

    file_system = url_to_fs(prefix)[0]
    if prefix.startswith(_HTTP):
        from fastdicom.sources.http import HTTPFileSystem, RangedHTTPFileSystem

        if type(file_system) is HTTPFileSystem:  # not one that the user has registered
            return RangedHTTPFileSystem(**file_system.storage_options)
    return file_system


def _resolve(url: str) -> tuple[Any, str]:
    """(file system, path in it) of a URL.

    Raises
    ------
    MissingDependencyError
        The package that reads this kind of URL is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        if "::" in url:
            file_system, path = url_to_fs(url)
            return file_system, str(path)
        scheme, _, rest = url.partition("://")
        # One file system an authority: making one anew for each file costs more than the reading.
        file_system = _file_system(f"{scheme}://{rest.partition('/')[0]}")
        return file_system, str(file_system._strip_protocol(url))
    except ImportError as error:
        raise MissingDependencyError(f"{url} cannot be read: {error}. Install that package.", path=url) from error
    except ValueError as error:
        raise SourceError(f"{url} cannot be read: {error}. Use a scheme that fsspec knows.", path=url) from error


def _failure(url: str, error: Exception) -> SourceError:
    if isinstance(error, FileNotFoundError):
        return SourceNotFoundError(f"{url} does not exist (any more). Check the URL, or scan again.", path=url)
    return SourceError(
        f"{url} cannot be read: {type(error).__name__}: {error}. Check the connection and the permissions.", path=url
    )


class RemoteReader:
    """Ranged reads: each asks the file system for just these bytes, nothing is read ahead."""

    def __init__(self, url: str, size: int = -1) -> None:
        self._url = url
        self._fs, self._path = _resolve(url)
        if size < 0:
            try:
                known = self._fs.size(self._path)
            except Exception as error:  # every backend has its own exceptions
                raise _failure(url, error) from error
            if known is None:
                raise SourceError(
                    f"{url} cannot be read in ranges: its server does not tell its size. Download it first.", path=url
                )
            size = int(known)
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        if end <= offset:
            return b""
        try:
            data = bytes(self._fs.cat_file(self._path, start=offset, end=end))
        except Exception as error:
            raise _failure(self._url, error) from error
        return _of_range(data, offset, end)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        data = self.read_at(offset, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None: ...

    def __enter__(self) -> RemoteReader:
        return self

    def __exit__(self, *exc: object) -> None: ...


def _of_range(data: bytes, start: int, end: int) -> bytes:
    """What was asked for, of what a server sent that may not know ranges and sends all."""
    return data if len(data) <= end - start else data[start:end]


def read_ranges(urls: Sequence[str], starts: Sequence[int], ends: Sequence[int]) -> list[bytes | SourceError]:
    """One range of each of many files, at once where the file system can."""
    answers: list[bytes | SourceError] = [b""] * len(urls)
    groups: dict[int, tuple[Any, list[int], list[str]]] = {}
    for index, url in enumerate(urls):
        try:
            file_system, path = _resolve(url)
        except SourceError as error:
            answers[index] = error
            continue
        _, indices, paths = groups.setdefault(id(file_system), (file_system, [], []))
        indices.append(index)
        paths.append(path)
    for file_system, indices, paths in groups.values():
        wanted = [starts[index] for index in indices], [ends[index] for index in indices]
        try:
            found = file_system.cat_ranges(paths, *wanted, on_error="return")
        except Exception as error:  # of a whole group: of each of its files
            found = [error] * len(indices)
        for index, data in zip(indices, found, strict=True):
            failed = isinstance(data, Exception)
            answers[index] = (
                _failure(urls[index], data) if failed else _of_range(bytes(data), starts[index], ends[index])
            )
    return answers


def discover_url(url: str, head_nbytes: int) -> tuple[list[FileRef], bytes | None]:
    """The files below a URL, in the order of their names: a file, a folder, or a pattern with ``*``.

    Returns
    -------
    (files, head)
        Head: the first bytes of a single file, where they came with the answer.
    """
    file_system, path = _resolve(url)
    try:
        if any(sign in path for sign in "*[") and not file_system.exists(path):
            found = file_system.glob(path, detail=True)
        elif (http := path.startswith(_HTTP)) and not _ends_in_slash(path):
            # Whether it is a folder, too, only its content could tell, which may be a whole volume.
            if hasattr(file_system, "look"):
                return _look(url, file_system, path, head_nbytes)
            found = {path: file_system.info(path)}
        elif file_system.isdir(path) and (http or not file_system.isfile(path)):  # to fsspec, every page is a file
            found = file_system.find(path, detail=True)
        else:
            found = {path: file_system.info(path)}
    except SourceError:
        raise
    except Exception as error:
        raise _failure(url, error) from error
    if not found:
        raise SourceNotFoundError(f"{url} holds no file. Check the URL.", path=url)
    files = [
        FileRef(_url_of(url, file_system, path, str(name)), _size(info), _mtime_ns(info))
        for name, info in sorted(found.items())
        if info.get("type") != "directory"
    ]
    return files, None


def _look(url: str, file_system: Any, path: str, head_nbytes: int) -> tuple[list[FileRef], bytes | None]:
    head, info = file_system.look(path, head_nbytes)
    if _ends_in_slash(info["url"]):  # a server sends who asks for a folder there
        return discover_url(info["url"], head_nbytes)
    return [FileRef(url, _size(info), _mtime_ns(info))], head if info["size"] is not None else None


def _ends_in_slash(url: str) -> bool:
    return url.partition("?")[0].partition("#")[0].endswith("/")


def discover_urls(urls: Sequence[str], head_nbytes: int) -> dict[str, tuple[FileRef, bytes]]:
    """Files and first bytes of those of many URLs that can be asked for all at once; the others are left out."""
    groups: dict[int, tuple[Any, list[str]]] = {}
    for url in urls:
        if url.startswith(_HTTP) and not _ends_in_slash(url) and not set("*[") & set(url) and "::" not in url:
            with suppress(FastDicomError):  # met again by who asks for this one
                file_system = _resolve(url)[0]
                groups.setdefault(id(file_system), (file_system, []))[1].append(url)
    found: dict[str, tuple[FileRef, bytes]] = {}
    for file_system, asked in groups.values():
        if len(asked) > 1 and hasattr(file_system, "look_all"):
            for url, answer in zip(asked, file_system.look_all(asked, head_nbytes), strict=True):
                if not isinstance(answer, BaseException) and not _ends_in_slash(answer[1]["url"]):
                    head, info = answer
                    if info["size"] is not None:
                        found[url] = FileRef(url, _size(info), _mtime_ns(info)), head
    return found


def _url_of(url: str, file_system: Any, path: str, name: str) -> str:
    """The URL of a file found below `url`, with all of what `url` says: host, user and password, chained caches.

    File systems keep those outside of their paths, and cannot put them back.
    """
    if name.strip("/") == path.strip("/"):
        return url
    links = url.split("::")
    at = next(index for index, link in enumerate(links) if "://" in link)  # the link that has the path
    start = links[at].index("://") + 3
    signs = [place for sign in "*[" if (place := links[at].find(sign, start)) >= 0]
    base = links[at][: max(links[at].rfind("/", start, min(signs)), start)] if signs else links[at]
    base = base if base.endswith("://") else base.rstrip("/")
    folder = _resolve("::".join([*links[:at], base, *links[at + 1 :]]))[1].strip("/")
    below = name.strip("/").removeprefix(folder)
    if "?" in base or not name.strip("/").startswith(folder) or not (below.startswith("/") or not folder):
        return str(file_system.unstrip_protocol(name))
    separator = "" if base.endswith("://") else "/"
    return "::".join([*links[:at], base + separator + below.lstrip("/"), *links[at + 1 :]])


def _size(info: dict[str, Any]) -> int:
    size = info.get("size")
    return int(size) if size is not None else -1


def _mtime_ns(info: dict[str, Any]) -> int:
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, (int, float)):
            return int(value * 1e9)
        if isinstance(value, datetime):
            return int(value.timestamp() * 1e9)
    return 0
