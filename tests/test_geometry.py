"""Geometry on plain arrays: normals, lines, grids, tilt, affines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.transform import Rotation

from fastdicom import geometry
from header_tables import AXIAL

rotations = st.tuples(*[st.floats(-3, 3)] * 3).map(lambda v: Rotation.from_rotvec(v).as_matrix())
positions_1d = st.lists(st.floats(-300, 300), min_size=2, max_size=40).map(np.array)


def orientation_of(rotation: np.ndarray) -> np.ndarray:
    return np.concatenate([rotation[:, 0], rotation[:, 1]])


@given(rotations)
def test_the_normal_makes_a_right_handed_frame(rotation: np.ndarray) -> None:
    normal = geometry.slice_normal(orientation_of(rotation))
    np.testing.assert_allclose(normal, rotation[:, 2], atol=1e-12)
    assert geometry.is_orthonormal(orientation_of(rotation))


@pytest.mark.parametrize(
    "cosines", [[np.nan] * 6, [0.0] * 6, [1.0, 0, 0, 1.0, 0, 0], [1.0, 0, 0, 0.1, 1.0, 0], [2.0, 0, 0, 0, 1.0, 0]]
)
def test_what_is_no_pair_of_perpendicular_unit_vectors_is_refused(cosines: list[float]) -> None:
    assert not geometry.is_orthonormal(cosines)


def test_normals_of_many_rows_at_once_and_of_none() -> None:
    many = geometry.slice_normal(np.stack([AXIAL, np.zeros(6)]))
    np.testing.assert_array_equal(many[0], [0, 0, 1])
    assert np.isnan(many[1]).all()


@given(positions_1d)
def test_no_evenly_spaced_line_comes_closer_to_all_slices(values: np.ndarray) -> None:
    """The largest deviation is the optimum of the linear programme: minimise e with |a + b k - x_k| <= e."""
    values = np.sort(values)
    line = geometry.fit_line(np.column_stack([0 * values, 0 * values, values]), np.array([0, 0, 1.0]))
    index = np.arange(len(values))
    rows = np.concatenate(
        [np.column_stack([np.ones_like(index), index, -np.ones_like(index)])] * 1
        + [np.column_stack([-np.ones_like(index), -index, -np.ones_like(index)])]
    )
    best = linprog(
        [0, 0, 1], A_ub=rows, b_ub=np.concatenate([values, -values]), bounds=[(None, None)] * 2 + [(0, None)]
    )
    assert float(line.deviation.max()) == pytest.approx(best.fun, abs=1e-6)


@given(rotations, st.integers(2, 50), st.floats(0.01, 20), st.floats(0, 30), st.floats(0, 6.28))
def test_an_exact_stack_has_no_deviation_and_its_tilt(
    rotation: np.ndarray, count: int, spacing: float, tilt: float, way: float
) -> None:
    across = np.cos(way) * rotation[:, 0] + np.sin(way) * rotation[:, 1]
    step = spacing * (rotation[:, 2] + np.tan(np.radians(tilt)) * across)
    places = np.array([7.0, -8.0, 9.0]) + np.arange(count)[:, None] * step
    line = geometry.fit_line(places, rotation[:, 2])
    np.testing.assert_allclose(line.step, step, atol=1e-9)
    assert line.deviation.max() < 1e-9
    assert geometry.tilt_angle(line.step, rotation[:, 2]) == pytest.approx(tilt, abs=1e-6)


@given(st.integers(2, 30), st.floats(0.05, 10), st.data())
def test_slices_that_are_left_of_a_regular_stack_are_put_on_its_grid(count: int, spacing: float, data) -> None:
    kept = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=2)))
    jitter = np.array(data.draw(st.lists(st.floats(-1, 1), min_size=len(kept), max_size=len(kept)))) * 0.002 * spacing
    found = geometry.grid_indices(np.array(kept) * spacing + jitter, 0.01 * spacing)
    steps = np.diff(kept)
    multiple = np.gcd.reduce(steps)
    if steps.min() == multiple:
        assert found is not None
        np.testing.assert_array_equal(found[0], (np.array(kept) - kept[0]) // multiple)
        assert found[1] == pytest.approx(spacing * multiple, rel=0.005)


def test_gaps_that_are_no_multiples_have_no_grid() -> None:
    assert geometry.grid_indices(np.array([0.0, 1.0, 2.4, 3.4]), 0.05) is None


@given(rotations, st.floats(0.1, 5), st.floats(0.1, 5), st.floats(0.1, 10))
def test_the_affine_is_the_equation_of_the_standard(
    rotation: np.ndarray, between_rows: float, between_columns: float, step: float
) -> None:
    origin = np.array([3.0, 4.0, 5.0])
    affine = geometry.affine_of(
        orientation_of(rotation), (between_rows, between_columns), origin, step * rotation[:, 2]
    )
    z, y, x = 2, 3, 4
    written = (
        origin + rotation[:, 0] * between_columns * x + rotation[:, 1] * between_rows * y + rotation[:, 2] * step * z
    )
    np.testing.assert_allclose(affine @ [z, y, x, 1], [*written, 1], atol=1e-9)
    assert np.linalg.det(affine[:3, :3]) < 0  # (z, y, x) is the mirror image of (x, y, z), which is right-handed
    found = geometry.corners(affine, (3, 4, 5))
    np.testing.assert_allclose(found[-1], written, atol=1e-9)
    assert len(found) == 8


def test_rounded_cosines_do_not_change_the_pixel_size() -> None:
    affine = geometry.affine_of([0.707, 0.707, 0, -0.708, 0.707, 0.01], (0.7, 0.8), np.zeros(3), np.array([0, 0, 1.0]))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, 1:3], axis=0), [0.7, 0.8], rtol=1e-15)
    assert abs(affine[:3, 1] @ affine[:3, 2]) < 1e-15
