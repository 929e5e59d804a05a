"""Bytes of a frame to stored values: a small file per backend family, the registry that picks, `decoding` that runs.

"Stored values" are what pydicom's ``pixel_array`` holds: YBR already RGB, palettes as indices, interleaved, with the
dtype of Bits Allocated and Pixel Representation and nothing above Bits Stored.
"""

from fastdicom.codecs.base import Decoder
from fastdicom.codecs.decoding import check_stream, decode_frame, decode_frames
from fastdicom.codecs.native import decode_native, is_plain, read_native_frame
from fastdicom.codecs.reduced import reduced_format, reduced_length
from fastdicom.codecs.registry import available_decoders, choose_decoder, decoders_for, get_decoder
from fastdicom.codecs.stored import mask_unused_bits_inplace, unused_bits
from fastdicom.codecs.together import decode_streams, decode_together

__all__ = [
    "Decoder",
    "available_decoders",
    "check_stream",
    "choose_decoder",
    "decode_frame",
    "decode_frames",
    "decode_native",
    "decode_streams",
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
