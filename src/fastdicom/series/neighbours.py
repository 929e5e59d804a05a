"""Volumes of one series told of one another: of remnants, and of stacks that together are one evenly spaced stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fastdicom.geometry import fit_line, slice_normal
from fastdicom.headers import HeaderTable
from fastdicom.headers.frame_groups import NUCLEAR_MEDICINE
from fastdicom.series.dimensions import differing_along
from fastdicom.series.found import FoundVolume
from fastdicom.series.gaps import spacing_tolerance
from fastdicom.series.grouping import series_codes
from fastdicom.series.ordered import header_spacing
from fastdicom.series.times import clock_of
from fastdicom.series.words import file_name, listed
from fastdicom.types import GeometryPolicy

__all__ = ["with_neighbours", "with_origins"]

MANY = 16
"""A series of more volumes (radial slices, say) is not a volume with remnants."""

FEW = 0.2
"""A group with fewer frames than this part of the largest of its series is a remnant that the others should name."""

PARALLEL = 0.01
"""Normals whose components differ by less, half a degree, are those of one stack."""

_TEXTS = (
    "frame_of_reference_uid",
    "stack_id",
    "image_type",
    "sop_class_uid",
    "units",
    "photometric_interpretation",
    "convolution_kernel",
    "acquisition_number",
    "referenced_segment_number",
)
"""Attributes in which volumes of one series may differ, besides those that have words of their own."""


def with_neighbours(table: HeaderTable, volumes: Sequence[FoundVolume], groups: Sequence[int]) -> list[FoundVolume]:
    """Tell each volume of others of its series: the few frames that it may lack, and stacks that go on where it ends.

    Volumes of one group (`groups` has a number for each volume) say themselves what divides them.
    """
    if len(volumes) < 2:
        return list(volumes)
    by_series: dict[int, list[int]] = {}
    series = series_codes(table)
    for k, volume in enumerate(volumes):
        by_series.setdefault(int(series[volume.used_rows[0]]), []).append(k)
    told = list(volumes)
    for members in by_series.values():
        if not 1 < len(members) <= MANY:
            continue
        together = [volumes[k] for k in members]
        warnings = _stacks_told(table, together, [groups[k] for k in members])
        for k, volume, warned in zip(members, together, warnings, strict=True):
            count = len(volume.used_rows)
            few = [
                other
                for other in together
                if len(other.used_rows) <= max(1, FEW * count) and other.rows.shape[-1] < volume.rows.shape[-1]
            ]
            notes = [_remnant_note(table, volume, other) for other in few]
            if notes or warned:
                told[k] = replace(volume, notes=(*volume.notes, *notes), warnings=(*volume.warnings, *warned))
    return told


def with_origins(table: HeaderTable, volume: FoundVolume) -> FoundVolume:
    """Say where times and places come from: how midnight was met, what differs along a time axis that should not, and
    that slices of a tomogram were placed by a spacing.
    """
    notes, warnings = list(volume.notes), list(volume.warnings)
    row = int(volume.used_rows[0])
    if table["slice_vector"][row] and volume.geometry.has_positions and table["sop_class_uid"][row] == NUCLEAR_MEDICINE:
        spacing = header_spacing(table, row)[1]
        notes.append(f"slices of a tomogram are placed by the position of the first one and {spacing}")
    for axis, dimension in enumerate(volume.dimensions):
        if dimension.attribute in ("acquisition_time", "content_time"):
            clock = clock_of(table, volume.used_rows, "content" if dimension.attribute[0] == "c" else "acquisition")
            if clock.said:
                (notes if clock.sure else warnings).append(clock.said)
        if dimension.name in ("t", "acquisition") and (volume.rows >= 0).all():
            for name, values in differing_along(table, volume.rows, axis).items():
                which = listed([str(v.decode("ascii", "replace") if isinstance(v, bytes) else v) for v in values])
                warnings.append(
                    f"{name} differs along {dimension.name} ({dimension.attribute}): {which}. These may be several "
                    "reconstructions, not several times"
                )
    if len(notes) == len(volume.notes) and len(warnings) == len(volume.warnings):
        return volume
    return replace(volume, notes=tuple(notes), warnings=tuple(warnings))


def _stacks_told(table: HeaderTable, volumes: Sequence[FoundVolume], groups: Sequence[int]) -> list[list[str]]:
    """For each volume of a series, a sentence for each other that is one evenly spaced stack with it."""
    told: list[list[str]] = [[] for _ in volumes]
    stacks = [k for k, volume in enumerate(volumes) if volume.geometry.has_positions and volume.rows.shape[-1] > 1]
    if len({groups[k] for k in stacks}) < 2:
        return told
    normals = slice_normal(np.array([table["image_orientation"][volumes[k].used_rows[0]] for k in stacks]))
    ends = np.array([volumes[k].geometry.image_positions[[0, -1]] for k in stacks])
    counts = np.array([volumes[k].rows.shape[-1] for k in stacks])
    for a, b in combinations(range(len(stacks)), 2):
        one, other = volumes[stacks[a]], volumes[stacks[b]]
        if groups[stacks[a]] == groups[stacks[b]] or not _may_join(normals[[a, b]], ends[[a, b]], counts[[a, b]]):
            continue
        joined = _joined(_centres(table, one), _centres(table, other), normals[a], one.policy)
        if joined is None:
            continue
        follow, spacing = joined
        for k, mine, its in ((stacks[a], one, other), (stacks[b], other, one)):
            how = "goes on where this volume ends" if follow else "lies between the slices of this volume"
            differ = ", ".join(_differences(table, mine, its)) or "their headers"
            told[k].append(
                f"another volume of this series, of {its.rows.shape[-1]} slices, {how}: together they are one stack of "
                f"{counts[a] + counts[b]} slices of {spacing:.3f} mm. They differ in {differ}"
            )
    return told


def _may_join(normals: NDArray[np.float64], ends: NDArray[np.float64], counts: NDArray[np.int64]) -> bool:
    """Whether two stacks are parallel and their ends lie as those of one stack do: this is cheap, and mostly not so."""
    if min(np.abs(normals[0] - normals[1]).max(), np.abs(normals[0] + normals[1]).max()) > PARALLEL:
        return False
    along = np.sort(ends @ normals[0], axis=1)
    step = np.ptp(along) / (counts.sum() - 1)
    own = (along[:, 1] - along[:, 0]) / (counts - 1)
    return bool((own > 0.9 * step).all() and np.abs(along[1] - along[0]).max() > 0.5 * step)


def _joined(
    first: tuple[NDArray[np.float64], NDArray[np.float64]],
    second: tuple[NDArray[np.float64], NDArray[np.float64]],
    normal: NDArray[np.float64],
    policy: GeometryPolicy,
) -> tuple[bool, float] | None:
    """(whether one follows the other, spacing in mm) of two stacks that are one together; else None."""
    # Slices that are turned in the plane have their corners elsewhere, and their centres in line; smaller ones not.
    for one, other in zip(first, second, strict=True):
        places = np.concatenate([one, other])
        order = np.argsort(places @ normal, kind="stable")
        line = fit_line(places[order], normal)
        if line.spacing > 0 and line.deviation.max() <= spacing_tolerance(policy, line.spacing):
            of_first = order < len(one)
            return int(np.count_nonzero(np.diff(of_first))) == 1, line.spacing
    return None


def _centres(table: HeaderTable, volume: FoundVolume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(first corner, centre) of each slice, patient coordinates in mm."""
    row = int(volume.used_rows[0])
    affine, places = volume.geometry.affine, volume.geometry.image_positions
    across = (affine[:3, 1] * (table["rows"][row] - 1) + affine[:3, 2] * (table["columns"][row] - 1)) / 2
    return places, places + across


def _remnant_note(table: HeaderTable, volume: FoundVolume, other: FoundVolume) -> str:
    count = len(other.used_rows)
    names = listed(file_name(table, row) for row in other.used_rows)
    return (
        f"{count} other {'frame' if count == 1 else 'frames'} of this series ({names}), unlike these in "
        f"{', '.join(_differences(table, volume, other)) or 'their headers'}, {'is' if count == 1 else 'are'} a volume "
        "of their own"
    )


def _differences(table: HeaderTable, volume: FoundVolume, other: FoundVolume) -> list[str]:
    mine, theirs = int(volume.used_rows[0]), int(other.used_rows[0])
    differ = ["patient"] if table["patient_key"][mine] != table["patient_key"][theirs] else []
    if (table["rows"][mine], table["columns"][mine]) != (table["rows"][theirs], table["columns"][theirs]):
        differ.append("size")
    ways = table["image_orientation"][[mine, theirs]]
    turned = float(np.abs(ways[0] - ways[1]).max())
    if volume.geometry.has_positions and not other.geometry.has_positions:
        differ.append("having no usable position")
    elif turned > 1e-3 or (np.isnan(ways[0]) != np.isnan(ways[1])).any():
        differ.append("orientation")
    if not np.allclose(table["pixel_spacing"][mine], table["pixel_spacing"][theirs], rtol=1e-3, equal_nan=True):
        differ.append("pixel spacing")
    if differ:
        return differ
    if turned > volume.policy.orientation_tolerance / 2:
        differ.append(f"orientation (cosines by up to {turned:.2g})")
    return differ + [name for name in _TEXTS if table[name][mine] != table[name][theirs]]
