"""Which frames belong together: rows of a `HeaderTable` that agree in all that one array must share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import HeaderTable
from fastdicom.types import GeometryPolicy

__all__ = ["codes_of", "combine_codes", "group_rows", "is_place", "merge_close", "series_codes", "split_by"]

Codes = NDArray[np.int64]

MAPS = frozenset((b"ADC", b"EADC", b"FA", b"COLFA", b"TENSOR", b"T1 MAP", b"T2 MAP", b"T2_STAR MAP", b"R2 MAP"))
"""Image Type values of computed maps: their numbers are another quantity than those of the images beside them."""

PROJECTIONS = frozenset((b"MIP", b"MINIP", b"MPR", b"PROJECTION IMAGE", b"MAX_IP", b"MIN_IP"))
"""Image Type values of images computed from many slices: none of them is a slice of the stack beside it."""

FAR_MM = 1e7
"""A coordinate beyond 10 km is no place in a patient: text that happened to be a number."""


FAR_PIXEL_MM = 1e3
"""Pixels of more than a metre are a mistake: as good as no Pixel Spacing."""


def codes_of(values: NDArray[Any]) -> Codes:
    """A small integer for each row, equal where the values are equal (NaN equals NaN, -0.0 equals 0.0).

    Codes of numbers are in the order of the numbers, NaN last; those of texts and of rows of numbers in no order.
    """
    if len(values) == 0:
        return np.empty(0, dtype=np.int64)
    if values.dtype == object:
        values = values.astype(str)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.inf, values) + 0.0
    if (values == values[0]).all():
        return np.zeros(len(values), dtype=np.int64)
    if values.ndim == 1 and values.dtype.kind in "fiub":
        return np.unique(values, return_inverse=True)[1].astype(np.int64)
    return _codes_of_bytes(values)


def _codes_of_bytes(values: NDArray[Any]) -> Codes:
    """Codes by a hash of the bytes of each row: sorting 100,000 UIDs costs 50 ms, sorting their hashes 5."""
    n = len(values)
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(n, -1)
    words = np.zeros((n, -(-raw.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : raw.shape[1]] = raw
    hashed = np.zeros(n, dtype=np.uint64)
    for word in words.view(np.uint64).T:
        hashed = (hashed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        hashed ^= hashed >> np.uint64(29)
    _, first, codes = np.unique(hashed, return_index=True, return_inverse=True)
    if (raw == raw[first[codes]]).all():
        return codes.astype(np.int64)
    rows = raw.view(np.dtype((np.void, raw.shape[1])))[:, 0]  # two rows with one hash: never seen, but possible
    return np.unique(rows, return_inverse=True)[1].astype(np.int64)


def combine_codes(parts: Sequence[Codes]) -> Codes:
    """One code for each distinct combination of codes."""
    combined = parts[0]
    for part in parts[1:]:
        if part.max(initial=0) > 0:
            combined = combined * (int(part.max()) + 1) + part
            combined = np.unique(combined, return_inverse=True)[1].astype(np.int64)  # keeps the numbers small
    return combined


def split_by(rows: NDArray[np.int64], codes: Codes) -> list[NDArray[np.int64]]:
    """Split `rows` by their codes, groups in order of their first row."""
    if not codes.any():
        return [rows]
    order = np.argsort(codes, kind="stable")
    borders = np.flatnonzero(np.diff(codes[order])) + 1
    return sorted((rows[part] for part in np.split(order, borders)), key=lambda part: int(part[0]))


def merge_close(values: NDArray[np.float64], tolerance: float) -> Codes:
    """Codes of the rows of an (N, k) array in which rows that are close to one another are equal.

    Every row of a cluster is within `tolerance` (largest component) of the cluster's centre; rows with NaN equal one
    another in the same places. The clusters depend on the values only, not on the order of the rows.
    """
    if len(values) == 0 or np.array_equal(values, np.broadcast_to(values[0], values.shape), equal_nan=True):
        return np.zeros(len(values), dtype=np.int64)
    known = np.where(np.isfinite(values), values, 1e30)  # NaN: far from all but other NaN
    distinct, inverse = np.unique(known, axis=0, return_inverse=True)
    cluster_of = np.full(len(distinct), -1, dtype=np.int64)
    # Distinct rows are sorted by their first number: a cluster lies in a window of it.
    ends = np.searchsorted(distinct[:, 0], distinct[:, 0] + 2 * tolerance, side="right")
    for first, end in enumerate(ends):
        if cluster_of[first] >= 0:
            continue
        seed, window = distinct[first], distinct[first:end]
        free = cluster_of[first:end] < 0
        # The first free row lies at the rim of its cluster: look from the middle of all that may belong to it.
        near = window[free & (np.abs(window - seed) <= 2 * tolerance).all(axis=1)]
        centre = (near.min(axis=0) + near.max(axis=0)) / 2
        if (np.abs(seed - centre) > tolerance).any():
            centre = seed
        cluster_of[first:end][free & (np.abs(window - centre) <= tolerance).all(axis=1)] = first
    return cluster_of[inverse.ravel()]


def group_rows(table: HeaderTable, policy: GeometryPolicy) -> list[NDArray[np.int64]]:
    """Split the rows of a table into groups that can each become one volume.

    Rows of a group agree in patient, study, series, frame of reference, SOP Class, size, samples, photometric class,
    stack, units, orientation (within ``policy.orientation_tolerance``), pixel spacing, and whether they are localizers
    or computed maps; without a Series Instance UID also in folder, study date, series number and modality. Multi-frame
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
        "units",
    )
    if len(table) == 0:
        return []
    parts = [codes_of(table[name]) for name in exact]
    parts.append(codes_of(photometric_class(table)))
    parts.append(_image_kind(table))
    parts.append(_own_file_group(table))
    parts += [_folders_without_uid(table), _patients(table), *_studies_without_uid(table)]
    broad = combine_codes(parts)
    # In logarithms, so that the tolerance is relative to each pair; what is no size of a pixel is missing.
    written = table["pixel_spacing"]
    with np.errstate(invalid="ignore", divide="ignore"):
        spacing = np.log(np.where((written > 0) & (written <= FAR_PIXEL_MM), written, np.nan))
    positioned = is_place(table["image_position"])
    groups: list[NDArray[np.int64]] = []
    for rows in split_by(np.arange(len(table)), broad):
        orientation = merge_close(table["image_orientation"][rows], policy.orientation_tolerance)
        # Pixel spacing is written with about six digits; what differs by more is another image.
        close = merge_close(spacing[rows], 1e-4)
        codes = combine_codes([orientation, close, (~positioned[rows]).astype(np.int64)])
        groups += split_by(rows, codes)
    return sorted(groups, key=lambda part: int(part[0]))


def _folders_without_uid(table: HeaderTable) -> Codes:
    """A code for the folder of each row that has no Series Instance UID, 0 for every other."""
    codes = np.zeros(len(table), dtype=np.int64)
    without = np.flatnonzero(table["series_instance_uid"] == b"")
    if len(without):
        folders = np.array([os.path.dirname(str(path)) for path in table["path"][without]])
        codes[without] = np.unique(folders, return_inverse=True)[1] + 1
    return codes


def _studies_without_uid(table: HeaderTable) -> list[Codes]:
    """Codes of what else tells series apart where they have no Series Instance UID, 0 for every other row."""
    without = table["series_instance_uid"] == b""
    if not without.any():
        return []
    parts = [codes_of(table[name]) for name in ("study_date", "series_number", "modality")]
    return [np.where(without, codes + 1, 0) for codes in parts]


def series_codes(table: HeaderTable) -> Codes:
    """A code for the series of each row: by Series Instance UID, by folder where there is none."""
    return combine_codes([codes_of(table["series_instance_uid"]), _folders_without_uid(table)])


def _patients(table: HeaderTable) -> Codes:
    """A code for the patient of each row, by ``patient_key``.

    A file that does not say whose it is belongs to the only patient of its series, where the series has a UID.
    """
    keys = table["patient_key"]
    codes = codes_of(keys)
    unknown = keys == 0
    if not (codes.any() and unknown.any()):
        return codes
    series = series_codes(table)
    lowest = np.full(int(series.max()) + 1, np.iinfo(np.int64).max)
    highest = np.full(len(lowest), -1)
    np.minimum.at(lowest, series[~unknown], codes[~unknown])
    np.maximum.at(highest, series[~unknown], codes[~unknown])
    alone = (lowest == highest)[series] & unknown & (table["series_instance_uid"] != b"")
    return np.where(alone, highest[series], codes)


def is_place(image_position: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether (..., 3) values of Image Position (Patient) are three numbers that can be a place."""
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(image_position) < FAR_MM).all(axis=-1))


def photometric_class(table: HeaderTable) -> NDArray[Any]:
    """b"GRAY", b"INVERTED" (MONOCHROME1), b"PALETTE" or b"COLOR" for each row (PS3.3 C.7.6.3.1.2)."""
    value = table["photometric_interpretation"]
    kinds = np.full(len(value), b"COLOR", dtype="S8")
    kinds[value == b"MONOCHROME2"] = b"GRAY"
    kinds[value == b"MONOCHROME1"] = b"INVERTED"
    kinds[value == b"PALETTE COLOR"] = b"PALETTE"
    kinds[(kinds == b"COLOR") & (table["samples_per_pixel"] <= 1)] = b"GRAY"
    return kinds


def _image_kind(table: HeaderTable) -> Codes:
    """A code for each row: the same where neither, or both, are localizers or maps of one kind.

    Source: DICOM PS3.3 C.8.2.1.1.1, C.8.3.1.1.1 (Image Type, values 3 and later).
    """
    codes = codes_of(table["image_type"])
    first = np.unique(codes, return_index=True)[1]
    kinds: dict[tuple[bytes, ...], int] = {}
    kind_of = []
    for image_type in table["image_type"][first].tolist():
        values = {value.strip() for value in bytes(image_type).upper().split(b"\\")[2:]}
        named = values & (MAPS | PROJECTIONS) | {b"LOCALIZER" for value in values if value.startswith(b"LOCALI")}
        kind_of.append(kinds.setdefault(tuple(sorted(named)), len(kinds)))
    return np.array(kind_of, dtype=np.int64)[codes]


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
    grouped = (table["per_frame_functional_groups"] & is_place(table["image_position"])) | distinct[files]
    return np.where(many & ~grouped, files + 1, 0)
