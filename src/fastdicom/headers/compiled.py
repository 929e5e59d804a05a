"""Compiled helpers of the conversion of raw values to columns: compare, strip, split and gather bytes.

None of them parses a decimal number: they cut texts out, and NumPy's cast does the rest.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel

_SPACE, _BACKSLASH = 32, 92


@kernel(
    "void(const(uint8[::1]), const(int64[::1]), const(int64[:, ::1]), const(int64[:, ::1]), int64[:, ::1],"
    " int64[:, ::1], int64[::1])"
)
def find_runs(values, rows, at, length, run_of, firsts, counts):
    """Number the runs of equal values down each column: most elements are the same in a whole series.

    ``run_of[w, i]`` becomes the run that row ``rows[i]`` is in, ``firsts[w, run]`` its first row, ``counts[w]`` how
    many there are.
    """
    for w in range(at.shape[1]):
        counts[w] = 0
    for i in range(len(rows)):
        row = rows[i]
        for w in range(at.shape[1]):
            n = length[row, w]
            same = i > 0
            if same:
                before = rows[i - 1]
                same = length[before, w] == n
                if same and n > 0:
                    a, b = at[row, w], at[before, w]
                    for k in range(n):
                        if values[a + k] != values[b + k]:
                            same = False
                            break
            if not same:
                firsts[w, counts[w]] = row
                counts[w] += 1
            run_of[w, i] = counts[w] - 1


@kernel(
    "int64(const(uint8[::1]), const(int64[::1]), int64, const(int64[:, ::1]), const(int64[:, ::1]), int64[::1],"
    " int64[::1])"
)
def strip_texts(values, rows, column, at, length, starts, counts):
    """Place of each text without its padding; returns the longest's bytes."""
    width = 0
    for i in range(len(rows)):
        start, n = at[rows[i], column], max(length[rows[i], column], 0)
        while n > 0 and (values[start + n - 1] == 0 or values[start + n - 1] == _SPACE):
            n -= 1
        while n > 0 and values[start] == _SPACE:
            start += 1
            n -= 1
        starts[i], counts[i] = start, n
        width = max(width, n)
    return width


@kernel(
    "int64(const(uint8[::1]), const(int64[::1]), int64, const(int64[:, ::1]), const(int64[:, ::1]), int64,"
    " int64[::1], int64[::1])"
)
def split_numbers(values, rows, column, at, length, wanted, starts, counts):
    """Place of the first `wanted` numbers of each multi-valued text (PS3.5 6.4), without padding.

    Returns the longest's bytes, or -1 where a character is met that is in no decimal number.
    """
    width = 0
    for i in range(len(rows)):
        start = at[rows[i], column]
        end = start + max(length[rows[i], column], 0)
        for k in range(wanted):
            stop = start
            while stop < end and values[stop] != _BACKSLASH:
                stop += 1
            a, b = start, stop
            while b > a and (values[b - 1] == 0 or values[b - 1] == _SPACE):
                b -= 1
            while a < b and values[a] == _SPACE:
                a += 1
            for m in range(a, b):
                c = values[m]
                if not (48 <= c <= 57 or c == 43 or c == 45 or c == 46 or c == 69 or c == 101):
                    return -1
            starts[i * wanted + k], counts[i * wanted + k] = a, b - a
            width = max(width, b - a)
            start = min(stop + 1, end)
    return width


@kernel("int64(const(uint8[::1]), const(int64[::1]), const(int64[::1]), int64, int64[::1], int64[::1])")
def distinct_texts(values, starts, counts, wanted, text_of, firsts):
    """Number the runs of equal texts down each of `wanted` components: the first two coordinates of axial slices, say.

    ``text_of[i]`` becomes the distinct text that text i is, ``firsts`` the first of each; returns how many there are.
    """
    found = 0
    for i in range(len(starts)):
        same = i >= wanted and counts[i] == counts[i - wanted]
        if same:
            for k in range(counts[i]):
                if values[starts[i] + k] != values[starts[i - wanted] + k]:
                    same = False
                    break
        if same:
            text_of[i] = text_of[i - wanted]
        else:
            firsts[found] = i
            text_of[i] = found
            found += 1
    return found


@kernel("boolean(const(uint8[::1]), const(int64[::1]), const(int64[::1]), int64, int64[::1])")
def plain_integers(values, starts, counts, missing, out):
    """Integers of nine digits or fewer, `missing` where there is none; False if a text is anything else."""
    for i in range(len(starts)):
        a, n = starts[i], counts[i]
        sign = np.int64(1)
        if n > 0 and (values[a] == 43 or values[a] == 45):
            sign = 44 - np.int64(values[a])
            a += 1
            n -= 1
            if n == 0:
                return False
        if n > 9:
            return False
        number = np.int64(0)
        for k in range(a, a + n):
            if values[k] < 48 or values[k] > 57:
                return False
            number = number * 10 + np.int64(values[k]) - 48
        out[i] = sign * number if counts[i] > 0 else missing
    return True


@kernel("void(const(uint8[::1]), const(int64[::1]), const(int64[::1]), uint8[:, ::1])")
def gather(values, starts, counts, out):
    """Copy texts into the rows of `out`, which is zero."""
    for i in range(len(starts)):
        for k in range(counts[i]):
            out[i, k] = values[starts[i] + k]


@kernel(
    "void(const(uint8[::1]), const(int64[::1]), int64, const(int64[:, ::1]), const(int64[:, ::1]), int64,"
    " uint8[:, ::1], int64[::1])"
)
def gather_binary(values, rows, column, at, length, size, out, present):
    """Copy the leading whole numbers of `size` bytes into the rows of `out`; ``present[i]`` becomes how many."""
    for i in range(len(rows)):
        n = min(max(length[rows[i], column], 0), out.shape[1]) // size
        present[i] = n
        for k in range(n * size):
            out[i, k] = values[at[rows[i], column] + k]
