"""Neighbouring slices in local files, each its whole frame: several at once, with little Python between.

What `read_block` does with one slice takes six calls that give the interpreter lock away and wait for it again behind
the other workers: that wait, not the work, limited how far two threads came. Here the files of several slices are read
in one compiled call, and their values rescaled in one, or in the same where nothing has to be decoded. Anything unusual
is left to the other way: it finds out what it is, and says so.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import decode_streams, decode_together, is_plain, mask_unused_bits_inplace, unused_bits
from fastdicom.execution import available_cores
from fastdicom.frames import (
    can_read_local_ranges,
    holds_only_frame,
    is_encapsulated,
    most_of_only_frame,
    only_frame,
    only_frames,
    read_local_ranges,
)
from fastdicom.frames.base import BIG_ENDIAN, DEFLATED
from fastdicom.frames.local import NBYTES, PATH
from fastdicom.kernels import modular_numbers, rescale
from fastdicom.plan import SliceRecord, VolumePlan
from fastdicom.stats import BlockStats
from fastdicom.types import PixelFormat

__all__ = ["is_rescaled", "piece_nbytes", "prepare_runs", "read_runs", "streams_nbytes"]

NATIVE = "native"
PIECE_NBYTES, ALL_PIECES_NBYTES = 2 << 20, 24 << 20
"""Pixels of a piece that go elsewhere than the values, into memory of the worker; and of those of all workers."""
LONG_PIECE_NBYTES = 1 << 24
"""Pixels of a piece that go where the values go. Ctrl-C waits for the end of a compiled call that makes them."""
STREAMS_NBYTES, ALL_STREAMS_NBYTES = 6 << 20, 72 << 20
"""Code streams of a piece, and of those of all workers: so many frames that what runs between pieces hardly counts."""
KEPT_NBYTES = 2 * (PIECE_NBYTES + STREAMS_NBYTES)
"""Memory that a thread keeps for its next block. What a single large frame needed is not kept."""
LARGE_FRAME_NBYTES = PIECE_NBYTES // 16
"""Larger frames of one file gain nothing here, and opening it anew for each piece would cost much on a network."""


def is_rescaled(plan: VolumePlan, record: SliceRecord) -> bool:
    """Whether the values of a slice go through the rescale kernel."""
    fmt = plan.formats[record.format]
    if not plan.is_scaled or fmt.samples_per_pixel > 1 or record.modality_lut >= 0 or record.mapping >= 0:
        return False
    plain = record.slope == 1.0 and record.intercept == 0.0 and fmt.bits_stored == 8 * fmt.stored_dtype.itemsize
    return not (plain and fmt.stored_dtype == plan.dtype)


def read_runs(plan: VolumePlan, wanted: NDArray[np.int64], stack: NDArray[Any], stats: BlockStats) -> NDArray[np.bool_]:
    """Produce what can be produced together of the slices of a block.

    Parameters
    ----------
    wanted : (n,) int
        Rows of ``plan.slices``, in the order of the block.
    stack : (n, y, x[, c]) array of ``plan.dtype``, C-contiguous
        Where they go, whole slices.
    stats : BlockStats
        Counts what was done.

    Returns
    -------
    (n,) bool
        The slices that are done. The others are as they were, or undefined.
    """
    done = np.zeros(len(wanted), dtype=np.bool_)
    if not can_read_local_ranges():
        return done
    slices = _slices_of(plan)
    memory: _Memory = _spare.__dict__.pop("memory", None) or _Memory()
    runs = _Runs(plan, slices.take(wanted), stack, stats, memory)
    for first, stop in runs.pieces():
        done[first:stop] = runs.produce(first, stop)
    if memory.nbytes <= KEPT_NBYTES:
        _spare.memory = memory
    return done


def prepare_runs(plan: VolumePlan, workers: int) -> None:
    """Work out what all threads need that are about to make blocks of a plan, or each of them would.

    Parameters
    ----------
    workers : int
        How many there are: they share the memory that is between files and values.
    """
    plan.derived["workers"] = workers
    _slices_of(plan)


def piece_nbytes(plan: VolumePlan) -> int:
    """Bytes of the pixels of a piece that go elsewhere than the values."""
    return min(PIECE_NBYTES, ALL_PIECES_NBYTES // _workers(plan))


def streams_nbytes(plan: VolumePlan) -> int:
    """Bytes of the code streams of a piece."""
    return min(STREAMS_NBYTES, ALL_STREAMS_NBYTES // _workers(plan))


def _workers(plan: VolumePlan) -> int:
    return max(available_cores(), int(plan.derived.get("workers", 1)))


def _slices_of(plan: VolumePlan) -> _Slices:
    """How the slices of a plan are made: worked out once for all, which takes hardly longer than for a block."""
    slices: _Slices | None = plan.derived.get("runs")
    if slices is None:
        slices = plan.derived["runs"] = _Slices.of(plan)
    return slices


class _Way(NamedTuple):
    """How slices of one format, slope and intercept are made; what is not made here has none of it."""

    format: int = -1
    """-1: not here."""
    slope: float = 1.0
    intercept: float = 0.0
    encapsulated: bool = False
    nbytes: int = 0
    """Of one native frame; encapsulated: that a file may have from its pixel data on."""
    rescaled: bool = False
    numbers: NDArray[Any] | None = None
    """What the compiled call that reads a slice rescales it with; None where it cannot, or need not."""

    @property
    def kind(self) -> int:
        """Slices of one kind can be read together."""
        return 2 * self.format + (self.numbers is not None)


NOT_HERE = _Way()


def _way_of(plan: VolumePlan, record: SliceRecord) -> _Way:
    """Not here where a frame is no slice, or its stored values need more than arithmetic to become the values."""
    fmt = plan.formats[record.format]
    if record.file < 0 or record.modality_lut >= 0 or record.mapping >= 0:
        return NOT_HERE
    if not plan.in_place or fmt.frame_shape != plan.frame_shape:
        return NOT_HERE
    rescaled = is_rescaled(plan, record)
    if not rescaled and fmt.stored_dtype != plan.dtype:
        return NOT_HERE
    way = _Way(record.format, record.slope, record.intercept, rescaled=rescaled)
    if is_encapsulated(fmt.transfer_syntax_uid):
        return way._replace(encapsulated=True, nbytes=most_of_only_frame(fmt))
    if plan.decoders[record.format] != NATIVE or fmt.transfer_syntax_uid in (DEFLATED, BIG_ENDIAN):
        return NOT_HERE
    if sys.byteorder != "little" or not is_plain(fmt):
        return NOT_HERE
    numbers = None
    if rescaled:
        signed, dtypes = bool(fmt.pixel_representation), (fmt.stored_dtype, plan.dtype)
        numbers = modular_numbers(fmt.bits_stored, signed, record.slope, record.intercept, *dtypes)
    return way._replace(nbytes=fmt.frame_bits // 8, numbers=numbers)


class _Slices(NamedTuple):
    """How slices are made, column by column."""

    ways: list[_Way]
    """Of neighbours in the plan that are made in the same way, of the next such, ..."""
    number: NDArray[np.int64]
    """(n,) place in `ways` of each slice."""
    kinds: NDArray[np.int64]
    """(n,) slices of one kind can be read together; -1: not here."""
    ranges: NDArray[np.int64]
    """(n, 5) what to read for each, as `read_local_ranges` takes it."""

    @classmethod
    def of(cls, plan: VolumePlan) -> _Slices:
        slices = plan.slices
        starts = np.ones(len(slices), dtype=np.bool_)
        starts[1:] = (slices["file"][1:] < 0) != (slices["file"][:-1] < 0)
        for name in ("format", "slope", "intercept", "modality_lut", "mapping"):
            starts[1:] |= slices[name][1:] != slices[name][:-1]
        number = np.cumsum(starts) - 1
        known: dict[tuple[Any, ...], _Way] = {}
        ways = []
        for record in map(SliceRecord._make, slices[starts].tolist()):
            key = (record.file < 0, record.format, record.slope, record.intercept, record.modality_lut, record.mapping)
            if key not in known:
                known[key] = _way_of(plan, record)
            ways.append(known[key])
        ranges, is_found = _ranges_of(plan, slices, ways, number)
        return cls(ways, number, np.where(is_found, np.array([way.kind for way in ways])[number], -1), ranges)

    def take(self, wanted: NDArray[np.int64]) -> _Slices:
        """These slices, in this order."""
        return _Slices(self.ways, self.number[wanted], self.kinds[wanted], self.ranges[wanted])

    def parts(self, first: int, stop: int) -> Iterator[tuple[_Way, int, int]]:
        """(way, first, stop) of those slices of a piece that are made in one way."""
        number = self.number[first:stop]
        turns = (np.flatnonzero(number[1:] != number[:-1]) + first + 1).tolist()
        for start, end in pairwise([first, *turns, stop]):
            yield self.ways[self.number[start]], start, end

    def numbers(self, first: int, stop: int) -> NDArray[Any] | None:
        """(stop - first, 4) what each slice of a piece is rescaled with as it is read; None: that comes afterwards."""
        if self.ways[self.number[first]].numbers is None:
            return None
        used, places = np.unique(self.number[first:stop], return_inverse=True)
        each = [self.ways[number].numbers for number in used.tolist()]
        return np.stack([numbers for numbers in each if numbers is not None])[places]


def _ranges_of(
    plan: VolumePlan, slices: NDArray[Any], ways: Sequence[_Way], number: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """What to read for each slice; and whether that, and no more, is its frame in a local file."""
    file, frame = np.maximum(slices["file"], 0), slices["frame"].astype(np.int64)
    facts, starts = plan.files.facts[file], plan.files.names[1][file]
    offset, length, frames = facts["offset"], facts["length"], np.maximum(facts["number_of_frames"], 1)
    encapsulated = np.array([way.encapsulated for way in ways])[number]
    nbytes = np.array([way.nbytes for way in ways])[number]
    # Native: the frames fill the element, but for one byte that makes its length even.
    fits = (nbytes > 0) & (length >= 0) & (frames <= length // np.maximum(nbytes, 1))
    surplus = length - np.where(fits, frames, 0) * nbytes
    is_found = fits & (surplus <= 1) & (frame >= 0) & (frame < frames)
    is_found &= (frames == 1) | (nbytes <= LARGE_FRAME_NBYTES)
    rest = facts["size"] - offset
    is_only = (frame == 0) & holds_only_frame(facts["number_of_frames"], length, rest, nbytes)
    is_found = (starts >= 0) & np.where(encapsulated, is_only, is_found)
    offset = offset + np.where(encapsulated | ~is_found, 0, frame * nbytes)
    nbytes = np.where(encapsulated, rest, nbytes)
    ranges = np.stack([starts, facts["size"], facts["mtime_ns"], offset, nbytes], axis=1)
    return ranges, is_found


class _Memory:
    """Memory for what is between file and output. Fresh memory costs as much as the reading, so it is used again."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[np.uint8]] = {}

    def take(self, purpose: str, nbytes: int) -> NDArray[np.uint8]:
        """(nbytes,) uint8, undefined, until this purpose takes again."""
        if purpose not in self.arrays or len(self.arrays[purpose]) < nbytes:
            self.arrays[purpose] = np.empty(nbytes + nbytes // 8, np.uint8)
        return self.arrays[purpose][:nbytes]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())


_spare = threading.local()
"""A thread's memory, for its next block; absent while it works on one."""


class _Runs:
    """Produces the pieces of one block."""

    def __init__(
        self, plan: VolumePlan, slices: _Slices, stack: NDArray[Any], stats: BlockStats, memory: _Memory
    ) -> None:
        self.plan = plan
        self.slices = slices
        self.stack = stack
        self.stats = stats
        self.memory = memory

    def pieces(self) -> Iterator[tuple[int, int]]:
        """(first, stop) of neighbours of one kind: as many as the limits at the top allow."""
        kinds = self.slices.kinds
        ends = np.cumsum(np.where(kinds >= 0, self.slices.ranges[:, NBYTES], 0))
        most_streams, most_pixels = streams_nbytes(self.plan), piece_nbytes(self.plan)
        turns = (np.flatnonzero(kinds[1:] != kinds[:-1]) + 1).tolist()
        for first, stop in pairwise([0, *turns, len(kinds)]):
            if kinds[first] < 0:
                continue
            way = self.slices.ways[self.slices.number[first]]
            fmt = self.plan.formats[way.format]
            in_place = way.encapsulated or way.numbers is not None
            in_place = in_place and fmt.stored_dtype.itemsize == self.plan.dtype.itemsize
            most = max(1, (LONG_PIECE_NBYTES if in_place else most_pixels) * 8 // max(1, fmt.frame_bits))
            while first < stop:
                end = min(stop, first + most)
                if way.encapsulated:
                    before = ends[first - 1] if first else 0
                    end = min(end, max(first + 1, int(np.searchsorted(ends, before + most_streams, "right"))))
                yield first, end
                first = end

    def produce(self, first: int, stop: int) -> bool:
        """Whether all slices of a piece could be made together."""
        way = self.slices.ways[self.slices.number[first]]
        fmt, decoder = self.plan.formats[way.format], self.plan.decoders[way.format]
        ranges, target = self.slices.ranges[first:stop], self.stack[first:stop]
        slot = self._slot(fmt, target)
        nbytes = int(ranges[:, NBYTES].sum())
        data = self.memory.take("streams", nbytes) if way.encapsulated else slot.reshape(-1)
        started = perf_counter_ns()
        rescaling = self.slices.numbers(first, stop)
        data = data.view(np.uint8 if rescaling is None else rescaling.dtype)
        if not read_local_ranges(self.plan.files.names[0], ranges, data, rescaling):
            return False
        read = perf_counter_ns()
        masked = way.encapsulated and self._decode(decoder, fmt, data, ranges[:, NBYTES], slot)
        if masked is None:
            return False
        decoded = perf_counter_ns() if way.encapsulated else read
        if rescaling is None and not self._values(first, stop, fmt, slot, masked=masked):
            return False
        files, decode_ns, values_ns = len(np.unique(ranges[:, PATH])), decoded - read, perf_counter_ns() - decoded
        self.stats.add(BlockStats(stop - first, files, nbytes, 0, read - started, decode_ns, values_ns))
        self.stats.count_decoder(decoder, decode_ns, stop - first)
        return True

    def _slot(self, fmt: PixelFormat, target: NDArray[Any]) -> NDArray[Any]:
        """Where the stored values go: the output itself where an item of both has the same size."""
        dtype = fmt.stored_dtype
        if dtype.itemsize == target.dtype.itemsize:
            return target.view(dtype)
        return self.memory.take("pixels", target.size * dtype.itemsize).view(dtype).reshape(target.shape)

    def _decode(
        self, decoder: str, fmt: PixelFormat, data: NDArray[np.uint8], counts: NDArray[np.int64], slot: NDArray[Any]
    ) -> bool | None:
        """Decode the frames of a piece: whether nothing is above Bits Stored. None where one of them cannot."""
        spans = only_frames(data, counts)
        if spans is not None:
            return decode_together(decoder, data, spans, fmt, slot, level=self.plan.level)
        streams = _streams(data, counts)
        return None if streams is None else decode_streams(decoder, streams, fmt, slot, level=self.plan.level)

    def _values(self, first: int, stop: int, fmt: PixelFormat, slot: NDArray[Any], *, masked: bool) -> bool:
        """Stored values of a piece to the values asked for; False where their dtype cannot hold one of them."""
        bits = (fmt.bits_stored, fmt.bits_stored - 1) if fmt.stored_dtype.kind != "f" else (0, 0)
        signed = bool(fmt.pixel_representation)
        for way, start, end in self.slices.parts(first, stop):
            target = self.stack[start:end]
            if way.rescaled:
                if rescale(slot[start - first : end - first], *bits, signed, way.slope, way.intercept, target):
                    return False
            elif not masked:
                mask_unused_bits_inplace(target, unused_bits(fmt))
        return True


def _streams(data: NDArray[np.uint8], counts: NDArray[np.int64]) -> list[memoryview] | None:
    """The code streams where one of them lies in several fragments."""
    streams: list[memoryview] = []
    view, start = data.data, 0
    for nbytes in counts.tolist():
        stream = only_frame(view[start : start + nbytes])
        if stream is None:
            return None
        streams.append(stream)
        start += nbytes
    return streams
