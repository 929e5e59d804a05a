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
from itertools import groupby
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import decode_frames, decode_together, is_plain, mask_unused_bits_inplace, unused_bits
from fastdicom.frames import (
    LocalRange,
    can_read_local_ranges,
    holds_only_frame,
    is_encapsulated,
    most_of_only_frame,
    only_frame,
    only_frames,
    read_local_ranges,
)
from fastdicom.frames.base import BIG_ENDIAN, DEFLATED
from fastdicom.kernels import modular_numbers, rescale
from fastdicom.plan import PlannedFile, SliceRecord, VolumePlan
from fastdicom.sources import is_url
from fastdicom.stats import BlockStats
from fastdicom.types import PixelFormat

__all__ = ["is_rescaled", "read_runs"]

NATIVE = "native"
PIECE_NBYTES = 1 << 21
"""Pixels of a piece that go elsewhere than the values: into memory of the worker."""
LONG_PIECE_NBYTES = 1 << 24
"""Pixels of a piece that go where the values go. Ctrl-C waits for the end of a compiled call that makes them."""
STREAMS_NBYTES = 3 << 20
"""Code streams of a piece: enough frames that what runs between two pieces does not count, little for each worker."""
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


def read_runs(
    plan: VolumePlan, records: Sequence[SliceRecord], stack: NDArray[Any], stats: BlockStats
) -> NDArray[np.bool_]:
    """Produce what can be produced together of the slices of a block.

    Parameters
    ----------
    records : sequence of SliceRecord
        One for each slice of the block, in its order.
    stack : (len(records), y, x[, c]) array of ``plan.dtype``, C-contiguous
        Where they go, whole slices.
    stats : BlockStats
        Counts what was done.

    Returns
    -------
    (len(records),) bool
        The slices that are done. The others are as they were, or undefined.
    """
    done = np.zeros(len(records), dtype=np.bool_)
    if not can_read_local_ranges():
        return done
    ranges, numbers = _ranges_of(plan, records)
    memory: _Memory = _spare.__dict__.pop("memory", None) or _Memory()
    runs = _Runs(plan, stats, memory)
    for first, stop in _pieces(plan, records, ranges, numbers):
        piece = slice(first, stop)
        wanted = [one for one in ranges[piece] if one is not None]
        done[piece] = runs.produce(records[piece], wanted, stack[piece], numbers[piece])
    if memory.nbytes <= KEPT_NBYTES:
        _spare.memory = memory
    return done


class _Way(NamedTuple):
    """How slices of one format, slope and intercept are made here."""

    encapsulated: bool
    nbytes: int
    """Of one native frame; encapsulated: that a file may have from its pixel data on."""
    numbers: NDArray[Any] | None
    """What the compiled call that reads a slice rescales it with; None where it cannot, or need not."""


def _ranges_of(
    plan: VolumePlan, records: Sequence[SliceRecord]
) -> tuple[list[LocalRange | None], list[NDArray[Any] | None]]:
    """What to read for each slice, None where it is for the other way; and what it is rescaled with as it is read."""
    ways: dict[tuple[int, float, float], _Way | None] = {}
    ranges: list[LocalRange | None] = []
    numbers: list[NDArray[Any] | None] = []
    for record in records:
        one = way = None
        if record.file >= 0 and record.modality_lut < 0 and record.mapping < 0:
            key = (record.format, record.slope, record.intercept)
            if key not in ways:
                ways[key] = _way_of(plan, record)
            way = ways[key]
            one = None if way is None else _range_of(plan.files[record.file], record.frame, way)
        ranges.append(one)
        numbers.append(None if one is None or way is None else way.numbers)
    return ranges, numbers


def _way_of(plan: VolumePlan, record: SliceRecord) -> _Way | None:
    """None where a frame is no slice, or its stored values need more than arithmetic to become the values."""
    fmt = plan.formats[record.format]
    if not plan.in_place or fmt.frame_shape != plan.frame_shape:
        return None
    rescaled = is_rescaled(plan, record)
    if not rescaled and fmt.stored_dtype != plan.dtype:
        return None
    if is_encapsulated(fmt.transfer_syntax_uid):
        return _Way(True, most_of_only_frame(fmt), None)
    if plan.decoders[record.format] != NATIVE or fmt.transfer_syntax_uid in (DEFLATED, BIG_ENDIAN):
        return None
    if sys.byteorder != "little" or not is_plain(fmt):
        return None
    numbers = None
    if rescaled:
        signed, dtypes = bool(fmt.pixel_representation), (fmt.stored_dtype, plan.dtype)
        numbers = modular_numbers(fmt.bits_stored, signed, record.slope, record.intercept, *dtypes)
    return _Way(False, fmt.frame_bits // 8, numbers)


def _range_of(planned: PlannedFile, frame: int, way: _Way) -> LocalRange | None:
    location, nbytes = planned.location, way.nbytes
    offset = location.offset
    if is_url(planned.locator) or "\0" in planned.locator:
        return None
    if way.encapsulated:
        nbytes = planned.size - offset
        if frame != 0 or not holds_only_frame(location, nbytes, way.nbytes):
            return None
    else:
        count = max(1, location.number_of_frames)
        # One byte, which makes the length even, may follow the last frame.
        if not 0 <= location.length - nbytes * count <= 1 or not 0 <= frame < count:
            return None
        if count > 1 and nbytes > LARGE_FRAME_NBYTES:
            return None
        offset += frame * nbytes
    return LocalRange(planned.locator, planned.size, planned.mtime_ns, offset, nbytes)


def _pieces(
    plan: VolumePlan,
    records: Sequence[SliceRecord],
    ranges: Sequence[LocalRange | None],
    numbers: Sequence[NDArray[Any] | None],
) -> Iterator[tuple[int, int]]:
    """(first, stop) of neighbours of one format and one way."""
    keys = [
        (-1 if one is None else record.format, found is not None)
        for record, one, found in zip(records, ranges, numbers, strict=True)
    ]
    start = 0
    for (number, in_one_call), run in groupby(keys):
        stop = start + len(list(run))
        if number >= 0:
            yield from _within_limits(plan, plan.formats[number], ranges, (start, stop), in_one_call)
        start = stop


def _within_limits(
    plan: VolumePlan,
    fmt: PixelFormat,
    ranges: Sequence[LocalRange | None],
    run: tuple[int, int],
    in_one_call: bool,
) -> Iterator[tuple[int, int]]:
    """(first, stop) of the pieces of such neighbours: as long as the limits at the top allow."""
    encapsulated = is_encapsulated(fmt.transfer_syntax_uid)
    in_place = (encapsulated or in_one_call) and fmt.stored_dtype.itemsize == plan.dtype.itemsize
    most = max(1, (LONG_PIECE_NBYTES if in_place else PIECE_NBYTES) * 8 // max(1, fmt.frame_bits))
    first, nbytes = run[0], 0
    for place in range(*run):
        one = ranges[place]
        more = one.nbytes if encapsulated and one is not None else 0
        if place > first and (place - first == most or nbytes + more > STREAMS_NBYTES):
            yield first, place
            first, nbytes = place, 0
        nbytes += more
    yield first, run[1]


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

    def __init__(self, plan: VolumePlan, stats: BlockStats, memory: _Memory) -> None:
        self.plan = plan
        self.stats = stats
        self.memory = memory

    def produce(
        self,
        records: Sequence[SliceRecord],
        ranges: Sequence[LocalRange],
        target: NDArray[Any],
        numbers: Sequence[NDArray[Any] | None],
    ) -> bool:
        """Whether all slices of a piece could be made together.

        Parameters
        ----------
        records, ranges, target
            Of the slices of one piece.
        numbers
            What each is rescaled with as it is read; None for all of them where that comes afterwards.
        """
        fmt, decoder = self.plan.formats[records[0].format], self.plan.decoders[records[0].format]
        slot = self._slot(fmt, target)
        encapsulated = is_encapsulated(fmt.transfer_syntax_uid)
        nbytes = sum(one.nbytes for one in ranges)
        data = self.memory.take("streams", nbytes) if encapsulated else slot.reshape(-1)
        rescaling = None if any(one is None for one in numbers) else np.array(numbers)
        started = perf_counter_ns()
        if not read_local_ranges(ranges, data if rescaling is None else data.view(rescaling.dtype), rescaling):
            return False
        read = perf_counter_ns()
        masked = encapsulated and self._decode(decoder, fmt, ranges, data, slot)
        if masked is None:
            return False
        decoded = perf_counter_ns() if encapsulated else read
        if rescaling is None and not _values(self.plan, records, slot, target, masked=masked):
            return False
        files, decode_ns, values_ns = len({one.path for one in ranges}), decoded - read, perf_counter_ns() - decoded
        self.stats.add(BlockStats(len(records), files, nbytes, 0, read - started, decode_ns, values_ns))
        self.stats.count_decoder(decoder, decode_ns, len(records))
        return True

    def _slot(self, fmt: PixelFormat, target: NDArray[Any]) -> NDArray[Any]:
        """Where the stored values go: the output itself where an item of both has the same size."""
        dtype = fmt.stored_dtype
        if dtype.itemsize == target.dtype.itemsize:
            return target.view(dtype)
        return self.memory.take("pixels", target.size * dtype.itemsize).view(dtype).reshape(target.shape)

    def _decode(
        self,
        decoder: str,
        fmt: PixelFormat,
        ranges: Sequence[LocalRange],
        data: NDArray[np.uint8],
        slot: NDArray[Any],
    ) -> bool | None:
        """Decode the frames of a piece: whether nothing is above Bits Stored. None where one of them cannot."""
        spans = only_frames(data, [one.nbytes for one in ranges])
        if spans is not None and decode_together(decoder, data, spans, fmt, slot):
            return False
        streams = _streams(data, ranges) if spans is None else _parts(data, spans)
        if streams is None:
            return None
        return True if decode_frames(decoder, streams, fmt, slot, level=self.plan.level) else None


def _parts(data: NDArray[np.uint8], spans: NDArray[np.int64]) -> list[memoryview]:
    view = data.data
    return [view[start:end] for start, end in spans.tolist()]


def _streams(data: NDArray[np.uint8], ranges: Sequence[LocalRange]) -> list[memoryview] | None:
    """The code streams where one of them lies in several fragments."""
    streams: list[memoryview] = []
    view, start = data.data, 0
    for one in ranges:
        stream = only_frame(view[start : start + one.nbytes])
        if stream is None:
            return None
        streams.append(stream)
        start += one.nbytes
    return streams


def _values(
    plan: VolumePlan, records: Sequence[SliceRecord], slot: NDArray[Any], target: NDArray[Any], *, masked: bool
) -> bool:
    """Stored values of neighbours to the values asked for; False where `target` cannot hold one of them."""
    fmt = plan.formats[records[0].format]
    start = 0
    for (slope, intercept), run in groupby(records, key=lambda record: (record.slope, record.intercept)):
        stop = start + len(list(run))
        part = slice(start, stop)
        if is_rescaled(plan, records[start]):
            bits = (fmt.bits_stored, fmt.bits_stored - 1) if fmt.stored_dtype.kind != "f" else (0, 0)
            signed = bool(fmt.pixel_representation)
            if rescale(slot[part], *bits, signed, slope, intercept, target[part]):
                return False
        elif not masked:
            mask_unused_bits_inplace(target[part], unused_bits(fmt))
        start = stop
    return True
