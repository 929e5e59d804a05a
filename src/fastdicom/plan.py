"""`VolumePlan`: all that a worker needs to produce any block of one volume.

Every choice (values, dtype, window, decoder, what fills a gap) is made once, by small pure functions; what runs on
workers only follows the plan. A plan holds no headers, only arrays of a few numbers a slice, so it is cheap to pickle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdicom.planned_files import PlannedFiles
from fastdicom.quantities import RealWorldValues
from fastdicom.types import Geometry, GeometryPolicy, PixelFormat, Values

__all__ = ["PLAN_VERSION", "Lut", "SliceRecord", "VolumePlan", "Window"]

PLAN_VERSION = 1
"""Part of every fingerprint: raised when the same plan would give other voxels."""

SLICE_DTYPE = np.dtype(
    [
        ("file", np.int32),  # index into VolumePlan.files; -1: an absent slice, filled
        ("frame", np.int32),  # of the file, from 0
        ("format", np.int16),  # index into VolumePlan.formats
        ("tile_row", np.int32),  # first row and column of the slice within the decoded frame (mosaics)
        ("tile_column", np.int32),
        ("slope", np.float64),
        ("intercept", np.float64),
        ("modality_lut", np.int16),  # index into VolumePlan.luts, or -1
        ("voi_lut", np.int16),
        ("center", np.float64),  # window of values="display"; NaN: none
        ("width", np.float64),
        ("mapping", np.int16),  # index into VolumePlan.mappings, or -1
        ("padding_first", np.float64),  # Pixel Padding Value and Range Limit, as stored values; NaN: NaN is padding
        ("padding_last", np.float64),  # NaN: no value is padding
    ]
)


class SliceRecord(NamedTuple):
    """One row of `VolumePlan.slices` as plain Python values; the fields of SLICE_DTYPE, in order."""

    file: int
    frame: int
    format: int
    tile_row: int
    tile_column: int
    slope: float
    intercept: float
    modality_lut: int
    voi_lut: int
    center: float
    width: float
    mapping: int
    padding_first: float
    padding_last: float


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window (PS3.3 C.11.2.1.2)."""

    center: float
    width: float
    function: str = "LINEAR"
    """LINEAR, LINEAR_EXACT or SIGMOID."""


@dataclass(frozen=True, slots=True)
class Lut:
    """A Modality or VOI lookup table (PS3.3 C.11.1, C.11.2)."""

    first_mapped: int
    bits: int
    """Bits of an output value: 8 to 16."""
    data: bytes
    """Little-endian uint16 output values."""
    explanation: str = ""

    @property
    def values(self) -> NDArray[np.uint16]:
        return np.frombuffer(self.data, "<u2")


@dataclass(frozen=True, eq=False)
class VolumePlan:
    """How to make one volume.

    Two plans are equal, and hash equally, if they give the same voxels from the same files: `fingerprint`.
    """

    files: PlannedFiles
    formats: tuple[PixelFormat, ...]
    decoders: tuple[str, ...]
    """Name of the decoder for each of `formats`."""
    slices: NDArray[Any]
    """(number of slices,) of SLICE_DTYPE, in C order of the array's dimensions before y."""
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    dtype: np.dtype[Any]
    values: Values
    geometry: Geometry
    policy: GeometryPolicy
    luts: tuple[Lut, ...] = ()
    palettes: tuple[bytes, ...] = ()
    """For values="display": uint8 RGB tables, one for each of `formats` (empty: none), 3 x entries, with offset."""
    mappings: tuple[RealWorldValues, ...] = ()
    """For values="real_world": those that are no slope and intercept for every stored value."""
    level: int = 0
    """Resolutions left out of JPEG 2000 code streams; `formats`, `shape` and `geometry` are those of what is left."""
    window_function: str = "LINEAR"
    fill_value: float = 0
    """Value of absent slices, and of frames that could not be decoded under errors="report"."""
    units: str = ""
    notes: tuple[str, ...] = field(default=())

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}: {length}" for name, length in zip(self.dims, self.shape, strict=True))
        decoders = ", ".join(dict.fromkeys(self.decoders))
        return f"<fastdicom.VolumePlan ({axes}) {self.dtype.name} {self.values}, {len(self.files)} files by {decoders}>"

    @property
    def is_scaled(self) -> bool:
        """Whether stored values are turned into a quantity: rescaled, through a Modality LUT, mapped."""
        return self.values not in ("stored", "display", "padding")

    @property
    def in_place(self) -> bool:
        """Whether stored values may lie where the values made of them will."""
        return self.values not in ("display", "padding")

    @property
    def n_outer(self) -> int:
        """Number of dimensions before y."""
        return len(self.shape) - (3 if self.dims[-1] == "c" else 2)

    @property
    def outer_shape(self) -> tuple[int, ...]:
        return self.shape[: self.n_outer]

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """Shape of one slice in the volume: (y, x) or (y, x, c)."""
        return self.shape[self.n_outer :]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole volume in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Whether each slice comes from a file (False: filled), in `outer_shape`."""
        return np.asarray(self.slices["file"] >= 0).reshape(self.outer_shape)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of all that decides the voxels: files (name, size, time), positions in them, and settings."""
        digest = hashlib.sha256(f"fastdicom plan {PLAN_VERSION}\n".encode())
        settings = {
            "files": [[f.locator, f.size, f.mtime_ns, f.location.offset, f.instance_uid] for f in self.files],
            "formats": [[getattr(fmt, item.name) for item in fields(fmt)] for fmt in self.formats],
            "shape": self.shape,
            "dims": self.dims,
            "dtype": self.dtype.str,
            "values": self.values,
            "window_function": self.window_function,
            "fill_value": repr(self.fill_value),
            "level": self.level,
            "mappings": [repr(mapping) for mapping in self.mappings],
            "policy": self.policy.to_dict(),
            "affine": self.geometry.affine.tolist(),
        }
        digest.update(json.dumps(settings, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self.slices).tobytes())
        for lut in self.luts:
            digest.update(f"{lut.first_mapped} {lut.bits} ".encode() + lut.data)
        for palette in self.palettes:
            digest.update(palette)
        return digest.hexdigest()

    @cached_property
    def derived(self) -> dict[str, Any]:
        """What readers work out from the plan once, and need again for its next block."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "derived"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VolumePlan) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __dask_tokenize__(self) -> tuple[str, ...]:
        return ("fastdicom.VolumePlan", self.fingerprint, *self.decoders)

    def with_window(self, window: Window) -> VolumePlan:
        """The same plan with one window for every slice (values="display")."""
        slices = self.slices.copy()
        slices["center"], slices["width"], slices["voi_lut"] = window.center, window.width, -1
        return replace(self, slices=slices, window_function=window.function)

    def of_padding(self) -> VolumePlan:
        """The plan of a boolean array: True where a voxel is padding, or lies in a slice that no file has."""
        shape, dims = self.shape, self.dims
        if dims[-1] == "c" and self.formats[0].samples_per_pixel == 1:  # a palette makes colours; padding is an index
            shape, dims = shape[:-1], dims[:-1]
        return replace(
            self,
            shape=shape,
            dims=dims,
            dtype=np.dtype(np.bool_),
            values="padding",
            units="",
            fill_value=1,
            palettes=(),
        )

    def with_decoders(self, decoders: tuple[str, ...]) -> VolumePlan:
        """The same plan, decoded by others; the voxels, and so the fingerprint, stay the same."""
        return replace(self, decoders=decoders)
