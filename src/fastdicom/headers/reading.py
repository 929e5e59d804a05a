"""The bytes of a batch of files to the walk: first blocks of all, then more of those whose header goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdicom._posix import HAS_POSIX
from fastdicom.errors import FastDicomError
from fastdicom.headers.convert import WANTED
from fastdicom.scanner import RUNNING, Walk
from fastdicom.scanner.kernels import R_UNREADABLE
from fastdicom.sources import is_url, local_names, open_reader, read_ranges
from fastdicom.types import ByteReader, FileRef

__all__ = ["hand_over_all", "walk_headers"]

FIRST_BLOCK = 16 << 10
"""Most image headers fit; measured in benchmarks/headers.py."""
LARGEST_BLOCK = 1 << 20
_SAMPLE = 8
_AT_ONCE = 64
_OWN_SCHEMES = ("zip://", "object://")

_local = threading.local()


def walk_headers(files: Sequence[FileRef]) -> Walk:
    """Walk the headers of a batch of files.

    Returns
    -------
    Walk
        No file is RUNNING any more; those that cannot be opened or read are handed over.
    """
    locators = [file.locator for file in files]
    walk = Walk(WANTED, np.array([file.size for file in files], dtype=np.int64))
    names, starts = local_names(locators)
    if HAS_POSIX and len(files) and (starts >= 0).all():
        _walk_local(walk, names, starts)
        return walk
    ranged = np.array([is_url(locator) and not locator.startswith(_OWN_SCHEMES) for locator in locators])
    _walk_ranged(walk, locators, np.flatnonzero(ranged))
    for row in np.flatnonzero(~ranged).tolist():
        _walk_reader(walk, row, locators[row])
    return walk


def hand_over_all(files: Sequence[FileRef]) -> Walk:
    """A walk that left every file to pydicom."""
    walk = Walk(WANTED, np.array([file.size for file in files], dtype=np.int64))
    walk.hand_over(np.arange(len(files)), R_UNREADABLE)
    return walk


def _walk_local(walk: Walk, names: NDArray[np.uint8], starts: NDArray[np.int64]) -> None:
    buffer, rows = _buffer(), np.arange(len(starts))
    walk.read_files(rows[:_SAMPLE], names, starts, buffer, FIRST_BLOCK)
    walk.read_files(rows[_SAMPLE:], names, starts, buffer, _first_block(walk))


def _first_block(walk: Walk) -> int:
    """How much to read of the files of a batch, from where the headers of the first of them ended."""
    ends = walk.pixel_offset[:_SAMPLE]
    longest = int(ends.max()) + 256
    return min(max(-(-longest // 4096) * 4096, 4096), 4 * FIRST_BLOCK) if longest > 256 else FIRST_BLOCK


def _walk_ranged(walk: Walk, urls: Sequence[str], rows: NDArray[np.int64]) -> None:
    """The same range of many files at once: a file system far away answers them together."""
    for row in rows[walk.sizes[rows] < 0].tolist():
        try:
            with open_reader(urls[row]) as reader:
                walk.sizes[row] = reader.size
        except FastDicomError:
            walk.hand_over(np.array([row]), R_UNREADABLE)
    nbytes = FIRST_BLOCK
    while len(rows := rows[walk.status[rows] == RUNNING]):
        for first in range(0, len(rows), _AT_ONCE):
            _feed_ranges(walk, urls, rows[first : first + _AT_ONCE], nbytes)
        nbytes = min(4 * nbytes, LARGEST_BLOCK)


def _feed_ranges(walk: Walk, urls: Sequence[str], rows: NDArray[np.int64], nbytes: int) -> None:
    starts = walk.position[rows]
    ends = np.minimum(starts + nbytes, walk.sizes[rows])
    answers = read_ranges([urls[row] for row in rows.tolist()], starts.tolist(), ends.tolist())
    failed = np.array([not isinstance(answer, bytes) for answer in answers])
    walk.hand_over(rows[failed], R_UNREADABLE)  # the error is met again, and named, by the other reader
    blocks = [answer for answer in answers if isinstance(answer, bytes)]
    counts = np.array([len(block) for block in blocks], dtype=np.int64)
    walk.feed(rows[~failed], np.frombuffer(b"".join(blocks), dtype=np.uint8), np.cumsum(counts) - counts, counts)


def _walk_reader(walk: Walk, row: int, locator: str) -> None:
    try:
        with open_reader(locator) as reader:
            walk.sizes[row] = reader.size
            _feed_reader(walk, row, reader)
    except (FastDicomError, OSError):
        walk.hand_over(np.array([row]), R_UNREADABLE)  # as above


def _feed_reader(walk: Walk, row: int, reader: ByteReader) -> None:
    rows, start = np.array([row]), np.zeros(1, dtype=np.int64)
    nbytes = FIRST_BLOCK
    while walk.status[row] == RUNNING:
        data = reader.read_at(int(walk.position[row]), nbytes)
        walk.feed(rows, np.frombuffer(data, dtype=np.uint8), start, np.array([len(data)]))
        nbytes = min(4 * nbytes, LARGEST_BLOCK)


def _buffer() -> NDArray[np.uint8]:
    """One buffer a thread, kept: fresh memory costs as much as the reading."""
    buffer: NDArray[np.uint8] | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = np.empty(LARGEST_BLOCK, dtype=np.uint8)
    return buffer
