"""Stacks that lie beside one another: parallel, at the same height, in different places of the plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdicom.series.grouping import Codes, merge_close

__all__ = ["beside_one_another"]

BESIDE_MM = 1.0
"""Slices of one stack that are moved against one another by more than this are no rounding: another stack."""


def beside_one_another(image_position: NDArray[np.float64], normal: NDArray[np.float64], place: Codes) -> list[Codes]:
    """Divide slices into parallel stacks that lie beside one another.

    A gantry tilt moves the slices of one stack in the plane too, from slice to slice alike: what counts is how far
    slices are from a line with that drift.

    Parameters
    ----------
    image_position : (N, 3) float64, mm
    normal : (3,) float64, unit length
    place : (N,) int
        Index of each slice's position along the normal.

    Returns
    -------
    The divisions with the fewest stacks, (N,) codes each; none where the slices are on one line, or where stacks would
    merely follow one another along the normal.
    """
    along = image_position @ normal
    across = image_position - along[:, None] * normal
    ways: list[Codes] = []
    for drift in _drifts(along, across, place):
        off = np.round(across - (along - along.mean())[:, None] * drift, 3)
        if np.ptp(off, axis=0).max() <= 2 * BESIDE_MM:
            return []
        ways.append(np.unique(merge_close(off, BESIDE_MM), return_inverse=True)[1].astype(np.int64))
    fewest = min((int(codes.max()) for codes in ways), default=0)
    return [codes for codes in ways if codes.max() == fewest and _overlap(codes, place)]


def _drifts(along: NDArray[np.float64], across: NDArray[np.float64], place: Codes) -> list[NDArray[np.float64]]:
    """How far stacks may move in the plane for each mm along the normal, (3,) each.

    Stacks drift alike, so that the middle of all that is at one place drifts as they do, but where a stack begins or
    ends: a median passes over that. Neighbours may be of different stacks, those two or three places away are not; and
    the further apart, the less the rounding of positions counts.
    """
    counts = np.bincount(place)
    height = np.bincount(place, along) / counts
    middle = np.column_stack([np.bincount(place, values) / counts for values in across.T])
    lags = [lag for lag in (1, 2, 3, 4, *(2**k for k in range(3, 17))) if lag < len(counts)]
    slopes = [(middle[lag:] - middle[:-lag]) / (height[lag:] - height[:-lag])[:, None] for lag in lags]
    return [np.median(slope, axis=0) for slope in slopes] or [np.zeros(3)]


def _overlap(codes: Codes, place: Codes) -> bool:
    """Whether each part shares some of its extent along the normal with another part."""
    count = int(codes.max()) + 1
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, codes, place)
    np.maximum.at(high, codes, place)
    order = np.argsort(low, kind="stable")
    low, high = low[order], high[order]
    with_before = low[1:] <= np.maximum.accumulate(high)[:-1]  # of all that begin before it, one ends after its begin
    alone = ~np.concatenate([[False], with_before])
    alone[:-1] &= low[1:] > high[:-1]
    return bool(count > 1 and not alone.any())
