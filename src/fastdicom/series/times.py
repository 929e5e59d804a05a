"""DICOM dates and times as seconds."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["seconds_of"]

EPOCH = datetime.date(2000, 1, 1).toordinal()
"""Days are counted from here: microseconds survive in a float64."""


def seconds_of(times: NDArray[Any], dates: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Seconds of TM or DT values, since midnight or, with a date, since the year 2000.

    Parameters
    ----------
    times : (N,) bytes
        TM (``HHMMSS.ffffff``, also the retired ``HH:MM:SS``), or DT (``YYYYMMDDHHMMSS.ffffff[+ZZZZ]``).
    dates : (N,) bytes, optional
        DA of the same rows; a TM is added to its date, so that order holds across midnight.

    Returns
    -------
    (N,) float64, seconds; NaN where a value is absent or malformed.

    Source: DICOM PS3.5 6.2.
    """
    unique, inverse = np.unique(times, return_inverse=True)
    seconds = _clock_times(unique)
    for k in np.flatnonzero(np.isnan(seconds)):
        seconds[k] = _seconds(bytes(unique[k]).decode("ascii", "replace"))
    result: NDArray[np.float64] = seconds[inverse] if len(times) else np.empty(0)
    if dates is not None and len(dates):
        days, day_of = np.unique(dates, return_inverse=True)
        offsets = np.array([_days(bytes(day).decode("ascii", "replace")) for day in days], dtype=np.float64)
        # A series without dates keeps plain times; one with some dates only cannot be ordered by them.
        result = result + (0.0 if np.isnan(offsets).all() else offsets[day_of]) * 86400.0
    return result


def _clock_times(times: NDArray[Any]) -> NDArray[np.float64]:
    """Seconds of the values that are plainly ``HHMMSS`` or ``HHMMSS.f``, all at once; NaN for every other."""
    seconds = np.full(len(times), np.nan)
    if len(times) == 0:
        return seconds
    head = np.char.partition(times, b".")
    plain = (np.char.str_len(head[:, 0]) == 6) & np.char.isdigit(head[:, 0])
    plain &= np.char.isdigit(head[:, 2]) | (head[:, 1] == b"")
    whole = head[plain, 0].astype(np.int64)
    clock = whole // 10000 * 3600 + whole // 100 % 100 * 60 + whole % 100
    seconds[plain] = clock + np.char.add(b"0.", np.char.add(head[plain, 2], b"0")).astype(np.float64)
    return seconds


def _days(date: str) -> float:
    digits = date.replace(".", "").strip()
    try:
        return float(datetime.date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])).toordinal() - EPOCH)
    except ValueError:
        return np.nan


def _seconds(value: str) -> float:
    text = value.strip().replace(":", "")
    zone = 0.0
    for sign in "+-":
        if sign in text:
            text, _, offset = text.partition(sign)
            if len(offset) == 4 and offset.isdigit():
                zone = (1 if sign == "+" else -1) * (int(offset[:2]) * 3600 + int(offset[2:]) * 60)
    whole, _, fraction = text.partition(".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return np.nan
    days = 0.0
    if len(whole) >= 8:
        days = _days(whole[:8])
        whole = whole[8:]
    padded = whole.ljust(6, "0")
    clock = int(padded[:2]) * 3600 + int(padded[2:4]) * 60 + int(padded[4:6])
    return days * 86400.0 + clock + float(f"0.{fraction or 0}") - zone
