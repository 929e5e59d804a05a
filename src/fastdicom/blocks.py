"""`read_block`: the one unit of work. Every voxel that leaves fastdicom was made here.

The eager loader calls it from threads, the lazy array from ``__getitem__``, the Zarr writer once a shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import (
    decode_frame,
    decode_streams,
    mask_unused_bits_inplace,
    read_native_frame,
    unused_bits,
)
from fastdicom.errors import FastDicomError, FileChangedError, ValuesError
from fastdicom.frames import is_encapsulated, read_encapsulated, read_only_frame
from fastdicom.frames.base import DEFLATED
from fastdicom.kept_frames import frame_index, inflated
from fastdicom.plan import SliceRecord, VolumePlan
from fastdicom.planned_files import PlannedFile
from fastdicom.region import Region
from fastdicom.runs import LARGE_FRAME_NBYTES, NATIVE, is_rescaled, piece_nbytes, read_runs, streams_nbytes
from fastdicom.slice_values import SliceValues
from fastdicom.sources import open_reader
from fastdicom.stats import BlockStats
from fastdicom.types import ByteReader, PixelFormat

__all__ = ["BlockStats", "Failure", "read_block"]

RLE = "fastdicom.rle"
Index = tuple[Any, ...]
Targets = Sequence[NDArray[Any]] | NDArray[Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """A frame that could not be produced, as data: warnings get lost on workers."""

    index: tuple[int, ...]
    """Index of the slice in the array's dimensions before y."""
    path: str
    frame: int
    kind: str
    """Name of the error's class."""
    message: str


def read_block(
    plan: VolumePlan,
    index: Index | None = None,
    out: NDArray[Any] | None = None,
    *,
    stats: BlockStats | None = None,
    failures: list[Failure] | None = None,
) -> NDArray[Any]:
    """Produce a block of the volume.

    Parameters
    ----------
    plan : VolumePlan
    index : tuple of int and slice, optional
        Basic index into an array of ``plan.shape``; fewer entries than dimensions leave the rest whole.
        None: the whole volume. Only the files and frames that it touches are read.
    out : array of ``plan.dtype`` and the block's shape, optional
        Where to put it.
    stats : BlockStats, optional
        Counts what was done and how long each stage took.
    failures : list, optional
        Where frames that cannot be read are reported; they get ``plan.fill_value``. None: the first one raises.

    Returns
    -------
    Array of ``plan.dtype``; `out` itself where given.

    Raises
    ------
    PixelDataError, DecodeError, FileChangedError, SourceError, ValuesError
        A frame cannot be produced; the message names the file.
    """
    region = Region.of(plan.shape, plan.n_outer, index or ())
    if out is not None and (out.dtype != plan.dtype or out.shape != region.shape):
        raise ValuesError(
            f"out must be a {plan.dtype.name} array of shape {region.shape}; it is {out.dtype.name} of {out.shape}."
        )
    if out is not None and not out.flags.writeable:
        raise ValuesError("out cannot be written to (out.flags.writeable is False). Pass an array that can.")
    block = out if out is not None and out.flags.aligned else np.empty(region.shape, dtype=plan.dtype)
    _Worker(plan, region, BlockStats() if stats is None else stats, failures).run(_slices_of(block, region))
    if out is None or out is block:
        return block
    out[...] = block  # compiled code writes whole items only
    return out


def _slices_of(block: NDArray[Any], region: Region) -> Targets:
    """Views of the slices of a block in C order, each of ``region.frame_shape``; one array if they are neighbours."""
    spread = block.reshape(region.full_shape)  # axes of length 1 put back where the index has integers: a view
    n_outer = len(region.full_shape) - len(region.frame_shape)
    if spread.flags.c_contiguous and spread.size:
        return spread.reshape(-1, *region.frame_shape)
    # Strided outer axes cannot be merged without a copy that nobody would see.
    return [spread[place] for place in np.ndindex(*region.full_shape[:n_outer])]


class _Worker:
    """Produces the wanted slices of one block, file by file."""

    def __init__(self, plan: VolumePlan, region: Region, stats: BlockStats, failures: list[Failure] | None) -> None:
        self.plan = plan
        self.region = region
        self.stats = stats
        self.failures = failures
        self.decoded: tuple[tuple[int, int], NDArray[Any]] | None = None  # last frame that holds several tiles
        self.scratch: dict[tuple[Any, ...], NDArray[Any]] = {}
        self.buffer = bytearray()
        self.values = SliceValues(plan)

    @cached_property
    def unmasked(self) -> list[PixelFormat]:
        """The rescale kernel clears the bits above Bits Stored on its way: no pass of its own for that."""
        return [replace(fmt, bits_stored=fmt.bits_allocated) for fmt in self.plan.formats]

    def run(self, targets: Targets) -> None:
        if len(targets) == 0 or targets[0].size == 0:
            return
        wanted = self.region.slices
        waiting = np.ones(len(wanted), dtype=np.bool_)
        if isinstance(targets, np.ndarray) and self.region.whole_frame and len(targets) > 1:
            waiting = ~read_runs(self.plan, wanted, targets, self.stats)
            if not waiting.any():
                return
        table = self.plan.slices[wanted]
        # Plain tuples: reading a field of a NumPy record costs as much as a system call.
        records = [SliceRecord._make(record) for record in table.tolist()]
        for place in np.flatnonzero(waiting & (table["file"] < 0)).tolist():
            targets[place][...] = self.plan.fill_value
        order = np.lexsort((table["frame"], table["file"]))  # each file is opened once, its frames in order
        present = order[(waiting & (table["file"] >= 0))[order]]
        for file_index, places in _runs(table["file"], present):
            self._one_file(file_index, places, records, targets)

    def _one_file(self, file_index: int, places: list[int], records: list[SliceRecord], targets: Targets) -> None:
        planned = self.plan.files[file_index]
        started = perf_counter_ns()
        try:
            with open_reader(planned.locator) as reader:
                self.stats.open_ns += perf_counter_ns() - started
                self.stats.files_opened += 1
                _check_unchanged(planned, reader)
                pixels = self._pixel_reader(reader, planned, records[places[0]].format)
                for piece in self._pieces(places, records, targets):
                    if len(piece) == 1 or not self._several(pixels, planned, piece, records, targets):
                        for place in piece:
                            with self._reporting(planned, records[place], place, targets[place]):
                                self._one_slice(pixels, planned, records[place], targets[place])
        except FastDicomError as error:
            for place in places:
                self._fail(error, planned, records[place], int(self.region.slices[place]), targets[place])

    def _pieces(self, places: list[int], records: list[SliceRecord], targets: Targets) -> Iterator[list[int]]:
        """Slices of a file to decode together: whole compressed frames that are small, so that calls count."""
        fmt = self.plan.formats[records[places[0]].format]
        nbytes = fmt.decoded_nbytes
        together = isinstance(targets, np.ndarray) and self.region.whole_frame and 0 < nbytes <= LARGE_FRAME_NBYTES
        together = together and is_encapsulated(fmt.transfer_syntax_uid)
        together = together and (fmt.rows, fmt.columns) == self.plan.frame_shape[:2]
        count = max(1, piece_nbytes(self.plan) // nbytes) if together else 1
        for start in range(0, len(places), count):
            yield places[start : start + count]

    def _several(
        self, reader: ByteReader, planned: PlannedFile, places: list[int], records: list[SliceRecord], targets: Targets
    ) -> bool:
        """Whether these slices of a file could be made together; if not, one by one finds out why."""
        number = records[places[0]].format
        fmt, decoder = self.plan.formats[number], self.plan.decoders[number]
        if decoder == NATIVE or any(records[place].format != number for place in places):
            return False
        started = perf_counter_ns()
        streams: list[memoryview] = []
        nbytes = 0
        try:
            index = frame_index(reader, planned, fmt)
            for place in places:
                streams.append(read_encapsulated(reader, index, records[place].frame, path=planned.locator))
                nbytes += len(streams[-1])
                if nbytes > streams_nbytes(self.plan):
                    return False
        except FastDicomError:
            return False
        read = perf_counter_ns()
        stack = self._scratch((len(places), *fmt.frame_shape), fmt.stored_dtype)
        masked = decode_streams(decoder, streams, fmt, stack, level=self.plan.level)
        if masked is None:
            return False
        done = perf_counter_ns()
        self.stats.add(BlockStats(len(places), 0, nbytes, 0, read - started, done - read, 0))
        self.stats.count_decoder(decoder, done - read, len(places))
        for place, stored in zip(places, stack, strict=True):
            if not (masked or is_rescaled(self.plan, records[place])):
                mask_unused_bits_inplace(stored, unused_bits(fmt))
            with self._reporting(planned, records[place], place, targets[place]):
                self._values(stored, fmt, records[place], targets[place], planned)
        return True

    def _reporting(self, planned: PlannedFile, record: SliceRecord, place: int, target: NDArray[Any]) -> _Reporting:
        return _Reporting(self, planned, record, int(self.region.slices[place]), target)

    def _fail(
        self, error: FastDicomError, planned: PlannedFile, record: SliceRecord, flat: int, target: NDArray[Any]
    ) -> None:
        if self.failures is None:
            raise error
        index = tuple(int(k) for k in np.unravel_index(flat, self.plan.outer_shape))
        kind = type(error).__name__
        self.failures.append(Failure(index, planned.locator, record.frame, kind, str(error)))
        target[...] = self.plan.fill_value

    def _pixel_reader(self, reader: ByteReader, planned: PlannedFile, format_index: int) -> ByteReader:
        fmt = self.plan.formats[format_index]
        if fmt.transfer_syntax_uid != DEFLATED:
            return reader
        return inflated(reader, planned, fmt)

    def _one_slice(self, reader: ByteReader, planned: PlannedFile, record: SliceRecord, target: NDArray[Any]) -> None:
        fmt = self.plan.formats[record.format]
        tiled = (fmt.rows, fmt.columns) != self.plan.frame_shape[:2]
        self.stats.frames += 1
        if not tiled and target.flags.c_contiguous and (self.region.whole_frame or self._is_band(fmt)):
            slot = self._slot(fmt, target)
            self._stored(reader, planned, record, fmt, slot, self.region.rows)
            self._values(slot, fmt, record, target, planned)
            return
        stored = self._whole_frame(reader, planned, record, fmt, keep=tiled)
        row, column = record.tile_row, record.tile_column
        tile = stored[row : row + self.plan.frame_shape[0], column : column + self.plan.frame_shape[1]]
        if self.region.whole_frame and target.flags.c_contiguous:
            self._values(tile, fmt, record, target, planned)
            return
        if len(self.region.inner) == 2:  # gray: crop before computing
            part = np.ascontiguousarray(tile[self.region.inner])
            self._values(part, fmt, record, target, planned)
            return
        whole = np.empty(self.plan.frame_shape, self.plan.dtype)
        self._values(tile, fmt, record, whole, planned)
        target[...] = whole[self.region.inner]

    def _is_band(self, fmt: PixelFormat) -> bool:
        return self.region.rows is not None and not is_encapsulated(fmt.transfer_syntax_uid)

    def _slot(self, fmt: PixelFormat, target: NDArray[Any]) -> NDArray[Any]:
        """Where the stored values of a slice go: the output itself where an item of both has the same size."""
        dtype = fmt.stored_dtype
        shape = (*target.shape[:2], *fmt.frame_shape[2:])
        if dtype.itemsize == self.plan.dtype.itemsize and shape == target.shape and self.plan.in_place:
            return target.view(dtype)
        return self._scratch(shape, dtype)

    def _scratch(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Memory that is used again for the next slices of this shape."""
        key = (shape, dtype)
        if key not in self.scratch:
            self.scratch[key] = np.empty(shape, dtype)
        return self.scratch[key]

    def _whole_frame(
        self, reader: ByteReader, planned: PlannedFile, record: SliceRecord, fmt: PixelFormat, *, keep: bool
    ) -> NDArray[Any]:
        key = (record.file, record.frame)
        if self.decoded is not None and self.decoded[0] == key:
            return self.decoded[1]
        stored = np.empty(fmt.frame_shape, fmt.stored_dtype)
        self._stored(reader, planned, record, fmt, stored, None)
        self.decoded = (key, stored) if keep else None
        return stored

    def _stored(
        self,
        reader: ByteReader,
        planned: PlannedFile,
        record: SliceRecord,
        fmt: PixelFormat,
        out: NDArray[Any],
        rows: slice | None,
    ) -> None:
        """Stored values of one frame, or of a band of its rows, into `out`."""
        frame = record.frame
        decoder = self.plan.decoders[record.format]
        started = perf_counter_ns()
        if decoder == NATIVE and not is_encapsulated(fmt.transfer_syntax_uid):
            mask = not is_rescaled(self.plan, record)
            read_native_frame(
                reader, fmt, planned.location, frame, out, rows=rows, mask=mask, path=planned.locator
            )  # fmt: skip
            self.stats.read_ns += perf_counter_ns() - started
            self.stats.bytes_read += out.nbytes
            self.stats.count_decoder(decoder, 0)
            return
        data = read_only_frame(reader, planned.location, self.buffer, fmt, path=planned.locator)
        if data is None:
            data = read_encapsulated(reader, frame_index(reader, planned, fmt), frame, path=planned.locator)
        read = perf_counter_ns()
        if decoder == RLE and is_rescaled(self.plan, record):
            fmt = self.unmasked[record.format]
        decode_frame(decoder, data, fmt, out, path=planned.locator, frame=frame, level=self.plan.level)
        done = perf_counter_ns()
        self.stats.read_ns += read - started
        self.stats.decode_ns += done - read
        self.stats.bytes_read += len(data)
        self.stats.count_decoder(decoder, done - read)

    def _values(
        self, stored: NDArray[Any], fmt: PixelFormat, record: SliceRecord, target: NDArray[Any], planned: PlannedFile
    ) -> None:
        started = perf_counter_ns()
        self.values.make(stored, fmt, record, target, planned)
        self.stats.values_ns += perf_counter_ns() - started


class _Reporting:
    """Context of one slice: turns its error into a row of the report where the caller asked for one."""

    def __init__(
        self, worker: _Worker, planned: PlannedFile, record: SliceRecord, flat: int, target: NDArray[Any]
    ) -> None:
        self._args = (planned, record, flat, target)
        self._worker = worker

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, FastDicomError) and self._worker.failures is not None:
            self._worker._fail(error, *self._args)
            return True
        return False


def _runs(files: NDArray[Any], order: NDArray[np.int64]) -> Iterator[tuple[int, list[int]]]:
    """(file, places in the block) for each file, in the given order."""
    if len(order) == 0:
        return
    borders = np.flatnonzero(np.diff(files[order])) + 1
    for places in np.split(order, borders):
        yield int(files[places[0]]), places.tolist()


def _check_unchanged(planned: PlannedFile, reader: ByteReader) -> None:
    if planned.size >= 0 and reader.size >= 0 and reader.size != planned.size:
        how = f"has {reader.size} bytes; it had {planned.size} when it was scanned"
    elif planned.mtime_ns and getattr(reader, "mtime_ns", 0) not in (0, planned.mtime_ns):
        how = "was written again since it was scanned"
    else:
        return
    raise FileChangedError(
        f"{planned.locator} {how}. Scan the source again.",
        path=planned.locator,
        expected=planned.size,
        found=reader.size,
    )
