"""The attributes that may tell frames at one position apart, in order of preference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.series.found import Dimension
from fastdicom.series.grouping import Codes, codes_of
from fastdicom.series.times import clock_of, seconds_of

__all__ = ["Candidate", "all_candidates", "complex_component", "instance_numbers"]

_COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "MIXED")


@dataclass(frozen=True)
class Candidate:
    """An attribute that may explain repeats, with its value for each frame of the group."""

    name: str
    """Short name of the axis."""
    attribute: str
    values: NDArray[Any]
    """(N,) numbers that are equal where frames belong to one index, and in the order of the axis."""
    units: str = ""
    ranked: bool = False
    """Values may differ from slice to slice (times): their order within a position counts too."""
    counts: bool = False
    """The values only number something; another attribute that says what is better."""
    labels: NDArray[Any] | None = None
    """(N,) coordinate values, where these are not `values` themselves; they must be the same in all frames of one
    index."""
    directions: NDArray[np.float64] | None = None
    """(N, 3) gradient directions; the same."""

    def ordered_codes(self) -> tuple[Codes, int]:
        """(index on the axis of each frame, number of indices); one index where some frames have no value."""
        missing = np.isnan(self.values) if self.values.dtype.kind == "f" else self.values == INT_MISSING
        if missing.any() and self.labels is None:
            return np.zeros(len(self.values), dtype=np.int64), 1
        codes = codes_of(self.values)
        return codes, int(codes.max()) + 1

    def dimension(self, codes: Codes, size: int) -> Dimension | None:
        """The axis over these codes; None where the frames of one index differ in what its coordinate says."""
        first = np.empty(size, dtype=np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        if self.labels is not None:
            if not _equal(self.labels, self.labels[first[codes]]):
                return None
            directions = None
            if self.directions is not None:
                if not _equal(self.directions, self.directions[first[codes]]):
                    return None
                directions = self.directions[first]
            return Dimension(self.name, self.attribute, self.labels[first], self.units, directions)
        lowest = np.full(size, np.inf if self.values.dtype.kind == "f" else np.iinfo(np.int64).max, self.values.dtype)
        np.minimum.at(lowest, codes, self.values)
        if self.units == "s" and self.attribute.endswith("time"):
            lowest = lowest - lowest.min()  # clock time says who was when; what a reader wants is time since the first
        return Dimension(self.name, self.attribute, lowest, self.units)


def all_candidates(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[Candidate]:
    """Candidates for a group of rows, best first.

    Cardiac trigger time, temporal position, echo time, b-value and gradient, complex component, segment, inversion
    time, flip angle, tube voltage, frame reference time, acquisition number, acquisition and content time, and for
    enhanced objects the dimension index.
    """

    def number(name: str) -> NDArray[Any]:
        return table[name][rows]

    yield Candidate("t", "trigger_time", number("trigger_time"), "ms", ranked=True)
    delay = "nominal_cardiac_trigger_delay_time"
    yield Candidate("t", delay, number(delay), "ms")
    yield Candidate("t", "temporal_position_identifier", number("temporal_position_identifier"), counts=True)
    yield Candidate("t", "temporal_position_time_offset", number("temporal_position_time_offset"), "s")
    yield Candidate("t", "temporal_position_index", number("temporal_position_index"), counts=True)
    yield Candidate("echo", "echo_time", number("echo_time"), "ms")
    yield Candidate("echo", "echo_numbers", number("echo_numbers"), counts=True)
    yield from _diffusion(table, rows)
    component, names = complex_component(table, rows)
    yield Candidate("component", "complex_image_component", component, labels=names)
    yield Candidate("segment", "referenced_segment_number", number("referenced_segment_number"))
    yield Candidate("inversion", "inversion_time", number("inversion_time"), "ms")
    yield Candidate("flip", "flip_angle", number("flip_angle"), "deg")
    yield Candidate("energy", "kvp", number("kvp"), "kV")
    yield Candidate("t", "frame_reference_time", number("frame_reference_time"), "ms", ranked=True)
    yield Candidate("acquisition", "acquisition_number", number("acquisition_number"), counts=True)
    yield from _clock_times(table, rows)
    index = number("dimension_index_values")
    for k in range(index.shape[1]):
        yield Candidate(f"dim{k + 1}", "dimension_index_values", index[:, k], counts=True)


def _clock_times(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[Candidate]:
    seconds = seconds_of(table["acquisition_date_time"][rows])
    yield Candidate("t", "acquisition_date_time", seconds, "s", ranked=True)
    for kind in ("acquisition", "content"):
        yield Candidate("t", f"{kind}_time", clock_of(table, rows, kind).seconds, "s", ranked=True)


def _diffusion(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[Candidate]:
    """b-value alone, with the gradient, or, where weightings are measured more than once, in order of measurement."""
    b_value = table["diffusion_b_value"][rows]
    direction = table["diffusion_gradient_orientation"][rows]
    if not np.isnan(b_value).all():
        yield Candidate("b", "diffusion_b_value", b_value, "s/mm2", labels=b_value)
    pair = codes_of(np.column_stack([b_value, direction]))
    if not pair.any():
        return
    first = np.unique(pair, return_index=True)[1]
    earliest = np.full(len(first), np.iinfo(np.int64).max)
    np.minimum.at(earliest, pair, table["instance_number"][rows])
    # By b-value, then as measured; equal numbers are told apart by the direction, never by the order of the files.
    keys = (*np.nan_to_num(direction[first]).T, earliest, b_value[first])
    place = np.empty(len(first), dtype=np.int64)
    place[np.lexsort(keys)] = np.arange(len(first))
    if np.isnan(b_value).all():
        number = place[pair]
        yield Candidate("gradient", "diffusion_gradient_orientation", number, labels=number, directions=direction)
        return
    measured = Candidate("b", "diffusion_b_value", place[pair], "s/mm2", labels=b_value, directions=direction)
    yield measured
    orders: list[NDArray[np.float64]] = []
    for name in ("temporal_position_identifier", "temporal_position_index", "acquisition_number"):
        values = table[name][rows]
        orders.append(np.where(values == INT_MISSING, np.nan, values))
    orders += [candidate.values for candidate in _clock_times(table, rows)]
    numbered = instance_numbers(table, rows)
    for values in orders if numbered is None else [*orders, numbered]:
        yield replace(measured, values=values, ranked=True)


def complex_component(table: HeaderTable, rows: NDArray[np.int64]) -> tuple[Codes, NDArray[Any]]:
    """(number, name) of the part of the complex image that each row shows, from the attribute or from Image Type.

    Names are ``MAGNITUDE, PHASE, REAL, IMAGINARY, MIXED`` or empty. Source: DICOM PS3.3 C.8.13.3.1.1; Image Type
    value 3 and later, where Siemens, GE and Philips write M, P, R and I.
    """
    short = {name[0]: name for name in _COMPONENTS[:4]}
    pairs = [table["complex_image_component"][rows], table["image_type"][rows]]
    codes = [codes_of(values) for values in pairs]
    both = codes[0] * (int(codes[1].max()) + 1) + codes[1]
    _, first, inverse = np.unique(both, return_index=True, return_inverse=True)
    names = []
    for k in first:
        given = bytes(pairs[0][k]).decode("ascii", "replace")
        values = bytes(pairs[1][k]).decode("ascii", "replace").split("\\")[2:]
        full = [short.get(value.strip(), value.strip()) for value in values]
        names.append(given or next((value for value in full if value in _COMPONENTS), ""))
    ordered = sorted(set(names), key=lambda name: (_COMPONENTS.index(name) if name in _COMPONENTS else 9, name))
    numbers = np.array([ordered.index(name) for name in names], dtype=np.int64)[inverse]
    return numbers, np.array(names)[inverse]


def instance_numbers(table: HeaderTable, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """InstanceNumber of each row where it tells all rows apart, else None (tiles share that of their file)."""
    number = table["instance_number"][rows]
    if np.any(number == INT_MISSING) or len(np.unique(number)) < len(number):
        return None
    return number.astype(np.float64)


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
