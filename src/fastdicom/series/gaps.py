"""Slices whose gaps differ: what is missing, what is nearly doubled, and what the policy makes of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import IrregularSpacingError
from fastdicom.geometry import SliceLine, grid_indices
from fastdicom.headers import HeaderTable
from fastdicom.series.dimensions import varying_attributes
from fastdicom.series.found import FoundVolume
from fastdicom.series.grouping import Codes
from fastdicom.series.words import file_name, full_uid, short_uid
from fastdicom.types import Geometry, GeometryPolicy

__all__ = ["spacing_tolerance", "uneven_volume"]

LEAST_FRACTION = 0.1
"""The tolerance in mm never exceeds this part of the spacing: an absent slice moves its neighbours by a quarter."""

CLOSE_FRACTION = 0.25
"""Slices closer than this part of the usual gap, a few here and there, are repeats that moved, not neighbours."""

MOST_EMPTY = 4
"""Most absent slices for each slice that exists: beyond, a stray slice is likelier than so many missing ones."""


@dataclass(frozen=True)
class _Clumps:
    """Slices that lie close to one another, here and there in a stack of much wider gaps."""

    of_slice: Codes
    """(N,) index of the clump of each slice."""
    closest: float
    """mm, the usual gap within clumps."""
    usual: float
    """mm, the usual gap between clumps."""
    first: int
    """The first slice whose successor is close to it."""

    @property
    def slices(self) -> int:
        """Slices that are not alone in their clump."""
        counts = np.bincount(self.of_slice)
        return int(counts[counts > 1].sum())


def spacing_tolerance(policy: GeometryPolicy, spacing: float) -> float:
    """Largest distance, mm, of a slice from the evenly spaced line in a uniform volume."""
    return max(policy.spacing_tolerance * spacing, min(policy.spacing_tolerance_mm, LEAST_FRACTION * spacing))


def uneven_volume(table: HeaderTable, volume: FoundVolume, line: SliceLine, tolerance: float) -> FoundVolume:
    """A volume whose slices are not evenly spaced: kept or filled as the policy says, or with an error."""
    policy = volume.policy
    if policy.gaps == "keep":
        note = f"uneven gaps of {line.gaps.min():.3f} to {line.gaps.max():.3f} mm kept (gaps='keep')"
        return replace(volume, notes=(*volume.notes, note))
    clumps = _clumps(line.gaps)
    if clumps is not None:
        return replace(volume, error=volume.error or _clump_error(table, volume, line, clumps))
    index = _on_grid(volume, policy)
    if policy.gaps == "fill" and index is not None and not _too_empty(index):
        return _filled(volume, index)
    return replace(volume, error=volume.error or _gap_error(table, volume, line, tolerance, index))


def _clumps(gaps: NDArray[np.float64]) -> _Clumps | None:
    """Slices that are too close to be neighbours of one stack; None where the smallest gaps can be its spacing.

    A run of slices that is long, or that outnumbers the rest, has a spacing, however far the others are.
    """
    wide = gaps[gaps * CLOSE_FRACTION >= gaps.min() * (1 - 1e-6)]
    if len(wide) == 0:
        return None
    usual = float(np.median(wide))
    close = gaps <= CLOSE_FRACTION * usual * (1 + 1e-6)
    of_slice = np.concatenate([[0], np.cumsum(~close)])
    extent = np.bincount(of_slice[1:][close], gaps[close], minlength=int(of_slice[-1]) + 1)
    most = int(np.bincount(of_slice).max())
    if extent.max() > CLOSE_FRACTION * usual * (1 + 1e-6) or most > of_slice[-1] + 1:
        return None
    return _Clumps(of_slice, float(np.median(gaps[close])), usual, int(np.argmax(close)))


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


def _too_empty(index: NDArray[np.int64]) -> bool:
    return int(index[-1]) + 1 - len(index) > MOST_EMPTY * len(index)


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


def _clump_error(table: HeaderTable, volume: FoundVolume, line: SliceLine, clumps: _Clumps) -> IrregularSpacingError:
    stack, k = volume.rows.reshape(-1, volume.rows.shape[-1])[0], clumps.first
    names = [name for name in varying_attributes(table, stack, clumps.of_slice) if name != "image_position"]
    differ = f" They differ in {', '.join(names[:6])}." if names else ""
    return IrregularSpacingError(
        f"{clumps.slices} of {len(stack)} slices in series {short_uid(table, stack)} are {clumps.closest:.3f} mm from "
        f"a neighbour, where the usual gap is {clumps.usual:.3f} mm (first: {file_name(table, stack[k])} and "
        f"{file_name(table, stack[k + 1])}, slices {k} and {k + 1}). These are repeats that moved, or a second stack, "
        f"rather than a stack with slices missing, and nothing can be filled in.{differ} Pass only the files of one "
        "stack, or policy=GeometryPolicy(gaps='keep') to keep the true positions of all.",
        series_instance_uid=full_uid(table, stack),
        gaps_total=len(line.gaps),
        close_slices=clumps.slices,
        close_gap_mm=clumps.closest,
        usual_gap_mm=clumps.usual,
        after_slice=k,
        path=str(table["path"][stack[k]]),
    )


def _gap_error(
    table: HeaderTable, volume: FoundVolume, line: SliceLine, tolerance: float, index: NDArray[np.int64] | None
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
    return IrregularSpacingError(
        f"{int(off.sum())} of {len(line.gaps)} gaps in series {uid} differ from the median {median:.3f} mm by more "
        f"than {allowed:.3f} mm (largest difference: a gap of {line.gaps[worst]:.3f} mm after slice {worst}, "
        f"{file_name(table, stack[worst])}). {_remedy(index)}",
        series_instance_uid=full_uid(table, stack),
        gaps_off=int(off.sum()),
        gaps_total=len(line.gaps),
        median_gap_mm=median,
        largest_gap_mm=float(line.gaps[worst]),
        tolerance_mm=tolerance,
        after_slice=worst,
        path=str(table["path"][stack[worst]]),
    )


def _remedy(index: NDArray[np.int64] | None) -> str:
    """What helps against uneven gaps: only what will not be refused in turn."""
    if index is None:
        return (
            "The gaps are no whole multiples of one spacing. Pass policy=GeometryPolicy(gaps='keep') to keep the true "
            "positions."
        )
    if _too_empty(index):
        count = int(index[-1]) + 1
        return (
            f"Filled, it would be {count} slices, {count - len(index)} of them empty: more than {MOST_EMPTY} for each "
            f"of the {len(index)} that exist, so that stray slices are likelier than missing ones. Pass only the files "
            "of one stack, or policy=GeometryPolicy(gaps='keep') to keep the true positions."
        )
    return (
        "Slices are probably missing. Pass policy=GeometryPolicy(gaps='fill') to insert empty ones, or gaps='keep' to "
        "keep the true positions."
    )
