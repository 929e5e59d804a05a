"""The samples of a block from their bits: the second of two steps that decode a block.

How many bits each sample has is known before one of them is read, but for what the row of quads above decides. So a
row is done in four passes, and all but the second are vectors: the bound of the exponents in each quad; the 64 bits at
which its samples begin; the four samples in lanes of 16 bits; the lanes to two rows of coefficients. The samples of the
lowest band, which are few and have the mean of the image in them, are read one by one, with any number of bits.

Source: ITU-T T.814 | ISO/IEC 15444-15, 7.3 and 7.1.2.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel
from fastdicom.codecs.htj2k.bits import load
from fastdicom.codecs.htj2k.quads import row_length

__all__ = ["MOST_BITS", "MOST_LOW_BITS", "decode_low_samples", "decode_samples", "has_outside"]

MOST_BITS = 14
"""Of a sample: four of them, and a byte begun, are within 64 bits."""
MOST_LOW_BITS = 24
"""Of a sample of the lowest band: two of them, and a byte begun, are within 64 bits."""
_0, _1, _2, _3, _7 = (np.uint64(number) for number in (0, 1, 2, 3, 7))
_16, _32, _48, _63, _EIGHT_BITS = (np.uint64(number) for number in (16, 32, 48, 63, 255))
_HALF, _LANE, _EACH = np.uint64(0xFFFF_FFFF), np.uint64(0xFFFF), np.uint64(0x0001_0001_0001_0001)
_BELOW_TOP = np.uint64(0x7FFF_7FFF_7FFF_7FFF)
_BELOW, _RIGHT, _CORNER = np.uint64(1 << 16), np.uint64(1 << 32), np.uint64(1 << 48)


@kernel()
def _log2(number):
    """The highest bit of a number that is not 0. LLVM makes one instruction of it."""
    found = _0
    number >>= _1
    while number != _0:
        number >>= _1
        found += _1
    return found


@kernel()
def _bound(entry, size, exponents):
    """Bits that a sample of a quad may have (U, 7.3.7).

    exponents : all bits that are set in a sample of the row above that touches it
    """
    several = entry & _EACH
    several = several + (several >> _32)
    several = several + (several >> _16) & _7
    return size + _log2((exponents if several > _1 else _0) | _2)


@kernel()
def has_outside(found, block, width, height):
    """Whether a quad at the edge of a block of odd width or height has a sample outside of it."""
    quads, rows, outside = (width + 1) >> 1, (height + 1) >> 1, _0
    stride = row_length(quads)
    if width & 1:
        for number in range(1, rows + 1):
            outside |= found[block, number * stride + quads] & (_RIGHT | _CORNER)
    if height & 1:
        for quad in range(1, quads + 1):
            outside |= found[block, rows * stride + quad] & (_BELOW | _CORNER)
    return outside != _0


@kernel()
def decode_samples(streams, begin, block, width, height, most, found, sizes, above, bounds, words, out, at, step):
    """Decode a block into `out`, where its rows begin at `at`, `at + step`, ...

    streams : the bits are from byte `begin` on (uint64)
    block : row of `found` and `sizes`
    most : bits that a sample may have, at most MOST_BITS
    found : of a block that has no sample outside (`has_outside`)
    above, bounds, words : (n,) uint64, n more than the quads of a row and two; `above` is all zero
    Returns how many bits were read; -1 where a sample has too many.
    """
    quads, place, limit = (width + 1) >> 1, _0, np.uint64(most)
    stride, count = np.uint64(row_length(quads)), np.uint64(quads)
    for number in range(np.uint64((height + 1) >> 1)):
        row = (number + _1) * stride + _1
        some = _0
        for quad in range(count):
            some |= found[block, row + quad]
        if some & _EACH == _0:
            for quad in range(count):
                above[quad + _1] = words[quad] = _0
            _write_rows(words, np.uint64(width), number << _1, np.uint64(height), out, np.uint64(at), np.uint64(step))
            continue
        too_many = _0
        for quad in range(count):
            left, its, right = above[quad], above[quad + _1], above[quad + _2]
            exponents = (left >> _48 | its >> _16 | its >> _48 | right >> _16) & _LANE
            bound = _bound(found[block, row + quad], sizes[block, row + quad], exponents)
            too_many |= limit - bound
            bounds[quad] = bound
        if too_many >> _63:
            return np.int64(-1)
        for quad in range(count):
            words[quad] = load(streams, begin + (place >> _3)) >> (place & _7)
            entry = found[block, row + quad]
            bits = (entry & _EACH) * bounds[quad] - (entry >> _1 & _EACH)
            bits += bits >> _32
            place += bits + (bits >> _16) & _EIGHT_BITS
        for quad in range(count):
            entry, word, bound = found[block, row + quad], words[quad], bounds[quad]
            significant, known, top = entry & _EACH, entry >> _1 & _EACH, bound - _1 & _63
            bits = significant * bound - known
            ends = bits + (bits << _16)
            ends += ends << _32
            lanes = word & _LANE
            lanes |= (word >> (ends & _63) & _LANE) << _16
            lanes |= (word >> (ends >> _16 & _63) & _LANE) << _32
            lanes |= word >> (ends >> _32 & _63) << _48
            # 2 ** bits - 1 in each lane; e^k is that the bit on top is not written, and e^1 is that bit.
            lanes &= (significant << bound) - (known << top) - significant
            lanes |= (entry >> _2 & _EACH) << top
            above[quad + _1] = lanes
            lanes += significant << _1  # twice the magnitude, and the sign
            sign = lanes & _EACH
            # Two's complement; no lane carries into the next, as no magnitude with a sign is 0.
            words[quad] = ((lanes >> _1 & _BELOW_TOP) ^ ((sign << _16) - sign)) + sign
        _write_rows(words, np.uint64(width), number << _1, np.uint64(height), out, np.uint64(at), np.uint64(step))
    return np.int64(place)


@kernel(inline=True)
def _sample(bits, entry, bound):
    """The sample whose bits are lowest, and how many it has; those of `entry` that are its own are lowest, too."""
    count = (bound - (entry >> _1 & _1)) & (_0 - (entry & _1))
    return bits & ((_1 << count) - _1) | (entry >> _2 & _1) << count, count


@kernel()
def _put_sample(out, at, entry, sample):
    magnitude = np.int64(sample >> _1) + 1 if entry & _1 else np.int64(0)
    out[at] = -magnitude if sample & _1 else magnitude


@kernel()
def decode_low_samples(streams, begin, block, width, height, most, found, sizes, above, out, at, step):
    """As `decode_samples`, for the lowest band, whose samples may have MOST_LOW_BITS.

    out : int32
    """
    quads, place, limit = (width + 1) >> 1, _0, np.uint64(most)
    stride, count = np.uint64(row_length(quads)), np.uint64(quads)
    for number in range(np.uint64((height + 1) >> 1)):
        row, left, its = (number + _1) * stride + _1, _0, above[_1]
        line = np.uint64(at) + np.uint64(step) * (number << _1)
        is_last_row = (number << _1) + _1 >= np.uint64(height)
        for quad in range(count):
            entry, right = found[block, row + quad], above[quad + _2]
            exponents = (left >> _32 | its | its >> _32 | right) & _HALF
            bound = _bound(entry, sizes[block, row + quad], exponents)
            if bound > limit:
                return np.int64(-1)
            left, its = its, right
            bits = load(streams, begin + (place >> _3)) >> (place & _7)
            first, used = _sample(bits, entry, bound)
            second, more = _sample(bits >> used, entry >> _16, bound)
            place += used + more
            bits = load(streams, begin + (place >> _3)) >> (place & _7)
            third, used = _sample(bits, entry >> _32, bound)
            fourth, more = _sample(bits >> used, entry >> _48, bound)
            place += used + more
            above[quad + _1] = second | fourth << _32
            column, is_last = line + (quad << _1), (quad << _1) + _1 >= np.uint64(width)
            _put_sample(out, column, entry, first)
            if not is_last:
                _put_sample(out, column + _1, entry >> _32, third)
            if not is_last_row:
                _put_sample(out, column + np.uint64(step), entry >> _16, second)
                if not is_last:
                    _put_sample(out, column + np.uint64(step) + _1, entry >> _48, fourth)
    return np.int64(place)


@kernel(inline=True)
def _write_rows(words, width, row, height, out, at, step):
    """Two rows of coefficients from lanes, or one where it is the last."""
    first = at + row * step
    _write_row(words, width, _0, out, first)
    if row + _1 < height:
        _write_row(words, width, _16, out, first + step)


@kernel(inline=True)
def _write_row(words, width, lane, out, at):
    """The coefficients that are in one lane, and in the next but one."""
    for quad in range(width >> _1):
        lanes = words[quad] >> lane
        out[at + (quad << _1)] = np.int16(lanes & _LANE)
        out[at + (quad << _1) + _1] = np.int16(lanes >> _32 & _LANE)
    if width & _1:
        out[at + width - _1] = np.int16(words[width >> _1] >> lane & _LANE)
