"""Resampling onto a regular grid, against SciPy's interpolation and against functions that are linear in space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

import fastdicom
from fastdicom import GeometryPolicy
from fastdicom.errors import GeometryError, UsageError
from fastdicom.regular import regular_grid
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


@pytest.mark.parametrize(
    ("recipe", "air"),
    [
        ({}, -1000.0),
        ({"padding": 63}, None),
        ({"modality": "MR", "slope": None, "intercept": None}, 0.0),
    ],
    ids=["CT", "Pixel Padding Value", "MR"],
)
def test_outside_is_air_also_of_a_store(tmp_path: Path, recipe: dict, air: float | None) -> None:
    """In DICOM files, resampled, from a store, and resampled from a store: the value of absent slices, never just 0."""
    series = write_series(tmp_path / "in", SeriesSpec(slices=9, rows=14, columns=11, tilt_deg=15.0, **recipe))
    volume = fastdicom.load_volume(series.folder)
    assert volume.fill_value == volume.plan.fill_value
    if air is not None:
        assert volume.fill_value == air
    regular = volume.regularize()
    places = places_of(regular)
    corner = volume.geometry.image_positions[:, None, None]
    expected = np.asarray(regular.array)
    outside = (places - corner) @ volume.direction[:, 1] < -1e-3
    assert 0 < outside.mean() < 0.6
    assert (expected[outside] == volume.fill_value).all()
    volume.to_zarr(tmp_path / "out.zarr")
    stored = fastdicom.load_volume(tmp_path / "out.zarr")
    assert stored.fill_value == volume.fill_value
    np.testing.assert_array_equal(np.asarray(stored.regularize().array), expected)
    regular.to_zarr(tmp_path / "regular.zarr")
    assert fastdicom.load_volume(tmp_path / "regular.zarr").fill_value == volume.fill_value
    assert volume.regularize(fill_value=7).fill_value == 7.0


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spacing=st.floats(0.3, 60.0))
@example(5.0)
@example(18.0)
@example(17.5)
@example(2.5)
def test_any_spacing_reaches_the_last_slice(stack: Volume, spacing: float) -> None:
    """8 slices 2.5 mm apart: 17.5 mm. What lies past them is filled and says so."""
    regular = stack.regularize(spacing=spacing, fill_value=-5000.0)
    reach = (regular.shape[0] - 1) * spacing
    assert 17.5 - 1e-5 * spacing <= reach < 17.5 + spacing
    np.testing.assert_allclose(regular.spacing, [spacing, *stack.spacing[1:]], rtol=1e-9)
    np.testing.assert_allclose(regular.origin, stack.origin, atol=1e-9)
    places = np.arange(regular.shape[0]) * spacing / 2.5
    past = places > 7 + 1e-5 * spacing
    np.testing.assert_array_equal(regular.slices["valid"], ~past)
    found = np.asarray(regular.array)
    assert (found[past] == -5000.0).all()
    grid = np.meshgrid(np.minimum(places[~past], 7), *[np.arange(n) for n in stack.shape[1:]], indexing="ij")
    expected = map_coordinates(stack.array.astype(np.float64), grid, order=1)
    np.testing.assert_allclose(found[~past], expected, atol=0.05)
    note = regular.notes[-1] if regular is not stack else ""
    assert ("is filled" in note) == past.any()
    assert "evenly" not in note
    assert "complete" not in note


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return fastdicom.load_volume(
        write_series(tmp_path_factory.mktemp("stack"), SeriesSpec(slices=8, rows=6, columns=5)).folder
    )


def test_a_tilted_or_uneven_volume_is_reached_to_its_end_too(irregular: Volume) -> None:
    regular = irregular.regularize(spacing=3.3)
    ends = irregular.geometry.image_positions @ (regular.affine[:3, 0] / 3.3)
    reach = np.array([0, regular.shape[0] - 1]) * 3.3 + regular.origin @ (regular.affine[:3, 0] / 3.3)
    assert reach[0] == pytest.approx(ends.min())
    assert ends.max() - 1e-5 <= reach[1] < ends.max() + 3.3
    assert list(np.flatnonzero(~regular.slices["valid"])) == [regular.shape[0] - 1]


def test_the_note_says_what_the_slices_were(tmp_path: Path) -> None:
    notes = {name: load(tmp_path / name, **recipe).regularize().notes[-1] for name, recipe in CASES.items()}
    assert "the slices were tilted 21.00 degrees" in notes["tilted"]
    assert notes["uneven"].endswith("the slices were not evenly spaced")
    assert "tilted 9.00 degrees and not evenly spaced" in notes["both"]
    series = write_series(tmp_path / "filled", SeriesSpec(slices=9, rows=6, columns=5, missing=(4,)))
    filled = fastdicom.load_volume(series.folder, policy=GeometryPolicy(gaps="fill"))
    assert filled.regularize().notes[-1].endswith("the slices were not complete (1 of 9 are absent)")
    assert load(tmp_path / "even").regularize(spacing=4).notes[-1].endswith("the slices were 2.5000 mm apart")


@pytest.mark.parametrize("spacing", [1e-9, 5e-324, 1e-5])
def test_a_spacing_of_more_slices_than_can_be_made_is_an_error_with_the_numbers(stack: Volume, spacing: float) -> None:
    with pytest.raises(UsageError, match=r"of a stack of 17\.5 mm; at most 1000000 .* or more") as caught:
        stack.regularize(spacing=spacing)
    assert caught.value.argument == "spacing"
    advised = float(str(caught.value).split("Use a spacing of ")[1].split()[0])
    assert regular_grid(stack.geometry, (1, 1), np.ones(8, dtype=bool), advised).shape[0] <= 1_000_000


def test_the_policy_stays_with_the_volume(irregular: Volume, tmp_path: Path) -> None:
    policy = GeometryPolicy(gaps="keep")
    assert irregular.policy == policy
    regular = irregular.regularize()
    assert regular.policy == policy
    regular.to_zarr(tmp_path / "out.zarr")
    record = json.loads((tmp_path / "out.zarr/zarr.json").read_text())["attributes"]["fastdicom"]
    assert record["policy"] == policy.to_dict()
    assert record["tolerance_mm"] == pytest.approx(max(0.01 * regular.spacing[0], 0.05))
    assert fastdicom.load_volume(tmp_path / "out.zarr").policy == policy


@pytest.mark.filterwarnings("ignore::fastdicom.errors.GeometryWarning")
def test_wrong_usage_is_named(tmp_path: Path) -> None:
    volume = load(tmp_path, tilt_deg=10.0)
    for spacing in (-1.0, 0, np.nan, np.inf, "2", [1.0, 2.0], 1j):
        with pytest.raises(UsageError, match="spacing"):
            volume.regularize(spacing=spacing)
    flat = write_series(tmp_path / "flat", SeriesSpec(slices=3, rows=4, columns=4, position=False))
    with pytest.raises(GeometryError, match="no positions"):
        fastdicom.load_volume(flat.folder).regularize()
