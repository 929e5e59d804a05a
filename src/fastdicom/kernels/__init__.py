"""Compiled pixel functions: rescale, lookup tables, windows, colour, padding, downsampling.

Each writes into an array that it is given, holds no lock while it runs, and compiles (or loads from the cache) at its
first call: importing this package does not import Numba.
"""

from fastdicom.kernels._layout import row_bands
from fastdicom.kernels._rescale_loops import modular_in_place
from fastdicom.kernels.colour import (
    interleave,
    ybr_full_422_to_rgb,
    ybr_full_to_rgb,
    ybr_ict_to_rgb,
    ybr_rct_to_rgb,
)
from fastdicom.kernels.masks import fill_padding, padding_mask, unpack_bits
from fastdicom.kernels.pyramid import downsample, downsampled_shape
from fastdicom.kernels.rescale import modular_numbers, rescale, stored_range
from fastdicom.kernels.tables import (
    apply_lut,
    apply_table,
    container_values,
    expand_segmented_palette,
    lut_at,
    palette_rgb,
)
from fastdicom.kernels.windows import auto_window, check_window, lut_to_display, to_display, window, window_at

__all__ = [
    "apply_lut",
    "apply_table",
    "auto_window",
    "check_window",
    "container_values",
    "downsample",
    "downsampled_shape",
    "expand_segmented_palette",
    "fill_padding",
    "interleave",
    "lut_at",
    "lut_to_display",
    "modular_in_place",
    "modular_numbers",
    "padding_mask",
    "palette_rgb",
    "rescale",
    "row_bands",
    "stored_range",
    "to_display",
    "unpack_bits",
    "window",
    "window_at",
    "ybr_full_422_to_rgb",
    "ybr_full_to_rgb",
    "ybr_ict_to_rgb",
    "ybr_rct_to_rgb",
]
