"""Where the bytes of one frame lie, and reading those bytes and no others."""

from fastdicom.frames.base import is_encapsulated, read_exactly
from fastdicom.frames.deflated import inflate
from fastdicom.frames.encapsulated import FrameIndex, index_frames, read_encapsulated, read_only_frame
from fastdicom.frames.local import LocalFrame, can_read_local_frames, read_local_frames
from fastdicom.frames.native import check_surplus, native_bit_offset, native_frame_span, read_native_into

__all__ = [
    "FrameIndex",
    "LocalFrame",
    "can_read_local_frames",
    "check_surplus",
    "index_frames",
    "inflate",
    "is_encapsulated",
    "native_bit_offset",
    "native_frame_span",
    "read_encapsulated",
    "read_exactly",
    "read_local_frames",
    "read_native_into",
    "read_only_frame",
]
