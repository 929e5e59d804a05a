"""How volumes and files are called in messages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import HeaderTable

__all__ = ["file_name", "full_uid", "listed", "short_uid"]


def full_uid(table: HeaderTable, rows: NDArray[Any]) -> str:
    """Series Instance UID of the first of these rows."""
    return bytes(table["series_instance_uid"][int(np.ravel(rows)[0])]).decode("ascii", "replace")


def short_uid(table: HeaderTable, rows: NDArray[Any]) -> str:
    """The end of the Series Instance UID, which is what differs from series to series."""
    uid = full_uid(table, rows)
    return uid if len(uid) <= 12 else f"...{uid[-8:]}"


def file_name(table: HeaderTable, row: int) -> str:
    """Name of the file of a row without its folder; with the frame, where the file has several."""
    name = os.path.basename(str(table["path"][row]))
    return f"{name} frame {int(table['frame'][row]) + 1}" if table["frames_in_file"][row] > 1 else name


def listed(names: Iterable[str], most: int = 3) -> str:
    """The first few of these names, in order."""
    unique = sorted(set(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")
