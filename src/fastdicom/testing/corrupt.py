"""Damage files on purpose, for tests of what a reader does with bad input. Files are changed in place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from fastdicom.errors import UsageError

__all__ = ["find", "flip", "insert", "set_bytes", "truncate"]

Location = str | os.PathLike[str]


def truncate(path: Location, at: int) -> None:
    """Cut a file to its first `at` bytes; negative: that many bytes off its end."""
    size = Path(path).stat().st_size
    length = at if at >= 0 else size + at
    _check(path, length, size + 1)
    os.truncate(path, length)


def set_bytes(path: Location, at: int, content: bytes) -> None:
    """Overwrite the bytes from offset `at` (negative: from the end); the size stays."""
    data = bytearray(Path(path).read_bytes())
    at = at if at >= 0 else len(data) + at
    _check(path, at, len(data) - len(content) + 1)
    data[at : at + len(content)] = content
    Path(path).write_bytes(data)


def insert(path: Location, at: int, content: bytes) -> None:
    """Put bytes in before offset `at`; everything behind moves."""
    data = Path(path).read_bytes()
    _check(path, at, len(data) + 1)
    Path(path).write_bytes(data[:at] + content + data[at:])


def flip(path: Location, bits: int = 1, *, seed: int = 0, start: int = 0, stop: int | None = None) -> list[int]:
    """Flip `bits` random bits between two offsets; returns the offsets of the bytes changed, ascending."""
    data = bytearray(Path(path).read_bytes())
    stop = len(data) if stop is None else min(stop, len(data))
    _check(path, start, stop)
    rng = np.random.default_rng(seed)
    places = rng.choice((stop - start) * 8, size=min(bits, (stop - start) * 8), replace=False)
    for place in places:
        data[start + int(place) // 8] ^= 1 << int(place) % 8
    Path(path).write_bytes(data)
    return sorted({start + int(place) // 8 for place in places})


def find(path: Location, tag: int, occurrence: int = 0) -> int:
    """Offset of the bytes of a tag, e.g. ``0x7FE00010``, little endian; the last one for ``occurrence=-1``.

    This looks for the four bytes and knows nothing of elements: pixel data may hold them too.
    """
    data = Path(path).read_bytes()
    wanted = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    found = [i for i in range(len(data) - 3) if data[i] == wanted[0] and data[i : i + 4] == wanted]
    if not -len(found) <= occurrence < len(found):
        raise UsageError(f"{os.fspath(path)} holds tag {tag:08X} {len(found)} times. Ask for one of these.")
    return found[occurrence]


def _check(path: Location, at: int, end: int) -> None:
    if not 0 <= at < end:
        raise UsageError(f"Offset {at} is outside of {os.fspath(path)} (allowed: 0 to {end - 1}). Use one inside.")
