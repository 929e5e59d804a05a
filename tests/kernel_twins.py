"""What each compiled kernel computes, in the plainest NumPy: the specification of tests and benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]


def stored_values(stored: AnyArray, bits_stored: int, high_bit: int, signed: bool) -> AnyArray:
    """The values in the containers, as Python-sized integers where 64 bits might not do."""
    bits = stored.view(f"u{stored.itemsize}").astype(np.uint64)
    values = (bits >> np.uint64(high_bit + 1 - bits_stored)) & np.uint64((1 << bits_stored) - 1)
    wide = values.astype(object) if bits_stored > 48 else values.astype(np.int64)
    if signed:
        wide = np.where(wide >= 1 << (bits_stored - 1), wide - (1 << bits_stored), wide)
    return wide


def rescale_exact(
    stored: AnyArray, bits_stored: int, high_bit: int, signed: bool, slope: int, intercept: int, dtype: np.dtype[Any]
) -> tuple[AnyArray, int]:
    """Integer slope and intercept into integers, in Python's unbounded integers."""
    values = stored_values(stored, bits_stored, high_bit, signed).astype(object) * slope + intercept
    limits = np.iinfo(dtype)
    misfits = int(np.count_nonzero((values < int(limits.min)) | (values > int(limits.max))))
    return np.clip(values, int(limits.min), int(limits.max)).astype(dtype), misfits


def rescale_fast(stored: AnyArray, bits_stored: int, slope: int, intercept: int, out: AnyArray) -> None:
    """The quickest NumPy for unsigned values from bit 0 whose results fit: what the kernel has to beat."""
    np.bitwise_and(stored, stored.dtype.type((1 << bits_stored) - 1), out=out.view(stored.dtype))
    if slope != 1:
        np.multiply(out, out.dtype.type(slope), out=out)
    np.add(out, out.dtype.type(intercept), out=out)


def rescale_clipped(stored: AnyArray, bits_stored: int, slope: int, intercept: int, out: AnyArray) -> int:
    """Signed values from bit 0, whose results fit 64 bits but perhaps not `out`."""
    unused = 8 * stored.itemsize - bits_stored
    values = (stored << unused).view(f"i{stored.itemsize}") >> unused
    results = values.astype(np.int32 if out.itemsize < 4 else np.int64) * slope + intercept
    limits = np.iinfo(out.dtype)
    fitted = np.clip(results, limits.min, limits.max)
    np.copyto(out, fitted, casting="unsafe")
    return int(np.count_nonzero(fitted != results))


def rescale_float(values: AnyArray, slope: float, intercept: float, out: AnyArray) -> None:
    np.copyto(out, values.astype(np.float64) * slope + intercept, casting="unsafe")


def lut(values: AnyArray, first_mapped: int, table: AnyArray) -> AnyArray:
    return table[np.clip(values.astype(np.int64) - first_mapped, 0, len(table) - 1)]


def table_lookup(stored: AnyArray, table: AnyArray, out: AnyArray) -> None:
    np.take(table, stored.view(f"u{stored.itemsize}"), axis=0, out=out, mode="clip")


def window_linear(values: AnyArray, center: float, width: float, out: NDArray[np.uint8]) -> None:
    """LINEAR by clipping: equal to the three cases of the standard for every width above 1."""
    x = values.astype(np.float64)
    y = ((x - (center - 0.5)) / (width - 1.0) + 0.5) * 255.0
    np.copyto(out, np.rint(np.clip(y, 0.0, 255.0)), casting="unsafe")


def window_linear_exact(values: AnyArray, center: float, width: float, out: NDArray[np.uint8]) -> None:
    y = ((values.astype(np.float64) - center) / width + 0.5) * 255.0
    np.copyto(out, np.rint(np.clip(y, 0.0, 255.0)), casting="unsafe")


def window_sigmoid(values: AnyArray, center: float, width: float, out: NDArray[np.uint8]) -> None:
    with np.errstate(over="ignore"):
        y = 255.0 / (1.0 + np.exp(-4.0 * (values.astype(np.float64) - center) / width))
    np.copyto(out, np.rint(y), casting="unsafe")


def histogram(values: AnyArray) -> AnyArray:
    return np.bincount(values.reshape(-1), minlength=1 << (8 * values.itemsize))


def expand_422(data: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    pairs = data.reshape(rows, columns // 2, 4)
    out = np.empty((rows, columns // 2, 2, 3), np.uint8)
    out[..., 0] = pairs[..., :2]
    out[..., 1:] = pairs[..., None, 2:]
    return out.reshape(rows, columns, 3)


def rct_to_rgb(ybr: AnyArray, bits: int) -> AnyArray:
    y, cb, cr = (ybr[..., i].astype(np.int64) for i in range(3))
    green = y - (cb + cr) // 4
    return np.clip(np.stack([cr + green, green, cb + green], axis=-1), 0, (1 << bits) - 1)


def ict_to_rgb(ybr: AnyArray, bits: int) -> AnyArray:
    y, cb, cr = (ybr[..., i].astype(np.float64) for i in range(3))
    parts = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
    return np.clip(np.floor(np.stack(parts, axis=-1) + 0.5), 0, (1 << bits) - 1)


def interleave(planes: AnyArray, out: AnyArray) -> None:
    out[...] = np.moveaxis(planes, 0, -1)


def padding(values: AnyArray, value: float, range_limit: float | None) -> NDArray[np.bool_]:
    low, high = sorted((value, value if range_limit is None else range_limit))
    return np.asarray((values >= low) & (values <= high))


def fill_padding(values: AnyArray, value: float, range_limit: float | None, fill: float, out: AnyArray) -> None:
    np.copyto(out, np.asarray(fill, out.dtype), where=padding(values, value, range_limit))


def downsample(block: AnyArray, factors: tuple[int, int, int], out: AnyArray) -> None:
    """Pad odd ends with NaN, look at the boxes as axes of their own, average what is there."""
    pads = [(0, -size % factor) for size, factor in zip(block.shape, factors, strict=True)]
    padded = np.pad(block.astype(np.float64), pads, constant_values=np.nan)
    boxes = padded.reshape([n for size, f in zip(padded.shape, factors, strict=True) for n in (size // f, f)])
    there = ~np.isnan(boxes)
    counts = there.sum(axis=(1, 3, 5))
    sums = np.where(there, boxes, 0.0).sum(axis=(1, 3, 5))
    with np.errstate(invalid="ignore"):
        means = sums / counts
    np.copyto(out, means if block.dtype.kind == "f" else np.rint(means), casting="unsafe")


def downsample_fast(block: AnyArray, out: AnyArray) -> None:
    """2 x 2 x 2 of even integers, the quickest NumPy: sums of slices, rounded half to even."""
    total = block[0::2].astype(np.int32) + block[1::2]
    total = total[:, 0::2] + total[:, 1::2]
    total = total[:, :, 0::2] + total[:, :, 1::2]
    np.copyto(out, (total + 3 + ((total >> 3) & 1)) >> 3, casting="unsafe")
