"""What explains several frames at one position: time, echo, b-value, ... as further dimensions of the array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.series.grouping import Codes, codes_of
from fastdicom.series.times import seconds_of

__all__ = ["Dimension", "Grid", "explain_repeats", "varying_attributes"]

MAX_COMBINED = 3
"""Most attributes that are combined to explain repeats (time x echo x component, say)."""


@dataclass(frozen=True)
class Dimension:
    """One extra dimension: its short axis name and the value at each index."""

    name: str
    attribute: str
    """The attribute it comes from, in snake_case."""
    values: NDArray[Any]
    units: str = ""


@dataclass(frozen=True)
class Grid:
    """A full grid: one frame for every combination of dimensions and position."""

    rows: NDArray[np.int64]
    """(d1, d2, ..., positions) row numbers."""
    dimensions: tuple[Dimension, ...]


@dataclass(frozen=True)
class _Candidate:
    """An attribute that may explain repeats, with its value for each frame of the group."""

    name: str
    attribute: str
    values: NDArray[Any]
    units: str = ""
    ranked: bool = False
    """Values differ from slice to slice too (times): only their order within a position counts."""


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

    The order of preference is: cardiac trigger time, temporal position, echo time, b-value and gradient, component,
    segment, acquisition number, acquisition or content time, and for enhanced objects the dimension index.
    """
    counts = np.bincount(position)
    if counts.min() != counts.max():
        return None
    repeats = int(counts[0])
    candidates = [c for c in _candidates(table, rows) if _varies_within(codes_of(c.values), position)]
    # Values that are the same at every position explain more than the order of times that differ everywhere.
    for attempt in ([replace(c, ranked=False) for c in candidates], candidates):
        for size in range(1, MAX_COMBINED + 1):
            for chosen in combinations(attempt, size):
                if len({candidate.name for candidate in chosen}) == size:
                    grid = _grid(chosen, rows, position, repeats)
                    if grid is not None:
                        return grid
    return _grid_by_instance_number(table, rows, position, repeats)


def varying_attributes(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> list[str]:
    """Names of the attributes that differ between frames at one position: what an error message can point at."""
    names = []
    for name, values in table.columns.items():
        if name in ("path", "mtime_ns", "file_size", "pixel_offset", "pixel_length", "sop_instance_uid", "problem"):
            continue
        if _varies_within(codes_of(values[rows]), position):
            names.append(name)
    return names


def _varies_within(codes: Codes, position: Codes) -> bool:
    """Whether two frames at one position have different codes."""
    lowest = np.full(int(position.max()) + 1, np.iinfo(np.int64).max)
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, position, codes)
    np.maximum.at(highest, position, codes)
    return bool(np.any(lowest != highest))


def _candidates(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[_Candidate]:
    def number(name: str) -> NDArray[Any]:
        return table[name][rows]

    yield _Candidate("t", "trigger_time", number("trigger_time"), "ms", ranked=True)
    delay = "nominal_cardiac_trigger_delay_time"
    yield _Candidate("t", delay, number(delay), "ms")
    yield _Candidate("t", "temporal_position_identifier", number("temporal_position_identifier"))
    yield _Candidate("t", "temporal_position_time_offset", number("temporal_position_time_offset"), "s")
    yield _Candidate("t", "temporal_position_index", number("temporal_position_index"))
    yield _Candidate("echo", "echo_time", number("echo_time"), "ms")
    yield _Candidate("echo", "echo_numbers", number("echo_numbers"))
    yield from _diffusion(table, rows)
    yield _Candidate("component", "complex_image_component", component(table)[rows])
    yield _Candidate("segment", "referenced_segment_number", number("referenced_segment_number"))
    yield _Candidate("inversion", "inversion_time", number("inversion_time"), "ms")
    yield _Candidate("flip", "flip_angle", number("flip_angle"), "deg")
    yield _Candidate("energy", "kvp", number("kvp"), "kV")
    yield _Candidate("acquisition", "acquisition_number", number("acquisition_number"))
    yield _Candidate("t", "frame_reference_time", number("frame_reference_time"), "ms", ranked=True)
    yield _Candidate("t", "acquisition_date_time", seconds_of(number("acquisition_date_time")), "s", ranked=True)
    for kind in ("acquisition", "content"):
        seconds = seconds_of(number(f"{kind}_time"), number(f"{kind}_date"))
        yield _Candidate("t", f"{kind}_time", seconds, "s", ranked=True)
    index = number("dimension_index_values")
    for k in range(index.shape[1]):
        yield _Candidate(f"dim{k + 1}", "dimension_index_values", index[:, k])


def _diffusion(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[_Candidate]:
    b_value = table["diffusion_b_value"][rows]
    direction = table["diffusion_gradient_orientation"][rows]
    if np.isnan(b_value).all():
        return
    if len(np.unique(b_value[np.isfinite(b_value)])) == len(np.unique(codes_of(b_value))):
        yield _Candidate("b", "diffusion_b_value", b_value, "s/mm2")
    yield _Candidate("b", "diffusion_b_value", np.column_stack([b_value, direction]), "s/mm2")


def component(table: HeaderTable) -> NDArray[Any]:
    """b"MAGNITUDE", b"PHASE", b"REAL", b"IMAGINARY" or b"" for each row, from the attribute or from Image Type."""
    names = {b"M": b"MAGNITUDE", b"P": b"PHASE", b"R": b"REAL", b"I": b"IMAGINARY"}
    values = table["complex_image_component"].astype("S9")
    types, inverse = np.unique(table["image_type"], return_inverse=True)
    from_type = np.zeros(len(types), dtype="S9")
    for k, image_type in enumerate(types):
        for value in bytes(image_type).split(b"\\")[2:]:
            full = names.get(value.strip(), value.strip())
            if full in names.values():
                from_type[k] = full
                break
    merged: NDArray[Any] = np.where(values != b"", values, from_type[inverse]) if len(values) else values
    return merged


def _grid(chosen: tuple[_Candidate, ...], rows: NDArray[np.int64], position: Codes, repeats: int) -> Grid | None:
    """The full grid over these attributes, or None."""
    exact = [candidate for candidate in chosen if not candidate.ranked]
    ranked = [candidate for candidate in chosen if candidate.ranked]
    if len(ranked) > 1:
        return None
    codes = {id(candidate): _ordered_codes(candidate) for candidate in exact}
    lengths = {key: int(code.max()) + 1 for key, code in codes.items()}
    product = int(np.prod(list(lengths.values()))) if lengths else 1
    if repeats % product:
        return None
    if ranked:
        within = position
        for code in codes.values():
            within = within * (int(code.max()) + 1) + code
        rank = _rank_within(ranked[0].values, within)
        if rank is None:
            return None
        codes[id(ranked[0])], lengths[id(ranked[0])] = rank, repeats // product
    elif product != repeats:
        return None
    shape = (*[lengths[id(candidate)] for candidate in chosen], int(position.max()) + 1)
    places = [codes[id(candidate)] for candidate in chosen]
    if any(int(place.max()) >= length for place, length in zip(places, shape, strict=False)):
        return None
    flat = np.ravel_multi_index((*places, position), shape)
    if len(np.unique(flat)) != len(rows) or len(rows) != int(np.prod(shape)):
        return None
    grid = np.empty(len(rows), dtype=np.int64)
    grid[flat] = rows
    dimensions = tuple(
        Dimension(c.name, c.attribute, _coordinate(c, codes[id(c)], lengths[id(c)]), c.units) for c in chosen
    )
    return Grid(grid.reshape(shape), dimensions)


def _ordered_codes(candidate: _Candidate) -> Codes:
    """Codes in the order of the values: b-values ascending, then by gradient in order of appearance."""
    values = candidate.values
    if values.ndim == 1:
        return codes_of(values)
    raw = codes_of(values)
    first = np.unique(raw, return_index=True)[1]
    order = np.lexsort((first, values[first, 0]))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[raw]


def _rank_within(values: NDArray[np.float64], group: Codes) -> Codes | None:
    """Rank of each value among those of its group; None where a group has equal or missing values."""
    if np.isnan(values).any():
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


def _coordinate(candidate: _Candidate, codes: Codes, length: int) -> NDArray[Any]:
    """The value at each index; the smallest over the slices where it differs from slice to slice."""
    values = candidate.values if candidate.values.ndim == 1 else candidate.values[:, 0]
    if values.dtype.kind == "S":
        return np.array([values[codes == k][0].decode("ascii", "replace") for k in range(length)])
    lowest: NDArray[Any] = np.array([values[codes == k].min() for k in range(length)])
    if candidate.units == "s" and candidate.attribute.endswith("_time"):
        return lowest - lowest[0]  # clock time says who was when; what a reader wants is time since the first
    return lowest


def _grid_by_instance_number(table: HeaderTable, rows: NDArray[np.int64], position: Codes, repeats: int) -> Grid | None:
    """Dynamic series without any time attribute (GE functional MR): complete volumes in InstanceNumber order.

    Accepted for MR, PT and NM where InstanceNumber is unique and runs through whole volumes: either every position
    once, then every position again, or all repeats of a position in a row.
    """
    number = table["instance_number"][rows]
    modality = set(table["modality"][rows].tolist())
    if not modality <= {b"MR", b"PT", b"NM"} or np.any(number == INT_MISSING) or len(np.unique(number)) < len(number):
        return None
    order = np.argsort(number, kind="stable")
    places = position[order]
    n_positions = int(position.max()) + 1
    volumes = places.reshape(repeats, n_positions)
    by_volume = bool(np.all(np.sort(volumes, axis=1) == np.arange(n_positions)))
    by_position = bool(np.all(places.reshape(n_positions, repeats) == places.reshape(n_positions, repeats)[:, :1]))
    if not (by_volume or by_position):
        return None
    rank = _rank_within(number.astype(np.float64), position)
    if rank is None:
        return None
    grid = np.empty((repeats, n_positions), dtype=np.int64)
    grid[rank, position] = rows
    return Grid(grid, (Dimension("t", "instance_number", np.arange(repeats)),))
