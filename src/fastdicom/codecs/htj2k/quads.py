"""Which samples are significant, and how large their exponents may be: the first of two steps that decode a block.

Where the time goes: a code is known only when the one before it is, so each look into a table waits for the last. The
quads of two blocks are decoded in turn, which hides half of that wait.

Source: ITU-T T.814 | ISO/IEC 15444-15, 7.3.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel
from fastdicom.codecs.htj2k.bits import give_back_zeros, load, next_event, skip_zeros
from fastdicom.codecs.htj2k.tables import CONTEXTS, ESCAPE, WINDOW, amounts_of

__all__ = ["decode_quads", "row_length"]

_0, _1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(number) for number in range(9))
_9, _16, _48, _ALL = np.uint64(9), np.uint64(16), np.uint64(48), ~np.uint64(0)
_FOUR_BITS, _EIGHT_BITS = np.uint64(15), np.uint64(255)
_CODE, _CONTEXT, _ESCAPE = np.uint64((1 << WINDOW) - 1), np.uint64((CONTEXTS - 1) << WINDOW), np.uint64(ESCAPE)
_SIX_BITS, _10 = np.uint64(63), np.uint64(10)
_OTHER_ROWS = np.uint64(CONTEXTS << WINDOW)
# With the type of a variable, or Numba compiles a helper anew for each number that it is called with.
_FIRST, _SECOND = np.int64(0), np.int64(1)


@kernel()
def row_length(quads):
    """Places of a row of quads in memory: one before it, and one or two behind it, stay zero."""
    return ((quads + 1) & ~1) + 2


@kernel(inline=True)
def _contexts_from_above(found, row, above, quads, contexts):
    """What the row of quads above adds to the context of each (equation 2)."""
    for quad in range(quads + _1):
        at = above + quad
        west = found[row, at - _1] >> _48 | found[row, at] >> _16
        east = found[row, at] >> _48 | found[row, at + _1] >> _16
        contexts[row, quad] = (west & _1) << _7 | (east & _1) << _9


@kernel()
def _skip_pairs(source, events, contexts, quads):
    """Pairs at the start of a row that are insignificant in both blocks: nothing is read for them but events of 0."""
    quad = np.uint64(0)
    while quad < quads and contexts[0, quad] | contexts[1, quad] == _0:
        quad += _1
    if quad == _0:
        return _0
    first = skip_zeros(source, events, _FIRST, np.int64(quad))
    second = skip_zeros(source, events, _SECOND, np.int64(quad))
    least = min(first, second)
    pairs = (quads + _1) >> _1 if least == np.int64(quads) else np.uint64(least >> 1)
    used = min(np.int64(pairs << _1), np.int64(quads))
    give_back_zeros(events, _FIRST, first - used)
    give_back_zeros(events, _SECOND, second - used)
    return pairs


@kernel(inline=True)
def _decode_pair(source, streams, begin, at, left, first, second, keep, tables, table, amounts, events, block):
    """A pair of quads, whose code begins at bit `at` of the stream that begins at byte `begin`.

    left : entry of the quad before them; first, second : what the row above adds to their contexts
    keep : all ones, or zero where the second is beyond the block
    Returns the place of the next code, both entries, both amounts.
    """
    bits = load(streams, begin + (at >> _3)) >> (at & _7)
    context = left & _CONTEXT | first
    one = tables[table + (context | bits & _CODE)]
    if context == _0 and not next_event(source, events, block):
        one = _0
    used = one >> _3 & _7
    bits >>= used
    context = one & _CONTEXT | second
    two = tables[table + (context | bits & _CODE)] & keep
    if context == _0 and keep != _0 and not next_event(source, events, block):
        two = _0
    more = two >> _3 & _7
    bits >>= more
    mode = one >> _6 & _1 | two >> _5 & _2
    entry = np.uint64(amounts[mode << _8 | bits & _EIGHT_BITS])
    last, of_one, of_two = entry & _FOUR_BITS, entry >> _4 & _SIX_BITS, entry >> _10
    if last == _ESCAPE or (table == _0 and mode == _3):
        is_first = table == _0
        event = is_first and mode == _3 and next_event(source, events, block)
        last, of_one, of_two = amounts_of(bits, np.int64(mode), is_first, event)
    return at + used + more + last, one, two, of_one, of_two


@kernel()
def decode_quads(
    source, streams, first_codes, second_codes, quads, rows, tables, amounts, events, contexts, found, sizes
):
    """Entries of all quads of two blocks of one size in `found`, their amounts in `sizes`; return the bits they take.

    first_codes, second_codes : uint64, bytes of `streams` where the codes of each begin
    contexts : (2, n) uint64, memory
    found, sizes : (2, n) uint64, a block a row; a row of quads begins at ``(1 + number) * row_length(quads) + 1``
    """
    stride, pairs, at, other_at = np.uint64(row_length(quads)), np.uint64((quads + 1) >> 1), _0, _0
    last = _0 if quads & 1 else _ALL
    for number in range(np.uint64(rows)):
        place = (number + _1) * stride + _1
        table = _OTHER_ROWS if number else _0
        _contexts_from_above(found, _FIRST, place - stride, np.uint64(quads), contexts)
        _contexts_from_above(found, _SECOND, place - stride, np.uint64(quads), contexts)
        two, other_two = _0, _0
        skipped = _skip_pairs(source, events, contexts, np.uint64(quads))
        for empty in range(place, place + (skipped << _1)):
            for block in range(2):
                found[block, empty] = sizes[block, empty] = _0
        for pair in range(skipped, pairs):
            quad = pair << _1
            keep = last if pair == pairs - _1 else _ALL
            first, second = contexts[0, quad], contexts[0, quad + _1]
            at, one, two, of_one, of_two = _decode_pair(
                source, streams, first_codes, at, two, first, second, keep, tables, table, amounts, events, _FIRST
            )
            first, second = contexts[1, quad], contexts[1, quad + _1]
            other_at, other_one, other_two, of_other_one, of_other_two = _decode_pair(
                source,
                streams,
                second_codes,
                other_at,
                other_two,
                first,
                second,
                keep,
                tables,
                table,
                amounts,
                events,
                _SECOND,
            )
            found[0, place + quad], found[0, place + quad + _1] = one, two
            sizes[0, place + quad], sizes[0, place + quad + _1] = of_one, of_two
            found[1, place + quad], found[1, place + quad + _1] = other_one, other_two
            sizes[1, place + quad], sizes[1, place + quad + _1] = of_other_one, of_other_two
    return np.int64(at), np.int64(other_at)
