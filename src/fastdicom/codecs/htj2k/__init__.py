"""Our own decoder of HTJ2K, twice as fast as OpenJPH, for what DICOM mostly has.

That is gray, reversible, one tile, one layer, and coefficients that 16 bits hold. Everything else, and every stream
that is not whole and regular to its last byte, goes to imagecodecs (OpenJPH or OpenJPEG), which finds out what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import via_imagecodecs
from fastdicom.codecs.base import Decoder
from fastdicom.codecs.htj2k.bits import EVENT_FACTS
from fastdicom.codecs.htj2k.frames import MOST_QUADS, MOST_ROW, STREAM_NBYTES, decode_frames
from fastdicom.codecs.htj2k.packets import (
    BAND_FACTS,
    BAND_HEIGHT,
    BAND_WIDTH,
    BLOCK_FACTS,
    COLUMNS,
    FACTS,
    IS_SIGNED,
    MOST_BANDS,
    PRECISION,
    READER_FACTS,
    ROWS,
    lay_out_bands,
    parse_header,
)
from fastdicom.codecs.htj2k.tables import amount_table, quad_tables
from fastdicom.codecs.htj2k.wavelet import LINES
from fastdicom.codecs.stored import place_for, to_stored
from fastdicom.codecs.streams import HTJ2K_SYNTAXES, StreamHeader
from fastdicom.types import PixelFormat

__all__ = ["DECODERS", "decode", "decode_spans"]

_ALL = -1
_MOST_NARROW = 1 << 20
"""Pixels of a frame of bytes: it takes five times its memory, and ten workers with larger ones would take too much."""
_take = np.empty


def decode(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Decode one frame to stored values."""
    if header is not None and header.components == 1 and header.precision <= 16 and fmt.stored_dtype.kind in "iu":
        samples = place_for(header, out)
        samples = samples.view(f"{'i' if header.signed else 'u'}{samples.itemsize}")
        spans = np.array([[0, len(data)]], np.int64)
        if _decode_all(np.frombuffer(data, np.uint8), spans, header.precision, header.signed, samples[None]):
            return to_stored(samples, fmt, header, out)
    return via_imagecodecs.decode_htj2k(data, fmt, header, out)


def decode_spans(buffer: NDArray[np.uint8], spans: NDArray[np.int64], fmt: PixelFormat, out: NDArray[Any]) -> int:
    """Decode gray frames for `decode_together`."""
    dtype = fmt.stored_dtype
    if dtype.kind not in "iu" or dtype.itemsize > 2 or not out.flags.aligned:
        return 0
    return _decode_all(buffer, spans, fmt.bits_stored, bool(fmt.pixel_representation), out)


def _decode_all(
    source: NDArray[np.uint8], spans: NDArray[np.int64], bits: int, is_signed: bool, out: NDArray[Any]
) -> int:
    """Decode streams into `out`, (streams, rows, columns), up to one that is not for this decoder, or not whole.

    No sample may have more than `bits` bits, and all have a sign, or none. Returns how many were decoded.
    """
    if len(out) != len(spans) or bool((spans[:, 1] > len(source)).any() or (spans < 0).any()):
        return 0
    facts, bands = _take(FACTS, np.int64), _take((MOST_BANDS, BAND_FACTS), np.int64)
    if not len(spans) or not parse_header(source, int(spans[0, 0]), int(spans[0, 1]), facts):
        return 0
    rows, columns = int(facts[ROWS]), int(facts[COLUMNS])
    if (rows, columns) != out.shape[1:] or facts[PRECISION] > 16 or bool(facts[IS_SIGNED]) != is_signed:
        return 0
    if out.itemsize == 1 and rows * columns > _MOST_NARROW:
        return 0
    blocks, most_blocks = lay_out_bands(facts, bands)
    memory = _memory(rows, columns, blocks, most_blocks, int(bands[0, BAND_WIDTH] * bands[0, BAND_HEIGHT]))
    if out.itemsize == 2:
        memory += (out.reshape(-1).view(np.int16), _take(0, np.uint8))
    else:
        memory += (_take(rows * columns, np.int16), out.reshape(-1).view(np.uint8))
    tables = (quad_tables(), amount_table())
    failed = decode_frames(source, spans, facts, min(bits, 8 * out.itemsize), bands, *tables, *memory)
    return len(spans) if failed == _ALL else failed


def _memory(rows: int, columns: int, blocks: int, most_blocks: int, lowest: int) -> tuple[NDArray[Any], ...]:
    """What `decode_frames` needs besides, for frames of this size.

    blocks, most_blocks, lowest
        Blocks of all bands, of the one with most; coefficients of the lowest band.
    """
    return (
        _take(FACTS, np.int64),
        _take((blocks, BLOCK_FACTS), np.int64),
        _take((4 * most_blocks + 64, 2), np.int32),  # tree
        _take(READER_FACTS, np.int64),
        _take(4 * STREAM_NBYTES, np.uint8),
        _take((2, EVENT_FACTS), np.int64),
        _take((2, MOST_ROW), np.uint64),  # contexts
        _take((2, MOST_QUADS), np.uint64),  # found
        _take((2, MOST_QUADS), np.uint64),  # sizes
        _take(MOST_ROW, np.uint64),  # above
        _take(MOST_ROW, np.uint64),  # bounds
        _take(MOST_ROW, np.uint64),  # words
        _take(lowest, np.int32),
        _take(rows * columns, np.int16),  # coefficients
        _take(2 * (-(-rows // 2) * -(-columns // 2)), np.int16),  # low
        _take((LINES, columns), np.int16),
        _take(columns + 1, np.int16),  # even
    )


DECODERS = (
    Decoder(
        name="fastdicom.htj2k",
        backend="fastdicom",
        syntaxes=HTJ2K_SYNTAXES,
        decode=decode,
        decode_each=via_imagecodecs.decode_each_htj2k,  # what `decode_spans` has left to others
        releases_gil=True,
        writes_into=True,
        package="imagecodecs",
        is_available=via_imagecodecs.has_codec("HTJ2K"),
    ),
)
