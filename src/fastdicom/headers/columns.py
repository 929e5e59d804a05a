"""What a header scan keeps: the wanted elements as columns, one row a frame.

An element is kept as the bytes of its value (little endian, padding stripped), whichever reader found it; this module
turns those bytes into typed columns with one vectorised call each. So the compiled walker and pydicom can differ in
which bytes they find, never in how these are understood.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import import_pydicom, quiet_pydicom
from fastdicom.types import Skipped

__all__ = [
    "BY_NAME",
    "COLUMNS",
    "ELEMENTS",
    "INT_MISSING",
    "KEY_ELEMENTS",
    "Column",
    "HeaderTable",
    "column_from_bytes",
    "patient_key",
]

INT_MISSING = -(2**31)
"""Value of an integer column where the element is absent, empty or no number."""

Kind = Literal["code", "text", "int", "float", "flag", "span", "key"]


@dataclass(frozen=True, slots=True)
class Column:
    """One wanted element and the column it becomes.

    ``code`` and ``text`` become bytes arrays (``S``): stripped of padding; ``text`` is still in the file's character
    set. ``int`` becomes int64 with INT_MISSING, ``float`` float64 ``(N,)`` or ``(N, count)`` with NaN, ``flag`` bool
    (the element is present and not empty), ``span`` int64 ``(N, 2)``: file offset and length of the value, or (-1, 0).
    ``key`` becomes int64: the hash that `patient_key` makes of this element and of others, which are not kept.
    """

    name: str
    tag: int
    kind: Kind
    vr: str
    count: int = 1
    creator: bytes = b""
    """Private creator that owns the element's block; empty for standard elements. The block is 0x10 in `tag`."""


def _column(name: str, tag: int, vr: str, count: int = 1, kind: Kind | None = None, creator: bytes = b"") -> Column:
    by_vr: dict[str, Kind] = dict.fromkeys(("UI", "CS", "DA", "TM", "DT", "AS"), "code")
    by_vr |= dict.fromkeys(("LO", "SH", "PN", "LT", "ST", "UT"), "text")
    by_vr |= dict.fromkeys(("IS", "US", "SS", "UL", "SL"), "int")
    by_vr |= dict.fromkeys(("DS", "FD", "FL"), "float")
    return Column(name, tag, kind or by_vr[vr], vr, count, creator)


_SIEMENS = b"SIEMENS MR HEADER"
_GE_PARM = b"GEMS_PARM_01"
_GE_ACQU = b"GEMS_ACQU_01"
_PHILIPS = b"Philips Imaging DD 001"
_PHILIPS_MR = b"Philips MR Imaging DD 001"
_UIH = b"Image Private Header"

COLUMNS: tuple[Column, ...] = (
    _column("transfer_syntax_uid", 0x0002_0010, "UI"),
    _column("specific_character_set", 0x0008_0005, "CS"),
    _column("image_type", 0x0008_0008, "CS"),
    _column("sop_class_uid", 0x0008_0016, "UI"),
    _column("sop_instance_uid", 0x0008_0018, "UI"),
    _column("study_date", 0x0008_0020, "DA"),
    _column("acquisition_date", 0x0008_0022, "DA"),
    _column("content_date", 0x0008_0023, "DA"),
    _column("acquisition_date_time", 0x0008_002A, "DT"),
    _column("acquisition_time", 0x0008_0032, "TM"),
    _column("content_time", 0x0008_0033, "TM"),
    _column("modality", 0x0008_0060, "CS"),
    _column("manufacturer", 0x0008_0070, "LO"),
    _column("series_description", 0x0008_103E, "LO"),
    _column("complex_image_component", 0x0008_9208, "CS"),
    _column("patient_key", 0x0010_0020, "LO", kind="key"),
    _column("slice_thickness", 0x0018_0050, "DS"),
    _column("kvp", 0x0018_0060, "DS"),
    _column("repetition_time", 0x0018_0080, "DS"),
    _column("echo_time", 0x0018_0081, "DS"),
    _column("inversion_time", 0x0018_0082, "DS"),
    _column("echo_numbers", 0x0018_0086, "IS"),
    _column("spacing_between_slices", 0x0018_0088, "DS"),
    _column("protocol_name", 0x0018_1030, "LO"),
    _column("trigger_time", 0x0018_1060, "DS"),
    _column("cardiac_number_of_images", 0x0018_1090, "IS"),
    _column("reconstruction_diameter", 0x0018_1100, "DS"),
    _column("gantry_detector_tilt", 0x0018_1120, "DS"),
    _column("filter_type", 0x0018_1160, "SH"),
    _column("imager_pixel_spacing", 0x0018_1164, "DS", 2),
    _column("convolution_kernel", 0x0018_1210, "SH"),
    _column("flip_angle", 0x0018_1314, "DS"),
    _column("nominal_cardiac_trigger_delay_time", 0x0020_9153, "FD"),
    _column("diffusion_b_value", 0x0018_9087, "FD"),
    _column("diffusion_gradient_orientation", 0x0018_9089, "FD", 3),
    _column("siemens_mosaic_images", 0x0019_100A, "US", creator=_SIEMENS),
    _column("siemens_b_value", 0x0019_100C, "IS", creator=_SIEMENS),
    _column("siemens_gradient_direction", 0x0019_100E, "FD", 3, creator=_SIEMENS),
    _column("ge_gradient_x", 0x0019_10BB, "DS", creator=_GE_ACQU),
    _column("ge_gradient_y", 0x0019_10BC, "DS", creator=_GE_ACQU),
    _column("ge_gradient_z", 0x0019_10BD, "DS", creator=_GE_ACQU),
    _column("study_instance_uid", 0x0020_000D, "UI"),
    _column("series_instance_uid", 0x0020_000E, "UI"),
    _column("series_number", 0x0020_0011, "IS"),
    _column("acquisition_number", 0x0020_0012, "IS"),
    _column("instance_number", 0x0020_0013, "IS"),
    _column("image_position", 0x0020_0032, "DS", 3),
    _column("image_orientation", 0x0020_0037, "DS", 6),
    _column("frame_of_reference_uid", 0x0020_0052, "UI"),
    _column("temporal_position_identifier", 0x0020_0100, "IS"),
    _column("number_of_temporal_positions", 0x0020_0105, "IS"),
    _column("temporal_position_time_offset", 0x0020_930D, "FD"),
    _column("stack_id", 0x0020_9056, "SH"),
    _column("in_stack_position_number", 0x0020_9057, "UL"),
    _column("temporal_position_index", 0x0020_9128, "UL"),
    _column("dimension_index_values", 0x0020_9157, "UL", 8, "float"),
    _column("samples_per_pixel", 0x0028_0002, "US"),
    _column("photometric_interpretation", 0x0028_0004, "CS"),
    _column("planar_configuration", 0x0028_0006, "US"),
    _column("number_of_frames", 0x0028_0008, "IS"),
    _column("rows", 0x0028_0010, "US"),
    _column("columns", 0x0028_0011, "US"),
    _column("pixel_spacing", 0x0028_0030, "DS", 2),
    _column("bits_allocated", 0x0028_0100, "US"),
    _column("bits_stored", 0x0028_0101, "US"),
    _column("high_bit", 0x0028_0102, "US"),
    _column("pixel_representation", 0x0028_0103, "US"),
    _column("pixel_padding_value", 0x0028_0120, "US"),  # US or SS: read unsigned, see Pixel Representation
    _column("pixel_padding_range_limit", 0x0028_0121, "US"),
    _column("float_pixel_padding_value", 0x0028_0122, "FL", kind="flag"),  # may be NaN: read in the plan
    _column("double_float_pixel_padding_value", 0x0028_0123, "FD", kind="flag"),
    _column("window_center", 0x0028_1050, "DS", kind="code"),  # 1-n values: parsed in the plan
    _column("window_width", 0x0028_1051, "DS", kind="code"),
    _column("rescale_intercept", 0x0028_1052, "DS"),
    _column("rescale_slope", 0x0028_1053, "DS"),
    _column("rescale_type", 0x0028_1054, "LO"),
    _column("window_explanation", 0x0028_1055, "LO"),
    _column("voi_lut_function", 0x0028_1056, "CS"),
    _column("palette_descriptor", 0x0028_1101, "US", kind="flag"),
    _column("modality_lut_sequence", 0x0028_3000, "SQ", kind="flag"),
    _column("voi_lut_sequence", 0x0028_3010, "SQ", kind="flag"),
    _column("real_world_value_mapping_sequence", 0x0040_9096, "SQ", kind="flag"),
    _column("csa_image_header", 0x0029_1010, "OB", kind="span", creator=b"SIEMENS CSA HEADER"),
    _column("ge_raw_data_type", 0x0043_102F, "SS", creator=_GE_PARM),
    _column("ge_b_value", 0x0043_1039, "IS", creator=_GE_PARM),
    _column("slice_vector", 0x0054_0080, "US", kind="flag"),
    _column("units", 0x0054_1001, "CS"),
    _column("frame_reference_time", 0x0054_1300, "DS"),
    _column("uih_b_value", 0x0065_1009, "FD", creator=_UIH),
    _column("uih_gradient_direction", 0x0065_1037, "FD", 3, creator=_UIH),
    _column("uih_grid_slices", 0x0065_1050, "DS", creator=_UIH),
    _column("philips_b_value", 0x2001_1003, "FL", creator=_PHILIPS),
    _column("philips_scale_intercept", 0x2005_100D, "FL", creator=_PHILIPS_MR),
    _column("philips_scale_slope", 0x2005_100E, "FL", creator=_PHILIPS_MR),
    _column("philips_gradient_rl", 0x2005_10B0, "FL", creator=_PHILIPS_MR),
    _column("philips_gradient_ap", 0x2005_10B1, "FL", creator=_PHILIPS_MR),
    _column("philips_gradient_fh", 0x2005_10B2, "FL", creator=_PHILIPS_MR),
    _column("grid_frame_offset_vector", 0x3004_000C, "DS", kind="flag"),
    _column("dose_grid_scaling", 0x3004_000E, "DS"),
    _column("referenced_segment_number", 0x0062_000B, "US"),
    _column("per_frame_functional_groups", 0x5200_9230, "SQ", kind="flag"),
    _column("extended_offset_table", 0x7FE0_0001, "OV", kind="span"),
    _column("extended_offset_table_lengths", 0x7FE0_0002, "OV", kind="span"),
)
"""Every element a scan keeps. Names are DICOM keywords in snake_case (image_position, image_orientation: DESIGN)."""

ELEMENTS: tuple[Column, ...] = (
    *COLUMNS,
    _column("patient_name", 0x0010_0010, "PN", kind="key"),
    _column("patient_birth_date", 0x0010_0030, "DA", kind="key"),
)
"""Every element that is read: those of `COLUMNS`, and those that go into ``patient_key`` and no further."""

KEY_ELEMENTS = ("series_instance_uid", "patient_key", "patient_name", "patient_birth_date")
"""Names of the elements that go into ``patient_key``, in the order of the parameters of `patient_key`."""

BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}

_BINARY = {"US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4", "FD": "<f8", "FL": "<f4"}


def column_from_bytes(column: Column, values: Sequence[bytes | None]) -> NDArray[Any]:
    """Turn the raw values of one element, one for each row, into its typed column.

    Parameters
    ----------
    column : Column
        Of kind ``code``, ``text``, ``int``, ``float`` or ``flag``.
    values : sequence of N bytes or None
        Little-endian value of each row; None where the element is absent.

    Returns
    -------
    (N,) or (N, count) array; see `Column` for the dtypes. What is no number becomes NaN or INT_MISSING.
    """
    if column.kind == "flag":
        return np.array([bool(value) for value in values], dtype=bool)
    if column.kind in ("code", "text"):
        return np.array([strip_text(value or b"") for value in values], dtype="S")
    if column.kind == "int":
        return np.array([_first_int(column.vr, value or b"") for value in values], dtype=np.int64)
    parsed = np.full((len(values), column.count), np.nan)
    for row, value in enumerate(values):
        numbers = _floats(column.vr, value or b"", column.count)
        parsed[row, : len(numbers)] = numbers
    return parsed[:, 0] if column.count == 1 else parsed


def strip_text(value: bytes) -> bytes:
    """Remove the padding of a text value: spaces around it and NUL bytes after it (PS3.5 6.2)."""
    return value.rstrip(b"\0 ").lstrip(b" ")


def patient_key(series_uid: bytes, patient_id: bytes, name: bytes, birth_date: bytes) -> int:
    """A number that tells the patients of one series apart and names none of them.

    Parameters
    ----------
    series_uid, patient_id, name, birth_date : bytes
        Raw values of (0020,000E), (0010,0020), (0010,0010) and (0010,0030); empty where absent.

    Returns
    -------
    int
        64 bits of a SHA-256, 0 where nothing says who it is. In a series with a UID the Patient ID decides alone, where
        there is one: a name may be spelt in several ways. Without a UID everything counts: IDs such as ``0`` are
        frequent there. The UID goes into the hash, so that one patient has another key in every series.
    """
    series_uid, patient_id = strip_text(series_uid), _plain(patient_id)
    who = (patient_id, b"", b"") if series_uid and patient_id else (patient_id, _plain(name), _plain(birth_date))
    if not any(who):
        return 0
    digest = hashlib.sha256(b"\0".join((b"fastdicom", series_uid, *who))).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def _plain(value: bytes) -> bytes:
    """A name or number without what differs between writers: case, padding, empty components (PS3.5 6.2.1)."""
    return b" ".join(value.replace(b"\0", b" ").upper().rstrip(b"^= ").split())


def _first_int(vr: str, value: bytes) -> int:
    if vr in _BINARY:
        size = np.dtype(_BINARY[vr]).itemsize
        return int(np.frombuffer(value[:size], _BINARY[vr])[0]) if len(value) >= size else INT_MISSING
    try:
        number = float(strip_text(value.split(b"\\", 1)[0]))
    except ValueError:
        return INT_MISSING
    # IS is an integer, but writers put "3.0" there; anything else with a fraction or beyond 32 bits is no integer.
    return int(number) if number.is_integer() and abs(number) < 2**31 else INT_MISSING


def _floats(vr: str, value: bytes, count: int) -> list[float]:
    if vr in _BINARY:
        size = np.dtype(_BINARY[vr]).itemsize
        usable = min(count, len(value) // size) * size
        return [float(v) for v in np.frombuffer(value[:usable], _BINARY[vr])]
    numbers = []
    for text in value.split(b"\\")[:count]:
        try:
            numbers.append(float(strip_text(text)))
        except ValueError:
            numbers.append(np.nan)
    return numbers


def missing_column(column: Column, n: int) -> NDArray[Any]:
    """The column of `n` rows in which the element is absent."""
    if column.kind == "span":
        return np.tile(np.array([-1, 0], dtype=np.int64), (n, 1))
    if column.kind == "key":
        return np.zeros(n, dtype=np.int64)
    return column_from_bytes(column, [None] * n)


_ROW_COLUMNS: Mapping[str, Any] = {
    "path": object,  # locator of the file
    "file_size": np.int64,
    "mtime_ns": np.int64,
    "frame": np.int64,  # index of the frame in its file, from 0
    "frames_in_file": np.int64,
    "reader": np.uint8,  # READER_WALK or READER_PYDICOM
    "pixel_offset": np.int64,  # first byte of the pixel data value, see PixelLocation
    "pixel_length": np.int64,  # -1: encapsulated
    "pixel_keyword": "S20",
    "problem": object,  # "" or why the pixels of this row cannot be read (truncated file, ...)
    "tile_row": np.int64,  # where the slice begins in the decoded frame: 0 unless the frame is a picture of slices
    "tile_column": np.int64,
    "frame_rows": np.int64,  # size of the decoded frame: rows and columns, unless the frame is a picture of slices
    "frame_columns": np.int64,
    "tile_source": np.uint8,  # what placed the tiles, see vendors.py; 0: no tiles
}

READER_WALK, READER_PYDICOM = 0, 1


@dataclass
class HeaderTable:
    """Headers as columns: one row a frame, one array a wanted element.

    Attributes
    ----------
    columns : dict of str to array of N rows
        The elements in `COLUMNS` by name, and for every row: ``path, file_size, mtime_ns, frame, frames_in_file,
        reader, pixel_offset, pixel_length, pixel_keyword, problem``, and ``tile_row, tile_column, frame_rows,
        frame_columns, tile_source`` (see `apply_vendor_rules`).
    skipped : list of Skipped
        Files without a row, and why.
    """

    columns: dict[str, NDArray[Any]]
    skipped: list[Skipped] = field(default_factory=list)

    @classmethod
    def empty(cls) -> HeaderTable:
        columns = {name: np.empty(0, dtype=dtype) for name, dtype in _ROW_COLUMNS.items()}
        return cls(columns | {column.name: missing_column(column, 0) for column in COLUMNS})

    @classmethod
    def concatenate(cls, tables: Iterable[HeaderTable]) -> HeaderTable:
        """Put the rows of several tables below one another (``S`` columns grow to the widest)."""
        parts = list(tables)
        skipped = [item for part in parts for item in part.skipped]
        filled = [part for part in parts if len(part)] or [cls.empty()]
        if len(filled) == 1:
            return cls(filled[0].columns, skipped)
        return cls(
            {name: np.concatenate([part.columns[name] for part in filled]) for name in filled[0].columns}, skipped
        )

    def __repr__(self) -> str:
        return f"<fastdicom.HeaderTable of {len(self)} rows x {len(self.columns)} columns, {len(self.skipped)} skipped>"

    def __len__(self) -> int:
        return len(self.columns["path"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def take(self, rows: NDArray[Any] | Sequence[int]) -> HeaderTable:
        """The table of these rows (an index or boolean array), without `skipped`."""
        return HeaderTable({name: values[rows] for name, values in self.columns.items()})

    def text(self, name: str, row: int) -> str:
        """A ``code`` or ``text`` value as str, decoded with the row's Specific Character Set (PS3.5 6.1)."""
        raw = bytes(self.columns[name][row])
        if raw.isascii() and b"\x1b" not in raw:  # the sets of ISO 2022 with 7 bits begin with an escape (PS3.5 H)
            return raw.decode("ascii")
        return decode_text(raw, bytes(self.columns["specific_character_set"][row]))


def decode_text(raw: bytes, character_set: bytes) -> str:
    """Decode a text value with a Specific Character Set (0008,0005) value; never fails, bad bytes are replaced."""
    import_pydicom()
    from pydicom.charset import convert_encodings, decode_bytes
    from pydicom.valuerep import TEXT_VR_DELIMS

    with quiet_pydicom():  # pydicom warns of unknown sets and falls back; so do we
        names = [part.strip() for part in character_set.decode("ascii", "replace").split("\\")]
        try:
            encodings = convert_encodings(names if len(names) > 1 else names[0])
            return str(decode_bytes(raw, encodings, TEXT_VR_DELIMS))
        except (LookupError, ValueError):
            return raw.decode("latin-1")
