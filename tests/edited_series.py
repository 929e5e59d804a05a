"""Generated series, as they are or with their datasets changed: what tests of values share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset

import fastdicom
from fastdicom.testing import SeriesSpec, make_series, write_series


def volume(folder: Path, spec: SeriesSpec, **options: Any) -> tuple[fastdicom.Volume, NDArray[Any]]:
    """A generated series as fastdicom loads it, and its stored values."""
    written = write_series(folder, spec)
    return fastdicom.load_volume(folder, **options), written.stored


def with_edit(folder: Path, spec: SeriesSpec, edit: Callable[[int, Dataset], None]) -> list[Dataset]:
    """Write a series whose datasets are changed by `edit(slice, dataset)`; returns them in slice order."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = make_series(spec)
    for k, ds in enumerate(datasets):
        edit(k, ds)
        ds.save_as(folder / f"{k:03}.dcm")
    return datasets


def item(**attributes: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds
