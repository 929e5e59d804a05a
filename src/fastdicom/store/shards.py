"""The shards of a store: which are there, and how one is written while others may be writing too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from fastdicom.errors import PlanMismatchError
from fastdicom.store.layout import Grid
from fastdicom.store.target import stored_record
from fastdicom.volume import Volume

__all__ = ["ARRAY", "check_ours", "missing_shards", "open_array", "put_shard"]

ARRAY = "0"
Place = tuple[int, ...]


def open_array(group: Any, volume: Volume, grid: Grid) -> Any:
    """The array of voxels of a group, made if it is not there."""
    from zarr.codecs import BloscCodec

    if ARRAY in group:
        return group[ARRAY].with_config({"write_empty_chunks": True})
    return group.create_array(
        ARRAY,
        shape=volume.shape,
        dtype=volume.dtype,
        chunks=grid.chunks,
        shards=grid.shards,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=volume.dtype.itemsize),
        fill_value=0,
        dimension_names=list(volume.dims),
        attributes={"units": volume.units} if volume.units else {},
        config={"write_empty_chunks": True},  # a shard that is there is a shard that was written
    )


def missing_shards(array: Any, places: Sequence[Place]) -> list[Place]:
    """Those shards that are not in the store: from one listing, each that it lacks asked for by name."""
    from zarr.core.sync import sync

    where = array.store_path
    keys = {place: (where / array.metadata.encode_chunk_key(place)).path for place in places}

    async def missing() -> list[Place]:
        try:
            listed = {key async for key in where.store.list_prefix(f"{where.path}/" if where.path else "")}
        except (OSError, NotImplementedError):  # a server without listings
            listed = set()
        doubtful = [place for place in places if keys[place] not in listed]
        there = await asyncio.gather(*(where.store.exists(keys[place]) for place in doubtful))
        return [place for place, exists in zip(doubtful, there, strict=True) if not exists]

    found: list[Place] = sync(missing())
    return found


def put_shard(array: Any, index: tuple[slice, ...], place: Place, block: NDArray[Any], fingerprint: str) -> None:
    """Write one shard into a store that is still the one that was begun.

    Raises
    ------
    PlanMismatchError
        Another write replaced the store in the meantime.
    """
    if threading.get_ident() != threading.main_thread().ident:
        _put_shard(array, index, place, block, fingerprint)
        return
    # Ctrl-C reaches the main thread: zarr would stop waiting for its write there, but not writing, and the second check
    # would never be made. Leaving this block waits for both.
    with ThreadPoolExecutor(1, thread_name_prefix="fastdicom") as pool:
        pool.submit(_put_shard, array, index, place, block, fingerprint).result()


def _put_shard(array: Any, index: tuple[slice, ...], place: Place, block: NDArray[Any], fingerprint: str) -> None:
    from zarr.core.sync import sync

    check_ours(array, fingerprint)
    array[index] = block
    try:
        check_ours(array, fingerprint)
    except PlanMismatchError:
        # It went into the other's store. A shard that is absent is noticed by every reader, a wrong one by none.
        sync((array.store_path / array.metadata.encode_chunk_key(place)).delete())
        raise


def check_ours(array: Any, fingerprint: str) -> None:
    """Raise a PlanMismatchError unless the store around an array still has this fingerprint."""
    from zarr.storage import StorePath

    where = array.store_path
    root = StorePath(where.store, where.path.rpartition("/")[0])
    record = stored_record(root)
    if record is None or record.get("fingerprint") != fingerprint:
        raise PlanMismatchError(
            f"{root} was {'removed' if record is None else 'replaced'} by something else while it was being written. "
            "What is there now is not of this call; write to another path, or again with overwrite=True.",
            path=str(root),
        )
