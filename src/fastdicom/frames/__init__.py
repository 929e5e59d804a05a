"""Where the bytes of one frame lie, and reading those bytes and no others."""

from fastdicom.frames.base import is_encapsulated, read_exactly
from fastdicom.frames.deflated import inflate
from fastdicom.frames.encapsulated import (
    FrameIndex,
    index_frames,
    read_encapsulated,
)
from fastdicom.frames.local import can_read_local_ranges, read_local_ranges
from fastdicom.frames.native import check_surplus, native_bit_offset, native_frame_span, read_native_into
from fastdicom.frames.only_frame import (
    holds_only_frame,
    most_of_only_frame,
    only_frame,
    only_frames,
    read_only_frame,
)

__all__ = [
    "FrameIndex",
    "can_read_local_ranges",
    "check_surplus",
    "holds_only_frame",
    "index_frames",
    "inflate",
    "is_encapsulated",
    "most_of_only_frame",
    "native_bit_offset",
    "native_frame_span",
    "only_frame",
    "only_frames",
    "read_encapsulated",
    "read_exactly",
    "read_local_ranges",
    "read_native_into",
    "read_only_frame",
]
