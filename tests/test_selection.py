"""`series=` and `policy=`: which volume a call means, and what is said where it cannot be told."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.errors import (
    FastDicomError,
    GeometryError,
    GeometryWarning,
    IrregularSpacingError,
    MixedSeriesError,
    NoDicomError,
    RepeatedPositionError,
    SeriesSelectionError,
    SkippedFilesWarning,
    TiltError,
    UsageError,
)
from fastdicom.testing import SeriesSpec, corrupt, write_series

SPEC = SeriesSpec(slices=6, rows=8, columns=7, names="dcm")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    write_series(tmp_path / "a", replace(SPEC, series_number=1))
    write_series(tmp_path / "b", replace(SPEC, series_number=2, modality="MR", seed=3))
    return tmp_path


CALLS = [fastdicom.load_volume, fastdicom.open_volume]


@pytest.mark.parametrize("call", CALLS)
def test_a_volume_is_chosen_by_uid_index_or_predicate(two: Path, call: Any) -> None:
    catalog = fastdicom.scan(two)
    first, second = catalog
    assert call(two, series=second.series_instance_uid).modality == second.modality
    assert call(two, series=0).modality == first.modality
    assert call(two, series=-1).modality == second.modality
    assert call(two, series=np.int64(1)).modality == second.modality
    assert call(two, series=lambda entry: entry.modality == "MR").modality == "MR"
    assert call(catalog, series=1).modality == second.modality
    assert call(second).series_instance_uid == second.series_instance_uid


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "series",
    [None, 2, -3, "1.2.3", lambda entry: True, lambda entry: False],
    ids=["none", "2", "-3", "unknown-uid", "everything", "nothing"],
)
def test_what_names_none_or_several_is_an_error_that_lists_them(two: Path, call: Any, series: Any) -> None:
    with pytest.raises(SeriesSelectionError) as caught:
        call(two, series=series)
    message = str(caught.value)
    for entry in fastdicom.scan(two):
        assert f"[{entry.index}]" in message
        assert entry.series_instance_uid[-8:] in message
        assert entry.modality in message
    assert "series=" in message


@pytest.mark.parametrize("series", [True, 1.5, ["1.2.3"], b"1.2.3"], ids=str)
def test_what_is_no_way_to_name_a_volume_is_a_usage_error(two: Path, series: Any) -> None:
    with pytest.raises(UsageError, match="series="):
        fastdicom.load_volume(two, series=series)


def test_an_error_of_the_predicate_is_the_caller_s(two: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fastdicom.load_volume(two, series=lambda entry: 1 / 0)


def test_two_sizes_in_one_series_name_the_odd_file(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    odd = replace(SPEC, rows=4, slices=1, series_instance_uid=SPEC.series_uid, slope=2.0)
    write_series(tmp_path / "odd", odd)
    with pytest.raises(MixedSeriesError) as caught:
        fastdicom.load_volume(tmp_path)
    assert isinstance(caught.value, GeometryError)
    assert "00001.dcm" in str(caught.value)
    assert caught.value.path == str(tmp_path / "odd" / "00001.dcm")
    index = next(entry.index for entry in fastdicom.scan(tmp_path) if entry.shape == (6, 8, 7))
    assert fastdicom.load_volume(tmp_path, series=index).shape == (6, 8, 7)


def test_the_one_volume_beside_localizers_is_meant(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", replace(SPEC, extra={"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}))
    scout = replace(SPEC, slices=1, rows=20, extra={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})
    write_series(tmp_path / "scout", replace(scout, series_instance_uid=SPEC.series_uid))
    volume = fastdicom.load_volume(tmp_path)
    assert volume.shape == (6, 8, 7)
    assert any("localizer" in note for note in volume.notes)
    write_series(tmp_path / "more", replace(SPEC, seed=4))
    with pytest.raises(SeriesSelectionError):
        fastdicom.load_volume(tmp_path)


def test_a_lone_localizer_can_be_loaded(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, slices=1, extra={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}))
    assert fastdicom.load_volume(tmp_path).shape == (1, 8, 7)


# Nothing to choose from


@pytest.mark.parametrize("call", [*CALLS, lambda source: fastdicom.write_zarr(source, Path(source) / "out.zarr")])
def test_a_source_without_an_image(tmp_path: Path, call: Any) -> None:
    with pytest.raises(NoDicomError, match="holds no files"):
        call(tmp_path)
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(NoDicomError, match=r"1 not-dicom; .*notes\.txt"):
        call(tmp_path)
    assert not (tmp_path / "out.zarr").exists()


def test_files_that_cannot_be_read_are_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    corrupt.truncate(tmp_path / "00006.dcm", 300)
    skipped = fastdicom.scan(tmp_path).skipped
    assert [Path(item.path).name for item in skipped] == ["00006.dcm"]
    for call in (*CALLS, lambda source: fastdicom.write_zarr(source, tmp_path / "out.zarr")):
        with pytest.warns(SkippedFilesWarning, match=r"00006\.dcm") as caught:
            call(tmp_path)
        (warning,) = [w for w in caught if w.category is SkippedFilesWarning]
        assert Path(warning.filename).name == Path(__file__).name  # where the caller is, not inside of fastdicom


def test_files_that_are_no_dicom_are_no_warning(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    (tmp_path / "notes.txt").write_text("no DICOM")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastdicom.load_volume(tmp_path)


# Policies


@pytest.mark.parametrize("call", CALLS)
def test_gaps(tmp_path: Path, call: Any) -> None:
    series = write_series(tmp_path, replace(SPEC, missing=(2, 3)))
    with pytest.raises(IrregularSpacingError, match=r"gaps="):
        call(tmp_path)
    kept = call(tmp_path, policy=GeometryPolicy(gaps="keep")).compute()
    assert kept.shape == (4, 8, 7)
    assert not kept.geometry.uniform
    np.testing.assert_allclose(np.diff(kept.slice_positions), [2.5, 7.5, 2.5])
    np.testing.assert_array_equal(kept.array, series.modality_values()[series.present])
    filled = call(tmp_path, policy=GeometryPolicy(gaps="fill")).compute()
    assert filled.shape == (6, 8, 7)
    assert filled.geometry.uniform
    np.testing.assert_array_equal(filled.slices["valid"], series.present)
    np.testing.assert_array_equal(filled.array[series.present], series.modality_values()[series.present])
    np.testing.assert_allclose(filled.affine, series.affine, atol=1e-6)
    assert (filled.array[2:4] == -1000).all()  # air, in HU


def test_absent_slices_get_the_padding_value(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, missing=(2,), padding=63, slope=2.0, intercept=-500.0))
    for values, expected in (("modality", 63 * 2 - 500), ("stored", 63), ("display", 0)):
        volume = fastdicom.load_volume(tmp_path, values=values, policy=GeometryPolicy(gaps="fill"))
        assert (volume.array[2] == expected).all()
        assert volume.plan.fill_value == expected


@pytest.mark.parametrize("call", CALLS)
def test_duplicates(tmp_path: Path, call: Any) -> None:
    series = write_series(tmp_path, replace(SPEC, duplicates=(1, 4)))
    with pytest.raises(RepeatedPositionError, match=r"duplicates="):
        call(tmp_path)
    first = call(tmp_path, policy=GeometryPolicy(duplicates="first")).compute()
    np.testing.assert_array_equal(first.array, series.modality_values())
    with pytest.raises((SeriesSelectionError, MixedSeriesError)):
        call(tmp_path, policy=GeometryPolicy(duplicates="split"))


@pytest.mark.parametrize("call", CALLS)
def test_tilt(tmp_path: Path, call: Any) -> None:
    series = write_series(tmp_path, replace(SPEC, tilt_deg=15.0))
    volume = call(tmp_path)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-4)
    assert volume.geometry.tilt_deg == pytest.approx(15.0, abs=0.01)
    with pytest.raises(TiltError, match=r"15\.00 degrees"):
        call(tmp_path, policy=GeometryPolicy(tilt="raise"))
    with pytest.raises(GeometryError, match="tilted"):
        volume.to_sitk()


def test_a_policy_applies_to_entries_and_catalogs_of_another(tmp_path: Path) -> None:
    series = write_series(tmp_path, replace(SPEC, missing=(2,)))
    catalog = fastdicom.scan(tmp_path)
    with pytest.raises(IrregularSpacingError):
        fastdicom.load_volume(catalog[0])
    for source in (catalog, catalog[0]):
        volume = fastdicom.load_volume(source, policy=GeometryPolicy(gaps="fill"))
        np.testing.assert_array_equal(volume.slices["valid"], series.present)
        assert volume.plan.policy.gaps == "fill"
    write_series(tmp_path, replace(SPEC, duplicates=(1,)))
    entry = fastdicom.scan(tmp_path, policy=GeometryPolicy(duplicates="first"))[0]
    with pytest.raises(RepeatedPositionError):
        fastdicom.load_volume(entry, policy=GeometryPolicy(duplicates="raise"))


def test_write_zarr_takes_policy_and_series(two: Path, tmp_path: Path) -> None:
    catalog = fastdicom.scan(two)
    report = fastdicom.write_zarr(catalog, tmp_path / "x.zarr", series=lambda entry: entry.modality == "MR")
    assert [r.index for r in report.stores] == [next(e.index for e in catalog if e.modality == "MR")]
    assert fastdicom.load_volume(tmp_path / "x.zarr").modality == "MR"
    write_series(tmp_path / "gap", replace(SPEC, missing=(2,)))
    gap = fastdicom.scan(tmp_path / "gap")
    for number, source in enumerate((tmp_path / "gap", gap, gap[0])):
        store = tmp_path / f"gap{number}.zarr"
        assert fastdicom.write_zarr(source, store, policy=GeometryPolicy(gaps="fill")).ok
        assert fastdicom.load_volume(store).shape == (6, 8, 7)


@pytest.mark.parametrize("field", ["gaps", "duplicates", "tilt"])
def test_an_impossible_policy(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        GeometryPolicy(**{field: "guess"})


def test_a_geometry_that_rests_on_less_than_positions_is_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, position=False))
    for call in (*CALLS, lambda source: fastdicom.write_zarr(source, tmp_path / "out.zarr")):
        with pytest.warns(GeometryWarning, match="InstanceNumber") as caught:
            result = call(tmp_path)
        (warning,) = [w for w in caught if w.category is GeometryWarning]
        assert Path(warning.filename).name == Path(__file__).name
        if isinstance(result, fastdicom.Volume):
            assert any("InstanceNumber" in note for note in result.notes)
            assert not result.geometry.has_positions


# Frames that cannot be read


def test_errors_report_keeps_the_others(tmp_path: Path) -> None:
    series = write_series(tmp_path, SPEC)
    corrupt.truncate(tmp_path / "00003.dcm", -30)
    with pytest.raises(FastDicomError, match=r"00003\.dcm"):
        fastdicom.load_volume(tmp_path)
    for scheduler in ("threads", "synchronous", "processes"):
        volume = fastdicom.load_volume(tmp_path, errors="report", scheduler=scheduler)
        assert volume.slices["valid"].tolist() == [True, True, False, True, True, True]
        (failure,) = volume.failures
        assert (failure.index, Path(failure.path).name, failure.frame) == ((2,), "00003.dcm", 0)
        assert issubclass(getattr(fastdicom.errors, failure.kind), FastDicomError)
        assert (volume.array[2] == volume.plan.fill_value).all()
        intact = volume.slices["valid"]
        np.testing.assert_array_equal(volume.array[intact], series.modality_values()[intact])
        np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)


def test_a_file_that_changes_after_the_scan_is_not_read(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    (entry,) = fastdicom.scan(tmp_path)
    with (tmp_path / "00002.dcm").open("ab") as file:
        file.write(b"\0\0")
    with pytest.raises(fastdicom.errors.FileChangedError, match=r"00002\.dcm"):
        fastdicom.load_volume(entry)
    (tmp_path / "00002.dcm").unlink()
    with pytest.raises(fastdicom.errors.SourceNotFoundError, match=r"00002\.dcm"):
        fastdicom.load_volume(entry)
    volume = fastdicom.load_volume(entry, errors="report")
    assert [f.kind for f in volume.failures] == ["SourceNotFoundError"]


@pytest.mark.parametrize(
    "wrong",
    [{"values": "raw"}, {"errors": "ignore"}, {"window": "wide"}, {"window": (1,)}, {"window": (40, 0)},
     {"window": (40, 400, "CUBIC")}, {"dtype": "complex64"}, {"dtype": "float16"}, {"decoder": "magic"},
     {"scheduler": "gpu"}, {"workers": -1}],
    ids=str,
)  # fmt: skip
def test_wrong_usage(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write_series(tmp_path, SPEC)
    with pytest.raises(UsageError):
        fastdicom.load_volume(tmp_path, **wrong)
    with pytest.raises(UsageError):
        fastdicom.write_zarr(tmp_path, tmp_path / "out.zarr", **wrong)
    assert not (tmp_path / "out.zarr").exists()
