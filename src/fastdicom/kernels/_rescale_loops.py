"""The compiled loops of :mod:`fastdicom.kernels.rescale`.

All walk ``rows`` x ``columns`` of flat memory and return the count of values that did not fit, where that can happen.
Rows are cut out as slices because an index of which LLVM cannot see that it is not negative prevents vectors, and
narrow numbers come in as arrays because Numba widens every sum to int64: from a cast LLVM can narrow it again.
"""

from __future__ import annotations

import numpy as np

from fastdicom._numba import kernel

_PAIRS = [(2, 2), (1, 1), (1, 2), (2, 4), (2, 1), (4, 2), (4, 4), (4, 1), (1, 4)]
_PAIRS_64 = [(size, 8) for size in (1, 2, 4, 8)] + [(8, size) for size in (1, 2, 4)]
_ROWS = "const(uint{}[::1]), intp, uint{}[::1], intp, intp, intp"


@kernel()
def _modular_value(bits, mask, sign, slope, intercept):  # type: ignore[no-untyped-def]
    return (((bits & mask) ^ sign) - sign) * slope + intercept


@kernel(
    [f"void({_ROWS.format(8 * a, 8 * b)}, const(uint{8 * b}[::1]))" for a, b in _PAIRS + _PAIRS_64],
    warm=1,
)
def modular_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, numbers
):
    mask, sign, slope, intercept = numbers[0], numbers[1], numbers[2], numbers[3]
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            results[i] = _modular_value(values[i], mask, sign, slope, intercept)


@kernel([f"void(uint{n}[::1], intp, intp, intp, const(uint{n}[::1]))" for n in (16, 8, 32, 64)], warm=1)
def modular_in_place(array, step, rows, columns, numbers):  # type: ignore[no-untyped-def]
    mask, sign, slope, intercept = numbers[0], numbers[1], numbers[2], numbers[3]
    for row in range(rows):
        values = array[row * step : row * step + columns]
        for i in range(columns):
            values[i] = _modular_value(values[i], mask, sign, slope, intercept)


@kernel()
def _value(bits, mask, sign):  # type: ignore[no-untyped-def]
    return np.int32(np.int32(np.int32(np.int32(bits) & mask) ^ sign) - sign)


@kernel([f"int64({_ROWS.format(8 * a, 8 * b)}, const(int32[::1]))" for a, b in _PAIRS], warm=1)
def clipped_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, numbers
):
    mask, sign, slope, intercept = numbers[0], numbers[1], numbers[2], numbers[3]
    low, high = numbers[4], numbers[5]
    misfits = np.int64(0)
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        beyond = np.int32(0)
        for i in range(columns):
            value = np.int32(np.int32(_value(values[i], mask, sign) * slope) + intercept)
            fitted = min(max(value, low), high)
            beyond = np.int32(beyond + np.int32(fitted != value))
            results[i] = fitted
        misfits += beyond
    return misfits


@kernel([f"int64(uint{n}[::1], intp, intp, intp, const(int32[::1]))" for n in (16, 8, 32)], warm=1)
def clipped_in_place(array, step, rows, columns, numbers):  # type: ignore[no-untyped-def]
    mask, sign, slope, intercept = numbers[0], numbers[1], numbers[2], numbers[3]
    low, high = numbers[4], numbers[5]
    misfits = np.int64(0)
    for row in range(rows):
        values = array[row * step : row * step + columns]
        beyond = np.int32(0)
        for i in range(columns):
            value = np.int32(np.int32(_value(values[i], mask, sign) * slope) + intercept)
            fitted = min(max(value, low), high)
            beyond = np.int32(beyond + np.int32(fitted != value))
            values[i] = fitted
        misfits += beyond
    return misfits


@kernel(
    [f"int64({_ROWS.format(8 * a, 8 * b)}, const(int64[::1]))" for a in (4, 8, 1, 2) for b in (1, 2, 4, 8)],
    warm=0,
)
def clipped_wide_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, numbers
):
    mask, sign, slope, intercept = numbers[0], numbers[1], numbers[2], numbers[3]
    low, high = numbers[4], numbers[5]
    misfits = np.int64(0)
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            value = (((np.int64(values[i]) & mask) ^ sign) - sign) * slope + intercept
            fitted = min(max(value, low), high)
            misfits += np.int64(fitted != value)
            results[i] = fitted
    return misfits


_FLOAT_ROWS = "const({}[::1]), intp, float{}[::1], intp, intp, intp"


@kernel(
    [
        f"void({_FLOAT_ROWS.format(a, b)}, const(int32[::1]), float64, float64)"
        for b in (32, 64)
        for a in ("uint16", "uint8")
    ],
    warm=1,
)
def float_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, numbers, slope, intercept
):
    mask, sign = numbers[0], numbers[1]
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            results[i] = np.float64(_value(values[i], mask, sign)) * slope + intercept


@kernel(
    [
        f"void({_FLOAT_ROWS.format(a, b)}, const(int64[::1]), float64, float64)"
        for b in (32, 64)
        for a in ("uint32", "uint64")
    ],
    warm=0,
)
def float_wide_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, numbers, slope, intercept
):
    mask, sign = numbers[0], numbers[1]
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            results[i] = np.float64(((np.int64(values[i]) & mask) ^ sign) - sign) * slope + intercept


@kernel(
    [f"void({_FLOAT_ROWS.format(a, b)}, float64, float64)" for a in ("float32", "float64") for b in (32, 64)],
    warm=0,
)
def float_float_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, slope, intercept
):
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            results[i] = np.float64(values[i]) * slope + intercept
