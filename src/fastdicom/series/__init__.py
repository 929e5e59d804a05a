"""A `HeaderTable` to the volumes in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import HeaderTable
from fastdicom.series.found import Dimension, FoundVolume
from fastdicom.series.grouping import group_rows, series_codes
from fastdicom.series.neighbours import with_neighbours, with_origins
from fastdicom.series.ordered import spacing_tolerance
from fastdicom.series.stack import volumes_of_group
from fastdicom.types import GeometryPolicy, Skipped

__all__ = ["Dimension", "FoundVolume", "find_volumes", "spacing_tolerance"]


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
    found = [(volumes_of_group(table, rows, policy), k) for k, rows in enumerate(group_rows(table, policy))]
    volumes = [with_origins(table, volume) for together, _ in found for volume in together]
    volumes = with_neighbours(table, volumes, [group for together, group in found for _ in together])
    shared = _patients_of_series(table)
    volumes = [_with_identity_warnings(table, volume, shared) for volume in volumes]
    volumes.sort(key=lambda volume: _sort_key(table, volume))
    left_out = [row for volume in volumes for row in volume.dropped]
    if not left_out:
        return volumes, []
    kept = {str(table["path"][row]) for volume in volumes for row in volume.used_rows}
    dropped = dict.fromkeys(str(table["path"][row]) for row in left_out)
    reason = "another frame has its position and policy.duplicates is 'first'"
    return volumes, [Skipped(path, "duplicate", reason) for path in dropped if path not in kept]


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
