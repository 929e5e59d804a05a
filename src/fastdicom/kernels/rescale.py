"""Stored bits to modality values: mask above High Bit, sign-extend, slope and intercept, in one pass over memory.

Sources: PS3.5 8.1.1 (bits), PS3.3 C.11.1.1.2 (output units = slope * stored + intercept).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastdicom._arrays import same_memory
from fastdicom._numba import Kernel
from fastdicom.errors import ValuesError
from fastdicom.kernels import _rescale_loops as loops
from fastdicom.kernels._layout import BITS, AnyArray, as_rows, readable, row_bands, row_shape

__all__ = ["modular_numbers", "rescale", "stored_range"]

AnyDtype = np.dtype[Any]


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest value that `bits_stored` bits can hold (two's complement if `signed`)."""
    return (-(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1) if signed else (0, (1 << bits_stored) - 1)


def rescale(
    stored: AnyArray,
    bits_stored: int,
    high_bit: int,
    signed: bool,
    slope: float,
    intercept: float,
    out: AnyArray,
) -> int:
    """Write ``slope * stored + intercept`` into `out`; return how many values `out` cannot hold.

    Bits outside ``high_bit - bits_stored + 1 .. high_bit`` are ignored, whatever they hold, and `signed` decides how
    the rest is read, whatever the dtype of `stored` says.

    Parameters
    ----------
    stored : integers of 8, 16, 32 or 64 bits, or float32, float64; (rows, columns[, samples]), rows may be strided
        Stored values. For floats (Float Pixel Data) the three bit arguments are ignored.
    bits_stored, high_bit : int
        Bits Stored (0028,0101), High Bit (0028,0102).
    signed : bool
        Pixel Representation (0028,0103) is 1.
    slope, intercept : float
        Rescale Slope (0028,1053), Rescale Intercept (0028,1052).
    out : same shape; uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, float64
        May be (a view of) the memory of `stored` if the item sizes are equal.

    Returns
    -------
    int
        Count of values that did not fit and were set to the nearest that does (NaN: to 0); always 0 for float `out`.

    Notes
    -----
    Integer slope and intercept into integers: exact. Float `out`: ``stored * slope + intercept`` in float64, rounded
    once to the dtype of `out`. Else: float64, rounded half to even.

    Raises
    ------
    ValuesError
        The bit arguments do not describe a value within an element of `stored`.
    """
    if stored.shape != out.shape:
        raise ValuesError(f"rescale from shape {stored.shape} into {out.shape}: give arrays of one shape.")
    in_place = False
    if not stored.dtype.isnative:
        stored = stored.astype(stored.dtype.newbyteorder("="))
    elif np.may_share_memory(stored, out):
        in_place = same_memory(stored, out)
        stored = stored if in_place else stored.copy()
    if stored.dtype.kind == "f":
        if out.dtype.kind != "f":
            return sum(
                _round_into(stored[band].astype(np.float64) * slope + intercept, out[band])
                for band in row_bands(out.shape)
            )
        return _run(_Recipe(loops.float_float_rows, None, (float(slope), float(intercept))), stored, out, False)

    low_bit = high_bit + 1 - bits_stored
    recipe = _recipe(bits_stored, high_bit, bool(signed), float(slope), float(intercept), stored.dtype, out.dtype)
    if low_bit:  # so rare that NumPy shifts
        stored = stored.view(BITS[stored.itemsize]) >> low_bit
        in_place = False
    if recipe is not None:
        return _run(recipe, stored, out, in_place)
    if out.dtype.kind != "f" and float(slope).is_integer() and float(intercept).is_integer():
        numbers = (bits_stored, signed, int(slope), int(intercept))
        return sum(_exactly(stored[band], *numbers, out[band]) for band in row_bands(out.shape))
    if stored.itemsize == 8 and not signed:
        mask = np.uint64((1 << bits_stored) - 1)
        return sum(
            _from_uint64(stored[band].view(np.uint64) & mask, slope, intercept, out[band])
            for band in row_bands(out.shape)
        )
    misfits = 0
    for band in row_bands(out.shape):
        values = np.empty(out[band].shape, np.float64)
        rescale(stored[band], bits_stored, bits_stored - 1, signed, slope, intercept, values)
        misfits += _round_into(values, out[band])
    return misfits


def modular_numbers(
    bits_stored: int, signed: bool, slope: float, intercept: float, source: AnyDtype, target: AnyDtype
) -> AnyArray | None:
    """What `modular_in_place` takes to rescale stored values of dtype `source` where they lie, to dtype `target`.

    Returns
    -------
    (4,) unsigned integers as wide as both, or None where `rescale` would do it in another way.
    """
    if source.kind == "f" or source.itemsize != target.itemsize or not (source.isnative and target.isnative):
        return None
    recipe = _recipe(bits_stored, bits_stored - 1, signed, slope, intercept, source, target)
    return recipe.numbers[0] if recipe is not None and recipe.walk_in_place is loops.modular_in_place else None


class _Recipe(NamedTuple):
    """Which loop does it, over which unsigned view of the memory, with which numbers."""

    walk: Kernel[..., Any]
    walk_in_place: Kernel[..., Any] | None
    """A loop over one array fills vectors; one over two arrays that turn out to overlap goes element by element."""
    numbers: tuple[Any, ...]
    source_bits: AnyDtype | None = None
    target_bits: AnyDtype | None = None


@lru_cache(maxsize=1024)
def _recipe(
    bits_stored: int, high_bit: int, signed: bool, slope: float, intercept: float, source: AnyDtype, target: AnyDtype
) -> _Recipe | None:
    """The loop that gives the exact result; None where only float64 arithmetic and rounding is left."""
    width = 8 * source.itemsize
    if not (0 < bits_stored <= high_bit + 1 <= width):
        raise ValuesError(
            f"Bits Stored {bits_stored} with High Bit {high_bit} do not lie within the {width} bits of a stored value. "
            "The header contradicts itself; correct Bits Stored (0028,0101) and High Bit (0028,0102).",
            bits_stored=bits_stored,
            high_bit=high_bit,
        )
    mask = (1 << bits_stored) - 1
    sign = 1 << (bits_stored - 1) if signed else 0
    bits = BITS[source.itemsize]
    if target.kind == "f":
        if width == 64 and not signed:
            return None
        walk, size = (loops.float_rows, 4) if width <= 16 else (loops.float_wide_rows, 8)
        return _Recipe(walk, None, (_modulo(size, mask, sign), slope, intercept), bits)
    if not (slope.is_integer() and intercept.is_integer()):
        return None
    m, b = int(slope), int(intercept)
    ends = [value * m + b for value in stored_range(bits_stored, signed)]
    low, high = _limits(target)
    into = BITS[target.itemsize]
    if low <= min(ends) and max(ends) <= high:
        # Every result fits, so arithmetic modulo the width of `target` is exact and needs no wider numbers, no limits.
        numbers = _modulo(target.itemsize, mask, sign, m, b).view(into)
        return _Recipe(loops.modular_rows, loops.modular_in_place, (numbers,), bits, into)
    if width < 64 and target.itemsize < 8 and _fit(ends, 31):
        numbers = _modulo(4, mask, sign, m, b, max(low, -(1 << 31)), min(high, (1 << 31) - 1))
        return _Recipe(loops.clipped_rows, loops.clipped_in_place, (numbers,), bits, into)
    if _fit(ends, 63):
        numbers = _modulo(8, mask, sign, m, b, low, min(high, (1 << 63) - 1))
        return _Recipe(loops.clipped_wide_rows, None, (numbers,), bits, into)
    return None


def _run(recipe: _Recipe, stored: AnyArray, out: AnyArray, in_place: bool) -> int:
    shape = row_shape(stored, out)
    target = as_rows(out, shape) if out.dtype.isnative else None
    if target is None:  # memory no loop can walk: through a copy
        copy = np.empty(out.shape, out.dtype.newbyteorder("="))
        misfits = _run(recipe, stored, copy, False)
        out[...] = copy
        return misfits
    into = target.flat if recipe.target_bits is None else target.flat.view(recipe.target_bits)
    if in_place and recipe.walk_in_place is not None:
        return recipe.walk_in_place(into, target.step, *shape, *recipe.numbers) or 0
    source = readable(stored, shape)
    values = source.flat if recipe.source_bits is None else source.flat.view(recipe.source_bits)
    return recipe.walk(values, source.step, into, target.step, *shape, *recipe.numbers) or 0


def _modulo(size: int, *numbers: int) -> AnyArray:
    """`numbers` in two's complement of `size` bytes."""
    return np.array([n % (1 << (8 * size)) for n in numbers], f"u{size}").view(f"i{size}")


def _fit(ends: list[int], bits: int) -> bool:
    return min(ends) >= -(1 << bits) and max(ends) < 1 << bits


def _limits(dtype: AnyDtype) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def _exactly(stored: AnyArray, bits_stored: int, signed: bool, slope: int, intercept: int, out: AnyArray) -> int:
    """Integers that need more than 64 bits on their way: so rare that Python computes them."""
    unused = 8 * stored.itemsize - bits_stored
    values = stored.view(f"{'i' if signed else 'u'}{stored.itemsize}") << unused >> unused
    exact = values.astype(object) * slope + intercept
    low, high = _limits(out.dtype)
    fitted = np.minimum(np.maximum(exact, low), high)
    out[...] = fitted
    return int(np.count_nonzero(fitted != exact))


def _from_uint64(stored: AnyArray, slope: float, intercept: float, out: AnyArray) -> int:
    """Unsigned 64 bit values, which no signed arithmetic holds."""
    values = stored.astype(np.float64) * slope + intercept
    if out.dtype.kind == "f":
        out[...] = values
        return 0
    return _round_into(values, out)


def _round_into(values: AnyArray, out: AnyArray) -> int:
    """Rounded half to even and clipped: only where a caller forces integers onto fractions, so NumPy will do."""
    low, high = _limits(out.dtype)
    rounded = np.rint(values)
    missing = np.isnan(rounded)
    # As floats 2**63 - 1 and 2**64 - 1 round up, beyond the integer: compare with the power of two itself.
    over, under = rounded >= float(high + 1), rounded < float(low)
    rounded[missing | over | under] = 0
    out[...] = rounded.astype(out.dtype)
    out[over] = high
    out[under] = low
    return int(np.count_nonzero(missing | over | under))
