"""`VolumePlan`: small, equal where the voxels are, and every choice a rule; `Volume`: what it tells of its series."""

from __future__ import annotations

import math
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.blocks import read_block
from fastdicom.errors import UsageError
from fastdicom.resolve import parse_windows, resolve_window
from fastdicom.testing import SeriesSpec, write_series

SPEC = SeriesSpec(slices=6, rows=8, columns=7, names="dcm")


def plan_of(source: Any, **options: Any) -> Any:
    return fastdicom.open_volume(source, **options).plan


# Equality


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_series(tmp_path / "in", SPEC)
    return tmp_path / "in"


def test_the_same_call_gives_an_equal_plan(source: Path) -> None:
    one, two = plan_of(source), plan_of([str(p) for p in sorted(source.iterdir(), reverse=True)])
    assert one == two
    assert hash(one) == hash(two)
    assert one.fingerprint == two.fingerprint == pickle.loads(pickle.dumps(one)).fingerprint
    assert one.fingerprint == fastdicom.load_volume(source).plan.fingerprint
    assert one != "another thing"


@pytest.mark.parametrize(
    "changed",
    [
        {"values": "stored"},
        {"values": "display"},
        {"values": "display", "window": (0, 100)},
        {"values": "display", "window": (0, 100, "SIGMOID")},
        {"dtype": np.float32},
        {"policy": GeometryPolicy(gaps="keep")},
        {"policy": GeometryPolicy(spacing_tolerance=0.02)},
    ],
    ids=str,
)
def test_settings_that_decide_the_voxels_decide_the_fingerprint(source: Path, changed: dict[str, Any]) -> None:
    others = [plan_of(source), plan_of(source, values="display", window=(0, 101))]
    assert plan_of(source, **changed).fingerprint not in [other.fingerprint for other in others]


def test_files_decide_the_fingerprint(source: Path, tmp_path: Path) -> None:
    before = plan_of(source).fingerprint
    stat = (source / "00002.dcm").stat()
    os.utime(source / "00002.dcm", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert plan_of(source).fingerprint != before
    os.utime(source / "00002.dcm", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert plan_of(source).fingerprint == before
    (source / "00006.dcm").unlink()
    assert plan_of(source).fingerprint != before
    shutil.copytree(source, tmp_path / "copy")
    assert plan_of(tmp_path / "copy").fingerprint != plan_of(source).fingerprint


def test_decoders_do_not_decide_the_fingerprint_and_give_the_same(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, transfer_syntax_uid="1.2.840.10008.1.2.4.90"))
    plans = [plan_of(tmp_path, decoder=name) for name in ("imagecodecs", "pylibjpeg")]
    assert plans[0].decoders != plans[1].decoders
    assert plans[0] == plans[1]
    np.testing.assert_array_equal(read_block(plans[0]), read_block(plans[1]))


# Size


@pytest.mark.parametrize("multi_frame", [False, "enhanced"])
def test_a_pickled_plan_is_less_than_200_bytes_a_slice(tmp_path: Path, multi_frame: Any) -> None:
    sizes = {}
    for count in (100, 400):
        folder = tmp_path / str(count)
        write_series(folder, replace(SPEC, slices=count, rows=2, columns=2, multi_frame=multi_frame))
        sizes[count] = len(pickle.dumps(plan_of(folder)))
    paths = 0 if multi_frame else len(str(tmp_path)) + 64  # a slice's path and UID are its own
    assert (sizes[400] - sizes[100]) / 300 < 200 + paths


def test_a_pickled_plan_gives_the_same_block(source: Path) -> None:
    plan = plan_of(source)
    np.testing.assert_array_equal(read_block(pickle.loads(pickle.dumps(plan))), read_block(plan))


# dtype

RULE = [
    # bits stored, signed, slope, intercept -> dtype (smallest of int16, uint16, int32 that holds all; else float32)
    (12, False, 1.0, -1024.0, "int16"),
    (12, False, None, None, "int16"),
    (12, True, 1.0, 0.0, "int16"),
    (16, True, 1.0, 0.0, "int16"),
    (16, False, 1.0, 0.0, "uint16"),
    (16, False, None, None, "uint16"),
    (15, False, 1.0, 0.0, "int16"),
    (16, False, 1.0, -1024.0, "int32"),
    (16, False, 1.0, -32768.0, "int16"),
    (16, True, 1.0, -1024.0, "int32"),
    (16, True, 1.0, 32768.0, "uint16"),
    (16, True, -1.0, 0.0, "int32"),
    (12, False, 2.0, 0.0, "int16"),
    (12, False, 16.0, 0.0, "uint16"),
    (12, False, 17.0, 0.0, "int32"),
    (12, False, -8.0, 0.0, "int16"),
    (12, False, 0.5, 0.0, "float32"),
    (12, False, 1.0, 0.25, "float32"),
    (12, False, 1e9, 0.0, "float32"),
    (8, False, None, None, "int16"),
]


@pytest.mark.parametrize(("bits", "signed", "slope", "intercept", "dtype"), RULE)
def test_the_dtype_rule(
    tmp_path: Path, bits: int, signed: bool, slope: float | None, intercept: float | None, dtype: str
) -> None:
    write_series(tmp_path, replace(SPEC, bits_stored=bits, signed=signed, slope=slope, intercept=intercept))
    volume = fastdicom.load_volume(tmp_path)
    if bits == 8:
        dtype = "int16" if volume.dtype == np.int16 else "uint16"  # 16-bit words of 8 bits: either holds them
    assert volume.dtype == dtype
    assert plan_of(tmp_path).dtype == dtype
    for k in range(6):
        ds = pydicom.dcmread(tmp_path / f"{k + 1:05d}.dcm")
        expected = ds.pixel_array * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
        np.testing.assert_array_equal(volume.array[k], expected.astype(dtype))


@pytest.mark.parametrize(
    ("changed", "dtype"),
    [
        ({"slope": None, "intercept": None}, "uint8"),
        ({"slope": 1.0, "intercept": 0.0}, "uint8"),
        ({"slope": 1.0, "intercept": -1.0}, "int16"),
        ({"slope": 2.0, "intercept": 0.0}, "int16"),
        ({"slope": None, "intercept": None, "signed": True}, "int16"),
    ],
    ids=str,
)
def test_the_dtype_of_8_bits(tmp_path: Path, changed: dict[str, Any], dtype: str) -> None:
    write_series(tmp_path, replace(SPEC, bits_allocated=8, **changed))
    assert fastdicom.load_volume(tmp_path).dtype == dtype


@given(
    st.integers(2, 16), st.booleans(), st.integers(-5000, 5000), st.integers(-70000, 70000)
)  # fmt: skip
def test_the_chosen_dtype_holds_both_ends_and_no_smaller_does(
    bits: int, signed: bool, slope: int, intercept: int
) -> None:
    from fastdicom.plan import SLICE_DTYPE
    from fastdicom.resolve import resolve_dtype

    fmt = replace(SPEC, bits_stored=bits, signed=signed).pixel_format
    slices = np.zeros(1, SLICE_DTYPE)
    slices["slope"], slices["intercept"], slices["modality_lut"], slices["voi_lut"] = slope, intercept, -1, -1
    chosen = resolve_dtype((fmt,), slices, "modality", (), None)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    ends = [low * slope + intercept, high * slope + intercept]
    fits = [
        name
        for name in ("int16", "uint16", "int32")
        if np.iinfo(name).min <= min(ends) and max(ends) <= np.iinfo(name).max
    ]
    assert chosen == (fits[0] if fits else "float32")


# Windows


@pytest.mark.parametrize(
    "window", ["narrow", (1,), (1, 2, 3, 4), (1, "x"), (0, 0), (0, float("nan")), True, {}], ids=str
)
def test_what_is_no_window(window: Any) -> None:
    with pytest.raises(UsageError, match="window="):
        resolve_window(window)


NO_WINDOW = (math.nan, math.nan)


@pytest.mark.parametrize(
    ("center", "width", "found"),
    [
        (b"40", b"400", [(40.0, 400.0)]),
        (b"40\\-600", b"400\\1500", [(40.0, 400.0), (-600.0, 1500.0)]),
        (b"", b"", []),
        (b"40", b"", []),
        (b"x\\50", b"1\\2", [NO_WINDOW, (50.0, 2.0)]),
        (b"1\\2\\3", b"10", [(1.0, 10.0)]),
        (b"40", b"0", [NO_WINDOW]),
        (b"nan", b"5", [NO_WINDOW]),
    ],
)
def test_windows_of_headers(center: bytes, width: bytes, found: list[tuple[float, float]]) -> None:
    np.testing.assert_array_equal(parse_windows(center, width), found)


# What a volume tells of its series


def test_attrs_are_what_pydicom_reads(source: Path) -> None:
    ds = pydicom.dcmread(source / "00001.dcm")
    volume = fastdicom.load_volume(source)
    assert volume.attrs["PatientName"] == str(ds.PatientName)
    assert volume.attrs["PatientID"] == ds.PatientID
    assert volume.attrs["StudyDate"] == ds.StudyDate
    assert volume.attrs["SeriesDescription"] == ds.SeriesDescription
    assert volume.attrs["ImageType"] == list(ds.ImageType)
    assert volume.attrs["SliceThickness"] == float(ds.SliceThickness)
    import json

    json.dumps(dict(volume.attrs))
    with pytest.raises(TypeError):
        volume.attrs["PatientName"] = "Someone^Else"


def test_dataset_is_the_header_of_that_slice(source: Path) -> None:
    volume = fastdicom.load_volume(source)
    for k in (0, 3, -1):
        ours = volume.dataset(k)
        theirs = pydicom.dcmread(source / f"{range(6)[k] + 1:05d}.dcm", stop_before_pixels=True)
        assert ours == theirs
        assert "PixelData" not in ours
    for wrong in (6, -7, (0, 0), slice(0, 2)):
        with pytest.raises(UsageError):
            volume.dataset(wrong)


def test_dataset_of_extra_dimensions_and_of_filled_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "echoes", replace(SPEC, modality="MR", dimensions={"echo": 2}))
    volume = fastdicom.load_volume(tmp_path / "echoes")
    times = [float(volume.dataset((echo, 2)).EchoTime) for echo in range(2)]
    np.testing.assert_allclose(volume.coordinates["echo"], times)
    assert volume.dataset(2) == volume.dataset((0, 2))
    write_series(tmp_path / "gap", replace(SPEC, missing=(2,)))
    filled = fastdicom.load_volume(tmp_path / "gap", policy=GeometryPolicy(gaps="fill"))
    with pytest.raises(UsageError, match="fills a gap"):
        filled.dataset(2)
    fastdicom.write_zarr(tmp_path / "gap", tmp_path / "out.zarr", policy=GeometryPolicy(gaps="fill"))
    with pytest.raises(UsageError, match="no DICOM files"):
        fastdicom.load_volume(tmp_path / "out.zarr").dataset(0)


def test_per_slice_columns_are_in_the_order_of_the_slices(tmp_path: Path) -> None:
    slopes = tuple(0.5 + k for k in range(6))
    write_series(
        tmp_path, replace(SPEC, modality="PT", slope=slopes, intercept=0.0, instance_numbers="shuffled", missing=(4,))
    )
    volume = fastdicom.load_volume(tmp_path, policy=GeometryPolicy(gaps="fill"))
    assert volume.slices["valid"].tolist() == [True] * 4 + [False, True]
    np.testing.assert_allclose(volume.slices["rescale_slope"], [*slopes[:4], np.nan, slopes[5]])
    for k in (0, 1, 2, 3, 5):
        ds = volume.dataset(k)
        assert volume.slices["instance_number"][k] == ds.InstanceNumber
        assert volume.slices["sop_instance_uid"][k] == ds.SOPInstanceUID
        np.testing.assert_allclose(volume.slices["image_position"][k], list(map(float, ds.ImagePositionPatient)))


def test_units(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", SPEC)
    assert fastdicom.load_volume(tmp_path / "ct").units == "HU"
    assert fastdicom.load_volume(tmp_path / "ct", values="stored").units == ""
    assert fastdicom.load_volume(tmp_path / "ct", values="display").units == ""
    write_series(tmp_path / "pet", replace(SPEC, modality="PT", extra={"Units": "BQML"}))
    assert fastdicom.load_volume(tmp_path / "pet").units == "BQML"
    write_series(tmp_path / "mr", replace(SPEC, modality="MR", slope=None, intercept=None))
    assert fastdicom.load_volume(tmp_path / "mr").units == ""


def test_a_volume_is_an_array_to_numpy(source: Path) -> None:
    volume = fastdicom.load_volume(source)
    assert np.asarray(volume) is volume.array
    assert np.array(volume) is not volume.array
    assert np.asarray(volume, dtype=np.float64).dtype == np.float64
    lazy = fastdicom.open_volume(source)
    np.testing.assert_array_equal(np.asarray(lazy), volume.array)
    np.testing.assert_array_equal(volume.to_dask().compute(), volume.array)
    assert lazy.to_dask(chunks=(1, 8, 7)).numblocks == (6, 1, 1)
    assert "lazy CT (z: 6, y: 8, x: 7) int16 [HU], 2.5 x 0.7 x 0.8 mm" in repr(lazy)
