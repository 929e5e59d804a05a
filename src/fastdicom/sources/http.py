"""HTTP without a byte more than is asked for. Imported when the first such URL is met: it needs aiohttp."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any

from fsspec.asyn import sync_wrapper
from fsspec.implementations.http import HTTPFileSystem

__all__ = ["HTTPFileSystem", "RangedHTTPFileSystem"]

_AT_ONCE = 32
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


class RangedHTTPFileSystem(HTTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's, but of a server that does not know ranges, and sends all, only what was asked for is taken.

    fsspec asks whether a URL is a folder by downloading it, and knows the size of a file only after one more request.
    """

    async def _cat_file(self, url: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        if start is None or end is None or start < 0 or end < 0:
            return bytes(await super()._cat_file(url, start=start, end=end, **kwargs))
        return (await self._range(url, start, end))[0] if end > start else b""

    async def _look(self, url: str, nbytes: int) -> tuple[bytes, dict[str, Any]]:
        """(first bytes, facts) of a file, in one request.

        Facts: ``size`` (None where the server does not tell), ``mtime`` (datetime) and ``url``, where it was found.
        """
        return await self._range(url, 0, nbytes)

    async def _look_all(self, urls: Sequence[str], nbytes: int) -> list[tuple[bytes, dict[str, Any]] | BaseException]:
        """`look` at many files, some at once."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(url: str) -> tuple[bytes, dict[str, Any]]:
            async with turn:
                return await self._look(url, nbytes)

        return await asyncio.gather(*map(one, urls), return_exceptions=True)

    look = sync_wrapper(_look)
    look_all = sync_wrapper(_look_all)

    async def _range(self, url: str, start: int, end: int) -> tuple[bytes, dict[str, Any]]:
        session = await self.set_session()
        options = dict(self.kwargs)
        # Ranges of what a server packs for the way would be ranges of the packed bytes.
        asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        options["headers"] = {**options.get("headers", {}), **asked}
        async with session.get(self.encode_url(url), **options) as response:
            first, size = _first_and_size(response.headers.get("Content-Range", ""))
            if response.status == 416:  # behind the end (RFC 9110 15.5.17)
                return b"", _facts(response, 0 if size is None and start == 0 else size)
            self._raise_not_found_for_status(response, url)
            if response.status != 206:
                first = 0
                packed = response.headers.get("Content-Encoding", "identity") not in ("", "identity")
                size = None if packed else response.content_length
            elif first is None:
                first = start
            if first > start:
                raise ValueError(f"bytes from {start} were asked for, and those from {first} came")
            length = response.content_length
            if response.status == 206 and first == start and length is not None and length <= end - start:
                return bytes(await response.read()), _facts(response, size)
            # Leaving the block before the end closes the connection: the server stops sending.
            data = bytearray()
            position = first
            async for chunk in response.content.iter_any():
                data += chunk[max(0, start - position) :]
                position += len(chunk)
                if position >= end:
                    break
            return bytes(data[: end - start]), _facts(response, size)


def _first_and_size(content_range: str) -> tuple[int | None, int | None]:
    """(first byte, bytes of the whole) of a Content-Range (RFC 9110 14.4)."""
    found = _CONTENT_RANGE.match(content_range)
    first, size = found.groups() if found else (None, None)
    return int(first) if first else None, int(size) if size and size != "*" else None


def _facts(response: Any, size: int | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": size, "url": str(response.url)}
    try:
        facts["mtime"] = parsedate_to_datetime(response.headers["Last-Modified"])
    except (KeyError, ValueError, TypeError):  # not told, or not as RFC 9110 5.6.7 writes it
        pass
    return facts
