"""The files of a plan, column by column: of thousands of small ones each costs no more than what is done with it.

`VolumePlan.files` is a sequence of `PlannedFile`; what is done with all of them at once uses the columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from fastdicom.sources import local_names
from fastdicom.types import PixelLocation

__all__ = ["FILE_DTYPE", "PlannedFile", "PlannedFiles"]

FILE_DTYPE = np.dtype(
    [
        ("size", np.int64),  # bytes; -1: the file system does not say
        ("mtime_ns", np.int64),  # 0: the file system does not say
        ("offset", np.int64),  # the fields of PixelLocation, in order
        ("length", np.int64),
        ("number_of_frames", np.int64),
        ("extended_offsets", np.int64, 2),
        ("extended_lengths", np.int64, 2),
    ]
)


class PlannedFile(NamedTuple):
    """A file that slices of the volume come from."""

    locator: str
    size: int
    mtime_ns: int
    location: PixelLocation
    instance_uid: str = ""


class PlannedFiles(Sequence[PlannedFile]):
    """The files that slices of a volume come from."""

    def __init__(self, locators: Sequence[str], facts: NDArray[Any], instance_uids: NDArray[np.bytes_]) -> None:
        """Files with these columns.

        Parameters
        ----------
        locators : sequence of str
            Local paths or URLs.
        facts : (N,) of FILE_DTYPE
        instance_uids : (N,) bytes
            SOP Instance UIDs.
        """
        self.locators = tuple(locators)
        self.facts = facts
        self.instance_uids = instance_uids

    def __len__(self) -> int:
        return len(self.locators)

    @overload
    def __getitem__(self, index: int) -> PlannedFile: ...
    @overload
    def __getitem__(self, index: slice) -> PlannedFiles: ...
    def __getitem__(self, index: int | slice) -> PlannedFile | PlannedFiles:
        if isinstance(index, slice):
            return PlannedFiles(self.locators[index], self.facts[index], self.instance_uids[index])
        return _planned(self.locators[index], self.facts[index].tolist(), bytes(self.instance_uids[index]))

    def __iter__(self) -> Iterator[PlannedFile]:
        return map(_planned, self.locators, self.facts.tolist(), self.instance_uids.tolist())

    def __repr__(self) -> str:
        return f"<fastdicom.PlannedFiles: {len(self)}>"

    def __reduce__(self) -> tuple[Any, ...]:  # without what is derived
        return PlannedFiles, (self.locators, self.facts, self.instance_uids)

    @cached_property
    def names(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """As `local_names` has them."""
        return local_names(self.locators)


def _planned(locator: str, facts: tuple[Any, ...], uid: bytes) -> PlannedFile:
    size, mtime, offset, length, frames, offsets, lengths = facts
    location = PixelLocation(offset, length, frames, tuple(offsets), tuple(lengths))
    return PlannedFile(locator, size, mtime, location, uid.decode("ascii", "replace"))
