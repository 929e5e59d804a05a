"""The entropy-coded data of a JPEG as bits: kernels for the decoders of lossless JPEG and HTJ2K, and for a check.

Source: ISO 10918-1 B.1.1.5 (FF 00).
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel

__all__ = ["PADDED", "PADDING_NBYTES", "has_ff", "is_padding", "unstuff", "word"]

PADDED = 32
"""Bytes that the memory for the data must have beyond theirs: `unstuff` and `word` touch that much more."""
PADDING_NBYTES = 7
"""After the last code less than a byte of padding is due. A coder that writes whole words leaves so many bytes more of
zeros or ones; a longer run of them is what became of lost data."""
_NO_FF, _LOW_BITS, _HIGH_BITS = np.uint64(0), np.uint64(0x0101_0101_0101_0101), np.uint64(0x8080_8080_8080_8080)


@kernel()
def word(data, at):
    """64 bits, the first byte on top. LLVM makes one load and one swap of it."""
    return (
        np.uint64(data[at]) << np.uint64(56)
        | np.uint64(data[at + np.uint64(1)]) << np.uint64(48)
        | np.uint64(data[at + np.uint64(2)]) << np.uint64(40)
        | np.uint64(data[at + np.uint64(3)]) << np.uint64(32)
        | np.uint64(data[at + np.uint64(4)]) << np.uint64(24)
        | np.uint64(data[at + np.uint64(5)]) << np.uint64(16)
        | np.uint64(data[at + np.uint64(6)]) << np.uint64(8)
        | np.uint64(data[at + np.uint64(7)])
    )


@kernel()
def has_ff(eight_bytes):
    """Whether one of the bytes of a word is FF."""
    flipped = ~eight_bytes
    return (flipped - _LOW_BITS) & ~flipped & _HIGH_BITS != _NO_FF


@kernel()
def unstuff(source, first, last, scratch):
    """Copy the data up to a marker without the 00 after each FF, zeros behind them: their bytes, and where they end.

    That is `last` where there is no marker before it.
    """
    at, stop, to = np.uint64(first), np.uint64(last), np.uint64(0)
    one, eight = np.uint64(1), np.uint64(8)
    is_marker = False
    while at < stop and not is_marker:
        if at + eight < stop and not has_ff(word(source, at)):
            for k in range(eight):
                scratch[to + k] = source[at + k]
            at += eight
            to += eight
            continue
        for _ in range(8):
            if at >= stop:
                break
            byte = source[at]
            if byte == 0xFF:
                if at + one >= stop or source[at + one] != 0:
                    is_marker = True
                    break
                at += one
            scratch[to] = byte
            to += one
            at += one
    for k in range(np.uint64(PADDED // 2)):
        scratch[to + k] = 0
    return np.int64(to), np.int64(at)


@kernel()
def is_padding(scratch, first, stop):
    """Whether the bytes after the one with the last code are no more than padding."""
    if stop - first > PADDING_NBYTES:
        return False
    is_uniform = True
    for k in range(first, stop):
        is_uniform &= scratch[k] == 0 or scratch[k] == 0xFF
    return is_uniform
