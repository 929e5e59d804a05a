"""Values with units, through `load_volume`: SUV, Philips' scale, real world values, dose, tables, padding.

Oracles: arithmetic of the standard on attributes that pydicom reads, dcm2niix' NIfTI files, pydicom's own transforms.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

import fastdicom
from edited_series import item, volume, with_edit
from fastdicom.errors import UsageError, ValuesError
from fastdicom.testing import SeriesSpec, make_series, write_series
from nifti_references import agreement

PET = SeriesSpec(modality="PT", slices=4, rows=6, columns=5, slope=0.5, intercept=0.0, window=None)
CODE = {"CodingSchemeDesignator": "UCUM", "CodeMeaning": "a unit"}


# --------------------------------------------------------------------------------------------------------------- SUV


def seconds(clock: str) -> float:
    return int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + float(clock[4:])


@pytest.mark.realdata
def test_suv_of_a_real_series_is_the_formula_by_hand(data_root: Path) -> None:
    folder = data_root / "pet/pet-qin-hn-0024"
    suv = fastdicom.load_volume(folder, values="suv")
    assert (suv.units, suv.dtype, suv.values) == ("g/ml", np.float32, "suv")
    assert fastdicom.load_volume(folder).units == "BQML"
    assert any("Series Time" in note for note in suv.notes)
    for k, record in enumerate(suv.plan.slices):
        ds = pydicom.dcmread(suv.plan.files[record["file"]].locator)
        drug = ds.RadiopharmaceuticalInformationSequence[0]
        assert ds.DecayCorrection == "START"
        assert ds.SeriesTime <= ds.AcquisitionTime
        waited = seconds(ds.SeriesTime) - seconds(drug.RadiopharmaceuticalStartTime)
        left = float(drug.RadionuclideTotalDose) * 2 ** (-waited / float(drug.RadionuclideHalfLife))
        activity = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_allclose(suv.array[k], activity * float(ds.PatientWeight) * 1000 / left, rtol=1e-6)


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["petct-sts005", "petct-sts010"])
def test_values_that_are_suv_already_stay(data_root: Path, folder: str) -> None:
    source = data_root / "pet" / folder
    if not source.is_dir():
        pytest.skip(f"{folder} is not in the data")
    kind = {"series": lambda entry: entry.modality == "PT"}
    suv, modality = (fastdicom.load_volume(source, values=values, **kind) for values in ("suv", "modality"))
    assert (suv.units, modality.units) == ("g/ml", "GML")
    np.testing.assert_array_equal(suv.array, modality.array)


@settings(max_examples=15)
@given(
    st.floats(1, 300),
    st.floats(1e6, 1e10),
    st.integers(0, 3600),
    st.sampled_from(["START", "ADMIN"]),
    st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4),
)
def test_suv_follows_the_decay_correction(
    tmp_path_factory: pytest.TempPathFactory,
    weight: float,
    dose: float,
    waited: int,
    correction: str,
    slopes: list[float],
) -> None:
    half_life = 6586.2
    clock = 12 * 3600 - waited
    drug = item(
        RadiopharmaceuticalStartTime=f"{clock // 3600:02}{clock // 60 % 60:02}{clock % 60:02}",
        RadionuclideTotalDose=f"{dose:.10g}",
        RadionuclideHalfLife=f"{half_life}",
    )
    extra = {
        "PatientWeight": f"{weight:.10g}",
        "DecayCorrection": correction,
        "SeriesDate": "20240301",
        "SeriesTime": "120000",
        "AcquisitionDate": "20240301",
        "AcquisitionTime": "121000",
        "RadiopharmaceuticalInformationSequence": [drug],
    }
    spec = replace(PET, slope=tuple(float(f"{slope:.8g}") for slope in slopes), extra=extra)
    suv, stored = volume(tmp_path_factory.mktemp("pet"), spec, values="suv")
    left = dose * 0.5 ** (waited / half_life if correction == "START" else 0)
    expected = stored * np.array(spec.slope)[:, None, None] * weight * 1000 / left
    np.testing.assert_allclose(suv.array, expected, rtol=1e-5)
    assert suv.units == "g/ml"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"DecayCorrection": "NONE"}, "Decay Correction .0054,1102. is NONE"),
        ({"Units": "PROPCPS"}, "PROPCPS, not BQML"),
        ({"PatientWeight": None}, r"Weight .0010,1030. is absent"),
        ({"CorrectedImage": ["DECY"]}, "lacks ATTN"),
        ({"RadiopharmaceuticalInformationSequence": []}, "has 0 items"),
    ],
)
def test_suv_that_cannot_be_computed_says_why_and_where(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    spec = replace(PET, extra=changes)
    write_series(tmp_path, spec)
    with pytest.raises(ValuesError, match=rf"(?s)SUV cannot be computed: .*{why}.*\[.*\]") as caught:
        fastdicom.load_volume(tmp_path, values="suv")
    assert Path(caught.value.path).is_file()
    assert caught.value.reason
    fastdicom.load_volume(tmp_path)


def test_slices_of_different_acquisition_times_have_their_own_factor(tmp_path: Path) -> None:
    """Where Series Time is later than the acquisition, the scan time follows from each slice's own times."""
    extra = {
        "SeriesDate": "20240301",
        "SeriesTime": "180000",
        "AcquisitionDate": "20240301",
        "AcquisitionTime": lambda k: f"1200{k:02}",
        "FrameReferenceTime": lambda k: f"{1000 * (60 + k)}",
        "RadiopharmaceuticalInformationSequence": [
            item(RadiopharmaceuticalStartTime="110000", RadionuclideTotalDose="370000000", RadionuclideHalfLife="600")
        ],
    }
    suv, stored = volume(tmp_path, replace(PET, extra=extra), values="suv")
    decay, duration = np.log(2) / 600, 120.0
    average = np.log(decay * duration / (1 - np.exp(-decay * duration))) / decay
    for k in range(4):
        scan = 12 * 3600 + k + average - (60 + k)  # frame reference time is counted from the series reference
        left = 370e6 * np.exp(-decay * (scan - 11 * 3600))
        np.testing.assert_allclose(suv.array[k], stored[k] * 0.5 * 70 * 1000 / left, rtol=1e-5)


@pytest.mark.parametrize("odd", [0, 1, 3])
@pytest.mark.parametrize(
    ("keyword", "value", "why"),
    [
        ("PatientWeight", "35", r"Weight .0010,1030. is (35|70), but (35|70) in"),
        ("SeriesTime", "003000", r"Series Date and Time .* is 20240301 \d{6}.0+, but 20240301 \d{6}.0+ in"),
        ("DecayCorrection", "ADMIN", r"Decay Correction .* is (ADMIN|START), but (ADMIN|START) in"),
        ("RadionuclideTotalDose", "185000000", r"Total Dose .* is 1.85e\+08, but 3.7e\+08|3.7e\+08, but 1.85e\+08"),
    ],
)
def test_a_file_that_contradicts_its_series_is_refused(
    tmp_path: Path, odd: int, keyword: str, value: str, why: str
) -> None:
    def edit(k: int, ds: Dataset) -> None:
        ds.SeriesDate = ds.AcquisitionDate = "20240301"
        ds.SeriesTime, ds.AcquisitionTime, ds.PatientWeight = "010000", "010500", "70"
        drug = ds.RadiopharmaceuticalInformationSequence[0]
        drug.RadionuclideTotalDose, drug.RadiopharmaceuticalStartTime = "370000000", "000000"
        drug.pop("RadiopharmaceuticalStartDateTime", None)
        if k == odd:
            setattr(drug if keyword in drug else ds, keyword, value)

    with_edit(tmp_path, PET, edit)
    with pytest.raises(ValuesError, match=f"(?s)SUV cannot be computed: .*({why}).*same series") as caught:
        fastdicom.load_volume(tmp_path, values="suv")
    assert "differs within the series" in caught.value.reason
    fastdicom.load_volume(tmp_path)


def test_a_series_time_that_only_some_slices_use_is_no_contradiction(tmp_path: Path) -> None:
    """Where Series Time is later than the acquisition of a slice, its own times count, and Series Time may differ."""

    def edit(k: int, ds: Dataset) -> None:
        ds.SeriesDate = ds.AcquisitionDate = "20240301"
        ds.SeriesTime = f"{2 + (k == 0):02}0000"
        ds.AcquisitionTime = "013000" if k < 2 else "023000"
        ds.FrameReferenceTime, ds.ActualFrameDuration = "60000", "120000"
        ds.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "000000"
        ds.RadiopharmaceuticalInformationSequence[0].pop("RadiopharmaceuticalStartDateTime", None)

    with_edit(tmp_path, PET, edit)
    assert fastdicom.load_volume(tmp_path, values="suv").units == "g/ml"


# ----------------------------------------------------------------------------------------------------------- Philips


@pytest.mark.realdata
def test_philips_values_are_those_of_dcm2niix(data_root: Path) -> None:
    folder = data_root / "mr/mr-philips-magphase-slopes"
    ours = fastdicom.load_volume(folder, values="philips")
    found = agreement(ours.to_nibabel(), folder / "ref-upstream/EPI_asc_CLEAR_201.nii")
    assert found is not None
    assert found.voxels < 1e-6, found  # its affine is that of another slice order: see the tests of geometry


@pytest.mark.realdata
@pytest.mark.parametrize("file", ["enh-philips-d2n/dicom/anatomical_001", "enh-nitest-balls1/dicom/T1.dcm"])
def test_philips_values_of_enhanced_images(data_root: Path, file: str) -> None:
    ours = fastdicom.load_volume(data_root / "enhanced" / file, values="philips")
    for k, record in enumerate(ours.plan.slices):
        ds = pydicom.dcmread(ours.plan.files[record["file"]].locator)
        private = ds.PerFrameFunctionalGroupsSequence[int(record["frame"])][0x2005, 0x140F].value[0]
        stored = ds.pixel_array[int(record["frame"])].astype(np.float64)
        expected = (stored - private[0x2005, 0x100D].value) / private[0x2005, 0x100E].value
        np.testing.assert_allclose(ours.array[k], expected, rtol=1e-6)


def test_philips_values_of_each_frame_are_its_own(tmp_path: Path) -> None:
    spec = SeriesSpec(modality="MR", slices=3, rows=4, columns=4, multi_frame="enhanced")
    (ds,) = make_series(spec)
    for frame, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        inner = Dataset()
        block = inner.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", 8.0 * frame)
        block.add_new(0x0E, "FL", 0.5**frame)
        group.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [inner])
    ds.save_as(tmp_path / "enhanced.dcm")
    ours = fastdicom.load_volume(tmp_path, values="philips")
    for k, frame in enumerate(ours.plan.slices["frame"].tolist()):
        expected = (ds.pixel_array[frame].astype(np.float64) - 8.0 * frame) * 2.0**frame
        np.testing.assert_array_equal(ours.array[k], expected.astype(np.float32))


def test_philips_values_differ_from_slice_to_slice(tmp_path: Path) -> None:
    def scaled(k: int, ds: Dataset) -> None:
        block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0D, "FL", float(k))
        block.add_new(0x0E, "FL", 0.25 * (k + 1))

    datasets = with_edit(tmp_path, SeriesSpec(modality="MR", slices=3, rows=4, columns=4), scaled)
    ours = fastdicom.load_volume(tmp_path, values="philips")
    for k, ds in enumerate(datasets):
        np.testing.assert_array_equal(ours.array[k], ((ds.pixel_array - float(k)) / (0.25 * (k + 1))).astype("f4"))
    assert ours.values == "philips"


def test_philips_values_need_their_scale(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(modality="MR", slices=2))
    with pytest.raises(ValuesError, match=r"2005,100E\) is absent"):
        fastdicom.load_volume(tmp_path, values="philips")


# ------------------------------------------------------------------------------------------------- real world values


def mapping(first: int, last: int, slope: float = 2.0, intercept: float = 1.0, **changes: Any) -> Dataset:
    units = item(CodeValue=changes.pop("unit", "mm2/s"), **CODE)
    attributes = {
        "RealWorldValueFirstValueMapped": first,
        "RealWorldValueLastValueMapped": last,
        "RealWorldValueSlope": slope,
        "RealWorldValueIntercept": intercept,
        "LUTLabel": "ADC",
        "MeasurementUnitsCodeSequence": [units],
    }
    return item(**(attributes | changes))


SMALL = SeriesSpec(modality="MR", slices=3, rows=8, columns=9, bits_stored=12)


@pytest.mark.parametrize("dtype", [None, np.float64])
def test_real_world_values_are_slope_times_stored(tmp_path: Path, dtype: Any) -> None:
    extra = {"RealWorldValueMappingSequence": [mapping(0, 4095)]}
    ours, stored = volume(tmp_path, replace(SMALL, extra=extra), values="real_world", dtype=dtype)
    np.testing.assert_array_equal(ours.array, 2.0 * stored + 1)
    assert (ours.units, ours.dtype) == ("mm2/s", np.dtype(dtype or np.float32))


def test_stored_values_that_are_not_mapped_are_nan(tmp_path: Path) -> None:
    extra = {"RealWorldValueMappingSequence": [mapping(100, 2000)]}
    ours, stored = volume(tmp_path, replace(SMALL, extra=extra), values="real_world")
    inside = (stored >= 100) & (stored <= 2000)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_array_equal(np.isnan(ours.array), ~inside)
    np.testing.assert_array_equal(ours.array[inside], 2.0 * stored[inside] + 1)
    with pytest.raises(ValuesError, match="do not fit int16"):
        fastdicom.load_volume(tmp_path, values="real_world", dtype=np.int16)


@pytest.mark.parametrize("last", [4095, 4094])
def test_real_world_values_as_integers_are_rounded_whether_or_not_a_range_is_mapped(tmp_path: Path, last: int) -> None:
    def below(k: int, ds: Dataset) -> None:
        ds.PixelData = np.minimum(ds.pixel_array, 4094).tobytes()
        ds.RealWorldValueMappingSequence = [mapping(0, last, slope=0.25)]

    datasets = with_edit(tmp_path, SMALL, below)
    expected = np.rint(0.25 * np.stack([ds.pixel_array for ds in datasets]) + 1)
    ours = fastdicom.load_volume(tmp_path, values="real_world", dtype=np.int16)
    np.testing.assert_array_equal(ours.array, expected)
    with pytest.raises(ValuesError, match="do not fit int8"):
        fastdicom.load_volume(tmp_path, values="real_world", dtype=np.int8)


def test_real_world_tables(tmp_path: Path) -> None:
    table = np.linspace(-5, 5, 4096) ** 3
    changed = mapping(0, 4095, RealWorldValueLUTData=table.tolist())
    del changed.RealWorldValueSlope, changed.RealWorldValueIntercept
    extra = {"RealWorldValueMappingSequence": [changed]}
    ours, stored = volume(tmp_path, replace(SMALL, extra=extra), values="real_world", dtype=np.float64)
    np.testing.assert_array_equal(ours.array, table[stored])


def test_one_of_several_mappings_is_chosen_by_name(tmp_path: Path) -> None:
    both = [mapping(0, 4095), mapping(0, 4095, slope=7.0, LUTLabel="T1", unit="ms")]
    write_series(tmp_path, replace(SMALL, extra={"RealWorldValueMappingSequence": both}))
    with pytest.raises(ValuesError, match=r"names 2 of the mappings 'ADC' \[mm2/s\], 'T1' \[ms\]"):
        fastdicom.load_volume(tmp_path, values="real_world")
    with pytest.raises(ValuesError, match="names 0 of the mappings"):
        fastdicom.load_volume(tmp_path, values="real_world:T2")
    stored = fastdicom.load_volume(tmp_path, values="stored").array
    for name in ("T1", "ms"):
        ours = fastdicom.load_volume(tmp_path, values=f"real_world:{name}")
        np.testing.assert_array_equal(ours.array, 7.0 * stored + 1)
        assert ours.units == "ms"


def test_real_world_values_that_are_absent_or_mixed(tmp_path: Path) -> None:
    write_series(tmp_path / "none", SMALL)
    with pytest.raises(ValuesError, match=r"no Real World Value Mapping Sequence .*none"):
        fastdicom.load_volume(tmp_path / "none", values="real_world")

    def two_units(k: int, ds: Dataset) -> None:
        ds.RealWorldValueMappingSequence = [mapping(0, 4095, unit="ms" if k else "s")]

    with_edit(tmp_path / "mixed", SMALL, two_units)
    with pytest.raises(ValuesError, match=r"different units \(ms, s\)"):
        fastdicom.load_volume(tmp_path / "mixed", values="real_world")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("file", "units"),
    [
        ("enhanced/enh-ct-CT0012/dicom/CT0012.explicit_little_endian.dcm", "ml/100ml/s"),
        ("transfer-syntax/ts-pydicom-data/dicom/parametric_map_float.dcm", "1"),
        ("transfer-syntax/ts-pydicom-data/dicom/parametric_map_double_float.dcm", "1"),
    ],
)
def test_real_world_values_of_functional_groups(data_root: Path, file: str, units: str) -> None:
    ours = fastdicom.load_volume(data_root / file, values="real_world")
    ds = pydicom.dcmread(data_root / file)
    rule = ds.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    stored = np.atleast_3d(ds.pixel_array).reshape(-1, ds.Rows, ds.Columns)
    expected = stored * rule.RealWorldValueSlope + rule.RealWorldValueIntercept
    frames = [int(frame) for frame in ours.plan.slices["frame"]]
    np.testing.assert_allclose(ours.array, expected[frames], rtol=1e-7)
    assert ours.units == units
    assert ours.dtype == (np.float64 if stored.dtype == np.float64 else np.float32)


def test_colours_have_no_such_values(tmp_path: Path) -> None:
    write_series(
        tmp_path, SeriesSpec(modality="OT", slices=2, bits_allocated=8, photometric_interpretation="RGB", slope=None)
    )
    for values in ("suv", "philips", "real_world"):
        with pytest.raises(ValuesError, match="in colour"):
            fastdicom.load_volume(tmp_path, values=values)


def test_unknown_values_are_refused_with_the_choices(tmp_path: Path) -> None:
    write_series(tmp_path, SMALL)
    for values in ("SUV", "padding", "raw", "real_world_values"):
        with pytest.raises(UsageError, match="'stored', 'display', 'suv'"):
            fastdicom.load_volume(tmp_path, values=values)


def test_real_world_labels_survive_a_store(tmp_path: Path) -> None:
    both = [mapping(0, 4095), mapping(0, 4095, slope=7.0, LUTLabel="T1", unit="ms")]
    write_series(tmp_path / "in", replace(SMALL, extra={"RealWorldValueMappingSequence": both}))
    ours = fastdicom.load_volume(tmp_path / "in", values="real_world:T1")
    fastdicom.write_zarr(tmp_path / "in", tmp_path / "out.zarr", values="real_world:T1")
    again = fastdicom.load_volume(tmp_path / "out.zarr")
    np.testing.assert_array_equal(again.array, ours.array)
    assert (again.units, again.values) == ("ms", "real_world:T1")


# ------------------------------------------------------------------------------------- modality: units, widths, tables


@pytest.mark.parametrize(
    ("modality", "extra", "units"),
    [
        ("CT", {}, "HU"),
        ("CT", {"RescaleType": "HU"}, "HU"),
        ("CT", {"RescaleType": "US"}, "HU"),
        ("CT", {"RescaleType": "mgml"}, "mgml"),
        ("MR", {}, ""),
        ("PT", {}, "BQML"),
        ("PT", {"Units": "CNTS"}, "CNTS"),
        ("OT", {"RescaleType": "OD"}, "OD"),
    ],
)
def test_units_of_modality_values(tmp_path: Path, modality: str, extra: dict[str, Any], units: str) -> None:
    write_series(tmp_path, SeriesSpec(modality=modality, slices=2, extra=extra))
    assert fastdicom.load_volume(tmp_path).units == units
    assert fastdicom.load_volume(tmp_path, values="stored").units == ""


@pytest.mark.filterwarnings("ignore::fastdicom.errors.FastDicomWarning")
def test_rescale_types_that_differ_are_no_unit(tmp_path: Path) -> None:
    extra = {"RescaleType": lambda k: "HU" if k else "mgml"}
    ours, _ = volume(tmp_path, SeriesSpec(slices=3, modality="OT", extra=extra))
    assert ours.units == ""
    assert any("Rescale Type differs" in note for note in ours.notes)


def test_a_slope_of_zero_is_applied_and_noted(tmp_path: Path) -> None:
    ours, stored = volume(tmp_path, SeriesSpec(slices=3, slope=(1.0, 0.0, 2.0), intercept=(0.0, 5.0, 0.0)))
    np.testing.assert_array_equal(ours.array[1], np.full(stored[1].shape, 5))
    assert any("Rescale Slope is 0 in 1 slices" in note for note in ours.notes)


@pytest.mark.parametrize("bits", [16, 32])
def test_dose_is_in_gray(tmp_path: Path, bits: int) -> None:
    spec = SeriesSpec(modality="RTDOSE", slices=3, bits_allocated=bits, slope=None, intercept=None, multi_frame=True)
    ours, stored = volume(tmp_path, spec)
    assert (ours.units, ours.dtype) == ("GY", np.float32)
    np.testing.assert_array_equal(ours.array, (stored * 0.001).astype(np.float32))


@pytest.mark.parametrize(
    ("allocated", "signed"), [(1, False), (8, False), (8, True), (16, True), (32, True), (64, False)]
)
def test_every_width_of_a_voxel(tmp_path: Path, allocated: int, signed: bool) -> None:
    spec = SeriesSpec(
        modality="OT", slices=3, rows=7, columns=9, bits_allocated=allocated, signed=signed, slope=None, intercept=None
    )
    ours, stored = volume(tmp_path, spec)
    np.testing.assert_array_equal(ours.array, stored)
    scaled, _ = volume(tmp_path / "scaled", replace(spec, slope=0.5, intercept=-3.0))
    np.testing.assert_array_equal(scaled.array, (stored.astype(np.float64) * 0.5 - 3).astype(np.float32))
    assert scaled.dtype == np.float32


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_float_pixels(tmp_path: Path, keyword: Any, dtype: Any) -> None:
    spec = SeriesSpec(modality="OT", slices=2, pixel_keyword=keyword, slope=None, intercept=None)
    ours, stored = volume(tmp_path, spec)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours.array, stored)


@pytest.mark.parametrize("multi_frame", [False, "enhanced"])
def test_values_that_do_not_fit_are_those_of_the_frame_that_is_named(tmp_path: Path, multi_frame: Any) -> None:
    """One voxel of one frame is too large: the file and the number of its frame in it, from 0."""
    spec = SeriesSpec(modality="MR", slices=5, rows=6, columns=7, multi_frame=multi_frame, slope=None, intercept=None)

    def bright(k: int, ds: Dataset) -> None:
        pixels = np.full((5 if multi_frame else 1, 6, 7), k, np.uint16)
        if multi_frame or k == 3:
            pixels[3 if multi_frame else 0, 2, 1] = 300
        ds.PixelData = pixels.tobytes()

    with_edit(tmp_path, spec, bright)
    whole = fastdicom.load_volume(tmp_path, values="stored", dtype=np.uint16)
    (bad,) = np.argwhere(whole.array == 300)[:, 0]
    wanted = whole.plan.slices[bad]
    path = whole.plan.files[wanted["file"]].locator
    assert (wanted["frame"], Path(path).name) == ((3, "000.dcm") if multi_frame else (0, "003.dcm"))
    for options in ({}, {"scheduler": "synchronous"}):
        with pytest.raises(ValuesError, match=rf"to 300 of frame {wanted['frame']} in .* do not fit uint8") as caught:
            fastdicom.load_volume(tmp_path, values="stored", dtype=np.uint8, **options)
        assert (caught.value.path, caught.value.frame) == (path, wanted["frame"])
        found = fastdicom.load_volume(tmp_path, values="stored", dtype=np.uint8, errors="report", **options)
        assert [(failure.path, failure.frame, failure.index) for failure in found.failures] == [
            (path, wanted["frame"], (bad,))
        ]


@pytest.mark.parametrize(
    ("bits", "value", "dtype", "fits"),
    [
        (64, 2**53, np.float64, True),
        (64, 2**53 + 1, np.float64, False),
        (64, 2**24 + 1, np.float32, False),
        (32, 2**24 + 1, np.float32, False),
        (32, 2**31, np.float32, True),
        (32, 2**32 - 1, np.float64, True),
        (64, 2**40, np.int32, False),
        (64, 2**64 - 1, np.int64, False),
    ],
)
def test_stored_values_are_copied_exactly_or_not_at_all(
    tmp_path: Path, bits: int, value: int, dtype: Any, fits: bool
) -> None:
    def one_value(k: int, ds: Dataset) -> None:
        ds.PixelData = np.full((ds.Rows, ds.Columns), value, f"u{bits // 8}").tobytes()

    spec = SeriesSpec(modality="OT", slices=2, rows=4, columns=4, bits_allocated=bits, slope=None, intercept=None)
    with_edit(tmp_path, spec, one_value)
    if fits:
        assert set(fastdicom.load_volume(tmp_path, values="stored", dtype=dtype).array.ravel().tolist()) == {value}
    else:
        with pytest.raises(ValuesError, match=rf"Values of {value} to {value} of frame 0 .* {np.dtype(dtype).name}"):
            fastdicom.load_volume(tmp_path, values="stored", dtype=dtype)


def test_floats_that_are_asked_for_as_integers_are_refused_with_their_numbers(tmp_path: Path) -> None:
    def with_nan(k: int, ds: Dataset) -> None:
        pixels = np.full((ds.Rows, ds.Columns), 2.5, np.float32)
        pixels[0, :2] = np.nan, -1.0
        ds.FloatPixelData = pixels.tobytes()

    spec = SeriesSpec(modality="OT", slices=2, pixel_keyword="FloatPixelData", slope=None, intercept=None)
    with_edit(tmp_path, spec, with_nan)
    with pytest.raises(ValuesError, match=r"Values of -1\.0 to 2\.5 of frame 0 .* do not fit int16"):
        fastdicom.load_volume(tmp_path, values="stored", dtype=np.int16)


def modality_table(entries: int, first: int, signed: bool) -> Dataset:
    """A Modality LUT of values that only it can make."""
    values = (np.arange(entries)[::-1] * 3 + 11).astype(np.uint16)
    lut = item(LUTDescriptor=[entries, first, 16], ModalityLUTType="OD", LUTData=values.tolist())
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "SS" if signed else "US", "US"
    return lut


def write_with_table(folder: Path, spec: SeriesSpec, lut: Dataset) -> list[Dataset]:
    def with_table(k: int, ds: Dataset) -> None:
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            if keyword in ds:
                delattr(ds, keyword)
        ds.ModalityLUTSequence = [lut]

    return with_edit(folder, spec, with_table)


def test_modality_table_and_its_unit(tmp_path: Path) -> None:
    from pydicom.pixels import apply_modality_lut

    datasets = write_with_table(tmp_path, SeriesSpec(modality="OT", slices=2), modality_table(4096, 0, False))
    ours = fastdicom.load_volume(tmp_path)
    assert (ours.units, ours.dtype) == ("OD", np.uint16)
    for k, ds in enumerate(datasets):
        np.testing.assert_array_equal(ours.array[k], apply_modality_lut(ds.pixel_array, ds))


@pytest.mark.parametrize("signed", [False, True])
def test_modality_tables_of_32_bits(tmp_path: Path, signed: bool) -> None:
    """No table has an entry for each of 32 bits: what is outside gets its first or last entry (PS3.3 C.11.1.1.1)."""
    spec = SeriesSpec(modality="OT", slices=2, rows=9, columns=8, bits_allocated=32, signed=signed)
    table = modality_table(1000, -300 if signed else 300, signed)
    datasets = write_with_table(tmp_path, spec, table)
    ours = fastdicom.load_volume(tmp_path)
    entries = np.array(table.LUTData, np.uint16)
    for k, ds in enumerate(datasets):
        stored = ds.pixel_array.astype(np.int64)
        np.testing.assert_array_equal(ours.array[k], entries[np.clip(stored - table.LUTDescriptor[1], 0, 999)])
    assert len(np.unique(ours.array)) > 1
    for dtype in (np.int32, np.float64):
        np.testing.assert_array_equal(fastdicom.load_volume(tmp_path, dtype=dtype).array, ours.array)
    with pytest.raises(ValuesError, match=r"Values of \d+ to \d+ of frame 0 in .* do not fit uint8"):
        fastdicom.load_volume(tmp_path, dtype=np.uint8)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"bits_allocated": 64}, "integer pixels of 64 bits"),
        ({"pixel_keyword": "FloatPixelData"}, "floating point pixels of 32 bits"),
        ({"pixel_keyword": "DoubleFloatPixelData"}, "floating point pixels of 64 bits"),
    ],
)
def test_modality_tables_of_what_is_no_number_of_an_entry(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    datasets = write_with_table(
        tmp_path, replace(SMALL, modality="OT", bits_stored=None, **change), modality_table(9, 0, False)
    )
    for values in ("modality", "display"):
        with pytest.raises(ValuesError, match=rf"000\.dcm has a Modality LUT Sequence, and {what}.*values='stored'"):
            fastdicom.load_volume(tmp_path, values=values)
    stored = fastdicom.load_volume(tmp_path, values="stored").array
    np.testing.assert_array_equal(stored, [ds.pixel_array for ds in datasets])
