"""What RLE segments decode to, without decoding them: for decoders that drop what goes on after the last pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.codecs.rle import parse_segments
from fastdicom.codecs.streams import StreamError
from fastdicom.types import PixelFormat

__all__ = ["check_lengths"]

_OK = -1


@kernel("int64(const(uint8[::1]), const(int64[::1]), int64)")
def _check_segments(source: NDArray[np.uint8], bounds: NDArray[np.int64], wanted: int) -> int:
    """Return -1, or segment s that is too short, or -2 - s: too long, by the rule of our own decoder."""
    for s in range(len(bounds) // 2):
        at, end, have = bounds[2 * s], bounds[2 * s + 1], np.int64(0)
        while have < wanted:
            if at >= end:
                return s
            head = np.int64(source[at])
            at += 1
            if head < 128:
                count = min(head + 1, end - at)
                at += count
                have += count
            elif head > 128:
                if at >= end:
                    return s
                at += 1
                have += 257 - head
        # A byte of padding may be seen as the start of a run, and up to 3 zeros as one more byte.
        surplus = have > wanted + 1 or end > at + 3
        if not surplus and end > at + 1:
            for i in range(at, end):
                surplus = surplus or source[i] % 128 != 0  # 128: no operation
        if surplus:
            return -2 - s
    return _OK


def check_lengths(data: bytes | memoryview, fmt: PixelFormat) -> None:
    """Refuse a frame whose segments hold fewer or more bytes than the image, as `rle.decode` does.

    Raises
    ------
    StreamError
        Which segment, and why.
    """
    bounds = np.array(parse_segments(data, fmt.samples_per_pixel * fmt.stored_dtype.itemsize), np.int64)
    source, pixels = np.frombuffer(data, np.uint8), fmt.rows * fmt.columns
    answer = _check_segments(source, bounds, pixels)
    if answer > _OK and fmt.bits_allocated == 1:  # eight pixels a byte (PS3.5 8.2.2)
        answer = _check_segments(source, bounds, -(-pixels // 8))
    if answer < _OK:
        raise StreamError(
            f"RLE segment {-2 - answer} of {len(bounds) // 2} goes on after the {pixels} pixels, so Rows or Columns "
            "are wrong"
        )
    if answer != _OK:
        raise StreamError(f"RLE segment {answer} of {len(bounds) // 2} ends before the {pixels} pixels do")
