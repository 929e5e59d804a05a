"""DICOM dates and times as seconds."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.series.grouping import codes_of

__all__ = ["Clock", "clock_of", "seconds_of"]

EPOCH = datetime.date(2000, 1, 1).toordinal()
"""Days are counted from here: microseconds survive in a float64."""

DAY = 86400.0

HALF_DAY = 43200.0
"""Seconds; times of day further apart, with nothing in between, are before and after midnight, or of two visits."""


@dataclass(frozen=True)
class Clock:
    """Times of day as seconds that can be compared, and how midnight was met."""

    seconds: NDArray[np.float64]
    """(N,); NaN where a time is absent."""
    said: str = ""
    sure: bool = True
    """False: `said` is what a caller must hear of."""


def clock_of(table: HeaderTable, rows: NDArray[np.int64], kind: Literal["acquisition", "content"]) -> Clock:
    """Acquisition Time or Content Time with its date, and across midnight without one.

    Parameters
    ----------
    table : HeaderTable
    rows : (N,) int64
    kind : str

    Times of one date, or of none, that leave more than half a day free between them may be those of one acquisition
    across midnight: Content Date says so, or the order of InstanceNumber at each position.
    """
    name = "AcquisitionTime" if kind == "acquisition" else "ContentTime"
    dates = table[f"{kind}_date"][rows]
    seconds = seconds_of(table[f"{kind}_time"][rows], dates)
    if len(rows) < 2 or not np.ptp(seconds) > HALF_DAY or (dates != dates[0]).any():  # NaN is not greater
        return Clock(seconds)
    ordered = np.sort(seconds)
    widest = int(np.argmax(np.diff(ordered)))
    if ordered[widest + 1] - ordered[widest] <= HALF_DAY:
        return Clock(seconds)
    early = seconds <= ordered[widest]
    dated = bool(dates[0])
    if kind == "acquisition" and not dated:
        content = seconds_of(table["content_time"][rows], table["content_date"][rows])
        if np.isfinite(content).all() and (table["content_date"][rows] != b"").all():
            moved = seconds + DAY * np.round((content - seconds) / DAY)
            if np.ptp(moved) < HALF_DAY:
                return Clock(moved, f"{name} has no date: the days are those of ContentDate")
    after = _numbered_after(table, rows, early)
    if after is None:
        if dated:
            return Clock(seconds)
        gap = (ordered[widest + 1] - ordered[widest]) / 3600
        return Clock(
            seconds,
            f"{name} has no date and its times lie {gap:.1f} hours apart: whether they go on after midnight is "
            "unknown, and they are taken for times of one day",
            sure=False,
        )
    if not after:
        return Clock(seconds)
    count = int(early.sum())
    said = f"{count} of {len(rows)} frames are from after midnight: InstanceNumber counts on where {name} starts anew"
    if dated:
        said += f", though all have the date {bytes(dates[0]).decode('ascii', 'replace')}"
    return Clock(seconds + DAY * early, said, sure=not dated)


def _numbered_after(table: HeaderTable, rows: NDArray[np.int64], early: NDArray[np.bool_]) -> bool | None:
    """Whether InstanceNumber counts the early times of day after the late ones at each position; None: neither."""
    number = table["instance_number"][rows]
    if (number == INT_MISSING).any():
        return None
    place = codes_of(table["image_position"][rows])
    count = int(place.max()) + 1
    ends = {}
    for which, chosen in (("early", early), ("late", ~early)):
        lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
        np.minimum.at(lowest, place[chosen], number[chosen])
        np.maximum.at(highest, place[chosen], number[chosen])
        ends[which] = lowest, highest
    both = np.isfinite(ends["early"][0]) & np.isfinite(ends["late"][0])
    if not both.any():
        return None
    if (ends["early"][0] > ends["late"][1])[both].all():
        return True
    return False if (ends["late"][0] > ends["early"][1])[both].all() else None


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
