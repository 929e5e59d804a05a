"""Encapsulated pixel data: a sequence of items (PS3.5 A.4), a Basic Offset Table and then the fragments of the frames.

The index keeps, for each frame, the range that covers its items *with* their 8-byte headers. So a frame costs one
read, and the headers inside the range are checked every time, whatever an offset table said.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fastdicom.frames.base import pixel_error, read_exactly
from fastdicom.frames.markers import END, HEAD_NBYTES, is_end_marked, spiff_nbytes, starts_frame, starts_spiff
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0"
HEADER_NBYTES = 8
_CHECKED_ITEMS = 256
"""Table entries whose item header is looked at while indexing: on a remote file each costs a round trip."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameIndex:
    """Where the frames of one encapsulated file lie. Small (16 bytes a frame) and picklable."""

    start: NDArray[np.int64]
    """(N,) file offset of the first item header of each frame; -1: the file ends before this frame does."""
    stop: NDArray[np.int64]
    """(N,) file offset after the last fragment of each frame."""
    table: str
    """What the index rests on: ``extended``, ``basic``, ``single``, ``one fragment a frame``, ``start markers``."""
    problem: str = ""
    """Why frames are absent, where some are."""
    fmt: PixelFormat | None = None
    """What the frames are, which tells how each must start."""

    def __len__(self) -> int:
        return len(self.start)


@dataclass(frozen=True, slots=True)
class _Fragments:
    """The items of a sequence, walked from one header to the next."""

    start: list[int]
    """Offsets of the item headers."""
    stop: list[int]
    """Offsets after the items."""
    heads: list[bytes]
    """The first bytes of each fragment."""
    problem: str
    """Why the walk ended, if not at a sequence delimiter or the end of the data."""
    delimited: bool
    """It ended at a sequence delimiter."""
    cut: bool
    """It ended inside an item: the data are truncated (or the length of the item is wrong)."""
    cut_head: bytes
    """The first bytes of that item."""


def _walk(reader: ByteReader, position: int, limit: int) -> _Fragments:
    """Read the item headers from `position` to the sequence delimiter."""
    start: list[int] = []
    stop: list[int] = []
    heads: list[bytes] = []
    problem, delimited, cut, cut_head = "", False, False, b""
    while position < limit:
        head = reader.read_at(position, min(HEADER_NBYTES + HEAD_NBYTES, limit - position))
        if head[:4] == SEQUENCE_DELIMITER:
            delimited = True
            break
        if len(head) < HEADER_NBYTES:
            problem, cut = f"the data end inside the item header at offset {position}", True
            break
        if head[:4] != ITEM:
            problem = f"there is no item at offset {position} (found {head[:4].hex(' ')})"
            break
        (length,) = struct.unpack_from("<I", head, 4)
        if length > limit - position - HEADER_NBYTES:
            cut, cut_head = True, head[HEADER_NBYTES:]
            problem = (
                f"fragment {len(start)} at offset {position} claims {length} bytes where "
                f"{limit - position - HEADER_NBYTES} are left"
            )
            break
        if length:  # empty items carry nothing and would upset the count of fragments
            start.append(position)
            stop.append(position + HEADER_NBYTES + length)
            heads.append(head[HEADER_NBYTES : HEADER_NBYTES + length])
        position += HEADER_NBYTES + length
    return _Fragments(start, stop, heads, problem, delimited, cut, cut_head)


def index_frames(
    reader: ByteReader, location: PixelLocation, fmt: PixelFormat | None = None, *, path: str = ""
) -> FrameIndex:
    """Find the frames of encapsulated pixel data.

    The Extended Offset Table (7FE0,0001) is used where it is there and right, then the Basic Offset Table; an absent,
    empty or wrong table is replaced by what the items say: one frame is all fragments; as many fragments as frames are
    one each, unless one is plainly the continuation of the one before; otherwise a frame starts at each fragment that
    starts with the marker of a code stream (SOI, SOC, a JPEG XL signature or an RLE header).

    Parameters
    ----------
    reader : ByteReader
        The file. Only item headers and tables are read.
    location : PixelLocation
    fmt : PixelFormat, optional
        Tells which marker starts a frame; without it all are tried.

    Returns
    -------
    FrameIndex
        Frames that lie beyond the end of a truncated file are marked, and fail only when they are read.

    Raises
    ------
    PixelDataError
        The sequence of items is broken before the first frame, or frames and fragments cannot be matched.

    Source: DICOM PS3.5 A.4.
    """
    count = max(1, location.number_of_frames)
    only = 0 if count == 1 else None
    limit = reader.size if reader.size >= 0 else 1 << 62  # a remote file may not say
    if location.length >= 0:  # not allowed for encapsulated data, but seen: the items are there all the same
        limit = min(limit, location.offset + location.length)
    head = reader.read_at(location.offset, max(0, min(HEADER_NBYTES + 4 * min(count, 4096), limit - location.offset)))
    if len(head) < HEADER_NBYTES or head[:4] != ITEM:
        raise pixel_error(
            f"The pixel data at offset {location.offset} do not start with an item (found "
            f"{head[:4].hex(' ') or 'nothing'}), so they are not encapsulated as the transfer syntax says. "
            "Correct the Transfer Syntax UID or copy the file again from its origin.",
            path,
            only,
        )
    (table_nbytes,) = struct.unpack_from("<I", head, 4)
    first = location.offset + HEADER_NBYTES + table_nbytes
    if first > limit:
        raise pixel_error(
            f"The Basic Offset Table claims {table_nbytes} bytes at offset {location.offset}, beyond the end of the "
            f"data at {limit}. The file is truncated or damaged; copy it again from its origin.",
            path,
            only,
        )
    offsets = _extended_table(reader, location, count)
    index = None if offsets is None else _index_from_table(reader, offsets, first, limit, "extended", fmt)
    if index is None:
        offsets = _basic_table(reader, location, table_nbytes, count, head)
        index = None if offsets is None else _index_from_table(reader, offsets, first, limit, "basic", fmt)
    if index is None:
        index = _index_from_items(reader, first, limit, count, fmt, path)
    return replace(index, fmt=fmt)


def _extended_table(reader: ByteReader, location: PixelLocation, count: int) -> NDArray[np.int64] | None:
    offset, nbytes = location.extended_offsets
    if offset < 0 or nbytes < 8 * count:
        return None
    data = reader.read_at(offset, 8 * count)
    if len(data) < 8 * count:
        return None
    offsets = np.frombuffer(data, "<u8")
    return offsets.astype(np.int64) if int(offsets.max()) < 1 << 62 else None


def _basic_table(
    reader: ByteReader, location: PixelLocation, nbytes: int, count: int, head: bytes
) -> NDArray[np.int64] | None:
    if nbytes < 4 * count:  # 0: empty, as the standard allows; shorter than the frames: wrong
        return None
    data = head[HEADER_NBYTES : HEADER_NBYTES + 4 * count]
    if len(data) < 4 * count:
        data = reader.read_at(location.offset + HEADER_NBYTES, 4 * count)
    return np.frombuffer(data, "<u4").astype(np.int64) if len(data) == 4 * count else None


def _index_from_table(
    reader: ByteReader, offsets: NDArray[np.int64], first: int, limit: int, name: str, fmt: PixelFormat | None
) -> FrameIndex | None:
    """Frames as an offset table has them, or None where the items prove the table wrong."""
    if offsets[0] != 0 or (len(offsets) > 1 and np.diff(offsets).min() <= HEADER_NBYTES):
        return None
    start = offsets + first
    inside = int(np.searchsorted(start, limit - HEADER_NBYTES, side="right"))
    step = max(1, inside // _CHECKED_ITEMS)
    for i in range(0, inside, step):
        head = reader.read_at(int(start[i]), HEADER_NBYTES)
        if len(head) < HEADER_NBYTES or head[:4] != ITEM:
            return None
        end = int(start[i]) + HEADER_NBYTES + struct.unpack_from("<I", head, 4)[0]
        if i + 1 < len(start) and end > start[i + 1]:
            return None
    if inside == 0:
        return None
    # No offset says where the last frame ends, so its items are walked. A table that points beyond the end of the data
    # is right in a file that was cut, and wrong in one whose items end with a delimiter.
    last = _walk(reader, int(start[inside - 1]), limit)
    beyond = inside < len(start)
    wrong = last.delimited if beyond else not last.start
    if not last.cut and (wrong or last.problem):
        return None
    # What follows the last frame belongs to it, unless it starts like another: then the items tell how many there are.
    if fmt and any(_begins(reader, last, fmt)):  # any but the first, 0
        return None
    stop = np.append(start[1:], last.stop[-1] if last.start else limit)
    problem = last.problem
    if beyond:
        problem = f"the offset table places frame {inside} at {int(start[inside])}, beyond the end of data at {limit}"
    if problem:
        start[inside - 1 :], stop[inside - 1 :] = -1, -1
    return FrameIndex(start, stop, name, problem)


def _index_from_items(
    reader: ByteReader, first: int, limit: int, count: int, fmt: PixelFormat | None, path: str
) -> FrameIndex:
    """Frames as the items themselves tell them, without a table."""
    items = _walk(reader, first, limit)
    found = len(items.start)
    start = np.asarray(items.start, np.int64)
    stop = np.asarray(items.stop, np.int64)
    if found == 0:
        raise pixel_error(
            f"The pixel data at offset {first} hold no fragment: {items.problem or 'the sequence is empty'}. "
            "The file is truncated or damaged; copy it again from its origin.",
            path,
            0 if count == 1 else None,
        )
    begins = _begins(reader, items, fmt)
    if count == 1 and not items.cut and len(begins) <= 1:
        return FrameIndex(start[:1], stop[-1:], "single", items.problem)
    # A file cut between two fragments has no delimiter and may have just as many fragments as frames, by chance.
    # So may one whose Number of Frames is wrong. Where some fragments start like a frame, the others must be shown to.
    if (
        count == found
        and not items.problem
        and (len(begins) in (0, count) or (items.delimited and _each_is_a_frame(reader, items, begins, fmt)))
    ):
        return FrameIndex(start, stop, "one fragment a frame")
    if items.cut and begins and begins[0] == 0 and len(begins) <= count:
        header_only = _is_header(reader, items, found - 1)
        return _truncated_index(items, begins, count, next_begun=starts_frame(items.cut_head, fmt) and not header_only)
    if len(begins) == count and begins[0] == 0:
        ends = [stop[i - 1] for i in begins[1:]] + [stop[-1]]
        return FrameIndex(start[begins][:count], np.asarray(ends, np.int64)[:count], "start markers")
    why = f" ({items.problem})" if items.problem else ""
    raise pixel_error(
        f"The pixel data have {count} frames in {found} fragments{why}, no usable offset table, and {len(begins)} "
        "fragments that start like a frame: they cannot be matched. Number of Frames is wrong or the file is damaged; "
        "copy it again from its origin or rewrite it with an offset table.",
        path,
        expected=count,
        found=found,
    )


def _truncated_index(items: _Fragments, begins: list[int], count: int, *, next_begun: bool) -> FrameIndex:
    """The frames before the cut: the last one begun is whole only if the fragment that is cut begins another."""
    complete = len(begins) if next_begun else len(begins) - 1
    start = np.full(count, -1, np.int64)
    stop = np.full(count, -1, np.int64)
    for frame in range(complete):
        end = begins[frame + 1] - 1 if frame + 1 < len(begins) else len(items.stop) - 1
        start[frame], stop[frame] = items.start[begins[frame]], items.stop[end]
    return FrameIndex(start, stop, "start markers", items.problem)


_HEADER_LIMIT = 1 << 16
"""Bytes of a fragment that are read to see whether it is a header."""


def _begins(reader: ByteReader, items: _Fragments, fmt: PixelFormat | None) -> list[int]:
    """The fragments that start like a frame."""
    starts = [i for i, head in enumerate(items.heads) if starts_frame(head, fmt)]
    return [i for i in starts if i == 0 or not _is_header(reader, items, i - 1)]


def _is_header(reader: ByteReader, items: _Fragments, i: int) -> bool:
    """Whether a fragment is a SPIFF header and nothing else: then the one after it continues the frame."""
    head, nbytes = items.heads[i], items.stop[i] - items.start[i] - HEADER_NBYTES
    found = spiff_nbytes(head)
    if not found and starts_spiff(head) and len(head) < nbytes <= _HEADER_LIMIT:  # a long directory
        found = spiff_nbytes(reader.read_at(items.start[i] + HEADER_NBYTES, nbytes))
    return found == nbytes


def _each_is_a_frame(reader: ByteReader, items: _Fragments, begins: list[int], fmt: PixelFormat | None) -> bool:
    """Whether each fragment is one frame, though some do not start like one.

    The start of one frame may be damaged. But a fragment after one that has not reached the end marker of its code
    stream continues it. RLE and JPEG XL have no end marker, and every stream of theirs starts as it must.
    """
    if fmt is None:
        return True
    strange = sorted(set(range(1, len(items.start))) - set(begins))
    return is_end_marked(fmt) and all(_ends_stream(reader, items, i - 1) for i in strange)


def _ends_stream(reader: ByteReader, items: _Fragments, i: int) -> bool:
    """Whether a fragment ends with EOI or EOC, padded or not."""
    nbytes = min(items.stop[i] - items.start[i] - HEADER_NBYTES, HEAD_NBYTES)
    return reader.read_at(items.stop[i] - nbytes, nbytes).rstrip(b"\0").endswith(END)


def read_encapsulated(reader: ByteReader, index: FrameIndex, frame: int, *, path: str = "") -> memoryview:
    """Read the code stream of one frame: one read, without a copy where it is one fragment.

    Returns
    -------
    memoryview of bytes
        The fragments joined, with the padding byte of an odd-length stream still there.

    Raises
    ------
    PixelDataError
        The frame is beyond the end of the file, or its items do not fill its range: the offset table is wrong.
    """
    if not 0 <= frame < len(index):
        raise pixel_error(f"Frame {frame} is asked for, but the file has {len(index)}.", path, frame)
    start, stop = int(index.start[frame]), int(index.stop[frame])
    if start < 0:
        raise pixel_error(
            f"Frame {frame} is not complete: {index.problem}. The file is truncated; copy it again from its origin.",
            path,
            frame,
        )
    data = memoryview(read_exactly(reader, start, stop - start, path=path, frame=frame))
    parts: list[memoryview] = []
    position = 0
    while position < len(data):
        tag, body = data[position : position + 4], position + HEADER_NBYTES
        end = body + struct.unpack_from("<I", data, position + 4)[0] if body <= len(data) else len(data) + 1
        if tag != ITEM or end > len(data):
            raise pixel_error(
                f"Frame {frame} does not consist of whole items at offset {start + position}: the offset table "
                f"({index.table}) is wrong. Rewrite the file without an offset table or copy it again.",
                path,
                frame,
            )
        parts.append(data[body:end])
        position = end
    surplus = 0
    if index.fmt:
        surplus = sum(
            starts_frame(bytes(part[:HEAD_NBYTES]), index.fmt) and spiff_nbytes(before) != len(before)
            for before, part in pairwise(parts)
        )
    if surplus:
        raise pixel_error(
            f"Frame {frame} consists of {surplus + 1} code streams ({index.table}): Number of Frames or the offset "
            "table is wrong. Correct it or copy the file again from its origin.",
            path,
            frame,
            expected=1,
            found=surplus + 1,
        )
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
