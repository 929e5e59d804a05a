"""YBR_FULL to RGB of decoded frames (PS3.3 C.7.6.3.1.2); those of 8 bits as pydicom's ``pixel_array`` has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs.streams import StreamError, StreamHeader
from fastdicom.kernels import row_bands, ybr_full_to_rgb
from fastdicom.types import PixelFormat

__all__ = ["needs_rgb", "ybr_full_to_rgb_inplace"]

_TO_RGB = np.asarray([[1, 1, 1], [0, -0.114 * 1.772 / 0.587, 1.772], [1.402, -0.299 * 1.402 / 0.587, 0]])


def needs_rgb(fmt: PixelFormat, header: StreamHeader | None) -> bool:
    """Whether the decoded samples are YBR_FULL and are to be converted.

    JPEG and JPEG-LS streams overrule the header: component identifiers "RGB" mean RGB, a JFIF marker means YCbCr
    (the rule of pydicom 3). YBR_ICT and YBR_RCT are undone by the JPEG 2000 decoder itself.
    """
    photometric = fmt.photometric_interpretation
    if fmt.samples_per_pixel != 3:
        return False
    if header is not None and header.kind == "jpegxl":
        return False  # the decoder hands out RGB whatever the stream stores
    if header is not None and header.kind in ("jpeg", "jpegls"):
        if header.component_ids in ((82, 71, 66), (114, 103, 98)) and photometric != "RGB":
            return False
        if header.jfif and "YBR" not in photometric:
            return True
    return photometric in ("YBR_FULL", "YBR_FULL_422")


def ybr_full_to_rgb_inplace(frame: NDArray[Any], bits: int) -> None:
    """Convert a (..., 3) frame in place: exact up to 24 bits, half rounded up, clipped to what the bits hold.

    Parameters
    ----------
    frame : (..., 3) unsigned integers
    bits : int
        Of a sample. No chroma is half of full scale: 128 for 8 bits, 2048 for 12.

    Raises
    ------
    StreamError
        The samples are signed, which those of YBR_FULL never are, or have more bits.
    """
    flat = frame.reshape(-1, 3)
    if not np.shares_memory(flat, frame):  # a strided frame: reshape copied it
        ybr_full_to_rgb_inplace(flat, bits)
        frame[...] = flat.reshape(frame.shape)
    elif frame.dtype == np.uint8 and bits == 8 and flat.flags.c_contiguous:
        ybr_full_to_rgb(flat, flat)
    elif frame.dtype.kind != "u":
        raise StreamError("its samples are signed (Pixel Representation 1), and YBR_FULL has no signed ones")
    else:
        for band in row_bands(flat.shape):
            flat[band] = _converted(flat[band], bits)


def _converted(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    top = (1 << bits) - 1
    if pixels.size and int(pixels.max()) > top:
        raise StreamError(f"its values up to {int(pixels.max())} have more than {bits} bits")
    if bits == 8:  # in wider words
        narrow = pixels.astype(np.uint8)
        ybr_full_to_rgb(narrow, narrow)
        return narrow.astype(pixels.dtype)
    work = pixels.astype(np.float64)
    work[:, 1:] -= 1 << (bits - 1)
    # An exact half must not end up below itself: up to 24 bits float64 errs by less, others are further from a half.
    rounded: NDArray[Any] = np.clip(np.floor(work @ _TO_RGB + (0.5 + 1e-9)), 0, top)
    return rounded.astype(pixels.dtype)
