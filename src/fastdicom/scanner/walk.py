"""The walk of a batch of files: its state between blocks, and what it found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdicom.scanner import kernels
from fastdicom.scanner.elements import SEQUENCES, VR_TABLE, Wanted

__all__ = ["REASONS", "Walk"]

REASONS = {
    kernels.R_START: "no preamble and no file meta group",
    kernels.R_META: "the file meta group is unusual",
    kernels.R_SYNTAX: "the transfer syntax is absent, or not plain little endian",
    kernels.R_VR: "a value representation is not the one expected",
    kernels.R_ORDER: "tags are not in ascending order",
    kernels.R_LENGTH: "a length reaches beyond the file or the enclosing item",
    kernels.R_SEQUENCE: "the structure of a sequence is unusual",
    kernels.R_UNDEFINED: "undefined length of an element that is no known sequence",
    kernels.R_ENHANCED: "functional groups",
    kernels.R_LONG: "a value is too long",
    kernels.R_CHARSET: "the character set is unusual",
    kernels.R_UNREADABLE: "the file cannot be read, or is shorter than it was",
}
"""Why a file was handed over, by `Walk.reason`."""


class Walk:
    """The walk of N files for W wanted elements: feed it their bytes until none is RUNNING.

    Parameters
    ----------
    wanted : Wanted
    sizes : (N,) int64
        Bytes of each file.

    Attributes
    ----------
    offset, length : (N, W) int64
        File offset and bytes of each wanted element's value. Length -1: absent; -2: a sequence of undefined length
        that has items.
    at : (N, W) int64
        Where the value (of VALUE elements) begins in `values`.
    """

    def __init__(self, wanted: Wanted, sizes: NDArray[np.int64]) -> None:
        n = len(sizes)
        self.wanted = wanted
        self.sizes = np.ascontiguousarray(sizes, dtype=np.int64)
        self._state = np.zeros((n, kernels.STATE_WIDTH), dtype=np.int64)
        self._state[:, kernels.PIXEL_OFFSET] = self._state[:, kernels.FRAGMENT] = self._state[:, kernels.OPEN] = -1
        self.offset = np.full((n, len(wanted)), -1, dtype=np.int64)
        self.length = np.full((n, len(wanted)), -1, dtype=np.int64)
        self.at = np.zeros((n, len(wanted)), dtype=np.int64)
        self._values = np.empty(0, dtype=np.uint8)
        self._used = 0

    @classmethod
    def joined(cls, parts: Sequence[Walk]) -> Walk:
        """Walks of different files for the same elements as one, in their order."""
        walk = cls(parts[0].wanted, np.concatenate([part.sizes for part in parts]))
        for name in ("_state", "offset", "length", "at"):
            np.concatenate([getattr(part, name) for part in parts], out=getattr(walk, name))
        walk._values = np.concatenate([part.values for part in parts])
        walk._used = len(walk._values)
        row, used = 0, 0
        for part in parts:
            walk.at[row : row + len(part.sizes)] += used
            row, used = row + len(part.sizes), used + part._used
        return walk

    @property
    def status(self) -> NDArray[np.int64]:
        """(N,) RUNNING, DONE (pixel data found), NO_PIXELS (walked to the end of the file) or HANDED_OVER."""
        return self._state[:, kernels.STATUS]

    @property
    def reason(self) -> NDArray[np.int64]:
        """(N,) key of `REASONS` where handed over, else 0."""
        return self._state[:, kernels.REASON]

    @property
    def position(self) -> NDArray[np.int64]:
        """(N,) file offset of the bytes that a RUNNING file needs next."""
        return self._state[:, kernels.POSITION]

    @property
    def pixel_tag(self) -> NDArray[np.int64]:
        """(N,) tag of the pixel data element, 0 where none was found."""
        return self._state[:, kernels.PIXEL_TAG]

    @property
    def pixel_offset(self) -> NDArray[np.int64]:
        """(N,) file offset of the pixel data value."""
        return self._state[:, kernels.PIXEL_OFFSET]

    @property
    def pixel_length(self) -> NDArray[np.int64]:
        """(N,) bytes of the pixel data value; -1: undefined, so encapsulated."""
        return self._state[:, kernels.PIXEL_LENGTH]

    @property
    def fragment(self) -> NDArray[np.int64]:
        """(N,) file offset of the first fragment's item, after the Basic Offset Table; -1 where it was not seen."""
        return self._state[:, kernels.FRAGMENT]

    @property
    def values(self) -> NDArray[np.uint8]:
        """Copies of the values of all files, one behind the other."""
        return self._values[: self._used]

    def value(self, row: int, column: int) -> bytes | None:
        """One value; None where the element is absent."""
        n = int(self.length[row, column])
        if n < 0:
            return None
        start = int(self.at[row, column])
        return self._values[start : start + n].tobytes()

    def hand_over(self, rows: NDArray[np.int64], reason: int) -> None:
        """Give up on some files."""
        self._state[rows, kernels.STATUS] = kernels.HANDED_OVER
        self._state[rows, kernels.REASON] = reason

    def feed(
        self, rows: NDArray[np.int64], block: NDArray[np.uint8], starts: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> None:
        """Walk on in some files.

        Parameters
        ----------
        rows : (K,) int64
            Different files, all RUNNING.
        block : (B,) uint8
        starts, counts : (K,) int64
            ``block[start : start + count]`` are the bytes of the file from its `position` on. With 4 KiB or more, or
            all up to its end, a file gets further; one that does not is handed over.
        """
        if len(starts) != len(rows) or len(counts) != len(rows) or np.any(starts < 0) or np.any(counts < 0):
            raise ValueError("starts and counts must have one entry, zero or larger, for each row. Pass them so.")
        if len(rows) and (int((starts + counts).max()) > len(block) or int(rows.max()) >= len(self.sizes)):
            raise ValueError("starts, counts or rows point outside of the block or the batch. Pass others.")
        self._reserve(int(counts.sum()))
        before = self.position[rows]
        w = self.wanted
        self._used = kernels.walk_blocks(
            block, rows, starts, counts, self.sizes, self._state, VR_TABLE, SEQUENCES, w.standard, w.private,
            w.creators, w.creator_names, w.kinds, self.offset, self.length, self.at, self._values, self._used,
        )  # fmt: skip
        stuck = (self.status[rows] == kernels.RUNNING) & (self.position[rows] == before)
        if stuck.any():
            self.hand_over(rows[stuck], kernels.R_UNREADABLE)

    def read_files(
        self,
        rows: NDArray[np.int64],
        paths: NDArray[np.uint8],
        path_starts: NDArray[np.int64],
        buffer: NDArray[np.uint8],
        nbytes: int,
    ) -> None:
        """Open, read, walk and close local files, without the interpreter; then none of them is RUNNING.

        Parameters
        ----------
        rows : (K,) int64
            Different files, all RUNNING.
        paths, path_starts : uint8, (N,) int64
            Each path ends in a zero byte.
        buffer : (B,) uint8
            At least 4 KiB, to be overwritten.
        nbytes : int
            How much of each file to read first.
        """
        if len(rows) and (int(rows.max()) >= len(self.sizes) or len(path_starts) < len(self.sizes)):
            raise ValueError("rows point outside of the batch. Pass rows that lie in it, and a path for each file.")
        if len(buffer) < 4096 or nbytes < 4096 or not len(paths) or paths[-1] != 0:
            raise ValueError("A buffer of 4 KiB or more and zero-terminated paths are needed. Pass them.")
        w, done = self.wanted, 0
        while done < len(rows):
            self._reserve(max(1 << 16, (len(rows) - done) * 1024) + len(w) * kernels.MAX_VALUE_NBYTES)
            done, self._used = kernels.walk_local_files(
                paths, path_starts, rows, done, nbytes, buffer, self.sizes, self._state, VR_TABLE, SEQUENCES,
                w.standard, w.private, w.creators, w.creator_names, w.kinds, self.offset, self.length, self.at,
                self._values, self._used,
            )  # fmt: skip

    def _reserve(self, nbytes: int) -> None:
        """Make room for values; memory that is not written to costs nothing."""
        if self._used + nbytes > len(self._values):
            grown = np.empty(self._used + nbytes, dtype=np.uint8)
            grown[: self._used] = self._values[: self._used]
            self._values = grown
