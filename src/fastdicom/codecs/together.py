"""Several frames in one compiled call: no interpreter, and so no waiting for it, between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._arrays import address_of
from fastdicom.codecs import lossless_jpeg, rle
from fastdicom.types import PixelFormat

__all__ = ["TOGETHER", "decode_together"]

TOGETHER: dict[str, Callable[[NDArray[np.uint8], NDArray[np.int64], PixelFormat, NDArray[Any]], bool]] = {
    "fastdicom.rle": rle.decode_spans,
    "fastdicom.jpeg": lossless_jpeg.decode_spans,
}
"""(buffer, start and end of each stream in it, format of gray frames, `out`) -> whether all of them were decoded."""


def decode_together(
    decoder: str, buffer: NDArray[np.uint8], streams: Sequence[memoryview], fmt: PixelFormat, out: NDArray[Any]
) -> bool:
    """Decode frames; what is above Bits Stored, and the sign of negative values, is for the caller to put right.

    Parameters
    ----------
    buffer : (N,) uint8
    streams : sequence of memoryview
        Parts of `buffer`.
    out : (len(streams), rows, columns) array of ``fmt.stored_dtype``

    Returns
    -------
    bool
        False where this decoder takes one frame at a time, or one of these cannot be decoded: one at a time finds out
        why. `out` is undefined then.
    """
    if decoder not in TOGETHER or fmt.samples_per_pixel != 1 or fmt.bits_allocated % 8 or not out.flags.c_contiguous:
        return False
    spans = _spans_in(buffer, streams)
    return spans is not None and TOGETHER[decoder](buffer, spans, fmt, out)


def _spans_in(buffer: NDArray[np.uint8], streams: Sequence[memoryview]) -> NDArray[np.int64] | None:
    """(len(streams), 2) start and end of each stream in `buffer`; None where one is not a part of it."""
    base = address_of(buffer)
    starts = [address_of(np.frombuffer(stream, np.uint8)) - base for stream in streams]
    spans = np.array([(start, start + len(stream)) for start, stream in zip(starts, streams, strict=True)], np.int64)
    spans = spans.reshape(-1, 2)
    return spans if bool((spans[:, 0] >= 0).all() and (spans[:, 1] <= len(buffer)).all()) else None
