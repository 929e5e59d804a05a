"""Tilted or uneven volumes on a regular grid: linear interpolation, lazily, one slab of slices at a time.

The new grid keeps the pixels of the slices and their directions; only its slices are new: evenly spaced along the
normal, each large enough for all the old ones. Since old and new slices are parallel, a voxel's place in the old
volume is its index plus a shift that is the same for its whole slice: the interpolation is a weighted sum of eight
shifted slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import GeometryError, UsageError
from fastdicom.geometry import slice_normal
from fastdicom.types import Geometry

if TYPE_CHECKING:
    from fastdicom.volume import Volume

__all__ = ["RegularGrid", "regular_grid", "regularize"]

SLAB_NBYTES = 1 << 25
MOST_SLICES = 1_000_000
"""Of a new grid: places, weights and tasks are made at once, and these many take some 100 MB. A micrometre apart, they
are a metre."""
EDGE = 1e-6
"""Voxels: places this close to the rim of a slice are on it (rounding)."""


@dataclass(frozen=True)
class RegularGrid:
    """Where the slices of a regular volume lie in the one they are made of."""

    source: NDArray[np.int64]
    """(Z,) index of the old slice below each new one, into `slices`."""
    fraction: NDArray[np.float64]
    """(Z,) way to the old slice above, 0 to 1."""
    shift: NDArray[np.float64]
    """(Z, 2) pixels: old (row, column) = new (row, column) + shift."""
    slices: NDArray[np.int64]
    """Indices of the old slices that are used: those that exist."""
    inside: NDArray[np.bool_]
    """(Z,) False: past the last old slice, so that nothing is known of it."""
    shape: tuple[int, int, int]
    """(z, y, x) of the new volume."""
    affine: NDArray[np.float64]


def regularize(volume: Volume, *, spacing: float | None = None, fill_value: float | None = None) -> Volume:
    """See `Volume.regularize`."""
    geometry = volume.geometry
    if not geometry.has_positions:
        raise GeometryError("This volume has no positions in the patient, so there is nothing to resample it by.")
    spacing = None if spacing is None else _checked_spacing(spacing)
    axis = volume.geometry_axis
    valid = np.asarray(volume.slices.get("valid", np.ones(volume.shape[: axis + 1], dtype=bool)))
    complete: NDArray[np.bool_] = np.asarray(valid.reshape(-1, valid.shape[-1]).all(axis=0))
    if spacing is None and geometry.uniform and not geometry.tilt_deg and complete.all():
        return volume
    grid = regular_grid(geometry, volume.shape[axis + 1 : axis + 3], complete, spacing)
    fill = volume.fill_value if fill_value is None else float(fill_value)
    n_slices = grid.shape[0]
    places = grid.affine[:3, 3] + np.arange(n_slices)[:, None] * grid.affine[:3, 0]
    normal = grid.affine[:3, 0] / np.linalg.norm(grid.affine[:3, 0])
    new = Geometry(grid.affine, places @ normal, places, True, 0.0, "resampled", 0.0)
    return replace(
        volume,
        array=_lazy(volume, grid, fill),
        geometry=new,
        slices={"valid": np.broadcast_to(grid.inside, (*volume.shape[:axis], n_slices)).copy()},
        notes=(*volume.notes, _note(geometry, complete, grid, new.spacing[0])),
        plan=None,
        fill_value=fill,
    )


def _checked_spacing(spacing: Any) -> float:
    try:
        distance = 0.0 if isinstance(spacing, (str, bytes)) else float(spacing)
    except (TypeError, ValueError):
        distance = 0.0
    if not (np.isfinite(distance) and distance > 0):
        raise UsageError(f"spacing={spacing!r} is no distance. Use millimetres above 0.", argument="spacing")
    return distance


def _note(geometry: Geometry, complete: NDArray[np.bool_], grid: RegularGrid, spacing: float) -> str:
    """What was done, and why the volume was not left as it is."""
    was = []
    if geometry.tilt_deg:
        was.append(f"tilted {geometry.tilt_deg:.2f} degrees")
    if not geometry.uniform:
        was.append("not evenly spaced")
    if not complete.all():
        was.append(f"not complete ({int((~complete).sum())} of {len(complete)} are absent)")
    if not was:
        was.append(f"{geometry.spacing[0]:.4f} mm apart")
    note = f"resampled linearly to {grid.shape[0]} slices {spacing:.4f} mm apart; the slices were {' and '.join(was)}"
    if not grid.inside.all():
        note += "; the last slice lies past the old ones and is filled"
    return note


def regular_grid(
    geometry: Geometry, frame_shape: tuple[int, ...], complete: NDArray[np.bool_], spacing: float | None
) -> RegularGrid:
    """The grid that `regularize` resamples to.

    Parameters
    ----------
    geometry : Geometry
    frame_shape : (rows, columns)
    complete : (Z,) bool
        Slices that exist; those between are interpolated from them.
    spacing : float or None
        Distance between the new slices, mm: as many as reach the last old one, or the first place past it. None: the
        usual gap, stretched so that the last slice stays the last.

    Raises
    ------
    GeometryError
        Fewer than two slices exist.
    UsageError
        `spacing` makes more than `MOST_SLICES`.
    """
    slices = np.flatnonzero(complete)
    if len(slices) < 2:
        raise GeometryError(f"Resampling needs at least 2 slices that exist; this volume has {len(slices)}.")
    down, across = geometry.affine[:3, 1], geometry.affine[:3, 2]
    normal = slice_normal(np.concatenate([across, down]))
    places = geometry.image_positions[slices]
    # Coordinates of each slice's corner: mm along the normal, pixels along its columns and rows.
    along, rows, columns = np.linalg.solve(np.stack([normal, down, across], axis=1), (places - places[0]).T)
    extent = float(along[-1])
    if spacing is None:
        count = max(2, round(extent / float(np.median(np.diff(along)))) + 1)
        spacing = extent / (count - 1)
    else:
        count = _count_that_covers(extent, spacing)
    new_along = np.arange(count) * spacing
    inside = new_along <= extent + EDGE * spacing
    new_along = np.minimum(new_along, extent)
    below = np.clip(np.searchsorted(along, new_along + EDGE * spacing, side="right") - 1, 0, len(along) - 2)
    fraction = np.clip((new_along - along[below]) / (along[below + 1] - along[below]), 0.0, 1.0)
    fraction[fraction < EDGE], fraction[fraction > 1 - EDGE] = 0.0, 1.0
    first = np.array([rows.min(), columns.min()])
    corner = np.stack([rows, columns], axis=1)
    at = corner[below] + fraction[:, None] * (corner[below + 1] - corner[below])
    shift = first - at
    rounded = np.rint(shift)
    shift = np.where(np.abs(shift - rounded) < EDGE, rounded, shift)
    more = [int(np.ceil(np.ptp(values) - EDGE)) for values in (rows, columns)]
    affine = geometry.affine.copy()
    affine[:3, 0] = normal * spacing
    affine[:3, 3] = places[0] + down * first[0] + across * first[1]
    shape = (count, int(frame_shape[0]) + more[0], int(frame_shape[1]) + more[1])
    return RegularGrid(below, fraction, shift, slices, inside, shape, affine)


def _count_that_covers(extent: float, spacing: float) -> int:
    """Slices from the first place to the last, or to the next past it, where `spacing` does not divide `extent`."""
    steps = extent / spacing
    if steps > MOST_SLICES - 1:
        raise UsageError(
            f"spacing={spacing!r} makes {steps:.3g} slices of a stack of {extent:.6g} mm; at most {MOST_SLICES} are "
            f"made. Use a spacing of {1.01 * extent / (MOST_SLICES - 1):.3g} mm or more: spacing= is in millimetres.",
            argument="spacing",
            slices=steps,
        )
    return max(1, int(np.ceil(steps - EDGE))) + 1


def _lazy(volume: Volume, grid: RegularGrid, fill: float) -> Any:
    """The new voxels as a Dask array: one task for each slab and each index of the extra dimensions."""
    import dask.array as da

    axis = volume.geometry_axis
    dtype = np.dtype(np.float64 if volume.dtype == np.float64 else np.float32)
    source = volume.to_dask()
    tail = volume.shape[axis + 3 :]
    outer = tuple((1,) * n for n in volume.shape[:axis])
    nbytes = int(np.prod(grid.shape[1:])) * int(np.prod(tail, dtype=np.int64)) * dtype.itemsize
    step = max(1, SLAB_NBYTES // max(1, nbytes))
    slabs = []
    for start in range(0, grid.shape[0], step):
        stop = min(start + step, grid.shape[0])
        low, high = int(grid.source[start]), int(grid.source[stop - 1]) + 2
        used = grid.slices[low:high]
        part = source[(*(slice(None),) * axis, slice(int(used[0]), int(used[-1]) + 1))]
        # One task must see all it needs: the slices of the slab, whole.
        part = part.rechunk({**dict.fromkeys(range(axis), 1), **dict.fromkeys(range(axis, part.ndim), -1)})
        slab = part.map_blocks(
            _resample,
            _slab_of(grid, start, stop, low),
            used - used[0],
            fill,
            dtype,
            axis,
            dtype=dtype,
            chunks=(*outer, (stop - start,), (grid.shape[1],), (grid.shape[2],), *((n,) for n in tail)),
            meta=np.empty((0,) * part.ndim, dtype=dtype),
        )
        slabs.append(slab)
    return da.concatenate(slabs, axis=axis)


def _slab_of(grid: RegularGrid, start: int, stop: int, low: int) -> RegularGrid:
    part = slice(start, stop)
    return replace(
        grid,
        source=grid.source[part] - low,
        fraction=grid.fraction[part],
        shift=grid.shift[part],
        inside=grid.inside[part],
        shape=(stop - start, *grid.shape[1:]),
    )


def _resample(
    block: NDArray[Any], grid: RegularGrid, used: NDArray[np.int64], fill: float, dtype: np.dtype[Any], axis: int
) -> NDArray[Any]:
    """The new slices of one slab, of one index of the extra dimensions."""
    old = block.reshape(block.shape[axis:])[used]
    out = np.full((*grid.shape, *old.shape[3:]), fill, dtype=dtype)
    for k in np.flatnonzero(grid.inside):
        below, fraction = int(grid.source[k]), float(grid.fraction[k])
        pairs = [(below, 1.0 - fraction), (below + 1, fraction)]
        mixed = sum(weight * old[index].astype(np.float64) for index, weight in pairs if weight > 0)
        _place_shifted(np.asarray(mixed), grid.shift[k], out[k])
    return out.reshape(*block.shape[:axis], *out.shape)


def _place_shifted(image: NDArray[np.float64], shift: NDArray[np.float64], out: NDArray[Any]) -> None:
    """Fill `out` with ``image[y + shift[0], x + shift[1]]``, linearly interpolated, where that is inside of it."""
    for axis in (0, 1):
        whole = int(np.floor(shift[axis]))
        part = float(shift[axis]) - whole
        if part > 0:
            low = np.take(image, range(image.shape[axis] - 1), axis=axis)
            high = np.take(image, range(1, image.shape[axis]), axis=axis)
            image = (1.0 - part) * low + part * high
    start = [-int(np.floor(value)) for value in shift]
    target, source = [], []
    for axis in (0, 1):
        first = max(0, start[axis])
        last = min(out.shape[axis], start[axis] + image.shape[axis])
        target.append(slice(first, max(first, last)))
        source.append(slice(first - start[axis], max(first, last) - start[axis]))
    out[tuple(target)] = image[tuple(source)]
