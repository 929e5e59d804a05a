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
from fastdicom.errors import GeometryWarning, IrregularSpacingError, RepeatedPositionError
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


@settings(max_examples=20)
@given(recipes(), st.booleans(), st.sampled_from(["PatientID", "PatientName", "PatientBirthDate"]), st.data())
def test_files_of_two_patients_are_never_one_volume(
    spec: SeriesSpec, with_uid: bool, differs: str, data: st.DataObject
) -> None:
    """Slices of two patients in one folder that would make one regular stack."""
    cut = data.draw(st.integers(1, spec.slices - 1))
    identity = {"PatientID": "0", "PatientName": "A^B", "PatientBirthDate": "19700101"}
    # In a series with a UID the Patient ID decides alone: only where it is absent do names count.
    removed = {"PatientID": None} if with_uid and differs != "PatientID" else {}
    uids = {} if with_uid else {"SeriesInstanceUID": "", "StudyInstanceUID": "", "FrameOfReferenceUID": None}
    values = (identity[differs], "19801231" if differs == "PatientBirthDate" else "Z")
    extra = identity | removed | uids | {differs: lambda k: values[int(k >= cut)]}
    with written(SeriesSpec(**{**vars(spec), "extra": extra})) as (folder, (series,)):
        catalog = accounted(folder)
        assert len(catalog) == 2
        assert sorted(len(entry.paths) for entry in catalog) == sorted([cut, spec.slices - cut])
        for entry in catalog:
            assert "2 patients" in entry.found.warnings[0]
            with pytest.warns(GeometryWarning, match="2 patients"):
                volume = fastdicom.load_volume(entry)
            mine = np.arange(spec.slices) >= cut
            mine = mine if np.allclose(volume.geometry.image_positions[0], series.positions[cut]) else ~mine
            np.testing.assert_allclose(volume.geometry.image_positions, series.positions[mine], atol=1e-9)
            np.testing.assert_allclose(volume.array, series.modality_values()[mine], rtol=1e-6)


@pytest.mark.parametrize(
    "extra",
    [
        {"PatientName": lambda k: ["Doe^Jo", "DOE^Jo ^", "D\N{LATIN SMALL LETTER O WITH DIAERESIS}^J"][k % 3]},
        {"PatientID": lambda k: "77" if k else None, "PatientName": None, "PatientBirthDate": None},
    ],
)
def test_a_series_of_one_patient_whose_name_is_spelt_in_many_ways_is_one(extra: dict, tmp_path: Path) -> None:
    write_series(
        tmp_path, SeriesSpec(slices=6, rows=4, columns=4, extra={"SpecificCharacterSet": "ISO_IR 192"} | extra)
    )
    (entry,) = accounted(tmp_path)
    assert entry.shape == (6, 4, 4)
    assert entry.found.warnings == ()


@pytest.mark.parametrize("removed", [("SeriesInstanceUID",), ("SeriesInstanceUID", "StudyInstanceUID")])
def test_without_uids_two_studies_of_one_patient_are_two_volumes(removed: tuple[str, ...], tmp_path: Path) -> None:
    for k, date in enumerate(("20200101", "20210101")):
        extra = dict.fromkeys(removed, "") | {"StudyDate": date, "AcquisitionTime": f"1{k}0000"}
        spec = SeriesSpec(
            slices=4, rows=4, columns=4, study_instance_uid="1.2.3", frame_of_reference_uid="1.2.4", extra=extra
        )
        write_series(tmp_path / "written", spec)
        for path in (tmp_path / "written").iterdir():
            (tmp_path / "heap").mkdir(exist_ok=True)
            path.rename(tmp_path / "heap" / f"{k}-{path.name}")
    assert [entry.shape for entry in accounted(tmp_path)] == [(4, 4, 4)] * 2


@settings(max_examples=15)
@given(recipes(slices=8, modality="CT"), st.sampled_from(["ImageType", "ConvolutionKernel"]))
def test_two_reconstructions_between_one_another_are_two_volumes(spec: SeriesSpec, keyword: str) -> None:
    values = (
        (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"])
        if keyword == "ImageType"
        else ("B30", "B60")
    )
    with written(SeriesSpec(**{**vars(spec), "extra": {keyword: lambda k: values[k % 2]}})) as (folder, (series,)):
        catalog = accounted(folder)
        assert len(catalog) == 2
        for entry in catalog:
            with pytest.warns(GeometryWarning, match="lie between one another"):
                volume = fastdicom.load_volume(entry)
            first = int(np.argmin(np.linalg.norm(series.positions - volume.geometry.image_positions[0], axis=1)))
            np.testing.assert_allclose(volume.geometry.image_positions, series.positions[first::2], atol=1e-9)
            np.testing.assert_allclose(volume.array, series.modality_values()[first::2], rtol=1e-6)
            np.testing.assert_allclose(volume.affine[:3, 0], 2 * series.affine[:3, 0], atol=1e-6)


def test_the_report_tells_of_derived_and_of_interleaved_slices(tmp_path: Path) -> None:
    derived = {"ImageType": lambda k: ["DERIVED" if k in (2, 3, 6) else "ORIGINAL", "PRIMARY", "AXIAL"]}
    write_series(tmp_path / "a", SeriesSpec(slices=8, rows=4, columns=4, extra=derived))
    write_series(
        tmp_path / "b", SeriesSpec(slices=8, rows=4, columns=4, seed=1, extra={"AcquisitionNumber": lambda k: k % 2})
    )
    warned = [text for volume in json.loads(accounted(tmp_path).to_json())["volumes"] for text in volume["warnings"]]
    assert len(warned) == 2
    assert any("3 of 8 slices are DERIVED, 5 ORIGINAL" in text for text in warned)
    assert any("acquisition_number alternates" in text and "5.000 mm apart" in text for text in warned)


def test_the_group_of_a_frame_comes_before_the_one_that_all_share(tmp_path: Path) -> None:
    """PS3.3 C.7.6.16.1.1 wants a macro in one of the two; where software writes both, the frame's own is the nearer."""
    import copy

    import pydicom

    spec = SeriesSpec(slices=5, rows=4, columns=6, multi_frame="enhanced", slope=(1.0, 2.0, 3.0, 4.0, 5.0))
    series = write_series(tmp_path, spec)
    (path,) = set(series.paths)
    dataset = pydicom.dcmread(path)
    shared, own = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    for keyword in ("PlanePositionSequence", "PixelValueTransformationSequence", "FrameContentSequence"):
        setattr(shared, keyword, copy.deepcopy(own[0][keyword].value))  # of one frame, so wrong for the others
    for group in own:  # and the other way round: wrong for all, and right in each frame
        for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            setattr(group, keyword, copy.deepcopy(shared[keyword].value))
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    shared.PixelMeasuresSequence[0].PixelSpacing = [9, 9]
    dataset.save_as(path)
    (entry,) = accounted(tmp_path)
    volume = fastdicom.load_volume(entry)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    np.testing.assert_allclose(volume.geometry.image_positions, series.positions, atol=1e-9)
    np.testing.assert_allclose(volume.array, series.modality_values(), rtol=1e-6)
