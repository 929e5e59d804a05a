"""Multi-frame objects as one row a frame: functional groups (PS3.3 C.7.6.16) and dose grids (C.8.8.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastdicom.errors import HeaderError
from fastdicom.geometry import slice_normal
from fastdicom.headers.columns import BY_NAME, Column

__all__ = ["frame_overrides", "max_frames"]


def max_frames(pixel_nbytes: int) -> int:
    """Most frames that pixel data of this many bytes are believed to hold.

    A row of the table is larger than 64 bytes, so a count that a damaged file makes up must not be expanded into rows;
    1024 tiny frames are allowed to any file.
    """
    return max(1024, pixel_nbytes // 64)


RawReader = Callable[[Any, int, Column], "bytes | None"]

SHARED, PER_FRAME = 0x5200_9229, 0x5200_9230

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
    dataset: Any, values: Mapping[str, Any], read: RawReader, most_frames: int
) -> list[dict[str, bytes]]:
    """What differs from frame to frame in one file.

    Parameters
    ----------
    dataset : pydicom Dataset
        Without pixel data.
    values : mapping
        Raw values of the file, by column.
    read : callable (dataset, tag, column) -> bytes or None
    most_frames : int
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
    if count > most_frames:
        raise HeaderError(f"NumberOfFrames is {count}, but the pixel data are too short for more than {most_frames}")
    if count > 1 and 0x3004_000C in dataset:
        return _dose_positions(dataset, values, count)
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
