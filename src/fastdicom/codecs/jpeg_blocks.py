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
from itertools import accumulate, groupby
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
_LONG_NBYTES = 1 << 14
_MOST_SEGMENTS = 1000
"""A stream of more is left to the decoder."""
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
    specs: tuple[tuple[int, bytes], ...]
    """Of each of the tables: whether it is of AC codes, and what its DHT segment says."""
    interval: int
    """Units between restart markers; 0: there are none."""


def check_blocks(streams: Sequence[Buffer]) -> None:
    """Refuse JPEGs of process 1, 2 or 4 whose codes end before the image does, or go on after it.

    Not looked at: streams of other processes, and those whose segments are not as they must be or leave something to
    the decoder (the standard's tables, the number of lines, components of one name).

    Parameters
    ----------
    streams : code streams
        Those with one header, as frames of a series mostly have, are checked in one compiled call.

    Raises
    ------
    StreamError
        How many blocks one of them has, or how many bytes are left.
    """
    waiting = [_Stream(data) for data in streams]
    for stream in waiting:
        if not stream.begins_as(_recent[0]):
            stream.advance()
            _recent[0] = stream.beginning()
    while waiting := [stream for stream in waiting if stream.scan is not None]:
        for _, alike in groupby(waiting, key=lambda stream: id(stream.scan)):
            _check_scans(list(alike))
        for stream in waiting:
            stream.advance()


class _Beginning(NamedTuple):
    """A stream up to the data of its first scan, and what is known by then."""

    content: bytes
    scan: _Scan | None
    frame: bytes
    specs: dict[int, bytes]
    interval: int


_recent = [_Beginning(b"", None, b"", {}, 0)]
"""The last one, of any thread: those of the frames of a series are mostly the same."""


class _Stream:
    """A code stream on the way from scan to scan."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.position = 2
        self.scan: _Scan | None = None
        """The scan whose data begin at `position`; None: there is nothing more to check."""
        self._frame = b""
        self._specs: dict[int, bytes] = {}
        self._interval = 0
        self._seen: frozenset[int] = frozenset()

    def beginning(self) -> _Beginning:
        content = bytes(self.data[: self.position])
        return _Beginning(content, self.scan, self._frame, dict(self._specs), self._interval)

    def begins_as(self, other: _Beginning) -> bool:
        """Whether all is the same up to the data of the first scan; then this stream is there, too."""
        if other.scan is None or bytes(self.data[: len(other.content)]) != other.content:
            return False
        self.position, self.scan, self._frame = len(other.content), other.scan, other.frame
        self._specs, self._interval, self._seen = dict(other.specs), other.interval, other.scan.components
        return True

    def advance(self) -> None:
        """Go to the data of the next scan.

        Raises
        ------
        StreamError
            A component has none.
        """
        self.scan = None
        with suppress(struct.error, LookupError, ZeroDivisionError, _NotRegularError):
            self.scan = self._next_scan()

    def _next_scan(self) -> _Scan | None:
        for _ in range(_MOST_SEGMENTS):
            marker, body = self._segment()
            if marker == _EOI and self._frame and len(self._seen) < self._frame[5]:
                raise StreamError(f"the JPEG stream ends after {len(self._seen)} of {self._frame[5]} components")
            if marker == _EOI or marker in _OTHER_PROCESSES:
                return None
            if marker in _SEQUENTIAL:
                self._frame = body
            elif marker == _DHT:
                self._specs.update(_specs_of(body))
            elif marker == _DRI:
                (self._interval,) = struct.unpack(">H", body)
            elif marker == _SOS:
                scan = _scan_of(self._frame, tuple(sorted(self._specs.items())), body, self._interval)
                if not self._seen.isdisjoint(scan.components):
                    raise _NotRegularError
                self._seen |= scan.components
                return scan
        return None

    def _segment(self) -> tuple[int, bytes]:
        """(marker, what is in its segment)."""
        data, position = self.data, self.position
        if data[position] != 0xFF:
            raise _NotRegularError
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        if marker in (_EOI, _TEMPORARY) or marker in _RESTARTS:
            self.position = position + 1
            return marker, b""
        (length,) = struct.unpack_from(">H", data, position + 1)
        self.position = position + 1 + length
        if marker == 0 or length < 2 or self.position > len(data):
            raise _NotRegularError
        return marker, bytes(data[position + 3 : self.position])


class _NotRegularError(Exception):
    """A segment is not as it must be: whether the stream can be decoded is for the decoder to say."""


def _check_scans(streams: Sequence[_Stream]) -> None:
    """Count the units of the same scan of several streams, and go to what follows it."""
    scan = streams[0].scan
    if scan is None:
        return
    ends = list(accumulate(len(stream.data) for stream in streams))
    spans = [(end - len(stream.data) + stream.position, end) for stream, end in zip(streams, ends, strict=True)]
    lengths = [end - start for start, end in spans]
    source = np.frombuffer(streams[0].data if len(streams) == 1 else b"".join([s.data for s in streams]), np.uint8)
    scratch = np.empty(max(lengths) + PADDED + _BLOCK_NBYTES, np.uint8)
    tables = _tables_of(scan.specs, sum(lengths) >= _LONG_NBYTES)
    answers = np.zeros((len(streams), 3), np.int64)
    _count_all(source, np.array(spans), scan.units, scan.interval, scan.layout, *tables, scratch, answers)
    for stream, (state, found, where) in zip(streams, answers.tolist(), strict=True):
        if state != _DONE:
            raise StreamError(_complaint(state, found, scan.units, len(scan.layout), where))
        stream.position += where


def _specs_of(body: bytes) -> dict[int, bytes]:
    """What a DHT segment says of each class and number: how many codes of each length, and their symbols (B.2.4.2)."""
    specs = {}
    at = 0
    while at < len(body):
        end = at + 17 + sum(body[at + 1 : at + 17])
        specs[body[at]] = body[at + 1 : end]
        at = end
    return specs


@lru_cache(maxsize=16)
def _scan_of(frame: bytes, specs: tuple[tuple[int, bytes], ...], scan: bytes, interval: int) -> _Scan:
    """What the segments of a frame, of its tables and of a scan say; kept, because most frames have the same."""
    rows, columns, count = struct.unpack_from(">HHB", frame, 1)
    sampling = {frame[6 + 3 * k]: divmod(frame[7 + 3 * k], 16) for k in range(count)}
    components = [scan[1 + 2 * k] for k in range(scan[0])]
    if len(sampling) != count or len(set(components)) != len(components):
        raise _NotRegularError
    factors = [sampling[number] for number in components]
    counts = []
    for axis, length in enumerate((columns, rows)):
        most = max(each[axis] for each in sampling.values())
        samples = -(-length // most) if len(components) > 1 else -(-length * factors[0][axis] // most)
        counts.append(-(-samples // 8))
    blocks = [h * v for h, v in factors] if len(components) > 1 else [1]

    known = dict(specs)
    selected = [divmod(scan[2 + 2 * k], 16) for k in range(scan[0])]  # numbers of the DC and the AC table
    used = [(is_ac, known[is_ac << 4 | numbers[is_ac]]) for numbers in selected for is_ac in (0, 1)]
    distinct = tuple(dict.fromkeys(used))
    layout = np.repeat(np.array([distinct.index(spec) for spec in used], np.int64).reshape(-1, 2), blocks, axis=0)
    if len(layout) == 0 or not all(_are_codes(spec) for _, spec in distinct):
        raise _NotRegularError
    return _Scan(frozenset(components), counts[0] * counts[1], layout, distinct, interval)


def _are_codes(spec: bytes) -> bool:
    """Whether there are as many codes of each length as there can be, and a symbol for each (C.2)."""
    taken = sum(count << (16 - length) for length, count in enumerate(spec[:16], 1))
    return taken <= 1 << 16 and 16 <= len(spec) == 16 + sum(spec[:16]) <= 16 + 256


@lru_cache(maxsize=16)
def _tables_of(specs: tuple[tuple[int, bytes], ...], is_long: bool) -> _Tables:
    single, several = np.zeros((2, len(specs), 1 << _WINDOW), np.uint16)
    limits, symbols = np.zeros((len(specs), 17, 2), np.int64), np.zeros((len(specs), 256), np.uint8)
    lengths = np.empty(1 << _WINDOW, np.uint8)
    for number, (is_ac, spec) in enumerate(specs):
        source = np.frombuffer(spec, np.uint8)
        symbols[number, : len(source) - 16] = source[16:]
        _fill(source, is_ac == 1, is_long, single[number], several[number], limits[number], lengths)
    return _Tables(single.reshape(-1), several.reshape(-1), limits, symbols)


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


@kernel("void(const(uint8[::1]), boolean, boolean, uint16[::1], uint16[::1], int64[:, ::1], uint8[::1])")
def _fill(spec, is_ac, is_long, single, several, limits, lengths):
    """Make the tables of counts and symbols that are a Huffman code (C.2; `_are_codes`).

    To put several codes into an entry takes as long as to step over some kB of them.
    """
    code, place = 0, 16
    limits[0, 0] = -1
    for length in range(1, 17):
        limits[length, 0], limits[length, 1] = -1, place - 16 - code
        for _ in range(spec[length - 1]):
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
        while bits < _WINDOW and end == 0 and (is_long or bits == 0):
            window = (k << bits) & ((1 << _WINDOW) - 1)
            entry = np.int64(single[window])
            more_bits, more_steps = bits + (entry & _BITS), steps + (entry >> _STEPS_AT & _STEPS)
            is_whole = entry > 0 and bits + lengths[window] <= _WINDOW
            if not is_whole or more_bits > _MOST_BITS or more_steps > _COEFFICIENTS:
                break
            bits, steps, end = more_bits, more_steps, entry & (1 << _END_AT)
        several[k] = end | steps << _STEPS_AT | bits if bits > 0 else _NO_ENTRY


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
    "void(const(uint8[::1]), const(int64[:, ::1]), int64, int64, const(int64[:, ::1]), const(uint16[::1]), "
    "const(uint16[::1]), const(int64[:, :, ::1]), const(uint8[:, ::1]), uint8[::1], int64[:, ::1])"
)
def _count_all(source, spans, units, interval, layout, single, several, limits, symbols, scratch, answers):
    """Step over the codes of the same scan of several streams.

    spans : (n, 2) where the data of the scan begin in `source`, and where the stream ends
    layout : (blocks of a unit, 2) DC and AC table of each
    answers : (n, 3) _DONE or what is wrong; how many units are whole; bytes to the next marker, or that are left over
    """
    for k in range(len(spans)):
        data = source[spans[k, 0] : spans[k, 1]]
        answers[k, 0] = _count_units(
            data, units, interval, layout, single, several, limits, symbols, scratch, answers[k, 1:]
        )


@kernel()
def _count_units(source, units, interval, layout, single, several, limits, symbols, scratch, answer):
    done, restarts, start = np.int64(0), np.int64(0), np.int64(0)
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
