"""Stored values of one slice to the values asked for: rescale, tables, mappings, padding, what a screen shows.

No value is changed in silence: one that the dtype cannot hold is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.display import colour_to_display, gray_table, gray_to_display
from fastdicom.errors import ValuesError
from fastdicom.kernels import apply_table, container_values, lut_at, padding_mask, rescale, row_bands
from fastdicom.plan import SliceRecord, VolumePlan
from fastdicom.planned_files import PlannedFile
from fastdicom.quantities import RealWorldValues
from fastdicom.runs import is_rescaled
from fastdicom.types import PixelFormat

__all__ = ["SliceValues"]


class SliceValues:
    """Makes values; keeps the tables that it makes them with, which the slices of a block share."""

    def __init__(self, plan: VolumePlan) -> None:
        self.plan = plan
        self.tables: dict[tuple[Any, ...], Any] = {}

    def make(
        self, stored: NDArray[Any], fmt: PixelFormat, record: SliceRecord, target: NDArray[Any], planned: PlannedFile
    ) -> None:
        """The values of one slice.

        Parameters
        ----------
        stored : array of ``fmt.stored_dtype`` and the target's shape; with a palette, without its last axis
        fmt, record, planned
            Those of the slice in the plan.
        target : array of ``plan.dtype``
            Where they go, which may be the memory of `stored`.

        Raises
        ------
        ValuesError
            The dtype cannot hold one of them, or a mapping has none for it; the message names the file.
        """
        plan = self.plan
        if plan.values == "display":
            self._display(stored, fmt, record, target)
        elif is_rescaled(plan, record):
            bits = (fmt.bits_stored, fmt.bits_stored - 1) if fmt.stored_dtype.kind != "f" else (0, 0)
            signed = bool(fmt.pixel_representation)
            lost = rescale(stored, *bits, signed, record.slope, record.intercept, target)
            _refuse_lost(lost, plan, record, planned)
        elif plan.values == "padding":
            if np.isnan(record.padding_last):
                target[...] = False
            else:
                padding_mask(stored, record.padding_first, record.padding_last, target)
        elif record.modality_lut >= 0 and plan.is_scaled and fmt.samples_per_pixel == 1:
            self._modality_lut(stored, fmt, record, target, planned)
        elif record.mapping >= 0:
            _map(plan.mappings[record.mapping], stored, target, planned, record.frame)
        elif not (stored.dtype == target.dtype and np.may_share_memory(stored, target)):
            _copy_exactly(stored, target, planned, record.frame)

    def _modality_lut(
        self, stored: NDArray[Any], fmt: PixelFormat, record: SliceRecord, target: NDArray[Any], planned: PlannedFile
    ) -> None:
        if stored.itemsize <= 2:
            table, beyond = self._modality_table(fmt, record)
            if beyond is not None:
                containers = stored.view(f"u{stored.dtype.itemsize}")
                _refuse_lost(int(beyond[containers].sum()), self.plan, record, planned)
            apply_table(stored, table, target)
            return
        lut = self.plan.luts[record.modality_lut]  # too many values for a table
        for band in row_bands(stored.shape):
            found = lut_at(stored[band], lut.first_mapped, lut.values)
            _copy_exactly(found, target[band], planned, record.frame)

    def _modality_table(self, fmt: PixelFormat, record: SliceRecord) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """What each container becomes, and which of them the dtype cannot hold (None: it holds all)."""
        key = ("modality", record.format, record.modality_lut)
        if key not in self.tables:
            lut = self.plan.luts[record.modality_lut]
            signed = fmt.pixel_representation == 1
            domain = container_values(fmt.stored_dtype, fmt.bits_stored, fmt.bits_stored - 1, signed)
            values = lut_at(domain, lut.first_mapped, lut.values)
            table = values.astype(self.plan.dtype)
            beyond = table.astype(np.float64) != values
            self.tables[key] = (table, beyond if beyond.any() else None)
        found: tuple[NDArray[Any], NDArray[np.bool_] | None] = self.tables[key]
        return found

    def _display(self, stored: NDArray[Any], fmt: PixelFormat, record: SliceRecord, target: NDArray[Any]) -> None:
        plan = self.plan
        palette = plan.palettes[record.format] if plan.palettes else b""
        if palette or (fmt.samples_per_pixel == 1 and fmt.stored_dtype.itemsize <= 2 and fmt.stored_dtype.kind != "f"):
            names = ("format", "slope", "intercept", "modality_lut", "voi_lut", "center", "width")
            key = ("display", *[getattr(record, name) for name in names])
            if key not in self.tables:
                self.tables[key] = gray_table(plan, fmt, record, palette)
            apply_table(stored, self.tables[key], target)
        elif fmt.samples_per_pixel == 1:
            gray_to_display(plan, fmt, record, stored, target)
        else:
            colour_to_display(fmt, stored, target)


def _refuse_lost(lost: int, plan: VolumePlan, record: SliceRecord, planned: PlannedFile) -> None:
    if lost:
        raise ValuesError(
            f"{lost} voxels of frame {record.frame} in {planned.locator} do not fit {plan.dtype.name} after "
            f"rescaling (slope {record.slope}, intercept {record.intercept}). Pass a wider dtype=, "
            "or leave it out.",
            path=planned.locator,
            frame=record.frame,
            count=lost,
        )


def _map(
    mapping: RealWorldValues, stored: NDArray[Any], target: NDArray[Any], planned: PlannedFile, frame: int
) -> None:
    """Real world values, rounded for an integer dtype as those that are linear in all stored values are."""
    lost = 0
    for band in row_bands(stored.shape):
        values = mapping.apply(stored[band])
        if target.dtype.kind == "f":
            np.copyto(target[band], values, casting="unsafe")
        else:
            lost += rescale(values, 0, 0, False, 1.0, 0.0, target[band])
    if lost:
        raise ValuesError(
            f"{lost} voxels of frame {frame} in {planned.locator} are outside of the mapped range "
            f"({mapping.first:g} to {mapping.last:g}), or their real world values do not fit {target.dtype.name}. Pass "
            "dtype='float32', or leave it out.",
            path=planned.locator,
            frame=frame,
            count=lost,
        )


def _copy_exactly(stored: NDArray[Any], target: NDArray[Any], planned: PlannedFile, frame: int) -> None:
    """Copy values into another dtype; refuse where one of them would change."""
    if stored.size and not _fits(stored, target.dtype):
        raise ValuesError(
            f"Values of {np.fmin.reduce(stored, axis=None)} to {np.fmax.reduce(stored, axis=None)} of frame {frame} in "
            f"{planned.locator} do not fit {target.dtype.name}. Pass a wider dtype=, or leave it out.",
            path=planned.locator,
            frame=frame,
        )
    np.copyto(target, stored, casting="unsafe")


def _fits(stored: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    if stored.dtype.kind == "f":
        return dtype.kind == "f"  # a narrower float must have been asked for, and so its rounding
    if np.can_cast(stored.dtype, dtype) and stored.itemsize < 8:  # NumPy takes float64 for safe for 64 bits
        return True
    low, high = int(stored.min()), int(stored.max())
    if dtype.kind in "iu":
        return bool(np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)
    exact = 1 << (np.finfo(dtype).nmant + 1)
    if -exact <= low and high <= exact:
        return True
    return stored.itemsize < 8 and all(
        np.array_equal(stored[band].astype(dtype).astype(np.float64), stored[band]) for band in row_bands(stored.shape)
    )
