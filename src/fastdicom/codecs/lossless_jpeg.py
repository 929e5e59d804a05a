"""Our own decoder of lossless JPEG (process 14), three times as fast as libjpeg-turbo's, for what DICOM mostly has.

That is one component, one scan, no restarts, no point transform. Everything else, and every stream that is not whole
and regular to its last byte, goes to imagecodecs and to `jpeg_tail`, which find out what it is.

Where the time goes: the place of a code is known only when the one before it is, so each look into the table waits for
the last. An entry of the table holds two differences where both codes fit its 12 bits, which they do in most of an
image, and no branch depends on which it was.

Source: ISO 10918-1 annex H (prediction, Table H.1; differences, Table H.2), C.2 (codes), B.1.1.5 (FF 00).
"""


# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.codecs.base import Decoder
from fastdicom.codecs.jpeg_bits import PADDED, is_padding, unstuff, word
from fastdicom.codecs.jpeg_tail import check_tail
from fastdicom.codecs.prediction import predicted
from fastdicom.codecs.stored import place_for, to_stored
from fastdicom.codecs.streams import StreamHeader
from fastdicom.codecs.via_imagecodecs import LOSSLESS_JPEG, decode_jpeg8, has_codec
from fastdicom.types import PixelFormat

__all__ = ["DECODERS", "decode", "decode_spans"]

_WINDOW = 12
"""Bits that are looked up at once: two tables of so many entries stay in the L1 cache."""
_LOOKUPS = 4
"""So many of them, and a byte begun, are in the 64 bits that are loaded at once."""
_SEARCHED_NBYTES = 4096
"""The end marker is looked for in so many bytes; what follows it is padding."""
_CATEGORIES = 17
_ALL, _ANY = -1, 0
_LONG = 128
"""Marks an entry of the table of single codes whose extra bits are not within the window."""
_ROWS, _COLUMNS, _PRECISION, _PREDICTOR, _TABLE, _FIRST, _LAST, _SEEN, _FACTS = range(9)


def decode(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """Decode one frame to stored values."""
    if header is not None and header.components == 1 and header.precision <= 16 and fmt.stored_dtype.kind in "iu":
        samples = place_for(header, out)
        spans = np.array([[0, len(data)]], np.int64)
        if _decode_all(np.frombuffer(data, np.uint8), spans, header.precision, samples[None]):
            return to_stored(samples, fmt, header, out)
    frame = decode_jpeg8(data, fmt, header, out)
    if header is not None and header.lossless:
        check_tail(data, header, frame)
    return frame


def decode_spans(buffer: NDArray[np.uint8], spans: NDArray[np.int64], fmt: PixelFormat, out: NDArray[Any]) -> int:
    """Decode gray frames for `decode_together`."""
    dtype = fmt.stored_dtype
    if dtype.kind not in "iu" or dtype.itemsize > 2 or not out.flags.aligned:
        return 0
    # Negative samples of more bits than are stored are told from others by the way of one frame.
    precision = fmt.bits_stored if fmt.pixel_representation else _ANY
    return _decode_all(buffer, spans, precision, out.view(f"u{dtype.itemsize}"), fmt.bits_stored)


def _decode_all(
    source: NDArray[np.uint8], spans: NDArray[np.int64], precision: int, out: NDArray[Any], bits: int = 16
) -> int:
    """Decode streams into `out`, (streams, rows, columns), up to one that is not for this decoder, or not whole.

    Each must have this precision, or any that there is (`_ANY`), and no sample may have more than `bits` bits.
    """
    bits = min(bits, 8 * out.itemsize)
    if len(out) != len(spans) or bool((spans[:, 1] > len(source)).any() or (spans < 0).any()):
        return 0
    rows, columns = out.shape[1:]
    longest = int((spans[:, 1] - spans[:, 0]).max(initial=0))
    scratch = np.empty(longest + PADDED, np.uint8)
    codes, facts = np.empty((4 * _CATEGORIES, 2), np.int64), np.empty(_FACTS, np.int64)
    single, pairs = np.empty(1 << _WINDOW, np.int32), np.empty(1 << _WINDOW, np.uint64)
    memory = (scratch, codes, facts, single, pairs)
    samples = out.reshape(-1) if out.itemsize == 2 else np.empty(out.size, np.uint16)
    failed = _decode_frames(source, spans, rows, columns, precision, bits, *memory, samples)
    count = len(spans) if failed == _ALL else failed
    if samples.dtype != out.dtype:
        np.copyto(out[:count], samples.reshape(out.shape)[:count], casting="unsafe")  # no sample has more bits
    return count


@kernel()
def _marker_length(source, at, stop):
    """Bytes of a marker segment, its two of length included; 0 where it does not lie within the stream."""
    if at + 2 > stop:
        return 0
    length = np.int64(source[at]) << 8 | np.int64(source[at + 1])
    return length if length >= 2 and at + length <= stop else 0


@kernel()
def _add_codes(source, at, end, codes):
    """The tables of a DHT segment: length and code of each category (C.2). False where it is not a regular one."""
    while at + 17 <= end:
        number = np.int64(source[at])
        if number > 3:
            return False
        for k in range(_CATEGORIES):
            codes[number * _CATEGORIES + k, 0] = 0
        code, symbol = 0, at + 17
        for length in range(1, 17):
            for _ in range(source[at + length]):
                if symbol >= end or source[symbol] >= _CATEGORIES or code >> length != 0:
                    return False
                entry = number * _CATEGORIES + np.int64(source[symbol])
                codes[entry, 0], codes[entry, 1] = length, code
                code += 1
                symbol += 1
            code <<= 1
        at = symbol
    return at == end


@kernel()
def _parse(source, start, stop, codes, facts):
    """Read the marker segments up to the scan, and find the end (B.2). False for what is not for this decoder."""
    if stop - start < 4 or source[start] != 0xFF or source[start + 1] != 0xD8:
        return False
    at = start + 2
    has_frame, component = False, source[start]
    for k in range(len(codes)):
        codes[k, 0] = 0
    while True:
        if at >= stop or source[at] != 0xFF:
            return False
        while at < stop and source[at] == 0xFF:  # fill bytes may precede a marker
            at += 1
        if at >= stop:
            return False
        marker = np.int64(source[at])
        at += 1
        length = _marker_length(source, at, stop)
        if length == 0:
            return False
        body, end = at + 2, at + length
        if marker == 0xC4:
            if not _add_codes(source, body, end, codes):
                return False
        elif marker == 0xC3:
            if has_frame or length != 11 or source[body + 5] != 1 or source[body + 7] != 0x11:
                return False
            has_frame = True
            component = source[body + 6]
            facts[_PRECISION] = source[body]
            facts[_ROWS] = np.int64(source[body + 1]) << 8 | np.int64(source[body + 2])
            facts[_COLUMNS] = np.int64(source[body + 3]) << 8 | np.int64(source[body + 4])
        elif marker == 0xDA:
            if not has_frame or length != 8 or source[body] != 1:
                return False
            facts[_TABLE] = source[body + 2] >> 4
            facts[_PREDICTOR] = source[body + 3]
            if facts[_TABLE] > 3 or not 1 <= facts[_PREDICTOR] <= 7:
                return False
            if source[body + 1] != component or source[body + 4] != 0 or source[body + 5] != 0:
                return False
            facts[_FIRST] = end
            break
        elif marker == 0xDD:
            if length != 4 or source[body] != 0 or source[body + 1] != 0:
                return False
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # the rest changes what is to be done, or is damage
            return False
        at = end
    last = stop - 2
    while last >= facts[_FIRST] and last > stop - _SEARCHED_NBYTES:
        if source[last] == 0xFF and source[last + 1] == 0xD9:
            break
        last -= 1
    if last < facts[_FIRST] or source[last] != 0xFF or source[last + 1] != 0xD9:
        return False
    while last > facts[_FIRST] and source[last - 1] == 0xFF:
        last -= 1
    facts[_LAST] = last
    return True


@kernel()
def _extended(bits, size):
    """The difference of a category, from its extra bits (Table H.2)."""
    if size == 0:
        return np.int64(0)
    return bits if bits >> (size - 1) else bits - (np.int64(1) << size) + 1


@kernel()
def _fill_single(codes, table):
    """For each window: difference * 256 + bits of the code it begins with; category * 256 + _LONG + bits of the code
    alone where the extra bits are beyond; 0 where the code is."""
    for k in range(len(table)):
        table[k] = 0
    for size in range(_CATEGORIES):
        length = codes[size, 0]
        if length == 0 or length > _WINDOW:
            continue
        extra = size if size < 16 else 0  # 32768 needs no more than its category
        spare = _WINDOW - length
        for k in range(1 << spare):
            entry = size * 256 + _LONG + length
            if extra <= spare:
                bits = (k >> (spare - extra)) & ((1 << extra) - 1)
                entry = (32768 if size == 16 else _extended(np.int64(bits), size)) * 256 + length + extra
            table[(codes[size, 1] << spare) + k] = entry


@kernel()
def _fill_pairs(single, pairs):
    """For each window: bits, number of differences, the first, and the sum of both; 0 where it has none whole."""
    for k in range(len(pairs)):
        one = np.int64(single[k])
        bits, first = one & 255, (one >> 8) & 0xFFFF
        pairs[k] = 0
        if 0 < bits < _LONG:
            two = np.int64(single[(k << bits) & ((1 << _WINDOW) - 1)])
            more = two & 255
            if 0 < more < _LONG and bits + more <= _WINDOW:
                pairs[k] = ((first + (two >> 8)) & 0xFFFF) << 32 | first << 16 | 2 << 8 | (bits + more)
            else:
                pairs[k] = first << 32 | first << 16 | 1 << 8 | bits


@kernel()
def _next_code(buffer, codes, single):
    """One difference, and its bits, from the top of `buffer`; (0, 0) where no code begins there."""
    entry = np.int64(single[buffer >> np.uint64(64 - _WINDOW)])
    length, size = entry & 255, np.int64(-1)
    if 0 < length < _LONG:
        return entry >> 8, length
    if length >= _LONG:
        length, size = length - _LONG, entry >> 8
    else:
        for longer in range(_WINDOW + 1, 17):
            code = np.int64(buffer >> np.uint64(64 - longer))
            for k in range(_CATEGORIES):
                if size < 0 and codes[k, 0] == longer and codes[k, 1] == code:
                    length, size = np.int64(longer), np.int64(k)
    if size < 0:
        return np.int64(0), np.int64(0)
    if size == 16:
        return np.int64(32768), length
    if size == 0:
        return np.int64(0), length
    return _extended(np.int64((buffer << np.uint64(length)) >> np.uint64(64 - size)), size), length + size


@kernel()
def _decode_row(scratch, limit, at, start, codes, single, pairs, facts, out, place, stop):
    """Write `start` plus the sum of the differences so far for each pixel of a row; return the bit that follows it.

    -1 where the data end, or no code begins where one is due.
    """
    value, seen = np.uint64(start), np.uint64(0)
    one, two_bytes, four_bytes, eight = np.uint64(1), np.uint64(16), np.uint64(32), np.uint64(8)
    three, seven, byte_mask, mask = np.uint64(3), np.uint64(7), np.uint64(255), np.uint64(0xFFFF)
    shift = np.uint64(64 - _WINDOW)
    while place < stop:
        if at >> three > limit:
            return np.int64(-1)
        buffer = word(scratch, at >> three) << (at & seven)
        is_pair = place + eight <= stop
        if is_pair:
            for _ in range(_LOOKUPS):
                entry = pairs[buffer >> shift]
                bits = entry & byte_mask
                if bits == 0:
                    is_pair = False
                    break
                first = (value + (entry >> two_bytes)) & mask
                value = (value + (entry >> four_bytes)) & mask
                out[place] = first
                out[place + one] = value  # where there is only one difference, the next one overwrites it
                seen |= first | value
                place += (entry >> eight) & byte_mask
                buffer <<= bits
                at += bits
        if is_pair:
            continue
        if at >> three > limit:
            return np.int64(-1)
        difference, length = _next_code(word(scratch, at >> three) << (at & seven), codes, single)
        if length == 0:
            return np.int64(-1)
        value = (value + np.uint64(difference)) & mask
        out[place] = value
        seen |= value
        place += one
        at += np.uint64(length)
    facts[_SEEN] = np.int64(seen)
    return np.int64(at)


@kernel()
def _predict_row(out, place, columns, predictor):
    """Sums of differences to samples, by a predictor of the row above (Table H.1); return the bits that they have."""
    mask = np.int64(0xFFFF)
    before, left, seen = np.int64(0), np.int64(0), np.int64(0)
    for column in range(columns):
        at = place + column
        difference = np.int64(out[at]) - before
        before = np.int64(out[at])
        above = np.int64(out[at - columns])
        value = above
        if column > 0:
            value = predicted(left, above, np.int64(out[at - columns - 1]), predictor)
        left = (value + difference) & mask
        seen |= left
        out[at] = left
    return seen


@kernel(
    "int64(const(uint8[::1]), const(int64[:, ::1]), int64, int64, int64, int64, uint8[::1], int64[:, ::1], int64[::1], "
    "int32[::1], uint64[::1], uint16[::1])"
)
def _decode_frames(source, spans, rows, columns, wanted, bits, scratch, codes, facts, single, pairs, out):
    """Decode streams one after the other into `out`; return -1, or the first that is not for this decoder.

    spans : (n, 2) start and end of each in `source`, already checked against its length
    wanted : precision that they must have, or _ANY; bits : that a sample may have
    """
    for number in range(len(spans)):
        if not _parse(source, spans[number, 0], spans[number, 1], codes, facts):
            return number
        precision = facts[_PRECISION]
        if facts[_ROWS] != rows or facts[_COLUMNS] != columns or columns == 0 or not 2 <= precision <= 16:
            return number
        if wanted not in (_ANY, precision):
            return number
        most = min(precision, bits)
        table = codes[facts[_TABLE] * _CATEGORIES : (facts[_TABLE] + 1) * _CATEGORIES]
        _fill_single(table, single)
        _fill_pairs(single, pairs)
        nbytes, end = unstuff(source, facts[_FIRST], facts[_LAST], scratch)
        if end != facts[_LAST]:  # a marker within the data
            return number
        predictor = facts[_PREDICTOR]
        at = np.int64(0)
        for row in range(rows):
            place = (number * rows + row) * columns
            start = np.int64(1) << (precision - 1) if row == 0 else np.int64(0)
            if row > 0 and predictor == 1:
                start = np.int64(out[place - columns])
            stop = np.uint64(place + columns)
            limit = np.uint64(nbytes)
            begin = np.uint64(place)
            at = _decode_row(scratch, limit, np.uint64(at), start, table, single, pairs, facts, out, begin, stop)
            if at < 0:
                return number
            if row > 0 and predictor > 1:
                facts[_SEEN] = _predict_row(out, place, columns, predictor)
            if facts[_SEEN] >> most != 0:  # no sample has so many bits: the stream is damaged
                return number
        if at > 8 * nbytes or not is_padding(scratch, (at + 7) >> 3, nbytes):
            return number
    return _ALL


DECODERS = (
    Decoder(
        name="fastdicom.jpeg",
        backend="fastdicom",
        syntaxes=LOSSLESS_JPEG,
        decode=decode,
        releases_gil=True,
        writes_into=True,
        package="imagecodecs",
        checks_end=True,
        is_available=has_codec("JPEG8"),
    ),
)
