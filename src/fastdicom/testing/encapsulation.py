"""Compressed frames to the value of Pixel Data: items, fragments and offset tables (PS3.5 A.4)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fastdicom.testing.spec import SeriesSpec

__all__ = ["encapsulate"]

ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
WRONG_BY = 6
"""Bytes by which every entry of a wrong table is off: never the start of an item."""


def encapsulate(streams: Sequence[bytes], spec: SeriesSpec) -> tuple[bytes, dict[str, bytes]]:
    """(value of Pixel Data, Extended Offset Table and its Lengths by keyword where the recipe wants them)."""
    parts: list[bytes] = []
    offsets: list[int] = []
    at = 0
    for stream in streams:
        offsets.append(at)
        for fragment in _fragments(stream, spec.fragments_per_frame):
            parts.append(ITEM + struct.pack("<I", len(fragment)) + fragment)
            at += len(parts[-1])
    table, extended = b"", {}
    if spec.offset_table == "basic":
        table = struct.pack(f"<{len(offsets)}I", *offsets)
    elif spec.offset_table == "wrong":
        table = struct.pack(f"<{len(offsets)}I", *(offset + WRONG_BY for offset in offsets))
    elif spec.offset_table == "extended":
        lengths = [len(stream) + len(stream) % 2 for stream in streams]
        extended = {
            "ExtendedOffsetTable": struct.pack(f"<{len(offsets)}Q", *offsets),
            "ExtendedOffsetTableLengths": struct.pack(f"<{len(offsets)}Q", *lengths),
        }
    head = ITEM + struct.pack("<I", len(table)) + table
    return b"".join([head, *parts, SEQUENCE_DELIMITER]), extended


def _fragments(stream: bytes, wanted: int) -> list[bytes]:
    """Up to `wanted` pieces of even length; a stream of odd length gets a zero byte (PS3.5 A.4)."""
    stream += b"\0" * (len(stream) % 2)
    length = max(2, -(-len(stream) // wanted) + 1 & ~1)
    return [stream[i : i + length] for i in range(0, len(stream), length)]
