"""What is kept of multi-frame files from block to block: where their frames lie, and how to inflate from anywhere.

Else each block would walk the same items, or inflate all that lies before it, again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from fastdicom.frames import FrameIndex, index_frames, inflate
from fastdicom.frames.deflated import InflatedData
from fastdicom.planned_files import PlannedFile
from fastdicom.types import ByteReader, PixelFormat

__all__ = ["frame_index", "inflated"]

Kept = TypeVar("Kept")


class _Place(Generic[Kept]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.found: Kept | None = None


class _LastFiles(Generic[Kept]):
    """What was made of the files that were used last. Who wants it of a file while it is made waits for it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.lock = threading.Lock()
        self.places: OrderedDict[tuple[Any, ...], _Place[Kept]] = OrderedDict()

    def of(self, planned: PlannedFile, make: Callable[[], Kept]) -> Kept:
        key = (planned.locator, planned.size, planned.mtime_ns, planned.location.offset)
        with self.lock:
            place = self.places.setdefault(key, _Place())
            self.places.move_to_end(key)
            if len(self.places) > self.count:
                self.places.popitem(last=False)
        with place.lock:
            if place.found is None:
                place.found = make()
            return place.found


_INDICES = _LastFiles[FrameIndex](64)
_INFLATED = _LastFiles[InflatedData](4)


def frame_index(reader: ByteReader, planned: PlannedFile, fmt: PixelFormat) -> FrameIndex:
    """Frame index of a file; kept if it has several frames."""
    make = partial(index_frames, reader, planned.location, fmt, path=planned.locator)
    return make() if planned.location.number_of_frames == 1 else _INDICES.of(planned, make)


def inflated(reader: ByteReader, planned: PlannedFile, fmt: PixelFormat) -> ByteReader:
    """Pixel data of a deflated file. A deflate stream has no frames to go to: places from which to go on are kept."""
    make = partial(inflate, reader, planned.location, fmt, path=planned.locator)
    if planned.location.number_of_frames == 1:
        return make()
    return _INFLATED.of(planned, lambda: make().inflated).open(reader)
