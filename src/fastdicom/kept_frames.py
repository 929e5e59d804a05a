"""What is kept of multi-frame files from block to block: where their frames lie, and how to inflate from anywhere.

Else each block would walk the same items, or inflate all that lies before it, again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from fastdicom.frames import FrameIndex, index_frames, inflate
from fastdicom.frames.deflated import InflatedData
from fastdicom.planned_files import PlannedFile
from fastdicom.types import ByteReader, PixelFormat

__all__ = ["frame_index", "inflated"]

_INDEX_CACHE: OrderedDict[tuple[Any, ...], FrameIndex] = OrderedDict()
_INDEX_LOCK = threading.Lock()
_INDEX_CACHE_SIZE = 64


def frame_index(reader: ByteReader, planned: PlannedFile, fmt: PixelFormat) -> FrameIndex:
    """Frame index of a file; kept if it has several frames."""
    if planned.location.number_of_frames == 1:
        return index_frames(reader, planned.location, fmt, path=planned.locator)
    key = (planned.locator, planned.size, planned.mtime_ns, planned.location.offset)
    with _INDEX_LOCK:
        found = _INDEX_CACHE.get(key)
        if found is not None:
            _INDEX_CACHE.move_to_end(key)
            return found
    found = index_frames(reader, planned.location, fmt, path=planned.locator)
    with _INDEX_LOCK:
        _INDEX_CACHE[key] = found
        while len(_INDEX_CACHE) > _INDEX_CACHE_SIZE:
            _INDEX_CACHE.popitem(last=False)
    return found


_INFLATED: OrderedDict[tuple[Any, ...], InflatedData] = OrderedDict()
_INFLATED_LOCK = threading.Lock()
_INFLATED_CACHE_SIZE = 4


def inflated(reader: ByteReader, planned: PlannedFile, fmt: PixelFormat) -> ByteReader:
    """Pixel data of a deflated file. A deflate stream has no frames to go to: places from which to go on are kept."""
    if planned.location.number_of_frames == 1:
        return inflate(reader, planned.location, fmt, path=planned.locator)
    key = (planned.locator, planned.size, planned.mtime_ns, planned.location.offset)
    with _INFLATED_LOCK:  # while inflating, too: others wait for the same file
        found = _INFLATED.get(key)
        if found is None:
            found = inflate(reader, planned.location, fmt, path=planned.locator).inflated
            _INFLATED[key] = found
            while len(_INFLATED) > _INFLATED_CACHE_SIZE:
                _INFLATED.popitem(last=False)
        _INFLATED.move_to_end(key)
    return found.open(reader)
