"""What a generated series looks like: one frozen record, checked when it is made."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from fastdicom.errors import UsageError
from fastdicom.types import PixelFormat

__all__ = ["SeriesSpec", "digest_of", "uid_from"]

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", *COLOUR)
FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
DEFAULT_DIMENSION_VALUES: dict[str, Callable[[int], Any]] = {
    "temporal_position": lambda i: i + 1,
    "echo": lambda i: 10.0 * (i + 1),
    "b_value": lambda i: 1000.0 * i,
    "gradient": lambda i: (math.cos(i), math.sin(i), 0.0),
    "trigger_time": lambda i: 50.0 * i,
    "acquisition_number": lambda i: i + 1,
    "acquisition_time": lambda i: f"10{i // 60:02d}{i % 60:02d}",
    "content_time": lambda i: f"10{i // 60:02d}{i % 60:02d}",
}
"""Extra dimensions by name, and the value of the i-th entry where only their number is given."""


@dataclass(frozen=True, kw_only=True)
class SeriesSpec:
    """Recipe of one DICOM series. The same recipe gives the same bytes.

    All lengths are mm, all coordinates DICOM patient coordinates (LPS).
    """

    slices: int = 20
    rows: int = 64
    columns: int = 48
    modality: str = "CT"
    sop_class_uid: str | None = None
    """None: the one that fits the modality, the photometric interpretation and `multi_frame`."""

    pixel_spacing: tuple[float, float] = (0.7, 0.8)
    """(between rows, between columns), mm, as in Pixel Spacing (0028,0030)."""
    slice_step: float = 2.5
    """Distance between slices along the slice normal, mm."""
    slice_shifts: tuple[float, ...] = ()
    """mm by which each slice leaves the regular grid along the normal; empty: none does."""
    origin: tuple[float, float, float] = (-10.0, 20.0, 30.0)
    """Centre of the first voxel of slice 0."""
    orientation: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    """Row cosines, then column cosines (PS3.3 C.7.6.2.1.1)."""
    tilt_deg: float = 0.0
    """Gantry tilt: each slice is shifted along the column direction by the tangent of it times the way along the
    normal. The positions carry it."""
    position: bool = True
    """False: no Image Position (Patient) and no Image Orientation (Patient)."""
    missing: tuple[int, ...] = ()
    """Slices that are not written."""
    duplicates: tuple[int, ...] = ()
    """Slices that are written a second time, equal but for SOP Instance UID."""

    bits_allocated: int = 16
    bits_stored: int | None = None
    """None: 12 of 16, else all of `bits_allocated`."""
    signed: bool = False
    high_bit: int | None = None
    """None: ``bits_stored - 1``."""
    unused_bits: Literal["extend", "zero", "noise"] = "extend"
    """Bits outside of Bits Stored in native and RLE pixels: copies of the sign (or zero), zero, or rubbish."""
    pixel_keyword: Literal["PixelData", "FloatPixelData", "DoubleFloatPixelData"] = "PixelData"
    photometric_interpretation: str = "MONOCHROME2"
    planar_configuration: int = 0
    slope: float | tuple[float, ...] | None = 1.0
    """Rescale Slope of all slices, or one for each; None: absent."""
    intercept: float | tuple[float, ...] | None = -1024.0
    padding: int | None = None
    """Pixel Padding Value: also written to the corners of each slice, outside of the ellipse that fits into it."""
    window: tuple[float, float] | tuple[tuple[float, float], ...] | None = (40.0, 400.0)
    """(centre, width), or several such pairs; None: absent."""

    transfer_syntax_uid: str = EXPLICIT_VR_LITTLE_ENDIAN
    fragments_per_frame: int = 1
    offset_table: Literal["basic", "empty", "extended", "wrong"] = "basic"
    quality: float | None = None
    """Lossy syntaxes: quality (JPEG, 1 to 100), largest error (JPEG-LS), PSNR in dB (JPEG 2000), quantisation step as a
    fraction of the range (HTJ2K), distance (JPEG XL). None: nearly invisible loss."""

    codestream_bits: int | None = None
    """Precision that lossless JPEG 2000 and HTJ2K streams declare; None: Bits Stored."""
    codestream_signed: bool | None = None
    """Sign that JPEG 2000 and HTJ2K streams declare; None: that of Pixel Representation."""

    multi_frame: bool | Literal["enhanced"] = False
    """True: one file without functional groups; ``"enhanced"``: one file with them, frames in shuffled order."""
    dimensions: Mapping[str, int | Sequence[Any]] = field(default_factory=dict)
    """Extra dimensions: name -> values or their number. Names: ``temporal_position``, ``echo`` (ms), ``b_value``,
    ``gradient`` (unit vectors), ``trigger_time`` (ms), ``acquisition_number``, ``acquisition_time``, ``content_time``,
    or any DICOM keyword together with its values."""

    names: Literal["shuffled", "sequential", "dcm"] = "shuffled"
    """File names: random without suffix, ``IM00001``, ..., or ``00001.dcm``, ... in slice order."""
    instance_numbers: Literal["slice", "reversed", "shuffled"] | None = "slice"
    private_elements: bool = True
    elements: int | None = None
    """Pad each data set to this many elements (top level): attributes of real scanners, sequences, private blocks."""
    undefined_length: bool = False
    """Sequences and their items are written with undefined length and delimiters."""
    preamble: bool = True
    """False: neither the 128 bytes of preamble nor ``DICM``."""
    file_meta: bool = True
    """False: no group 2 (readers must guess the transfer syntax)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Attributes by keyword: a value, or a function of the slice index; a value of None removes the attribute."""

    series_description: str = "fastdicom phantom"
    series_number: int = 1
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    """None: derived from everything else, so two different recipes are two series."""
    frame_of_reference_uid: str | None = None
    seed: int = 0
    """Noise, names, shuffles and UIDs."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, list):
                object.__setattr__(self, each.name, tuple(value))
        _check(self)

    @property
    def pixel_format(self) -> PixelFormat:
        """How the pixels are stored; absent numbers of the recipe are filled in."""
        allocated = FLOAT_BITS.get(self.pixel_keyword, self.bits_allocated)
        stored = self.bits_stored or (12 if allocated == 16 else allocated)
        return PixelFormat(
            transfer_syntax_uid=self.transfer_syntax_uid,
            rows=self.rows,
            columns=self.columns,
            samples_per_pixel=3 if self.photometric_interpretation in COLOUR else 1,
            photometric_interpretation=self.photometric_interpretation,
            planar_configuration=self.planar_configuration,
            bits_allocated=allocated,
            bits_stored=allocated if self.pixel_keyword in FLOAT_BITS else stored,
            high_bit=self.high_bit if self.high_bit is not None else stored - 1,
            pixel_representation=int(self.signed),
            pixel_keyword=self.pixel_keyword,
        )

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """(centre, width) of every window."""
        if self.window is None:
            return ()
        pairs = self.window if isinstance(self.window[0], tuple) else (self.window,)
        return tuple((float(pair[0]), float(pair[1])) for pair in pairs)

    @property
    def dimension_values(self) -> dict[str, tuple[Any, ...]]:
        """The extra dimensions and their values, outermost first."""
        return {
            name: tuple(DEFAULT_DIMENSION_VALUES[name](i) for i in range(values))
            if isinstance(values, int)
            else tuple(values)
            for name, values in self.dimensions.items()
        }

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """(extra dimensions ..., slices): one frame for each entry, missing ones included."""
        return (*(len(values) for values in self.dimension_values.values()), self.slices)

    @property
    def series_uid(self) -> str:
        """Series Instance UID of the written files."""
        if self.series_instance_uid is not None:
            return self.series_instance_uid
        # Functions print their address, which changes from run to run.
        parts = [f"{k}={v!r}" for k, v in vars(self).items() if k != "extra"]
        parts += [f"{k}={v!r}" for k, v in self.extra.items() if not callable(v)]
        return uid_from("series", *parts)

    @property
    def study_uid(self) -> str:
        """Study Instance UID of the written files; depends only on `seed` unless given."""
        return self.study_instance_uid or uid_from("study", self.seed)

    @property
    def reference_uid(self) -> str:
        """Frame of Reference UID of the written files; depends only on `seed` unless given."""
        return self.frame_of_reference_uid or uid_from("frame of reference", self.seed)


def digest_of(*parts: object) -> int:
    """A number of 128 bits that is a function of `parts` alone."""
    return int.from_bytes(hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=16).digest(), "big")


def uid_from(*parts: object) -> str:
    """A valid UID (root 2.25, at most 44 characters) that is a function of `parts` alone (PS3.5 B.2)."""
    return f"2.25.{digest_of(*parts) | 1 << 127}"


def _refuse(name: str, value: object, rule: str) -> None:
    raise UsageError(f"SeriesSpec({name}={value!r}): {rule}.", argument=name)


def _check(spec: SeriesSpec) -> None:
    for name in ("slices", "rows", "columns", "fragments_per_frame"):
        if not 1 <= getattr(spec, name) <= 65535:
            _refuse(name, getattr(spec, name), "use a whole number from 1 to 65535")
    for name in ("missing", "duplicates"):
        if not all(0 <= k < spec.slices for k in getattr(spec, name)):
            _refuse(name, getattr(spec, name), f"use slice indices from 0 to {spec.slices - 1}")
    if len(set(spec.missing)) == spec.slices:
        _refuse("missing", spec.missing, "at least one slice must be left")
    for name in ("slope", "intercept", "slice_shifts"):
        value = getattr(spec, name)
        if isinstance(value, tuple) and len(value) not in (
            {spec.slices, 0} if name == "slice_shifts" else {spec.slices}
        ):
            _refuse(name, value, f"give one number for each of the {spec.slices} slices")
    choices: dict[str, tuple[Any, ...]] = {
        "photometric_interpretation": PHOTOMETRIC,
        "planar_configuration": (0, 1),
        "bits_allocated": (1, 8, 16, 32, 64),
        "unused_bits": ("extend", "zero", "noise"),
        "pixel_keyword": ("PixelData", *FLOAT_BITS),
        "offset_table": ("basic", "empty", "extended", "wrong"),
        "multi_frame": (False, True, "enhanced"),
        "names": ("shuffled", "sequential", "dcm"),
        "instance_numbers": ("slice", "reversed", "shuffled", None),
    }
    for name, allowed in choices.items():
        if getattr(spec, name) not in allowed:
            _refuse(name, getattr(spec, name), f"use one of {', '.join(map(repr, allowed))}")
    _check_geometry(spec)
    _check_pixels(spec)
    _check_dimensions(spec)
    _check_multi_frame(spec)


def _check_geometry(spec: SeriesSpec) -> None:
    if not (math.isfinite(spec.slice_step) and spec.slice_step > 0):
        _refuse("slice_step", spec.slice_step, "use a distance above 0 mm")
    if len(spec.pixel_spacing) != 2 or not all(math.isfinite(v) and v > 0 for v in spec.pixel_spacing):
        _refuse("pixel_spacing", spec.pixel_spacing, "use two distances above 0 mm")
    if not abs(spec.tilt_deg) < 89:
        _refuse("tilt_deg", spec.tilt_deg, "use an angle between -89 and 89 degrees")
    row, column = spec.orientation[:3], spec.orientation[3:]
    dot = sum(a * b for a, b in zip(row, column, strict=False))
    unit = all(abs(math.hypot(*v) - 1) < 1e-6 for v in (row, column))
    if len(spec.orientation) != 6 or not unit or abs(dot) > 1e-6:
        _refuse("orientation", spec.orientation, "use two orthogonal unit vectors, six numbers")


def _check_pixels(spec: SeriesSpec) -> None:
    fmt = spec.pixel_format
    if not 1 <= fmt.bits_stored <= fmt.bits_allocated:
        _refuse("bits_stored", spec.bits_stored, f"use 1 to {fmt.bits_allocated} bits, what bits_allocated allows")
    if not fmt.bits_stored - 1 <= fmt.high_bit < fmt.bits_allocated:
        _refuse("high_bit", spec.high_bit, f"use {fmt.bits_stored - 1} to {fmt.bits_allocated - 1}")
    if fmt.photometric_interpretation == "YBR_FULL_422" and fmt.columns % 2:
        _refuse("columns", spec.columns, "YBR_FULL_422 stores pixels in pairs; use an even number")
    if fmt.samples_per_pixel == 3 and (fmt.bits_allocated not in (8, 16) or spec.signed):
        _refuse("bits_allocated", spec.bits_allocated, "colour needs 8 or 16 bits, unsigned")
    if fmt.photometric_interpretation.startswith("YBR_FULL") and fmt.bits_allocated != 8:
        _refuse("bits_allocated", spec.bits_allocated, "YBR_FULL and YBR_FULL_422 are made of 8-bit samples")
    if spec.codestream_bits is not None and not fmt.bits_stored <= spec.codestream_bits <= fmt.bits_allocated:
        _refuse("codestream_bits", spec.codestream_bits, f"use {fmt.bits_stored} to {fmt.bits_allocated}")
    if spec.fragments_per_frame > 1 and spec.offset_table == "extended":
        _refuse("fragments_per_frame", spec.fragments_per_frame, "an extended offset table allows one (PS3.5 A.4)")
    if fmt.photometric_interpretation == "PALETTE COLOR" and (spec.signed or fmt.bits_allocated not in (8, 16)):
        _refuse("bits_allocated", spec.bits_allocated, "palette indices are unsigned with 8 or 16 bits")


def _check_multi_frame(spec: SeriesSpec) -> None:
    if spec.multi_frame is False:
        return
    if spec.duplicates:
        _refuse("duplicates", spec.duplicates, "a multi-frame file has every slice once")
    if spec.multi_frame is True and (spec.tilt_deg or spec.slice_shifts or spec.dimensions):
        _refuse("multi_frame", True, 'tilt, shifts and dimensions of frames need multi_frame="enhanced"')
    if spec.multi_frame is True and (isinstance(spec.slope, tuple) or isinstance(spec.intercept, tuple)):
        _refuse("multi_frame", True, 'a slope or intercept for each slice needs multi_frame="enhanced"')
    if spec.multi_frame == "enhanced" and spec.modality not in ("CT", "MR"):
        _refuse("modality", spec.modality, "enhanced images are CT or MR here")
    if spec.multi_frame == "enhanced" and spec.pixel_format.samples_per_pixel > 1:
        _refuse("multi_frame", "enhanced", "enhanced CT and MR images are monochrome here")


def _check_dimensions(spec: SeriesSpec) -> None:
    for name, values in spec.dimensions.items():
        if isinstance(values, int) and name not in DEFAULT_DIMENSION_VALUES:
            _refuse("dimensions", {name: values}, "give the values of an attribute that is named by keyword")
        if (values if isinstance(values, int) else len(values)) < 1:
            _refuse("dimensions", {name: values}, "a dimension has at least one entry")
