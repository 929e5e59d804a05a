"""Where the slices of a generated series lie: what the header says, digit for digit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastdicom.testing.spec import SeriesSpec

__all__ = ["affine_of", "format_decimal", "slice_positions"]


def format_decimal(value: float) -> str:
    """A Decimal String (VR DS): the number with as many digits as 16 characters hold (PS3.5 6.2)."""
    text = repr(float(value))
    if len(text) <= 16:
        return text
    for digits in range(16, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.5g}"


def as_written(values: tuple[float, ...] | NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers a reader gets back from the Decimal Strings of `values`."""
    return np.array([float(format_decimal(v)) for v in np.ravel(values)], np.float64).reshape(np.shape(values))


def slice_positions(spec: SeriesSpec) -> NDArray[np.float64]:
    """(slices, 3) Image Position (Patient) of each slice as written, mm; missing slices included."""
    row, column = as_written(spec.orientation).reshape(2, 3)
    step = np.cross(row, column) + math.tan(math.radians(spec.tilt_deg)) * column
    along = np.arange(spec.slices) * spec.slice_step
    if spec.slice_shifts:
        along = along + np.asarray(spec.slice_shifts, np.float64)
    return as_written(np.asarray(spec.origin, np.float64) + along[:, None] * step)


def affine_of(spec: SeriesSpec) -> NDArray[np.float64]:
    """(4, 4) from array indices ``(z, y, x, 1)`` of the whole grid to LPS mm (PS3.3 C.7.6.2.1.1).

    The first column is the step from the first to the last position divided by the number of gaps, so gantry tilt stays
    in it; a single slice has `slice_step` along the normal.
    """
    row, column = as_written(spec.orientation).reshape(2, 3)
    between_rows, between_columns = as_written(spec.pixel_spacing)
    positions = slice_positions(spec)
    affine = np.eye(4)
    if spec.slices > 1:
        affine[:3, 0] = (positions[-1] - positions[0]) / (spec.slices - 1)
    else:
        affine[:3, 0] = np.cross(row, column) * float(format_decimal(spec.slice_step))
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = row * between_columns
    affine[:3, 3] = positions[0]
    return affine
