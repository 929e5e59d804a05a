"""Whether the data of a baseline or extended JPEG are those of all its blocks: libjpeg fills what is missing.

The format has no checksum, but damage makes the decoder read codes where none begin, and the codes that it reads are
rarely those of as many blocks as the image has. So the codes are counted: their extra bits are stepped over, nothing is
computed. An entry of the table steps over all the coefficients whose codes begin within its 12 bits.

Source: ISO 10918-1 A.2 (order of the blocks), B.2 (markers), C.2 (codes), F.1.2 (coding of a block), E.2.4 (restarts).
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.codecs.jpeg_bits import PADDED, is_padding, unstuff, word
from fastdicom.codecs.streams import Buffer, StreamError

__all__ = ["check_blocks"]

_DHT, _EOI, _SOS, _DRI = 0xC4, 0xD9, 0xDA, 0xDD
_TEMPORARY, _RESTARTS = 0x01, range(0xD0, 0xD8)
_SEQUENTIAL = (0xC0, 0xC1)
_OTHER_PROCESSES = frozenset({*range(0xC2, 0xD0), 0xDC, 0xDE, 0xDF} - {_DHT})
"""Frames of other processes, arithmetic coding, a number of lines that follows the scan, hierarchies."""
_WINDOW = 12
"""Bits that are looked up at once: the tables stay in the L1 cache."""
_BLOCK_NBYTES = 256
"""More than a block can have: 64 times 16 bits of code and 15 of a coefficient."""
_BITS, _STEPS_AT, _STEPS, _END_AT = 63, 6, 127, 13
"""An entry: bits to step over, coefficients to step over, whether the block ends then. 0: no code."""
_NO_ENTRY = _STEPS << _STEPS_AT
"""More steps than there can be: look for one code alone."""
_COEFFICIENTS = 64
_LOOKUPS, _MOST_BITS = 4, 15
"""So many entries, of so many bits each, leave a window of the 64 bits that are loaded at once, a byte begun."""
_DONE, _TOO_SHORT, _TOO_LONG, _BAD_RESTART = range(4)


class _Tables(NamedTuple):
    """The codes that a scan uses."""

    single: NDArray[np.uint16]
    """(tables * 4096,) entry of the first code in a window."""
    several: NDArray[np.uint16]
    """(tables * 4096,) entry of as many codes as are within the window and _MOST_BITS; _NO_ENTRY for none."""
    limits: NDArray[np.int64]
    """(tables, 17, 2) largest code of each length, or -1; what is added to a code for its place in `symbols`."""
    symbols: NDArray[np.uint8]
    """(tables, 256) in the order of their codes."""


class _Scan(NamedTuple):
    components: frozenset[int]
    units: int
    """Minimum coded units (A.2)."""
    layout: NDArray[np.int64]
    """(blocks of a unit, 2) DC and AC table of each."""
    tables: _Tables


def check_blocks(data: Buffer) -> None:
    """Refuse a JPEG of process 1, 2 or 4 whose codes end before the image does, or go on after it.

    Streams of other processes are not looked at, nor those that no decoder can read.

    Parameters
    ----------
    data : code stream

    Raises
    ------
    StreamError
        How many blocks there are, or how many bytes are left.
    """
    with suppress(struct.error, LookupError, ZeroDivisionError, _NotRegularError):
        _check_segments(data)


class _NotRegularError(Exception):
    """A segment is not as it must be: whether the stream can be decoded is for the decoder to say."""


def _check_segments(data: Buffer) -> None:
    frame, tables, interval, position = b"", b"", 0, 2
    seen: set[int] = set()
    while True:
        marker, body, position = _segment(data, position)
        if marker == _EOI:
            if frame and len(seen) < frame[5]:
                raise StreamError(f"the JPEG stream ends after {len(seen)} of {frame[5]} components")
            return
        if marker in _OTHER_PROCESSES:
            return
        if marker in _SEQUENTIAL:
            frame = body
        elif marker == _DHT:
            tables += body
        elif marker == _DRI:
            (interval,) = struct.unpack(">H", body)
        elif marker == _SOS:
            scan = _scan_of(frame, tables, body)
            if not seen.isdisjoint(scan.components):
                raise _NotRegularError
            seen |= scan.components
            position = _after_scan(data, position, scan, interval)


def _segment(data: Buffer, position: int) -> tuple[int, bytes, int]:
    """(marker, what is in its segment, where the next one begins)."""
    if data[position] != 0xFF:
        raise _NotRegularError
    while data[position] == 0xFF:
        position += 1
    marker = data[position]
    if marker in (_EOI, _TEMPORARY) or marker in _RESTARTS:
        return marker, b"", position + 1
    (length,) = struct.unpack_from(">H", data, position + 1)
    return marker, bytes(data[position + 3 : position + 1 + length]), position + 1 + length


@lru_cache(maxsize=16)
def _scan_of(frame: bytes, tables: bytes, scan: bytes) -> _Scan:
    """What the segments of a frame, of its tables so far and of a scan say; kept, because most frames have the same."""
    rows, columns, count = struct.unpack_from(">HHB", frame, 1)
    sampling = {frame[6 + 3 * k]: divmod(frame[7 + 3 * k], 16) for k in range(count)}
    components = [scan[1 + 2 * k] for k in range(scan[0])]
    factors = [sampling[number] for number in components]
    counts = []
    for axis, length in enumerate((columns, rows)):
        most = max(each[axis] for each in sampling.values())
        samples = -(-length // most) if len(components) > 1 else -(-length * factors[0][axis] // most)
        counts.append(-(-samples // 8))
    blocks = [h * v for h, v in factors] if len(components) > 1 else [1]

    known = _specs_of(tables)
    pairs = [divmod(scan[2 + 2 * k], 16) for k in range(scan[0])]  # numbers of the DC and the AC table
    specs = [(is_ac, known[is_ac, pair[is_ac]]) for pair in pairs for is_ac in (0, 1)]
    distinct = list(dict.fromkeys(specs))
    numbers = np.reshape([distinct.index(spec) for spec in specs], (-1, 2))
    layout = np.repeat(numbers.astype(np.int64), blocks, axis=0)
    return _Scan(frozenset(components), counts[0] * counts[1], layout, _tables_of(distinct))


def _specs_of(tables: bytes) -> dict[tuple[int, int], bytes]:
    """Of each class (DC 0, AC 1) and number: how many codes there are of each length, and their symbols (B.2.4.2)."""
    specs = {}
    at = 0
    while at < len(tables):
        end = at + 17 + sum(tables[at + 1 : at + 17])
        specs[divmod(tables[at], 16)] = tables[at + 1 : end]
        at = end
    return specs


def _tables_of(specs: Sequence[tuple[int, bytes]]) -> _Tables:
    single, several = np.zeros((2, len(specs), 1 << _WINDOW), np.uint16)
    limits, symbols = np.zeros((len(specs), 17, 2), np.int64), np.zeros((len(specs), 256), np.uint8)
    lengths = np.empty(1 << _WINDOW, np.uint8)
    for number, (is_ac, spec) in enumerate(specs):
        source = np.frombuffer(spec, np.uint8)
        if not 16 <= len(source) <= 16 + symbols.shape[1]:
            raise _NotRegularError
        if not _fill(source, is_ac == 1, single[number], several[number], limits[number], lengths):
            raise _NotRegularError
        symbols[number, : len(source) - 16] = source[16:]
    return _Tables(single.reshape(-1), several.reshape(-1), limits, symbols)


def _after_scan(data: Buffer, first: int, scan: _Scan, interval: int) -> int:
    """Where the segment after a scan begins, whose data begin at `first`."""
    answer = np.zeros(2, np.int64)
    scratch = np.empty(len(data) - first + PADDED + _BLOCK_NBYTES, np.uint8)
    source = np.frombuffer(data, np.uint8)
    state = _count_units(source, first, scan.units, interval, scan.layout, *scan.tables, scratch, answer)
    found, where = answer.tolist()
    if state != _DONE:
        raise StreamError(_complaint(state, found, scan.units, len(scan.layout), where))
    return int(where)


def _complaint(state: int, found: int, units: int, blocks: int, left: int) -> str:
    if state == _TOO_LONG:
        return f"the data of the JPEG stream go on for {left} bytes after the last block: they are damaged"
    if state == _BAD_RESTART:
        return f"the JPEG stream has another restart marker than is due after {found} of {units} units"
    return (
        f"the data of the JPEG stream are those of {found * blocks} of {units * blocks} blocks of 8 x 8 samples: they "
        "are cut or damaged"
    )


@kernel()
def _entry_of(symbol, length, is_ac):
    """Code and extra bits of a symbol (F.1.2.1 for DC, F.1.2.2 for AC); 0 where there is no such symbol."""
    size, run = symbol & 15, symbol >> 4
    if not is_ac:
        return 1 << _STEPS_AT | (length + symbol) if symbol < 16 else 0
    if size > 0:
        return (run + 1) << _STEPS_AT | (length + size)
    if run == 15:
        return 16 << _STEPS_AT | length
    # The end of the block. It counts as a step, so that none is found behind the last coefficient.
    return 1 << _END_AT | 1 << _STEPS_AT | length


@kernel("boolean(const(uint8[::1]), boolean, uint16[::1], uint16[::1], int64[:, ::1], uint8[::1])")
def _fill(spec, is_ac, single, several, limits, lengths):
    """Make the tables of a DHT segment's counts and symbols; False where they are no Huffman code (C.2)."""
    code, place = 0, 16
    limits[0, 0] = -1
    for length in range(1, 17):
        limits[length, 0], limits[length, 1] = -1, place - 16 - code
        for _ in range(spec[length - 1]):
            if place >= len(spec) or code >> length != 0:
                return False
            limits[length, 0] = code
            if length <= _WINDOW:
                spare = _WINDOW - length
                entry = _entry_of(np.int64(spec[place]), length, is_ac)
                for k in range(code << spare, (code + 1) << spare):
                    single[k] = entry
                    lengths[k] = length
            code += 1
            place += 1
        code <<= 1
    for k in range(1 << _WINDOW):
        bits, steps, end = np.int64(0), np.int64(0), np.int64(0)
        while bits < _WINDOW and end == 0:
            window = (k << bits) & ((1 << _WINDOW) - 1)
            entry = np.int64(single[window])
            more_bits, more_steps = bits + (entry & _BITS), steps + (entry >> _STEPS_AT & _STEPS)
            is_whole = entry > 0 and bits + lengths[window] <= _WINDOW
            if not is_whole or more_bits > _MOST_BITS or more_steps > _COEFFICIENTS:
                break
            bits, steps, end = more_bits, more_steps, entry & (1 << _END_AT)
        several[k] = end | steps << _STEPS_AT | bits if bits > 0 else _NO_ENTRY
    return True


@kernel()
def _long_entry(bits, table, limits, symbols, is_ac):
    """The entry of a code of more bits than the window that is on top of `bits`; 0 where none is."""
    for length in range(_WINDOW + 1, 17):
        code = np.int64(bits >> np.uint64(64 - length))
        if code <= limits[table, length, 0]:
            place = code + limits[table, length, 1]
            return _entry_of(np.int64(symbols[table, place]), length, is_ac) if 0 <= place < 256 else np.int64(0)
    return np.int64(0)


@kernel()
def _skip_units(scratch, nbytes, wanted, layout, single, several, limits, symbols):
    """Step over the codes of so many units (F.1.2): how many are whole, and the bit after them.

    Every block in one function: a call takes longer than many a block.
    """
    most, mask, steps_at, steps = np.uint64(_COEFFICIENTS), np.uint64(_BITS), np.uint64(_STEPS_AT), np.uint64(_STEPS)
    end_at, three, seven, shift, none = (
        np.uint64(_END_AT),
        np.uint64(3),
        np.uint64(7),
        np.uint64(64 - _WINDOW),
        np.uint64(0),
    )
    at, before, limit = np.uint64(0), np.uint64(0), np.uint64(8 * nbytes)
    for unit in range(wanted):
        for k in range(len(layout)):
            if at > limit:
                return unit, before
            dc, ac = np.uint64(layout[k, 0]) << np.uint64(_WINDOW), np.uint64(layout[k, 1]) << np.uint64(_WINDOW)
            bits = word(scratch, at >> three) << (at & seven)
            found = np.uint64(single[dc + (bits >> shift)])
            if found == none:
                found = np.uint64(_long_entry(bits, layout[k, 0], limits, symbols, False))
                if found == none:
                    return unit, before
            at += found & mask
            place = np.uint64(1)
            while place < most:  # the end of a block adds twice as many
                bits = word(scratch, at >> three) << (at & seven)
                for _ in range(_LOOKUPS):
                    found = np.uint64(several[ac + (bits >> shift)])
                    after = place + ((found >> steps_at) & steps)
                    if after > most:
                        bits = word(scratch, at >> three) << (at & seven)
                        found = np.uint64(single[ac + (bits >> shift)])
                        if found == none:
                            found = np.uint64(_long_entry(bits, layout[k, 1], limits, symbols, True))
                        place += (found >> steps_at) & steps
                        if found == none or place > most:
                            return unit, before
                        at += found & mask
                        place += found >> end_at << seven
                        break
                    at += found & mask
                    bits <<= found & mask
                    place = after + (found >> end_at << seven)
                    if place >= most:
                        break
        if at > limit:
            return unit, before
        before = at
    return wanted, before


@kernel(
    "int64(const(uint8[::1]), int64, int64, int64, const(int64[:, ::1]), const(uint16[::1]), const(uint16[::1]), "
    "const(int64[:, :, ::1]), const(uint8[:, ::1]), uint8[::1], int64[::1])"
)
def _count_units(source, first, units, interval, layout, single, several, limits, symbols, scratch, answer):
    """Step over the codes of a scan. `answer` becomes how many units are whole, and where the next marker is.

    layout : (blocks of a unit, 2) DC and AC table of each
    """
    done, restarts, start = np.int64(0), np.int64(0), first
    while True:
        nbytes, end = unstuff(source, start, len(source), scratch)
        for k in range(_BLOCK_NBYTES):
            scratch[nbytes + k] = 0
        wanted = min(units - done, interval) if interval > 0 else units - done
        whole, at = _skip_units(scratch, nbytes, wanted, layout, single, several, limits, symbols)
        done += whole
        answer[0] = done
        if whole < wanted:
            return _TOO_SHORT
        stop = np.int64((at + np.uint64(7)) >> np.uint64(3))
        if not is_padding(scratch, stop, nbytes):
            answer[1] = nbytes - stop
            return _TOO_LONG
        while end + 1 < len(source) and source[end + 1] == 0xFF:  # fill bytes may precede a marker
            end += 1
        answer[1] = end
        if end + 1 >= len(source) or not 0xD0 <= source[end + 1] <= 0xD7:
            return _DONE if done == units else _TOO_SHORT
        if source[end + 1] != 0xD0 + restarts % 8:
            return _BAD_RESTART
        restarts += 1
        start = end + 2
