"""Whole frames in one compiled call."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel
from fastdicom.codecs.htj2k.bits import begin_events, unstuff_backward, unstuff_forward
from fastdicom.codecs.htj2k.packets import (
    BAND_AT,
    BAND_HEIGHT,
    BAND_PLANES,
    BAND_WIDTH,
    BLOCK_AT,
    BLOCK_BAND,
    BLOCK_COLUMN,
    BLOCK_HEIGHT,
    BLOCK_NBYTES,
    BLOCK_PLANES,
    BLOCK_ROW,
    BLOCK_WIDTH,
    BODY,
    COLUMNS,
    FIRST_PLANES,
    IS_SIGNED,
    LEVELS,
    PRECISION,
    ROWS,
    find_blocks,
    parse_header,
)
from fastdicom.codecs.htj2k.quads import decode_quads, row_length
from fastdicom.codecs.htj2k.samples import MOST_BITS, MOST_LOW_BITS, decode_low_samples, decode_samples, has_outside
from fastdicom.codecs.htj2k.wavelet import join_bands
from fastdicom.codecs.jpeg_bits import PADDED

__all__ = ["MOST_QUADS", "MOST_ROW", "STREAM_NBYTES", "decode_frames"]

_MOST_CODES_NBYTES = 4079
_MOST_BLOCK_NBYTES = 4096 * MOST_LOW_BITS // 7 + _MOST_CODES_NBYTES
"""Of a block: 4096 samples with all their bits, seven a byte, and the codes."""
STREAM_NBYTES = _MOST_BLOCK_NBYTES + PADDED
"""Memory for each of four streams: the bits of the samples of two blocks, then their codes."""
MOST_QUADS = 2304
"""Places for the quads of a block in memory, with the row above it and the edges: 4 x 1024 samples need most."""
MOST_ROW = 528
"""Quads of a row, with the edges."""
_UNWRITTEN_BITS, _UNREAD_BITS = 8, 15
"""A last byte FF is not written: ones are read instead. Bits that are left over fill up a byte, or two."""
_LARGEST = (1 << 15) - 1
_FIRST_CODES, _SECOND_CODES = np.uint64(2 * STREAM_NBYTES), np.uint64(3 * STREAM_NBYTES)
_FIRST, _SECOND, _SIGN = np.int64(0), np.int64(1), np.int32(31)


@kernel()
def _begin_block(source, block, bands, streams, events, found, number, quads, rows):
    """Unstuff the streams of a block and go to their starts: bits of its samples and of its codes; -1: not for us."""
    # The last bit plane is in the cleanup pass, or the bits would be of another weight.
    if block[BLOCK_PLANES] != bands[block[BLOCK_BAND], BAND_PLANES] - 1:
        return np.int64(-1), np.int64(-1)
    first, nbytes = block[BLOCK_AT], block[BLOCK_NBYTES]
    last = first + nbytes
    codes = np.int64(source[last - 1]) << 4 | np.int64(source[last - 2]) & 15
    if nbytes > _MOST_BLOCK_NBYTES or not 2 <= codes <= min(nbytes, _MOST_CODES_NBYTES):
        return np.int64(-1), np.int64(-1)
    sample_bits = unstuff_forward(source, first, last - codes, streams, np.uint64(number * STREAM_NBYTES))
    code_bits = unstuff_backward(source, last - codes, last, streams, np.uint64((2 + number) * STREAM_NBYTES))
    begin_events(source, last - codes, last - 1, events, number)
    stride = row_length(quads)
    for quad in range(stride):
        found[number, quad] = 0
    for row in range(1, rows + 2):  # the place before a row is behind the row above, too
        found[number, row * stride] = found[number, row * stride - 1] = 0
    return (np.int64(-1), np.int64(-1)) if code_bits < 0 else (sample_bits, code_bits)


@kernel()
def _is_all(read, there):
    """Whether as many bits were read as there are. Others find out what is wrong, if anything is."""
    return 0 <= read <= there + _UNWRITTEN_BITS and there - read <= _UNREAD_BITS


@kernel()
def _decode_block(block, number, bands, sample_bits, streams, found, sizes, rows, lowest, coefficients):
    """The second step for one block; False where it is not for this decoder.

    rows : memory for what is known of a row of quads
    lowest, coefficients : int32 for the lowest band, int16 for the others
    """
    above, bounds, words = rows
    band, width, height = block[BLOCK_BAND], block[BLOCK_WIDTH], block[BLOCK_HEIGHT]
    if has_outside(found, number, width, height):
        return False
    for quad in range(len(above)):
        above[quad] = 0
    step = bands[band, BAND_WIDTH]
    at, begin = bands[band, BAND_AT] + block[BLOCK_ROW] * step + block[BLOCK_COLUMN], np.uint64(number * STREAM_NBYTES)
    if band == 0:
        most = min(MOST_LOW_BITS, bands[band, BAND_PLANES] + 1)
        read = decode_low_samples(streams, begin, number, width, height, most, found, sizes, above, lowest, at, step)
        return _is_all(read, sample_bits)
    most = min(MOST_BITS, bands[band, BAND_PLANES] + 1)
    read = decode_samples(
        streams, begin, number, width, height, most, found, sizes, above, bounds, words, coefficients, at, step
    )
    return _is_all(read, sample_bits)


@kernel()
def _clear_block(block, bands, lowest, coefficients):
    step, width = np.uint64(bands[block[BLOCK_BAND], BAND_WIDTH]), np.uint64(block[BLOCK_WIDTH])
    at = np.uint64(bands[block[BLOCK_BAND], BAND_AT] + block[BLOCK_COLUMN]) + np.uint64(block[BLOCK_ROW]) * step
    for _ in range(block[BLOCK_HEIGHT]):
        if block[BLOCK_BAND] == 0:
            for column in range(width):
                lowest[at + column] = 0
        else:
            for column in range(width):
                coefficients[at + column] = 0
        at += step


@kernel()
def _decode_blocks(source, blocks, count, bands, memory, lowest, out):
    """All blocks of a frame, two at a time where neighbours have one size; False where one is not for this decoder."""
    tables, amounts, streams, events, contexts, found, sizes, rows_of_quads = memory
    k = 0
    while k < count:
        block = blocks[k]
        if block[BLOCK_NBYTES] == 0:
            _clear_block(block, bands, lowest, out)
            k += 1
            continue
        width, height = block[BLOCK_WIDTH], block[BLOCK_HEIGHT]
        together = 1
        if k + 1 < count and blocks[k + 1, BLOCK_WIDTH] == width and blocks[k + 1, BLOCK_HEIGHT] == height:
            together += blocks[k + 1, BLOCK_NBYTES] > 0
        quads, rows = (width + 1) >> 1, (height + 1) >> 1
        # One without a neighbour of its size is its own: there are few, and most are small.
        other = k + together - 1
        sample_bits, code_bits = _begin_block(source, blocks[k], bands, streams, events, found, _FIRST, quads, rows)
        other_bits, other_code_bits = _begin_block(
            source, blocks[other], bands, streams, events, found, _SECOND, quads, rows
        )
        if sample_bits < 0 or other_bits < 0:
            return False
        used, other_used = decode_quads(
            source, streams, _FIRST_CODES, _SECOND_CODES, quads, rows, tables, amounts, events, contexts, found, sizes
        )
        if used > code_bits or other_used > other_code_bits:
            return False
        for number in range(together):
            its = other_bits if number else sample_bits
            block = blocks[k + number]
            if not _decode_block(block, number, bands, its, streams, found, sizes, rows_of_quads, lowest, out):
                return False
        k += together
    return True


@kernel()
def _largest(numbers, at, count):
    """What no number exceeds."""
    found, at = np.int32(0), np.uint64(at)
    for k in range(np.uint64(count)):
        number = np.int32(numbers[at + k])
        found = max(found, number ^ (number >> _SIGN))
    return np.int64(found) + 1


@kernel()
def _fits(low, low_at, coefficients, bands, level):
    """Whether all numbers that the wavelet makes of a level have 16 bits.

    In one direction no number exceeds low + high + 1: an even one is l - (h + h' + 2) / 4, an odd one is, with its two
    even neighbours, l + 3 / 4 h - (h' + h") / 8, and rounding adds 1 at most.
    """
    first = 3 * level + 1
    total = _largest(low, low_at, bands[first + 1, BAND_WIDTH] * bands[first, BAND_HEIGHT]) + 3
    for band in range(first, first + 3):
        size = bands[band, BAND_WIDTH] * bands[band, BAND_HEIGHT]
        total += _largest(coefficients, bands[band, BAND_AT], size)
    return total <= _LARGEST


@kernel()
def _join_levels(facts, bands, lowest, coefficients, low, rows, even, out, out_at, bits):
    """The frame from its bands; False where numbers between need more than 16 bits, or samples more than they may."""
    # What is added to all of the lowest band is added to all samples. So its middle is moved to 0: unsigned samples
    # have half of their range subtracted, however much of it they use.
    least = most = lowest[0]
    for k in range(len(lowest)):
        least, most = min(least, lowest[k]), max(most, lowest[k])
    middle = (np.int64(least) + np.int64(most)) >> 1
    if np.int64(most) - middle > _LARGEST:
        return False
    for k in range(len(lowest)):
        low[k] = lowest[k] - middle
    added = middle if facts[IS_SIGNED] else middle + (np.int64(1) << (facts[PRECISION] - 1))
    checked = middle + (np.int64(1) << (bits - 1)) if facts[IS_SIGNED] else added
    at, to, none, seen = np.int64(0), np.int64(len(low) >> 1), np.int64(0), np.int64(0)
    for level in range(facts[LEVELS]):
        if not _fits(low, at, coefficients, bands, level):
            return False
        first = 3 * level + 1
        places = (bands[first, BAND_AT], bands[first + 1, BAND_AT], bands[first + 2, BAND_AT])
        height = bands[first, BAND_HEIGHT] + bands[first + 1, BAND_HEIGHT]
        width = bands[first, BAND_WIDTH] + bands[first + 1, BAND_WIDTH]
        if level + 1 < facts[LEVELS]:
            join_bands(low, at, coefficients, places, height, width, rows, even, low, to, none, none)
            at, to = to, at
        else:
            seen = join_bands(low, at, coefficients, places, height, width, rows, even, out, out_at, added, checked)
    return seen >= 0 and seen >> bits == 0


@kernel(
    "int64(const(uint8[::1]), const(int64[:, ::1]), const(int64[::1]), int64, const(int64[:, ::1]), "
    "const(uint64[::1]), const(uint16[::1]), int64[::1], int64[:, ::1], int32[:, ::1], int64[::1], uint8[::1], "
    "int64[:, ::1], uint64[:, ::1], uint64[:, ::1], uint64[:, ::1], uint64[::1], uint64[::1], uint64[::1], "
    "int32[::1], int16[::1], int16[::1], int16[:, ::1], int16[::1], int16[::1], uint8[::1])"
)
def decode_frames(
    source,
    spans,
    wanted,
    bits,
    bands,
    tables,
    amounts,
    facts,
    blocks,
    tree,
    reader,
    streams,
    events,
    contexts,
    found,
    sizes,
    above,
    bounds,
    words,
    lowest,
    coefficients,
    low,
    rows,
    even,
    out,
    narrow,
):
    """Decode streams one after the other into `out`; return -1, or the first that is not for this decoder.

    spans : (n, 2) start and end of each in `source`, already checked against its length
    wanted : facts of the first, by which the memory was taken: all must have the same
    bits : that a sample may have
    bands : of `lay_out_bands`; tables, amounts : of `quad_tables` and `amount_table`
    out : all samples, signed or not; or one frame of memory, from where each goes to `narrow` as bytes
    The arguments between are memory.
    """
    memory = (tables, amounts, streams, events, contexts, found, sizes, (above, bounds, words))
    pixels = wanted[ROWS] * wanted[COLUMNS]
    for number in range(len(spans)):
        if not parse_header(source, spans[number, 0], spans[number, 1], facts):
            return number
        for k in range(FIRST_PLANES + 3 * wanted[LEVELS] + 1):
            if facts[k] != wanted[k] and k != BODY:
                return number
        count = find_blocks(source, spans[number, 1], facts, bands, blocks, tree, reader)
        if count < 0:
            return number
        if not _decode_blocks(source, blocks, count, bands, memory, lowest, coefficients):
            return number
        most, at = min(bits, facts[PRECISION]), np.int64(0) if len(narrow) else number * pixels
        if not _join_levels(facts, bands, lowest, coefficients, low, rows, even, out, at, most):
            return number
        if len(narrow):
            to = np.uint64(number * pixels)
            for k in range(np.uint64(pixels)):
                narrow[to + k] = out[k]
    return -1
