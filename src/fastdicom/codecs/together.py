"""Several frames in one compiled call: no interpreter, and so no waiting for it, between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import htj2k, lossless_jpeg, rle
from fastdicom.codecs.decoding import decode_frames
from fastdicom.types import PixelFormat

__all__ = ["TOGETHER", "decode_streams", "decode_together"]

TOGETHER: dict[str, Callable[[NDArray[np.uint8], NDArray[np.int64], PixelFormat, NDArray[Any]], bool]] = {
    "fastdicom.rle": rle.decode_spans,
    "fastdicom.jpeg": lossless_jpeg.decode_spans,
    "fastdicom.htj2k": htj2k.decode_spans,
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


def decode_streams(
    decoder: str, streams: Sequence[bytes | memoryview], fmt: PixelFormat, out: NDArray[Any], *, level: int = 0
) -> bool | None:
    """Decode frames of one format whichever way is fastest.

    Parameters
    ----------
    out : (frames, rows, columns[, samples]) array of ``fmt.stored_dtype``, C-contiguous

    Returns
    -------
    bool or None
        Whether nothing is left above Bits Stored; None where one of the streams cannot be decoded. `out` is undefined
        then.
    """
    if decoder in TOGETHER:
        ends = np.cumsum([len(stream) for stream in streams])
        spans = np.stack([ends - [len(stream) for stream in streams], ends], axis=1)
        if decode_together(decoder, np.frombuffer(b"".join(streams), np.uint8), spans, fmt, out):
            return False
    return True if decode_frames(decoder, streams, fmt, out, level=level) else None
