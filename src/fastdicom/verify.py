"""Check a Zarr store: that it is whole and can be read, and that it holds what the DICOM files say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastdicom.blocks import read_block
from fastdicom.errors import FastDicomError, UsageError
from fastdicom.execution import check_workers
from fastdicom.plan import VolumePlan
from fastdicom.planner import PlanOptions
from fastdicom.prepare import make_plan
from fastdicom.progress import ProgressArgument, progress_bar
from fastdicom.selection import SeriesArgument, entry_of
from fastdicom.store.reading import open_store
from fastdicom.types import GeometryPolicy
from fastdicom.volume import Volume

__all__ = ["VerifyReport", "find_stores", "verify_store"]


@dataclass(frozen=True)
class VerifyReport:
    """What was found out about one store."""

    store: str
    shape: tuple[int, ...]
    shards: int
    """Shards that were read."""
    compared: bool
    """Whether the voxels were compared with the DICOM files."""
    problems: tuple[str, ...]
    """Sentences; empty: all is well."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "store": self.store,
            "ok": self.ok,
            "shape": list(self.shape),
            "shards": self.shards,
            "compared": self.compared,
            "problems": list(self.problems),
        }


def find_stores(path: str) -> list[str]:
    """A store itself, or the stores directly below a folder, as `write_zarr` leaves them."""
    root = Path(path)
    if "://" in path or (root / "zarr.json").is_file() or not root.is_dir():
        return [path]
    return sorted(str(item.parent) for item in root.glob("*/zarr.json")) or [path]


def verify_store(
    store: Any,
    source: Any = None,
    *,
    series: SeriesArgument = None,
    window: Any = None,
    workers: int | None = None,
    progress: ProgressArgument = False,
) -> VerifyReport:
    """Read every shard of a store; with a source, compare every voxel and the geometry with it.

    Parameters
    ----------
    store : path, URL, zarr Group
        A store that `write_zarr` wrote.
    source : optional
        The DICOM files it was made of, as in `load_volume`.
    series : optional
        Which volume of `source`, as in `load_volume`.
    window : optional
        The window that the store was written with, where it was given (``values="display"``).
    workers : int, optional
        Threads; None: one a core.
    progress : bool or callable (done, total)

    Returns
    -------
    VerifyReport

    Raises
    ------
    InvalidStoreError
        Not a store of fastdicom, or not complete.
    And what `load_volume` raises about `source`.
    """
    import zarr

    volume = open_store(store, check_shards=False)  # a missing shard is what this looks for, and lists
    group = store if isinstance(store, zarr.Group) else zarr.open_group(store, mode="r")
    array = cast("zarr.Array[Any]", group["0"])
    record = cast("dict[str, Any]", group.attrs["fastdicom"])
    failed = {tuple(item["index"]) for item in record["failures"]}
    problems = [f"{len(failed)} slices could not be read when the store was written, and are filled."] if failed else []
    plan = None
    if source is not None:
        plan = _plan_of(source, series, window, record)
        problems += _geometry_problems(volume, plan)
        if problems and plan.shape != volume.shape:
            return VerifyReport(str(store), volume.shape, 0, False, tuple(problems))
    places = list(np.ndindex(*(-(-n // s) for n, s in zip(array.shape, array.shards or array.chunks, strict=True))))
    count = check_workers(workers)
    with progress_bar(progress, "verify", len(places), "shards") as advance, ThreadPoolExecutor(count) as pool:

        def check(place: tuple[int, ...]) -> str | None:
            found = _shard_problem(array, place, plan, failed)
            advance(1)
            return found

        problems += [found for found in pool.map(check, places) if found is not None]
    return VerifyReport(str(store), volume.shape, len(places), plan is not None, tuple(problems))


def _plan_of(source: Any, series: SeriesArgument, window: Any, record: dict[str, Any]) -> VolumePlan:
    policy = GeometryPolicy(**record["policy"]) if record["policy"] else None
    entry = entry_of(source, series=series, policy=policy)
    options = PlanOptions(
        values=record["values"],
        window=window,
        dtype=record["dtype"],
        ignore_errors=bool(record["failures"]),
        level=record.get("level", 0),
    )
    return make_plan(entry, options)


def _geometry_problems(volume: Volume, plan: VolumePlan) -> list[str]:
    found = []
    if plan.shape != volume.shape:
        found.append(f"The store has shape {volume.shape}, the source {plan.shape}. Is it another series (series=)?")
    if not np.allclose(volume.affine, plan.geometry.affine, rtol=0, atol=1e-6):
        largest = float(np.abs(volume.affine - plan.geometry.affine).max())
        found.append(f"The affine of the store differs from that of the source by up to {largest:.3g} mm.")
    return found


def _shard_problem(
    array: Any, place: tuple[int, ...], plan: VolumePlan | None, failed: set[tuple[int, ...]]
) -> str | None:
    from zarr.core.sync import sync

    sizes = array.shards or array.chunks
    index = tuple(slice(k * s, min((k + 1) * s, n)) for k, s, n in zip(place, sizes, array.shape, strict=True))
    name = f"shard {place}"
    where = array.store_path / array.metadata.encode_chunk_key(place)
    if not sync(where.store.exists(where.path)):
        return f"{name} is missing. Write the store again with overwrite=True."
    try:
        stored = array[index]
    except Exception as error:  # codecs of any kind read these bytes, and each raises its own
        return f"{name} cannot be read ({type(error).__name__}: {error}). Write the store again with overwrite=True."
    if plan is None:
        return None
    try:
        wanted = read_block(plan, index, failures=[] if failed else None)
    except UsageError:
        raise
    except FastDicomError as error:
        return f"{name} cannot be compared: {error}"
    same = (stored == wanted) | ((stored != stored) & (wanted != wanted))  # NaN equals NaN
    different = int(np.size(same) - np.count_nonzero(same))
    return f"{name}: {different} of {np.size(same)} voxels differ from the source." if different else None
