"""Geometry of slices that are in order: spacing, tilt, and what the policy makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import TiltError
from fastdicom.geometry import affine_of, fit_line, slice_normal, slice_positions, tilt_angle
from fastdicom.headers import HeaderTable
from fastdicom.headers.vendors import TILES_ASSUMED, TILES_NONE, TILES_UIH
from fastdicom.series.found import Dimension, FoundVolume
from fastdicom.series.gaps import spacing_tolerance, uneven_volume
from fastdicom.series.interleaved import alternation_notes, origin_notes
from fastdicom.series.words import file_name, full_uid, short_uid
from fastdicom.types import Geometry, GeometryPolicy

__all__ = ["header_spacing", "ordered_volume", "pixel_spacing", "spacing_tolerance"]

_ONE_QUANTITY = ("referenced_segment_number", "echo_time", "diffusion_b_value", "convolution_kernel", "rescale_type")
"""Attributes that are expected to be the same in all slices of one volume."""


def ordered_volume(
    table: HeaderTable, rows: NDArray[np.int64], dimensions: tuple[Dimension, ...], policy: GeometryPolicy
) -> FoundVolume:
    """The volume of rows that are ``(..., z)`` already, in order along the normal; with an error where refused."""
    stack = rows.reshape(-1, rows.shape[-1])[0]
    dims = (*[dimension.name for dimension in dimensions], "z")
    orientation = table["image_orientation"][stack[0]]
    in_plane, warnings = pixel_spacing(table, int(stack[0]))
    places = table["image_position"][stack]
    normal = slice_normal(orientation)
    along = slice_positions(places, normal)
    notes, assumed = _tile_notes(table, int(stack[0]))
    mixed, of_two_origins = origin_notes(table, rows, dims[:-1])
    notes, warnings = (*notes, *mixed), (*warnings, *assumed, *_mixed_notes(table, rows), *of_two_origins)
    if len(stack) == 1:
        spacing, source = header_spacing(table, int(stack[0]))
        affine = affine_of(orientation, in_plane, places[0], normal * spacing)
        geometry = Geometry(affine, along, places, True, 0.0, source, 0.0)
        notes = (*notes, f"one slice: the distance to the next is {source}")
        return FoundVolume(rows, dims, geometry, policy, dimensions, notes, warnings)
    line = fit_line(places, normal)
    tilt = tilt_angle(line.step, normal)
    tolerance = spacing_tolerance(policy, line.spacing)
    deviation = float(line.deviation.max())
    geometry = Geometry(
        affine_of(orientation, in_plane, places[0], line.step),
        along,
        places,
        deviation <= tolerance,
        tilt if tilt >= policy.tilt_tolerance_deg else 0.0,
        _spacing_source(table, int(stack[0])),
        deviation,
    )
    if geometry.uniform:
        alternating, joined = alternation_notes(table, rows, geometry.spacing[0])
        notes, warnings = (*notes, *alternating), (*warnings, *joined)
    volume = FoundVolume(rows, dims, geometry, policy, dimensions, notes, warnings)
    if geometry.tilt_deg:
        volume = _tilted(table, volume)
    return volume if geometry.uniform else uneven_volume(table, volume, line, tolerance)


def pixel_spacing(table: HeaderTable, row: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Distance between rows and columns, mm, and a sentence where it is not Pixel Spacing."""
    for name in ("pixel_spacing", "imager_pixel_spacing"):
        value = table[name][row]
        if np.isfinite(value).all() and (value > 0).all():
            at_detector = ("pixel size is Imager Pixel Spacing: in the plane of the detector, not in the patient",)
            return np.asarray(value, dtype=np.float64), () if name == "pixel_spacing" else at_detector
    return np.ones(2, dtype=np.float64), ("no usable Pixel Spacing: 1 mm between pixels is assumed",)


def header_spacing(table: HeaderTable, row: int) -> tuple[float, str]:
    """Spacing of slices where positions give none, mm, and the attribute it comes from."""
    for name, keyword in (("spacing_between_slices", "SpacingBetweenSlices"), ("slice_thickness", "SliceThickness")):
        value = abs(float(table[name][row]))  # negative by convention in some NM objects: a direction, not a distance
        if np.isfinite(value) and value > 0:
            return value, keyword
    return 1.0, "none"


def _spacing_source(table: HeaderTable, row: int) -> str:
    """Positions, but for Siemens mosaics: those of their tiles are made from one position and a spacing."""
    source = int(table["tile_source"][row])
    return "positions" if source in (TILES_NONE, TILES_UIH) else header_spacing(table, row)[1]


def _tile_notes(table: HeaderTable, row: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what is worth saying, what a caller must hear of) where slices are tiles of larger pictures."""
    source = int(table["tile_source"][row])
    if table["problem"][row]:  # it says itself why the picture could not be taken apart
        return (), ()
    if source == TILES_NONE:
        if b"MOSAIC" not in bytes(table["image_type"][row]).upper().split(b"\\")[2:]:
            return (), ()
        whole = "Image Type says MOSAIC, but nothing says how many slices are in a picture: whole pictures are taken"
        return (), (f"{whole} for slices, which they are not",)
    kind = "United Imaging grids" if source == TILES_UIH else "Siemens mosaics"
    note = f"slices are tiles of {kind} of {table['frame_rows'][row]} x {table['frame_columns'][row]} pixels"
    assumed = "the mosaics do not say in which direction their slices follow one another; Siemens' usual one is assumed"
    return (note,), ((assumed,) if source == TILES_ASSUMED else ())


def _mixed_notes(table: HeaderTable, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """What differs from slice to slice although it should not."""
    stacks = rows.reshape(-1, rows.shape[-1])
    differing = []
    for name in _ONE_QUANTITY:
        values = table[name][stacks]
        same = values == values[:, :1]
        if values.dtype.kind == "f":
            same |= np.isnan(values) & np.isnan(values[:, :1])
        if not same.all():
            differing.append(name)
    return (f"slices of one stack differ in {', '.join(differing)}",) if differing else ()


def _tilted(table: HeaderTable, volume: FoundVolume) -> FoundVolume:
    tilt, policy = volume.geometry.tilt_deg, volume.policy
    noted = replace(volume, notes=(*volume.notes, f"tilted {tilt:.2f} degrees, kept in the affine"))
    if policy.tilt == "keep":
        return noted
    stack = volume.rows.reshape(-1, volume.rows.shape[-1])[0]
    error = TiltError(
        f"The {len(stack)} slices of series {short_uid(table, stack)} (from {file_name(table, stack[0])} to "
        f"{file_name(table, stack[-1])}) are stacked {tilt:.2f} degrees off their normal, more than "
        f"{policy.tilt_tolerance_deg:g} degrees. Pass policy=GeometryPolicy(tilt='keep') to keep it in the affine.",
        series_instance_uid=full_uid(table, stack),
        tilt_deg=tilt,
        path=str(table["path"][stack[0]]),
    )
    return replace(noted, error=error)
