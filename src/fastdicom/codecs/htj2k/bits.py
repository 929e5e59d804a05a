"""The three bit streams of a block: their stuffed bits taken out, and the events of the run-length code.

A block has, from its start, the bits of the samples (MagSgn); then, from both ends of what is left, the events (MEL)
and the codes of the quads (VLC, backwards). The last 12 bits say how long the two together are.

Source: ITU-T T.814 | ISO/IEC 15444-15, 7.1 and 7.3.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel
from fastdicom.codecs.jpeg_bits import has_ff, word

__all__ = [
    "EVENT_FACTS",
    "begin_events",
    "give_back_zeros",
    "load",
    "next_event",
    "skip_zeros",
    "unstuff_backward",
    "unstuff_forward",
]

_1, _3, _4, _7, _8, _56, _63, _64 = (np.uint64(number) for number in (1, 3, 4, 7, 8, 56, 63, 64))
_0, _15, _7F, _BYTE = np.uint64(0), np.uint64(15), np.uint64(0x7F), np.uint64(0xFF)
_HIGH_BITS = np.uint64(0x8080_8080_8080_8080)
_AT, _STOP, _BITS, _COUNT, _AFTER_FF, _STATE, _RUN, EVENT_FACTS = range(8)
"""Of a block: place in the stream; bits that were taken from it, on top; whether one is stuffed; the state of the code;
_RUN: what is left of the run, twice its zeros, and one where an event of 1 follows."""
_EXPONENTS = 0x5_4332_2211_1000
"""Table 2: log2 of the length of a run, four bits a state, the first lowest."""


@kernel()
def _swapped(word):
    """The bytes in the opposite order. LLVM makes one instruction of it."""
    swapped = _0
    for k in range(np.uint64(8)):
        swapped |= (word >> (k << _3) & _BYTE) << (_56 - (k << _3))
    return swapped


@kernel()
def load(stream, at):
    """64 bits, the first byte lowest. LLVM makes one load of it."""
    return _swapped(word(stream, at))


@kernel()
def _store(streams, at, word):
    """The opposite of `load`."""
    for k in range(np.uint64(8)):
        streams[at + k] = word >> (k << _3) & _BYTE


@kernel()
def unstuff_forward(source, first, last, streams, begin):
    """The bits of the samples, lowest first, to `streams` from byte `begin` on: a byte after FF has seven. Ones follow
    (7.1.2).

    Returns their number; -1 where a stuffed bit is set.
    """
    at, stop, to, carry, after_ff = np.uint64(first), np.uint64(last), _0, _0, _0
    while at < stop:
        if after_ff == _0 and at + _8 <= stop:
            bits = load(source, at)
            if not has_ff(bits):
                shift = to & _7
                _store(streams, begin + (to >> _3), carry | bits << shift)
                carry = bits >> _1 >> (_63 - shift)
                to += _64
                at += _8
                continue
        for _ in range(8):
            if at >= stop:
                break
            byte = np.uint64(source[at])
            at += _1
            if after_ff and byte > _7F:
                return np.int64(-1)
            shift, count = to & _7, _8 - after_ff
            bits = carry | byte << shift
            streams[begin + (to >> _3)] = bits & _BYTE
            carry = bits >> _8 if shift + count >= _8 else bits
            to += count
            after_ff = np.uint64(byte == _BYTE)
    _store(streams, begin + (to >> _3), carry | ~_0 << (to & _7))
    _store(streams, begin + (to >> _3) + _8, ~_0)
    return np.int64(to)


@kernel()
def unstuff_backward(source, first, last, streams, begin):
    """The bits of the codes, from the last byte but one on towards `first`: after a byte above 8F, one that ends in
    seven ones has only these. Zeros follow (7.1.4).

    Returns their number; -1 where a stuffed bit is set.
    """
    byte = np.uint64(source[last - 2])
    carry = byte >> _4  # the other half says how long the streams are
    if carry == _15:
        return np.int64(-1)
    to = _4 - np.uint64(carry == _7)
    is_above = (byte | _15) > np.uint64(0x8F)
    at = np.int64(last) - 3
    while at >= first:
        if at - 7 >= first:
            bits = word(source, np.uint64(at - 7))
            if not has_ff(bits | _HIGH_BITS):  # no byte ends in seven ones
                is_above = bits >> _56 > np.uint64(0x8F)
                shift = to & _7
                _store(streams, begin + (to >> _3), carry | bits << shift)
                carry = bits >> _1 >> (_63 - shift)
                to += _64
                at -= 8
                continue
        for _ in range(8):
            if at < first:
                break
            byte = np.uint64(source[at])
            at -= 1
            count = _8
            if is_above and byte & _7F == _7F:
                if byte > _7F:
                    return np.int64(-1)
                count = _7
            shift = to & _7
            bits = carry | byte << shift
            streams[begin + (to >> _3)] = bits & _BYTE
            carry = bits >> _8 if shift + count >= _8 else bits
            to += count
            is_above = byte > np.uint64(0x8F)
    _store(streams, begin + (to >> _3), carry)
    _store(streams, begin + (to >> _3) + _8, _0)
    return np.int64(to)


@kernel()
def begin_events(source, first, stop, events, row):
    """Go to the first run of a block, whose events begin at `first` and are in no byte from `stop` on."""
    for k in range(EVENT_FACTS):
        events[row, k] = 0
    events[row, _AT], events[row, _STOP] = first, stop
    events[row, _RUN] = _next_run(source, events, row)


@kernel()
def _next_run(source, events, row):
    """One code of Table 2 as what `_RUN` holds. Ones follow the last byte, whose lower half the codes may use."""
    bits, count = np.uint64(events[row, _BITS]), events[row, _COUNT]
    while count < 6:
        byte = _BYTE
        if events[row, _AT] < events[row, _STOP]:
            byte = np.uint64(source[events[row, _AT]])
            if events[row, _AT] == events[row, _STOP] - 1:
                byte |= _15
            events[row, _AT] += 1
        more = 8 - events[row, _AFTER_FF]
        bits |= byte << np.uint64(64 - more) >> np.uint64(count)
        count += more
        events[row, _AFTER_FF] = byte == _BYTE
    state = events[row, _STATE]
    exponent = _EXPONENTS >> 4 * state & 15
    if bits >> _63:
        run = 2 * ((1 << exponent) - 1)  # a run of zeros that no event of 1 ends
        events[row, _STATE] = min(state + 1, 12)
        exponent = 0
    else:
        run = 2 * (np.int64(bits >> np.uint64(63 - exponent)) & (1 << exponent) - 1) + 1
        events[row, _STATE] = max(state - 1, 0)
    events[row, _BITS], events[row, _COUNT] = np.int64(bits << np.uint64(exponent + 1)), count - exponent - 1
    return run


@kernel()
def skip_zeros(source, events, row, most):
    """Pass over events of 0, at most so many; return how many they were."""
    skipped = 0
    while skipped < most:
        run = events[row, _RUN]
        zeros = (run >> 1) + 1 - (run & 1)  # a run without an event of 1 has one more
        if zeros > most - skipped:
            events[row, _RUN] = run - 2 * (most - skipped)
            return most
        skipped += zeros
        if run & 1:
            events[row, _RUN] = 1
            return skipped
        events[row, _RUN] = _next_run(source, events, row)
    return skipped


@kernel()
def give_back_zeros(events, row, count):
    """So many events of 0 that were passed over last are ahead again."""
    events[row, _RUN] += 2 * count


@kernel()
def next_event(source, events, row):
    """Whether the next event is 1."""
    left = events[row, _RUN] - 2
    if left >= 0:
        events[row, _RUN] = left
        return False
    events[row, _RUN] = _next_run(source, events, row)
    return left == -1
