"""Geometry of slices that are in order: spacing, tilt, gaps, and what the policy makes of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import IrregularSpacingError, TiltError
from fastdicom.geometry import (
    SliceLine,
    affine_of,
    fit_line,
    grid_indices,
    slice_normal,
    slice_positions,
    tilt_angle,
)
from fastdicom.headers import HeaderTable
from fastdicom.headers.vendors import TILES_ASSUMED, TILES_NONE, TILES_UIH
from fastdicom.series.found import Dimension, FoundVolume
from fastdicom.series.interleaved import alternation_notes, origin_notes
from fastdicom.series.words import file_name, full_uid, short_uid
from fastdicom.types import Geometry, GeometryPolicy

__all__ = ["header_spacing", "ordered_volume", "pixel_spacing", "spacing_tolerance"]

LEAST_FRACTION = 0.1
"""The tolerance in mm never exceeds this part of the spacing: an absent slice moves its neighbours by a quarter."""

_ONE_QUANTITY = ("referenced_segment_number", "echo_time", "diffusion_b_value", "convolution_kernel", "rescale_type")
"""Attributes that are expected to be the same in all slices of one volume."""


def spacing_tolerance(policy: GeometryPolicy, spacing: float) -> float:
    """Largest distance, mm, of a slice from the evenly spaced line in a uniform volume."""
    return max(policy.spacing_tolerance * spacing, min(policy.spacing_tolerance_mm, LEAST_FRACTION * spacing))


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
    return volume if geometry.uniform else _uneven(table, volume, line, tolerance)


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


def _uneven(table: HeaderTable, volume: FoundVolume, line: SliceLine, tolerance: float) -> FoundVolume:
    policy = volume.policy
    if policy.gaps == "keep":
        note = f"uneven gaps of {line.gaps.min():.3f} to {line.gaps.max():.3f} mm kept (gaps='keep')"
        return replace(volume, notes=(*volume.notes, note))
    placed = _on_grid(volume, policy)
    if policy.gaps == "fill" and placed is not None:
        return _filled(volume, placed)
    error = _gap_error(table, volume, line, tolerance, fillable=placed is not None)
    return replace(volume, error=volume.error or error)


def _on_grid(volume: FoundVolume, policy: GeometryPolicy) -> NDArray[np.int64] | None:
    """Index of each slice on a regular grid with absent slices, or None where they are not on one."""
    geometry = volume.geometry
    gaps = np.diff(geometry.slice_positions)
    placed = grid_indices(geometry.slice_positions, spacing_tolerance(policy, float(gaps.min())))
    if placed is None:
        return None
    index = placed[0]
    places = geometry.image_positions
    step = (places[-1] - places[0]) / index[-1]
    off = np.linalg.norm(places - places[0] - index[:, None] * step, axis=1)
    # Along the normal the grid fits; a slice that is moved sideways is on no grid.
    return index if off.max() <= 2 * spacing_tolerance(policy, float(np.linalg.norm(step))) else None


def _filled(volume: FoundVolume, index: NDArray[np.int64]) -> FoundVolume:
    count = int(index[-1]) + 1
    rows = np.full((*volume.rows.shape[:-1], count), -1, dtype=np.int64)
    rows[..., index] = volume.rows
    old = volume.geometry
    step = (old.image_positions[-1] - old.image_positions[0]) / (count - 1)
    affine = old.affine.copy()
    affine[:3, 0] = step
    places = old.image_positions[0] + np.arange(count)[:, None] * step
    deviation = float(np.linalg.norm(places[index] - old.image_positions, axis=1).max())
    places[index] = old.image_positions
    along = np.interp(np.arange(count), index, old.slice_positions)
    geometry = Geometry(affine, along, places, True, old.tilt_deg, old.spacing_source, deviation)
    absent = count - len(index)
    note = f"{absent} absent slices of {count} filled on a grid of {geometry.spacing[0]:.4f} mm (gaps='fill')"
    return replace(volume, rows=rows, geometry=geometry, notes=(*volume.notes, note))


def _gap_error(
    table: HeaderTable, volume: FoundVolume, line: SliceLine, tolerance: float, *, fillable: bool
) -> IrregularSpacingError:
    median = float(np.median(line.gaps))
    allowed = 2 * spacing_tolerance(volume.policy, median)  # both ends of a gap may be off by the tolerance
    off = np.abs(line.gaps - median) > allowed
    stack = volume.rows.reshape(-1, volume.rows.shape[-1])[0]
    uid = short_uid(table, stack)
    if not off.any():
        worst = int(np.argmax(line.deviation))
        return IrregularSpacingError(
            f"The {len(stack)} slices of series {uid} do not lie on one evenly spaced line: slice {worst} "
            f"({file_name(table, stack[worst])}) is {line.deviation[worst]:.3f} mm off, more than {tolerance:.3f} mm. "
            "Pass policy=GeometryPolicy(gaps='keep') to keep the positions as they are.",
            series_instance_uid=full_uid(table, stack),
            deviation_mm=float(line.deviation[worst]),
            tolerance_mm=tolerance,
            path=str(table["path"][stack[worst]]),
        )
    worst = int(np.argmax(np.where(off, np.abs(line.gaps - median), -1)))
    remedy = (
        "Slices are probably missing. Pass policy=GeometryPolicy(gaps='fill') to insert empty ones, or gaps='keep' to "
        "keep the true positions."
        if fillable
        else "The gaps are no whole multiples of one spacing. Pass policy=GeometryPolicy(gaps='keep') to keep the true "
        "positions."
    )
    return IrregularSpacingError(
        f"{int(off.sum())} of {len(line.gaps)} gaps in series {uid} differ from the median {median:.3f} mm by more "
        f"than {allowed:.3f} mm (largest difference: {line.gaps[worst]:.3f} mm after slice {worst}, "
        f"{file_name(table, stack[worst])}). {remedy}",
        series_instance_uid=full_uid(table, stack),
        gaps_off=int(off.sum()),
        gaps_total=len(line.gaps),
        median_gap_mm=median,
        largest_gap_mm=float(line.gaps[worst]),
        tolerance_mm=tolerance,
        after_slice=worst,
        path=str(table["path"][stack[worst]]),
    )
