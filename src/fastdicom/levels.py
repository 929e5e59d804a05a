"""A volume at a lower resolution of its JPEG 2000 or HTJ2K code streams: which can have one, where its voxels are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastdicom.codecs import reduced_format, reduced_length
from fastdicom.errors import UsageError, ValuesError
from fastdicom.types import Geometry, PixelFormat

__all__ = ["check_level", "reduce"]


def check_level(level: Any) -> int:
    """The `level` argument, or a UsageError."""
    if isinstance(level, bool) or not isinstance(level, (int, np.integer)) or not 0 <= level <= 32:
        raise UsageError(f"level={level!r} is not a number of resolutions to leave out: 0 to 32.", argument="level")
    return int(level)


def reduce(
    formats: Sequence[PixelFormat], shape: tuple[int, ...], dims: tuple[str, ...], geometry: Geometry, level: int
) -> tuple[tuple[PixelFormat, ...], tuple[int, ...], Geometry]:
    """Formats, shape and geometry of a volume `level` resolutions lower.

    Voxels are ``2**level`` as far apart along rows and columns. The first one stays where it is: the filters of both
    wavelets of ISO 15444-1 are odd and symmetric, so an average is centred on every second sample, from the first on,
    and not between two of them.

    Raises
    ------
    ValuesError
        Averages of neighbours would not be averages of a quantity in the patient.
    """
    axis = dims.index("y")
    for fmt in formats:
        if (fmt.rows, fmt.columns) != shape[axis : axis + 2]:
            raise ValuesError(
                f"level={level} would mix slices: frames of this volume are pictures of several. Load level=0."
            )
        if fmt.photometric_interpretation == "PALETTE COLOR":
            raise ValuesError(f"level={level} would average the numbers of palette entries. Load level=0.")
    small = (reduced_length(length, level) for length in shape[axis : axis + 2])
    affine = geometry.affine.copy()
    affine[:3, 1:3] *= 1 << level
    return (
        tuple(reduced_format(fmt, level) for fmt in formats),
        (*shape[:axis], *small, *shape[axis + 2 :]),
        replace(geometry, affine=affine),
    )
