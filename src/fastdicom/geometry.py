"""Pure functions on float64 arrays: where slices are, how they follow one another, what grid they form.

Everything is in DICOM patient coordinates (LPS), millimetres. Nothing here reads a file or knows a policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "SliceLine",
    "affine_of",
    "corners",
    "fit_line",
    "grid_indices",
    "is_orthonormal",
    "slice_normal",
    "slice_positions",
    "tilt_angle",
]

Floats = NDArray[np.float64]


def slice_normal(image_orientation: ArrayLike) -> Floats:
    """Unit normal of a slice: row cosines x column cosines.

    Parameters
    ----------
    image_orientation : (6,) or (N, 6) float64
        Image Orientation (Patient) (0020,0037): direction cosines of the first row, then of the first column.

    Returns
    -------
    (3,) or (N, 3) float64, unit length; NaN where the cosines are absent or parallel.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    cosines = np.asarray(image_orientation, dtype=np.float64)
    normal = _cross(cosines[..., :3], cosines[..., 3:])
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 1e-6, normal / length, np.nan)


def _cross(a: Floats, b: Floats) -> Floats:
    """Cross product along the last axis: a tenth of the time of numpy.cross for single vectors."""
    product = np.empty(np.broadcast_shapes(a.shape, b.shape), dtype=np.float64)
    product[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    product[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    product[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product


def is_orthonormal(image_orientation: ArrayLike, tolerance: float = 1e-2) -> NDArray[np.bool_]:
    """Whether row and column cosines are unit vectors at a right angle, within `tolerance`.

    Parameters
    ----------
    image_orientation : (6,) or (N, 6) float64
    tolerance : float
        Largest error of a length or of the cosine between them. Written cosines are rounded, often to 3 digits.

    Returns
    -------
    bool array of shape () or (N,); False where a cosine is NaN.
    """
    cosines = np.asarray(image_orientation, dtype=np.float64)
    row, column = cosines[..., :3], cosines[..., 3:]
    errors = np.stack(
        [np.linalg.norm(row, axis=-1) - 1, np.linalg.norm(column, axis=-1) - 1, np.sum(row * column, axis=-1)]
    )
    return np.asarray(np.all(np.abs(errors) <= tolerance, axis=0))


def slice_positions(image_position: ArrayLike, normal: ArrayLike) -> Floats:
    """Distance of each slice from the origin along the normal.

    Parameters
    ----------
    image_position : (N, 3) float64, mm, patient coordinates (LPS)
        Image Position (Patient) (0020,0032): centre of the first voxel.
    normal : (3,) float64, unit length

    Returns
    -------
    (N,) float64, mm. Larger is further along the normal.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    return np.asarray(image_position, dtype=np.float64) @ np.asarray(normal, dtype=np.float64)


@dataclass(frozen=True)
class SliceLine:
    """The evenly spaced line through a stack of slices, and how far the slices are from it."""

    step: Floats
    """(3,) mm: from one slice to the next; exact at the first and at the last slice."""
    spacing: float
    """mm along the step: its length."""
    deviation: Floats
    """(N,) mm: distance of each slice from its place on the best evenly spaced line, see `fit_line`."""
    gaps: Floats
    """(N - 1,) mm along the normal between neighbours."""


def fit_line(image_position: ArrayLike, normal: ArrayLike) -> SliceLine:
    """Fit an evenly spaced line to the positions of two or more ordered slices.

    The step runs from the first to the last written position, as in ITK, so both ends of the volume are where the
    file says. Whether the slices are evenly spaced is another question: written positions are rounded, those of the
    ends too, so the deviation is measured from the line that comes closest to all slices.

    Parameters
    ----------
    image_position : (N, 3) float64, mm, N >= 2, ordered along the normal
    normal : (3,) float64, unit length
    """
    positions = np.asarray(image_position, dtype=np.float64)
    unit = np.asarray(normal, dtype=np.float64)
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    along = slice_positions(positions, unit)
    across = positions - along[:, None] * unit
    index = np.arange(len(positions), dtype=np.float64)
    centred = index - index.mean()
    drift = (centred @ across) / (centred @ centred)
    sideways = np.linalg.norm(across - across.mean(axis=0) - centred[:, None] * drift, axis=1)
    return SliceLine(
        step=step,
        spacing=float(np.linalg.norm(step)),
        deviation=np.maximum(np.abs(_even_residual(along)), sideways),
        gaps=np.diff(along),
    )


def _even_residual(values: Floats) -> Floats:
    """Distance of each value from ``a + b * index``, with a and b such that the largest distance is smallest.

    The best slope is that of an edge of the convex hull of the points (index, value): their vertical extent along any
    other slope is larger.
    """
    index = np.arange(len(values), dtype=np.float64)
    best: Floats = values - values[0] - index * ((values[-1] - values[0]) / (len(values) - 1))
    best -= (best.min() + best.max()) / 2
    extent = float(np.ptp(best))
    if extent < 1e-9 * abs(values[-1] - values[0]):
        return best
    for sign in (1.0, -1.0):
        hull = _lower_hull(sign * values)
        slopes = sign * np.diff((sign * values)[hull]) / np.diff(hull)
        for slope in np.unique(slopes):
            residual = values - slope * index
            low, high = float(residual.min()), float(residual.max())
            if high - low < extent:
                extent, best = high - low, residual - (low + high) / 2
    return best


def _lower_hull(values: Floats) -> NDArray[np.int64]:
    """Indices of the lower convex hull of the points (index, value) (Andrew's monotone chain)."""
    hull: list[int] = []
    for k, value in enumerate(values):
        while len(hull) > 1:
            i, j = hull[-2], hull[-1]
            if (values[j] - values[i]) * (k - i) < (value - values[i]) * (j - i):
                break
            hull.pop()
        hull.append(k)
    return np.array(hull, dtype=np.int64)


def tilt_angle(step: ArrayLike, normal: ArrayLike) -> float:
    """Angle between the step from slice to slice and the slice normal, degrees in [0, 90].

    Zero for an orthogonal stack; the gantry tilt of a tilted CT acquisition.
    """
    vector = np.asarray(step, dtype=np.float64)
    along = abs(float(vector @ np.asarray(normal, dtype=np.float64)))
    across = float(np.linalg.norm(_cross(vector, np.asarray(normal, dtype=np.float64))))
    return float(np.degrees(np.arctan2(across, along)))


def grid_indices(slice_positions: ArrayLike, tolerance: float) -> tuple[NDArray[np.int64], float] | None:
    """Place unevenly spaced slices on the finest regular grid that their gaps are whole multiples of.

    Parameters
    ----------
    slice_positions : (N,) float64, mm, strictly ascending, N >= 2
    tolerance : float, mm
        Largest distance of a slice from its place on the grid.

    Returns
    -------
    ((N,) int64 grid index of each slice, from 0; spacing of the grid in mm), or None where no such grid exists whose
    spacing is the smallest gap between two slices.
    """
    positions = np.asarray(slice_positions, dtype=np.float64)
    gaps = np.diff(positions)
    # Rounded positions make the smallest gap a poor unit: average over the gaps that are about as small.
    smallest = float(gaps.min())
    unit = float(np.median(gaps[gaps < 1.5 * smallest]))
    indices = np.concatenate([[0], np.cumsum(np.rint(gaps / unit))]).astype(np.int64)
    if indices[-1] == 0 or np.any(np.diff(indices) < 1):
        return None
    spacing = float(positions[-1] - positions[0]) / float(indices[-1])
    if np.max(np.abs(positions[0] + indices * spacing - positions)) > tolerance:
        return None
    return indices, spacing


def affine_of(image_orientation: ArrayLike, pixel_spacing: ArrayLike, origin: ArrayLike, step: ArrayLike) -> Floats:
    """The affine from array indices ``(z, y, x, 1)`` to LPS mm.

    Parameters
    ----------
    image_orientation : (6,) float64
    pixel_spacing : (2,) float64, mm
        Pixel Spacing (0028,0030): distance between rows (along y), then between columns (along x).
    origin : (3,) float64, mm
        Image Position (Patient) of slice 0.
    step : (3,) float64, mm
        From slice to slice; not along the normal where the stack is tilted.

    Written cosines are rounded: the row is made a unit vector and the column a unit vector at a right angle to it, so
    that the distance between voxels is Pixel Spacing. Parallel or absent cosines stay as they are.

    Source: DICOM PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1, extended by the slice index.
    """
    cosines = _orthonormal(np.asarray(image_orientation, dtype=np.float64))
    spacing = np.asarray(pixel_spacing, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = cosines[3:] * spacing[0]
    affine[:3, 2] = cosines[:3] * spacing[1]
    affine[:3, 3] = origin
    return affine


def _orthonormal(cosines: Floats) -> Floats:
    """The (6,) cosines with the row of unit length and the column of unit length across it."""
    row_length = float(np.linalg.norm(cosines[:3]))
    row = cosines[:3] / row_length if row_length > 1e-6 else cosines[:3]
    column = cosines[3:] - float(cosines[3:] @ row) * row
    column_length = float(np.linalg.norm(column))
    if not (row_length > 1e-6 and column_length > 1e-6):
        return cosines
    return np.concatenate([row, column / column_length])


def corners(affine: ArrayLike, shape: tuple[int, int, int]) -> Floats:
    """LPS mm of the centres of the eight corner voxels of a ``(z, y, x)`` array: (8, 3) float64."""
    index = np.stack(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
    homogeneous = np.concatenate([index, np.ones((8, 1))], axis=1)
    return np.asarray((homogeneous @ np.asarray(affine, dtype=np.float64).T)[:, :3])
