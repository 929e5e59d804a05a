"""From a catalog entry and the caller's arguments to a `VolumePlan`: every choice, made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import quiet_pydicom
from fastdicom.catalog import CatalogEntry
from fastdicom.certainty import (
    check_high_bit,
    check_modality_tables,
    check_rescale,
    check_wide_big_endian,
    one_voi_function,
    surplus_pixels,
)
from fastdicom.codecs import choose_decoder, get_decoder
from fastdicom.errors import PixelDataError, UsageError, ValuesError
from fastdicom.first_frames import check_first_frames
from fastdicom.headers import INT_MISSING, HeaderTable
from fastdicom.levels import check_level, reduce
from fastdicom.luts import FileTables, read_dataset, read_tables
from fastdicom.plan import SLICE_DTYPE, VolumePlan, Window
from fastdicom.planned_files import FILE_DTYPE, PlannedFile, PlannedFiles
from fastdicom.quantities import RealWorldValues
from fastdicom.resolve import (
    check_fits,
    check_values,
    parse_windows,
    resolve_dtype,
    resolve_units,
    resolve_window,
)
from fastdicom.scaling import scaling_for
from fastdicom.types import PixelFormat, Values

__all__ = ["PlanOptions", "build_plan", "needs_auto_window", "releases_gil"]

AIR_HU = -1000.0
"""Filling of absent CT slices without Pixel Padding Value: what is outside the patient."""


@dataclass(frozen=True)
class PlanOptions:
    """The caller's arguments that decide the voxels."""

    values: str = "modality"
    window: Any = None
    dtype: Any = None
    decoder: str = "auto"
    ignore_errors: bool = False
    """Plan frames whose pixel data are known to be damaged: they will be reported, not raised."""
    level: int = 0
    """Resolutions of JPEG 2000 and HTJ2K code streams to leave out."""


def build_plan(entry: CatalogEntry, options: PlanOptions) -> VolumePlan:
    """Decide how to make one volume.

    Raises
    ------
    GeometryError, PixelDataError
        The entry's own error: the policy refuses the volume, or files are damaged (unless `ignore_errors`).
    ValuesError
        The values cannot be computed for this volume.
    UsageError, UnsupportedTransferSyntaxError, MissingDependencyError
        An argument or a missing package.
    """
    values = check_values(options.values)
    window = resolve_window(options.window)
    error = entry.error
    if error is not None and not (options.ignore_errors and isinstance(error, PixelDataError)):
        raise error
    if window is not None and values != "display":
        raise UsageError(
            f"window={options.window!r} is for values='display'; values={values!r} are not windowed. Pass "
            "values='display', or leave window= out.",
            argument="window",
        )
    headers = entry.headers
    if values not in ("stored", "padding"):
        check_rescale(headers)
    formats, format_of = _formats(headers)
    level = check_level(options.level)
    decoders = tuple(choose_decoder(fmt, options.decoder, level=level) for fmt in formats)
    files, file_of = _files(headers)
    tables = read_tables(headers, file_of, files.locators, values=values)
    slices = np.zeros(entry.found.rows.size, dtype=SLICE_DTYPE)
    for name in ("file", "modality_lut", "voi_lut", "mapping"):
        slices[name] = -1
    slices["slope"] = 1.0
    for name in ("center", "width", "padding_first", "padding_last"):
        slices[name] = np.nan
    used = entry.found.rows.ravel() >= 0
    kept = _kept_slices(headers, file_of, format_of, tables)
    _enter_padding(kept, headers, formats)
    notes = [
        *entry.unusual,
        *_enter_float_padding(kept, headers, formats, files),
        *_unusual_rescale(headers),
        *check_high_bit(headers, values),
        *surplus_pixels(headers),
    ]
    scaling = scaling_for(values, kept, headers, formats, files)
    if scaling is not None:
        kept["slope"], kept["intercept"], kept["mapping"] = scaling.slope, scaling.intercept, scaling.mapping
        kept["modality_lut"] = -1
        notes += scaling.notes
    check_modality_tables(kept, formats, files)
    notes += check_wide_big_endian(kept, formats, files)
    slices[used] = kept
    function = "LINEAR"
    if values == "display":
        function = _apply_windows(slices, used, headers, window)
        notes += _window_notes(slices[used], function, window)
    luts = tuple(tables.luts)
    dtype = resolve_dtype(formats, slices, values, luts, options.dtype)
    notes += _rounded(formats, slices[used], values, dtype) if options.dtype is None else []
    modality = entry.modality
    rescaled = bool(np.isfinite(headers["rescale_slope"]).any() or (kept["modality_lut"] >= 0).any())
    units = resolve_units(modality, _rescale_type(headers, tables, notes), headers.text("units", 0), values, rescaled)
    if scaling is not None:
        units = scaling.units
    elif modality == "RTDOSE" and values == "modality":
        units = str(read_dataset(files[0].locator).get("DoseUnits") or "")
    fill = _fill_value(slices[used][0], values, units, dtype, scaling.mappings if scaling else [])
    shape, dims, geometry = entry.shape, entry.dims, entry.found.geometry
    if level:
        if (kept["modality_lut"] >= 0).any():
            raise ValuesError(
                f"level={level} would average numbers of entries of a Modality LUT. Load level=0, or values='stored'."
            )
        formats, shape, geometry = reduce(formats, shape, dims, geometry, level)
        notes.append(f"level {level}: every {1 << level}th row and column, low-pass filtered by the codec's wavelet")
    if values == "display" and formats[0].photometric_interpretation == "PALETTE COLOR":
        shape, dims = (*shape, 3), (*dims, "c")
    plan = VolumePlan(
        files=files,
        formats=formats,
        decoders=decoders,
        slices=slices,
        shape=shape,
        dims=dims,
        dtype=dtype,
        values=values,
        geometry=geometry,
        policy=entry.found.policy,
        luts=luts,
        palettes=_palettes_of(formats, format_of, file_of, tables) if values == "display" else (),
        mappings=tuple(scaling.mappings) if scaling else (),
        level=level,
        window_function=function,
        fill_value=fill,
        units=units,
        notes=tuple(notes),
    )
    check_first_frames(plan)
    return plan


def releases_gil(plan: VolumePlan) -> bool:
    """Whether threads speed this plan up: every decoder it uses releases the interpreter lock."""
    return all(get_decoder(name).releases_gil for name in plan.decoders)


def needs_auto_window(plan: VolumePlan, window: Any) -> bool:
    """Whether the window must be found from the voxels: asked for, or the header has none."""
    if plan.values != "display" or (plan.palettes and any(plan.palettes)) or plan.dims[-1] == "c":
        return False
    used = plan.slices[plan.slices["file"] >= 0]
    without = np.isnan(used["center"]) & (used["voi_lut"] < 0)
    return window == "auto" if isinstance(window, str) else bool(without.any())


def _formats(headers: HeaderTable) -> tuple[tuple[PixelFormat, ...], NDArray[np.int64]]:
    """The distinct pixel formats of the slices, and the number of each slice's."""
    names = (
        "transfer_syntax_uid", "frame_rows", "frame_columns", "samples_per_pixel", "photometric_interpretation",
        "planar_configuration", "bits_allocated", "bits_stored", "high_bit", "pixel_representation", "pixel_keyword",
    )  # fmt: skip
    # Mostly there is one: then no slice needs a look of its own.
    different = any((headers[name] != headers[name][0]).any() for name in names)
    columns = [headers[name][: None if different else 1].tolist() for name in names]
    known: dict[tuple[Any, ...], int] = {}
    numbers = np.array([known.setdefault(row, len(known)) for row in zip(*columns, strict=True)], dtype=np.int64)
    numbers = numbers if different else np.zeros(len(headers), dtype=np.int64)
    return tuple(_format_of_row(row) for row in known), numbers


def _format_of_row(row: tuple[Any, ...]) -> PixelFormat:
    syntax, rows, columns, samples, photometric, planar, allocated, stored, high, signed, keyword = row
    bits = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(keyword.decode(), allocated)
    stored = stored if stored != INT_MISSING else bits
    return PixelFormat(
        transfer_syntax_uid=syntax.decode("ascii", "replace"),
        rows=max(0, rows),
        columns=max(0, columns),
        samples_per_pixel=samples if samples != INT_MISSING else 1,
        photometric_interpretation=photometric.decode("ascii", "replace") or "MONOCHROME2",
        planar_configuration=planar if planar != INT_MISSING else 0,
        bits_allocated=bits,
        bits_stored=stored,
        high_bit=high if high != INT_MISSING else stored - 1,
        pixel_representation=1 if signed == 1 else 0,
        pixel_keyword=keyword.decode(),
    )


def _files(headers: HeaderTable) -> tuple[PlannedFiles, NDArray[np.int64]]:
    """The files of the slices, and the number of each slice's."""
    paths = headers["path"].tolist()
    known = dict.fromkeys(paths)
    if len(known) == len(paths):
        numbers = first = np.arange(len(paths))
    else:
        known = {path: number for number, path in enumerate(known)}
        numbers = np.array([known[path] for path in paths])
        first = np.unique(numbers, return_index=True)[1]
    facts = np.empty(len(first), dtype=FILE_DTYPE)
    names = (
        "file_size", "mtime_ns", "pixel_offset", "pixel_length", "frames_in_file", "extended_offset_table",
        "extended_offset_table_lengths",
    )  # fmt: skip
    for field, name in zip(FILE_DTYPE.fields or (), names, strict=True):
        facts[field] = headers[name][first]
    return PlannedFiles(list(known), facts, headers["sop_instance_uid"][first]), numbers


def _kept_slices(
    headers: HeaderTable, file_of: NDArray[np.int64], format_of: NDArray[np.int64], tables: FileTables
) -> NDArray[Any]:
    kept = np.zeros(len(headers), dtype=SLICE_DTYPE)
    kept["file"], kept["format"], kept["frame"] = file_of, format_of, headers["frame"]
    kept["tile_row"], kept["tile_column"] = headers["tile_row"], headers["tile_column"]
    slope, intercept = headers["rescale_slope"], headers["rescale_intercept"]
    dose = headers["dose_grid_scaling"]
    kept["slope"] = np.where(np.isfinite(slope), slope, np.where(np.isfinite(dose), dose, 1.0))
    kept["intercept"] = np.where(np.isfinite(intercept), intercept, 0.0)
    kept["modality_lut"] = tables.modality[file_of]
    kept["voi_lut"] = tables.voi[file_of]
    for name in ("center", "width", "padding_first", "padding_last"):
        kept[name] = np.nan
    kept["mapping"] = -1
    return kept


def _enter_padding(kept: NDArray[Any], headers: HeaderTable, formats: Sequence[PixelFormat]) -> None:
    """The stored values that are padding, from Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2)."""
    value, limit = headers["pixel_padding_value"], headers["pixel_padding_range_limit"]
    limit = np.where(limit == INT_MISSING, value, limit)
    for number, fmt in enumerate(formats):
        here = (kept["format"] == number) & (value != INT_MISSING)
        if fmt.samples_per_pixel > 1 or fmt.stored_dtype.kind == "f" or not here.any():
            continue
        # US or SS: always 16 bits, with the sign of Pixel Representation, and then as decoded: cut to Bits Stored.
        bits = min(16, fmt.bits_stored)
        half = 1 << (bits - 1) if fmt.pixel_representation else 0
        ends = np.stack([((end[here] & ((1 << bits) - 1)) ^ half) - half for end in (value, limit)])
        kept["padding_first"][here], kept["padding_last"][here] = ends


_FLOAT_PADDING = {"FloatPixelData": "Float", "DoubleFloatPixelData": "DoubleFloat"}


def _enter_float_padding(
    kept: NDArray[Any], headers: HeaderTable, formats: Sequence[PixelFormat], files: Sequence[PlannedFile]
) -> list[str]:
    """The same for float pixel data (PS3.3 C.7.6.24, C.7.6.25), from each file that has one; returns notes."""
    notes = []
    for number, fmt in enumerate(formats):
        kind = _FLOAT_PADDING.get(fmt.pixel_keyword, "")
        if not kind:
            continue
        flags = headers["double_float_pixel_padding_value" if kind == "DoubleFloat" else "float_pixel_padding_value"]
        here = (kept["format"] == number) & flags
        for file in np.unique(kept["file"][here]).tolist():
            path = files[file].locator
            try:
                with quiet_pydicom():
                    dataset = read_dataset(path)
                    value = float(dataset[f"{kind}PixelPaddingValue"].value)
                    limit = dataset.get(f"{kind}PixelPaddingRangeLimit")
                    last = value if limit is None else float(limit)
            except Exception:  # pydicom raises almost anything on bad bytes
                notes.append(f"{kind}PixelPaddingValue or its Range Limit in {path} is no number: it is ignored")
                continue
            if np.isnan(value) or np.isnan(last):  # NaN is its own range, whatever the other end says
                last = np.inf if np.isnan(value) else value
            rows = here & (kept["file"] == file)
            kept["padding_first"][rows], kept["padding_last"][rows] = value, last
    return notes


def _unusual_rescale(headers: HeaderTable) -> list[str]:
    zero = int((headers["rescale_slope"] == 0).sum())
    return [f"Rescale Slope is 0 in {zero} slices: every voxel there is the intercept"] if zero else []


def _rounded(formats: Sequence[PixelFormat], used: NDArray[Any], values: str, dtype: np.dtype[Any]) -> list[str]:
    """A note where float32, which has 24 bits, was chosen for integers that may have more."""
    if values != "modality" or dtype != np.float32:
        return []
    wide = [k for k, fmt in enumerate(formats) if fmt.stored_dtype.kind in "iu" and fmt.bits_stored > 24]
    rows = used[np.isin(used["format"], wide)]
    if not np.any((rows["slope"] % 1 == 0) & (rows["intercept"] % 1 == 0)):
        return []
    return ["float32 rounds integers beyond 16777216, which Bits Stored allows: pass dtype='int64' or 'float64'"]


def _rescale_type(headers: HeaderTable, tables: FileTables, notes: list[str]) -> str:
    """Rescale Type, or Modality LUT Type where there is a table; "" where slices differ."""
    types = {headers.text("rescale_type", row) for row in _distinct(headers["rescale_type"])} | tables.modality_types
    types.discard("")
    if len(types) > 1:
        notes.append(f"Rescale Type differs from slice to slice ({', '.join(sorted(types))}): the unit is unknown")
    return types.pop() if len(types) == 1 else ""


def _distinct(column: NDArray[Any]) -> list[int]:
    """A row of each distinct value."""
    rows: list[int] = np.unique(column, return_index=True)[1].tolist()
    return rows


def _apply_windows(
    slices: NDArray[Any], used: NDArray[np.bool_], headers: HeaderTable, window: Window | int | str | None
) -> str:
    """Fill in center and width; returns the VOI LUT Function."""
    if isinstance(window, Window):
        slices["center"], slices["width"], slices["voi_lut"] = window.center, window.width, -1
        return window.function
    if window == "auto":
        slices["voi_lut"] = -1
        return "LINEAR"
    function = one_voi_function(headers)
    which = window if isinstance(window, int) else 0
    pairs = list(zip(headers["window_center"].tolist(), headers["window_width"].tolist(), strict=True))
    parsed = {pair: parse_windows(*pair) for pair in set(pairs)}
    if window is None:  # the first that is one
        parsed = {pair: [w for w in found if np.isfinite(w[0])] for pair, found in parsed.items()}
    if isinstance(window, int) and not all(-len(found) <= which < len(found) for found in parsed.values()):
        least = min(len(found) for found in parsed.values())
        raise ValuesError(
            f"window={window} is not there: a slice of this series has {least} windows in its header. Pass "
            "(center, width) or 'auto'.",
            window=window,
        )
    chosen = np.array([parsed[pair][which] if parsed[pair] else (np.nan, np.nan) for pair in pairs])
    if isinstance(window, int) and np.isnan(chosen).any():
        raise ValuesError(f"window={window} of the header is no window. Pass (center, width) or 'auto'.", window=window)
    slices["center"][used], slices["width"][used] = chosen[:, 0], chosen[:, 1]
    if isinstance(window, int):
        slices["voi_lut"] = -1
    return function


def _window_notes(used: NDArray[Any], function: str, window: Window | int | str | None) -> list[str]:
    """Which window was applied: a display store cannot be understood without it."""
    pairs = np.unique(np.stack([used["center"], used["width"]], axis=1), axis=0)
    known = pairs[np.isfinite(pairs).all(axis=1)]
    if window == "auto" or not len(known):
        return []
    source = "given" if isinstance(window, Window) else "of the header"
    if len(known) > 1:
        return [f"windows {source}: {len(known)} different ones, {function}"]
    return [f"window {source}: center {known[0][0]:g}, width {known[0][1]:g}, {function}"]


def _fill_value(
    first: Any, values: Values, units: str, dtype: np.dtype[Any], mappings: Sequence[RealWorldValues]
) -> float:
    """Value of absent slices: Pixel Padding Value as the values have it, air for HU, else 0."""
    if values == "display":
        return 0
    if not np.isnan(first["padding_last"]):
        padding = float(first["padding_first"])
        value = padding if values == "stored" else padding * float(first["slope"]) + float(first["intercept"])
        if first["mapping"] >= 0:
            value = float(mappings[first["mapping"]].apply(np.array([padding]))[0])
            value = 0.0 if np.isnan(value) and dtype.kind != "f" else value
    else:
        value = AIR_HU if units == "HU" else 0.0
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        value = 0.0 if np.isnan(value) else min(max(value, float(limits.min)), float(limits.max))
        value = float(min(max(round(value), int(limits.min)), int(limits.max)))
    elif np.isfinite(value) and abs(value) > float(np.finfo(dtype).max):  # as the voxels of the padding overflow
        value = float(np.copysign(np.inf, value))
    return check_fits(value, dtype)


def _palettes_of(
    formats: tuple[PixelFormat, ...], format_of: NDArray[np.int64], file_of: NDArray[np.int64], tables: FileTables
) -> tuple[bytes, ...]:
    """One palette for each format; slices of one volume with different palettes cannot be shown as one."""
    chosen = []
    for number, fmt in enumerate(formats):
        found = {tables.palettes.get(int(k), b"") for k in np.unique(file_of[format_of == number])}
        if len(found) > 1:
            raise ValuesError("The files of this volume have different palettes. Load them with values='stored'.")
        chosen.append(found.pop() if fmt.photometric_interpretation == "PALETTE COLOR" else b"")
    return tuple(chosen)
