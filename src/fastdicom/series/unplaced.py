"""Frames that have no place in the patient: pictures and sequences, in the order in which they were stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdicom.geometry import affine_of, is_orthonormal, slice_normal
from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.series.found import FoundVolume
from fastdicom.series.grouping import is_place
from fastdicom.series.ordered import header_spacing, pixel_spacing
from fastdicom.types import Geometry, GeometryPolicy

__all__ = ["unplaced_volume"]


def unplaced_volume(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> FoundVolume:
    """Frames without usable positions: by InstanceNumber, then file name, then frame (PS3.3 C.7.6.1.1.1)."""
    number = table["instance_number"][rows]
    rows = rows[np.lexsort((table["frame"][rows], table["path"][rows].astype(str), number))]
    in_plane, notes = pixel_spacing(table, int(rows[0]))
    spacing, source = header_spacing(table, int(rows[0]))
    orientation = table["image_orientation"][rows[0]]
    cosines = orientation if is_orthonormal(orientation) else np.array([1.0, 0, 0, 0, 1.0, 0])
    affine = affine_of(cosines, in_plane, np.zeros(3), slice_normal(cosines) * spacing)
    along = np.arange(len(rows), dtype=np.float64) * spacing
    sequence = bool(table["frames_in_file"][rows[0]] > 1)
    geometry = Geometry(affine, along, np.full((len(rows), 3), np.nan), True, 0.0, source, 0.0, has_positions=False)
    one_place = sequence and bool(is_place(table["image_position"][rows]).all())
    if one_place:
        how = (
            f"a sequence of {len(rows)} frames with one Image Position (Patient) for all, in stored order: no stack of "
            "slices, and the position is not used"
        )
    elif sequence:
        how = "a sequence of frames without patient geometry, in stored order"
    else:
        known = number[number != INT_MISSING]
        order = "InstanceNumber" if len(np.unique(known)) == len(rows) else "InstanceNumber and name"
        lacks = "Orientation" if is_place(table["image_position"][rows]).all() else "Position"
        how = f"no usable Image {lacks} (Patient): ordered by {order}"
    warnings = () if (sequence and not one_place) or len(rows) == 1 else (how,)
    dims = ("frame",) if sequence else ("z",)
    return FoundVolume(rows, dims, geometry, policy, (), (*notes, how), warnings)
