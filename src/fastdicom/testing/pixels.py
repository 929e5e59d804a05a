"""Stored values to the bytes of native pixel data (PS3.5 8)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.testing.spec import SeriesSpec
from fastdicom.types import PixelFormat

__all__ = ["native_value", "rgb_to_ybr", "samples_in_file", "samples_to_stored"]

EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
RGB_TO_YBR = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
"""PS3.3 C.7.6.3.1.2, with the digits that Rec. 601 leaves out of the printed matrix."""


def rgb_to_ybr(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """8-bit RGB to YBR_FULL, last axis (PS3.3 C.7.6.3.1.2)."""
    ybr = rgb.astype(np.float64) @ RGB_TO_YBR.T + (0, 128, 128)
    rounded: NDArray[np.uint8] = np.clip(np.floor(ybr + 0.5), 0, 255).astype(np.uint8)
    return rounded


def ybr_to_rgb(ybr: NDArray[Any]) -> NDArray[np.uint8]:
    """8-bit YBR_FULL to RGB, as pydicom converts it for ``pixel_array``."""
    from pydicom.pixels.processing import convert_color_space

    return np.asarray(convert_color_space(ybr, "YBR_FULL", "RGB"), np.uint8)


def samples_in_file(frames: NDArray[Any], fmt: PixelFormat) -> NDArray[Any]:
    """The samples that a file stores for phantom frames ``(..., rows, columns[, 3])``: colour in its own space.

    For YBR_FULL_422 both pixels of a pair get the chrominance of the first, as a reader reconstructs them.
    """
    if not fmt.photometric_interpretation.startswith("YBR_FULL"):
        return frames
    ybr = rgb_to_ybr(frames)
    if fmt.photometric_interpretation == "YBR_FULL_422":
        ybr[..., 1::2, 1:] = ybr[..., ::2, 1:]
    return ybr


def samples_to_stored(samples: NDArray[Any], fmt: PixelFormat) -> NDArray[Any]:
    """What a reader calls the stored values: YBR already RGB, as pydicom's ``pixel_array`` has it."""
    return ybr_to_rgb(samples) if fmt.photometric_interpretation.startswith("YBR_FULL") else samples


def to_container(values: NDArray[Any], spec: SeriesSpec, fmt: PixelFormat, rng: np.random.Generator) -> NDArray[Any]:
    """Put Bits Stored below High Bit of an unsigned word; the other bits as `spec.unused_bits` says."""
    if fmt.pixel_keyword != "PixelData" or fmt.bits_allocated == 1:
        return values
    word = np.dtype(f"u{fmt.bits_allocated // 8}")
    shift = fmt.high_bit + 1 - fmt.bits_stored
    words: NDArray[Any] = values.astype(np.dtype(f"{values.dtype.kind}{word.itemsize}")).view(word)
    if shift:
        words = words << word.type(shift)
    if spec.unused_bits == "extend" or fmt.bits_stored == fmt.bits_allocated:
        return words
    mask = word.type(((1 << fmt.bits_stored) - 1) << shift)
    words = words & mask
    if spec.unused_bits == "noise":
        rubbish = np.frombuffer(rng.bytes(words.nbytes), word).reshape(words.shape)
        words = words | (rubbish & ~mask)
    return words


def native_value(samples: NDArray[Any], spec: SeriesSpec, rng: np.random.Generator) -> bytes:
    """Value of Pixel Data for the frames ``(F, rows, columns[, 3])`` of one file; of even length (PS3.5 8.1.1)."""
    fmt = spec.pixel_format
    if fmt.bits_allocated == 1:
        # Frames follow each other bit by bit, without padding between them (PS3.5 8.1.1).
        value = np.packbits(samples.ravel().astype(np.uint8), bitorder="little").tobytes()
        return value + b"\0" * (len(value) % 2)
    words = to_container(samples, spec, fmt, rng)
    if fmt.photometric_interpretation == "YBR_FULL_422":
        pairs = words.reshape(len(words), fmt.rows, fmt.columns // 2, 2, 3)
        words = np.stack([pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], axis=-1)
    elif fmt.samples_per_pixel == 3 and fmt.planar_configuration:
        words = np.moveaxis(words, -1, 1)
    if (sys.byteorder == "big") != (spec.transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN):
        words = words.byteswap()
    value = words.tobytes()
    return value + b"\0" * (len(value) % 2)
