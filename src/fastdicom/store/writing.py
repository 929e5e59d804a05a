"""Write volumes to Zarr: one task a shard, resumable, never half-written and complete-looking.

Order of a write: the group with the plan's fingerprint and ``status: writing``; the shards, each whole; the per-slice
columns; last ``status: complete`` and the OME metadata, in one write of the group's attributes. The same call again
continues; a shard that is there is not made again. See `target` for what may be there before, `shards` for two writes
at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdicom import _memory
from fastdicom.blocks import Failure, read_block
from fastdicom.catalog import Catalog, CatalogEntry
from fastdicom.errors import (
    FastDicomError,
    InvalidStoreError,
    SourceError,
    UsageError,
)
from fastdicom.execution import check_scheduler, check_workers, run_tasks
from fastdicom.planner import PlanOptions
from fastdicom.prepare import make_plan
from fastdicom.progress import ProgressArgument, progress_bar
from fastdicom.scanning import scan
from fastdicom.selection import (
    SeriesArgument,
    entry_of,
    no_images,
    select,
    warn_of_geometry,
    warn_of_skipped,
    with_note_of_skipped,
    with_policy,
)
from fastdicom.store.layout import (
    COMPLETE,
    WRITING,
    Grid,
    numeric_columns,
    ome_attributes,
    store_attributes,
)
from fastdicom.store.memory import fit_memory, parse_memory
from fastdicom.store.names import store_names
from fastdicom.store.reading import is_store
from fastdicom.store.reports import StoreReport, WriteReport, known_failures, listed
from fastdicom.store.shards import check_ours, missing_shards, open_array, put_shard
from fastdicom.store.target import Target, open_target, refuse_inside_a_store, target_of
from fastdicom.types import GeometryPolicy
from fastdicom.volume import Volume

__all__ = ["StoreReport", "WriteReport", "write_volume", "write_zarr"]

BlockReader = Callable[[tuple[slice, ...], "list[Failure] | None"], NDArray[Any]]


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
    level: int = 0,
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
    series, values, window, dtype, policy, decoder, level, scheduler, workers, progress
        As in `load_volume`.

    Returns
    -------
    WriteReport

    Raises
    ------
    PlanMismatchError
        The store holds another volume, or was begun with other settings.
    InvalidStoreError
        Something else than a store of fastdicom is there, or the path is inside of one.
    UsageError
        The source is a store itself, or the workers cannot write to `store`.
    SourceError
        The store cannot be written (a full disk, permissions); the same call continues.
    And all that `load_volume` raises.
    """
    _check_identifiers(identifiers)
    if errors not in ("raise", "report"):
        raise UsageError(f"errors={errors!r} is not known. Use 'raise' or 'report'.", argument="errors")
    settings = _Settings(
        chunks, shards, identifiers, check_scheduler(scheduler), check_workers(workers), parse_memory(max_memory),
        progress, errors == "report", overwrite,
    )  # fmt: skip
    target = target_of(store, settings.scheduler)
    refuse_store_as_source(source)
    entries = _entries(source, series, policy, settings)
    options = PlanOptions(values, window, dtype, decoder, ignore_errors=settings.report_errors, level=level)
    if len(entries) == 1:
        return WriteReport((_write_entry(entries[0], target, options, settings),))
    refuse_inside_a_store(target, itself=True)
    reports = []
    for entry, name in zip(entries, store_names(entries, keep_identifiers=identifiers == "keep"), strict=True):
        target = target_of(_below(store, name), settings.scheduler)
        try:
            reports.append(_write_entry(entry, target, options, settings))
        except FastDicomError as error:
            if not settings.report_errors:
                raise
            reports.append(StoreReport(entry.index, target.shown, entry.shape, error=error))
    return WriteReport(tuple(reports))


def refuse_store_as_source(source: Any) -> None:
    """A store is copied by other means: most arguments of a conversion mean nothing to it.

    Raises
    ------
    UsageError
    """
    if is_store(source):
        raise UsageError(
            f"{source} is a Zarr store already. Copy it, or change its chunks, with "
            "fastdicom.open_volume(source).to_zarr(store, chunks=...).",
            argument="source",
        )


def _check_identifiers(identifiers: str) -> None:
    if identifiers not in ("remove", "keep"):
        raise UsageError(f"identifiers={identifiers!r} is not known. Use 'remove' or 'keep'.", argument="identifiers")


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
    return with_note_of_skipped(entries, catalog.skipped)


def _below(store: Any, name: str) -> Any:
    if not isinstance(store, (str, os.PathLike)):
        raise UsageError(
            "The source holds several volumes; give a path or URL to write them below, or series= to choose one.",
            argument="store",
        )
    return f"{os.fspath(store).rstrip('/')}/{name}"


def _write_entry(entry: CatalogEntry, target: Target, options: PlanOptions, settings: _Settings) -> StoreReport:
    plan = make_plan(entry, options)
    volume = Volume.of(entry, plan, _Shape(plan.shape, plan.dtype))
    return _write(volume, target, plan.fingerprint, _PlanReader(plan), settings, entry.index)


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

    _check_identifiers(identifiers)
    count = check_workers(workers)
    settings = _Settings(
        chunks, shards, identifiers, None, count, parse_memory(max_memory), progress, False, overwrite
    )  # fmt: skip
    # The array may hold anything by now: nothing but this very call can continue this store.
    return _write(volume, target_of(store), f"array {uuid.uuid4()}", _ArrayReader(volume.array), settings, 0)


def _write(
    volume: Volume, target: Target, fingerprint: str, reader: BlockReader, settings: _Settings, index: int
) -> StoreReport:
    grid, workers = fit_memory(
        volume, settings.chunks, settings.shards, settings.max_memory, settings.workers, settings.scheduler
    )
    fingerprint = (
        f"{fingerprint} {'x'.join(map(str, grid.chunks))} {'x'.join(map(str, grid.shards))} {settings.identifiers}"
    )
    record = store_attributes(volume, fingerprint, grid, settings.identifiers)
    report = StoreReport(index, target.shown, volume.shape)
    try:
        return _write_store(volume, target, record, grid, reader, replace(settings, workers=workers), report)
    except OSError as error:
        if isinstance(error, FastDicomError):
            raise
        raise SourceError(
            f"{target.shown} cannot be written: {error.strerror or error}. Make room or check the path and its "
            "permissions; then the same call continues.",
            path=target.shown,
        ) from error


def _write_store(
    volume: Volume,
    target: Target,
    record: dict[str, Any],
    grid: Grid,
    reader: BlockReader,
    settings: _Settings,
    report: StoreReport,
) -> StoreReport:
    group, begun = open_target(target, record, settings.overwrite, volume.array)
    array = open_array(group, volume, grid)
    places = list(np.ndindex(*grid.counts))
    todo = places if begun is None else missing_shards(array, places)
    known = known_failures(begun)
    if begun is not None and begun["status"] == COMPLETE:
        if not todo and (settings.report_errors or not known):
            return replace(report, shards_kept=len(places), failures=known)
        if todo:  # something deleted them: it is not complete, whatever becomes of this call
            group.attrs.put({"fastdicom": begun | {"status": WRITING}})
    if not settings.report_errors:  # what an earlier call filled must be read now, or raise
        absent = set(todo)
        todo = [*todo, *(p for p in places if p not in absent and _touches(grid.index(p), known))]
        known = ()
    write = partial(_write_shard, array, grid, reader, record["fingerprint"], settings.report_errors)
    found = _write_shards(partial(write, False), settings, todo)
    failures = tuple({failure.index: failure for failure in (*known, *found, *volume.failures)}.values())
    late = [place for place in todo if _touches(grid.index(place), tuple(found))]
    if late:
        # First the list, then the filled shards: none of them is ever there without being listed.
        check_ours(array, record["fingerprint"])
        group.update_attributes({"fastdicom": record | {"failures": listed(failures)}})
        for place in late:
            write(True, place)
    _finish(group, array, volume, record, failures, places, target)
    return replace(report, shards_written=len(todo), shards_kept=len(places) - len(todo), failures=failures)


def _touches(index: tuple[slice, ...], failures: tuple[Failure, ...]) -> bool:
    """Whether one of the failed slices lies in this part of the array."""
    return any(all(s.start <= k < s.stop for s, k in zip(index, f.index, strict=False)) for f in failures)


def _write_shards(
    task: Callable[[tuple[int, ...]], list[Failure]], settings: _Settings, todo: Sequence[tuple[int, ...]]
) -> list[Failure]:
    """Write those shards that can be made whole; returns the frames that could not be read."""
    if not todo:
        return []
    _memory.release()
    with progress_bar(settings.progress, "write", len(todo), "shards") as advance:
        parts = run_tasks(
            task, todo, scheduler=settings.scheduler, workers=settings.workers, on_result=lambda _: advance(1)
        )
    return [failure for part in parts for failure in part]


def _write_shard(
    array: Any,
    grid: Grid,
    reader: BlockReader,
    fingerprint: str,
    report: bool,
    filled: bool,
    place: tuple[int, ...],
) -> list[Failure]:
    """Make and write one shard, but one with failures only where `filled` allows it."""
    index = grid.index(place)
    failures: list[Failure] | None = [] if report else None
    block = reader(index, failures)
    if filled or not failures:
        put_shard(array, index, place, block, fingerprint)
    return failures or []


def _finish(
    group: Any,
    array: Any,
    volume: Volume,
    record: dict[str, Any],
    failures: tuple[Failure, ...],
    places: Sequence[tuple[int, ...]],
    target: Target,
) -> None:
    """Per-slice columns, then everything that says "complete", in one write: of a store that is ours and whole."""
    columns = numeric_columns(volume)
    if failures and "valid" in columns:
        columns["valid"] = columns["valid"].copy()
        for failure in failures:
            columns["valid"][failure.index] = False
    check_ours(array, record["fingerprint"])
    slices = group.require_group("slices")
    for name, values in columns.items():
        if name in slices:
            del slices[name]
        slices.create_array(name, data=np.ascontiguousarray(values))
    attributes: dict[str, Any] = {"fastdicom": record | {"status": COMPLETE, "failures": listed(failures)}}
    ome = ome_attributes(volume, record["modality"] or "volume")
    if ome is not None:
        attributes["ome"] = ome
    check_ours(array, record["fingerprint"])
    missing = missing_shards(array, places)
    if missing:
        raise InvalidStoreError(
            f"{len(missing)} of {len(places)} shards of {target.shown} are not there after they were written (first: "
            f"{missing[0]}): something deleted them, or the workers write where this process does not read. Use a path "
            "or URL that all of them share, and run the same call again.",
            path=target.shown,
            missing=len(missing),
        )
    group.update_attributes(attributes)
