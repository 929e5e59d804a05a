"""Pictures of a volume: three orthogonal planes through its centre, in true proportions. Needs no display.

The planes stand as radiologists hang them: patient left is on the right of the picture, anterior and superior are up.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.blocks import read_block
from fastdicom.errors import SourceError, UsageError
from fastdicom.execution import check_workers
from fastdicom.loading import LazyBlocks, open_volume
from fastdicom.plan import Window
from fastdicom.planner import PlanOptions
from fastdicom.prepare import make_plan
from fastdicom.resolve import resolve_window
from fastdicom.selection import SeriesArgument, entry_of
from fastdicom.store.reading import is_store
from fastdicom.types import GeometryPolicy
from fastdicom.volume import Volume

__all__ = ["preview", "save_png"]

GAP = 8
"""Pixels between two planes."""
HANGING = ((0, 1.0, 1, 1.0), (0, 1.0, 2, -1.0), (1, 1.0, 2, -1.0))
"""Axial, coronal, sagittal: patient axis (0 left, 1 posterior, 2 superior) and sign of right, then of down."""
LETTERS = ("LR", "PA", "SI")
GLYPHS = {
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "R": "11110 10001 10001 11110 10100 10010 10001",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "P": "11110 10001 10001 11110 10000 10000 10000",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "I": "01110 00100 00100 00100 00100 00100 01110",
}


def preview(
    source: Any,
    *,
    series: SeriesArgument = None,
    window: Any = None,
    policy: GeometryPolicy | None = None,
    decoder: str = "auto",
    workers: int | None = None,
    errors: str = "raise",
    size: int = 384,
    labels: bool = True,
) -> NDArray[np.uint8]:
    """Axial, coronal and sagittal plane through the centre of a volume, side by side in true proportions.

    Only the frames that the picture shows are read: the middle slice, and as many others as it has rows. Of extra
    dimensions (time, echo, ...) the first entry is shown. A volume without positions, or of one slice, is one plane.

    Parameters
    ----------
    source
        A `Volume`, or anything that `load_volume` takes.
    series, policy, decoder, workers, errors
        As in `load_volume`.
    window : (center, width[, function]), int or "auto", optional
        As in `load_volume`. None: the header's first; for a `Volume` or a store "auto".
    size : int
        Pixels along the longest side of the largest plane.
    labels : bool
        Letters at the edges say where Left, Right, Anterior, Posterior, Superior and Inferior are.

    Returns
    -------
    (rows, columns) uint8, or (rows, columns, 3) for colour.

    Raises
    ------
    Whatever `load_volume` raises.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 16 <= size <= 8192:
        raise UsageError(f"size={size!r} is no size of a picture. Use 16 to 8192 pixels.", argument="size")
    volume = _opened(source, series, window, policy, decoder, errors)
    planes = _planes(volume, size, check_workers(workers))
    pixels = _to_uint8(volume, [plane.pixels for plane in planes], window)
    step = max(max(plane.extent) for plane in planes) / size
    panels = [_panel(plane, image, step, labels) for plane, image in zip(planes, pixels, strict=True)]
    return _side_by_side(panels)


def save_png(image: NDArray[np.uint8], path: str | os.PathLike[str]) -> Path:
    """Write a picture as PNG: (rows, columns) or (rows, columns, 3) uint8. The file appears whole or not at all."""
    from imagecodecs import png_encode

    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(png_encode(np.ascontiguousarray(image)))
        partial.replace(target)
    except OSError as error:
        raise SourceError(
            f"{target} cannot be written: {error.strerror}. Choose another path.", path=str(target)
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return target


@dataclass(frozen=True)
class _Plane:
    """A plane of voxels and where its two array axes point in the picture."""

    pixels: NDArray[Any]
    """(first axis, second axis[, c])"""
    index: NDArray[np.float64]
    """(2, 2): mm in the picture (down, right) from the first voxel's centre, to indices along the two axes."""
    corner: tuple[float, float]
    """Top left corner of the picture, mm (down, right) from the first voxel's centre."""
    extent: tuple[float, float]
    """Height and width, mm."""
    places: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Index along each axis of the volume (evenly spaced) of every row and column of `pixels`."""
    directions: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    """Unit vectors of down and right, LPS; None: unknown."""


def _opened(
    source: Any, series: SeriesArgument, window: Any, policy: GeometryPolicy | None, decoder: str, errors: str
) -> Volume:
    if isinstance(source, Volume):
        return source
    if is_store(source):
        return open_volume(source)
    if errors not in ("raise", "report"):
        raise UsageError(f"errors={errors!r} is not known. Use 'raise' or 'report'.", argument="errors")
    entry = entry_of(source, series=series, policy=policy)
    report = errors == "report"
    plan = make_plan(entry, PlanOptions(values="display", window=window, decoder=decoder, ignore_errors=report))
    # The failures list of a volume that is read later starts empty; a reader that appends to it is told to report.
    return Volume.of(entry, plan, _Reporting(plan) if report else LazyBlocks(plan))


class _Reporting(LazyBlocks):
    """Blocks in which frames that cannot be read are filled."""

    def __getitem__(self, index: Any) -> NDArray[Any]:
        return read_block(self.plan, index, failures=[])


def _planes(volume: Volume, size: int, workers: int) -> list[_Plane]:
    axis = volume.geometry_axis
    shape = volume.shape[axis : axis + 3]
    middle = tuple(n // 2 for n in shape)
    if not volume.geometry.has_positions or shape[0] == 1:
        pixels = _read(volume, [middle[0]], workers)[0]
        return [_plane(volume, (1, 2), pixels, np.arange(1.0))]
    chosen = np.unique(np.append(np.linspace(0, shape[0] - 1, min(size, shape[0])).round().astype(int), middle[0]))
    frames = _read(volume, chosen.tolist(), workers, (middle[1], middle[2]))
    places = _even_places(volume)[chosen]
    of_axis = {
        0: _plane(volume, (1, 2), frames[int(np.searchsorted(chosen, middle[0]))], places),
        1: _plane(volume, (0, 2), np.stack([frame[0] for frame in frames.rows]), places),
        2: _plane(volume, (0, 1), np.stack([frame[1] for frame in frames.rows]), places),
    }
    patient = _patient_axes(volume.direction)
    return [of_axis[patient.index(wanted)] for wanted in (2, 1, 0)]


class _Frames(dict[int, NDArray[Any]]):
    """Whole frames that are shown, by number, and (middle row, middle column) of all."""

    rows: list[tuple[NDArray[Any], NDArray[Any]]]


def _read(volume: Volume, slices: list[int], workers: int, cross: tuple[int, int] | None = None) -> _Frames:
    """Read each slice once, and keep of it only what a plane shows."""
    before = (0,) * volume.geometry_axis
    whole = slices.index(volume.shape[volume.geometry_axis] // 2)
    frames = _Frames()

    def one(number: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        frame = volume.array[(*before, slices[number])]
        if not isinstance(frame, np.ndarray):
            frame = np.asarray(frame.compute(scheduler="synchronous"))
        if number == whole:
            frames[number] = frame
        return None if cross is None else (frame[cross[0]].copy(), frame[:, cross[1]].copy())

    with ThreadPoolExecutor(workers, thread_name_prefix="fastdicom") as pool:
        try:
            crossed = list(pool.map(one, range(len(slices))))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    frames.rows = [pair for pair in crossed if pair is not None]
    return frames


def _even_places(volume: Volume) -> NDArray[np.float64]:
    """Where each slice is on the evenly spaced grid of the affine: its own number unless the gaps are uneven."""
    number = np.arange(volume.shape[volume.geometry_axis], dtype=np.float64)
    positions = volume.slice_positions
    span = float(positions[-1] - positions[0]) if len(positions) > 1 else 0.0
    if volume.geometry.uniform or not np.isfinite(span) or span <= 0:
        return number
    return np.asarray((positions - positions[0]) / span * (len(positions) - 1))


def _patient_axes(direction: NDArray[np.float64]) -> list[int]:
    """The patient axis (0 left, 1 posterior, 2 superior) that each array axis is closest to, one to one."""
    nearness = np.abs(direction)
    orders = itertools.permutations(range(3))
    return list(max(orders, key=lambda order: sum(nearness[patient, axis] for axis, patient in enumerate(order))))


def _plane(volume: Volume, axes: tuple[int, int], pixels: NDArray[Any], z_places: NDArray[np.float64]) -> _Plane:
    vectors = volume.affine[:3, :3].copy()
    known = volume.geometry.has_positions
    if known:
        patient = _patient_axes(volume.direction)
        hanging = HANGING[{2: 0, 1: 1, 0: 2}[patient[3 - sum(axes)]]]
        right_axis, down_axis = patient.index(hanging[0]), patient.index(hanging[2])
        right = vectors[:, right_axis] * np.sign(vectors[hanging[0], right_axis] or 1.0) * hanging[1]
        down = vectors[:, down_axis] * np.sign(vectors[hanging[2], down_axis] or 1.0) * hanging[3]
    else:
        down_axis, right_axis = 1, 2
        down, right = vectors[:, 1], vectors[:, 2]
    # The slices are rigid; where the stack is tilted against them, the picture shows it.
    if right_axis == 0:
        down = _unit(down)
        right = _unit(right - (right @ down) * down)
    else:
        right = _unit(right)
        down = _unit(down - (down @ right) * right)
    to_mm = np.array([[vectors[:, axis] @ down for axis in axes], [vectors[:, axis] @ right for axis in axes]])
    shape = tuple(volume.shape[volume.geometry_axis + axis] for axis in axes)
    places = tuple(
        z_places if axis == 0 else np.arange(n, dtype=np.float64) for axis, n in zip(axes, shape, strict=True)
    )
    corners = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in shape)))) @ to_mm.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = np.maximum(high - low, 1e-6)
    return _Plane(
        pixels,
        np.linalg.inv(to_mm),
        (float(low[0]), float(low[1])),
        (float(extent[0]), float(extent[1])),
        (places[0], places[1]),
        (down, right) if known else None,
    )


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / (np.linalg.norm(vector) or 1.0))


def _to_uint8(volume: Volume, planes: list[NDArray[Any]], window: Any) -> list[NDArray[np.uint8]]:
    if volume.values == "display" or (volume.dims[-1] == "c" and volume.dtype == np.uint8):
        return planes
    if volume.dims[-1] == "c":
        return [(plane >> 8 * (plane.itemsize - 1)).astype(np.uint8) for plane in planes]
    from fastdicom.kernels import auto_window, to_display, window_at

    chosen = resolve_window(window)
    if isinstance(chosen, int):
        raise UsageError(
            f"window={window!r}: a volume in memory or in a store has no windows of a header. Pass (center, width) or "
            "'auto'.",
            argument="window",
        )
    if not isinstance(chosen, Window):
        finite = np.concatenate([plane.ravel() for plane in planes])
        chosen = Window(*auto_window(finite.reshape(1, -1)), "LINEAR_EXACT")
    inverted = volume.attrs.get("PhotometricInterpretation") == "MONOCHROME1"
    return [
        to_display(window_at(plane, chosen.center, chosen.width, chosen.function), inverted=inverted)
        for plane in planes
    ]


def _panel(plane: _Plane, pixels: NDArray[np.uint8], step: float, labels: bool) -> NDArray[np.uint8]:
    """The plane on a grid of square pixels of `step` mm."""
    height, width = (max(1, round(length / step)) for length in plane.extent)
    down = plane.corner[0] + (np.arange(height) + 0.5) * plane.extent[0] / height
    right = plane.corner[1] + (np.arange(width) + 0.5) * plane.extent[1] / width
    mm = np.stack(np.broadcast_arrays(down[:, None], right[None, :]))
    first, second = np.tensordot(plane.index, mm, axes=1)
    image = _sample(pixels, first, second, plane.places, np.abs(plane.index).max(axis=1) * step)
    if labels and plane.directions is not None:
        for toward, vertical in ((plane.directions[0], True), (plane.directions[1], False)):
            _write(image, _letters(-toward), vertical, at_end=False)
            _write(image, _letters(toward), vertical, at_end=True)
    return image


def _sample(
    pixels: NDArray[np.uint8],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    steps: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Bilinear values at (first, second) indices; 0 outside. Voxels smaller than a pixel are averaged."""
    values: NDArray[Any] = pixels.astype(np.float32)
    inside = np.ones(first.shape, dtype=bool)
    weights = []
    for axis, (where, place, step) in enumerate(zip((first, second), places, steps, strict=True)):
        inside &= (where >= place[0] - 0.5) & (where <= place[-1] + 0.5)
        if len(place) == place[-1] + 1:
            values = _averaged(values, axis, round(float(step)) // 2)
        number = np.interp(where, place, np.arange(len(place)))
        low = np.minimum(number.astype(np.intp), max(0, len(place) - 2))
        weights.append((low, np.minimum(low + 1, len(place) - 1), number - low))
    (top, bottom, v), (left, right, h) = weights
    if values.ndim == 3:
        v, h, inside = v[..., None], h[..., None], inside[..., None]
    above = values[top, left] * (1 - h) + values[top, right] * h
    below = values[bottom, left] * (1 - h) + values[bottom, right] * h
    return np.asarray(np.where(inside, above * (1 - v) + below * v + 0.5, 0)).astype(np.uint8)


def _averaged(values: NDArray[Any], axis: int, reach: int) -> NDArray[Any]:
    """Mean of each value and `reach` neighbours on both sides: no pixel depends on where one voxel happens to lie."""
    if reach < 1:
        return values
    widths = [(reach, reach) if k == axis else (0, 0) for k in range(values.ndim)]
    padded = np.moveaxis(np.pad(values, widths, mode="edge"), axis, 0)
    count = values.shape[axis]
    total = sum(padded[start : start + count] for start in range(2 * reach + 1))
    return np.asarray(np.moveaxis(np.asarray(total), 0, axis) / (2 * reach + 1))


def _letters(direction: NDArray[np.float64]) -> str:
    """``L``, ``P``, ``SA``, ...: where a direction points, main part first; what is below 22.5 degrees is left out."""
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(LETTERS[k][int(direction[k] < 0)] for k in order if abs(direction[k]) > np.sin(np.pi / 8))


def _write(image: NDArray[np.uint8], text: str, vertical: bool, *, at_end: bool) -> None:
    """White letters with a dark rim in the middle of an edge; none where the plane is too small for them."""
    columns = [np.array([[c == "1" for c in row] for row in GLYPHS[letter].split()]) for letter in text]
    gap = np.zeros((7, 1), dtype=bool)
    glyph = np.hstack([part for column in columns for part in (column, gap)][:-1]) if columns else gap
    glyph = np.pad(np.kron(glyph, np.ones((2, 2), dtype=bool)), 1)
    height, width = glyph.shape
    if image.shape[0] < 4 * height or image.shape[1] < 3 * width:
        return
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    if vertical:
        top = image.shape[0] - height - 3 if at_end else 3
    else:
        left = image.shape[1] - width - 3 if at_end else 3
    rim = glyph.copy()
    for dy, dx in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        rim |= np.roll(glyph, (dy, dx), (0, 1))
    part = image[top : top + height, left : left + width]
    part[rim] = 0
    part[glyph] = 255


def _side_by_side(panels: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + GAP * (len(panels) - 1)
    canvas = np.zeros((height, width, *panels[0].shape[2:]), dtype=np.uint8)
    left = 0
    for panel in panels:
        top = (height - panel.shape[0]) // 2
        canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + GAP
    return canvas
