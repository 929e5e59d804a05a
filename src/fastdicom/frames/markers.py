"""How the code stream of a frame starts and ends, in each transfer syntax: what tells the fragments of frames apart."""

from __future__ import annotations

import struct

from fastdicom.types import PixelFormat

HEAD_NBYTES = 68
"""Enough to recognise an RLE header and every code-stream marker."""
END = b"\xff\xd9"
"""EOI and EOC."""
_STARTS = (
    (range(50, 82), (b"\xff\xd8\xff",), ()),
    (range(90, 94), (b"\xff\x4f\xff\x51",), (b"jP  ",)),
    (range(201, 206), (b"\xff\x4f\xff\x51",), (b"jP  ",)),
    (range(110, 113), (b"\xff\x0a",), (b"JXL ",)),
)
"""Last number of 1.2.840.10008.1.2.4.x, first bytes of its code streams, and bytes 4 to 8 of its containers."""

_END_MARKED = (range(50, 82), range(90, 94), range(201, 206))
"""The same numbers of those whose code streams end with EOI or EOC."""


def _numbered(uid: str, numbers: range) -> bool:
    last = uid.removeprefix("1.2.840.10008.1.2.4.")
    return last.isdecimal() and int(last) in numbers


def starts_frame(head: bytes, fmt: PixelFormat | None) -> bool:
    """Whether a fragment starts with the first bytes of a code stream of this transfer syntax."""
    uid = fmt.transfer_syntax_uid if fmt else ""
    if uid == "1.2.840.10008.1.2.5":
        return _is_rle_header(head)
    for numbers, starts, boxes in _STARTS:
        if (not uid or _numbered(uid, numbers)) and (head.startswith(starts) or head[4:8] in boxes):
            return True
    return not uid and _is_rle_header(head)


def is_end_marked(fmt: PixelFormat) -> bool:
    """Whether the code streams of this transfer syntax end with `END`."""
    return any(_numbered(fmt.transfer_syntax_uid, numbers) for numbers in _END_MARKED)


def starts_spiff(head: bytes | memoryview) -> bool:
    """Whether a code stream starts with a SPIFF header (T.84 F; JPEG-LS)."""
    return head[:4] == b"\xff\xd8\xff\xe8" and head[6:11] == b"SPIFF"


def spiff_nbytes(data: bytes | memoryview) -> int:
    """The length of the SPIFF header that a code stream starts with; 0: there is none, or it goes beyond `data`.

    The start marker is repeated behind the header. So a fragment after one of just this length starts like a frame and
    is none. A header is APP8 segments; the last one, the end of the directory, counts the second start marker as its.
    """
    position = 2 if starts_spiff(data) else len(data)
    while data[position : position + 2] == b"\xff\xe8" and position + 8 <= len(data):
        if data[position + 2 : position + 8] == b"\0\x08\0\0\0\x01":
            return position + 8
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return 0


def _is_rle_header(head: bytes) -> bool:
    """PS3.5 G.5: number of segments, then their ascending offsets of which the first is 64 (the unused ones vary)."""
    if len(head) < 64:
        return False
    segments, *offsets = struct.unpack_from("<16I", head)
    used = offsets[:segments]
    return 1 <= segments <= 15 and used[0] == 64 and used == sorted(used)
