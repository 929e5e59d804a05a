"""``fastdicom demo``: the main job on a made-up CT series, told in plain words."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fastdicom.cli.messages import human_bytes, human_numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fastdicom.volume import Volume

__all__ = ["demo"]

MARKER = ".made-by-fastdicom-demo"
Result = TypeVar("Result")


@click.command(short_help="The main job on a made-up CT series, told in plain words.")
@click.argument("folder", default="demo-output", metavar="[FOLDER]", type=click.Path(file_okay=False, path_type=Path))
@click.option("--slices", type=click.IntRange(3, 5000), default=200, show_default=True)
@click.option("--size", type=click.IntRange(32, 2048), default=512, show_default=True, help="Rows and columns.")
def demo(folder: Path, slices: int, size: int) -> int:
    """Make a CT series of DICOM files in FOLDER (default: demo-output) and do everything with it once.

    \b
    Examples:
      fastdicom demo
      fastdicom demo demo-output --slices 60
    """
    _clear(folder)
    click.echo("fastdicom demo: a heap of DICOM files becomes a volume. No real patient is in it.\n")
    source = folder / "dicom"
    _make_files(source, slices, size)
    _look(source)
    volume = _load(source)
    _slice_lazily(source, volume)
    store_same = _write(source, folder / "volume.zarr", volume)
    picture = folder / "picture.png"
    _draw(source, picture)
    click.echo(
        f"""
Look at it:
  picture     {picture}
  files       {source}
  Zarr store  {folder / "volume.zarr"}

Do it with your own files:
  fastdicom scan  YOUR_FOLDER
  fastdicom convert  YOUR_FOLDER  OUT.zarr
or in Python:
  import fastdicom
  volume = fastdicom.load_volume("YOUR_FOLDER")    # volume.array, volume.spacing, volume.affine, ..."""
    )
    return 0 if store_same else 1


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left; anything else in the folder is not ours to touch."""
    from fastdicom.errors import UsageError

    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise UsageError(f"{folder} is not empty and no earlier demo made it. Name another folder.")
        for name in ("dicom", "volume.zarr"):
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / "picture.png").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    begun = time.perf_counter()
    result = function()
    return result, time.perf_counter() - begun


def _make_files(source: Path, slices: int, size: int) -> None:
    from fastdicom.testing import SeriesSpec, write_series

    spec = SeriesSpec(
        slices=slices, rows=size, columns=size, pixel_spacing=(360 / size, 360 / size), slice_step=1.25,
        origin=(-180.0, -160.0, -300.0), padding=0, window=(1400.0, 3200.0), elements=120,
    )  # fmt: skip
    series, seconds = _timed(lambda: write_series(source, spec))
    (source / "notes.txt").write_text("Not everything in a folder is DICOM.\n")
    total = sum(Path(path).stat().st_size for path in series.files)
    click.echo(
        f"1. Made a CT series: {slices} DICOM files of {size} x {size} pixels, named and ordered at random, and one\n"
        f"   text file among them; {human_bytes(total)} in {seconds:.1f} s."
    )


def _look(source: Path) -> None:
    from fastdicom.scanning import scan

    scan(source)  # loads the compiled header reader
    catalog, seconds = _timed(lambda: scan(source))
    entry = catalog.volumes[0]
    click.echo(
        f"2. Scanned the folder in {seconds * 1000:.0f} ms: {len(catalog)} volume ({entry.modality}, "
        f"{' x '.join(map(str, entry.shape))} voxels of {human_numbers(entry.spacing)} mm), "
        f"{len(catalog.skipped)} file skipped\n   ({catalog.skipped[0].reason})."
    )


def _load(source: Path) -> Volume:
    import numpy as np

    from fastdicom.loading import load_volume

    _, first = _timed(lambda: load_volume(source))
    volume, seconds = _timed(lambda: load_volume(source))
    plain, plain_seconds = _timed(lambda: _pydicom_loop(source))
    same = bool(np.array_equal(volume.array, plain))
    click.echo(
        f"3. Loaded all of it as a NumPy array of {volume.dtype.name} [{volume.units}], slices in the order of their "
        f"positions:\n"
        f"     fastdicom                 {seconds:7.3f} s   (the first call, with its start-up: {first:.3f} s)\n"
        f"     a plain loop of pydicom   {plain_seconds:7.3f} s   {plain_seconds / seconds:.1f} times as long\n"
        f"   The voxels are {'equal' if same else 'NOT EQUAL'}."
    )
    return volume


def _pydicom_loop(source: Path) -> NDArray[np.float32]:
    """What everybody writes at first: read, sort by position, stack, rescale."""
    import numpy as np
    import pydicom

    datasets = [pydicom.dcmread(path) for path in source.iterdir() if path.suffix != ".txt"]
    datasets.sort(key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    return np.stack([d.pixel_array * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept) for d in datasets])


def _slice_lazily(source: Path, volume: Volume) -> None:
    import dask.array  # noqa: F401 - its import is not part of what is timed
    import numpy as np

    from fastdicom.loading import open_volume

    lazy, opened = _timed(lambda: open_volume(source))
    middle = volume.shape[0] // 2
    part, seconds = _timed(lambda: np.asarray(lazy.array[middle]))
    same = bool(np.array_equal(part, volume.array[middle]))
    click.echo(
        f"4. Opened it lazily in {opened * 1000:.0f} ms and took one slice in {seconds * 1000:.0f} ms: "
        f"only that file was decoded ({'equal' if same else 'NOT EQUAL'})."
    )


def _write(source: Path, store: Path, volume: Volume) -> bool:
    import numpy as np
    import zarr

    from fastdicom.store.writing import write_zarr

    _, seconds = _timed(lambda: write_zarr(source, store))
    array: Any = zarr.open_group(str(store), mode="r")["0"]
    same = bool(np.array_equal(array[...], volume.array))
    size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    click.echo(
        f"5. Wrote a chunked Zarr store in {seconds:.2f} s, {human_bytes(size)}; read back with plain zarr it is "
        f"{'equal' if same else 'NOT EQUAL'}."
    )
    return same


def _draw(source: Path, picture: Path) -> None:
    from fastdicom.preview import preview, save_png

    _, seconds = _timed(lambda: save_png(preview(source), picture))
    click.echo(f"6. Drew three orthogonal planes in {seconds:.2f} s.")
