"""`scan`: a source to a `Catalog` of the volumes in it, with every file accounted for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.cache import HeaderCache, read_with_cache
from fastdicom.catalog import Catalog, CatalogEntry
from fastdicom.errors import FastDicomError, UsageError
from fastdicom.execution import check_reachable, check_workers, run_tasks
from fastdicom.headers import HeaderTable, needs_pydicom, read_headers, walk_headers
from fastdicom.headers.problems import pixel_problems
from fastdicom.progress import ProgressArgument, progress_bar
from fastdicom.scanner import Walk
from fastdicom.series import find_volumes
from fastdicom.sources import discover, open_reader
from fastdicom.types import FileRef, GeometryPolicy, Skipped

__all__ = ["check_policy", "scan"]

FEW_BATCHES = 4
"""Batches a worker that are not worth starting processes, which takes 0.6 s: threads read 40,000 files in that."""


def check_policy(policy: Any) -> GeometryPolicy | None:
    """The `policy` argument, or a UsageError that says what it must be."""
    if policy is None or isinstance(policy, GeometryPolicy):
        return policy
    raise UsageError(
        f"policy={policy!r} is no GeometryPolicy. Pass for example fastdicom.GeometryPolicy(gaps='fill').",
        argument="policy",
    )


def scan(
    source: Any,
    *,
    policy: GeometryPolicy | None = None,
    scheduler: Any = None,
    workers: int | None = None,
    progress: ProgressArgument = False,
    cache: str | os.PathLike[str] | None = None,
) -> Catalog:
    """Read the headers of a source and find the volumes in it.

    Parameters
    ----------
    source : path, list of paths, URL, ...
        A file, a folder (with its sub-folders), a list of files, a zip archive, a DICOMDIR, any fsspec URL.
    policy : GeometryPolicy, optional
        What to do with repeated positions, gaps and tilt. A scan never raises for them: see `CatalogEntry.error`.
    scheduler : None, "threads", "processes", "synchronous" or distributed.Client
        Up to 2,048 files a worker are read by threads where processes are asked for: these take longer to start.
    workers : int, optional
        None: one a core.
    progress : bool or callable (done, total), default False
    cache : path, optional
        A file that keeps the headers (``.npz``, plain NumPy arrays): the next scan with it reads only files whose size
        or modification time changed. It names no patient, but its UIDs and descriptions do name studies.

    Returns
    -------
    Catalog
        Every file is in a volume or in ``skipped``.

    Raises
    ------
    SourceNotFoundError
        The source does not exist; of a list, nothing in it does.
    SourceError
        It cannot be read: an archive or a DICOMDIR is damaged.
    UsageError
        At `cache` is a file that is not one.
    """
    policy = check_policy(policy) or GeometryPolicy()
    kept = HeaderCache.load(cache) if cache is not None else None
    files, unlisted = discover(source, kept)
    check_reachable((ref.locator for ref in files), scheduler)
    read = partial(_read_all, scheduler=scheduler, workers=check_workers(workers), progress=progress)
    if cache is None:
        table = read(files)
    else:
        files = _without_cache(files, cache)
        table = read_with_cache(files, cache, read, kept)
    table, copies = _without_copies(table)
    table.columns["problem"] = pixel_problems(table)
    found, dropped = find_volumes(table, policy)
    entries = tuple(CatalogEntry(index, volume, table) for index, volume in enumerate(found))
    skipped = (*unlisted, *table.skipped, *copies, *dropped)
    return Catalog(entries, skipped, table, policy, len(files) + len(unlisted))


def _read_all(files: Sequence[FileRef], *, scheduler: Any, workers: int, progress: ProgressArgument) -> HeaderTable:
    batches = _batches(files, workers)
    if scheduler == "processes" and len(batches) <= FEW_BATCHES * workers:
        scheduler = None
    sizes = [len(batch) for batch in batches]
    run = partial(run_tasks, scheduler=scheduler, workers=workers)
    with progress_bar(progress, "scan", len(files), "files") as advance:
        if scheduler is not None or not 1 < len(batches) <= workers:
            return HeaderTable.concatenate(run(read_headers, batches, on_result=lambda k: advance(sizes[k])))
        # Few files: threads share the walk, and one table costs a third of what several cost and their joining.
        walks = run(walk_headers, batches)
        if not any(map(needs_pydicom, walks)):
            table = read_headers(files, walk=Walk.joined(walks))
            advance(len(files))
            return table
        walked = list(zip(batches, walks, strict=True))
        return HeaderTable.concatenate(run(_read_walked, walked, on_result=lambda k: advance(sizes[k])))


def _read_walked(walked: tuple[Sequence[FileRef], Walk]) -> HeaderTable:
    return read_headers(walked[0], walk=walked[1])


def _without_cache(files: Sequence[FileRef], cache: str | os.PathLike[str]) -> list[FileRef]:
    """Leave out the cache itself, which each scan of its folder would find changed."""
    real = os.path.realpath(os.fsdecode(cache))
    names = {os.path.basename(os.fsdecode(cache)), os.path.basename(real)}
    return [r for r in files if os.path.basename(r.locator) not in names or os.path.realpath(r.locator) != real]


def _batches(files: Sequence[FileRef], workers: int) -> list[Sequence[FileRef]]:
    """Equal shares of 64 to 512 files for every worker: a batch costs about 0.7 ms, a file about 10 us."""
    share = -(-len(files) // workers)
    size = max(64, -(-share // max(1, -(-share // 512))))
    return [files[start : start + size] for start in range(0, len(files), size)]


def _without_copies(table: HeaderTable) -> tuple[HeaderTable, list[Skipped]]:
    """Leave out files that are byte for byte a file already there (the same SOP Instance UID and content).

    Files that share a UID but not their bytes stay: which of them is right is not for us to say, and the policy for
    repeated positions decides.
    """
    uids = table["sop_instance_uid"]
    if len(table) == 0:
        return table, []
    first_tile = (table["tile_row"] == 0) & (table["tile_column"] == 0)
    first_frame = np.flatnonzero((table["frame"] == 0) & first_tile & (uids != b""))
    _, inverse, counts = np.unique(uids[first_frame], return_inverse=True, return_counts=True)
    repeated = first_frame[counts[inverse] > 1]
    groups: dict[bytes, list[int]] = {}
    for row in repeated[np.argsort(table["path"][repeated].astype(str), kind="stable")]:
        groups.setdefault(bytes(uids[row]), []).append(int(row))
    copies: dict[str, str] = {}
    for rows in groups.values():
        originals: list[int] = []
        for row in rows:
            path = str(table["path"][row])
            twin = next((o for o in originals if _same_file(table, o, row)), None)
            if twin is None:
                originals.append(row)
            elif path != str(table["path"][twin]) and path not in copies:
                copies[path] = str(table["path"][twin])
    if not copies:
        return table, []
    keep: NDArray[np.bool_] = ~np.isin(table["path"].astype(str), list(copies))
    kept = HeaderTable(table.take(keep).columns, table.skipped)
    return kept, [Skipped(path, "duplicate", f"a copy of {original}") for path, original in copies.items()]


def _same_file(table: HeaderTable, first: int, second: int) -> bool:
    if int(table["file_size"][first]) != int(table["file_size"][second]):
        return False
    try:
        with open_reader(str(table["path"][first])) as one, open_reader(str(table["path"][second])) as two:
            step = 1 << 20
            return one.size == two.size and all(
                one.read_at(offset, step) == two.read_at(offset, step) for offset in range(0, one.size, step)
            )
    except (FastDicomError, OSError):
        return False
