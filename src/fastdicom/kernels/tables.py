"""One lookup for every function of one stored value: Modality LUT, VOI LUT, window, palette, and any chain of them.

A value of 8 or 16 bits has at most 65536 different containers. Whatever is to be done to it is done once to each of
them, in NumPy, as the standard writes it; the image is then one compiled lookup, whatever the function costs.

Sources: PS3.3 C.11.1.1.1 (Modality LUT), C.11.2.1.1 (VOI LUT), C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9 (palettes).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.errors import ValuesError
from fastdicom.kernels._layout import BITS, AnyArray, as_rows, readable, row_bands, row_shape

__all__ = ["apply_lut", "apply_table", "container_values", "expand_segmented_palette", "lut_at", "palette_rgb"]

MAX_PALETTE = 1 << 16
"""Entries; the descriptor cannot express more."""


def container_values(dtype: np.dtype[Any], bits_stored: int, high_bit: int, signed: bool) -> NDArray[np.int32]:
    """The stored value that each bit pattern of an 8 or 16 bit container means.

    Returns
    -------
    (256,) or (65536,) int32, indexed by the container read as unsigned.
    """
    width = 8 * dtype.itemsize
    if width > 16 or not 0 < bits_stored <= high_bit + 1 <= width:
        raise ValuesError(
            f"Bits Stored {bits_stored} with High Bit {high_bit} in a container of {width} bits cannot be tabulated. "
            "Correct Bits Stored (0028,0101) and High Bit (0028,0102).",
            bits_stored=bits_stored,
            high_bit=high_bit,
        )
    values = (np.arange(1 << width, dtype=np.int32) >> (high_bit + 1 - bits_stored)) & ((1 << bits_stored) - 1)
    sign = 1 << (bits_stored - 1) if signed else 0
    return ((values ^ sign) - sign).astype(np.int32)


def lut_at(values: AnyArray, first_mapped: int, lut: AnyArray) -> AnyArray:
    """`lut` at `values`: below the first mapped value its first entry, beyond its end the last one.

    Parameters
    ----------
    values : integers, any shape
    first_mapped : int
        Second value of LUT Descriptor (0028,3002).
    lut : (n,) or (n, 3)

    Returns
    -------
    values.shape + lut.shape[1:], dtype of `lut`
    """
    if len(lut) == 0:
        raise ValuesError(
            "A lookup table has no entries. LUT Data (0028,3006) or the palette data is empty; repair it."
        )
    index = np.clip(values.astype(np.int64) - first_mapped, 0, len(lut) - 1)
    return lut[index]


def apply_lut(values: AnyArray, first_mapped: int, lut: AnyArray, out: AnyArray) -> None:
    """Modality or VOI LUT Sequence: write ``lut[values - first_mapped]``, clamped at both ends, into `out`.

    Parameters
    ----------
    values : integers, any shape; rows may be strided
        Exact in every bit (stored values with rubbish above High Bit: see :func:`apply_table`).
    first_mapped : int
        Second value of LUT Descriptor (0028,3002), read with the sign that Pixel Representation gives it.
    lut : (n,) of the dtype of `out`
        LUT Data (0028,3006).
    """
    if values.itemsize > 2:
        for band in row_bands(values.shape):
            out[band] = lut_at(values[band], first_mapped, lut)
        return
    width = 8 * values.itemsize
    domain = container_values(values.dtype, width, width - 1, values.dtype.kind == "i")
    apply_table(values, lut_at(domain, first_mapped, lut), out)


def apply_table(stored: AnyArray, table: AnyArray, out: AnyArray) -> None:
    """Write ``table[container]`` for each 8 or 16 bit container of `stored` into `out`.

    Parameters
    ----------
    stored : 8 or 16 bit integers, any shape; rows may be strided
    table : (256,) or (65536,), or the same by 3 for colours
        What each container means: a function of :func:`container_values`.
    out : stored.shape, or stored.shape + (3,) uint8 for colours; dtype of `table`
    """
    entries = 1 << (8 * stored.itemsize)
    if stored.itemsize > 2 or len(table) != entries or table.dtype != out.dtype:
        raise ValuesError(
            f"A table of {len(table)} {table.dtype.name} does not map {stored.dtype.name} to {out.dtype.name}: give "
            f"{entries} entries (8 and 16 bit integers only) of the output's dtype."
        )
    if table.ndim == 2:
        _apply_colours(stored, np.ascontiguousarray(table), out)
        return
    if out.shape != stored.shape:
        raise ValuesError(f"A lookup from shape {stored.shape} into {out.shape}: give arrays of one shape.")
    shape = row_shape(stored, out)
    target = as_rows(out, shape)
    if target is None or not out.dtype.isnative or np.may_share_memory(stored, out):
        copy = np.empty(out.shape, out.dtype.newbyteorder("="))
        apply_table(stored, table.astype(copy.dtype), copy)
        out[...] = copy
        return
    source = readable(stored, shape)
    bits = BITS[out.itemsize]
    values = source.flat.view(BITS[stored.itemsize])
    _table_rows(
        values, source.step, np.ascontiguousarray(table).view(bits), target.flat.view(bits), target.step, *shape
    )


def _apply_colours(stored: AnyArray, table: AnyArray, out: AnyArray) -> None:
    if out.shape != (*stored.shape, 3) or table.shape[1] != 3 or out.dtype != np.uint8:
        raise ValuesError(
            f"A colour table of shape {table.shape} maps {stored.shape} to {(*stored.shape, 3)} uint8, not to "
            f"{out.shape} {out.dtype.name}."
        )
    if not out.flags.c_contiguous or np.may_share_memory(stored, out):
        copy = np.empty(out.shape, np.uint8)
        _apply_colours(stored, table, copy)
        out[...] = copy
        return
    flat = np.ascontiguousarray(stored.astype(stored.dtype.newbyteorder("="), copy=False)).reshape(-1)
    _colour_rows(flat.view(BITS[stored.itemsize]), table, out.reshape(-1, 3))


@kernel(
    [
        f"void(const({a}[::1]), intp, const({b}[::1]), {b}[::1], intp, intp, intp)"
        for a in ("uint16", "uint8")
        for b in ("uint8", "uint16", "uint32", "uint64")
    ],
    warm=1,
)
def _table_rows(  # type: ignore[no-untyped-def]
    source, source_step, table, target, target_step, rows, columns
):
    for row in range(rows):
        values = source[row * source_step : row * source_step + columns]
        results = target[row * target_step : row * target_step + columns]
        for i in range(columns):
            results[i] = table[values[i]]


@kernel([f"void(const({a}[::1]), const(uint8[:, ::1]), uint8[:, ::1])" for a in ("uint8", "uint16")], warm=0)
def _colour_rows(source, table, target):  # type: ignore[no-untyped-def]
    for i in range(source.size):
        colour = np.intp(source[i])
        target[i, 0] = table[colour, 0]
        target[i, 1] = table[colour, 1]
        target[i, 2] = table[colour, 2]


def palette_rgb(channels: Sequence[AnyArray], bits_per_entry: int) -> NDArray[np.uint8]:
    """Red, green and blue palettes as one (n, 3) uint8 table.

    Parameters
    ----------
    channels : three (n,) uint8 or uint16
        Red, Green, Blue Palette Color Lookup Table Data (0028,1201) to (0028,1203), expanded if segmented.
    bits_per_entry : int
        Third value of the descriptor: entries of 16 bits are cut to their upper 8 (``>> 8``), entries of 8 bits are
        taken as they are, also where each lies in a 16 bit word.
    """
    lengths = {len(channel) for channel in channels}
    if len(channels) != 3 or len(lengths) != 1 or 0 in lengths:
        raise ValuesError(
            f"The palette has {len(channels)} channels of {sorted(lengths)} entries; three of equal length are needed. "
            "Repair the Palette Color Lookup Table Data, or load values='stored' (palette indices)."
        )
    table = np.stack([np.asarray(channel) for channel in channels], axis=1)
    if table.itemsize > 1 and bits_per_entry > 8:
        table = table >> 8
    return np.ascontiguousarray(table.astype(np.uint8))


def expand_segmented_palette(data: AnyArray) -> AnyArray:
    """Expand Segmented Palette Color Lookup Table Data (0028,1221) and following.

    Parameters
    ----------
    data : (m,) uint8 or uint16
        Discrete (0), linear (1) and indirect (2) segments. The offset of an indirect segment counts bytes.

    Returns
    -------
    (n,) of the same dtype, n at most 65536

    Raises
    ------
    ValuesError
        Unknown opcode, a segment beyond the end of the data, an indirect segment that points to another one, more than
        65536 entries.

    Source: PS3.3 C.7.9.2.
    """
    words = [int(word) for word in data]
    out: list[int] = []
    _expand(words, 0, None, 8 * data.itemsize, out)
    return np.array(out, data.dtype)


def _expand(words: list[int], at: int, segments: int | None, width: int, out: list[int]) -> None:
    """Append `segments` of them (None: all, and indirect ones are allowed) from word `at` on."""
    nested = segments is not None
    # A single word at the end is padding: no segment is shorter than two.
    while (at + 1 < len(words)) if segments is None else segments > 0:
        opcode, length = _take(words, at, 2)
        at += 2
        if opcode == 0 and (length or not nested):  # zeros may pad the end; nested they could go on for ever
            out.extend(_take(words, at, length))
            at += length
        elif opcode == 1 and out and length:
            (end,) = _take(words, at, 1)
            at += 1
            start = out[-1]
            # The standard leaves the rounding open; this is pydicom's, to the last bit.
            line = np.linspace(start + (end - start) / length, end, length)
            out.extend(np.rint(line).astype(int).tolist())
        elif opcode == 2 and not nested and out:
            size = 32 // width
            parts = _take(words, at, size)
            at += size
            offset = sum(part << (width * i) for i, part in enumerate(parts))
            _expand(words, offset * 8 // width, length, width, out)
        else:
            raise _broken(f"a segment of type {opcode} and length {length} where none can be", at)
        if len(out) > MAX_PALETTE:
            raise _broken(f"more than {MAX_PALETTE} entries", at)
        if segments is not None:
            segments -= 1


def _take(words: list[int], at: int, count: int) -> list[int]:
    if at + count > len(words):
        raise _broken(f"a segment that ends at word {at + count} of {len(words)}", at)
    return words[at : at + count]


def _broken(what: str, at: int) -> ValuesError:
    return ValuesError(
        f"Segmented palette data has {what} (word {at}). Repair the Segmented Palette Color Lookup Table Data, or load "
        "values='stored' (palette indices).",
        word=at,
    )
