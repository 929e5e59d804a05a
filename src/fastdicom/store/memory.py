"""How much memory the tasks of a write hold together: smaller shards first, then fewer workers."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from fastdicom.errors import UsageError
from fastdicom.execution import is_client
from fastdicom.store.layout import SHARD_BYTES, Grid, choose_grid
from fastdicom.volume import Volume

__all__ = ["COPIES_A_SHARD", "fit_memory", "parse_memory"]

SHARDS_AT_ONCE = 4
"""Tasks that `max_memory` leaves room for, as far as shards can be made smaller."""
COPIES_A_SHARD = 3
"""Arrays of a shard's size that one task holds at once: the voxels, Zarr's chunks of them, the compressed bytes."""


def parse_memory(value: Any) -> int | None:
    """Bytes of a `max_memory=` argument: a number, or a text such as ``"4 GB"``."""
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        if isinstance(value, bool) or not isinstance(value, (str, Real)):
            raise ValueError(f"of type {type(value).__name__}")
        size = int(parse_bytes(value))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"max_memory={value!r} is no amount of memory. Use bytes or '4 GB'.") from error
    if size < 1 << 20:
        raise UsageError(f"max_memory={value!r} is less than 1 MiB. Use more.", argument="max_memory")
    return size


def fit_memory(
    volume: Volume,
    chunks: tuple[int, ...] | None,
    shards: tuple[int, ...] | None,
    max_memory: int | None,
    workers: int,
    scheduler: Any,
) -> tuple[Grid, int]:
    """Chunks, shards and workers such that the tasks together stay below `max_memory` bytes; None: no bound.

    Raises
    ------
    UsageError
        One shard alone needs more, or the sizes do not fit the volume.
    """
    shard_bytes = SHARD_BYTES
    if max_memory is not None:
        # Not by the number of workers: another machine must be able to continue this store.
        shard_bytes = max(1, min(shard_bytes, max_memory // (COPIES_A_SHARD * SHARDS_AT_ONCE)))
    itemsize = volume.dtype.itemsize
    grid = choose_grid(volume.shape, volume.dims, itemsize, chunks, shards, shard_bytes)
    if max_memory is not None and not is_client(scheduler):
        task = (
            COPIES_A_SHARD * int(np.prod([min(s, n) for s, n in zip(grid.shards, grid.shape, strict=True)])) * itemsize
        )
        if task > max_memory:
            raise UsageError(
                f"One shard of {grid.shards} voxels needs about {task >> 20} MiB, more than max_memory "
                f"({max_memory >> 20} MiB). Pass smaller chunks= and shards=, or more memory.",
                argument="max_memory",
            )
        workers = max(1, min(workers, max_memory // max(1, task)))
    return grid, workers
