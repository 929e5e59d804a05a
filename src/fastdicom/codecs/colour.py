"""YBR_FULL to RGB for decoded 8-bit frames, as PS3.3 C.7.6.3.1.2 and pydicom's ``pixel_array`` have it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs.streams import StreamHeader
from fastdicom.kernels import row_bands, ybr_full_to_rgb
from fastdicom.types import PixelFormat

__all__ = ["needs_rgb", "ybr_full_to_rgb_inplace"]

_CR_R = np.float32(1.402)
_CB_B = np.float32(1.772)
_CB_G = np.float32(-0.114 * 1.772 / 0.587)
_CR_G = np.float32(-0.299 * 1.402 / 0.587)


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


def ybr_full_to_rgb_inplace(frame: NDArray[Any]) -> None:
    """Convert a (..., 3) frame in place, to what the float32 arithmetic of pydicom gives; half rounds up."""
    flat = frame.reshape(-1, 3)
    if not np.shares_memory(flat, frame):  # a strided frame: reshape copied it
        ybr_full_to_rgb_inplace(flat)
        frame[...] = flat.reshape(frame.shape)
    elif frame.dtype == np.uint8 and flat.flags.c_contiguous:
        ybr_full_to_rgb(flat, flat)
    else:  # 16-bit YBR is not in the standard: convert as pydicom does
        for band in row_bands(flat.shape):
            flat[band] = _convert_any(flat[band])


def _convert_any(pixels: NDArray[Any]) -> NDArray[Any]:
    work = pixels.astype(np.float32)
    work -= np.asarray([0, 128, 128], np.float32)
    work = work @ np.asarray([[1, 1, 1], [0, _CB_G, _CB_B], [_CR_R, _CR_G, 0]], np.float32)
    rounded: NDArray[Any] = np.clip(np.floor(work + np.float32(0.5)), 0, 255)
    return rounded.astype(pixels.dtype)
