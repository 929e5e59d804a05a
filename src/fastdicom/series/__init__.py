"""A `HeaderTable` to the volumes in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import HeaderTable
from fastdicom.series.found import Dimension, FoundVolume
from fastdicom.series.grouping import group_rows, series_codes
from fastdicom.series.ordered import spacing_tolerance
from fastdicom.series.stack import volumes_of_group
from fastdicom.series.words import file_name, listed
from fastdicom.types import GeometryPolicy, Skipped

__all__ = ["Dimension", "FoundVolume", "find_volumes", "spacing_tolerance"]

MANY = 16
"""A series of more volumes (radial slices, say) is not a volume with remnants."""

FEW = 0.2
"""A group with fewer frames than this part of the largest of its series is a remnant that the others should name."""


def find_volumes(table: HeaderTable, policy: GeometryPolicy) -> tuple[list[FoundVolume], list[Skipped]]:
    """Group, order and check the frames of a header table.

    Parameters
    ----------
    table : HeaderTable
    policy : GeometryPolicy

    Returns
    -------
    (volumes, skipped)
        Volumes in order of series number, then of size; a volume that the policy refuses has its error in
        ``FoundVolume.error``. Frames that the policy left out are in `skipped`.
    """
    volumes = [volume for rows in group_rows(table, policy) for volume in volumes_of_group(table, rows, policy)]
    shared = _patients_of_series(table)
    volumes = [_with_identity_warnings(table, volume, shared) for volume in _with_remnants(table, volumes)]
    volumes.sort(key=lambda volume: _sort_key(table, volume))
    left_out = [row for volume in volumes for row in volume.dropped]
    if not left_out:
        return volumes, []
    kept = {str(table["path"][row]) for volume in volumes for row in volume.used_rows}
    dropped = dict.fromkeys(str(table["path"][row]) for row in left_out)
    reason = "another frame has its position and policy.duplicates is 'first'"
    return volumes, [Skipped(path, "duplicate", reason) for path in dropped if path not in kept]


def _with_remnants(table: HeaderTable, volumes: Sequence[FoundVolume]) -> list[FoundVolume]:
    """Tell each volume of the few other frames of its series that are unlike it: they may be what it lacks."""
    by_series: dict[bytes, list[FoundVolume]] = {}
    for volume in volumes:
        by_series.setdefault(bytes(table["series_instance_uid"][volume.used_rows[0]]), []).append(volume)
    told = []
    for volume in volumes:
        together = by_series[bytes(table["series_instance_uid"][volume.used_rows[0]])]
        count = len(volume.used_rows)
        few = [
            other
            for other in (together if len(together) <= MANY else ())
            if len(other.used_rows) <= max(1, FEW * count) and other.rows.shape[-1] < volume.rows.shape[-1]
        ]
        told.append(replace(volume, notes=(*volume.notes, *(_remnant_note(table, volume, v) for v in few))))
    return told


def _patients_of_series(table: HeaderTable) -> NDArray[np.int64]:
    """(N,) how many patients the series of each row has, by what its files say."""
    keys = table["patient_key"]
    if len(keys) == 0 or (keys == keys[0]).all():
        return np.ones(len(keys), dtype=np.int64)
    series = series_codes(table)
    known = keys != 0
    pairs = np.unique(np.column_stack([series[known], keys[known]]), axis=0)
    return np.bincount(pairs[:, 0], minlength=int(series.max()) + 1)[series]


def _with_identity_warnings(table: HeaderTable, volume: FoundVolume, patients: NDArray[np.int64]) -> FoundVolume:
    row = int(volume.used_rows[0])
    without = table["series_instance_uid"][row] == b""
    told = []
    if patients[row] > 1:
        where = "files of one folder without a Series Instance UID" if without else "files of this Series Instance UID"
        told.append(f"the {where} are of {patients[row]} patients: each has volumes of its own")
    if without:
        told.append(
            "no Series Instance UID: the files of one folder that agree in patient, study date and series number are "
            "taken for one series"
        )
    return replace(volume, warnings=(*told, *volume.warnings)) if told else volume


def _remnant_note(table: HeaderTable, volume: FoundVolume, other: FoundVolume) -> str:
    mine, theirs = int(volume.used_rows[0]), int(other.used_rows[0])
    differ = ["patient"] if table["patient_key"][mine] != table["patient_key"][theirs] else []
    if (table["rows"][mine], table["columns"][mine]) != (table["rows"][theirs], table["columns"][theirs]):
        differ.append("size")
    if volume.geometry.has_positions and not other.geometry.has_positions:
        differ.append("having no usable position")
    elif not np.allclose(table["image_orientation"][mine], table["image_orientation"][theirs], atol=1e-3):
        differ.append("orientation")
    if not np.allclose(table["pixel_spacing"][mine], table["pixel_spacing"][theirs], rtol=1e-3, equal_nan=True):
        differ.append("pixel spacing")
    if not differ:
        differ = [name for name in ("image_type", "sop_class_uid") if table[name][mine] != table[name][theirs]]
    count = len(other.used_rows)
    names = listed(file_name(table, row) for row in other.used_rows)
    return (
        f"{count} other {'frame' if count == 1 else 'frames'} of this series ({names}), unlike these in "
        f"{', '.join(differ) or 'their headers'}, {'is' if count == 1 else 'are'} a volume of their own"
    )


def _sort_key(table: HeaderTable, volume: FoundVolume) -> tuple[object, ...]:
    row = int(volume.used_rows[0])
    return (
        bytes(table["study_instance_uid"][row]),
        int(table["series_number"][row]),
        bytes(table["series_instance_uid"][row]),
        -int(np.prod(volume.rows.shape)),
        # File order must never matter: what remains is decided by content.
        bytes(table["sop_instance_uid"][row]),
        int(table["frame"][row]),
    )
