"""The main job on every plain series of real scanners: the voxels are pydicom's, the place in the patient ITK's.

Every way out (NumPy, Dask, Zarr read by zarr alone) gives the same, and nothing here trusts fastdicom's own idea of
what is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdicom
from conftest import DATA_ROOT

pytestmark = pytest.mark.realdata

UNTRANSCODED = {
    # What pydicom (JPEG XL) or GDCM (both) cannot decode has a twin with the same slices, uncompressed.
    "derived/ts-htj2k201-signed/transcoded": "derived/ts-htj2k201-signed/original",
    "derived/ts-htj2k201-volume/transcoded": "derived/ts-htj2k201-volume/original",
    "derived/ts-jxl110-volume/transcoded": "derived/ts-htj2k201-volume/original",
}


def plain_series() -> list[dict[str, Any]]:
    listing = DATA_ROOT / "volumes.json"
    if not listing.is_file():
        return [{"folder": "absent", "series_instance_uid": ""}]
    return [entry for entry in json.loads(listing.read_text()) if entry["plain"]]


@dataclass
class Job:
    """One series: where it is, what fastdicom made of it, and what the oracles make of its uncompressed twin."""

    folder: Path
    oracle_folder: Path
    series_instance_uid: str
    volume: fastdicom.Volume

    def pydicom_slices(self) -> Iterator[np.ndarray]:
        """``pixel_array`` x slope + intercept (float64) of each slice, in the order of fastdicom's positions."""
        import pydicom

        plan = self.volume.plan
        assert plan is not None
        by_position = None
        if self.oracle_folder != self.folder:
            twins = [pydicom.dcmread(path) for path in self.oracle_folder.iterdir()]
            by_position = {tuple(map(float, ds.ImagePositionPatient)): ds for ds in twins}
        for record in plan.slices:
            ds = pydicom.dcmread(plan.files[record["file"]].locator)
            if by_position is not None:
                ds = by_position[tuple(map(float, ds.ImagePositionPatient))]
            slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
            yield ds.pixel_array.astype(np.float64) * slope + intercept


def job_name(entry: dict[str, Any]) -> str:
    return f"{entry['folder']}-{entry['series_instance_uid'][-6:]}"


@pytest.fixture(scope="module", params=plain_series(), ids=job_name)
def job(request: pytest.FixtureRequest, data_root: Path) -> Job:
    entry = request.param
    folder = data_root / entry["folder"]
    oracle = data_root / UNTRANSCODED.get(entry["folder"], entry["folder"])
    uid = entry["series_instance_uid"]
    return Job(folder, oracle, uid, fastdicom.load_volume(folder, series=uid))


def test_every_voxel_is_pixel_array_times_slope_plus_intercept(job: Job) -> None:
    volume = job.volume
    assert isinstance(volume.array, np.ndarray)
    count = 0
    for k, expected in enumerate(job.pydicom_slices()):
        np.testing.assert_array_equal(volume.array[k], expected.astype(volume.dtype), err_msg=f"slice {k}")
        if volume.dtype.kind in "iu":  # the cast of the expectation must have lost nothing
            np.testing.assert_array_equal(expected.astype(volume.dtype), expected)
        count += 1
    assert count == volume.shape[0]


def test_every_file_of_the_series_is_in_the_volume(job: Job) -> None:
    import pydicom

    of_series = [
        str(path)
        for path in job.folder.rglob("*")
        if path.is_file() and pydicom.dcmread(path, force=True, specific_tags=["SeriesInstanceUID"]).get(
            "SeriesInstanceUID"
        ) == job.series_instance_uid
    ]  # fmt: skip
    assert sorted(str(Path(f.locator)) for f in job.volume.plan.files) == sorted(of_series)


def test_order_voxels_and_geometry_are_those_of_simpleitk(job: Job) -> None:
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(job.oracle_folder), job.series_instance_uid)
    if job.folder == job.oracle_folder:
        plan = job.volume.plan
        assert [plan.files[k].locator for k in plan.slices["file"]] == list(names)
    reader.SetFileNames(names)
    theirs = reader.Execute()
    ours = job.volume.to_sitk()
    assert ours.GetSize() == theirs.GetSize()
    np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), rtol=0, atol=1e-6)
    # Written cosines are rounded, so they are not quite of unit length: a part in a million.
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), rtol=1e-6, atol=0)
    np.testing.assert_allclose(ours.GetDirection(), theirs.GetDirection(), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours), job.volume.array)
    if "odd-rescale-varies" not in str(job.folder):  # ITK gives all slices the integer type of the first
        np.testing.assert_allclose(job.volume.array, sitk.GetArrayViewFromImage(theirs), rtol=1e-6, atol=1e-6)
    last = [n - 1 for n in job.volume.shape[:3]]
    for z in (0, last[0]):
        # ITK's grid is orthogonal: where rounded positions lean to a side, its last slice is not at Image Position.
        written = job.volume.geometry.image_positions[z]
        leaning = np.abs(np.array(theirs.TransformIndexToPhysicalPoint((0, 0, z))) - written).max()
        for y in (0, last[1]):
            for x in (0, last[2]):
                placed = job.volume.affine @ [z, y, x, 1.0]
                point = theirs.TransformIndexToPhysicalPoint((x, y, z))
                np.testing.assert_allclose(placed[:3], point, rtol=0, atol=1e-3 + leaning)


def test_the_affine_puts_each_slice_at_its_image_position(job: Job) -> None:
    import pydicom

    volume, plan = job.volume, job.volume.plan
    # Each slice is that near to the best line; the affine starts at the first slice, which may lie on the other side.
    tolerance = 2 * max(0.01 * volume.spacing[0], 0.05)
    for k, record in enumerate(plan.slices):
        ds = pydicom.dcmread(plan.files[record["file"]].locator, stop_before_pixels=True)
        placed = volume.affine @ [k, 0, 0, 1.0]
        np.testing.assert_allclose(placed[:3], list(map(float, ds.ImagePositionPatient)), rtol=0, atol=tolerance)
        np.testing.assert_allclose(volume.geometry.image_positions[k], list(map(float, ds.ImagePositionPatient)))


def test_the_lazy_array_gives_the_same(job: Job) -> None:
    lazy = fastdicom.open_volume(job.folder, series=job.series_instance_uid)
    assert not isinstance(lazy.array, np.ndarray)
    assert (lazy.dtype, lazy.dims, lazy.units) == (job.volume.dtype, job.volume.dims, job.volume.units)
    np.testing.assert_array_equal(lazy.affine, job.volume.affine)
    computed = lazy.compute()
    assert isinstance(computed.array, np.ndarray)
    assert computed.array.dtype == job.volume.dtype
    np.testing.assert_array_equal(computed.array, job.volume.array)


def test_slices_of_the_lazy_array_give_the_same(job: Job) -> None:
    lazy, whole = fastdicom.open_volume(job.folder, series=job.series_instance_uid).array, job.volume.array
    z, y, x = (n // 2 for n in whole.shape[:3])
    for index in (
        z,
        (slice(None), y),
        (Ellipsis, x) if whole.ndim == 3 else (slice(None), slice(None), x),
        (slice(z, None), slice(y, y + 7), slice(x, x + 5)),
        (slice(None, None, -1), slice(None, None, 3), slice(None, None, -2)),
        [z, 0],
    ):
        np.testing.assert_array_equal(lazy[index].compute(), whole[index], err_msg=str(index))


def test_a_zarr_store_read_by_zarr_alone_gives_the_same(job: Job, tmp_path: Path) -> None:
    import zarr

    volume = job.volume
    report = fastdicom.write_zarr(job.folder, tmp_path / "out.zarr", series=job.series_instance_uid)
    assert report.ok
    assert len(report.stores) == 1
    group = zarr.open(tmp_path / "out.zarr", mode="r")
    array = group["0"]
    assert array.dtype == volume.dtype
    assert array.metadata.dimension_names == volume.dims
    np.testing.assert_array_equal(array[...], volume.array)
    attributes = group.attrs["fastdicom"]
    assert attributes["status"] == "complete"
    np.testing.assert_array_equal(attributes["geometry"]["affine"], volume.affine)
    if "instance_number" in volume.slices:
        np.testing.assert_array_equal(group["slices/instance_number"][...], volume.slices["instance_number"])
    again = fastdicom.load_volume(tmp_path / "out.zarr")
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert (again.units, again.dims, again.modality) == (volume.units, volume.dims, volume.modality)


def test_the_order_of_a_list_of_files_does_not_matter(job: Job) -> None:
    files = [f.locator for f in job.volume.plan.files]
    shuffled = [files[k] for k in np.random.default_rng(0).permutation(len(files))]
    catalog = fastdicom.scan(shuffled)
    assert len(catalog) == 1
    assert fastdicom.load_volume(shuffled).plan.fingerprint == job.volume.plan.fingerprint
