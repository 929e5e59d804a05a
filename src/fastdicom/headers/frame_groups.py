"""Multi-frame objects as one row a frame: functional groups (PS3.3 C.7.6.16), dose grids, tomograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastdicom.errors import HeaderError
from fastdicom.geometry import slice_normal
from fastdicom.headers.columns import BY_NAME, Column
from fastdicom.types import ByteReader

__all__ = ["count_fragments", "frame_overrides", "max_frames", "native_frame_nbytes"]


PIECE_NBYTES = 1 << 16
ROW_NBYTES = 1024
"""More than the memory of a row of the table."""
LEAST_NBYTES = 64
"""Of a frame that is there. Rows of many smaller ones would take a multiple of the file."""
FEW_FRAMES = 1024
"""So many frames are believed of any file."""


def max_frames(pixel_nbytes: int, frame_nbytes: int = 0) -> int:
    """Most frames that pixel data of this many bytes are believed to hold.

    A count that a damaged file makes up must not be expanded into rows, which would take more memory than the file has
    bytes. Where frames have a known size, those that are there are believed, if they are not tiny; and a file may lack
    most of what it claims (it was cut), but not more than 15 of 16 frames.

    Parameters
    ----------
    frame_nbytes : int
        Bytes of a native frame; 0: unknown, or encapsulated.
    """
    most = pixel_nbytes // ROW_NBYTES
    if frame_nbytes > 0:
        there = pixel_nbytes // frame_nbytes
        most = max(min(most, 16 * there), min(there, pixel_nbytes // LEAST_NBYTES))
    return max(FEW_FRAMES, most)


def count_fragments(reader: ByteReader, offset: int, most: int) -> int:
    """Fragments with data in the encapsulated pixel data at `offset`, no more than `most` (PS3.5 A.4).

    For frames so small that there are several in each KiB: they are read in pieces, not one by one.
    """
    found, position, piece, start = 0, offset, b"", offset
    is_table = True
    while found < most:
        if position + 8 > start + len(piece):
            start, piece = position, reader.read_at(position, PIECE_NBYTES)
        at = position - start
        if len(piece) < at + 8 or piece[at : at + 4] != b"\xfe\xff\x00\xe0":
            break
        length = int.from_bytes(piece[at + 4 : at + 8], "little")
        position += 8 + length
        found += 0 if is_table or length == 0 or position > reader.size else 1
        is_table = False
    return found


def native_frame_nbytes(values: Callable[[str], object]) -> int:
    """Bytes of a native frame, from the little endian values of its attributes; 0 where one is missing or 0."""
    bits = 1
    for name in ("rows", "columns", "samples_per_pixel", "bits_allocated"):
        raw = values(name)
        if not isinstance(raw, bytes) or len(raw) != 2:
            return 0
        bits *= int.from_bytes(raw, "little")
    photometric = values("photometric_interpretation")
    if isinstance(photometric, bytes) and photometric.strip(b"\0 ") == b"YBR_FULL_422":
        bits = bits * 2 // 3  # of each chrominance every second sample only (PS3.3 C.7.6.3.1.2)
    return bits // 8


RawReader = Callable[[Any, int, Column], "bytes | None"]

SHARED, PER_FRAME = 0x5200_9229, 0x5200_9230
NUCLEAR_MEDICINE = b"1.2.840.10008.5.1.4.1.1.20"
SLICE_VECTOR, TIME_SLOT_VECTOR = 0x0054_0080, 0x0054_0070
_OTHER_VECTORS = (0x0054_0010, 0x0054_0020, 0x0054_0030, 0x0054_0050, 0x0054_0060, 0x0054_0090, 0x0054_0100)
"""Energy window, detector, phase, rotation, R-R interval, angular view and time slice of each frame."""

_MACROS: tuple[tuple[int, tuple[tuple[int, str], ...]], ...] = (
    (0x0020_9113, ((0x0020_0032, "image_position"),)),
    (0x0020_9116, ((0x0020_0037, "image_orientation"),)),
    (
        0x0028_9110,
        (
            (0x0028_0030, "pixel_spacing"),
            (0x0018_0050, "slice_thickness"),
            (0x0018_0088, "spacing_between_slices"),
        ),
    ),
    (
        0x0020_9111,
        (
            (0x0018_9151, "acquisition_date_time"),  # reference time, where the acquisition's own is absent
            (0x0018_9074, "acquisition_date_time"),
            (0x0020_9056, "stack_id"),
            (0x0020_9057, "in_stack_position_number"),
            (0x0020_9128, "temporal_position_index"),
            (0x0020_9156, "acquisition_number"),
            (0x0020_9157, "dimension_index_values"),
        ),
    ),
    (
        0x0028_9145,
        (
            (0x0028_1052, "rescale_intercept"),
            (0x0028_1053, "rescale_slope"),
            (0x0028_1054, "rescale_type"),
        ),
    ),
    (
        0x0028_9132,
        (
            (0x0028_1050, "window_center"),
            (0x0028_1051, "window_width"),
            (0x0028_1055, "window_explanation"),
            (0x0028_1056, "voi_lut_function"),
        ),
    ),
    (0x0018_9114, ((0x0018_9082, "echo_time"),)),
    (0x0018_9112, ((0x0018_0080, "repetition_time"), (0x0018_1314, "flip_angle"))),
    (0x0018_9115, ((0x0018_9079, "inversion_time"),)),
    (0x0018_9117, ((0x0018_9087, "diffusion_b_value"),)),
    (0x0018_9118, ((0x0020_9153, "nominal_cardiac_trigger_delay_time"),)),
    (0x0020_9310, ((0x0020_930D, "temporal_position_time_offset"),)),
    (0x0018_9325, ((0x0018_0060, "kvp"),)),
    (0x0018_9329, ((0x0008_9007, "image_type"),)),
    (0x0018_9226, ((0x0008_9007, "image_type"), (0x0008_9208, "complex_image_component"))),
    (0x0018_9751, ((0x0008_9007, "image_type"),)),
    (0x0062_000A, ((0x0062_000B, "referenced_segment_number"),)),
)
"""(macro sequence, ((element in it, column it fills), ...)). A per-frame group wins over the shared one."""


def frame_overrides(
    dataset: Any, values: Mapping[str, Any], read: RawReader, most_frames: Callable[[int], int]
) -> list[dict[str, bytes]]:
    """What differs from frame to frame in one file.

    Parameters
    ----------
    dataset : pydicom Dataset
        Without pixel data.
    values : mapping
        Raw values of the file, by column.
    read : callable (dataset, tag, column) -> bytes or None
    most_frames : callable (count) -> int
        More than these are not believed, where nothing but Number of Frames claims them.

    Returns
    -------
    list of dict, one a frame
        Columns and raw values that replace those of the file.
    """
    count = _number_of_frames(values)
    if PER_FRAME in dataset and len(dataset[PER_FRAME].value) > 0:
        groups = dataset[PER_FRAME].value
        if len(groups) != count:
            raise HeaderError(f"NumberOfFrames is {count} but PerFrameFunctionalGroupsSequence has {len(groups)} items")
        shared_items = dataset[SHARED].value if SHARED in dataset else []
        shared = _group(shared_items[0], read) if len(shared_items) else {}
        return [shared | _group(item, read) for item in groups]
    most = most_frames(count)
    if count > most:
        raise HeaderError(f"NumberOfFrames is {count}, but the pixel data are too short for more than {most}")
    if count > 1 and 0x3004_000C in dataset:
        return _dose_positions(dataset, values, count)
    if (
        count > 1
        and SLICE_VECTOR in dataset
        and bytes(values.get("sop_class_uid") or b"").rstrip(b"\0 ") == NUCLEAR_MEDICINE
    ):
        return _tomogram_positions(dataset, values, count)
    return [{} for _ in range(count)]


def _number_of_frames(values: Mapping[str, Any]) -> int:
    raw = values.get("number_of_frames")
    try:
        count = int(float(raw.strip(b"\0 "))) if raw and raw.strip(b"\0 ") else 1
    except ValueError as error:
        raise HeaderError(f"NumberOfFrames is {raw!r}, not a number") from error
    return max(count, 1)  # 0 or negative: written by software that does not count single frames


def _group(item: Any, read: RawReader) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for sequence, elements in _MACROS:
        if sequence not in item or not len(item[sequence].value):
            continue
        macro = item[sequence].value[0]
        for tag, name in elements:
            value = read(macro, tag, BY_NAME[name])
            if value is not None:
                found[name] = value
        if sequence == 0x0018_9117 and 0x0018_9076 in macro and len(macro[0x0018_9076].value):
            direction = read(macro[0x0018_9076].value[0], 0x0018_9089, BY_NAME["diffusion_gradient_orientation"])
            if direction is not None:
                found["diffusion_gradient_orientation"] = direction
    return found


def _dose_positions(dataset: Any, values: Mapping[str, Any], count: int) -> list[dict[str, bytes]]:
    """Positions of the planes of an RT Dose grid from its Grid Frame Offset Vector (PS3.3 C.8.8.3.2)."""
    offsets = np.atleast_1d(np.asarray(dataset[0x3004_000C].value, dtype=np.float64))
    origin = dataset.get("ImagePositionPatient")
    orientation = dataset.get("ImageOrientationPatient")
    if len(offsets) != count or origin is None or orientation is None:
        return [{} for _ in range(count)]
    first = np.asarray(origin, dtype=np.float64)
    normal = slice_normal(np.asarray(orientation, dtype=np.float64))
    # First value zero: distances from the first plane. Otherwise: patient z coordinates of axial planes.
    relative = offsets if offsets[0] == 0 else (offsets - offsets[0]) * np.sign(normal[2] or 1.0)
    places = first + relative[:, None] * normal
    return [{"image_position": "\\".join(map(repr, map(float, place))).encode()} for place in places]


def _tomogram_positions(dataset: Any, values: Mapping[str, Any], count: int) -> list[dict[str, bytes]]:
    """Positions of the slices of a reconstructed nuclear medicine tomogram (RECON TOMO, RECON GATED TOMO).

    The first slice is where the only item of Detector Information Sequence says; the others follow along the normal,
    or against it where Spacing Between Slices is negative. Time slots of a gated study become temporal positions.
    Empty overrides where anything else tells the frames apart, or is missing.

    Source: DICOM PS3.3 C.8.4.8 (vectors), C.8.4.11 (detector), C.8.4.15 (reconstruction).
    """
    nowhere: list[dict[str, bytes]] = [{} for _ in range(count)]
    image_type = bytes(values.get("image_type") or b"").upper().split(b"\\")
    if len(image_type) < 3 or image_type[2].strip() not in (b"RECON TOMO", b"RECON GATED TOMO"):
        return nowhere
    try:
        slices, slots = _vector(dataset, SLICE_VECTOR), _vector(dataset, TIME_SLOT_VECTOR)
        one_of_each = all(len(set(_vector(dataset, tag))) <= 1 for tag in _OTHER_VECTORS)
        (detector,) = dataset["DetectorInformationSequence"].value
        # Some writers give both at the top, where other images have them.
        origin, orientation = (
            np.asarray(detector.get(name) or dataset.get(name), dtype=np.float64)
            for name in ("ImagePositionPatient", "ImageOrientationPatient")
        )
        step = float(dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 0.0)
    except (KeyError, TypeError, ValueError, OverflowError):  # absent or malformed: a sequence without places
        return nowhere
    if not (one_of_each and len(slices) == count and len(slots) in (0, count) and step):
        return nowhere
    if origin.shape != (3,) or orientation.shape != (6,):
        return nowhere
    places = origin + (np.asarray(slices) - 1.0)[:, None] * slice_normal(orientation) * step
    written = b"\\".join(repr(cosine).encode() for cosine in orientation.tolist())
    found = []
    for frame, place in enumerate(places.tolist()):
        placed = {"image_position": "\\".join(map(repr, place)).encode(), "image_orientation": written}
        if slots:
            placed["temporal_position_index"] = slots[frame].to_bytes(4, "little")
        found.append(placed)
    return found


def _vector(dataset: Any, tag: int) -> list[int]:
    """The numbers of an element that has one for each frame; none where it is absent."""
    value = dataset[tag].value if tag in dataset else None
    return [] if value is None else [int(number) for number in np.atleast_1d(np.asarray(value)).tolist()]
