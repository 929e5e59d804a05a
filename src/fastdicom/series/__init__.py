"""A `HeaderTable` to the volumes in it."""

from __future__ import annotations

import numpy as np

from fastdicom.headers import HeaderTable
from fastdicom.series.found import Dimension, FoundVolume
from fastdicom.series.grouping import group_rows
from fastdicom.series.stack import spacing_tolerance, volumes_of_group
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
    volumes = [volume for rows in group_rows(table, policy) for volume in volumes_of_group(table, rows, policy)]
    volumes.sort(key=lambda volume: _sort_key(table, volume))
    kept = {str(table["path"][row]) for volume in volumes for row in volume.used_rows}
    dropped = dict.fromkeys(str(table["path"][row]) for volume in volumes for row in volume.dropped)
    reason = "another frame has its position and policy.duplicates is 'first'"
    return volumes, [Skipped(path, "duplicate", reason) for path in dropped if path not in kept]


def _sort_key(table: HeaderTable, volume: FoundVolume) -> tuple[object, ...]:
    row = int(volume.used_rows[0])
    return (
        bytes(table["study_instance_uid"][row]),
        int(table["series_number"][row]),
        bytes(table["series_instance_uid"][row]),
        -int(np.prod(volume.rows.shape)),
        # File order must never matter: what remains is decided by content.
        bytes(table["sop_instance_uid"][row]),
    )
