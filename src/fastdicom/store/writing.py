"""Write volumes to Zarr: one task a shard, resumable, never half-written and complete-looking.

Order of a write: the group with the plan's fingerprint and ``status: writing``; the shards, each whole; the per-slice
columns; last ``status: complete`` and the OME metadata, in one write of the group's attributes. The same call again
continues; a shard that is there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdicom.blocks import Failure, read_block
from fastdicom.catalog import Catalog, CatalogEntry, scan
from fastdicom.errors import (
    FastDicomError,
    InvalidStoreError,
    PlanMismatchError,
    UsageError,
)
from fastdicom.execution import check_scheduler, check_workers, is_client, run_tasks
from fastdicom.planner import PlanOptions
from fastdicom.prepare import make_plan
from fastdicom.progress import ProgressArgument, progress_bar
from fastdicom.selection import (
    SeriesArgument,
    entry_of,
    no_images,
    select,
    warn_of_geometry,
    warn_of_skipped,
    with_policy,
)
from fastdicom.store.layout import (
    COMPLETE,
    SHARD_BYTES,
    Grid,
    choose_grid,
    numeric_columns,
    ome_attributes,
    store_attributes,
)
from fastdicom.store.names import store_names
from fastdicom.store.reports import StoreReport, WriteReport, known_failures, listed
from fastdicom.types import GeometryPolicy
from fastdicom.volume import Volume

__all__ = ["StoreReport", "WriteReport", "write_volume", "write_zarr"]

BlockReader = Callable[[tuple[slice, ...], "list[Failure] | None"], NDArray[Any]]
ARRAY = "0"
SHARDS_AT_ONCE = 4
"""Tasks that `max_memory` leaves room for, as far as shards can be made smaller."""
COPIES_A_SHARD = 3
"""Arrays of a shard's size that one task holds at once: the voxels, Zarr's chunks of them, the compressed bytes."""


@dataclass(frozen=True)
class _Settings:
    """Arguments of a write that do not decide the voxels."""

    chunks: tuple[int, ...] | None
    shards: tuple[int, ...] | None
    identifiers: str
    scheduler: Any
    workers: int
    max_memory: int | None
    progress: ProgressArgument
    report_errors: bool
    overwrite: bool


def write_zarr(
    source: Any,
    store: Any,
    *,
    series: SeriesArgument = None,
    values: str = "modality",
    window: Any = None,
    dtype: DTypeLike | None = None,
    policy: GeometryPolicy | None = None,
    decoder: str = "auto",
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
    identifiers: str = "remove",
    scheduler: Any = None,
    workers: int | None = None,
    max_memory: int | str | None = None,
    progress: ProgressArgument = False,
    errors: str = "raise",
    overwrite: bool = False,
) -> WriteReport:
    """Write one volume to a Zarr v3 store, or every volume of an archive to a store each below a folder.

    Parameters
    ----------
    source
        As in `load_volume`, or a `Catalog`.
    store : path, URL or zarr store
        Where one volume goes. Where the source holds several and `series` names none: a folder that gets one
        store a volume, named by series number, modality, orientation and shape.
    chunks, shards : tuple of int, optional
        One size an axis. A shard is what one task writes, a chunk what a reader reads. None: chunks of 32 x 256 x 256,
        shards of whole slices of about 64 MiB.
    identifiers : {"remove", "keep"}
        "remove": no attribute that the basic profile of PS3.15 removes or replaces is written.
    max_memory : int or str, optional
        Upper bound of the memory of all tasks together, bytes or ``"4 GB"``: shards get smaller, then workers fewer.
    errors : {"raise", "report"}
        "report": frames that cannot be read are filled and listed; volumes that cannot be written are listed.
    overwrite : bool
        Replace a store that fastdicom wrote from another input or with other settings.
    series, values, window, dtype, policy, decoder, scheduler, workers, progress
        As in `load_volume`.

    Returns
    -------
    WriteReport

    Raises
    ------
    PlanMismatchError
        The store holds another volume, or was begun with other settings.
    InvalidStoreError
        Something else than a store of fastdicom is there.
    And all that `load_volume` raises.
    """
    if identifiers not in ("remove", "keep"):
        raise UsageError(f"identifiers={identifiers!r} is not known. Use 'remove' or 'keep'.", argument="identifiers")
    if errors not in ("raise", "report"):
        raise UsageError(f"errors={errors!r} is not known. Use 'raise' or 'report'.", argument="errors")
    settings = _Settings(
        chunks, shards, identifiers, check_scheduler(scheduler), check_workers(workers), _parse_memory(max_memory),
        progress, errors == "report", overwrite,
    )  # fmt: skip
    entries = _entries(source, series, policy, settings)
    options = PlanOptions(values, window, dtype, decoder, ignore_errors=settings.report_errors)
    if len(entries) == 1:
        return WriteReport((_write_entry(entries[0], store, options, settings),))
    reports = []
    for entry, name in zip(entries, store_names(entries, keep_identifiers=identifiers == "keep"), strict=True):
        target = _below(store, name)
        try:
            reports.append(_write_entry(entry, target, options, settings))
        except FastDicomError as error:
            if not settings.report_errors:
                raise
            reports.append(StoreReport(entry.index, str(target), entry.shape, error=error))
    return WriteReport(tuple(reports))


def _entries(
    source: Any, series: SeriesArgument, policy: GeometryPolicy | None, settings: _Settings
) -> list[CatalogEntry]:
    how = {"scheduler": settings.scheduler, "workers": settings.workers, "progress": settings.progress}
    if isinstance(source, CatalogEntry):
        return [entry_of(source, policy=policy)]
    catalog = with_policy(source, policy) if isinstance(source, Catalog) else scan(source, policy=policy, **how)
    if not catalog.volumes:
        raise no_images(source, catalog)
    warn_of_skipped(catalog.skipped)
    entries = list(catalog.volumes) if series is None else [select(catalog, series)]
    warn_of_geometry(entries)
    return entries


def _below(store: Any, name: str) -> Any:
    if not isinstance(store, (str, Path)):
        raise UsageError(
            "The source holds several volumes; give a path or URL to write them below, or series= to choose one.",
            argument="store",
        )
    return f"{str(store).rstrip('/')}/{name}"


def _parse_memory(value: int | str | None) -> int | None:
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        size = int(parse_bytes(value))
    except ValueError as error:
        raise UsageError(f"max_memory={value!r} is no amount of memory. Use bytes or '4 GB'.") from error
    if size < 1 << 20:
        raise UsageError(f"max_memory={value!r} is less than 1 MiB. Use more.", argument="max_memory")
    return size


def _write_entry(entry: CatalogEntry, store: Any, options: PlanOptions, settings: _Settings) -> StoreReport:
    plan = make_plan(entry, options)
    volume = Volume.of(entry, plan, _Shape(plan.shape, plan.dtype))
    return _write(volume, store, plan.fingerprint, _PlanReader(plan), settings, entry.index)


@dataclass(frozen=True)
class _Shape:
    """Stands in for the array of a volume whose voxels are made shard by shard."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _PlanReader:
    plan: Any

    def __call__(self, index: tuple[slice, ...], failures: list[Failure] | None) -> NDArray[Any]:
        return read_block(self.plan, index, failures=failures)


@dataclass(frozen=True)
class _ArrayReader:
    array: Any

    def __call__(self, index: tuple[slice, ...], failures: list[Failure] | None) -> NDArray[Any]:
        part = self.array[index]
        return np.asarray(part if isinstance(part, np.ndarray) else part.compute(scheduler="synchronous"))


def write_volume(
    volume: Volume,
    store: Any,
    *,
    chunks: tuple[int, ...] | None = None,
    shards: tuple[int, ...] | None = None,
    identifiers: str = "remove",
    workers: int | None = None,
    max_memory: int | str | None = None,
    progress: ProgressArgument = False,
    overwrite: bool = False,
) -> StoreReport:
    """Write the array of a volume as it is; `Volume.to_zarr`. Arguments as in `write_zarr`."""
    import uuid

    count = check_workers(workers)
    settings = _Settings(
        chunks, shards, identifiers, None, count, _parse_memory(max_memory), progress, False, overwrite
    )  # fmt: skip
    # The array may hold anything by now: nothing but this very call can continue this store.
    return _write(volume, store, f"array {uuid.uuid4()}", _ArrayReader(volume.array), settings, 0)


def _write(
    volume: Volume, store: Any, fingerprint: str, reader: BlockReader, settings: _Settings, index: int
) -> StoreReport:
    grid, workers = _fit_memory(volume, settings)
    fingerprint = (
        f"{fingerprint} {'x'.join(map(str, grid.chunks))} {'x'.join(map(str, grid.shards))} {settings.identifiers}"
    )
    record = store_attributes(volume, fingerprint, grid, settings.identifiers)
    group, begun = _open_group(store, record, settings.overwrite)
    shape_report = StoreReport(index, _shown(store), volume.shape)
    places = list(np.ndindex(*grid.counts))
    known = known_failures(begun)
    if begun is not None and begun["status"] == COMPLETE and (settings.report_errors or not known):
        return replace(shape_report, shards_kept=len(places), failures=known)
    array = _open_array(group, volume, grid)
    todo = [place for place in places if begun is None or not _has_shard(array, place)]
    if not settings.report_errors:  # what an earlier call filled must be read now, or raise
        todo += [place for place in places if place not in set(todo) and _touches(grid.index(place), known)]
        known = ()
    found = _write_shards(array, grid, reader, settings, workers, todo)
    failures = tuple({failure.index: failure for failure in (*known, *found, *volume.failures)}.values())
    late = [place for place in todo if _touches(grid.index(place), tuple(found))]
    if late:
        # First the list, then the filled shards: none of them is ever there without being listed.
        group.update_attributes({"fastdicom": record | {"failures": listed(failures)}})
        for place in late:
            _write_shard(array, grid, reader, True, True, place)
    _finish(group, volume, record, failures)
    return replace(
        shape_report, shards_written=len(todo), shards_kept=len(places) - len(todo), failures=failures
    )  # fmt: skip


def _touches(index: tuple[slice, ...], failures: tuple[Failure, ...]) -> bool:
    """Whether one of the failed slices lies in this part of the array."""
    return any(all(s.start <= k < s.stop for s, k in zip(index, f.index, strict=False)) for f in failures)


def _write_shards(
    array: Any, grid: Grid, reader: BlockReader, settings: _Settings, workers: int, todo: list[tuple[int, ...]]
) -> list[Failure]:
    """Write those shards that can be made whole; returns the frames that could not be read."""
    if not todo:
        return []
    task = partial(_write_shard, array, grid, reader, settings.report_errors, False)
    sizes = [int(np.prod([s.stop - s.start for s in grid.index(place)])) * array.dtype.itemsize for place in todo]
    with progress_bar(settings.progress, "write", sum(sizes) >> 20, "MiB") as advance:
        parts = run_tasks(
            task, todo, scheduler=settings.scheduler, workers=workers, on_result=lambda k: advance(sizes[k] >> 20)
        )
    return [failure for part in parts for failure in part]


def _fit_memory(volume: Volume, settings: _Settings) -> tuple[Grid, int]:
    """Chunks, shards and workers such that the tasks together stay below `max_memory`."""
    workers = settings.workers
    shard_bytes = SHARD_BYTES
    if settings.max_memory is not None:
        # Not by the number of workers: another machine must be able to continue this store.
        shard_bytes = max(1, min(shard_bytes, settings.max_memory // (COPIES_A_SHARD * SHARDS_AT_ONCE)))
    itemsize = volume.dtype.itemsize
    grid = choose_grid(volume.shape, volume.dims, itemsize, settings.chunks, settings.shards, shard_bytes)
    if settings.max_memory is not None and not is_client(settings.scheduler):
        task = (
            COPIES_A_SHARD * int(np.prod([min(s, n) for s, n in zip(grid.shards, grid.shape, strict=True)])) * itemsize
        )
        if task > settings.max_memory:
            raise UsageError(
                f"One shard of {grid.shards} voxels needs about {task >> 20} MiB, more than max_memory "
                f"({settings.max_memory >> 20} MiB). Pass smaller chunks= and shards=, or more memory.",
                argument="max_memory",
            )
        workers = max(1, min(workers, settings.max_memory // max(1, task)))
    return grid, workers


def _shown(store: Any) -> str:
    return str(store)


def _open_group(store: Any, record: dict[str, Any], overwrite: bool) -> tuple[Any, dict[str, Any] | None]:
    """The group to write into, and the record of an earlier call that this one continues."""
    import zarr

    local = isinstance(store, (str, Path)) and "://" not in str(store)
    try:
        if local and Path(store).is_file():
            _refuse_foreign(Path(store))
        group = zarr.open_group(store, mode="r+")
    except FileNotFoundError:
        if local:
            _refuse_foreign(Path(store))
        return zarr.create_group(store, zarr_format=3, attributes={"fastdicom": record}), None
    except ValueError as error:  # an array, or metadata that are no JSON
        raise InvalidStoreError(
            f"{store} is no Zarr group that fastdicom wrote ({error}). Choose another path.", path=str(store)
        ) from error
    earlier = group.attrs.get("fastdicom")
    if not isinstance(earlier, dict):
        raise InvalidStoreError(
            f"{store} is a Zarr group that fastdicom did not write. Choose another path.", path=str(store)
        )
    if earlier.get("fingerprint") == record["fingerprint"]:
        return group, earlier
    if not overwrite:
        raise PlanMismatchError(
            f"{store} ({earlier.get('status')}) was written from other files or with other settings. Pass "
            "overwrite=True to replace it, or choose another path.",
            path=str(store),
            status=earlier.get("status"),
        )
    return zarr.create_group(store, zarr_format=3, attributes={"fastdicom": record}, overwrite=True), None


def _refuse_foreign(path: Path) -> None:
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise InvalidStoreError(
            f"{path} exists and is not a Zarr store. Choose another path; nothing was written.", path=str(path)
        )


def _open_array(group: Any, volume: Volume, grid: Grid) -> Any:
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


def _has_shard(array: Any, place: tuple[int, ...]) -> bool:
    from zarr.core.sync import sync

    path = array.store_path / array.metadata.encode_chunk_key(place)
    return bool(sync(path.store.exists(path.path)))


def _write_shard(
    array: Any, grid: Grid, reader: BlockReader, report: bool, filled: bool, place: tuple[int, ...]
) -> list[Failure]:
    """Make and write one shard, but one with failures only where `filled` allows it."""
    index = grid.index(place)
    failures: list[Failure] | None = [] if report else None
    block = reader(index, failures)
    if filled or not failures:
        array[index] = block
    return failures or []


def _finish(group: Any, volume: Volume, record: dict[str, Any], failures: tuple[Failure, ...]) -> None:
    """Per-slice columns, then everything that says "complete", in one write."""
    columns = numeric_columns(volume)
    if failures and "valid" in columns:
        columns["valid"] = columns["valid"].copy()
        for failure in failures:
            columns["valid"][failure.index] = False
    slices = group.require_group("slices")
    for name, values in columns.items():
        if name in slices:
            del slices[name]
        slices.create_array(name, data=np.ascontiguousarray(values))
    attributes: dict[str, Any] = {"fastdicom": record | {"status": COMPLETE, "failures": listed(failures)}}
    ome = ome_attributes(volume, record["modality"] or "volume")
    if ome is not None:
        attributes["ome"] = ome
    group.update_attributes(attributes)
