"""What a store looks like: chunks and shards, attributes, names. Pure functions; no I/O."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import UsageError
from fastdicom.exports import SLICE_IDENTIFIERS
from fastdicom.metadata import IDENTIFYING
from fastdicom.series import spacing_tolerance
from fastdicom.volume import Volume

__all__ = [
    "CLEARING",
    "COMPLETE",
    "SCHEMA_VERSION",
    "WRITING",
    "Grid",
    "choose_grid",
    "ome_attributes",
    "store_attributes",
]

SCHEMA_VERSION = 1
CLEARING, WRITING, COMPLETE = "clearing", "writing", "complete"
"""Status of a store: what an earlier one left is being deleted; shards are being written; everything is there."""

CHUNK = (32, 256, 256)
"""Voxels of a chunk along z, y, x: 4 MiB of int16, what a viewer or a patch sampler reads at once."""
SHARD_BYTES = 64 * 2**20
"""Bytes of a shard: what one task holds; large enough that ten thousand slices are a few hundred objects."""
UID = re.compile(r"\d+(\.\d+){4,}")


@dataclass(frozen=True)
class Grid:
    """Chunks and shards of an array; a shard is a whole number of chunks along every axis."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of shards along each axis."""
        return tuple(-(-length // shard) for length, shard in zip(self.shape, self.shards, strict=True))

    def index(self, place: tuple[int, ...]) -> tuple[slice, ...]:
        """The part of the array that a shard covers."""
        return tuple(
            slice(k * shard, min((k + 1) * shard, length))
            for k, shard, length in zip(place, self.shards, self.shape, strict=True)
        )


def choose_grid(
    shape: tuple[int, ...],
    dims: tuple[str, ...],
    itemsize: int,
    chunks: tuple[int, ...] | None,
    shards: tuple[int, ...] | None,
    shard_bytes: int = SHARD_BYTES,
) -> Grid:
    """Chunks and shards: as asked, or chunks of 32 x 256 x 256 and shards of whole slices of about 64 MiB.

    Parameters
    ----------
    shape, dims : of the array
    itemsize : bytes of a voxel
    chunks, shards : tuple of int, optional
        One number an axis. Shards are rounded up to whole chunks.
    shard_bytes : int
        Upper bound of a chosen shard, as far as one chunk along z allows.

    Raises
    ------
    UsageError
        The wrong number of axes, or a size below 1.
    """
    colour = dims[-1] == "c"
    n_outer = len(shape) - (3 if colour else 2)
    if chunks is None:
        sizes = (*(1,) * (n_outer - 1), *CHUNK, *((shape[-1],) if colour else ()))
        chunks = tuple(max(1, min(size, length)) for size, length in zip(sizes, shape, strict=True))
    chunks = _checked("chunks", chunks, shape)
    if shards is None:
        whole = list(chunks)
        for axis in range(n_outer, len(shape)):
            whole[axis] = _round_up(shape[axis], chunks[axis])
        layer = math.prod(whole) * itemsize
        depth = max(1, min(shard_bytes // max(1, layer), -(-shape[n_outer - 1] // chunks[n_outer - 1])))
        whole[n_outer - 1] = depth * chunks[n_outer - 1]
        shards = tuple(whole)
    shards = _checked("shards", shards, shape)
    return Grid(shape, chunks, tuple(_round_up(s, c) for s, c in zip(shards, chunks, strict=True)))


def _checked(name: str, sizes: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        parsed = tuple(operator.index(size) for size in sizes)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}={sizes!r} is no tuple of sizes. Give one for each of {len(shape)} axes.") from error
    if len(parsed) != len(shape) or min(parsed, default=0) < 1:
        raise UsageError(
            f"{name}={sizes!r} does not fit an array of shape {shape}. Give one size of 1 or more an axis."
        )
    return tuple(
        min(size, max(1, length)) if name == "chunks" else size for size, length in zip(parsed, shape, strict=True)
    )


def _round_up(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def store_attributes(volume: Volume, fingerprint: str, grid: Grid, identifiers: str) -> dict[str, Any]:
    """Everything that OME-Zarr cannot say, under ``attributes["fastdicom"]``, as plain JSON values."""
    from fastdicom import __version__

    geometry, policy = volume.geometry, volume.policy
    keep = identifiers == "keep"
    texts = {name: column for name, column in volume.slices.items() if column.dtype.kind == "U"}
    attributes = {k: v for k, v in volume.attrs.items() if keep or k not in IDENTIFYING}
    record: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "software": f"fastdicom {__version__}",
        "status": WRITING,
        "fingerprint": fingerprint,
        "dims": list(volume.dims),
        "shape": list(volume.shape),
        "dtype": volume.dtype.name,
        "chunks": list(grid.chunks),
        "shards": list(grid.shards),
        "values": volume.values,
        "level": volume.plan.level if volume.plan else 0,
        "units": volume.units,
        "modality": volume.modality,
        "series_number": volume.series.series_number,
        "transfer_syntax_uids": list(volume.series.transfer_syntax_uids),
        "coordinates": {
            name: {"values": np.asarray(values).tolist(), "units": volume.coordinate_units.get(name, "")}
            for name, values in volume.coordinates.items()
        },
        "geometry": {
            "space": "LPS",
            "unit": "millimeter",
            "affine": geometry.affine.tolist(),
            "slice_positions": geometry.slice_positions.tolist(),
            "image_positions": _nulls(geometry.image_positions),
            "uniform": geometry.uniform,
            "tilt_deg": geometry.tilt_deg,
            "spacing_source": geometry.spacing_source,
            "deviation_mm": geometry.deviation_mm,
            "has_positions": geometry.has_positions,
        },
        "policy": policy.to_dict() if policy else None,
        "tolerance_mm": spacing_tolerance(policy, geometry.spacing[0]) if policy else None,
        # As Zarr itself writes those that JSON has no number for.
        "fill_value": volume.fill_value if math.isfinite(volume.fill_value) else _name_of(volume.fill_value),
        "notes": list(volume.notes) if keep else [kept for note in volume.notes if (kept := _anonymous(note))],
        "identifiers": identifiers,
        "attributes": attributes,
        "slice_texts": {name: c.tolist() for name, c in texts.items() if keep or name not in SLICE_IDENTIFIERS},
        "failures": [],
    }
    if keep:
        record["series_instance_uid"] = volume.series_instance_uid
        record["study_instance_uid"] = volume.series.study_instance_uid
        record["frame_of_reference_uid"] = volume.series.frame_of_reference_uid
    return record


def _anonymous(note: str) -> str:
    """A note without names of files and without UIDs: either may say who the patient is."""
    if re.match(r"[A-Za-z]+Error: ", note):  # what the list of failures says with an index instead of a path
        return ""
    return UID.sub("...", re.sub(r"^(\d+ other frames? of this series) \(.*\)(?=, unlike )", r"\1", note))


def numeric_columns(volume: Volume) -> dict[str, NDArray[Any]]:
    """Per-slice columns that are stored as arrays."""
    return {name: column for name, column in volume.slices.items() if column.dtype.kind in "biuf"}


def _name_of(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _nulls(values: NDArray[np.float64]) -> list[Any]:
    return [[float(v) if np.isfinite(v) else None for v in row] for row in values]


def ome_attributes(volume: Volume, name: str) -> dict[str, Any] | None:
    """OME-Zarr 0.5 metadata, or None where it cannot describe the axes.

    OME-Zarr 0.5 allows one time axis, then one channel or custom axis, then the spatial ones, in that order: colour as
    a last axis and several custom axes are outside of it.
    """
    extra = volume.dims[: volume.geometry_axis]
    spatial = volume.dims[volume.geometry_axis :]
    custom = [dim for dim in extra if dim != "t"]
    if spatial != ("z", "y", "x") or len(custom) > 1 or (custom and "t" in extra and extra[0] != "t"):
        return None
    axes: list[dict[str, str]] = []
    scale: list[float] = []
    for dim in extra:
        units = volume.coordinate_units.get(dim, "")
        if dim == "t":
            unit = {"s": "second", "ms": "millisecond"}.get(units)
            axes.append({"name": "t", "type": "time"} | ({"unit": unit} if unit else {}))
            steps = np.diff(np.asarray(volume.coordinates.get("t", [0.0]), dtype=np.float64))
            even = len(steps) > 0 and steps[0] > 0 and np.allclose(steps, steps[0], rtol=1e-3)
            scale.append(float(steps[0]) if even else 1.0)
        else:
            axes.append({"name": dim})
            scale.append(1.0)
    axes += [{"name": dim, "type": "space", "unit": "millimeter"} for dim in spatial]
    scale += list(volume.spacing)
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}]
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
