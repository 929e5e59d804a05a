"""A basic index into a volume, resolved: which slices it touches, and which part of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Region"]


@dataclass(frozen=True)
class Region:
    """A basic index, resolved: which slices, and which part of each."""

    slices: NDArray[np.int64]
    """Flat numbers of the wanted slices, in order of the block."""
    inner: tuple[slice, ...]
    """y, x[, c]: slices with the ends resolved against the frame; steps may be negative."""
    whole_frame: bool
    rows: slice | None
    """A band of whole rows, where that is all that is wanted of a frame."""
    frame_shape: tuple[int, ...]
    full_shape: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...], n_outer: int, index: tuple[Any, ...]) -> Region:
        index = index if isinstance(index, tuple) else (index,)
        if any(item is Ellipsis for item in index):
            where = next(k for k, item in enumerate(index) if item is Ellipsis)
            missing = len(shape) - len(index) + 1
            index = (*index[:where], *[slice(None)] * missing, *index[where + 1 :])
        if len(index) > len(shape):
            raise IndexError(f"{len(index)} indices for an array of {len(shape)} dimensions")
        index = (*index, *[slice(None)] * (len(shape) - len(index)))
        places = [np.arange(length)[_as_slice(item, length)] for item, length in zip(index, shape, strict=True)]
        outer = np.ix_(*places[:n_outer]) if n_outer else ()
        slices = np.ravel_multi_index(outer, shape[:n_outer]).ravel() if n_outer else np.zeros(1, np.int64)
        inner = tuple(
            slice(*_as_slice(item, length).indices(length))
            for item, length in zip(index[n_outer:], shape[n_outer:], strict=True)
        )
        inner = tuple(slice(s.start, None if s.step < 0 and s.stop < 0 else s.stop, s.step) for s in inner)
        full = [
            len(p) == length and s.step == 1
            for p, length, s in zip(places[n_outer:], shape[n_outer:], inner, strict=True)
        ]
        band = all(full[1:]) and inner[0].step == 1 and not full[0]
        full_shape = tuple(len(place) for place in places)
        kept = tuple(n for n, item in zip(full_shape, index, strict=True) if isinstance(item, slice))
        return cls(
            slices, inner, all(full), inner[0] if band else None, full_shape[n_outer:], full_shape, kept
        )  # fmt: skip


def _as_slice(item: Any, length: int) -> slice:
    if isinstance(item, slice):
        return item
    place = int(item)
    if not -length <= place < length:
        raise IndexError(f"index {place} is out of bounds for an axis of {length}")
    place %= length
    return slice(place, place + 1)
