"""NIfTI files against nibabel, which wrote none of them."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.errors import GeometryError, UsageError, ValuesError
from fastdicom.nifti import nifti_affine, write_nifti
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.volume import Volume
from nifti_references import agreement


@pytest.fixture(scope="module")
def oblique(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    turn = Rotation.from_rotvec([0.3, -0.8, 1.9]).as_matrix()
    spec = SeriesSpec(slices=7, rows=12, columns=9, orientation=(*turn[:, 0], *turn[:, 1]))
    return fastdicom.load_volume(write_series(tmp_path_factory.mktemp("oblique"), spec).folder)


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = SeriesSpec(slices=5, rows=8, columns=6, modality="MR", dimensions={"trigger_time": 3, "echo": 2})
    return write_series(tmp_path_factory.mktemp("times"), spec).folder


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("version", [None, 1, 2])
def test_nibabel_reads_the_voxels_and_the_affine_that_were_written(
    oblique: Volume, tmp_path: Path, name: str, version: int | None
) -> None:
    image = nibabel.load(write_nifti(oblique, tmp_path / name, version=version))
    assert isinstance(image, nibabel.Nifti2Image if version == 2 else nibabel.Nifti1Image)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), oblique.array.T)
    assert image.get_data_dtype() == oblique.dtype
    np.testing.assert_allclose(image.affine, nifti_affine(oblique), atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(image.header.get_zooms(), oblique.spacing[::-1], rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_the_image_in_memory_is_the_one_on_disk(oblique: Volume, tmp_path: Path) -> None:
    there, here = nibabel.load(write_nifti(oblique, tmp_path / "a.nii")), oblique.to_nibabel()
    np.testing.assert_array_equal(np.asanyarray(there.dataobj), np.asanyarray(here.dataobj))
    np.testing.assert_allclose(there.affine, here.affine, atol=1e-5)
    for key in ("sform_code", "qform_code", "xyzt_units"):
        assert there.header[key] == here.header[key], key
    np.testing.assert_allclose(there.header["pixdim"][:4], here.header["pixdim"][:4], rtol=1e-6)


def test_a_voxel_is_at_the_same_place_in_the_patient(oblique: Volume) -> None:
    """RAS of NIfTI is LPS of DICOM with x and y negated."""
    lps = oblique.affine @ [5, 3, 2, 1]
    np.testing.assert_allclose(nifti_affine(oblique) @ [2, 3, 5, 1], lps * [-1, -1, 1, 1], atol=1e-9)


def test_extra_dimensions_follow_and_time_has_its_unit(times: Path, tmp_path: Path) -> None:
    volume = fastdicom.open_volume(times)
    assert volume.dims == ("t", "echo", "z", "y", "x")
    image = nibabel.load(write_nifti(volume, tmp_path / "a.nii.gz"))
    assert image.shape == (6, 8, 5, 2, 3)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.asarray(volume.array).T)
    moving = nibabel.load(
        write_nifti(replace(volume, array=volume.array[:, 0], dims=("t", "z", "y", "x")), tmp_path / "t.nii")
    )
    assert moving.header.get_xyzt_units() == ("mm", "msec")
    assert moving.header.get_zooms()[3] == pytest.approx(50.0)


def test_extra_dimensions_in_memory_are_those_of_the_array(times: Path) -> None:
    volume = fastdicom.load_volume(times)
    data = np.asanyarray(volume.to_nibabel().dataobj)
    assert data.shape == (6, 8, 5, 2, 3)
    for t, echo in np.ndindex(volume.shape[:2]):
        np.testing.assert_array_equal(data[..., echo, t], volume.array[t, echo].T)


@settings(max_examples=25)
@given(st.permutations(range(6)), st.sampled_from([(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)]))
def test_a_comparison_sees_any_other_order_of_the_images(
    times: Path, order: list[int], flips: tuple[int, int, int]
) -> None:
    """Of the comparison with other converters itself: it must be able to fail."""
    image = fastdicom.load_volume(times).to_nibabel()
    other, data, found = _reference(image, order, flips)
    assert found.fits
    assert found.order == order
    assert found.good == (order == sorted(order))
    for kept in (order[:4], [*order[:5], order[0]], [*order, order[2]]):  # fewer, one twice, more
        _, _, found = _reference(image, kept, flips)
        assert not found.good
        assert found.fits == (len(kept) == 4)
    data[2, 1, 3, 4] += 1
    assert not _compared(image, data, other.affine).fits


def _reference(image: nibabel.Nifti1Image, order: list[int], flips: tuple[int, int, int]):
    """A NIfTI image of some of the 3-D images of another, its axes turned round, and how they agree."""
    data = np.asanyarray(image.dataobj).reshape(*image.shape[:3], -1, order="F")[..., order]
    turn = np.eye(4)
    for axis in np.flatnonzero(flips):
        data = np.flip(data, axis)
        turn[axis, axis], turn[axis, 3] = -1, image.shape[axis] - 1
    data = np.ascontiguousarray(data)
    other = nibabel.Nifti1Image(data, image.affine @ turn)
    return other, data, _compared(image, data, other.affine)


def _compared(image: nibabel.Nifti1Image, data: np.ndarray, affine: np.ndarray):
    with tempfile.TemporaryDirectory() as folder:
        nibabel.save(nibabel.Nifti1Image(data, affine), Path(folder) / "other.nii")
        found = agreement(image, Path(folder) / "other.nii")
    assert found is not None
    return found


def test_images_that_are_equal_are_in_order(times: Path, tmp_path: Path) -> None:
    volume = fastdicom.load_volume(times)
    image = replace(volume, array=np.repeat(volume.array[:1], 3, axis=0)).to_nibabel()
    nibabel.save(image, tmp_path / "same.nii")
    found = agreement(image, tmp_path / "same.nii")
    assert found is not None
    assert found.good


def test_colour_becomes_rgb_voxels(tmp_path: Path) -> None:
    spec = SeriesSpec(
        slices=3, rows=5, columns=4, photometric_interpretation="RGB", bits_allocated=8, slope=None, intercept=None
    )
    volume = fastdicom.load_volume(write_series(tmp_path / "rgb", spec).folder)
    data = np.asanyarray(nibabel.load(write_nifti(volume, tmp_path / "rgb.nii")).dataobj)
    np.testing.assert_array_equal(np.stack([data[c] for c in "RGB"], axis=-1), volume.array.transpose(2, 1, 0, 3))
    with pytest.raises(ValuesError, match="3 x uint8"):
        write_nifti(replace(volume, array=volume.array.astype(np.uint16)), tmp_path / "wide.nii")
    assert volume.to_nibabel().shape == (4, 5, 3, 3)


def test_a_tilted_volume_has_its_tilt_in_the_sform_and_no_qform(tmp_path: Path) -> None:
    series = write_series(tmp_path / "tilt", SeriesSpec(slices=6, rows=8, columns=8, tilt_deg=17.0))
    image = nibabel.load(write_nifti(fastdicom.load_volume(series.folder), tmp_path / "tilt.nii"))
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 0)
    np.testing.assert_allclose(image.affine[:3, 2], series.affine[:3, 0] * [-1, -1, 1], atol=1e-5)


def test_a_mirrored_volume_has_a_mirrored_qform(oblique: Volume, tmp_path: Path) -> None:
    affine = oblique.affine @ np.diag([-1.0, 1, 1, 1])
    mirrored = replace(oblique, geometry=replace(oblique.geometry, affine=affine))
    image = nibabel.load(write_nifti(mirrored, tmp_path / "m.nii"))
    assert image.header["pixdim"][0] == -1
    np.testing.assert_allclose(image.get_qform(), nifti_affine(mirrored), atol=1e-4)


def test_uneven_slices_are_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "gap", SeriesSpec(slices=6, rows=4, columns=4, missing=(3,)))
    volume = fastdicom.load_volume(series.folder, policy=GeometryPolicy(gaps="keep"))
    with pytest.raises(GeometryError, match=r"regularize\(\)"):
        write_nifti(volume, tmp_path / "gap.nii")
    assert not list(tmp_path.glob("*.nii*"))
    with pytest.raises(GeometryError):
        volume.to_nibabel()


def test_a_lazy_volume_gives_the_same_bytes_as_a_loaded_one(oblique: Volume, tmp_path: Path) -> None:
    lazy = replace(oblique, array=oblique.to_dask(chunks=(2, 5, 4)))
    first = write_nifti(oblique, tmp_path / "a.nii.gz").read_bytes()
    assert write_nifti(lazy, tmp_path / "b.nii.gz").read_bytes() == first


def test_a_failed_write_leaves_the_old_file_and_nothing_else(oblique: Volume, tmp_path: Path) -> None:
    path = write_nifti(oblique, tmp_path / "a.nii")
    before = path.read_bytes()

    class Broken:
        shape, dtype = oblique.array.shape, oblique.array.dtype

        def __getitem__(self, key: object) -> None:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        write_nifti(replace(oblique, array=Broken()), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "options"), [("a.img", {}), ("a.nii", {"version": 3}), ("a.nii", {"compression": 0})])
def test_wrong_usage_is_named(oblique: Volume, tmp_path: Path, name: str, options: dict) -> None:
    with pytest.raises(UsageError, match="Use"):
        write_nifti(oblique, tmp_path / name, **options)


@given(st.tuples(*[st.floats(-3.14, 3.14)] * 3), st.booleans())
def test_the_quaternion_is_that_of_the_rotation(vector: tuple[float, float, float], mirrored: bool) -> None:
    from fastdicom.nifti import _quaternion

    rotation = Rotation.from_rotvec(vector)
    b, c, d = _quaternion(rotation.as_matrix())
    a = np.sqrt(max(0.0, 1.0 - b * b - c * c - d * d))
    back = Rotation.from_quat([b, c, d, a])
    np.testing.assert_allclose(back.as_matrix(), rotation.as_matrix(), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_integers_of_64_bits_reach_nibabel(oblique: Volume, dtype: type) -> None:
    wide = replace(oblique, array=np.asarray(oblique.array).astype(dtype))
    assert wide.to_nibabel().get_data_dtype() == dtype
