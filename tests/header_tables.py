"""Header tables made directly as columns: the geometry of thousands of frames without a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdicom.headers import HeaderTable

AXIAL = np.array([1.0, 0, 0, 0, 1.0, 0])


def header_table(n: int, **columns: Any) -> HeaderTable:
    """A table of `n` single-frame MR rows in which only `columns` differ from a plain image.

    Values are broadcast to the rows; ``path`` and ``sop_instance_uid`` are unique unless given.
    """
    table = HeaderTable.empty()
    plain: dict[str, Any] = {
        "path": np.array([f"/data/{i:06d}.dcm" for i in range(n)], dtype=object),
        "sop_instance_uid": np.array([f"1.2.3.{i}".encode() for i in range(n)], dtype="S32"),
        "study_instance_uid": b"1.2.1",
        "series_instance_uid": b"1.2.2",
        "frame_of_reference_uid": b"1.2.4",
        "sop_class_uid": b"1.2.840.10008.5.1.4.1.1.4",
        "transfer_syntax_uid": b"1.2.840.10008.1.2.1",
        "modality": b"MR",
        "image_type": b"ORIGINAL\\PRIMARY",
        "photometric_interpretation": b"MONOCHROME2",
        "pixel_keyword": b"PixelData",
        "samples_per_pixel": 1,
        "rows": 32,
        "columns": 24,
        "frame_rows": 32,
        "frame_columns": 24,
        "pixel_spacing": (0.7, 0.8),
        "image_orientation": AXIAL,
        "series_number": 1,
        "frames_in_file": 1,
        "frame": 0,
        "problem": np.full(n, "", dtype=object),
    }
    values = plain | columns
    filled = {}
    for name, empty in table.columns.items():
        if name in values:
            value = np.asarray(values.pop(name))
            if empty.dtype.kind in "fi" and value.dtype.kind in "fi":
                value = value.astype(empty.dtype)
            filled[name] = np.broadcast_to(value, (n, *empty.shape[1:])).copy()
        else:
            filled[name] = np.broadcast_to(_missing(name), (n, *empty.shape[1:])).copy().astype(empty.dtype)
    if values:
        raise KeyError(f"no such columns: {sorted(values)}")
    return HeaderTable(filled)


def stack_table(
    positions: np.ndarray, orientation: np.ndarray | Sequence[float] = AXIAL, **columns: Any
) -> HeaderTable:
    """One row for each of (N, 3) positions, with InstanceNumber in their order."""
    n = len(positions)
    given = {"instance_number": np.arange(1, n + 1), "image_position": positions, "image_orientation": orientation}
    return header_table(n, **(given | columns))


def shuffled(table: HeaderTable, seed: int) -> HeaderTable:
    return table.take(np.random.default_rng(seed).permutation(len(table)))


def joined(*tables: HeaderTable) -> HeaderTable:
    """The rows of several tables, with unique paths and instance UIDs."""
    table = HeaderTable.concatenate(tables)
    return HeaderTable(
        table.columns
        | {
            "path": np.array([f"/data/{i:06d}.dcm" for i in range(len(table))], dtype=object),
            "sop_instance_uid": np.array([f"1.2.3.{i}".encode() for i in range(len(table))], dtype="S32"),
        }
    )


def _missing(name: str) -> Any:
    from fastdicom.headers.columns import BY_NAME, missing_column

    return missing_column(BY_NAME[name], 1)[0] if name in BY_NAME else 0
