"""What vendors write in their own way: diffusion weighting, complex parts, several slices tiled into one frame.

Both are brought into the columns that the standard has for them, so that nothing behind the header table knows a
vendor: b-value and gradient go to ``diffusion_b_value`` and ``diffusion_gradient_orientation``, what part of the
complex image is shown to ``complex_image_component``, and a tiled frame (Siemens MOSAIC, United Imaging GRID) becomes
one row a tile, each with its own Image Position (Patient).

Sources: DICOM PS3.3 C.8.13.5.9 (the standard's diffusion attributes); the vendors' DICOM conformance statements for
their private elements; the geometry of mosaics is checked against dcm2niix.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import quiet_pydicom
from fastdicom.errors import FastDicomError, HeaderError
from fastdicom.geometry import is_orthonormal, slice_normal
from fastdicom.headers.columns import INT_MISSING, HeaderTable
from fastdicom.headers.csa import read_csa
from fastdicom.headers.problems import NOT_APART
from fastdicom.sources import open_reader
from fastdicom.types import Skipped

__all__ = ["TILES_ASSUMED", "TILES_NONE", "TILES_SIEMENS", "TILES_UIH", "apply_vendor_rules"]

TILES_NONE, TILES_SIEMENS, TILES_ASSUMED, TILES_UIH = 0, 1, 2, 3
"""Values of the ``tile_source`` column: where the places of the tiles come from. ``TILES_ASSUMED``: a mosaic that does
not say in which direction its slices follow one another; Siemens' usual direction was taken."""

MAX_B_VALUE = 1e5
"""s/mm2; larger ones are flags and offsets of other software, not weightings."""

GE_B_OFFSET = 1_000_000_000
"""GE adds it to b-values to mark how they were prescribed."""

GE_COMPONENTS = (b"MAGNITUDE", b"PHASE", b"REAL", b"IMAGINARY")
"""What the values 0, 1, 2 and 3 of GE's Raw Data Type (0043,102F) say."""

MAX_TILES = 4096

_UIH_FRAMES = 0x0065_1051
_T = TypeVar("_T")


def apply_vendor_rules(table: HeaderTable) -> HeaderTable:
    """Complete a header table with what vendors keep in private elements.

    Parameters
    ----------
    table : HeaderTable
        As read from the files; standard attributes that are present win over private ones.

    Returns
    -------
    HeaderTable
        With the columns ``tile_row, tile_column, frame_rows, frame_columns`` (int64, pixels: where the slice begins in
        the decoded frame, and the frame's size) and ``tile_source``. A tiled frame has one row a tile, whose ``rows``
        and ``columns`` are those of the tile; for all other rows the frame is the slice.
    """
    columns = dict(table.columns)
    n = len(table)
    columns["tile_row"] = np.zeros(n, dtype=np.int64)
    columns["tile_column"] = np.zeros(n, dtype=np.int64)
    columns["frame_rows"] = columns["rows"].copy()
    columns["frame_columns"] = columns["columns"].copy()
    columns["tile_source"] = np.zeros(n, dtype=np.uint8)
    complete = HeaderTable(columns, table.skipped)
    if n == 0:
        return complete
    unreadable: dict[str, str] = {}
    if _any_diffusion(complete):
        with np.errstate(invalid="ignore"):
            _fill_diffusion(complete, unreadable)
    _fill_component(complete)
    result = _with_tiles(complete, unreadable)
    if unreadable:
        kept = np.array([path not in unreadable for path in result["path"].tolist()], dtype=np.bool_)
        missed = [Skipped(path, "unreadable", reason) for path, reason in unreadable.items()]
        result = HeaderTable(result.take(kept).columns, [*result.skipped, *missed])
    return result


def _any_diffusion(table: HeaderTable) -> bool:
    """Whether any row has one of the elements at all: most batches have none, and are many."""
    return (
        bool((table["csa_image_header"][:, 0] >= 0).any())
        or any(bool((table[name] != INT_MISSING).any()) for name in ("siemens_b_value", "ge_b_value"))
        or not all(
            bool(np.isnan(table[name]).all()) for name in ("diffusion_b_value", "philips_b_value", "uih_b_value")
        )
        or not bool(np.isnan(table["diffusion_gradient_orientation"]).all())
    )


def _fill_diffusion(table: HeaderTable, unreadable: dict[str, str]) -> None:
    """Fill empty standard diffusion columns from private ones, vendor by vendor."""
    b_value = table["diffusion_b_value"].copy()
    direction = table["diffusion_gradient_orientation"].copy()
    philips = np.column_stack([table[f"philips_gradient_{axis}"] for axis in ("rl", "ap", "fh")])
    ge = np.column_stack([table[f"ge_gradient_{axis}"] for axis in ("x", "y", "z")])
    ge_b = table["ge_b_value"]
    sources = (
        (_numbers(table["siemens_b_value"]), table["siemens_gradient_direction"]),
        (np.where(ge_b == INT_MISSING, np.nan, ge_b % GE_B_OFFSET), ge),
        (table["philips_b_value"], philips),
        (table["uih_b_value"], _to_patient(table["uih_gradient_direction"], table["image_orientation"])),
    )
    for values, directions in sources:
        plausible = (values >= 0) & (values <= MAX_B_VALUE)
        b_value = np.where(np.isnan(b_value) & plausible, values, b_value)
        known = np.isfinite(directions).all(axis=1)
        direction = np.where((np.isnan(direction).any(axis=1) & known)[:, None], directions, direction)
    table.columns["diffusion_b_value"] = b_value
    table.columns["diffusion_gradient_orientation"] = direction
    _fill_from_csa(table, unreadable)
    # Without weighting there is no direction, however it is written: zeros, NaN, or what the scanner last used.
    unweighted = (table["diffusion_b_value"] == 0) | (np.abs(table["diffusion_gradient_orientation"]).sum(axis=1) == 0)
    table.columns["diffusion_gradient_orientation"][unweighted] = np.nan


def _fill_component(table: HeaderTable) -> None:
    """Fill an empty Complex Image Component of MR images from GE's private element, unless Image Type says it."""
    said = table["ge_raw_data_type"]
    fill = (said >= 0) & (said < len(GE_COMPONENTS)) & (table["complex_image_component"] == b"")
    fill &= table["modality"] == b"MR"
    for image_type in np.unique(table["image_type"][fill]).tolist() if fill.any() else ():
        values = {value.strip() for value in bytes(image_type).upper().split(b"\\")[2:]}
        if values & {b"M", b"P", b"R", b"I", *GE_COMPONENTS}:
            fill &= table["image_type"] != image_type
    if fill.any():
        names = np.array(GE_COMPONENTS)[np.where(fill, said, 0)]
        table.columns["complex_image_component"] = np.where(fill, names, table["complex_image_component"])


def _to_patient(directions: NDArray[np.float64], orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions along rows, columns and normal of the image (United Imaging) in patient coordinates (LPS)."""
    axes = np.stack([orientation[:, :3], orientation[:, 3:], slice_normal(orientation)], axis=1)
    turned: NDArray[np.float64] = np.einsum("nk,nkj->nj", directions, axes)
    return turned


def _fill_from_csa(table: HeaderTable, unreadable: dict[str, str]) -> None:
    """b-values that Siemens software before syngo B15 has only in the text of its CSA image header."""
    absent = np.isnan(table["diffusion_b_value"]) & (table["csa_image_header"][:, 0] >= 0)
    image_type = np.char.upper(table["image_type"])
    weighted = (np.char.find(image_type, b"DIFFUSION") >= 0) | (np.char.find(image_type, b"MOSAIC") >= 0)
    for row in np.flatnonzero(absent & weighted):
        try:
            csa = _csa_of(table, int(row))
        except OSError as error:
            unreadable[str(table["path"][row])] = f"its private elements cannot be read: {error}"
            continue
        value = _floats(csa.get("B_value", ()))
        if value and 0 <= value[0] <= MAX_B_VALUE:
            table.columns["diffusion_b_value"][row] = value[0]
            direction = _floats(csa.get("DiffusionGradientDirection", ()))
            if len(direction) == 3 and all(map(math.isfinite, direction)):
                table.columns["diffusion_gradient_orientation"][row] = direction


def _with_tiles(table: HeaderTable, unreadable: dict[str, str]) -> HeaderTable:
    grid = table["uih_grid_slices"] >= 1
    mosaic = np.char.startswith(np.char.upper(table["manufacturer"]), b"SIEMENS")
    if mosaic.any():
        mosaic &= np.char.find(np.char.upper(table["image_type"]), b"MOSAIC") >= 0
    if not (mosaic.any() or grid.any()):
        return table
    parts: list[HeaderTable] = []
    start = 0
    for row in np.flatnonzero(mosaic | grid):
        try:
            with np.errstate(all="ignore"):  # numbers without sense give places without sense, not warnings
                tiles = _mosaic_tiles(table, int(row)) if mosaic[row] else _grid_tiles(table, int(row))
        except OSError as error:  # the disk or the connection, which may be better next time
            unreadable[str(table["path"][row])] = f"its private elements cannot be read: {error}"
            continue
        except FastDicomError as error:
            table.columns["problem"][row] = f"its tiles {NOT_APART}: {error}"
            continue
        if tiles is not None:
            parts += [table.take(slice(start, row)), tiles]  # type: ignore[arg-type]
            start = int(row) + 1
    parts.append(table.take(slice(start, len(table))))  # type: ignore[arg-type]
    result = HeaderTable.concatenate(parts)
    result.skipped = table.skipped
    return result


def _mosaic_tiles(table: HeaderTable, row: int) -> HeaderTable | None:
    """One row for each slice of a Siemens mosaic; None where it is a picture of slices that cannot be placed.

    Image Position (Patient) of a mosaic is where the corner of the whole picture would be if it were one large slice
    around the centre of the first slice; the slices follow one another along the CSA header's SliceNormalVector.
    """
    csa = _csa_of(table, row)
    count = int(table["siemens_mosaic_images"][row])
    if count < 1:
        said = next(iter(_floats(csa.get("NumberOfImagesInMosaic", ()))), 0.0)
        count = int(said) if math.isfinite(said) else 0
    layout = _layout(table, row, count)
    orientation = table["image_orientation"][row]
    corner = table["image_position"][row]
    if layout is None or not is_orthonormal(orientation) or not np.isfinite(corner).all():
        table.columns["problem"][row] = (
            f"a Siemens mosaic of {count if count > 0 else 'an unknown number of'} slices in "
            f"{table['rows'][row]} x {table['columns'][row]} pixels {NOT_APART}"
        )
        return None
    per_side, rows, columns = layout
    normal = slice_normal(orientation)
    given = np.array(_floats(csa.get("SliceNormalVector", ())))
    source = TILES_SIEMENS
    if len(given) == 3 and np.abs(given).max() < 2 and abs(given @ normal) > 0.9:
        normal = normal * np.sign(given @ normal)
    else:
        # Siemens counts slices towards the patient's left, back and head.
        normal = normal * np.sign(normal[np.argmax(np.abs(normal))])
        source = TILES_ASSUMED
    spacing = table["spacing_between_slices"][row]
    if not spacing > 0:
        spacing = table["slice_thickness"][row]
    if not spacing > 0:
        table.columns["problem"][row] = (
            f"a Siemens mosaic without Spacing Between Slices and Slice Thickness {NOT_APART}"
        )
        return None
    down, across = table["pixel_spacing"][row]
    first = (
        corner
        + orientation[:3] * across * (int(table["columns"][row]) - columns) / 2
        + orientation[3:] * down * (int(table["rows"][row]) - rows) / 2
    )
    places = first + np.arange(count)[:, None] * (normal * spacing)
    return _tiles(table, row, places, per_side, rows, columns, source)


def _grid_tiles(table: HeaderTable, row: int) -> HeaderTable | None:
    """One row for each slice of a United Imaging grid, whose private sequence has an item with the place of each."""
    count = table["uih_grid_slices"][row]
    items = _uih_items(str(table["path"][row]))
    places = np.array([item[0] for item in items], dtype=np.float64).reshape(-1, 3)
    layout = _layout(table, row, int(count)) if np.isfinite(count) and count <= MAX_TILES else None
    if layout is None or len(places) != count or not np.isfinite(places).all():
        table.columns["problem"][row] = (
            f"a United Imaging grid of {count:g} slices with {len(places)} positions in {table['rows'][row]} x "
            f"{table['columns'][row]} pixels {NOT_APART}"
        )
        return None
    tiles = _tiles(table, row, places, *layout, TILES_UIH)
    times = np.array([item[1] for item in items], dtype="S")
    if times.astype(bool).all():
        tiles.columns["acquisition_date_time"] = times
    return tiles


def _layout(table: HeaderTable, row: int, count: int) -> tuple[int, int, int] | None:
    """(tiles across, rows and columns of a tile) of `count` slices in one frame; None where they do not fit."""
    if not 1 <= count <= MAX_TILES:
        return None
    rows, columns = int(table["rows"][row]), int(table["columns"][row])
    across = math.isqrt(count - 1) + 1
    # Siemens' pictures are square; United Imaging's end with the last row of tiles that is needed.
    down = -(-count // across) if table["uih_grid_slices"][row] >= 1 else across
    if rows < down or columns < across or rows % down or columns % across:
        return None
    return across, rows // down, columns // across


def _tiles(
    table: HeaderTable, row: int, places: NDArray[np.float64], across: int, rows: int, columns: int, source: int
) -> HeaderTable:
    count = len(places)
    tiles = table.take(np.full(count, row))
    index = np.arange(count)
    tiles.columns["image_position"] = places
    tiles.columns["tile_row"] = index // across * rows
    tiles.columns["tile_column"] = index % across * columns
    tiles.columns["rows"] = np.full(count, rows, dtype=np.int64)
    tiles.columns["columns"] = np.full(count, columns, dtype=np.int64)
    tiles.columns["tile_source"] = np.full(count, source, dtype=np.uint8)
    return tiles


def _csa_of(table: HeaderTable, row: int) -> dict[str, list[str]]:
    """The wanted entries of a row's CSA image header; empty where it has none that can be read."""
    offset, length = (int(value) for value in table["csa_image_header"][row])
    path = str(table["path"][row])
    if offset < 0 or length <= 0:
        return {}
    # Damage leaves the entries empty, and whoever needs them says what is missing.
    with contextlib.suppress(HeaderError):
        if not bytes(table["transfer_syntax_uid"][row]).startswith(b"1.2.840.10008.1.2.1.99"):
            with open_reader(path) as reader:
                return read_csa(reader.read_at(offset, min(length, reader.size)))
        return read_csa(_of_dataset(path, lambda d: bytes(d.private_block(0x0029, "SIEMENS CSA HEADER")[0x10].value)))
    return {}


def _uih_items(path: str) -> list[tuple[list[float], bytes]]:
    """(Image Position, Acquisition DateTime) of each item of United Imaging's frame sequence."""
    items = _of_dataset(
        path,
        lambda dataset: [
            (
                [float(value) for value in item.ImagePositionPatient],
                str(item.get("AcquisitionDateTime", "")).encode("ascii", "replace"),
            )
            for item in dataset[_UIH_FRAMES].value
        ],
    )
    return items if all(len(position) == 3 for position, _ in items) else []


def _of_dataset(path: str, take: Callable[[Any], _T]) -> _T:
    """What `take` finds in the data set before the pixels, read with the limits of every header (a bomb stays packed).

    Raises
    ------
    HeaderError
        The data set, or what is taken of it, is malformed.
    """
    from fastdicom.headers.datasets import FileHeader, _read_dataset

    with open_reader(path) as reader, quiet_pydicom():
        try:
            return take(_read_dataset(reader, FileHeader()))
        except FastDicomError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            # pydicom converts values when they are asked for, and bad ones raise anything.
            raise HeaderError(
                f"the private elements that place its slices are malformed: {type(error).__name__}: {error}"
            ) from error


def _numbers(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(values == INT_MISSING, np.nan, values.astype(np.float64))


def _floats(texts: Iterable[str]) -> list[float]:
    numbers = []
    for text in texts:
        with contextlib.suppress(ValueError):
            numbers.append(float(text))
    return numbers
