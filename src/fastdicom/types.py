"""Frozen records and protocols that cross module borders. NumPy only, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import UsageError

__all__ = [
    "ByteReader",
    "FileRef",
    "Geometry",
    "GeometryPolicy",
    "PixelFormat",
    "PixelLocation",
    "Skipped",
    "Values",
]

Values = Literal["stored", "modality", "display", "suv", "real_world", "philips", "padding"]
"""What the numbers mean: as decoded, after the Modality LUT or rescale, 8-bit after VOI, PET SUVbw (g/ml), after the
Real World Value Mapping (``real_world:LABEL`` where there are several), Philips' floating point values; and
True where a voxel is padding (`Volume.padding_mask`)."""


@runtime_checkable
class ByteReader(Protocol):
    """Random access to the bytes of one file, wherever it is.

    One reader belongs to one thread at a time; ``read_at`` never moves a shared file position.
    """

    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Return at most `length` bytes from `offset`; fewer only at the end of the file."""

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Fill `buffer` (writable, contiguous, bytes) from `offset`; return the number of bytes read."""

    def close(self) -> None: ...

    def __enter__(self) -> ByteReader: ...

    def __exit__(self, *exc: object) -> None: ...


class FileRef(NamedTuple):
    """One file of a source: a locator that any process can open, and what identifies its content."""

    locator: str
    """Local path, or any fsspec URL (``zip://a.dcm::/data/study.zip``, ``s3://bucket/a.dcm``)."""
    size: int
    """Bytes; -1 where the file system does not say."""
    mtime_ns: int = 0
    """Modification time, nanoseconds since the epoch; 0 where the file system does not say."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is in no volume, and why."""

    path: str
    kind: str
    """``not-dicom``, ``damaged``, ``no-pixels``, ``unsupported``, ``duplicate``, ``unreadable``, ``missing``."""
    reason: str


_UNSIGNED = {bits: np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)}
_SIGNED = {bits: np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the pixels of a frame are stored: all that a decoder must know (PS3.3 C.7.6.3)."""

    transfer_syntax_uid: str
    rows: int
    columns: int
    samples_per_pixel: int = 1
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    bits_allocated: int = 16
    bits_stored: int = 16
    high_bit: int = 15
    pixel_representation: int = 0
    """0: unsigned, 1: two's complement."""
    pixel_keyword: Literal["PixelData", "FloatPixelData", "DoubleFloatPixelData"] = "PixelData"

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """dtype (native byte order) of the decoded stored values, as pydicom's ``pixel_array`` has it."""
        if self.pixel_keyword == "FloatPixelData":
            return np.dtype(np.float32)
        if self.pixel_keyword == "DoubleFloatPixelData":
            return np.dtype(np.float64)
        if self.bits_allocated == 1:
            return _UNSIGNED[8]
        kinds = _SIGNED if self.pixel_representation else _UNSIGNED
        return kinds.get(self.bits_allocated // 8 * 8, kinds[8])  # other widths are refused before this matters

    @property
    def frame_shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples): the shape a decoder returns, never planar."""
        shape = (self.rows, self.columns)
        return shape if self.samples_per_pixel == 1 else (*shape, self.samples_per_pixel)

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame; YBR_FULL_422 stores two samples a pixel (PS3.3 C.7.6.3.1.2)."""
        samples = 2 if self.photometric_interpretation == "YBR_FULL_422" else self.samples_per_pixel
        return self.rows * self.columns * samples * self.bits_allocated

    @property
    def decoded_nbytes(self) -> int:
        """Bytes of one decoded frame in `stored_dtype`."""
        return math.prod(self.frame_shape) * self.stored_dtype.itemsize


class PixelLocation(NamedTuple):
    """Where the pixel data element of one file lies."""

    offset: int
    """First byte of the element's value, from the start of the file (deflated: of the inflated data set)."""
    length: int
    """Bytes of the value; -1: undefined length, so encapsulated (PS3.5 A.4)."""
    number_of_frames: int = 1
    extended_offsets: tuple[int, int] = (-1, 0)
    """(file offset, bytes) of the value of Extended Offset Table (7FE0,0001); (-1, 0) where absent."""
    extended_lengths: tuple[int, int] = (-1, 0)
    """(file offset, bytes) of the value of Extended Offset Table Lengths (7FE0,0002)."""


@dataclass(frozen=True, slots=True)
class GeometryPolicy:
    """What to do with frames that do not form one regular volume, and the tolerances that decide it.

    The policy used is recorded in the volume, in the Zarr attributes and in the scan report.
    """

    duplicates: Literal["raise", "first", "split"] = "raise"
    """Frames at one position that no attribute explains: refuse, keep the first, or one volume for each."""
    gaps: Literal["raise", "keep", "fill"] = "raise"
    """Uneven gaps: refuse, keep the true positions (non-uniform volume), or insert empty slices."""
    tilt: Literal["keep", "raise"] = "keep"
    """Slices stacked obliquely: kept exactly in the affine, or refused."""
    orientation_tolerance: float = 1e-4
    """Largest difference of a direction cosine within one volume."""
    spacing_tolerance: float = 0.01
    """Largest distance of a slice from the best evenly spaced line, as a fraction of the spacing ..."""
    spacing_tolerance_mm: float = 0.05
    """... or in mm, whichever is larger: written positions are rounded."""
    tilt_tolerance_deg: float = 0.1
    """Below this angle between stack and normal, the tilt is rounding."""

    def __post_init__(self) -> None:
        allowed = {
            "duplicates": ("raise", "first", "split"),
            "gaps": ("raise", "keep", "fill"),
            "tilt": ("keep", "raise"),
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"GeometryPolicy({name}={getattr(self, name)!r}) is not one of {', '.join(map(repr, choices))}. "
                    "Use one of these.",
                    argument=name,
                )
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not value >= 0:
                raise UsageError(f"GeometryPolicy({field.name}={value!r}) must be zero or larger.", argument=field.name)

    def to_dict(self) -> dict[str, Any]:
        """The policy as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a volume are, in DICOM patient coordinates (LPS), mm.

    All arrays are float64. Array axes are ``(z, y, x)`` = (slice, row, column).
    """

    affine: NDArray[np.float64]
    """(4, 4): array indices ``(z, y, x, 1)`` to LPS mm; the column of z is the true step between slices."""
    slice_positions: NDArray[np.float64]
    """(Z,) mm along the slice normal, ascending."""
    image_positions: NDArray[np.float64]
    """(Z, 3) Image Position (Patient) of each slice; NaN for filled slices of a volume without positions."""
    uniform: bool
    """Every slice lies within the tolerance of an evenly spaced line."""
    tilt_deg: float
    """Angle between the stack and the slice normal, degrees; 0 for an orthogonal volume."""
    spacing_source: str
    """``positions``, or what replaced them: ``SpacingBetweenSlices``, ``SliceThickness``, ``none``."""
    deviation_mm: float
    """Largest distance of a slice from the evenly spaced line, mm."""
    has_positions: bool = True
    """False where the frames have no usable Image Position and were ordered by InstanceNumber or name."""

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(slice, row, column) distance between voxel centres along each array axis, mm."""
        return tuple(float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))  # type: ignore[return-value]

    @property
    def origin(self) -> tuple[float, float, float]:
        """LPS mm of the centre of voxel (0, 0, 0)."""
        return tuple(float(v) for v in self.affine[:3, 3])  # type: ignore[return-value]

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors as columns, for array axes ``(z, y, x)``; not orthogonal where the stack is tilted."""
        step = np.asarray(self.spacing)
        return self.affine[:3, :3] / np.where(step > 0, step, 1.0)


Attributes = Mapping[str, Any]
"""DICOM attributes by keyword, with plain Python values."""
