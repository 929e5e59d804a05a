"""From one group of frames to volumes: order, repeats, and what splits a group that is no volume as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import IrregularSpacingError, RepeatedPositionError, TiltError
from fastdicom.geometry import grid_indices, is_orthonormal, slice_normal, slice_positions
from fastdicom.headers import HeaderTable
from fastdicom.headers.vendors import TILES_NONE
from fastdicom.series.beside import beside_one_another
from fastdicom.series.dimensions import Grid, explain_repeats, varying_attributes
from fastdicom.series.found import FoundVolume
from fastdicom.series.gaps import spacing_tolerance
from fastdicom.series.grouping import Codes, codes_of, is_place, split_by
from fastdicom.series.interleaved import alternating_kinds
from fastdicom.series.ordered import ordered_volume
from fastdicom.series.repeats import complete_part, divided, shares_instances
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


def volumes_of_group(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> list[FoundVolume]:
    """The volumes in one group of frames (see `group_rows`); at least one, possibly with an error."""
    row = int(rows[0])
    if not is_place(table["image_position"][row]) or not is_orthonormal(table["image_orientation"][row]):
        return [unplaced_volume(table, rows, policy)]
    # What divides a group is found before the policy drops, keeps or fills anything: the volumes of a series are the
    # same under every policy.
    strict = replace(policy, gaps="raise", duplicates="raise")
    whole = _positioned(table, rows, strict)[0]
    repeated = isinstance(whole.error, RepeatedPositionError)
    if repeated and _one_place(table, rows):
        return [unplaced_volume(table, rows, policy)]
    if repeated and shares_instances(table, rows):
        return _positioned(table, rows, policy)
    if isinstance(whole.error, (RepeatedPositionError, IrregularSpacingError)) or _mixes_images(table, whole):
        for codes, what in _partitions(table, rows):
            volumes = _regular_parts(table, rows, codes, strict, whole)
            if volumes is not None:
                note = f"one of {len(volumes)} volumes of this series that {what}"
                whole_parts = [part for volume in volumes for part in _of_part(table, volume, policy)]
                return [replace(part, notes=(*part.notes, note)) for part in whole_parts]
    if whole.error is None or isinstance(whole.error, TiltError):
        kinds = alternating_kinds(table, whole.rows)
        if kinds is not None:
            return _kinds_apart(table, whole, kinds, policy)
    return [replace(whole, policy=policy)] if whole.error is None else _positioned(table, rows, policy)


def _of_part(table: HeaderTable, volume: FoundVolume, policy: GeometryPolicy) -> list[FoundVolume]:
    """The volume of one part of a group; several where two reconstructions are in it."""
    if _mixes_images(table, volume):
        return volumes_of_group(table, np.sort(volume.used_rows), policy)
    return [replace(volume, policy=policy)]


def _kinds_apart(
    table: HeaderTable, whole: FoundVolume, kinds: tuple[Codes, str, tuple[str, ...]], policy: GeometryPolicy
) -> list[FoundVolume]:
    """Stacks of different kinds of images that lie between one another, each as volumes of its own."""
    codes, name, values = kinds
    told = (
        f"one of {len(values)} volumes that lie between one another: {name} alternates from slice to slice "
        f"({', '.join(values[:3])}{', ...' if len(values) > 3 else ''}), and joined they would be {len(codes)} slices "
        f"of {whole.geometry.spacing[0]:.3f} mm"
    )
    parts = [whole.rows[..., codes == k].ravel() for k in range(len(values))]
    volumes = [volume for part in parts for volume in volumes_of_group(table, np.sort(part), policy)]
    return [replace(volume, warnings=(*volume.warnings, told)) for volume in volumes]


def _one_place(table: HeaderTable, rows: NDArray[np.int64]) -> bool:
    """Whether these are frames of one classic multi-frame file that has one position for all of them."""
    if table["frames_in_file"][rows].min() < 2 or table["per_frame_functional_groups"][rows].any():
        return False
    if (table["tile_source"][rows] != TILES_NONE).any() or len(set(table["path"][rows].tolist())) > 1:
        return False
    return bool((table["image_position"][rows] == table["image_position"][rows[0]]).all())


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


def _partitions(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[tuple[Codes, str]]:
    """Ways to divide a group, best first: (code of each row, what differs between the parts)."""
    for name in _SPLITTING:
        yield codes_of(table[name][rows]), f"differ in {name}"
    position = table["image_position"][rows]
    normal = slice_normal(table["image_orientation"][rows[0]])
    place = _position_index(slice_positions(position, normal))
    for codes in beside_one_another(position, normal, place):
        yield codes, "lie beside one another"


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
    if uneven and _one_stack_with_holes(whole, volumes, strict):
        return None
    return volumes if all(v.error is None and v.rows.shape[-1] >= least for v in volumes) else None


def _one_stack_with_holes(whole: FoundVolume, parts: list[FoundVolume], policy: GeometryPolicy) -> bool:
    """Whether the parts follow one another on one grid: then slices are missing between them, whatever else differs."""
    ends = sorted((v.geometry.slice_positions[0], v.geometry.slice_positions[-1]) for v in parts)
    if any(before[1] >= after[0] for before, after in pairwise(ends)):
        return False
    along = whole.geometry.slice_positions
    return grid_indices(along, spacing_tolerance(policy, float(np.median(np.diff(along))))) is not None


def _positioned(table: HeaderTable, rows: NDArray[np.int64], policy: GeometryPolicy) -> list[FoundVolume]:
    normal = slice_normal(table["image_orientation"][rows[0]])
    position = _position_index(slice_positions(table["image_position"][rows], normal))
    counts = np.bincount(position)
    if counts.max() == 1:
        return [ordered_volume(table, rows[np.argsort(position)], (), policy)]
    # One SOP Instance UID is one image: two files of it are no two times, whatever their clocks say.
    grid = None if shares_instances(table, rows) else explain_repeats(table, rows, position)
    if grid is not None:
        return _from_grid(table, grid, policy)
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
        between = len(real) - k - 1
        # Three and more frames at one place, all equally far apart, are slices; jitter is not that regular.
        even = np.ptp(real[: k + 1]) <= 0.05 * real[0] and len(real) == len(gaps) and k + 1 > between + 1
        usual = usual if even else float(np.sqrt(real[k] * real[k + 1]))
    return max(usual, min(1e-3, 0.5 * float(real[-1])))


def _from_grid(table: HeaderTable, grid: Grid, policy: GeometryPolicy) -> list[FoundVolume]:
    names = tuple(dimension.name for dimension in grid.dimensions)
    volume = ordered_volume(table, grid.rows, grid.dimensions, policy)
    places = table["image_position"][grid.rows].reshape(-1, grid.rows.shape[-1], 3)
    moved = np.linalg.norm(places - places[0], axis=-1)
    if moved.max() > max(spacing_tolerance(policy, volume.geometry.spacing[0]), policy.spacing_tolerance_mm):
        return _moved(table, grid, volume, moved)
    notes = [f"{' x '.join(names)} from {', '.join(d.attribute for d in grid.dimensions)}"]
    if any(d.directions is not None for d in grid.dimensions) and np.isfinite(table["ge_gradient_x"][grid.rows]).any():
        notes.append("gradient directions are as GE writes them: along frequency, phase and slice, not patient axes")
    warnings = list(volume.warnings)
    if any(dimension.attribute == "instance_number" for dimension in grid.dimensions):
        warnings.append(
            "no attribute says what differs between the repeated positions: complete volumes were counted in "
            "InstanceNumber order"
        )
    return [replace(volume, notes=(*notes, *volume.notes), warnings=tuple(warnings))]


def _moved(table: HeaderTable, grid: Grid, volume: FoundVolume, moved: NDArray[np.float64]) -> list[FoundVolume]:
    """Times, echoes, ... whose slices are not at one place: no array, but a volume each on request.

    `moved` is (stacks, Z): mm from the slice of the first stack.
    """
    stacks = grid.rows.reshape(-1, grid.rows.shape[-1])
    names = "/".join(dimension.name for dimension in grid.dimensions)
    farthest = float(moved.max())
    if volume.policy.duplicates == "split":
        attributes = ", ".join(dimension.attribute for dimension in grid.dimensions)
        note = (
            f"one of {len(stacks)} volumes of different {names} ({attributes}) that lie up to {farthest:.3f} mm apart "
            "in the plane (duplicates='split')"
        )
        parts = [ordered_volume(table, stack, (), volume.policy) for stack in stacks]
        return [replace(part, notes=(*part.notes, note)) for part in parts]
    which, slice_index = np.unravel_index(int(np.argmax(moved)), moved.shape)
    row = int(stacks[which, slice_index])
    error = RepeatedPositionError(
        f"Slices of different {names} lie up to {farthest:.3f} mm apart in the plane in series "
        f"{short_uid(table, grid.rows)} (slice {slice_index}, {file_name(table, row)}); one array cannot hold "
        "them. Pass policy=GeometryPolicy(duplicates='split') for one volume each.",
        series_instance_uid=full_uid(table, grid.rows),
        distance_mm=farthest,
        path=str(table["path"][row]),
    )
    return [replace(volume, error=error)]


def _unexplained(
    table: HeaderTable, rows: NDArray[np.int64], position: Codes, policy: GeometryPolicy
) -> list[FoundVolume]:
    """Repeated positions that no attribute explains: what the policy says."""
    parted = divided(table, rows, position)
    kept = None if parted is None else complete_part(parted[0], position)
    error = _repeated_error(table, rows, position, _remedy(table, rows, position, parted, kept))
    refused = replace(policy, gaps="keep")
    ordered = rows[np.lexsort((table["sop_instance_uid"][rows], table["instance_number"][rows], position))]
    _, one_each = np.unique(position, return_index=True)
    whole = ordered_volume(table, rows[one_each], (), refused)
    whole = replace(whole, rows=ordered, dims=("z",), policy=policy, error=error)
    if parted is None or policy.duplicates == "raise":
        return [whole]
    codes, what = parted
    along = np.argsort(position, kind="stable")
    rows, codes, position = rows[along], codes[along], position[along]
    differ = f"that differ in {what}" if what else "counted in InstanceNumber order"
    if policy.duplicates == "split":
        parts = [rows[codes == k] for k in range(int(codes.max()) + 1)]
        note = f"one of {len(parts)} volumes split at repeated positions (duplicates='split'), {differ}"
        volumes = [ordered_volume(table, part, (), policy) for part in parts]
        return [replace(volume, notes=(*volume.notes, note)) for volume in volumes]
    if kept is None:
        return [whole]  # one frame of each position would be of different parts
    dropped = tuple(int(row) for row in rows[codes != kept])
    note = f"{len(dropped)} frames at repeated positions left out (duplicates='first'): of {codes.max() + 1} parts "
    volume = ordered_volume(table, rows[codes == kept], (), policy)
    return [replace(volume, notes=(*volume.notes, note + differ), dropped=dropped)]


def _remedy(
    table: HeaderTable,
    rows: NDArray[np.int64],
    position: Codes,
    parted: tuple[Codes, str] | None,
    kept: int | None,
) -> str:
    """What helps against repeated positions: only what will not be refused in turn."""
    if parted is None:
        counts = np.bincount(position)
        same = rows[position == int(np.argmax(counts > 1))]
        return (
            "Nothing divides them without mixing parts, so that duplicates='first' and duplicates='split' would guess. "
            f"Pass one frame of each position only: leave out {int(counts.sum()) - len(counts)} of the {len(rows)}, "
            f"starting with all but one of {listed(file_name(table, row) for row in same)}."
        )
    if kept is None:
        return (
            "No part of them has a frame at every position, so that duplicates='first' would mix parts. Pass "
            "policy=GeometryPolicy(duplicates='split') for one volume each, or only the files of one part."
        )
    return (
        "Pass policy=GeometryPolicy(duplicates='first') to keep the first of each, or duplicates='split' for one "
        "volume each."
    )


def _repeated_error(table: HeaderTable, rows: NDArray[np.int64], position: Codes, remedy: str) -> RepeatedPositionError:
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
        f"(first: {listed(file_name(table, row) for row in same)}). {differ}. "
        f"{remedy}",
        series_instance_uid=full_uid(table, rows),
        positions=len(counts),
        repeated=repeated,
        path=str(table["path"][same[-1]]),
        paths=[str(path) for path in table["path"][same]],
    )
