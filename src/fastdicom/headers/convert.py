"""What a walk found, as columns: the same as `column_from_bytes` gives, a column at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import compiled
from fastdicom.headers.columns import (
    COLUMNS,
    ELEMENTS,
    INT_MISSING,
    KEY_ELEMENTS,
    Column,
    column_from_bytes,
    patient_key,
)
from fastdicom.headers.frame_groups import max_frames, native_frame_nbytes
from fastdicom.scanner import DONE, ENHANCED, FLAG, SPAN, VALUE, Walk, Wanted, WantedElement

__all__ = ["COLUMN_INDEX", "WANTED", "columns_of_walk", "frames_of_walk"]

_KEEP = {"flag": FLAG, "span": SPAN}
_NEEDS_PYDICOM = "per_frame_functional_groups"

WANTED = Wanted(
    [
        WantedElement(
            column.tag,
            column.vr,
            ENHANCED if column.name == _NEEDS_PYDICOM else _KEEP.get(column.kind, VALUE),
            column.creator,
        )
        for column in ELEMENTS
    ]
)
COLUMN_INDEX = {column.name: index for index, column in enumerate(ELEMENTS)}

_KEY_PARTS = [COLUMN_INDEX[name] for name in KEY_ELEMENTS]

_BINARY = {"US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4", "FD": "<f8", "FL": "<f4"}
_FEW = 4  # so many values are converted one by one: cheaper than the vectorised way
_MAX_NUMBER_NBYTES = 64


def columns_of_walk(walk: Walk, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns of `COLUMNS` for some files of a walk.

    Parameters
    ----------
    walk : Walk
        Over `WANTED`, with status DONE or NO_PIXELS in all `rows`.
    rows : (N,) int64

    Returns
    -------
    dict of arrays of N rows
        Equal to what `column_from_bytes` makes of the same values, except that ``S`` columns may be wider.
    """
    n, w = len(rows), len(ELEMENTS)
    if n == 0:
        from fastdicom.headers.columns import missing_column

        return {column.name: missing_column(column, 0) for column in COLUMNS}
    run_of, firsts = np.empty((w, n), dtype=np.int64), np.empty((w, n), dtype=np.int64)
    counts = np.empty(w, dtype=np.int64)
    values = walk.values
    compiled.find_runs(values, rows, walk.at, walk.length, run_of, firsts, counts)
    first_values = _values_of_each(walk, firsts[:, 0])
    columns = {}
    for index, (column, count) in enumerate(zip(COLUMNS, counts[: len(COLUMNS)].tolist(), strict=True)):
        if column.kind == "span":
            length = walk.length[rows, index]
            offset = np.where(length > 0, walk.offset[rows, index], -1)
            columns[column.name] = np.stack([offset, np.maximum(length, 0)], axis=1)
        elif column.kind == "flag":
            length = walk.length[rows, index]
            columns[column.name] = (length != 0) & (length != -1)
        elif column.kind == "key":
            columns[column.name] = _patient_keys(walk, rows, run_of, counts)
        elif count == 1:
            columns[column.name] = _one_value(index, first_values[index]).repeat(n, axis=0)
        else:
            distinct = _convert(walk, values, index, column, firsts[index, :count])
            columns[column.name] = distinct if count == n else distinct[run_of[index]]
    return columns


def _patient_keys(
    walk: Walk, rows: NDArray[np.int64], run_of: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`patient_key` of each row; one hash for each run of rows in which all that goes into it is the same."""
    first, inverse = np.zeros(1, dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    if (counts[_KEY_PARTS] > 1).any():
        parts = np.ascontiguousarray(run_of[_KEY_PARTS].T)
        starts = np.concatenate([[True], (parts[1:] != parts[:-1]).any(axis=1)])
        first, inverse = np.flatnonzero(starts), np.cumsum(starts) - 1
    values = [[walk.value(row, index) or b"" for index in _KEY_PARTS] for row in rows[first].tolist()]
    return np.array([patient_key(*each) for each in values], dtype=np.int64)[inverse]


def _values_of_each(walk: Walk, rows: NDArray[np.int64]) -> list[bytes | None]:
    """One value of each wanted element: that of the w-th of row ``rows[w]``."""
    every = np.arange(len(rows))
    starts, lengths = walk.at[rows, every].tolist(), walk.length[rows, every].tolist()
    values = walk.values.data
    return [bytes(values[a : a + n]) if n >= 0 else None for a, n in zip(starts, lengths, strict=True)]


def frames_of_walk(walk: Walk) -> NDArray[np.int64]:
    """Frames of each file, (N,) int64; 0 where pydicom must read it, or where it has no pixel data."""
    frames: NDArray[np.int64] = (walk.status == DONE).astype(np.int64)
    count_column = COLUMN_INDEX["number_of_frames"]
    placing = [COLUMN_INDEX[name] for name in ("grid_frame_offset_vector", "slice_vector")]
    for row in np.flatnonzero((frames == 1) & (walk.length[:, count_column] > 0)).tolist():
        text = (walk.value(row, count_column) or b"").strip(b"\0 ")
        if text == b"1":
            continue
        # A dose grid and a tomogram have a position for each plane; anything but digits is for pydicom to judge.
        plain = text.isdigit() and len(text) < 10 and bool((walk.length[row, placing] <= 0).all())
        frames[row] = _plausible(walk, row, int(text)) if plain else 0
    return frames


def _plausible(walk: Walk, row: int, count: int) -> int:
    nbytes = int(walk.sizes[row] - walk.pixel_offset[row])
    native = walk.pixel_length[row] >= 0
    frame_nbytes = native_frame_nbytes(lambda name: walk.value(row, COLUMN_INDEX[name])) if native else 0
    return max(count, 1) if count <= max_frames(nbytes, frame_nbytes) else 0


@lru_cache(maxsize=4096)
def _one_value(index: int, value: bytes | None) -> NDArray[Any]:
    return column_from_bytes(COLUMNS[index], [value])


def _convert(
    walk: Walk, values: NDArray[np.uint8], index: int, column: Column, rows: NDArray[np.int64]
) -> NDArray[Any]:
    if len(rows) > _FEW:
        if column.kind in ("code", "text"):
            return _texts(walk, values, index, rows)
        converted = _binary(walk, values, index, column, rows) if column.vr in _BINARY else None
        if converted is None:
            converted = _numbers(walk, values, index, column, rows)
        if converted is not None:
            return converted
    return column_from_bytes(column, [walk.value(row, index) for row in rows.tolist()])


def _texts(walk: Walk, values: NDArray[np.uint8], index: int, rows: NDArray[np.int64]) -> NDArray[Any]:
    starts, counts = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.int64)
    width = max(1, compiled.strip_texts(values, rows, index, walk.at, walk.length, starts, counts))
    return _as_bytes(values, starts, counts, width)


def _as_bytes(
    values: NDArray[np.uint8], starts: NDArray[np.int64], counts: NDArray[np.int64], width: int
) -> NDArray[Any]:
    out = np.zeros((len(starts), width), dtype=np.uint8)
    compiled.gather(values, starts, counts, out)
    return out.view(f"S{width}")[:, 0]


def _binary(walk: Walk, values: NDArray[np.uint8], index: int, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
    dtype = np.dtype(_BINARY[column.vr])
    count = 1 if column.kind == "int" else column.count
    raw = np.zeros((len(rows), count * dtype.itemsize), dtype=np.uint8)
    present = np.empty(len(rows), dtype=np.int64)
    compiled.gather_binary(values, rows, index, walk.at, walk.length, dtype.itemsize, raw, present)
    numbers = raw.view(dtype)
    if column.kind == "int":
        return np.where(present > 0, numbers[:, 0], np.int64(INT_MISSING))
    parsed = np.where(np.arange(count) < present[:, None], numbers.astype(np.float64), np.nan)
    return parsed[:, 0] if column.count == 1 else parsed


def _numbers(
    walk: Walk, values: NDArray[np.uint8], index: int, column: Column, rows: NDArray[np.int64]
) -> NDArray[Any] | None:
    """Decimal texts as numbers, rounded as Python's float rounds: it is what NumPy's cast calls. None: not all are."""
    count = 1 if column.kind == "int" else column.count
    starts, counts = np.empty(len(rows) * count, dtype=np.int64), np.empty(len(rows) * count, dtype=np.int64)
    width = compiled.split_numbers(values, rows, index, walk.at, walk.length, count, starts, counts)
    if width < 0 or width > _MAX_NUMBER_NBYTES:
        return None
    if column.kind == "int":
        integers = np.empty(len(rows), dtype=np.int64)
        if compiled.plain_integers(values, starts, counts, INT_MISSING, integers):
            return integers
    text_of, firsts = np.empty_like(starts), np.empty_like(starts)
    distinct = firsts[: compiled.distinct_texts(values, starts, counts, count, text_of, firsts)]
    texts = _as_bytes(values, starts[distinct], counts[distinct], max(3, width))
    texts[counts[distinct] == 0] = b"nan"
    try:
        numbers = texts.astype(np.float64)[text_of]
    except ValueError:
        return None
    if column.kind == "int":
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**31)
        return np.where(whole, np.where(whole, numbers, 0).astype(np.int64), INT_MISSING)
    return numbers if column.count == 1 else numbers.reshape(-1, column.count)
