"""From one group of frames to volumes: order, repeats, gaps, tilt, and the geometry that follows."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import FastDicomError, IrregularSpacingError, RepeatedPositionError, TiltError
from fastdicom.geometry import (
    SliceLine,
    affine_of,
    fit_line,
    grid_indices,
    is_orthonormal,
    slice_normal,
    slice_positions,
    tilt_angle,
)
from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.series.dimensions import Grid, explain_repeats, varying_attributes
from fastdicom.series.found import Dimension, FoundVolume
from fastdicom.series.grouping import Codes, codes_of, split_by
from fastdicom.types import Geometry, GeometryPolicy

__all__ = ["spacing_tolerance", "volumes_of_group"]

_SPLITTING = ("image_type", "convolution_kernel", "acquisition_number", "temporal_position_identifier", "echo_numbers")
"""Attributes that may divide a group into several regular volumes where it is none as a whole."""


def volumes_of_group(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> list[FoundVolume]:
    """The volumes in one group of frames (see `group_rows`); at least one, possibly with an error."""
    orientation = table["image_orientation"][rows[0]]
    positioned = np.isfinite(table["image_position"][rows]).all()
    if not positioned or not is_orthonormal(orientation):
        return [_without_positions(table, rows, policy)]
    whole = _positioned(table, rows, policy)
    if len(whole) == 1 and whole[0].error is None:
        return whole
    if len(whole) == 1 and isinstance(whole[0].error, (RepeatedPositionError, IrregularSpacingError)):
        for name in _SPLITTING:
            parts = split_by(rows, codes_of(table[name][rows]))
            if 1 < len(parts) <= len(rows) // 2:
                volumes = [volume for part in parts for volume in _positioned(table, part, policy)]
                # Two slices are evenly spaced whatever is missing between them: only three can prove a gap wrong.
                least = 3 if isinstance(whole[0].error, IrregularSpacingError) else 2
                if len(volumes) == len(parts) and all(v.error is None and v.rows.shape[-1] >= least for v in volumes):
                    note = f"one of {len(parts)} volumes of this series that differ in {name}"
                    return [replace(volume, notes=(*volume.notes, note)) for volume in volumes]
    return whole


def spacing_tolerance(policy: GeometryPolicy, spacing: float) -> float:
    """Largest distance, mm, of a slice from the evenly spaced line in a uniform volume."""
    return max(policy.spacing_tolerance * spacing, policy.spacing_tolerance_mm)


def _positioned(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> list[FoundVolume]:
    normal = slice_normal(table["image_orientation"][rows[0]])
    position = _position_index(slice_positions(table["image_position"][rows], normal))
    counts = np.bincount(position)
    if counts.max() == 1:
        return [_ordered(table, rows[np.argsort(position)], (), policy)]
    grid = explain_repeats(table, rows, position)
    if grid is not None:
        return [_from_grid(table, grid, policy)]
    return _unexplained(table, rows, position, policy)


def _position_index(along: NDArray[np.float64]) -> Codes:
    """Index of each frame's place along the normal; places closer than 1 % of the usual gap are one."""
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    real = gaps[gaps > 1e-3]
    tolerance = max(1e-3, 0.01 * float(np.median(real))) if len(real) else 1e-3
    index = np.empty(len(along), dtype=np.int64)
    index[order] = np.concatenate([[0], np.cumsum(gaps > tolerance)])
    return index


def _from_grid(table: HeaderTable, grid: Grid, policy: GeometryPolicy) -> FoundVolume:
    names = tuple(dimension.name for dimension in grid.dimensions)
    places = table["image_position"][grid.rows]
    moved = np.linalg.norm(places - places.reshape(-1, *places.shape[-2:])[0], axis=-1).max()
    volume = _ordered(table, grid.rows, grid.dimensions, policy)
    notes = [f"{' x '.join(names)} from {', '.join(d.attribute for d in grid.dimensions)}"]
    warnings = list(volume.warnings)
    if moved > spacing_tolerance(policy, volume.geometry.spacing[0]):
        message = (
            f"Slices of different {'/'.join(names)} lie up to {moved:.3f} mm apart in the plane in series "
            f"{_uid(table, grid.rows)}; one array cannot hold them. Pass policy=GeometryPolicy(duplicates='split')."
        )
        return replace(volume, error=RepeatedPositionError(message, distance_mm=float(moved)))
    if any(dimension.attribute == "instance_number" for dimension in grid.dimensions):
        warnings.append(
            "No attribute says what differs between the repeated positions: complete volumes were counted "
            "in InstanceNumber order"
        )
    return replace(volume, notes=(*notes, *volume.notes), warnings=tuple(warnings))


def _unexplained(
    table: HeaderTable, rows: NDArray[np.int64], position: Codes, policy: GeometryPolicy
) -> list[FoundVolume]:
    """Repeated positions that no attribute explains: what the policy says."""
    number = table["instance_number"][rows].astype(np.float64)
    order = np.lexsort((table["path"][rows].astype(str), number, position))
    starts = np.concatenate([[0], np.cumsum(np.bincount(position))[:-1]])
    occurrence = np.arange(len(rows)) - starts[position[order]]
    ordered = rows[order]
    if policy.duplicates == "split":
        parts = [ordered[occurrence == k] for k in range(int(occurrence.max()) + 1)]
        note = f"one of {len(parts)} volumes split at repeated positions (duplicates='split')"
        return [
            replace(volume, notes=(*volume.notes, note))
            for part in parts
            for volume in [_ordered(table, part, (), policy)]
        ]
    first = ordered[occurrence == 0]
    volume = _ordered(table, first, (), replace(policy, gaps="keep") if policy.duplicates == "raise" else policy)
    dropped = tuple(int(row) for row in ordered[occurrence > 0])
    if policy.duplicates == "first":
        note = f"{len(dropped)} frames at repeated positions left out (duplicates='first')"
        return [replace(volume, notes=(*volume.notes, note), dropped=dropped)]
    error = _repeated_error(table, rows, position)
    return [replace(volume, rows=ordered, dims=("z",), policy=policy, error=error)]


def _repeated_error(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> RepeatedPositionError:
    counts = np.bincount(position)
    place = int(np.argmax(counts > 1))
    files = [os.path.basename(str(path)) for path in table["path"][rows[position == place]]]
    names = varying_attributes(table, rows, position)
    differ = f"They differ in {', '.join(names[:6])}, which gives no full grid" if names else "Their headers are equal"
    return RepeatedPositionError(
        f"{int((counts > 1).sum())} of {len(counts)} slice positions in series {_uid(table, rows)} hold more than one "
        f"frame (first: {', '.join(files[:3])}). {differ}. Pass policy=GeometryPolicy(duplicates='first') to keep the "
        "first of each, or duplicates='split' for one volume each.",
        series_instance_uid=_uid(table, rows, full=True),
        positions=len(counts),
        repeated=int((counts > 1).sum()),
        path=str(table["path"][rows[position == place]][-1]),
        paths=[str(path) for path in table["path"][rows[position == place]]],
    )


def _ordered(
    table: HeaderTable, rows: NDArray[np.int64], dimensions: tuple[Dimension, ...], policy: GeometryPolicy
) -> FoundVolume:
    """Geometry of rows that are already ``(..., z)`` in order along the normal."""
    stack = rows.reshape(-1, rows.shape[-1])[0]
    dims = (*[dimension.name for dimension in dimensions], "z")
    orientation = table["image_orientation"][stack[0]]
    pixel_spacing, notes = _pixel_spacing(table, int(stack[0]))
    places = table["image_position"][stack]
    normal = slice_normal(orientation)
    along = slice_positions(places, normal)
    if len(stack) == 1:
        spacing, source = _header_spacing(table, int(stack[0]))
        affine = affine_of(orientation, pixel_spacing, places[0], normal * spacing)
        geometry = Geometry(affine, along, places, True, 0.0, source, 0.0)
        notes += (f"one slice: its thickness in space is {source}",)
        return FoundVolume(rows, dims, geometry, policy, dimensions, notes)
    line = fit_line(places, normal)
    tilt = tilt_angle(line.step, normal)
    tolerance = spacing_tolerance(policy, line.spacing)
    deviation = float(line.deviation.max())
    geometry = Geometry(
        affine_of(orientation, pixel_spacing, places[0], line.step),
        along,
        places,
        deviation <= tolerance,
        tilt if tilt >= policy.tilt_tolerance_deg else 0.0,
        "positions",
        deviation,
    )
    volume = FoundVolume(rows, dims, geometry, policy, dimensions, notes)
    if geometry.tilt_deg:
        volume = _tilted(table, volume)
    return volume if geometry.uniform else _uneven(table, volume, line, tolerance)


def _tilted(table: HeaderTable, volume: FoundVolume) -> FoundVolume:
    tilt = volume.geometry.tilt_deg
    error: FastDicomError | None = None
    if volume.policy.tilt == "raise":
        error = TiltError(
            f"The slices of series {_uid(table, volume.rows)} are stacked {tilt:.2f} degrees off their normal, more "
            f"than {volume.policy.tilt_tolerance_deg} degrees. Pass policy=GeometryPolicy(tilt='keep') to keep the "
            "tilt in the affine.",
            tilt_deg=tilt,
        )
    return replace(volume, notes=(*volume.notes, f"tilted {tilt:.2f} degrees, kept in the affine"), error=error)


def _uneven(table: HeaderTable, volume: FoundVolume, line: SliceLine, tolerance: float) -> FoundVolume:
    policy, along = volume.policy, volume.geometry.slice_positions
    if policy.gaps == "keep":
        note = f"uneven gaps of {line.gaps.min():.3f} to {line.gaps.max():.3f} mm kept (gaps='keep')"
        return replace(volume, notes=(*volume.notes, note))
    placed = grid_indices(along, tolerance)
    if policy.gaps == "fill" and placed is not None:
        return _filled(volume, *placed)
    error = _gap_error(table, volume, line, tolerance, fillable=placed is not None)
    return replace(volume, error=volume.error or error)


def _filled(volume: FoundVolume, index: NDArray[np.int64], spacing: float) -> FoundVolume:
    count = int(index[-1]) + 1
    rows = np.full((*volume.rows.shape[:-1], count), -1, dtype=np.int64)
    rows[..., index] = volume.rows
    old = volume.geometry
    step = (old.image_positions[-1] - old.image_positions[0]) / (count - 1)
    affine = old.affine.copy()
    affine[:3, 0] = step
    places = old.image_positions[0] + np.arange(count)[:, None] * step
    along = np.interp(np.arange(count), index, old.slice_positions)
    deviation = float(np.linalg.norm(places[index] - old.image_positions, axis=1).max())
    geometry = Geometry(affine, along, places, True, old.tilt_deg, "positions", deviation)
    note = f"{count - len(index)} absent slices filled on a grid of {spacing:.4f} mm (gaps='fill')"
    return replace(volume, rows=rows, geometry=geometry, notes=(*volume.notes, note))


def _gap_error(
    table: HeaderTable, volume: FoundVolume, line: SliceLine, tolerance: float, *, fillable: bool
) -> IrregularSpacingError:
    median = float(np.median(line.gaps))
    off = np.abs(line.gaps - median) > tolerance
    stack = volume.rows.reshape(-1, volume.rows.shape[-1])[0]
    uid = _uid(table, stack)
    if not off.any():
        worst = int(np.argmax(line.deviation))
        return IrregularSpacingError(
            f"The slices of series {uid} do not lie on one line: slice {worst} ({_name(table, stack[worst])}) is "
            f"{line.deviation[worst]:.3f} mm off, more than {tolerance:.3f} mm. Pass "
            "policy=GeometryPolicy(gaps='keep') to keep the positions as they are.",
            series_instance_uid=_uid(table, stack, full=True),
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
        f"than {tolerance:.3f} mm (largest difference: {line.gaps[worst]:.3f} mm after slice {worst}, "
        f"{_name(table, stack[worst])}). {remedy}",
        series_instance_uid=_uid(table, stack, full=True),
        gaps_off=int(off.sum()),
        gaps_total=len(line.gaps),
        median_gap_mm=median,
        largest_gap_mm=float(line.gaps[worst]),
        tolerance_mm=tolerance,
        after_slice=worst,
        path=str(table["path"][stack[worst]]),
    )


def _without_positions(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> FoundVolume:
    """Frames without usable positions: by frame number, InstanceNumber, then name (PS3.3 C.7.6.1.1.1)."""
    frame = table["frame"][rows]
    number = table["instance_number"][rows]
    rows = rows[np.lexsort((frame, table["path"][rows].astype(str), number))]
    pixel_spacing, notes = _pixel_spacing(table, int(rows[0]))
    spacing, source = _header_spacing(table, int(rows[0]))
    orientation = table["image_orientation"][rows[0]]
    cosines = orientation if is_orthonormal(orientation) else np.array([1.0, 0, 0, 0, 1.0, 0])
    affine = affine_of(cosines, pixel_spacing, np.zeros(3), slice_normal(cosines) * spacing)
    along = np.arange(len(rows)) * spacing
    sequence = bool(table["frames_in_file"][rows[0]] > 1)
    geometry = Geometry(affine, along, np.full((len(rows), 3), np.nan), True, 0.0, source, 0.0, has_positions=False)
    if sequence:
        how = "a sequence of frames without patient geometry, in stored order"
    else:
        known = number[number != INT_MISSING]
        by_number = len(np.unique(known)) == len(rows)
        order = "InstanceNumber" if by_number else "InstanceNumber and name"
        how = f"no usable Image Position (Patient): ordered by {order}"
    warn = () if sequence or len(rows) == 1 else (how,)
    dims = ("frame",) if sequence else ("z",)
    return FoundVolume(rows, dims, geometry, policy, (), (*notes, how), warn)


def _pixel_spacing(table: HeaderTable, row: int) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Distance between rows and columns, mm, and a note where it is not Pixel Spacing."""
    for name in ("pixel_spacing", "imager_pixel_spacing"):
        value = table[name][row]
        if np.isfinite(value).all() and (value > 0).all():
            return np.asarray(value, dtype=np.float64), () if name == "pixel_spacing" else (
                "pixel size is Imager Pixel Spacing, at the detector",
            )
    return np.ones(2, dtype=np.float64), ("no Pixel Spacing: 1 mm assumed",)


def _header_spacing(table: HeaderTable, row: int) -> tuple[float, str]:
    """Spacing of slices where positions give none, mm, and the attribute it comes from."""
    for name, keyword in (("spacing_between_slices", "SpacingBetweenSlices"), ("slice_thickness", "SliceThickness")):
        value = abs(float(table[name][row]))  # negative by convention in some NM objects: a direction, not a distance
        if np.isfinite(value) and value > 0:
            return value, keyword
    return 1.0, "none"


def _uid(table: HeaderTable, rows: NDArray[np.int64], *, full: bool = False) -> str:
    uid = bytes(table["series_instance_uid"][int(np.ravel(rows)[0])]).decode("ascii", "replace")
    return uid if full or len(uid) <= 12 else f"...{uid[-8:]}"


def _name(table: HeaderTable, row: int) -> str:
    return os.path.basename(str(table["path"][row]))
