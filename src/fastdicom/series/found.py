"""The record of one volume found in a heap of frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import FastDicomError
from fastdicom.types import Geometry, GeometryPolicy

__all__ = ["Dimension", "FoundVolume"]


@dataclass(frozen=True)
class Dimension:
    """One extra dimension: its short axis name and the value at each index."""

    name: str
    attribute: str
    """The attribute it comes from, in snake_case."""
    values: NDArray[Any]
    units: str = ""
    directions: NDArray[np.float64] | None = None
    """(N, 3) diffusion gradient at each index of a ``b`` axis, NaN where there is none. Patient coordinates (LPS), but
    for GE's private attributes: those are along frequency, phase and slice."""


@dataclass(frozen=True)
class FoundVolume:
    """Frames that form one volume, in order, or the reason why they do not.

    Attributes
    ----------
    rows : (d1, ..., Z) int64
        Row of the header table for each slice; -1 for a slice that is absent and will be filled.
    dims : tuple of str
        Names of the axes of `rows`: extra dimensions, then ``z`` (``frame`` for a sequence without geometry).
    """

    rows: NDArray[np.int64]
    dims: tuple[str, ...]
    geometry: Geometry
    policy: GeometryPolicy
    dimensions: tuple[Dimension, ...] = ()
    notes: tuple[str, ...] = ()
    """What is unusual and how it was dealt with, in sentences: fallbacks, tilt, uneven gaps, choices made."""
    warnings: tuple[str, ...] = ()
    """Those of the notes that a caller must hear of: the geometry rests on something weaker than positions."""
    error: FastDicomError | None = None
    """Why this volume cannot be loaded under the policy; None where it can."""
    dropped: tuple[int, ...] = field(default=())
    """Rows that the policy left out (``duplicates="first"``)."""

    @property
    def used_rows(self) -> NDArray[np.int64]:
        """Rows of the slices that exist, in volume order."""
        flat = self.rows.ravel()
        return flat[flat >= 0]
