"""Resampling onto a regular grid, against SciPy's interpolation and against functions that are linear in space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.errors import GeometryError, UsageError
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.volume import Volume

UNEVEN = (0.0, 0.0, 0.6, 0.0, -0.4, 0.0, 0.0, 0.3, 0.0)


def load(folder: Path, **recipe: object) -> Volume:
    series = write_series(folder, SeriesSpec(slices=9, rows=14, columns=11, **recipe))
    return fastdicom.load_volume(series.folder, policy=GeometryPolicy(gaps="keep"))


CASES = {
    "tilted": {"tilt_deg": 21.0},
    "tilted the other way": {"tilt_deg": -12.5},
    "uneven": {"slice_shifts": UNEVEN},
    "both": {"slice_shifts": UNEVEN, "tilt_deg": 9.0},
    "a slice missing": {"missing": (4,)},
    "oblique": {"tilt_deg": 15.0, "orientation": (0.6, 0.8, 0.0, 0.0, 0.0, -1.0)},
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def irregular(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    return load(tmp_path, **request.param)


def places_of(volume: Volume) -> np.ndarray:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), axis=-1)
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def test_it_is_the_linear_interpolation_of_scipy(irregular: Volume) -> None:
    regular = irregular.regularize()
    places = places_of(regular)
    normal = np.cross(irregular.direction[:, 2], irregular.direction[:, 1])
    positions = irregular.geometry.image_positions
    z = np.interp(places @ normal, positions @ normal, np.arange(len(positions)))
    corner = np.stack([np.interp(z, np.arange(len(positions)), positions[:, k]) for k in range(3)], axis=-1)
    _, dy, dx = irregular.spacing
    y = (places - corner) @ irregular.direction[:, 1] / dy
    x = (places - corner) @ irregular.direction[:, 2] / dx
    wanted = [np.where(np.abs(v - np.rint(v)) < 1e-6, np.rint(v), v) for v in (z, y, x)]
    fill = -5000.0
    expected = map_coordinates(irregular.array.astype(np.float64), wanted, order=1, mode="constant", cval=fill)
    found = np.asarray(irregular.regularize(fill_value=fill).array)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert (found == fill).mean() < 0.6


def test_the_new_geometry_is_regular_and_holds_the_old_volume(irregular: Volume) -> None:
    geometry = irregular.regularize().geometry
    assert geometry.uniform
    assert geometry.tilt_deg == 0
    assert geometry.spacing_source == "resampled"
    unit = geometry.direction
    np.testing.assert_allclose(unit.T @ unit, np.eye(3), atol=1e-9)
    to_index = np.linalg.inv(geometry.affine)
    rows, columns = irregular.shape[1:]
    for place in irregular.geometry.image_positions:
        for y, x in ((0, 0), (rows - 1, columns - 1)):
            corner = place + irregular.affine[:3, 1] * y + irregular.affine[:3, 2] * x
            index = (to_index @ [*corner, 1])[:3]
            assert (index > -1e-6).all()
            assert (index < np.array(irregular.regularize().shape) - 1 + 1e-6).all()


def test_what_is_linear_in_space_stays_what_it_was(irregular: Volume) -> None:
    """Straight lines survive linear interpolation: an independent truth for places and weights alike."""
    along = np.array([0.7, -1.3, 2.1])
    old = np.empty(irregular.shape)
    for k, place in enumerate(irregular.geometry.image_positions):
        rows, columns = np.mgrid[: irregular.shape[1], : irregular.shape[2]]
        at = place + rows[..., None] * irregular.affine[:3, 1] + columns[..., None] * irregular.affine[:3, 2]
        old[k] = at @ along
    regular = replace(irregular, array=old).regularize(fill_value=np.nan)
    found = np.asarray(regular.array)
    inside = np.isfinite(found)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[inside], (places_of(regular) @ along)[inside], atol=1e-4)


def test_nothing_is_computed_before_it_is_asked_for_and_slabs_agree(tmp_path: Path, monkeypatch) -> None:
    volume = load(tmp_path, tilt_deg=10.0)
    whole = np.asarray(volume.regularize().array)
    monkeypatch.setattr("fastdicom.regular.SLAB_NBYTES", 1)
    regular = volume.regularize()
    assert regular.array.numblocks[0] == regular.shape[0]
    np.testing.assert_array_equal(np.asarray(regular.array), whole)
    np.testing.assert_array_equal(np.asarray(regular.array[3]), whole[3])


def test_a_lazy_volume_reads_only_the_slices_it_needs(tmp_path: Path) -> None:
    series = write_series(tmp_path, SeriesSpec(slices=40, rows=64, columns=64, tilt_deg=10.0))
    lazy = fastdicom.open_volume(series.folder, chunks=(1, 64, 64))
    for path in series.paths[20:]:
        Path(path).unlink()
    import fastdicom.regular as module

    module_step, module.SLAB_NBYTES = module.SLAB_NBYTES, 1
    try:
        assert np.isfinite(np.asarray(lazy.regularize().array[4])).all()
    finally:
        module.SLAB_NBYTES = module_step


def test_a_regular_volume_is_returned_as_it_is(tmp_path: Path) -> None:
    volume = load(tmp_path)
    assert volume.regularize() is volume
    finer = volume.regularize(spacing=1.25)
    assert finer.shape[0] == 17
    np.testing.assert_allclose(np.asarray(finer.array)[::2], volume.array, atol=1e-3)


def test_filled_slices_are_interpolated_from_their_neighbours(tmp_path: Path) -> None:
    series = write_series(tmp_path, SeriesSpec(slices=9, rows=6, columns=5, missing=(4,)))
    filled = fastdicom.load_volume(series.folder, policy=GeometryPolicy(gaps="fill"))
    regular = filled.regularize()
    assert regular.shape == filled.shape
    middle = (filled.array[3].astype(float) + filled.array[5]) / 2
    np.testing.assert_allclose(np.asarray(regular.array)[4], middle, atol=1e-3)


def test_extra_dimensions_and_colour_are_kept(tmp_path: Path) -> None:
    spec = SeriesSpec(slices=5, rows=6, columns=7, tilt_deg=8.0, modality="MR", dimensions={"echo": 3})
    volume = fastdicom.load_volume(write_series(tmp_path, spec).folder)
    regular = volume.regularize()
    assert regular.dims == ("echo", "z", "y", "x")
    one = replace(volume, array=volume.array[1], dims=("z", "y", "x"), slices={}).regularize()
    np.testing.assert_array_equal(np.asarray(regular.array[1]), np.asarray(one.array))


def test_the_result_goes_to_simpleitk_and_nifti(tmp_path: Path) -> None:
    volume = load(tmp_path, tilt_deg=10.0)
    with pytest.raises(GeometryError, match=r"regularize\(\)"):
        volume.to_sitk()
    regular = volume.regularize()
    assert regular.to_sitk().GetSize() == regular.shape[::-1]
    assert regular.to_nibabel().shape == regular.shape[::-1]


@pytest.mark.filterwarnings("ignore::fastdicom.errors.GeometryWarning")
def test_wrong_usage_is_named(tmp_path: Path) -> None:
    volume = load(tmp_path, tilt_deg=10.0)
    with pytest.raises(UsageError, match="spacing"):
        volume.regularize(spacing=-1.0)
    flat = write_series(tmp_path / "flat", SeriesSpec(slices=3, rows=4, columns=4, position=False))
    with pytest.raises(GeometryError, match="no positions"):
        fastdicom.load_volume(flat.folder).regularize()
