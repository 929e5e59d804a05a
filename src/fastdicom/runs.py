"""Neighbouring slices whose pixels lie in local files as they are in memory: several at once, without Python between.

What `read_block` would do with them one at a time takes a dozen steps of Python a slice, each of which waits for the
interpreter lock of the other workers. Anything unusual is left to it: it finds out what, and says so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import is_plain, mask_unused_bits_inplace, unused_bits
from fastdicom.frames import LocalFrame, can_read_local_frames, is_encapsulated, read_local_frames
from fastdicom.frames.base import BIG_ENDIAN, DEFLATED
from fastdicom.kernels import rescale
from fastdicom.plan import SliceRecord, VolumePlan
from fastdicom.sources import is_url

__all__ = ["is_rescaled", "read_native_runs"]

PIECE_NBYTES = 1 << 20
"""Read and rescaled together: stays in the cache of a core."""

OnRead = Callable[[int, int, int, int, int], None]


def is_rescaled(plan: VolumePlan, record: SliceRecord) -> bool:
    """Whether the values of a slice go through the rescale kernel."""
    fmt = plan.formats[record.format]
    if not plan.is_scaled or fmt.samples_per_pixel > 1 or record.modality_lut >= 0 or record.mapping >= 0:
        return False
    plain = record.slope == 1.0 and record.intercept == 0.0 and fmt.bits_stored == 8 * fmt.stored_dtype.itemsize
    return not (plain and fmt.stored_dtype == plan.dtype)


def read_native_runs(
    plan: VolumePlan, records: Sequence[SliceRecord], stack: NDArray[np.generic], on_read: OnRead
) -> NDArray[np.bool_]:
    """Produce what can be produced at once of the slices of a block.

    Parameters
    ----------
    records : sequence of SliceRecord
        One for each slice of the block, in its order.
    stack : (len(records), y, x[, c]) array of ``plan.dtype``, C-contiguous
        Where they go, whole slices.
    on_read : callable (frames, files, bytes, nanoseconds of reading, nanoseconds of rescaling)
        Called after each piece.

    Returns
    -------
    (len(records),) bool
        The slices that are done. The others are as they were, or undefined.
    """
    done = np.zeros(len(records), dtype=np.bool_)
    if not can_read_local_frames():
        return done
    suited = [_is_suited(plan, k) for k in range(len(plan.formats))]
    frames = [_local_frame(plan, record) if suited[record.format] else None for record in records]
    for first, stop in _pieces(plan, records, frames):
        fmt = plan.formats[records[first].format]
        target = stack[first:stop]
        # The stored values go where the values will, if an item of both has the same size.
        fits = fmt.stored_dtype.itemsize == plan.dtype.itemsize
        slot = target.view(fmt.stored_dtype) if fits else np.empty(target.shape, fmt.stored_dtype)
        flat = slot.reshape(-1).view(np.uint8)
        wanted = [frame for frame in frames[first:stop] if frame is not None]
        started = perf_counter_ns()
        if not read_local_frames(wanted, flat.nbytes // len(wanted), flat):
            continue
        read = perf_counter_ns()
        if _values(plan, records[first:stop], slot, target):
            done[first:stop] = True
            files = len({frame.path for frame in wanted})
            on_read(len(wanted), files, flat.nbytes, read - started, perf_counter_ns() - read)
    return done


def _is_suited(plan: VolumePlan, number: int) -> bool:
    """Whether the frames of a format are in the file what they are in memory, a slice each."""
    fmt = plan.formats[number]
    return (
        plan.in_place
        and plan.decoders[number] == "native"
        and not is_encapsulated(fmt.transfer_syntax_uid)
        and fmt.transfer_syntax_uid not in (DEFLATED, BIG_ENDIAN)
        and sys.byteorder == "little"
        and is_plain(fmt)
        and fmt.frame_shape == plan.frame_shape
    )


def _local_frame(plan: VolumePlan, record: SliceRecord) -> LocalFrame | None:
    """Where the bytes of a slice lie; None where that is for others to find out."""
    fmt = plan.formats[record.format]
    if record.file < 0 or record.modality_lut >= 0 or record.mapping >= 0:
        return None
    if not is_rescaled(plan, record) and fmt.stored_dtype != plan.dtype:
        return None
    planned = plan.files[record.file]
    location = planned.location
    nbytes = fmt.frame_bits // 8
    count = max(1, location.number_of_frames)
    # One byte, which makes the length even, may follow the last frame.
    if not 0 <= location.length - nbytes * count <= 1 or not 0 <= record.frame < count:
        return None
    if is_url(planned.locator) or "\0" in planned.locator:
        return None
    return LocalFrame(planned.locator, planned.size, planned.mtime_ns, location.offset + record.frame * nbytes)


def _pieces(
    plan: VolumePlan, records: Sequence[SliceRecord], frames: Sequence[LocalFrame | None]
) -> Iterator[tuple[int, int]]:
    """(first, stop) of neighbours of one format, about PIECE_NBYTES each."""
    keys = [-1 if frame is None else record.format for record, frame in zip(records, frames, strict=True)]
    start = 0
    for key, run in groupby(keys):
        stop = start + len(list(run))
        if key >= 0:
            step = max(1, PIECE_NBYTES * 8 // max(1, plan.formats[key].frame_bits))
            for first in range(start, stop, step):
                yield first, min(first + step, stop)
        start = stop


def _values(
    plan: VolumePlan, records: Sequence[SliceRecord], slot: NDArray[np.generic], target: NDArray[np.generic]
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
        else:
            mask_unused_bits_inplace(target[part], unused_bits(fmt))
        start = stop
    return True
