"""Whether a lossless JPEG was decoded to the end of its data: libjpeg fills what is missing, and only warns.

The format has no checksum, but its last codes are those of the last pixels. So the last pixels are encoded again, by
the predictor and the Huffman table of the stream, and compared with its last bits: some microseconds a frame. Data that
were cut or that got out of step end elsewhere. Where the bits differ, for whatever reason, the codes are counted from
the start, and only their number decides.

Source: ISO 10918-1 annex H (prediction, Table H.1; differences, Table H.2), F.1.2.3 and B.1.1.5 (padding, FF 00).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.codecs.jpeg_bits import PADDING_NBYTES
from fastdicom.codecs.prediction import predicted
from fastdicom.codecs.streams import Buffer, StreamError, StreamHeader

__all__ = ["check_tail"]

_SOF3, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_COMPARED = 24
"""Pixels whose codes are compared, from the last one on that is not as predicted."""
_SEARCHED_NBYTES = 4096
"""The end marker is looked for in so many bytes; what follows it is padding."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """A scan of one process 14 image without restarts."""

    predictor: int
    codes: NDArray[np.int64]
    """(components, 17, 2): length and code of each category of differences; length 0: none."""
    first: int
    """Offset of the entropy-coded data."""
    last: int
    """Offset of the marker that ends them."""


def check_tail(data: Buffer, header: StreamHeader, frame: NDArray[Any]) -> None:
    """Refuse a lossless JPEG whose codes end before the image does, or go on after it.

    Parameters
    ----------
    data : code stream
    frame : (rows, columns[, components]) of 8 or 16 bit integers
        As it was decoded. The bits above the precision of the stream do not matter.

    Raises
    ------
    StreamError
        How many pixels there are, or how many bytes are left.
    """
    try:
        scan = _scan_of(data, header)
    except (struct.error, IndexError):  # an order of markers that is not known here
        return
    if scan is None or frame.itemsize > 2 or frame.ndim != (2 if header.components == 1 else 3):
        return
    samples = np.ascontiguousarray(frame).reshape(-1).view(f"u{frame.itemsize}")
    if _ends_as_decoded(data, scan, samples, header):
        return
    counted = np.zeros(2, np.int64)
    source = np.frombuffer(data, np.uint8)
    sizes = np.full((len(scan.codes), 1 << 16), -1, np.int8)
    _count_codes(source, scan.first, scan.last, samples.size, scan.codes, sizes, counted)
    found, left = int(counted[0]), int(counted[1])
    if found < samples.size:
        raise StreamError(
            f"the data of the JPEG stream are those of {found // header.components} of {header.rows * header.columns} "
            "pixels: they are cut or damaged"
        )
    rest = bytes(data[scan.last - left : scan.last])
    if len(rest) > PADDING_NBYTES or rest.strip(b"\0\xff"):
        raise StreamError(f"the data of the JPEG stream go on for {left} bytes after the last pixel: they are damaged")


def _scan_of(data: Buffer, header: StreamHeader) -> _Scan | None:
    """The only scan of a stream of process 14; None where there is more to know than is known here."""
    tables: dict[int, NDArray[np.int64]] = {}
    position = 2
    while True:
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        (length,) = struct.unpack_from(">H", data, position + 1)
        body = bytes(data[position + 3 : position + 1 + length])
        position += 1 + length
        if marker == _DHT:
            _add_tables(body, tables)
        elif marker == _SOF3:
            if any(body[7 + 3 * k] != 0x11 for k in range(body[5])):  # sub-sampled components
                return None
        elif 0xC0 <= marker <= 0xCF or 0xD0 <= marker <= 0xD7 or marker == 0x01 or (marker == _DRI and any(body)):
            return None
        elif marker == _SOS:
            break
    count = body[0]
    used = [body[2 + 2 * k] >> 4 for k in range(count)]
    predictor, transform = body[1 + 2 * count], body[3 + 2 * count] & 0x0F
    if count != header.components or transform or not 1 <= predictor <= 7 or any(k not in tables for k in used):
        return None
    last = _end_of_data(data, position)
    if last is None:
        return None
    return _Scan(predictor, np.stack([tables[k] for k in used]), position, last)


def _end_of_data(data: Buffer, first: int) -> int | None:
    """Offset of the end marker or the fill bytes before it; None where it is nowhere near the end of the stream."""
    start = max(first, len(data) - _SEARCHED_NBYTES)
    end = bytes(data[start:]).rfind(b"\xff\xd9")
    if end < 0:
        return None
    end += start
    while end > first and data[end - 1] == 0xFF:
        end -= 1
    return end


def _add_tables(body: bytes, tables: dict[int, NDArray[np.int64]]) -> None:
    """The codes of each category, in order of length (ISO 10918-1 C.2)."""
    at = 0
    while at + 17 <= len(body):
        codes = np.zeros((17, 2), np.int64)
        code, symbol = 0, at + 17
        for length in range(1, 17):
            for _ in range(body[at + length]):
                if body[symbol] <= 16:
                    codes[body[symbol]] = length, code
                code, symbol = code + 1, symbol + 1
            code <<= 1
        tables[body[at] & 0x0F] = codes  # class 0: a lossless process has no other
        at = symbol


def _ends_as_decoded(data: Buffer, scan: _Scan, samples: NDArray[Any], header: StreamHeader) -> bool:
    """Whether the last bits are the codes of the last samples, but for less than a byte of padding."""
    bits = np.empty(32 * _COMPARED, np.uint8)
    answer = np.zeros(2, np.int64)
    shape = (header.rows, header.columns, header.components)
    _encode_tail(samples, *shape, scan.predictor, header.precision, scan.codes, bits, answer)
    skipped, count = int(answer[0]), int(answer[1])
    compared = bits[len(bits) - max(count, 0) :]
    if not compared.any():  # no codes, or what became of lost data is codes like these
        return False
    # A byte of the data may take two in the stream.
    start = max(scan.first, scan.last - 2 * ((skipped + count) // 8 + 4))
    tail = np.frombuffer(bytes(data[start : scan.last]).replace(b"\xff\x00", b"\xff"), np.uint8)
    return bool(_matches(tail, bits, count, skipped))


@kernel()
def _difference(samples, at, columns, components, predictor, precision):  # type: ignore[no-untyped-def]
    mask = (1 << precision) - 1
    pixel = at // components
    row, column = pixel // columns, pixel % columns
    value = np.int64(samples[at]) & mask
    left = np.int64(samples[at - components]) & mask if column > 0 else 0
    above = np.int64(samples[at - columns * components]) & mask if row > 0 else 0
    corner = np.int64(samples[at - (columns + 1) * components]) & mask if row > 0 and column > 0 else 0
    if row > 0 and column > 0:
        expected = predicted(left, above, corner, predictor)
    elif row > 0 or column > 0:
        expected = left + above  # one of them is 0
    else:
        expected = np.int64(1) << (precision - 1)
    difference = (value - expected) & 0xFFFF
    return difference - 65536 if difference > 32768 else difference


@kernel(
    [
        f"void(const({dtype}[::1]), int64, int64, int64, int64, int64, const(int64[:, :, ::1]), uint8[::1], int64[::1])"
        for dtype in ("uint16", "uint8")
    ]
)
def _encode_tail(samples, rows, columns, components, predictor, precision, codes, bits, answer):  # type: ignore[no-untyped-def]
    """Bits of the codes of the last samples but those that are as predicted: `answer` is (bits of those, bits).

    They end up at the end of `bits`. The second is -1 where a difference has no code.
    """
    at = rows * columns * components - 1
    skipped = 0
    while at >= 0:
        if components == 1 and predictor == 1 and codes[0, 0, 0] > 0:  # the usual background, without a division each
            column = at % columns
            start = at
            while column > 0 and samples[at] == samples[at - 1]:
                at -= 1
                column -= 1
            skipped += (start - at) * codes[0, 0, 0]
        if _difference(samples, at, columns, components, predictor, precision) != 0:
            break
        length = codes[at % components, 0, 0]
        if length == 0:
            answer[1] = -1
            return
        skipped += length
        at -= 1
    place = len(bits)
    while at >= 0 and place >= 32:
        difference = _difference(samples, at, columns, components, predictor, precision)
        size = np.int64(0)
        rest = abs(difference)
        while rest > 0:
            size += 1
            rest >>= 1
        extra = difference if difference > 0 else difference + (np.int64(1) << size) - 1
        length, code = codes[at % components, size, 0], codes[at % components, size, 1]
        if length == 0:
            answer[1] = -1
            return
        for k in range(size if size < 16 else 0):  # 32768 needs no more than its category
            place -= 1
            bits[place] = (extra >> k) & 1
        for k in range(length):
            place -= 1
            bits[place] = (code >> k) & 1
        at -= 1
    answer[0], answer[1] = skipped, len(bits) - place


@kernel("boolean(const(uint8[::1]), const(uint8[::1]), int64, int64)")
def _matches(tail, bits, count, skipped):  # type: ignore[no-untyped-def]
    for padding in range(8):
        start = 8 * len(tail) - padding - skipped - count
        if start < 0:
            return False
        same = True
        for k in range(count):
            at = start + k
            same = same and (tail[at >> 3] >> (7 - (at & 7))) & 1 == bits[len(bits) - count + k]
        if same:
            return True
    return False


@kernel("void(const(uint8[::1]), int64, int64, int64, const(int64[:, :, ::1]), int8[:, ::1], int64[::1])")
def _count_codes(
    source: NDArray[np.uint8],
    first: int,
    last: int,
    wanted: int,
    codes: NDArray[np.int64],
    sizes: NDArray[np.int8],
    counted: NDArray[np.int64],
) -> None:
    """How many of the `wanted` samples have a code, and how many bytes are left after the last.

    sizes : (components, 65536) all -1; filled with the category that each 16 bits start with
    """
    components = codes.shape[0]
    for c in range(components):
        for size in range(17):
            length = codes[c, size, 0]
            if length > 0:
                start = codes[c, size, 1] << (16 - length)
                for k in range(start, min(start + (1 << (16 - length)), 1 << 16)):
                    sizes[c, k] = size
    at, held, buffer = first, 0, 0
    for number in range(wanted):
        while held < 40 and at < last:
            byte = int(source[at])
            at += 2 if byte == 0xFF and source[at + 1] == 0 else 1  # a marker follows, so this is not the last byte
            buffer = (buffer << 8 | byte) & 0xFFFFFFFFFFFF
            held += 8
        window = (buffer >> (held - 16) if held >= 16 else buffer << (16 - held)) & 0xFFFF
        size = int(sizes[number % components, window])
        if size < 0:
            counted[0] = number
            return
        held -= codes[number % components, size, 0] + (size if size < 16 else 0)
        if held < 0:
            counted[0] = number
            return
    counted[0] = wanted
    counted[1] = last - at + held // 8
