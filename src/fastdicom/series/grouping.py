"""Which frames belong together: rows of a `HeaderTable` that agree in all that one array must share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import HeaderTable
from fastdicom.types import GeometryPolicy

__all__ = ["codes_of", "combine_codes", "group_rows", "merge_close", "split_by"]

Codes = NDArray[np.int64]


def codes_of(values: NDArray[Any]) -> Codes:
    """A small integer for each row, equal where the values are equal (NaN equals NaN, -0.0 equals 0.0)."""
    if values.dtype == object:
        values = values.astype(str)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.inf, values) + 0.0
    if values.ndim == 2:
        width = np.ascontiguousarray(values).view(np.dtype((np.void, values.dtype.itemsize * values.shape[1])))
        values = width[:, 0]
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def combine_codes(parts: Sequence[Codes]) -> Codes:
    """One code for each distinct combination of codes."""
    combined = parts[0]
    for part in parts[1:]:
        combined = combined * (int(part.max(initial=0)) + 1) + part
        combined = np.unique(combined, return_inverse=True)[1].astype(np.int64)  # keeps the numbers small
    return combined


def split_by(rows: NDArray[np.int64], codes: Codes) -> list[NDArray[np.int64]]:
    """Split `rows` by their codes, groups in order of their first row."""
    order = np.argsort(codes, kind="stable")
    borders = np.flatnonzero(np.diff(codes[order])) + 1
    return sorted((rows[part] for part in np.split(order, borders)), key=lambda part: int(part[0]))


def merge_close(values: NDArray[np.float64], tolerance: float) -> Codes:
    """Codes of the rows of an (N, k) array in which rows closer than `tolerance` (largest component) are equal.

    Rows with NaN equal one another in the same places. Each cluster is represented by its first distinct row, so a
    slow drift over many rows is not swallowed.
    """
    codes = codes_of(values)
    _, first = np.unique(codes, return_index=True)
    leaders: list[int] = []
    cluster_of = np.empty(len(first), dtype=np.int64)
    for code in np.argsort(first):
        row = first[code]
        known = values[leaders]
        with np.errstate(invalid="ignore"):
            difference = np.abs(known - values[row])
        same = np.where(np.isnan(known) & np.isnan(values[row]), 0.0, difference)
        close = np.flatnonzero(np.all(same <= tolerance, axis=1)) if leaders else np.empty(0, np.int64)
        if len(close):
            cluster_of[code] = close[0]
        else:
            cluster_of[code] = len(leaders)
            leaders.append(int(row))
    return cluster_of[codes]


def group_rows(table: HeaderTable, policy: GeometryPolicy) -> list[NDArray[np.int64]]:
    """Split the rows of a table into groups that can each become one volume.

    Rows of a group agree in study, series, frame of reference, SOP Class, size, samples, photometric class, stack,
    orientation (within ``policy.orientation_tolerance``), pixel spacing, and whether they are localizers. Multi-frame
    files without plane positions (ultrasound, angiography) are a group each.

    Returns
    -------
    list of int64 arrays of row numbers, in order of first row.

    Source: DICOM PS3.3 C.7.3.1 (series), C.7.4.1 (frame of reference), C.7.6.2 (image plane).
    """
    exact = (
        "study_instance_uid",
        "series_instance_uid",
        "frame_of_reference_uid",
        "sop_class_uid",
        "rows",
        "columns",
        "samples_per_pixel",
        "pixel_keyword",
        "stack_id",
    )
    parts = [codes_of(table[name]) for name in exact]
    parts.append(codes_of(photometric_class(table)))
    parts.append(is_localizer(table).astype(np.int64))
    parts.append(_own_file_group(table))
    broad = combine_codes(parts)
    spacing = table["pixel_spacing"]
    groups: list[NDArray[np.int64]] = []
    for rows in split_by(np.arange(len(table)), broad):
        orientation = merge_close(table["image_orientation"][rows], policy.orientation_tolerance)
        # Pixel spacing is written with about six digits; what differs by more is another image.
        close = merge_close(spacing[rows], 1e-4 * float(np.nanmax(spacing[rows], initial=1e-9)))
        positioned = np.isfinite(table["image_position"][rows]).all(axis=1).astype(np.int64)
        groups += split_by(rows, combine_codes([orientation, close, positioned]))
    return sorted(groups, key=lambda part: int(part[0]))


def photometric_class(table: HeaderTable) -> NDArray[Any]:
    """b"GRAY", b"INVERTED" (MONOCHROME1), b"PALETTE" or b"COLOR" for each row (PS3.3 C.7.6.3.1.2)."""
    value = table["photometric_interpretation"]
    kinds = np.full(len(value), b"COLOR", dtype="S8")
    kinds[value == b"MONOCHROME2"] = b"GRAY"
    kinds[value == b"MONOCHROME1"] = b"INVERTED"
    kinds[value == b"PALETTE COLOR"] = b"PALETTE"
    kinds[(kinds == b"COLOR") & (table["samples_per_pixel"] <= 1)] = b"GRAY"
    return kinds


def is_localizer(table: HeaderTable) -> NDArray[np.bool_]:
    """Whether Image Type value 3 or later says LOCALIZER (PS3.3 C.8.2.1.1.1)."""
    return np.char.find(np.char.upper(table["image_type"]), b"LOCALIZER") >= 0


def _own_file_group(table: HeaderTable) -> Codes:
    """A code for each multi-frame file whose frames have no positions of their own; 0 for every other row."""
    many = table["frames_in_file"] > 1
    if not many.any():
        return np.zeros(len(table), dtype=np.int64)
    files = codes_of(table["path"])
    position = np.where(np.isfinite(table["image_position"]), table["image_position"], 0.0)
    distinct = np.zeros(int(files.max()) + 1, dtype=bool)
    first_row = np.unique(files, return_index=True)[1]
    moved = np.any(position != position[first_row[files]], axis=1)
    np.logical_or.at(distinct, files, moved)
    grouped = table["per_frame_functional_groups"] | distinct[files]
    return np.where(many & ~grouped, files + 1, 0)
