"""`load_volume` and `open_volume`: a source to a `Volume`, now or lazily. Both over `read_block`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdicom import _memory
from fastdicom.blocks import Failure, read_block
from fastdicom.errors import UsageError
from fastdicom.execution import check_reachable, check_scheduler, check_workers, is_client, run_in_threads, run_tasks
from fastdicom.plan import VolumePlan
from fastdicom.planner import PlanOptions, releases_gil
from fastdicom.prepare import default_chunks, make_plan, z_blocks
from fastdicom.processes import NoWorkersError, fill_from_processes, running_workers
from fastdicom.progress import ProgressArgument, progress_bar
from fastdicom.runs import prepare_runs
from fastdicom.selection import SeriesArgument, entry_of
from fastdicom.sources import OBJECT_SCHEME
from fastdicom.store.reading import is_store, open_store
from fastdicom.types import GeometryPolicy
from fastdicom.volume import Volume

__all__ = ["LazyBlocks", "load_volume", "open_volume"]


PIXELS_WORTH_A_PROCESS = 20_000_000


def load_volume(
    source: Any,
    *,
    series: SeriesArgument = None,
    values: str | None = None,
    window: Any = None,
    dtype: DTypeLike | None = None,
    policy: GeometryPolicy | None = None,
    decoder: str = "auto",
    level: int = 0,
    scheduler: Any = None,
    workers: int | None = None,
    progress: ProgressArgument = False,
    errors: str = "raise",
) -> Volume:
    """Load one volume into memory.

    Parameters
    ----------
    source : path, list of paths, URL, CatalogEntry or Zarr store
        A file, a folder, a list of files, a zip archive, a DICOMDIR, any fsspec URL, an entry of
        ``scan(source).volumes``, or a Zarr store that fastdicom wrote.
    series : str, int or callable, optional
        SeriesInstanceUID, index into ``scan(source).volumes``, or a predicate over them; needed where the source
        holds several volumes.
    values : {"modality", "stored", "display", "suv", "real_world", "real_world:LABEL", "philips"}, optional
        None: "modality"; of a Zarr store, what it holds.
        After rescale or Modality LUT (HU, ...); as decoded, equal to pydicom's ``pixel_array``; uint8 after window
        and palette; PET body-weight SUV in g/ml; after the Real World Value Mapping (the one with this label or unit,
        where there are several; NaN where a stored value is not mapped); Philips' floating point values, whose
        scale is private and comparable between series ("precise" in other converters).
    window : (center, width[, function]), int or "auto", optional
        For ``values="display"``: a window, an index into those of the header, or from the voxels. None: the header's
        first, else "auto".
    dtype : dtype, optional
        None: the smallest of int16, uint16, int32 that holds every value the header allows where slope and intercept
        are integers, uint8 for 8-bit data without rescale, else float32. A value that does not fit an explicit dtype
        is an error; fractions are rounded half to even into an integer one.
    policy : GeometryPolicy, optional
        What to do with repeated positions, gaps and tilt. Default: refuse what is not certain, keep tilt exactly.
    decoder : str
        ``"auto"``, ``"imagecodecs"``, ``"pylibjpeg"``, ``"pydicom"``.
    level : int
        1, 2, ...: half, quarter, ... of the rows and columns, from JPEG 2000 and HTJ2K code streams without decoding
        the rest. Voxels are averages, `affine` and `spacing` are those of the coarser grid.
    scheduler : None, "threads", "processes", "synchronous" or distributed.Client
    workers : int, optional
        None: one a core.
    progress : bool or callable (done, total)
    errors : {"raise", "report"}
        "report": frames that cannot be read are filled, marked in ``slices["valid"]`` and listed in ``failures``.

    Returns
    -------
    Volume
        With a NumPy array, (..., z, y, x[, c]).

    Raises
    ------
    SourceNotFoundError, NoDicomError
        There is nothing to load.
    SeriesSelectionError, MixedSeriesError
        There are several volumes.
    IrregularSpacingError, RepeatedPositionError, TiltError
        The frames do not form a regular volume and `policy` does not say what to do.
    PixelDataError, DecodeError
        A frame cannot be read; the message names the file.
    """
    check_scheduler(scheduler)
    count = check_workers(workers)
    if errors not in ("raise", "report"):
        raise UsageError(f"errors={errors!r} is not known. Use 'raise' or 'report'.", argument="errors")
    if is_store(source):
        _only_for_dicom(series=series, policy=policy, decoder=decoder, errors=errors)
        stored = _from_store(source, values=values, dtype=dtype, window=window, level=level)
        return stored.compute(**_dask_options(scheduler, count))
    entry = entry_of(
        source, series=series, policy=policy, scheduler=scheduler, workers=workers, progress=progress
    )  # fmt: skip
    report = errors == "report"
    options = PlanOptions(
        values=values or "modality", window=window, dtype=dtype, decoder=decoder, level=level, ignore_errors=report
    )  # fmt: skip
    plan = make_plan(entry, options)
    failures: list[Failure] | None = [] if report else None
    array = load_array(plan, scheduler=scheduler, workers=count, progress=progress, failures=failures)
    return Volume.of(entry, plan, array, tuple(failures or ()))


def open_volume(
    source: Any,
    *,
    series: SeriesArgument = None,
    values: str | None = None,
    window: Any = None,
    dtype: DTypeLike | None = None,
    policy: GeometryPolicy | None = None,
    decoder: str = "auto",
    level: int = 0,
    chunks: Any = None,
    scheduler: Any = None,
    workers: int | None = None,
    progress: ProgressArgument = False,
) -> Volume:
    """Open one volume lazily: slicing it reads and decodes only what the slice touches.

    Parameters
    ----------
    chunks : int, tuple or "auto", optional
        Chunks of the Dask array, as in `dask.array.from_array`. None: whole slices, about 32 MiB together.
    source, series, values, window, dtype, policy, decoder, level, scheduler, workers, progress
        As in `load_volume`; `scheduler` and `workers` are for the scan.

    Returns
    -------
    Volume
        With a dask.array.Array; ``volume.compute()`` gives what `load_volume` gives.
    """
    if is_store(source):
        _only_for_dicom(series=series, policy=policy, decoder=decoder)
        volume = _from_store(source, values=values, dtype=dtype, window=window, level=level)
        return volume if chunks is None else replace(volume, array=volume.array.rechunk(chunks))
    entry = entry_of(
        source, series=series, policy=policy, scheduler=scheduler, workers=workers, progress=progress
    )  # fmt: skip
    options = PlanOptions(values=values or "modality", window=window, dtype=dtype, decoder=decoder, level=level)
    plan = make_plan(entry, options)
    return Volume.of(entry, plan, lazy_array(plan, chunks=chunks))


def lazy_array(plan: VolumePlan, *, chunks: Any = None) -> Any:
    """The voxels of a plan as a dask.array.Array; None: the default chunks."""
    import dask.array as da

    try:
        cut = da.core.normalize_chunks(default_chunks(plan) if chunks is None else chunks, plan.shape, dtype=plan.dtype)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"chunks={chunks!r} does not cut an array of shape {plan.shape}: {error}. Pass one size an axis.",
            argument="chunks",
        ) from error
    return da.from_array(
        LazyBlocks(plan),
        chunks=cut,
        name=f"fastdicom-{plan.fingerprint[:32]}-{chunks}",
        meta=np.empty((0,) * len(plan.shape), dtype=plan.dtype),
        asarray=False,
    )


def _only_for_dicom(**arguments: Any) -> None:
    """Refuse arguments that a store cannot follow: what it holds was decided when it was written."""
    defaults = {"decoder": "auto", "errors": "raise"}
    for name, value in arguments.items():
        if value != defaults.get(name):
            raise UsageError(
                f"{name}={value!r} is for DICOM files; the source is a Zarr store of one volume. Leave {name}= out.",
                argument=name,
            )


def _from_store(source: Any, *, values: str | None, dtype: Any, window: Any, level: int) -> Volume:
    """A store as it is: what it holds was decided when it was written."""
    if level:
        raise UsageError(
            f"level={level} is for JPEG 2000 files; a store has its own levels, as OME-Zarr multiscales. Open them "
            "with zarr, or load level=0.",
            argument="level",
        )
    volume = open_store(source)
    if values not in (volume.values, None) or window is not None:
        raise UsageError(
            f"The store holds values={volume.values!r}, which cannot be turned into values={values!r}, "
            f"window={window!r}. Convert the DICOM files again with these arguments.",
            argument="values",
        )
    if dtype is not None and np.dtype(dtype) != volume.dtype:
        raise UsageError(
            f"The store holds {volume.dtype.name} voxels, not {np.dtype(dtype).name}. Use volume.array.astype, or "
            "convert the DICOM files again with dtype=.",
            argument="dtype",
        )
    return volume


def _dask_options(scheduler: Any, workers: int) -> dict[str, Any]:
    if is_client(scheduler):
        return {"scheduler": scheduler}
    return {"scheduler": scheduler or "threads", "num_workers": workers}


class LazyBlocks:
    """What `dask.array.from_array` wraps: an array whose items are made by `read_block` when they are asked for."""

    def __init__(self, plan: VolumePlan) -> None:
        self.plan = plan
        self.shape = plan.shape
        self.dtype = plan.dtype
        self.ndim = len(plan.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return read_block(self.plan, index if isinstance(index, tuple) else (index,))

    def __dask_tokenize__(self) -> Any:
        return self.plan.__dask_tokenize__()


def load_array(
    plan: VolumePlan,
    *,
    scheduler: Any = None,
    workers: int = 1,
    progress: ProgressArgument = False,
    failures: list[Failure] | None = None,
) -> NDArray[Any]:
    """Every voxel of a plan in one array."""
    check_reachable(plan.files.locators, scheduler)
    by_others = _in_processes(plan, scheduler, workers)
    blocks = z_blocks(plan, workers, 0) if by_others else z_blocks(plan, workers)
    valid = plan.valid
    frames = [valid[index].size for index in blocks]
    with progress_bar(progress, "load", sum(frames), "frames") as advance:
        if by_others:
            _memory.release()
            try:
                return fill_from_processes(plan, blocks, workers, lambda k: advance(frames[k]), failures)
            except NoWorkersError:
                if scheduler == "processes":
                    raise
        out = _memory.empty(plan.shape, plan.dtype)
        if not is_client(scheduler):
            count = 1 if scheduler == "synchronous" else min(workers, len(blocks))
            prepare_runs(plan, count)

            def fill(number: int) -> list[Failure]:
                found: list[Failure] = []
                index = blocks[number]
                read_block(plan, index, out[index], failures=None if failures is None else found)
                advance(frames[number])
                return found

            results = run_in_threads(fill, range(len(blocks)), count)
        else:
            task = partial(_block_task, plan, failures is not None)
            parts = run_tasks(task, blocks, scheduler=scheduler, on_result=lambda k: advance(frames[k]))
            for index, (block, _) in zip(blocks, parts, strict=True):
                out[index] = block
            results = [found for _, found in parts]
    if failures is not None:
        failures += [failure for found in results for failure in found]
    return out


def _in_processes(plan: VolumePlan, scheduler: Any, workers: int) -> bool:
    """Whether the blocks are made by other processes: asked for, or the only way to use the cores.

    A decoder that holds the interpreter lock gains nothing from threads. Starting a process takes about as long as
    decoding 20 million pixels, so smaller volumes stay here unless processes wait already.
    """
    if scheduler is not None or releases_gil(plan):
        return bool(scheduler == "processes")
    if _objects_of(plan):
        return False
    pixels = int(np.prod(plan.shape, dtype=np.int64))
    return workers > 1 and (running_workers() > 0 or pixels > PIXELS_WORTH_A_PROCESS)


def _objects_of(plan: VolumePlan) -> list[str]:
    """Files of the plan that are file objects of this process, which no other can read."""
    return [locator for locator in plan.files.locators if locator.startswith(OBJECT_SCHEME)]


def _block_task(plan: VolumePlan, report: bool, index: tuple[Any, ...]) -> tuple[NDArray[Any], list[Failure]]:
    failures: list[Failure] = []
    return read_block(plan, index, failures=failures if report else None), failures
