"""Generated series as files: whatever is done to the heap, the volume is exact or the defect is named."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.errors import GeometryWarning, IrregularSpacingError, RepeatedPositionError
from fastdicom.headers import HeaderTable
from fastdicom.series import FoundVolume, find_volumes
from fastdicom.testing import SeriesSpec, WrittenSeries, write_series
from fastdicom.testing.strategies import orientations
from header_tables import header_table, joined, shuffled, stack_table


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


# --- Several images of one place, and stacks of one series that belong together ---------------------------------------


def moved(x: float = 0.0, z: float = 0.0) -> np.ndarray:
    return HEIGHTS + np.array([x, 0.0, z])


HEIGHTS = np.column_stack([np.zeros((6, 2)), 5.0 * np.arange(6)])


def of_table(table: HeaderTable, seed: int = 3, **policy: object) -> list[FoundVolume]:
    """The volumes of a table in any order of its rows, each row in one of them."""
    volumes, _ = find_volumes(shuffled(table, seed), GeometryPolicy(**policy))
    used = [row for volume in volumes for row in (*volume.used_rows.tolist(), *volume.dropped)]
    assert sorted(used) == list(range(len(table)))
    return volumes


def copies(count: int, value: Callable[[int], dict], **columns: object) -> HeaderTable:
    """The same places `count` times, numbered through; ``value(k)`` says in what the k-th differs."""
    return joined(
        *[
            stack_table(HEIGHTS, **({"instance_number": np.arange(6) + 6 * k + 1} | columns | value(k)))
            for k in range(count)
        ]
    )


ACQUIRED_AT_ONCE = [
    {"acquisition_time": b"100000"},
    {"acquisition_time": b"100000", "acquisition_date": b"20200101"},
    {"acquisition_date_time": b"20200101100000"},
]


@pytest.mark.parametrize("acquired", ACQUIRED_AT_ONCE)
@pytest.mark.parametrize("count", [2, 3])
def test_when_an_image_was_made_is_no_time_where_all_were_acquired_at_once(acquired: dict, count: int) -> None:
    made = [f"{10 + k}0500".encode() for k in range(count)]
    table = copies(count, lambda k: {"content_time": made[k]}, modality=b"CT", acquisition_number=1, **acquired)
    (volume,) = of_table(table)
    assert isinstance(volume.error, RepeatedPositionError)
    assert "content_time" in str(volume.error)
    parts = of_table(table, duplicates="split")
    assert [part.rows.shape for part in parts] == [(6,)] * count
    assert all(part.error is None for part in parts)


def test_the_time_of_the_image_counts_where_nothing_else_says_when() -> None:
    for acquired in ({}, {"acquisition_time": np.array([b"100000"] + 5 * [b""])}):
        table = copies(3, lambda k: {"content_time": b"10%02d00" % k}, modality=b"PT", **acquired)
        (volume,) = of_table(table)
        assert volume.error is None
        assert volume.dimensions[0].attribute == "content_time"


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("slice_thickness", 5.0, 1.0),
        ("filter_type", b"A", b"B"),
        ("reconstruction_diameter", 300.0, 400.0),
    ],
)
def test_reconstructions_are_no_times(name: str, one: object, other: object) -> None:
    made = copies(2, lambda k: {name: (one, other)[k], "content_time": b"10%02d00" % k}, modality=b"CT")
    (volume,) = of_table(made)
    assert isinstance(volume.error, RepeatedPositionError)
    assert name in str(volume.error)
    counted = copies(2, lambda k: {name: (one, other)[k]})  # MR: volumes may be counted by InstanceNumber alone
    assert isinstance(of_table(counted)[0].error, RepeatedPositionError)
    acquired = copies(2, lambda k: {name: (one, other)[k], "acquisition_time": b"10%02d00" % k}, modality=b"CT")
    (volume,) = of_table(acquired)
    assert volume.dims == ("t", "z")
    (said,) = volume.warnings
    assert f"{name} differs along t (acquisition_time)" in said
    assert all((v.decode() if isinstance(v, bytes) else str(v)) in said for v in (one, other))


CLOCKS = [b"235950", b"000010", b"000030"]


def night(**columns: object) -> HeaderTable:
    return copies(3, lambda k: {"acquisition_time": CLOCKS[k]} | {name: v(k) for name, v in columns.items()})


def numbers_of(volume: FoundVolume, table: HeaderTable, seed: int = 3) -> list[int]:
    """InstanceNumber of the first slice at each time."""
    return shuffled(table, seed)["instance_number"][volume.rows[:, 0]].tolist()


@pytest.mark.parametrize("kind", ["acquisition", "content"])
def test_times_go_on_after_midnight(kind: str) -> None:
    table = copies(3, lambda k: {f"{kind}_time": CLOCKS[k]})
    (volume,) = of_table(table)
    assert numbers_of(volume, table) == [1, 7, 13]
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 20, 40])
    assert any("12 of 18 frames are from after midnight" in note for note in volume.notes)
    assert volume.warnings == ()


@given(st.floats(1, 43000), st.floats(0, 86399), st.integers(2, 6))
def test_midnight_does_not_matter_to_a_series_of_hours(length: float, start: float, count: int) -> None:
    """The same series at any time of day, with or without dates, has the same times."""
    moments = [datetime(2020, 1, 1) + timedelta(seconds=start + length * k / (count - 1)) for k in range(count)]
    clock = [f"{moment:%H%M%S.%f}".encode() for moment in moments]
    for dates in ([b""] * count, [f"{moment:%Y%m%d}".encode() for moment in moments]):
        table = copies(count, lambda k: {"acquisition_time": clock[k], "acquisition_date": dates[k]})  # noqa: B023
        (volume,) = of_table(table)
        assert numbers_of(volume, table) == [6 * k + 1 for k in range(count)]
        np.testing.assert_allclose(volume.dimensions[0].values, length * np.arange(count) / (count - 1), atol=1e-4)
        assert volume.warnings == ()


def test_what_decides_about_midnight() -> None:
    by_content = night(
        content_time=lambda k: [b"235955", b"000015", b"000035"][k],
        content_date=lambda k: [b"20200101", b"20200102", b"20200102"][k],
        instance_number=lambda k: np.arange(6) + [13, 1, 7][k],
    )
    (volume,) = of_table(by_content)
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 20, 40])
    assert any("ContentDate" in note for note in volume.notes)
    one_date = night(acquisition_date=lambda k: b"20200101")  # the date of the study, copied to all
    (volume,) = of_table(one_date)
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 20, 40])
    assert any("though all have the date 20200101" in text for text in volume.warnings)
    (volume,) = of_table(night(instance_number=lambda k: 1))  # nothing decides
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 20, 86380])
    assert any("24.0 hours apart" in text for text in volume.warnings)
    two_visits = copies(2, lambda k: {"acquisition_time": [b"080000", b"210000"][k]})
    (volume,) = of_table(two_visits)
    np.testing.assert_allclose(volume.dimensions[0].values, [0, 13 * 3600])
    assert volume.warnings == ()


BETWEEN = moved(z=2.5)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("complex_image_component", b"MAGNITUDE", b"PHASE"),
        ("rescale_type", b"HU", b"US"),
    ],
)
def test_other_kinds_between_one_another_are_apart(name: str, one: object, other: object) -> None:
    volumes = of_table(joined(stack_table(HEIGHTS, **{name: one}), stack_table(BETWEEN, **{name: other})))
    assert [volume.geometry.spacing[0] for volume in volumes] == pytest.approx([5.0, 5.0])
    assert all(any(name in text for text in volume.warnings) for volume in volumes)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("trigger_time", 100.0, 500.0),
        ("inversion_time", 100.0, 500.0),
        ("kvp", 80.0, 120.0),
        ("slice_thickness", 5.0, 3.0),
        ("temporal_position_index", 1, 2),
        ("rescale_intercept", 0.0, -1024.0),
    ],
)
def test_stacks_acquired_differently_that_alternate_are_told_of(name: str, one: float, other: float) -> None:
    table = joined(stack_table(HEIGHTS, **{name: one}), stack_table(BETWEEN, **{name: other}))
    table.columns["modality"][:] = b"CT"
    (volume,) = of_table(table)
    (said,) = volume.warnings
    assert f"{name} alternates" in said
    assert "5.000 mm apart" in said


@pytest.mark.parametrize(
    ("name", "one", "other"), [("image_type", b"A\\B\\M", b"A\\B\\P"), ("complex_image_component", b"REAL", b"PHASE")]
)
def test_parts_of_the_complex_image_in_one_stack_are_told_of(name: str, one: bytes, other: bytes) -> None:
    (volume,) = of_table(joined(stack_table(HEIGHTS, **{name: one}), stack_table(moved(z=30.0), **{name: other})))
    assert volume.rows.shape == (12,)
    assert any("different parts of the complex image (6 " in text and "6 PHASE" in text for text in volume.warnings)


def turned(angle: float) -> np.ndarray:
    return np.array([1.0, 0, 0, 0, np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize(
    ("difference", "named"),
    [
        ({"image_orientation": turned(3e-4)}, "orientation (cosines by up to 0.0003)"),
        ({"frame_of_reference_uid": b"1.2.9"}, "frame_of_reference_uid"),
        ({"image_orientation": [-1.0, 0, 0, 0, -1.0, 0]}, "orientation"),
        ({"pixel_spacing": (0.75, 0.8)}, "pixel spacing"),
        ({"rows": 30, "frame_rows": 30}, "size"),
    ],
)
@pytest.mark.parametrize("between", [True, False])
def test_volumes_that_are_one_stack_together_say_so(difference: dict, named: str, between: bool) -> None:
    places = BETWEEN if between else moved(z=30.0)
    volumes = of_table(joined(stack_table(HEIGHTS), stack_table(places, **difference)))
    assert len(volumes) == 2
    for volume in volumes:
        (said,) = volume.warnings
        assert ("lies between" if between else "goes on where") in said
        assert f"12 slices of {2.5 if between else 5.0:.3f} mm" in said
        assert said.endswith(f"They differ in {named}")


def test_volumes_that_are_no_stack_together_say_nothing() -> None:
    for places in (HEIGHTS, moved(z=1.0), moved(z=30.4), moved(z=33.0), moved(40.0, 2.5)):
        volumes = of_table(joined(stack_table(HEIGHTS), stack_table(places, frame_of_reference_uid=b"1.2.9")))
        assert [volume.warnings for volume in volumes] == [(), ()]
    across = stack_table(BETWEEN[:, [2, 0, 1]], [0, 1.0, 0, 0, 0, 1.0])
    assert [volume.warnings for volume in of_table(joined(stack_table(HEIGHTS), across))] == [(), ()]


def test_slices_that_are_turned_about_their_centre_go_on() -> None:
    way = np.array([0, 1.0, 0, -1.0, 0, 0])  # a quarter, and the corner moves with it
    down, across = 0.7 * 31 / 2, 0.8 * 23 / 2
    centre = moved(across, 30.0) + np.array([0, down, 0])
    corner = centre - across * way[:3] - down * way[3:]
    volumes = of_table(joined(stack_table(HEIGHTS), stack_table(corner, way)))
    assert all("goes on where" in volume.warnings[0] for volume in volumes)
    oblique = stack_table(moved(z=30.0), [1.0, 0, 0, 0, 0.9, np.sqrt(0.19)])  # corners in line, but other planes
    assert [volume.warnings for volume in of_table(joined(stack_table(HEIGHTS), oblique))] == [(), ()]


def test_a_remnant_says_by_how_much_it_is_turned() -> None:
    table = stack_table(HEIGHTS, np.array([turned(1e-3 * (k == 5)) for k in range(6)]))
    volume = max(of_table(table), key=lambda found: len(found.used_rows))
    assert any("unlike these in orientation (cosines by up to 0.001)" in note for note in volume.notes)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_pixel_size_that_is_a_guess_is_said(frames: int) -> None:
    for written_as, said in (
        ({}, "1 mm between pixels is assumed"),
        ({"imager_pixel_spacing": (0.1, 0.2)}, "detector"),
    ):
        table = header_table(
            frames, path=np.array(["/a"] * frames, dtype=object), frame=np.arange(frames), frames_in_file=frames,
            pixel_spacing=(np.nan, np.nan), **written_as,
        )  # fmt: skip
        (volume,) = find_volumes(table, GeometryPolicy())[0]
        assert any(said in text for text in volume.notes)


def test_telling_volumes_of_one_another_is_fast() -> None:
    many = [stack_table(moved(z=30.0 * k), frame_of_reference_uid=b"1.2.%d" % (k % 4)) for k in range(16)]
    series = joined(*many)
    tables = [series.take(np.arange(len(series))) for _ in range(200)]
    for k, table in enumerate(tables):
        table.columns["series_instance_uid"][:] = b"1.2.%d" % k
    table = joined(*tables)
    start = time.process_time()
    volumes, _ = find_volumes(table, GeometryPolicy())
    assert time.process_time() - start < 5 * (len(table) / 100_000 + 0.5)
    assert sum(len(volume.used_rows) for volume in volumes) == len(table)
