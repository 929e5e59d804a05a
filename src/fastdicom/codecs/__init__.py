"""Bytes of a frame to stored values: one small file per backend family, and the registry that picks.

"Stored values" are what pydicom's ``pixel_array`` holds: YBR already RGB, palettes as indices, interleaved, with the
dtype of Bits Allocated and Pixel Representation and nothing above Bits Stored.
"""

from fastdicom.codecs.base import Decoder
from fastdicom.codecs.native import decode_native, is_plain, read_native_frame
from fastdicom.codecs.reduced import reduced_format, reduced_length
from fastdicom.codecs.registry import (
    available_decoders,
    check_stream,
    choose_decoder,
    decode_frame,
    decode_frames,
    decoders_for,
    get_decoder,
)
from fastdicom.codecs.stored import mask_unused_bits_inplace, unused_bits
from fastdicom.codecs.together import decode_together

__all__ = [
    "Decoder",
    "available_decoders",
    "check_stream",
    "choose_decoder",
    "decode_frame",
    "decode_frames",
    "decode_native",
    "decode_together",
    "decoders_for",
    "get_decoder",
    "is_plain",
    "mask_unused_bits_inplace",
    "read_native_frame",
    "reduced_format",
    "reduced_length",
    "unused_bits",
]
