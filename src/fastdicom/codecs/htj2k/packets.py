"""The headers of a code stream: what image it holds, and where the bytes of each of its blocks are.

Taken is what DICOM mostly has: one component, one tile that is the whole image, no quantization, one layer, precincts
as large as they may be, and of each block its cleanup pass alone. Then all orders of progression are the same.

Source: ISO 15444-1 annex A (markers), B.10 (packet headers); ISO 15444-15 annex A (CAP, Scod and SPcod).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel

__all__ = [
    "BAND_AT",
    "BAND_FACTS",
    "BAND_HEIGHT",
    "BAND_PLANES",
    "BAND_WIDTH",
    "BLOCK_AT",
    "BLOCK_BAND",
    "BLOCK_COLUMN",
    "BLOCK_FACTS",
    "BLOCK_HEIGHT",
    "BLOCK_NBYTES",
    "BLOCK_PLANES",
    "BLOCK_ROW",
    "BLOCK_WIDTH",
    "BODY",
    "COLUMNS",
    "FACTS",
    "FIRST_PLANES",
    "IS_SIGNED",
    "LEVELS",
    "MOST_BANDS",
    "PRECISION",
    "READER_FACTS",
    "ROWS",
    "find_blocks",
    "lay_out_bands",
    "parse_header",
]

MOST_LEVELS = 32
MOST_BANDS = 3 * MOST_LEVELS + 1
ROWS, COLUMNS, PRECISION, IS_SIGNED, LEVELS, _WIDTH_BITS, _HEIGHT_BITS, _IS_CAPABLE, BODY, FIRST_PLANES = range(10)
"""Of a code stream, -1 for what was not read yet: _WIDTH_BITS and _HEIGHT_BITS are log2 of the size of a block;
_IS_CAPABLE: it has the marker segment that HTJ2K must have; BODY is where the first tile-part begins; from FIRST_PLANES
on, the bit planes of each band."""
FACTS = FIRST_PLANES + MOST_BANDS
BAND_AT, BAND_WIDTH, BAND_HEIGHT, BAND_PLANES, _BAND_ACROSS, _BAND_DOWN, BAND_FACTS = range(7)
"""Of a band: where it begins in memory, its size, its bit planes, its blocks across and down."""
(
    BLOCK_AT,
    BLOCK_NBYTES,
    BLOCK_COLUMN,
    BLOCK_ROW,
    BLOCK_WIDTH,
    BLOCK_HEIGHT,
    BLOCK_PLANES,
    BLOCK_BAND,
    BLOCK_FACTS,
) = range(9)
"""Of a block: where its bytes are (none: it has no pass, all zero), its place and size in its band, the bit planes that
it has not."""
_AT, _STOP, _BYTE, _LEFT, READER_FACTS = range(5)
"""Of a packet header: next byte, end, current byte, bits left in it."""
_MOST_LENGTH = 1 << 15
"""A longer side has several precincts."""
_PRESENCE, _LAYERS = np.int64(0), np.int64(1)
_MOST_LENGTH_BITS = 24
_LEAST_AREA_BITS = 8
"""What is known of smaller blocks, which nobody writes, would take as much memory as their samples."""
_SOC, _CAP, _SIZ, _COD, _TLM, _PLM, _PLT = 0xFF4F, 0xFF50, 0xFF51, 0xFF52, 0xFF55, 0xFF57, 0xFF58
_QCD, _COM, _SOT, _SOD, _EOC = 0xFF5C, 0xFF64, 0xFF90, 0xFF93, 0xFFD9
_HAS_CAPABILITIES, _ONLY_PART_15 = 0x4000, 0x0002_0000
"""Rsiz and Pcap (A.5.1 and A.5.2): what the stream uses besides part 1 is HTJ2K."""
_HIGH_THROUGHPUT = 0x40
"""Code-block style (table A.19): all blocks are of HTJ2K, and nothing else is chosen."""
_REVERSIBLE = 1
_SOT_NBYTES = 12


@kernel()
def _two(source, at):
    return np.int64(source[at]) << 8 | np.int64(source[at + 1])


@kernel()
def _four(source, at):
    return _two(source, at) << 16 | _two(source, at + 2)


@kernel()
def _parse_size(source, body, length, facts):
    """SIZ (A.5.1): HTJ2K, one component, one tile, and both start at 0, 0."""
    if length != 41 or not _two(source, body) & _HAS_CAPABILITIES:
        return False
    if _two(source, body + 34) != 1 or source[body + 37] != 1 or source[body + 38] != 1:
        return False
    for offset in (10, 14, 26, 30):
        if _four(source, body + offset) != 0:
            return False
    columns, rows = _four(source, body + 2), _four(source, body + 6)
    if _four(source, body + 18) < columns or _four(source, body + 22) < rows:
        return False
    if not (0 < rows <= _MOST_LENGTH and 0 < columns <= _MOST_LENGTH):
        return False
    facts[ROWS], facts[COLUMNS] = rows, columns
    facts[PRECISION], facts[IS_SIGNED] = (source[body + 36] & 0x7F) + 1, source[body + 36] >> 7
    return True


@kernel()
def _parse_style(source, body, length, facts):
    """COD (A.6.1): one layer, no colour transform, no marks between packets, precincts of the full size."""
    levels, style = np.int64(source[body + 5]), np.int64(source[body])
    if not 1 <= levels <= MOST_LEVELS or style > 1 or length != 12 + (levels + 1 if style else 0):
        return False
    if source[body + 1] > 4 or _two(source, body + 2) != 1 or source[body + 4] != 0:
        return False
    width_bits, height_bits = np.int64(source[body + 6]) + 2, np.int64(source[body + 7]) + 2
    if width_bits > 10 or height_bits > 10 or not _LEAST_AREA_BITS <= width_bits + height_bits <= 12:
        return False
    if source[body + 8] != _HIGH_THROUGHPUT or source[body + 9] != _REVERSIBLE:
        return False
    for k in range(levels + 1 if style else 0):
        if source[body + 10 + k] != 0xFF:
            return False
    facts[LEVELS] = levels
    facts[_WIDTH_BITS], facts[_HEIGHT_BITS] = width_bits, height_bits
    return True


@kernel()
def _parse_planes(source, body, length, facts):
    """QCD (A.6.4): no quantization; the bit planes of each band (equation E-2)."""
    if source[body] & 0x1F != 0 or length < 4 or length - 3 > MOST_BANDS:
        return False
    guard = np.int64(source[body]) >> 5
    for k in range(length - 3):
        facts[FIRST_PLANES + k] = guard + (np.int64(source[body + 1 + k]) >> 3) - 1
    return True


@kernel("boolean(const(uint8[::1]), int64, int64, int64[::1])")
def parse_header(source, start, stop, facts):
    """Read the main header of a stream into `facts`; False for what is not for this decoder."""
    for k in range(FACTS):
        facts[k] = -1
    if stop - start < 4 or _two(source, start) != _SOC:
        return False
    at = start + 2
    while at + 4 <= stop:
        marker, length, body = _two(source, at), _two(source, at + 2), at + 4
        if marker == _SOT:
            facts[BODY] = at
            if facts[ROWS] < 0 or facts[LEVELS] < 0 or facts[_IS_CAPABLE] < 0:
                return False
            return facts[FIRST_PLANES + 3 * facts[LEVELS]] >= 0
        if length < 4 or body + length - 2 > stop:
            return False
        is_known = marker == _TLM or marker == _PLM or marker == _COM  # nothing here depends on them
        if marker == _CAP and facts[_IS_CAPABLE] < 0:
            is_known = length == 8 and _four(source, body) == _ONLY_PART_15
            facts[_IS_CAPABLE] = 1
        if marker == _SIZ and facts[ROWS] < 0:
            is_known = _parse_size(source, body, length, facts)
        elif marker == _COD and facts[LEVELS] < 0 and length >= 12:
            is_known = _parse_style(source, body, length, facts)
        elif marker == _QCD and facts[FIRST_PLANES] < 0:
            is_known = _parse_planes(source, body, length, facts)
        if not is_known:
            return False
        at = body + length - 2
    return False


@kernel("UniTuple(int64, 2)(int64[::1], int64[:, ::1])")
def lay_out_bands(facts, bands):
    """Sizes of all bands and where they are in memory: LL, then HL, LH and HH of each level, the smallest first.

    Returns the number of blocks of all bands, and of the one with most.
    """
    levels, at, total, most = facts[LEVELS], np.int64(0), np.int64(0), np.int64(0)
    for band in range(3 * levels + 1):
        level = levels if band == 0 else levels - (band - 1) // 3
        rows, columns = facts[ROWS], facts[COLUMNS]
        for _ in range(level - 1):
            rows, columns = (rows + 1) >> 1, (columns + 1) >> 1
        kind = 0 if band == 0 else (band - 1) % 3 + 1
        width = columns >> 1 if kind & 1 else (columns + 1) >> 1
        height = rows >> 1 if kind & 2 else (rows + 1) >> 1
        across = (width + (1 << facts[_WIDTH_BITS]) - 1) >> facts[_WIDTH_BITS]
        down = (height + (1 << facts[_HEIGHT_BITS]) - 1) >> facts[_HEIGHT_BITS]
        bands[band, BAND_AT], bands[band, BAND_PLANES] = at, facts[FIRST_PLANES + band]
        bands[band, BAND_WIDTH], bands[band, BAND_HEIGHT] = width, height
        bands[band, _BAND_ACROSS], bands[band, _BAND_DOWN] = across, down
        at += width * height
        total += across * down
        most = max(most, across * down)
    return total, most


@kernel()
def _bit(source, reader):
    """The next bit of a packet header (B.10.1: a byte after FF has seven); -1 at its end."""
    if reader[_LEFT] == 0:
        if reader[_AT] >= reader[_STOP]:
            return np.int64(-1)
        reader[_LEFT] = 7 if reader[_BYTE] == 0xFF else 8
        reader[_BYTE] = source[reader[_AT]]
        reader[_AT] += 1
    reader[_LEFT] -= 1
    return reader[_BYTE] >> reader[_LEFT] & 1


@kernel()
def _tag(source, reader, tree, first, width, height, column, row, threshold):
    """The value of a leaf of a tag tree, or `threshold` where it is not less (B.10.2); -1 at the end of the header.

    tree : (nodes, 2) the least that each node can be, and whether it is that; the leaves begin at `first`
    """
    depth, across, down = 0, width, height
    while across > 1 or down > 1:
        across, down, depth = (across + 1) >> 1, (down + 1) >> 1, depth + 1
    least = np.int64(0)
    for up in range(depth, -1, -1):
        across, down, node = width, height, first
        for _ in range(up):
            node += across * down
            across, down = (across + 1) >> 1, (down + 1) >> 1
        node += (row >> up) * across + (column >> up)
        tree[node, 0] = max(tree[node, 0], least)
        while tree[node, 1] == 0 and tree[node, 0] < threshold:
            bit = _bit(source, reader)
            if bit < 0:
                return np.int64(-1)
            tree[node, 0] += 1 - bit
            tree[node, 1] = bit
        least = tree[node, 0]
    return min(least, threshold)


@kernel()
def _read_block(source, reader, tree, trees, width, height, most, block):
    """What the packet header says of one block, which has not more than `most` bit planes; False: not for us."""
    column, row = block[BLOCK_COLUMN], block[BLOCK_ROW]
    block[BLOCK_NBYTES] = 0
    absent = _tag(source, reader, tree, _PRESENCE, width, height, column, row, _LAYERS)
    if absent != 0:
        return absent > 0
    planes = np.int64(1)
    while True:
        found = _tag(source, reader, tree, trees, width, height, column, row, planes)
        if found < 0:
            return False
        if found < planes:
            break
        planes += 1
        if planes > most:
            return False
    block[BLOCK_PLANES] = found
    if _bit(source, reader) != 0:  # more passes than one
        return False
    length_bits = 3
    while True:
        bit = _bit(source, reader)
        if bit < 0 or length_bits > _MOST_LENGTH_BITS:
            return False
        if bit == 0:
            break
        length_bits += 1
    length = np.int64(0)
    for _ in range(length_bits):
        bit = _bit(source, reader)
        if bit < 0:
            return False
        length = length << 1 | bit
    block[BLOCK_NBYTES] = length
    return length >= 2


@kernel()
def _next_tile_part(source, at, stop, number):
    """Where its first packet begins, and where it ends; -1 where that is not for this decoder (A.4.2)."""
    if at + _SOT_NBYTES + 2 > stop or _two(source, at) != _SOT or _two(source, at + 2) != 10:
        return np.int64(-1), np.int64(-1)
    length = _four(source, at + 6)
    end = at + length
    if _two(source, at + 4) != 0 or source[at + 10] != number or length < _SOT_NBYTES + 2 or end > stop:
        return np.int64(-1), np.int64(-1)
    at += _SOT_NBYTES
    while at + 4 <= end and (_two(source, at) == _COM or _two(source, at) == _PLT):
        at += 2 + _two(source, at + 2)
    if at + 2 > end or _two(source, at) != _SOD:
        return np.int64(-1), np.int64(-1)
    return at + 2, end


@kernel()
def find_blocks(source, stop, facts, bands, blocks, tree, reader):
    """Fill `blocks`; return how many there are, or -1 for what is not for this decoder, or not whole.

    blocks : (n, BLOCK_FACTS), as many as `lay_out_bands` says
    tree : (nodes, 2), four nodes for each block of the largest band, and 64
    """
    number, at, end, part = np.int64(0), facts[BODY], facts[BODY], np.int64(0)
    trees = len(tree) >> 1
    for resolution in range(facts[LEVELS] + 1):
        if at == end:
            at, end = _next_tile_part(source, end, stop, part)
            part += 1
            if at < 0:
                return -1
        reader[_AT], reader[_STOP], reader[_BYTE], reader[_LEFT] = at, end, 0, 0
        bit = _bit(source, reader)
        if bit < 0:
            return -1
        first = number
        for band in range(max(0, 3 * resolution - 2), 3 * resolution + 1):
            width, height, most = bands[band, _BAND_ACROSS], bands[band, _BAND_DOWN], bands[band, BAND_PLANES]
            for node in range(2 * width * height + 32):
                tree[node, 0] = tree[node, 1] = tree[trees + node, 0] = tree[trees + node, 1] = 0
            for row in range(height):
                for column in range(width):
                    block = blocks[number]
                    block[BLOCK_COLUMN], block[BLOCK_ROW], block[BLOCK_NBYTES] = column, row, 0
                    if bit == 1 and not _read_block(source, reader, tree, trees, width, height, most, block):
                        return -1
                    block[BLOCK_BAND] = band
                    block[BLOCK_COLUMN], block[BLOCK_ROW] = column << facts[_WIDTH_BITS], row << facts[_HEIGHT_BITS]
                    block[BLOCK_WIDTH] = min(1 << facts[_WIDTH_BITS], bands[band, BAND_WIDTH] - block[BLOCK_COLUMN])
                    block[BLOCK_HEIGHT] = min(1 << facts[_HEIGHT_BITS], bands[band, BAND_HEIGHT] - block[BLOCK_ROW])
                    number += 1
        at = reader[_AT]
        if reader[_BYTE] == 0xFF:  # all of its bits are used, and a byte of stuffing follows (B.10.1)
            if reader[_LEFT] > 0:
                return -1
            at += 1
        for k in range(first, number):
            blocks[k, BLOCK_AT] = at
            at += blocks[k, BLOCK_NBYTES]
            if at > end:
                return -1
        if at > end:
            return -1
    # Nothing but the end, and a byte that makes the length even.
    if at != end or end + 2 > stop or _two(source, end) != _EOC or stop - end > 3:
        return -1
    return number
