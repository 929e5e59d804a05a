"""A `Volume` in the shapes that other libraries use: xarray and SimpleITK (NIfTI: see `nifti`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdicom.errors import GeometryError, UsageError
from fastdicom.volume import missing

if TYPE_CHECKING:
    from fastdicom.volume import Volume

__all__ = ["SLICE_IDENTIFIERS", "to_sitk", "to_xarray"]

SLICE_IDENTIFIERS = frozenset({"sop_instance_uid", "acquisition_time", "content_time"})
"""Per-slice columns that PS3.15 table E.1-1 removes or replaces."""


def to_xarray(volume: Volume, *, identifiers: str = "remove") -> Any:
    """See `Volume.to_xarray`."""
    if identifiers not in ("remove", "keep"):
        raise UsageError(f"identifiers={identifiers!r} is not known. Use 'remove' or 'keep'.", argument="identifiers")
    keep = identifiers == "keep"
    try:
        import xarray
    except ImportError as error:
        raise missing("xarray", "xarray") from error
    axis = volume.geometry_axis
    _, step_y, step_x = volume.spacing
    coordinates: dict[str, Any] = {
        volume.dims[axis]: (volume.dims[axis], volume.slice_positions, {"units": "mm"}),
        "y": ("y", np.arange(volume.shape[axis + 1]) * step_y, {"units": "mm"}),
        "x": ("x", np.arange(volume.shape[axis + 2]) * step_x, {"units": "mm"}),
    }
    for name, values in volume.coordinates.items():
        units = volume.coordinate_units.get(name, "")
        coordinates[name] = (name, values, {"units": units} if units else {})
    outer = volume.dims[: axis + 1]
    for name, values in volume.slices.items():
        if values.ndim == len(outer) and name not in coordinates and (keep or name not in SLICE_IDENTIFIERS):
            coordinates[name] = (outer, values)
    attributes = {
        "affine": volume.affine.tolist(),
        "space": "LPS",
        "modality": volume.modality,
        "units": volume.units,
    }
    if keep:
        attributes["series_instance_uid"] = volume.series_instance_uid
    return xarray.DataArray(volume.array, dims=volume.dims, coords=coordinates, attrs=attributes, name="voxels")


def to_sitk(volume: Volume) -> Any:
    """See `Volume.to_sitk`."""
    try:
        import SimpleITK as sitk  # noqa: N813 - the name its users know
    except ImportError as error:
        raise missing("SimpleITK", "sitk") from error
    geometry = volume.geometry
    if geometry.tilt_deg or not geometry.uniform:
        what = f"tilted {geometry.tilt_deg:.2f} degrees" if geometry.tilt_deg else "not evenly spaced"
        raise GeometryError(
            f"This volume is {what}, and an ITK image has orthogonal, evenly spaced axes. "
            "Call volume.regularize() first.",
            tilt_deg=geometry.tilt_deg,
        )
    if volume.geometry_axis > 1:
        raise UsageError(
            f"SimpleITK images have at most one dimension beside z, y, x; this volume has {volume.dims}. Select from "
            "the array first."
        )
    array = np.asarray(volume.array)
    image = sitk.GetImageFromArray(array, isVector=volume.dims[-1] == "c")
    z, y, x = volume.spacing
    # ITK's direction is that of the slices; a rounding of the positions is no direction (tilt was refused above).
    row, column = geometry.direction[:, 2], geometry.direction[:, 1]
    normal = np.cross(row, column)
    direction = np.stack([row, column, normal / (np.linalg.norm(normal) or 1.0)], axis=1)
    spacing, origin = [x, y, z], list(volume.origin)
    if volume.geometry_axis == 1:
        extended = np.eye(4)
        extended[:3, :3] = direction
        direction, spacing, origin = extended, [*spacing, 1.0], [*origin, 0.0]
    image.SetDirection(direction.ravel().tolist())
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    return image
