"""Repeated positions that form no full grid: what divides the frames, without mixing what belongs apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.series.dimensions import varying_attributes
from fastdicom.series.grouping import Codes, codes_of, combine_codes
from fastdicom.series.times import seconds_of

__all__ = ["complete_part", "divided", "shares_instances"]

_PER_FRAME = frozenset(
    (
        "acquisition_date_time",
        "acquisition_time",
        "content_time",
        "csa_image_header",
        "dimension_index_values",
        "frame_reference_time",
        "instance_number",
        "trigger_time",
    )
)
"""Attributes that may differ in every frame: only where they have exactly the values needed do they divide a group."""


def shares_instances(table: HeaderTable, rows: NDArray[np.int64]) -> bool:
    """Whether two files have one SOP Instance UID: one image, whatever else they say (PS3.3 C.12.1.1.1)."""
    uid = table["sop_instance_uid"][rows]
    rows, uid = rows[uid != b""], uid[uid != b""]
    codes = codes_of(uid)
    count = len(np.unique(codes))
    if count == len(codes):
        return False
    both = combine_codes([codes, codes_of(table["path"][rows])])
    return len(np.unique(both)) > count


def divided(table: HeaderTable, rows: NDArray[np.int64], position: Codes) -> tuple[Codes, str] | None:
    """Divide frames into parts that hold every position at most once.

    Returns
    -------
    (part of each row, from 0 in the order of the parts; what tells the parts apart), or None where any division would
    be a guess.
    """
    most = int(np.bincount(position).max())
    names = varying_attributes(table, rows, position)
    same = shares_instances(table, rows)
    kinds = [name for name in names if name not in _PER_FRAME]
    folders = np.array([_folder(path) for path in table["path"][rows].tolist()])
    choices = [(codes_of(table[name][rows]), name) for name in kinds + [name for name in names if name in _PER_FRAME]]
    choices.append((codes_of(folders), "folder"))
    for codes, name in choices:
        if codes.max() + 1 == most and _unique_places(codes, position):
            return _in_order(table, rows, codes), name
    if kinds and not same:
        codes = combine_codes([codes_of(table[name][rows]) for name in kinds])
        if _unique_places(codes, position) and codes.max() + 1 <= max(most, len(rows) // 2):
            return _in_order(table, rows, codes), ", ".join(kinds)
    if same or not names:
        return _occurrence(table, rows, position, folders), ""
    for values, name in _orders(table, rows):
        occurrence = _ranked(values, position)
        if _follow(values, occurrence):
            return occurrence, name
    return None


def _folder(path: str) -> str:
    """``os.path.dirname`` at a third of its time: a path of a table, or a URL."""
    return path[: max(path.rfind("/"), path.rfind(os.sep))]


def complete_part(codes: Codes, position: Codes) -> int | None:
    """The first part that has a frame at every position; None where there is none."""
    places = int(position.max()) + 1
    counts = np.bincount(codes)
    return int(np.argmax(counts == places)) if (counts == places).any() else None


def _unique_places(codes: Codes, position: Codes) -> bool:
    both = codes * (int(position.max()) + 1) + position
    return len(np.unique(both)) == len(both)


def _in_order(table: HeaderTable, rows: NDArray[np.int64], codes: Codes) -> Codes:
    """The same parts, numbered by their smallest InstanceNumber, then by their smallest SOP Instance UID."""
    number, uid = table["instance_number"][rows], table["sop_instance_uid"][rows]
    parts = range(int(codes.max()) + 1)
    keys = [(int(number[codes == k].min()), bytes(min(uid[codes == k].tolist()))) for k in parts]
    place = np.empty(len(keys), dtype=np.int64)
    place[sorted(parts, key=lambda k: keys[k])] = np.arange(len(keys))
    return place[codes]


def _occurrence(table: HeaderTable, rows: NDArray[np.int64], position: Codes, folders: NDArray[np.str_]) -> Codes:
    """The how-manieth frame of its position each row is."""
    # Copies in another folder stay together; within a folder content comes before name, which may have been changed.
    paths = table["path"][rows].astype(str)
    number = table["instance_number"][rows]
    order = np.lexsort((table["frame"][rows], paths, table["sop_instance_uid"][rows], folders, number, position))
    starts = np.concatenate([[0], np.cumsum(np.bincount(position))[:-1]])
    occurrence = np.empty(len(rows), dtype=np.int64)
    occurrence[order] = np.arange(len(rows)) - starts[position[order]]
    return occurrence


def _orders(table: HeaderTable, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.float64], str]]:
    """Numbers and clocks by which frames may follow one another, and what they are called; none that lacks a value."""
    number = table["instance_number"][rows]
    orders = [(np.where(number == INT_MISSING, np.nan, number.astype(np.float64)), "")]
    for kind in ("acquisition", "content"):
        orders.append((seconds_of(table[f"{kind}_time"][rows], table[f"{kind}_date"][rows]), f"{kind}_time"))
    yield from ((values, name) for values, name in orders if not np.isnan(values).any())


def _ranked(values: NDArray[np.float64], position: Codes) -> Codes:
    """The how-manieth frame of its position each row is, by these values."""
    order = np.lexsort((values, position))
    starts = np.concatenate([[0], np.cumsum(np.bincount(position))[:-1]])
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - starts[position[order]]
    return rank


def _follow(values: NDArray[np.float64], occurrence: Codes) -> bool:
    """Whether all first frames come before all second ones by these values: no frame changed its part."""
    parts = [values[occurrence == k] for k in range(int(occurrence.max()) + 1)]
    return all(a.max() < b.min() for a, b in pairwise(parts))
