"""What explains several frames at one position: time, echo, b-value, ... as further dimensions of the array."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import BY_NAME, HeaderTable
from fastdicom.series.candidates import Candidate, all_candidates, instance_numbers
from fastdicom.series.found import Dimension
from fastdicom.series.grouping import Codes, codes_of

__all__ = ["RECONSTRUCTION", "Grid", "differing_along", "explain_repeats", "varying_attributes"]

MAX_COMBINED = 3
"""Most attributes that are combined to explain repeats (time x echo x component, say)."""

RECONSTRUCTION = ("slice_thickness", "convolution_kernel", "filter_type", "reconstruction_diameter")
"""Attributes of how an image was made of what was measured: they do not change with time."""

_WRITTEN = frozenset(("content_time", "instance_number"))
"""Attributes that say when, or as which, an image was made: images of one moment differ in them too."""

_NO_EXPLANATION = frozenset(
    ("csa_image_header", "extended_offset_table", "extended_offset_table_lengths", "sop_instance_uid")
)
"""Elements that differ from file to file whatever the frames show."""


@dataclass(frozen=True)
class Grid:
    """A full grid: one frame for every combination of dimensions and position."""

    rows: NDArray[np.int64]
    """(d1, d2, ..., positions) row numbers."""
    dimensions: tuple[Dimension, ...]


@dataclass(frozen=True)
class _Cells:
    """The frames that a grid is made of: where each is along the normal, and how many share a place."""

    position: Codes
    places: int
    repeats: int

    def full(self, codes: Codes, size: int) -> bool:
        """Whether every place holds each of `size` codes equally often."""
        if self.repeats % size:
            return False
        counts = np.bincount(self.position * size + codes, minlength=self.places * size)
        return bool((counts == self.repeats // size).all())


def explain_repeats(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> Grid | None:
    """Find the attributes that tell the frames at each position apart, with nothing missing.

    Parameters
    ----------
    table : HeaderTable
    rows : (N,) row numbers of one group
    position : (N,) int, 0 .. positions - 1
        Index of each frame's position along the normal.

    Returns
    -------
    Grid, or None where no attribute, alone or with up to two others, gives a full grid.

    Attributes are tried in the order of `all_candidates`: first those whose values are the same at every position,
    then, for what is different from slice to slice (times), their order within each position. When an image was made
    is no time axis where all images of a position were acquired at one time, or are made in different ways.
    """
    counts = np.bincount(position)
    if counts.min() != counts.max():
        return None
    cells = _Cells(position, len(counts), int(counts[0]))
    exact: list[tuple[Candidate, Codes, int]] = []
    ranked: list[Candidate] = []
    at_once = _acquired_at_once(table, rows, position)
    for candidate in all_candidates(table, rows):
        if at_once and candidate.attribute == "content_time":
            continue
        codes, size = candidate.ordered_codes()
        if size < 2 or not _varies_within(codes, position):
            continue
        if candidate.ranked:
            ranked.append(candidate)
        if cells.full(codes, size) and (candidate.labels is None or candidate.dimension(codes, size) is not None):
            exact.append((candidate, codes, size))
    exact = _without_aliases(exact)
    for number in range(1, MAX_COMBINED + 1):
        for chosen in combinations(exact, number):
            grid = _exact_grid(chosen, rows, cells)
            if grid is not None and not _is_mixture(table, grid):
                return grid
    for number in range(MAX_COMBINED):
        for chosen in combinations(exact, number):
            for candidate in ranked:
                grid = _ranked_grid(chosen, candidate, table, rows, cells)
                if grid is not None and not _is_mixture(table, grid):
                    return grid
    counted = _grid_by_instance_number(table, rows, cells)
    return None if counted is None or _is_mixture(table, counted) else counted


def differing_along(table: HeaderTable, rows: NDArray[np.int64], axis: int) -> dict[str, list[Any]]:
    """What differs along an axis of a grid although one way of reconstruction has one value: name, distinct values."""
    found = {}
    for name in RECONSTRUCTION:
        values = table[name][rows]
        first = np.take(values, [0], axis=axis)
        same = np.isclose(values, first, rtol=1e-3, equal_nan=True) if values.dtype.kind == "f" else values == first
        if not same.all():
            found[name] = np.unique(values).tolist()
    return found


def _is_mixture(table: HeaderTable, grid: Grid) -> bool:
    """Whether an axis that only says when images were made runs over several ways of making them."""
    return any(
        dimension.attribute in _WRITTEN and bool(differing_along(table, grid.rows, axis))
        for axis, dimension in enumerate(grid.dimensions)
    )


def _acquired_at_once(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> bool:
    """Whether all frames say when they were acquired, and those of each position say the same."""
    known = False
    for name in ("acquisition_date_time", "acquisition_time"):
        values = table[name][rows]
        known |= bool((values != b"").all())
        if _varies_within(codes_of(values), position):
            return False
    return known and not _varies_within(codes_of(table["acquisition_date"][rows]), position)


def varying_attributes(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> list[str]:
    """Names of the attributes that differ between frames at one position: what an error message can point at."""
    return [
        name
        for name in BY_NAME
        if name not in _NO_EXPLANATION and _varies_within(codes_of(table[name][rows]), position)
    ]


def _varies_within(codes: Codes, position: Codes) -> bool:
    """Whether two frames at one position have different codes."""
    if not codes.any():
        return False
    first = np.zeros(int(position.max()) + 1, dtype=np.int64)
    first[position] = codes  # whichever row comes last stands for its position
    return bool((codes != first[position]).any())


def _without_aliases(found: list[tuple[Candidate, Codes, int]]) -> list[tuple[Candidate, Codes, int]]:
    """Drop what only numbers the values of another attribute (temporal position 1 and 2 for two echoes)."""
    kept: list[tuple[Candidate, Codes, int]] = []
    for candidate, codes, size in found:
        alias = -1
        for k, (_, other, other_size) in enumerate(kept):
            if size == other_size and len(np.unique(codes * size + other)) == size:
                alias = k
                break
        if alias < 0:
            kept.append((candidate, codes, size))
        elif kept[alias][0].counts and not candidate.counts:
            kept[alias] = (candidate, codes, size)
    return kept


def _exact_grid(
    chosen: tuple[tuple[Candidate, Codes, int], ...], rows: NDArray[np.int64], cells: _Cells
) -> Grid | None:
    # Time turns slowest, as it was acquired; what is measured at each time turns faster.
    chosen = tuple(sorted(chosen, key=lambda item: item[0].name not in ("t", "acquisition")))
    sizes = [size for _, _, size in chosen]
    names = {candidate.name for candidate, _, _ in chosen}
    if int(np.prod(sizes)) != cells.repeats or len(names) < len(chosen):
        return None
    grid = _filled([codes for _, codes, _ in chosen], sizes, rows, cells)
    if grid is None:
        return None
    dimensions = [candidate.dimension(codes, size) for candidate, codes, size in chosen]
    return Grid(grid, tuple(dimensions)) if all(dimensions) else None  # type: ignore[arg-type]


def _ranked_grid(
    chosen: tuple[tuple[Candidate, Codes, int], ...],
    ranked: Candidate,
    table: HeaderTable,
    rows: NDArray[np.int64],
    cells: _Cells,
) -> Grid | None:
    sizes = [size for _, _, size in chosen]
    product = int(np.prod(sizes)) if sizes else 1
    names = {candidate.name for candidate, _, _ in chosen} | {ranked.name}
    if cells.repeats % product or cells.repeats == product or len(names) <= len(chosen):
        return None
    within, size = cells.position, 1
    for _, codes, extent in chosen:
        within, size = within * extent + codes, size * extent
    if not cells.full(within - cells.position * size, size):
        return None
    rank = _rank_within(ranked.values, within)
    if rank is None or not _is_order(table, rows, ranked, rank, within, cells):
        return None
    length = cells.repeats // product
    dimensions = [ranked.dimension(rank, length)]
    dimensions += [candidate.dimension(codes, extent) for candidate, codes, extent in chosen]
    grid = _filled([rank, *(codes for _, codes, _ in chosen)], [length, *sizes], rows, cells)
    if grid is None or not all(dimensions):
        return None
    return Grid(grid, tuple(dimensions))  # type: ignore[arg-type]


def _is_order(
    table: HeaderTable, rows: NDArray[np.int64], ranked: Candidate, rank: Codes, within: Codes, cells: _Cells
) -> bool:
    """Whether the order within each position means the same at every position.

    The time between two ranks exceeds the spread within a rank; or InstanceNumber, or every other clock, puts the
    frames of each position into the same order; or nothing else orders them, and all frames of one rank come before
    all of the next, at whatever position. Jitter of a few milliseconds does none of these.
    """
    if ranked.labels is not None:
        return True  # each rank has one weighting at all positions already
    # Index of the other dimensions: `within` counts them fastest.
    other = within - cells.position * ((int(within.max()) + 1) // cells.places)
    key = other * (int(rank.max()) + 1) + rank
    low, high = np.full(int(key.max()) + 1, np.inf), np.full(int(key.max()) + 1, -np.inf)
    np.minimum.at(low, key, ranked.values)
    np.maximum.at(high, key, ranked.values)
    length = int(rank.max()) + 1
    first, last = low.reshape(-1, length), high.reshape(-1, length)
    between = first[:, 1:] - last[:, :-1]
    if between.min() > (last - first).max():
        return True
    number = instance_numbers(table, rows)
    numbered = None if number is None else _rank_within(number, within)
    if numbered is not None and np.array_equal(numbered, rank):
        return True
    clocks = [c.values for c in all_candidates(table, rows) if c.ranked and c.labels is None]
    others = [_rank_within(c, within) for c in clocks if len(np.unique(np.round(c - ranked.values, 6))) > 1]
    known = [order for order in others if order is not None]
    if known and all(np.array_equal(order, rank) for order in known):
        return True
    return bool(between.min() > 0) and numbered is None and not known


def _filled(codes: list[Codes], sizes: list[int], rows: NDArray[np.int64], cells: _Cells) -> NDArray[np.int64] | None:
    """Row of each cell of the grid, (sizes ..., places); None where a cell is empty or holds two."""
    shape = (*sizes, cells.places)
    flat = np.ravel_multi_index((*codes, cells.position), shape)
    if len(rows) != int(np.prod(shape)) or np.bincount(flat, minlength=len(rows)).max() > 1:
        return None
    grid = np.empty(len(rows), dtype=np.int64)
    grid[flat] = rows
    return grid.reshape(shape)


def _rank_within(values: NDArray[np.float64], group: Codes) -> Codes | None:
    """Rank of each value among those of its group; None where a group has equal or missing values."""
    if values.dtype.kind == "f" and np.isnan(values).any():
        return None
    order = np.lexsort((values, group))
    sorted_groups, sorted_values = group[order], values[order]
    same_group = sorted_groups[1:] == sorted_groups[:-1]
    if np.any(same_group & (sorted_values[1:] == sorted_values[:-1])):
        return None
    starts = np.concatenate([[0], np.flatnonzero(~same_group) + 1])
    lengths = np.diff(np.concatenate([starts, [len(order)]]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return rank


def _grid_by_instance_number(table: HeaderTable, rows: NDArray[np.int64], cells: _Cells) -> Grid | None:
    """Dynamic series without any time attribute (GE functional MR): complete volumes in InstanceNumber order.

    Accepted for MR, PT and NM where InstanceNumber is unique and runs through whole volumes: either every position
    once, then every position again, or all repeats of a position in a row.
    """
    number = instance_numbers(table, rows)
    if number is None or not set(table["modality"][rows].tolist()) <= {b"MR", b"PT", b"NM"}:
        return None
    places = cells.position[np.argsort(number, kind="stable")]
    by_volume = bool((np.sort(places.reshape(cells.repeats, cells.places), axis=1) == np.arange(cells.places)).all())
    runs = places.reshape(cells.places, cells.repeats)
    by_position = bool((runs == runs[:, :1]).all())
    rank = _rank_within(number, cells.position) if by_volume or by_position else None
    if rank is None:
        return None
    grid = np.empty((cells.repeats, cells.places), dtype=np.int64)
    grid[rank, cells.position] = rows
    return Grid(grid, (Dimension("t", "instance_number", np.arange(cells.repeats)),))
