"""Generated series as files: whatever is done to the heap, the volume is exact or the defect is named."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.errors import IrregularSpacingError, RepeatedPositionError
from fastdicom.testing import SeriesSpec, WrittenSeries, write_series
from fastdicom.testing.strategies import orientations


@st.composite
def recipes(draw: st.DrawFn, **fixed: object) -> SeriesSpec:
    chosen = {
        "slices": draw(st.integers(3, 9)),
        "rows": draw(st.integers(2, 6)),
        "columns": draw(st.integers(2, 6)),
        "modality": draw(st.sampled_from(["CT", "MR", "PT"])),
        "orientation": draw(orientations()),
        "tilt_deg": draw(st.just(0.0) | st.floats(0.5, 30.0)),
        "slice_step": draw(st.floats(0.4, 9.0)),
        "instance_numbers": draw(st.sampled_from(["slice", "reversed", "shuffled", None])),
        "seed": draw(st.integers(0, 999)),
    }
    return SeriesSpec(**(chosen | fixed))


@contextmanager
def written(*specs: SeriesSpec) -> Iterator[tuple[Path, list[WrittenSeries]]]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder), [write_series(Path(folder) / str(k), spec) for k, spec in enumerate(specs)]


def accounted(folder: Path, policy: GeometryPolicy = GeometryPolicy()) -> fastdicom.Catalog:  # noqa: B008 - frozen
    """The catalog of a folder, with the promise that each file is in a volume or skipped, and the report says so."""
    catalog = fastdicom.scan(folder, policy=policy)
    report = json.loads(catalog.to_json())
    inside = {path for volume in report["volumes"] for path in volume["files"]}
    skipped = {item["path"] for item in report["skipped"]}
    assert inside | skipped == {str(path) for path in folder.rglob("*") if path.is_file()}
    assert not inside & skipped
    return catalog


@settings(max_examples=25)
@given(recipes())
def test_any_series_loads_with_the_affine_that_was_written(spec: SeriesSpec) -> None:
    with written(spec) as (folder, (series,)):
        (entry,) = accounted(folder)
        volume = fastdicom.load_volume(entry)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    np.testing.assert_allclose(volume.geometry.image_positions, series.positions, atol=1e-9)
    np.testing.assert_allclose(volume.array, series.modality_values(), rtol=1e-6)
    assert volume.geometry.tilt_deg == pytest.approx(spec.tilt_deg, abs=0.01)


@settings(max_examples=25)
@given(recipes(), st.data())
def test_missing_slices_are_named_or_filled_where_they_were(spec: SeriesSpec, data: st.DataObject) -> None:
    missing = data.draw(st.sets(st.integers(1, spec.slices - 2), min_size=1, max_size=spec.slices - 2))
    kept = np.setdiff1d(np.arange(spec.slices), list(missing))
    steps = np.diff(kept)
    assume(steps.max() > steps.min() == 1)
    with written(SeriesSpec(**{**vars(spec), "missing": tuple(missing)})) as (folder, (series,)):
        (entry,) = accounted(folder)
        assert isinstance(entry.error, IrregularSpacingError)
        with pytest.raises(IrregularSpacingError, match=Path(entry.error.path).name):
            fastdicom.load_volume(entry)
        volume = fastdicom.load_volume(folder, policy=GeometryPolicy(gaps="fill"))
    np.testing.assert_array_equal(volume.slices["valid"], series.present)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    expected = series.modality_values()
    np.testing.assert_allclose(volume.array[kept], expected[kept], rtol=1e-6)


@settings(max_examples=25)
@given(recipes(), st.data())
def test_duplicates_are_named_or_left_out(spec: SeriesSpec, data: st.DataObject) -> None:
    again = tuple(sorted(data.draw(st.sets(st.integers(0, spec.slices - 1), min_size=1))))
    with written(SeriesSpec(**{**vars(spec), "duplicates": again})) as (folder, (series,)):
        (entry,) = accounted(folder)
        assert isinstance(entry.error, RepeatedPositionError)
        assert entry.error.repeated == len(again)
        catalog = accounted(folder, GeometryPolicy(duplicates="first"))
        assert len(catalog.skipped) == len(again)
        volume = fastdicom.load_volume(catalog[0])
        halves = accounted(folder, GeometryPolicy(duplicates="split"))
        assert sorted(len(entry.paths) for entry in halves) == sorted([spec.slices, len(again)])
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    np.testing.assert_allclose(volume.array, series.modality_values(), rtol=1e-6)


@settings(max_examples=20)
@given(recipes(series_number=1), recipes(series_number=2), st.booleans())
def test_a_mixture_of_two_series_is_taken_apart(first: SeriesSpec, second: SeriesSpec, one_study: bool) -> None:
    second = SeriesSpec(**{**vars(second), "seed": first.seed if one_study else first.seed + 1})
    assume(first.series_uid != second.series_uid)
    with written(first, second) as (folder, both):
        catalog = accounted(folder)
        assert len(catalog) == 2
        for series in both:
            volume = fastdicom.load_volume(folder, series=series.spec.series_uid)
            np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
            np.testing.assert_allclose(volume.array, series.modality_values(), rtol=1e-6)


AXES = {
    "temporal_position": ("t", lambda i: i + 1),
    "echo": ("echo", lambda i: 10.0 * (i + 1)),
    "b_value": ("b", lambda i: 1000.0 * i),
    "trigger_time": ("t", lambda i: 50.0 * i),
    "acquisition_number": ("acquisition", lambda i: i + 1),
}


@settings(max_examples=25)
@given(recipes(modality="MR"), st.sampled_from(sorted(AXES)), st.integers(2, 4), st.sampled_from([False, "enhanced"]))
def test_a_dimension_of_a_classic_or_enhanced_series_is_an_axis(
    spec: SeriesSpec, name: str, size: int, multi_frame: bool | str
) -> None:
    axis, value = AXES[name]
    spec = SeriesSpec(**{**vars(spec), "dimensions": {name: size}, "multi_frame": multi_frame, "intercept": 0.0})
    with written(spec) as (folder, (series,)):
        (entry,) = accounted(folder)
        volume = fastdicom.load_volume(entry)
    assert volume.array.shape == series.stored.shape
    np.testing.assert_allclose(volume.array, series.modality_values(), rtol=1e-6)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    if not multi_frame:
        assert volume.dims[0] == axis
        np.testing.assert_allclose(volume.coordinates[axis], [value(i) for i in range(size)])


@pytest.mark.parametrize("multi_frame", [False, "enhanced"])
def test_a_slope_for_each_slice(multi_frame: bool | str, tmp_path: Path) -> None:
    slopes = tuple(0.5 + 0.25 * k for k in range(6))
    modality = "MR" if multi_frame else "PT"
    spec = SeriesSpec(
        slices=6, rows=4, columns=5, modality=modality, slope=slopes, intercept=0.0, multi_frame=multi_frame
    )
    series = write_series(tmp_path, spec)
    np.testing.assert_allclose(fastdicom.load_volume(tmp_path).array, series.modality_values(), rtol=1e-6)


def test_a_missing_block_is_missing_also_where_the_acquisition_number_counts_blocks(tmp_path: Path) -> None:
    spec = SeriesSpec(slices=24, rows=8, columns=8, extra={"AcquisitionNumber": lambda k: k // 4 + 1})
    series = write_series(tmp_path, spec)
    for path in series.paths[8:12]:
        Path(str(path)).unlink()
    (entry,) = fastdicom.scan(tmp_path)
    assert isinstance(entry.error, IrregularSpacingError)
    filled = fastdicom.load_volume(tmp_path, policy=GeometryPolicy(gaps="fill"))
    assert filled.shape[0] == 24
    assert np.flatnonzero(~filled.slices["valid"]).tolist() == [8, 9, 10, 11]
