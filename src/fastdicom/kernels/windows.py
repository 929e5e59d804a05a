"""Display windows to 8 bits: LINEAR, LINEAR_EXACT and SIGMOID as PS3.3 C.11.2.1.2 and C.11.2.1.3 write them.

Rounding: the formula is evaluated in float64 with the output range 0..255, then rounded half to even. NaN becomes 0.
MONOCHROME1 shows the smallest value white: 255 minus that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.errors import ValuesError
from fastdicom.kernels._layout import BITS, AnyArray, as_rows, readable, row_bands, row_shape
from fastdicom.kernels.tables import apply_table, container_values

__all__ = ["FUNCTIONS", "auto_window", "check_window", "lut_to_display", "to_display", "window", "window_at"]

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""Defined terms of VOI LUT Function (0028,1056)."""

_HISTOGRAM_BINS = 1 << 16


def check_window(center: float, width: float, function: str) -> None:
    """Raise ValuesError if PS3.3 does not define this window."""
    if function not in FUNCTIONS:
        raise ValuesError(
            f"VOI LUT Function {function!r} is not one of {', '.join(FUNCTIONS)}. Pass window=(center, width)."
        )
    smallest = 1.0 if function == "LINEAR" else 0.0
    enough = width >= smallest if function == "LINEAR" else width > smallest
    if not (enough and np.isfinite(center) and np.isfinite(width)):
        raise ValuesError(
            f"Window center {center:g}, width {width:g} is not defined for {function}, whose width must be "
            f"{'at least 1' if function == 'LINEAR' else 'above 0'}. Pass window=(center, width), or window='auto'.",
            center=center,
            width=width,
            function=function,
        )


def window_at(values: AnyArray, center: float, width: float, function: str = "LINEAR") -> NDArray[np.float64]:
    """The window at `values`, before rounding: float64 in 0..255, any shape.

    Source: PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID), C.11.2.1.3.2 (LINEAR_EXACT).
    """
    check_window(center, width, function)
    x = values.astype(np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp() of a far value is infinite, 255 / infinity is 0
            shaded: NDArray[np.float64] = 255.0 / (1.0 + np.exp(-4.0 * (x - center) / width))
        return shaded
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    y = np.full(x.shape, np.nan)
    y[x <= center - width / 2] = 0.0
    y[x > center + width / 2] = 255.0
    between = (x > center - width / 2) & (x <= center + width / 2)
    if width:
        y[between] = ((x[between] - center) / width + 0.5) * 255.0
    return y


def window(
    values: AnyArray, center: float, width: float, function: str, out: NDArray[np.uint8], *, inverted: bool = False
) -> None:
    """Write the window of `values` into `out`.

    Parameters
    ----------
    values : integers or floats, any shape; rows may be strided
        Modality values, exact in every bit.
    center, width : float, in the units of `values`
    function : ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``
    out : same shape, uint8
    inverted : bool
        MONOCHROME1 (or Presentation LUT Shape INVERSE).

    Raises
    ------
    ValuesError
        The window is not defined.
    """
    if out.dtype != np.uint8 or out.shape != values.shape:
        raise ValuesError(
            f"A window over {values.shape} values gives {values.shape} uint8, not {out.shape} {out.dtype.name}."
        )
    if values.dtype.kind in "iu" and values.itemsize <= 2:
        dtype = values.dtype.newbyteorder("=")
        apply_table(
            values.astype(dtype, copy=False), _table(float(center), float(width), function, inverted, dtype), out
        )
        return
    if function == "SIGMOID" or values.dtype.kind in "iu" or values.itemsize not in (4, 8):
        for band in row_bands(out.shape):
            out[band] = to_display(window_at(values[band], center, width, function), inverted=inverted)
        return
    check_window(center, width, function)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    shape = row_shape(values, out)
    target = as_rows(out, shape)
    copy = None if target is not None else np.empty(out.shape, np.uint8)
    flat, step = target if target is not None else (copy.reshape(-1), shape[1])  # type: ignore[union-attr]
    _linear_rows(*readable(values, shape), flat, step, *shape, float(center), float(width), 255 if inverted else 0)
    if copy is not None:
        out[...] = copy


def to_display(values: AnyArray, *, inverted: bool = False) -> NDArray[np.uint8]:
    """float64 in 0..255 (NaN: 0) to uint8, rounded half to even."""
    rounded: NDArray[np.uint8] = np.rint(np.nan_to_num(values, nan=0.0)).astype(np.uint8)
    return 255 - rounded if inverted else rounded


def lut_to_display(lut: AnyArray, bits_per_entry: int, *, inverted: bool = False) -> NDArray[np.uint8]:
    """VOI LUT Data (0028,3006) of `bits_per_entry` bits (third value of its descriptor), scaled to 0..255."""
    top = (1 << bits_per_entry) - 1
    return to_display(np.minimum(lut, top).astype(np.float64) * (255.0 / top), inverted=inverted)


@lru_cache(maxsize=32)
def _table(center: float, width: float, function: str, inverted: bool, dtype: np.dtype[Any]) -> NDArray[np.uint8]:
    bits = 8 * dtype.itemsize
    domain = container_values(dtype, bits, bits - 1, dtype.kind == "i")
    table = to_display(window_at(domain, center, width, function), inverted=inverted)
    table.flags.writeable = False
    return table


@kernel(
    [
        f"void(const({a}[::1]), intp, uint8[::1], intp, intp, intp, float64, float64, uint8)"
        for a in ("float32", "float64")
    ],
    warm=0,
)
def _linear_rows(  # type: ignore[no-untyped-def]
    source, source_step, target, target_step, rows, columns, center, width, flip
):
    low = center - width / 2
    high = center + width / 2
    divisor = width if width > 0 else 1.0
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            x = np.float64(values[i])
            y = np.rint(((x - center) / divisor + 0.5) * 255.0)
            y = y if x > low else 0.0  # also for NaN
            y = 255.0 if x > high else y
            results[i] = np.uint8(np.int32(y)) ^ flip


def auto_window(
    values: AnyArray | Iterable[AnyArray],
    *,
    padding: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (1.0, 99.0),
) -> tuple[float, float]:
    """Center and width (for LINEAR_EXACT) that span the percentiles of `values`.

    Parameters
    ----------
    values : 8 or 16 bit integers, 32 bit integers or floats, any shape; or several such arrays of one dtype
        Several may be anything that can be walked twice (a list, not a generator), and only one is held at a time.
    padding : (low, high), inclusive
        Values in this range, and NaN and infinities, do not count.

    Returns
    -------
    (center, width) : float
        Exact percentiles (smallest value below or at which that share lies) for 8 and 16 bit integers; others within
        1/65536 of the range of the values. The width is at least 1 for integers, above 0 for floats.

    Raises
    ------
    ValuesError
        Nothing but padding.
    """
    levels, counts = _histogram([values] if isinstance(values, np.ndarray) else values, padding)
    cumulative = np.cumsum(counts)
    total = int(cumulative[-1]) if len(cumulative) else 0
    if total == 0:
        raise ValuesError(
            "No pixel holds a value (all are padding or NaN), so there is no window='auto'. Pass a window."
        )
    ranks = [max(1, int(np.ceil(total * share / 100.0))) for share in percentiles]
    low, high = (float(levels[np.searchsorted(cumulative, rank)]) for rank in ranks)
    if high <= low:
        return low, 1.0
    return (low + high) / 2.0, high - low


def _histogram(parts: Iterable[AnyArray], padding: tuple[float, float] | None) -> tuple[AnyArray, NDArray[np.int64]]:
    """Ascending levels and how many values there are of each, padding left out."""
    counts = np.zeros(0, np.int64)
    low, high, total = np.inf, -np.inf, 0
    dtype = np.dtype(np.uint8)
    for part in parts:
        dtype = part.dtype
        if dtype.kind in "iu" and dtype.itemsize <= 2:
            counts = counts if len(counts) else np.zeros(1 << 8 * dtype.itemsize, np.int64)
            shape = row_shape(part)
            source = readable(part, shape)
            _count_rows(source.flat.view(BITS[dtype.itemsize]), source.step, *shape, counts)
            continue
        for kept in _kept(part, padding):
            total += kept.size
            low, high = min(low, float(kept.min())), max(high, float(kept.max()))
    if len(counts):
        half = len(counts) // 2 if dtype.kind == "i" else 0  # counted by their bits: the negative ones come last
        levels, counts = np.arange(-half, len(counts) - half), np.roll(counts, half)
        if padding is not None:
            counts[(levels >= padding[0]) & (levels <= padding[1])] = 0
        return levels, counts
    if high <= low:
        return np.array([low]), np.array([total], np.int64)
    counts, edges = np.zeros(_HISTOGRAM_BINS, np.int64), np.zeros(1)
    for part in parts:
        for kept in _kept(part, padding):
            found, edges = np.histogram(kept, bins=_HISTOGRAM_BINS, range=(low, high))
            counts += found
    return edges[:-1], counts


def _kept(values: AnyArray, padding: tuple[float, float] | None) -> Iterator[AnyArray]:
    """The values that count, some rows at a time."""
    rows = values.reshape(-1, *values.shape[-1:])
    for band in row_bands(rows.shape):
        kept = rows[band][np.isfinite(rows[band])] if values.dtype.kind == "f" else rows[band].reshape(-1)
        if padding is not None:
            kept = kept[(kept < padding[0]) | (kept > padding[1])]
        if kept.size:
            yield kept


@kernel([f"void(const({a}[::1]), intp, intp, intp, int64[::1])" for a in ("uint16", "uint8")], warm=0)
def _count_rows(source, source_step, rows, columns, counts):  # type: ignore[no-untyped-def]
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        for i in range(columns):
            counts[values[i]] += 1
