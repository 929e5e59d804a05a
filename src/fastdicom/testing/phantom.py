"""The voxels of a generated series: smooth, noisy, unlike any of its mirror images, cheap."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.testing.spec import SeriesSpec

__all__ = ["stored_voxels"]

ELLIPSOIDS = (
    # centre z, y, x and half axes z, y, x in units of half the volume; what it adds
    (0.00, 0.02, -0.03, 1.30, 0.88, 0.82, 0.35),
    (-0.10, -0.30, 0.35, 0.80, 0.30, 0.25, -0.18),
    (0.25, 0.10, -0.40, 0.70, 0.40, 0.22, -0.15),
    (0.40, 0.55, 0.10, 0.50, 0.18, 0.20, 0.40),
    (-0.60, -0.45, -0.20, 0.30, 0.15, 0.30, 0.25),
)
GRADIENT = (0.05, 0.09, 0.14)
NOISE = 1 / 400
"""Largest noise, as a fraction of the range: about 10 of 4096 grey levels, like a clinical CT."""


def stored_voxels(spec: SeriesSpec) -> NDArray[Any]:
    """The stored values of all frames of the grid, missing slices included.

    Returns
    -------
    (*dimensions, slices, rows, columns[, 3]) array of the stored dtype. Holds the smallest and the largest value that
    Bits Stored and Pixel Representation allow (two voxels at least) unless the padding value was written over them.
    Colour: before any conversion to YBR.
    """
    fmt = spec.pixel_format
    out = np.empty((math.prod(spec.grid_shape), *fmt.frame_shape), fmt.stored_dtype)
    real = np.float32 if fmt.bits_stored <= 20 and fmt.pixel_keyword != "DoubleFloatPixelData" else np.float64
    z, y, x = (_axis(n, real) for n in (spec.slices, spec.rows, spec.columns))
    rng = np.random.default_rng(spec.seed)
    noise = (rng.random((2 * spec.rows, 2 * spec.columns)) * NOISE).astype(real)
    in_plane = [((y - cy) / ay)[:, None] ** 2 + ((x - cx) / ax)[None, :] ** 2 for _, cy, cx, _, ay, ax, _ in ELLIPSOIDS]
    plane = 0.3 + GRADIENT[1] * y[:, None] + GRADIENT[2] * x[None, :]
    for frame, values in enumerate(out):
        at_dimension, k = divmod(frame, spec.slices)
        level = plane + (GRADIENT[0] * z[k] + 0.02 * (at_dimension % 7))
        for distance, (cz, _, _, az, _, _, amount) in zip(in_plane, ELLIPSOIDS, strict=True):
            height = 1 - ((z[k] - cz) / az) ** 2
            if height > 0:
                level += amount * (distance < height)
        dy, dx = rng.integers(0, (spec.rows + 1, spec.columns + 1))
        level += noise[dy : dy + spec.rows, dx : dx + spec.columns]
        np.clip(level, 0, 1, out=level)
        if fmt.samples_per_pixel == 3:
            level = np.stack([level, 0.75 * level + 0.25 * (y[:, None] > 0.3), 1 - level], axis=-1)
        values[...] = _to_stored(level, spec)
    _write_extremes(out, spec)
    if spec.padding is not None:
        out[:, y[:, None] ** 2 + x[None, :] ** 2 > 1] = spec.padding
    return out.reshape(*spec.grid_shape, *fmt.frame_shape)


def _axis(n: int, real: type[np.floating[Any]]) -> NDArray[Any]:
    """Voxel centres from -1 to 1."""
    return ((np.arange(n) + 0.5) * (2 / n) - 1).astype(real)


def stored_range(spec: SeriesSpec) -> tuple[int, int]:
    """Smallest and largest value of Bits Stored (PS3.3 C.7.6.3.1); for float pixels the range of the phantom."""
    fmt = spec.pixel_format
    if fmt.pixel_keyword != "PixelData":
        return -1000, 3000
    half = 1 << (fmt.bits_stored - 1)
    return (-half, half - 1) if fmt.pixel_representation else (0, 2 * half - 1)


def _to_stored(level: NDArray[Any], spec: SeriesSpec) -> NDArray[Any]:
    """Map 0..1 to the stored range."""
    fmt = spec.pixel_format
    low, high = stored_range(spec)
    if fmt.pixel_keyword != "PixelData":
        return low + level * (high - low)
    if fmt.bits_stored <= 32:
        return np.floor(level * (high - low) + 0.5).astype(np.int64) + low if low else np.floor(level * high + 0.5)
    # float64 has 53 bits: fill the upper 32 of the range and leave the rest to the extremes.
    raised = (level * 0xFFFFFFFF).astype(np.uint64) << np.uint64(fmt.bits_stored - 32)
    return (raised + np.uint64(low % 2**64)).view(np.int64) if low else raised


def _write_extremes(out: NDArray[Any], spec: SeriesSpec) -> None:
    low, high = stored_range(spec)
    frames = out.reshape(len(out), -1, *out.shape[3:])
    middle = frames.shape[1] // 2
    frames[len(frames) // 3, middle] = low
    frames[-1, (middle + 1) % frames.shape[1]] = high
