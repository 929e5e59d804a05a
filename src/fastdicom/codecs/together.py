"""Several frames in one compiled call: no interpreter, and so no waiting for it, between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import lossless_jpeg, rle
from fastdicom.types import PixelFormat

__all__ = ["TOGETHER", "decode_together"]

TOGETHER: dict[str, Callable[[NDArray[np.uint8], NDArray[np.int64], PixelFormat, NDArray[Any]], bool]] = {
    "fastdicom.rle": rle.decode_spans,
    "fastdicom.jpeg": lossless_jpeg.decode_spans,
}
"""(buffer, start and end of each stream in it, format of gray frames, `out`) -> whether all of them were decoded."""


def decode_together(
    decoder: str, buffer: NDArray[np.uint8], spans: NDArray[np.int64], fmt: PixelFormat, out: NDArray[Any]
) -> bool:
    """Decode frames; what is above Bits Stored, and the sign of negative values, is for the caller to put right.

    Parameters
    ----------
    buffer : (N,) uint8
    spans : (frames, 2) int64
        Start and end of each code stream in `buffer`.
    out : (frames, rows, columns) array of ``fmt.stored_dtype``

    Returns
    -------
    bool
        False where this decoder takes one frame at a time, or one of these cannot be decoded: one at a time finds out
        why. `out` is undefined then.
    """
    if decoder not in TOGETHER or fmt.samples_per_pixel != 1 or fmt.bits_allocated % 8 or not out.flags.c_contiguous:
        return False
    return TOGETHER[decoder](buffer, spans, fmt, out)
