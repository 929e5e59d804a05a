"""Stored values to what a screen shows: Modality transform, VOI window or LUT, inversion, palette; uint8.

The 8 and 16 bit values are few, so the whole chain is evaluated once for each of them, in float64 as the standard
writes it, and the image is one lookup.

Source: PS3.3 C.11.1, C.11.2.1, C.7.6.3.1.2 (MONOCHROME1); PS3.4 N.2 (order of the transforms).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.kernels import container_values, lut_at, lut_to_display, row_bands, to_display, window_at
from fastdicom.plan import SliceRecord, VolumePlan
from fastdicom.types import PixelFormat

__all__ = ["colour_to_display", "gray_table", "gray_to_display"]


def gray_table(plan: VolumePlan, fmt: PixelFormat, record: SliceRecord, palette: bytes) -> NDArray[np.uint8]:
    """What each 8 or 16 bit container of a slice is on the screen: (entries,) or, with a palette, (entries, 3)."""
    domain = container_values(fmt.stored_dtype, fmt.bits_stored, fmt.bits_stored - 1, fmt.pixel_representation == 1)
    if palette:
        first = int(np.frombuffer(palette[:4], "<i4")[0])
        colours = np.frombuffer(palette[4:], np.uint8).reshape(-1, 3)
        return np.asarray(lut_at(domain, first, colours))
    return _gray(plan, fmt, record, domain)


def gray_to_display(
    plan: VolumePlan, fmt: PixelFormat, record: SliceRecord, stored: NDArray[Any], target: NDArray[np.uint8]
) -> None:
    """Values too wide for a table (32 bits, floats), one by one."""
    for band in row_bands(stored.shape):
        target[band] = _gray(plan, fmt, record, stored[band])


def _gray(plan: VolumePlan, fmt: PixelFormat, record: SliceRecord, values: NDArray[Any]) -> NDArray[np.uint8]:
    if record.modality_lut >= 0:
        lut = plan.luts[record.modality_lut]
        modality = lut_at(values, lut.first_mapped, lut.values).astype(np.float64)
    else:
        modality = values * record.slope + record.intercept
    inverted = fmt.photometric_interpretation == "MONOCHROME1"
    if record.voi_lut >= 0:
        lut = plan.luts[record.voi_lut]
        shown = lut_to_display(lut.values, lut.bits, inverted=inverted)
        # A VOI LUT takes integers; a fraction left by the rescale belongs to the entry below it.
        levels: NDArray[np.uint8] = lut_at(np.floor(modality).astype(np.int64), lut.first_mapped, shown)
        return levels
    center, width = record.center, record.width
    return to_display(window_at(modality, center, width, plan.window_function), inverted=inverted)


def colour_to_display(fmt: PixelFormat, stored: NDArray[Any], target: NDArray[np.uint8]) -> None:
    """RGB of more than 8 bits to its 8 most significant ones."""
    excess = fmt.bits_stored - 8
    if stored.dtype.kind == "f":
        target[...] = np.clip(stored * 255.0, 0, 255)
    else:
        target[...] = stored >> excess if excess > 0 else stored
