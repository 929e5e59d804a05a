"""From one group of frames to volumes: order, repeats, and what splits a group that is no volume as a whole."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import IrregularSpacingError, RepeatedPositionError
from fastdicom.geometry import is_orthonormal, slice_normal, slice_positions
from fastdicom.headers import HeaderTable
from fastdicom.series.dimensions import Grid, explain_repeats, varying_attributes
from fastdicom.series.found import FoundVolume
from fastdicom.series.grouping import Codes, codes_of, is_place, merge_close, split_by
from fastdicom.series.ordered import ordered_volume, spacing_tolerance
from fastdicom.series.unplaced import unplaced_volume
from fastdicom.series.words import file_name, full_uid, listed, short_uid
from fastdicom.types import GeometryPolicy

__all__ = ["volumes_of_group"]

_SPLITTING = (
    "image_type",
    "referenced_segment_number",
    "convolution_kernel",
    "acquisition_number",
    "temporal_position_identifier",
    "echo_numbers",
    "series_description",
    "protocol_name",
)
"""Attributes that may divide a group into several regular volumes where it is none as a whole."""

_COUNTED = (
    "acquisition_date_time",
    "acquisition_number",
    "acquisition_time",
    "content_time",
    "dimension_index_values",
    "instance_number",
    "temporal_position_index",
)
"""Attributes that tell frames apart without saying what they show."""

_KINDS = ("convolution_kernel", "image_type")

BESIDE_MM = 1.0
"""Slices of one stack that are moved against one another by more than this are no rounding: another stack."""


def volumes_of_group(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> list[FoundVolume]:
    """The volumes in one group of frames (see `group_rows`); at least one, possibly with an error."""
    row = int(rows[0])
    if not is_place(table["image_position"][row]) or not is_orthonormal(table["image_orientation"][row]):
        return [unplaced_volume(table, rows, policy)]
    # What divides a group is found before the policy drops, keeps or fills anything: the volumes of a series are the
    # same under every policy.
    strict = replace(policy, gaps="raise", duplicates="raise")
    whole = _positioned(table, rows, strict)[0]
    if isinstance(whole.error, (RepeatedPositionError, IrregularSpacingError)) or _mixes_images(table, whole):
        for codes, what in _partitions(table, rows):
            volumes = _regular_parts(table, rows, codes, strict, whole)
            if volumes is not None:
                note = f"one of {len(volumes)} volumes of this series that {what}"
                return [replace(volume, policy=policy, notes=(*volume.notes, note)) for volume in volumes]
    return [replace(whole, policy=policy)] if whole.error is None else _positioned(table, rows, policy)


def _mixes_images(table: HeaderTable, volume: FoundVolume) -> bool:
    """Whether frames that are images of their own are in one volume by accident.

    Segments (PS3.3 C.8.20) in one stack; or two reconstructions of one acquisition, which differ in kernel or Image
    Type and also, like everything, in the time at which they were written.
    """
    segments = table["referenced_segment_number"][volume.rows]
    if (segments != segments[..., :1]).any():
        return True
    for axis, dimension in enumerate(volume.dimensions):
        if dimension.attribute in _COUNTED:
            for name in _KINDS:
                kinds = table[name][volume.rows]
                if (kinds != np.take(kinds, [0], axis=axis)).any() and _equally_often(kinds, axis):
                    return True
    return False


def _equally_often(kinds: NDArray[np.bytes_], axis: int) -> bool:
    """Whether each kind is as often along an axis as every other: one odd time point is no second reconstruction."""
    lines = np.moveaxis(codes_of(kinds.ravel()).reshape(kinds.shape), axis, -1).reshape(-1, kinds.shape[axis])
    counts = np.unique(lines[0], return_counts=True)[1]
    return bool(len(set(counts.tolist())) == 1 and (np.sort(lines, axis=1) == np.sort(lines[0])).all())


def _partitions(table: HeaderTable, rows: NDArray[np.int64]) -> list[tuple[Codes, str]]:
    """Ways to divide a group, best first: (code of each row, what differs between the parts)."""
    found = [(codes_of(table[name][rows]), f"differ in {name}") for name in _SPLITTING]
    position = table["image_position"][rows]
    normal = slice_normal(table["image_orientation"][rows[0]])
    across = position - slice_positions(position, normal)[:, None] * normal
    return [(merge_close(across, BESIDE_MM), "lie beside one another"), *found]


def _regular_parts(
    table: HeaderTable, rows: NDArray[np.int64], codes: Codes, strict: GeometryPolicy, whole: FoundVolume
) -> list[FoundVolume] | None:
    """The volumes of the parts, where every part is a regular one; else None."""
    parts = split_by(rows, codes)
    uneven = isinstance(whole.error, IrregularSpacingError)
    # Two slices are evenly spaced whatever is missing between them: only three can prove a gap wrong.
    least = 3 if uneven else 1
    if not 1 < len(parts) <= max(2, len(rows) // least):
        return None
    volumes = [_positioned(table, part, strict)[0] for part in parts]
    return volumes if all(v.error is None and v.rows.shape[-1] >= least for v in volumes) else None


def _positioned(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> list[FoundVolume]:
    normal = slice_normal(table["image_orientation"][rows[0]])
    position = _position_index(slice_positions(table["image_position"][rows], normal))
    counts = np.bincount(position)
    if counts.max() == 1:
        return [ordered_volume(table, rows[np.argsort(position)], (), policy)]
    grid = explain_repeats(table, rows, position)
    if grid is not None:
        return [_from_grid(table, grid, policy)]
    return _unexplained(table, rows, position, policy)


def _position_index(along: NDArray[np.float64]) -> Codes:
    """Index of each frame's place along the normal; what is rounding to the gaps between slices is one place."""
    order = np.argsort(along, kind="stable")
    gaps = np.diff(along[order])
    index = np.empty(len(along), dtype=np.int64)
    index[order] = np.concatenate([[0], np.cumsum(gaps > _same_place(gaps))])
    return index


def _same_place(gaps: NDArray[np.float64]) -> float:
    """The gap below which two frames are at one place, mm.

    1 % of the usual gap, or, where gaps are of two kinds, far apart (repeats that are moved by some micrometres, and
    slices), what lies between the kinds.
    """
    real = np.sort(gaps[gaps > 1e-6])
    if len(real) == 0:
        return 1e-3
    usual = 0.01 * float(real[len(real) // 2])
    ratios = real[1:] / real[:-1]
    small = np.flatnonzero((ratios >= 20) & (real[:-1] <= 0.05))
    if len(small):
        k = int(small[np.argmax(ratios[small])])
        usual = float(np.sqrt(real[k] * real[k + 1]))
    return max(usual, min(1e-3, 0.5 * float(real[-1])))


def _from_grid(table: HeaderTable, grid: Grid, policy: GeometryPolicy) -> FoundVolume:
    names = tuple(dimension.name for dimension in grid.dimensions)
    volume = ordered_volume(table, grid.rows, grid.dimensions, policy)
    places = table["image_position"][grid.rows].reshape(-1, grid.rows.shape[-1], 3)
    moved = np.linalg.norm(places - places[0], axis=-1)
    if moved.max() > max(spacing_tolerance(policy, volume.geometry.spacing[0]), policy.spacing_tolerance_mm):
        which, slice_index = np.unravel_index(int(np.argmax(moved)), moved.shape)
        row = int(grid.rows.reshape(-1, grid.rows.shape[-1])[which, slice_index])
        error = RepeatedPositionError(
            f"Slices of different {'/'.join(names)} lie up to {moved.max():.3f} mm apart in the plane in series "
            f"{short_uid(table, grid.rows)} (slice {slice_index}, {file_name(table, row)}); one array cannot hold "
            "them. Pass policy=GeometryPolicy(duplicates='split') for one volume each.",
            series_instance_uid=full_uid(table, grid.rows),
            distance_mm=float(moved.max()),
            path=str(table["path"][row]),
        )
        return replace(volume, error=error)
    notes = [f"{' x '.join(names)} from {', '.join(d.attribute for d in grid.dimensions)}"]
    if any(d.directions is not None for d in grid.dimensions) and np.isfinite(table["ge_gradient_x"][grid.rows]).any():
        notes.append("gradient directions are as GE writes them: along frequency, phase and slice, not patient axes")
    warnings = list(volume.warnings)
    if any(dimension.attribute == "instance_number" for dimension in grid.dimensions):
        warnings.append(
            "no attribute says what differs between the repeated positions: complete volumes were counted in "
            "InstanceNumber order"
        )
    return replace(volume, notes=(*notes, *volume.notes), warnings=tuple(warnings))


def _unexplained(
    table: HeaderTable, rows: NDArray[np.int64], position: Codes, policy: GeometryPolicy
) -> list[FoundVolume]:
    """Repeated positions that no attribute explains: what the policy says."""
    number = table["instance_number"][rows]
    # Copies in another folder stay together; within a folder content comes before name, which may have been changed.
    paths = table["path"][rows].astype(str)
    folders = np.array([os.path.dirname(path) for path in paths])
    keys = (table["frame"][rows], paths, table["sop_instance_uid"][rows], folders, number, position)
    order = np.lexsort(keys)
    starts = np.concatenate([[0], np.cumsum(np.bincount(position))[:-1]])
    occurrence = np.arange(len(rows)) - starts[position[order]]
    ordered = rows[order]
    if policy.duplicates == "split":
        parts = [ordered[occurrence == k] for k in range(int(occurrence.max()) + 1)]
        note = f"one of {len(parts)} volumes split at repeated positions (duplicates='split')"
        volumes = [ordered_volume(table, part, (), policy) for part in parts]
        return [replace(volume, notes=(*volume.notes, note)) for volume in volumes]
    first = ordered[occurrence == 0]
    volume = ordered_volume(table, first, (), replace(policy, gaps="keep") if policy.duplicates == "raise" else policy)
    dropped = tuple(int(row) for row in ordered[occurrence > 0])
    if policy.duplicates == "first":
        note = f"{len(dropped)} frames at repeated positions left out (duplicates='first')"
        return [replace(volume, notes=(*volume.notes, note), dropped=dropped)]
    error = _repeated_error(table, rows, position)
    return [replace(volume, rows=ordered, dims=("z",), policy=policy, error=error)]


def _repeated_error(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> RepeatedPositionError:
    counts = np.bincount(position)
    repeated = int((counts > 1).sum())
    same = rows[position == int(np.argmax(counts > 1))]
    names = varying_attributes(table, rows, position)
    if len(np.unique(table["sop_instance_uid"][same])) < len(same) and table["frames_in_file"][same].max() == 1:
        differ = "They have one SOP Instance UID but are not the same file"
    elif names:
        differ = f"They differ in {', '.join(names[:6])}, which does not make a full grid"
    else:
        differ = "Nothing in their headers tells them apart"
    if counts.min() != counts.max():
        differ += f" ({int(counts.min())} to {int(counts.max())} frames a position)"
    return RepeatedPositionError(
        f"{repeated} of {len(counts)} slice positions in series {short_uid(table, rows)} hold more than one frame "
        f"(first: {listed(file_name(table, row) for row in same)}). {differ}. Pass "
        "policy=GeometryPolicy(duplicates='first') to keep the first of each, or duplicates='split' for one volume "
        "each.",
        series_instance_uid=full_uid(table, rows),
        positions=len(counts),
        repeated=repeated,
        path=str(table["path"][same[-1]]),
        paths=[str(path) for path in table["path"][same]],
    )
