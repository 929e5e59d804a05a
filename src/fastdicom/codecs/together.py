"""Several frames in one compiled call: no interpreter, and so no waiting for it, between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import htj2k, lossless_jpeg, rle
from fastdicom.codecs.decoding import decode_frames
from fastdicom.codecs.stored import mask_unused_bits_inplace, unused_bits
from fastdicom.types import PixelFormat

__all__ = ["TOGETHER", "decode_streams", "decode_together"]

DecodeSpans = Callable[[NDArray[np.uint8], NDArray[np.int64], PixelFormat, NDArray[Any]], int]
"""(buffer, start and end of each stream in it, format of gray frames, `out`) -> how many of them were decoded: those
before the first that is for others, or that nothing decodes. The rest of `out` is undefined."""

TOGETHER: dict[str, DecodeSpans] = {
    "fastdicom.rle": rle.decode_spans,
    "fastdicom.jpeg": lossless_jpeg.decode_spans,
    "fastdicom.htj2k": htj2k.decode_spans,
}


def decode_together(
    decoder: str,
    buffer: NDArray[np.uint8],
    spans: NDArray[np.int64],
    fmt: PixelFormat,
    out: NDArray[Any],
    *,
    level: int = 0,
) -> bool | None:
    """Decode frames of one format whichever way is fastest.

    Parameters
    ----------
    buffer : (N,) uint8
    spans : (frames, 2) int64
        Start and end of each code stream in `buffer`.
    out : (frames, rows, columns[, samples]) array of ``fmt.stored_dtype``
        Decoded into together where it is C-contiguous.

    Returns
    -------
    bool or None
        Whether what is above Bits Stored, and the sign of negative values, are as they must be: else that is for the
        caller to put right. None where one of the streams cannot be decoded: one at a time finds out why. `out` is
        undefined then.
    """
    if not _goes_together(decoder, fmt, out):
        return True if decode_frames(decoder, _parts(buffer, spans), fmt, out, level=level) else None
    at, alone = 0, 1
    unmasked: list[NDArray[Any]] = []
    while at < len(spans):
        count = TOGETHER[decoder](buffer, spans[at:], fmt, out[at:])
        unmasked.append(out[at : at + count])
        at += count
        if at == len(spans) and len(unmasked) == 1:
            return False
        stop = min(at + alone, len(spans))
        if at < stop and not decode_frames(decoder, _parts(buffer, spans[at:stop]), fmt, out[at:stop], level=level):
            return None
        # Where one is for others, more may be: so what is tried in vain is less and less of them.
        at, alone = stop, 2 * alone
    # What others have put right already must not be put right again: they know the sign of their streams.
    for frames in unmasked:
        mask_unused_bits_inplace(frames, unused_bits(fmt))
    return True


def decode_streams(
    decoder: str, streams: Sequence[bytes | memoryview], fmt: PixelFormat, out: NDArray[Any], *, level: int = 0
) -> bool | None:
    """As `decode_together`, of streams that are not in one buffer."""
    if not _goes_together(decoder, fmt, out):
        return True if decode_frames(decoder, streams, fmt, out, level=level) else None
    ends = np.cumsum([len(stream) for stream in streams])
    spans = np.stack([ends - [len(stream) for stream in streams], ends], axis=1)
    return decode_together(decoder, np.frombuffer(b"".join(streams), np.uint8), spans, fmt, out, level=level)


def _goes_together(decoder: str, fmt: PixelFormat, out: NDArray[Any]) -> bool:
    is_gray = fmt.samples_per_pixel == 1 and fmt.bits_allocated % 8 == 0
    return decoder in TOGETHER and is_gray and out.flags.c_contiguous


def _parts(buffer: NDArray[np.uint8], spans: NDArray[np.int64]) -> list[memoryview]:
    view = buffer.data
    return [view[start:end] for start, end in spans.tolist()]
