"""What the arguments of a load mean for a volume: values, dtype, window, units. Small pure functions, one a choice.

The planner asks them once; what they answer stands in the plan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdicom.errors import UsageError, ValuesError
from fastdicom.plan import Lut, Window
from fastdicom.types import PixelFormat, Values

__all__ = [
    "check_fits",
    "check_values",
    "parse_windows",
    "resolve_dtype",
    "resolve_units",
    "resolve_window",
    "stored_limits",
]


def stored_limits(fmt: PixelFormat) -> tuple[int, int]:
    """Smallest and largest stored value that Bits Stored and Pixel Representation allow (PS3.3 C.7.6.3.1)."""
    if fmt.pixel_representation:
        return -(1 << (fmt.bits_stored - 1)), (1 << (fmt.bits_stored - 1)) - 1
    return 0, (1 << fmt.bits_stored) - 1


def resolve_dtype(
    formats: tuple[PixelFormat, ...],
    slices: NDArray[Any],
    values: Values,
    luts: tuple[Lut, ...],
    dtype: DTypeLike | None,
) -> np.dtype[Any]:
    """dtype of a volume (DESIGN: the smallest that holds every value that the header allows).

    Parameters
    ----------
    formats, slices, luts
        See `VolumePlan`.
    values : what the numbers mean
    dtype : dtype or None
        What the caller asked for; None chooses. An explicit dtype is checked for every value while loading.
    """
    if dtype is not None:
        try:
            asked = np.dtype(dtype)
        except TypeError as error:
            raise UsageError(
                f"dtype={dtype!r} is no NumPy dtype. Use an integer dtype, float32 or float64.", argument="dtype"
            ) from error
        if values == "display" and asked != np.uint8:
            raise UsageError(
                f"values='display' is uint8, not {asked.name}. Leave dtype= out, or load 'modality'.", argument="dtype"
            )
        if asked.kind not in "iuf" or asked.itemsize > 8 or (asked.kind == "f" and asked.itemsize < 4):
            raise UsageError(
                f"dtype={asked.name!r} cannot hold voxels. Use an integer dtype, float32 or float64.", argument="dtype"
            )
        return asked
    if values == "display":
        return np.dtype(np.uint8)
    if values not in ("stored", "modality"):  # factors of physics: never integers
        return np.dtype(np.float64 if any(fmt.stored_dtype == np.float64 for fmt in formats) else np.float32)
    if values == "stored":
        return np.result_type(*{fmt.stored_dtype for fmt in formats})
    kinds = {_modality_dtype(fmt, slices[slices["format"] == k], luts) for k, fmt in enumerate(formats)}
    if any(kind.kind == "f" for kind in kinds):  # NumPy would make float64 of int32 and float32
        return np.dtype(np.float64 if np.dtype(np.float64) in kinds else np.float32)
    return np.result_type(*kinds)


def _modality_dtype(fmt: PixelFormat, slices: NDArray[Any], luts: tuple[Lut, ...]) -> np.dtype[Any]:
    used = slices[slices["file"] >= 0]
    if fmt.samples_per_pixel > 1:
        return fmt.stored_dtype
    if fmt.stored_dtype.kind == "f":
        double = fmt.stored_dtype == np.float64
        return np.dtype(np.float64 if double and _is_identity(used) else np.float32)
    with_table = used["modality_lut"] >= 0
    if with_table.any():
        numbers = np.unique(used["modality_lut"][with_table]).tolist()
        of_tables = np.result_type(*{np.dtype(np.uint8 if luts[k].bits <= 8 else np.uint16) for k in numbers})
        if with_table.all():
            return of_tables
        of_others = _modality_dtype(fmt, used[~with_table], luts)
        return np.dtype(np.float32) if of_others.kind == "f" else np.result_type(of_tables, of_others)
    if _is_identity(used) and fmt.stored_dtype == np.uint8:
        return np.dtype(np.uint8)
    pairs = set(zip(used["slope"].tolist(), used["intercept"].tolist(), strict=True))
    if not all(slope.is_integer() and intercept.is_integer() for slope, intercept in pairs):
        return np.dtype(np.float32)
    low, high = stored_limits(fmt)
    ends = [int(slope) * end + int(intercept) for slope, intercept in pairs for end in (low, high)]
    for candidate in (np.int16, np.uint16, np.int32):
        limits = np.iinfo(candidate)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return np.dtype(candidate)
    # 32 and 64 bits without rescale: the stored values are exact where float32 would round them.
    return fmt.stored_dtype if _is_identity(used) else np.dtype(np.float32)


def _is_identity(slices: NDArray[Any]) -> bool:
    return bool(np.all(slices["slope"] == 1.0) and np.all(slices["intercept"] == 0.0))


def resolve_window(window: Any, functions: str = "LINEAR") -> Window | int | str | None:
    """What ``window=`` means: a Window, an index into the header's windows, "auto", or None (the header's first).

    Raises
    ------
    UsageError
        It is none of these, or the width is not positive.
    """
    if window is None or isinstance(window, Window):
        return window
    if isinstance(window, str):
        if window == "auto":
            return "auto"
        window = [window]  # the letters of a text are no numbers
    if isinstance(window, (int, np.integer)) and not isinstance(window, bool):
        return int(window)
    try:
        center, width, *rest = window
        parsed = Window(float(center), float(width), str(rest[0]).upper() if rest else functions)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"window={window!r} is not understood. Pass (center, width), (center, width, function), an index into the "
            "header's windows, or 'auto'.",
            argument="window",
        ) from error
    least = 1.0 if parsed.function == "LINEAR" else 0.0
    if parsed.function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or not (
        parsed.width >= least and parsed.width > 0 and np.isfinite([parsed.center, parsed.width]).all()
    ):
        raise UsageError(
            f"window={window!r} is no VOI window: the width must be at least 1 (LINEAR) or above 0, and the function "
            "LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.2).",
            argument="window",
        )
    return parsed


def parse_windows(center: bytes, width: bytes) -> list[tuple[float, float]]:
    """The windows of a header: Window Center and Window Width are lists of equal length (PS3.3 C.11.2.1.2.1).

    A pair that is no window (a word, a width of 0) is (NaN, NaN), so that the others keep their number.
    """

    def number(text: bytes) -> float:
        try:
            return float(text)
        except ValueError:
            return float("nan")

    if not center.strip(b" \0") or not width.strip(b" \0"):
        return []
    pairs = [(number(c), number(w)) for c, w in zip(center.split(b"\\"), width.split(b"\\"), strict=False)]
    return [(c, w) if np.isfinite([c, w]).all() and w > 0 else (float("nan"), float("nan")) for c, w in pairs]


def resolve_units(modality: str, rescale_type: str, units: str, values: Values, rescaled: bool) -> str:
    """Unit of the voxels as UCUM-like text: "HU", "BQML", ...; "" where they are arbitrary.

    Source: PS3.3 C.11.1.1.2 (Rescale Type), C.8.9.1 (Units). CT without Rescale Type is in HU (C.8.2.1.1.5).
    """
    if values != "modality":
        return ""
    if units:
        return units
    if rescale_type and rescale_type != "US":  # US: unspecified
        return rescale_type
    return "HU" if modality == "CT" and rescaled else ""


def check_values(values: str) -> Values:
    """The `values` argument, or a UsageError that lists the choices."""
    known = ("stored", "modality", "display", "suv", "real_world", "philips")
    if values not in known and not str(values).startswith("real_world:"):
        raise UsageError(
            f"values={values!r} is not known. Use 'modality' (default), 'stored', 'display', 'suv', 'philips', "
            "'real_world' or 'real_world:' with a label or a unit.",
            argument="values",
        )
    return values  # type: ignore[return-value]


def check_fits(fill_value: float, dtype: np.dtype[Any]) -> float:
    """The fill value, or a ValuesError where `dtype` cannot hold it."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if not limits.min <= fill_value <= limits.max:
            raise ValuesError(
                f"The fill value {fill_value} does not fit {dtype.name}. Pass dtype= with a wider type.",
                fill_value=fill_value,
            )
    return fill_value
