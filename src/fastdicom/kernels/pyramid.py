"""The next level of an image pyramid: means over 2 voxels along the axes that shrink."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel
from fastdicom.errors import UsageError

__all__ = ["downsample", "downsampled_shape"]

AnyArray = NDArray[Any]


def downsampled_shape(shape: tuple[int, ...], factors: tuple[int, int, int]) -> tuple[int, ...]:
    """(z, y, x) divided by `factors`, rounded up."""
    return tuple(-(-size // factor) for size, factor in zip(shape, factors, strict=True))


def downsample(block: AnyArray, factors: tuple[int, int, int], out: AnyArray) -> None:
    """Write the mean of each box of `factors` voxels of `block` into `out`.

    Parameters
    ----------
    block : (z, y, x), 8, 16 or 32 bit integers, float32 or float64
    factors : three of 1 or 2
    out : :func:`downsampled_shape`, dtype of `block`

    Notes
    -----
    Boxes at an odd end hold fewer voxels and are averaged over those. Integer means are rounded half to even, so that
    repeated levels do not drift upwards. Means of floats leave NaN out and are NaN where nothing is left; they are
    summed in float64.
    """
    if block.ndim != 3 or any(f not in (1, 2) for f in factors) or len(factors) != 3:
        raise UsageError(f"downsample(factors={factors}) of {block.ndim} axes: give (z, y, x) and factors of 1 or 2.")
    if out.shape != downsampled_shape(block.shape, factors) or out.dtype != block.dtype:
        raise UsageError(
            f"{block.shape} {block.dtype.name} by {factors} gives {downsampled_shape(block.shape, factors)} of that "
            f"dtype, not {out.shape} {out.dtype.name}."
        )
    if block.size == 0:
        return
    source = np.ascontiguousarray(block.astype(block.dtype.newbyteorder("="), copy=False))
    target = out if out.flags.c_contiguous and out.dtype.isnative else np.empty(out.shape, source.dtype)
    if source.dtype.kind == "f":
        _mean_floats(source, *factors, target, np.empty((2, block.shape[2]), np.float64))
    elif source.itemsize <= 2:
        _mean_integers(source, *factors, target, np.empty(block.shape[2], np.int32))
    else:
        _mean_integers_wide(source, *factors, target, np.empty(block.shape[2], np.int64))
    if target is not out:
        out[...] = target


@kernel()
def _sum_lines(block, z0, z1, y0, y1, line):  # type: ignore[no-untyped-def]
    """Sum of the rows of a box into `line`, at memory speed: the pairs along x are added afterwards."""
    first = block[z0, y0]
    for x in range(line.size):
        line[x] = first[x]
    for z in range(z0, z1):
        for y in range(y0, y1):
            if z > z0 or y > y0:
                row = block[z, y]
                for x in range(line.size):
                    line[x] += row[x]


@kernel()
def _mean_rounded(total, shift):  # type: ignore[no-untyped-def]
    """``total / 2**shift``, half to even."""
    odd = (total >> shift) & 1
    return (total + ((1 << shift) >> 1) - 1 + odd) >> shift if shift else total


@kernel()
def _mean_lines(block, fz, fy, fx, out, line):  # type: ignore[no-untyped-def]
    nz, ny, nx = block.shape
    for z in range(out.shape[0]):
        z1 = min(z * fz + fz, nz)
        for y in range(out.shape[1]):
            y1 = min(y * fy + fy, ny)
            _sum_lines(block, z * fz, z1, y * fy, y1, line)
            # A box holds 1, 2, 4 or 8 voxels, also at odd ends: a division by it is a shift.
            shift = (z1 - z * fz - 1) + (y1 - y * fy - 1)
            results = out[z, y]
            if fx == 1:
                for x in range(nx):
                    results[x] = _mean_rounded(line[x], shift)
            else:
                for x in range(nx // 2):
                    results[x] = _mean_rounded(line[2 * x] + line[2 * x + 1], shift + 1)
                if nx % 2:
                    results[nx // 2] = _mean_rounded(line[nx - 1], shift)


@kernel(
    [
        f"void(const({a}[:, :, ::1]), intp, intp, intp, {a}[:, :, ::1], int32[::1])"
        for a in ("int16", "uint16", "uint8", "int8")
    ],
    warm=0,
)
def _mean_integers(block, fz, fy, fx, out, line):  # type: ignore[no-untyped-def]
    _mean_lines(block, fz, fy, fx, out, line)


@kernel(
    [f"void(const({a}[:, :, ::1]), intp, intp, intp, {a}[:, :, ::1], int64[::1])" for a in ("int32", "uint32")],
    warm=0,
)
def _mean_integers_wide(block, fz, fy, fx, out, line):  # type: ignore[no-untyped-def]
    _mean_lines(block, fz, fy, fx, out, line)


@kernel(
    [f"void(const({a}[:, :, ::1]), intp, intp, intp, {a}[:, :, ::1], float64[:, ::1])" for a in ("float32", "float64")],
    warm=0,
)
def _mean_floats(block, fz, fy, fx, out, lines):  # type: ignore[no-untyped-def]
    nz, ny, nx = block.shape
    sums, counts = lines[0], lines[1]
    for z in range(out.shape[0]):
        z1 = min(z * fz + fz, nz)
        for y in range(out.shape[1]):
            y1 = min(y * fy + fy, ny)
            for x in range(nx):
                sums[x] = 0.0
                counts[x] = 0.0
            for z0 in range(z * fz, z1):
                for y0 in range(y * fy, y1):
                    row = block[z0, y0]
                    for x in range(nx):
                        value = np.float64(row[x])
                        valid = value == value
                        sums[x] += value if valid else 0.0
                        counts[x] += 1.0 if valid else 0.0
            results = out[z, y]
            if fx == 1:
                for x in range(nx):
                    results[x] = sums[x] / counts[x] if counts[x] > 0 else np.nan
            else:
                for x in range(nx // 2):
                    count = counts[2 * x] + counts[2 * x + 1]
                    results[x] = (sums[2 * x] + sums[2 * x + 1]) / count if count > 0 else np.nan
                if nx % 2:
                    results[nx // 2] = sums[nx - 1] / counts[nx - 1] if counts[nx - 1] > 0 else np.nan
