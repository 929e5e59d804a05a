"""Where the bytes of one frame lie, and reading those bytes and no others."""

from fastdicom.frames.base import is_encapsulated, read_exactly
from fastdicom.frames.deflated import inflate
from fastdicom.frames.encapsulated import (
    FrameIndex,
    holds_only_frame,
    index_frames,
    only_frame,
    read_encapsulated,
    read_only_frame,
)
from fastdicom.frames.local import LocalRange, can_read_local_ranges, read_local_ranges
from fastdicom.frames.native import check_surplus, native_bit_offset, native_frame_span, read_native_into

__all__ = [
    "FrameIndex",
    "LocalRange",
    "can_read_local_ranges",
    "check_surplus",
    "holds_only_frame",
    "index_frames",
    "inflate",
    "is_encapsulated",
    "native_bit_offset",
    "native_frame_span",
    "only_frame",
    "read_encapsulated",
    "read_exactly",
    "read_local_ranges",
    "read_native_into",
    "read_only_frame",
]
