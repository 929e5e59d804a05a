"""The last choices before work begins: a window from the voxels, and how a volume is cut into blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.blocks import Failure, read_block
from fastdicom.catalog import CatalogEntry
from fastdicom.plan import VolumePlan, Window
from fastdicom.planner import PlanOptions, build_plan, needs_auto_window

__all__ = ["default_chunks", "make_plan", "z_blocks"]

DEFAULT_CHUNK_BYTES = 32 * 2**20
"""Bytes of a lazy chunk: large enough that Dask's half millisecond a task is nothing, small enough for many at once."""

LEAST_BLOCK_BYTES = 128 * 2**10
FULL_BLOCK_BYTES = 16 * 2**20
"""Larger blocks save nothing: what a block costs by itself is little beside so much."""

SAMPLE_NBYTES = 16 * 2**20
"""Slices for window="auto" that are read once; larger ones are read again where they are needed again."""


def make_plan(entry: CatalogEntry, options: PlanOptions) -> VolumePlan:
    """The plan of an entry, its window found from the voxels where that was asked for or there is no other."""
    plan = build_plan(entry, options)
    if not needs_auto_window(plan, options.window):
        return plan
    window = _auto_window(entry, options)
    text = f"window from the voxels: center {window.center:g}, width {window.width:g}, {window.function}"
    if options.window is None and np.isfinite(plan.slices["center"]).any():
        text += " (some slices have none in their header)"
    return replace(plan.with_window(window), notes=(*plan.notes, text))


def _auto_window(entry: CatalogEntry, options: PlanOptions) -> Window:
    from fastdicom.kernels import auto_window

    plan = build_plan(entry, replace(options, values="modality", window=None, dtype=None))
    flat = np.flatnonzero(plan.slices["file"] >= 0)
    sample = flat[np.unique(np.linspace(0, len(flat) - 1, 9).astype(int))]
    places = [tuple(int(k) for k in np.unravel_index(number, plan.outer_shape)) for number in sample]
    center, width = auto_window(_Frames(plan, places, options.ignore_errors))
    return Window(center, width, "LINEAR_EXACT")


class _Frames:
    """Slices of a plan, without those that cannot be read unless none can; large ones are not kept between walks."""

    def __init__(self, plan: VolumePlan, places: list[tuple[int, ...]], ignore_errors: bool) -> None:
        self.plan = plan
        self.places = places
        self.ignore_errors = ignore_errors
        frame_nbytes = int(np.prod(plan.frame_shape)) * plan.dtype.itemsize
        self.kept: list[NDArray[Any]] | None = [] if frame_nbytes * len(places) <= SAMPLE_NBYTES else None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        if self.kept:
            yield from self.kept
            return
        failed, unread = 0, None
        for place in self.places:
            failures: list[Failure] | None = [] if self.ignore_errors else None
            block = read_block(self.plan, place, failures=failures)
            if failures:
                failed, unread = failed + 1, block
                continue
            if self.kept is not None:
                self.kept.append(block)
            yield block
        if unread is not None and failed == len(self.places):
            yield unread


def default_chunks(plan: VolumePlan) -> tuple[int, ...]:
    """Whole slices, as many along z as make about 32 MiB; extra dimensions one by one."""
    frame = int(np.prod(plan.frame_shape)) * plan.dtype.itemsize
    depth = max(1, min(plan.outer_shape[-1], DEFAULT_CHUNK_BYTES // max(1, frame)))
    return (*(1,) * (plan.n_outer - 1), depth, *plan.frame_shape)


def z_blocks(plan: VolumePlan, workers: int, least_nbytes: int = LEAST_BLOCK_BYTES) -> list[tuple[Any, ...]]:
    """Split the slices of a plan into blocks of neighbours: several for each worker, the last ones ever smaller.

    So the workers end together: with equal blocks the cores wait, on average, for half a block of the last one. A block
    of less than 128 KiB would cost threads more than what is in it. The first have an eighth of a worker's share, or up
    to 16 MiB where that is more, but no more than a fourth: each costs a third of a millisecond. The others have at
    most two thirds of what is left for each worker.
    """
    left = max(1, int(np.prod(plan.outer_shape)))
    frame = int(np.prod(plan.frame_shape)) * plan.dtype.itemsize
    least = max(1, -(-least_nbytes // max(1, frame)))
    depth = max(least, -(-left // (8 * workers)), min(-(-left // (4 * workers)), FULL_BLOCK_BYTES // max(1, frame)))
    blocks: list[tuple[Any, ...]] = []
    for before in np.ndindex(*plan.outer_shape[:-1]):
        start = 0
        while start < plan.outer_shape[-1]:
            stop = min(start + max(least, min(depth, -(-2 * left // (3 * workers)))), plan.outer_shape[-1])
            blocks.append((*before, slice(start, stop)))
            left -= stop - start
            start = stop
    return blocks
