"""The attributes of a generated series: those that all its files share, and those of each instance."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from fastdicom.errors import UsageError
from fastdicom.testing.modalities import MODALITY_MODULES
from fastdicom.testing.placement import format_decimal, slice_positions
from fastdicom.testing.spec import SeriesSpec, uid_from

__all__ = [
    "Instance",
    "constant_attributes",
    "instance_attributes",
    "instances",
    "multi_frame_attributes",
    "sop_class_of",
]

SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "XA": "1.2.840.10008.5.1.4.1.1.12.1",
    "RF": "1.2.840.10008.5.1.4.1.1.12.2",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
}
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ULTRASOUND_MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}
CROSS_SECTIONAL = ("CT", "MR", "PT")
DIMENSION_KEYWORDS = {
    "temporal_position": "TemporalPositionIdentifier",
    "echo": "EchoTime",
    "b_value": "DiffusionBValue",
    "gradient": "DiffusionGradientOrientation",
    "trigger_time": "TriggerTime",
    "acquisition_number": "AcquisitionNumber",
    "acquisition_time": "AcquisitionTime",
    "content_time": "ContentTime",
}


@dataclass(frozen=True, slots=True)
class Instance:
    """One file of a classic series."""

    frame: int
    """Flat index into the grid ``(*dimensions, slices)``."""
    slice_index: int
    dimension_index: tuple[int, ...]
    copy: int
    """1 for the second file of a slice in `SeriesSpec.duplicates`."""
    instance_number: int | None
    sop_instance_uid: str


BIG_ENDIAN = "1.2.840.10008.1.2.2"


def sop_class_of(spec: SeriesSpec) -> str:
    """SOP Class UID that allows what the recipe asks for (PS3.4 B.5)."""
    if spec.sop_class_uid is not None:
        return spec.sop_class_uid
    if spec.multi_frame == "enhanced":
        return ENHANCED.get(spec.modality, ENHANCED["MR"])
    fmt = spec.pixel_format
    if spec.multi_frame and spec.modality == "US":
        return ULTRASOUND_MULTI_FRAME
    if spec.modality in ("US", "NM", "XA", "RF", "RTDOSE"):
        return SOP_CLASSES[spec.modality]
    if spec.multi_frame:
        # Multi-frame secondary capture: single bit, grayscale byte, grayscale word, true colour.
        kind = 4 if fmt.samples_per_pixel == 3 else {1: 1, 8: 2}.get(fmt.bits_allocated, 3)
        return f"{SECONDARY_CAPTURE}.{kind}"
    if fmt.samples_per_pixel == 3 or fmt.photometric_interpretation == "PALETTE COLOR":
        return SECONDARY_CAPTURE
    return SOP_CLASSES.get(spec.modality, SECONDARY_CAPTURE)


def instances(spec: SeriesSpec) -> list[Instance]:
    """The files of the series in grid order; second copies last."""
    shape = spec.grid_shape
    total = math.prod(shape)
    frames = [f for f in range(total) if f % spec.slices not in spec.missing]
    files = [(f, 0) for f in frames] + [(f, 1) for f in frames if f % spec.slices in spec.duplicates]
    numbers: list[int | None] = [None] * total
    if spec.instance_numbers is not None:
        order = np.arange(1, total + 1)
        if spec.instance_numbers == "reversed":
            order = order[::-1]
        elif spec.instance_numbers == "shuffled":
            order = np.random.default_rng(spec.seed + 1).permutation(order)
        numbers = [int(n) for n in order]
    root = uid_from("instances", spec.series_uid)
    return [
        Instance(
            frame=f,
            slice_index=f % spec.slices,
            dimension_index=tuple(int(i) for i in np.unravel_index(f, shape)[:-1]),
            copy=copy,
            instance_number=numbers[f],
            sop_instance_uid=f"{root}.{f + 1 + copy * total}",
        )
        for f, copy in files
    ]


def per_slice(value: float | tuple[float, ...] | None, k: int) -> float | None:
    """Entry `k` of a number that is one for all slices or one for each."""
    return value[k] if isinstance(value, tuple) else value


def instance_attributes(spec: SeriesSpec) -> Iterator[tuple[Instance, dict[str, Any]]]:
    """What differs from file to file, by keyword, in the spelling of the file (DS as text). None: absent."""
    positions = slice_positions(spec)
    normal = np.cross(*np.asarray(spec.orientation, np.float64).reshape(2, 3))
    dimensions = spec.dimension_values
    varying = {name: value for name, value in spec.extra.items() if callable(value)}
    with_position = spec.position and spec.multi_frame is False
    for n, instance in enumerate(instances(spec)):
        k = instance.slice_index
        values: dict[str, Any] = {
            "SOPInstanceUID": instance.sop_instance_uid,
            "InstanceNumber": "" if instance.instance_number is None else instance.instance_number,
        }
        if with_position:
            values["ImagePositionPatient"] = [format_decimal(v) for v in positions[k]]
            values["SliceLocation"] = format_decimal(round(float(positions[k] @ normal), 4))
        if spec.pixel_format.samples_per_pixel == 1:
            for keyword, given in (("RescaleSlope", spec.slope), ("RescaleIntercept", spec.intercept)):
                number = per_slice(given, k)
                values[keyword] = None if number is None else format_decimal(number)
        if spec.modality == "PT":
            values["ImageIndex"] = n + 1
        for (name, choices), i in zip(dimensions.items(), instance.dimension_index, strict=True):
            values |= dimension_attributes(name, choices, i)
        values |= {name: function(k) for name, function in varying.items()}
        yield instance, values


def multi_frame_attributes(spec: SeriesSpec, frames: int) -> dict[str, Any]:
    """What the one file of a multi-frame series has in place of `instance_attributes`."""
    values: dict[str, Any] = {
        "SOPInstanceUID": f"{uid_from('instances', spec.series_uid)}.1",
        "InstanceNumber": 1 if spec.instance_numbers or spec.multi_frame == "enhanced" else "",
        "NumberOfFrames": frames,
    }
    if spec.multi_frame == "enhanced":
        return values
    if spec.pixel_format.samples_per_pixel == 1:
        for keyword, number in (("RescaleSlope", spec.slope), ("RescaleIntercept", spec.intercept)):
            values[keyword] = format_decimal(number) if isinstance(number, (int, float)) else None
    if spec.modality == "NM":
        values |= {"FrameIncrementPointer": 0x00540080, "SliceVector": list(range(1, frames + 1))}
    elif spec.modality == "RTDOSE":
        values |= {"FrameIncrementPointer": 0x3004000C}
    else:
        values |= {"FrameIncrementPointer": 0x00181063, "FrameTime": "40"}
    return values


def dimension_attributes(name: str, choices: tuple[Any, ...], i: int) -> dict[str, Any]:
    """Attributes that say that a frame is entry `i` of an extra dimension."""
    keyword = DIMENSION_KEYWORDS.get(name, name)
    if tag_for_keyword(keyword) is None:
        raise UsageError(
            f"SeriesSpec(dimensions={{{name!r}: ...}}) is neither one of {', '.join(DIMENSION_KEYWORDS)} nor a DICOM "
            "keyword. Use one of these.",
            argument="dimensions",
        )
    value = choices[i]
    if dictionary_VR(keyword) == "DS":
        value = format_decimal(value)
    attributes: dict[str, Any] = {keyword: list(value) if isinstance(value, tuple) else value}
    if name == "temporal_position":
        attributes["NumberOfTemporalPositions"] = len(choices)
    elif name == "echo":
        attributes["EchoNumbers"] = i + 1
    elif name == "b_value":
        attributes["DiffusionDirectionality"] = "NONE" if value == 0 else "ISOTROPIC"
    elif name == "gradient":
        attributes["DiffusionDirectionality"] = "DIRECTIONAL"
    return attributes


def constant_attributes(spec: SeriesSpec) -> Dataset:
    """What all files of the series share, pixel data excepted."""
    ds = Dataset()
    _patient_and_study(ds, spec)
    _series_and_equipment(ds, spec)
    _modality(ds, spec)
    if spec.multi_frame is False and spec.position:
        ds.ImageOrientationPatient = [format_decimal(v) for v in spec.orientation]
    if spec.multi_frame != "enhanced" and (spec.position or spec.multi_frame):
        ds.PixelSpacing = [format_decimal(v) for v in spec.pixel_spacing]
        if spec.multi_frame is False or spec.modality in ("NM", "RTDOSE"):
            ds.SliceThickness = format_decimal(spec.slice_step)
        if spec.modality in ("MR", "NM"):
            ds.SpacingBetweenSlices = format_decimal(spec.slice_step)
    pixel_attributes(ds, spec)
    return ds


def apply_extra(ds: Dataset, spec: SeriesSpec) -> None:
    """Set (or remove) what the recipe names itself; it wins over everything above."""
    for keyword, value in spec.extra.items():
        if value is None or callable(value):
            if keyword in ds:
                delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)


def _patient_and_study(ds: Dataset, spec: SeriesSpec) -> None:
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID = sop_class_of(spec)
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240229"
    ds.StudyTime = "101500"
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101530.250000"
    ds.AccessionNumber = "A0042"
    ds.Manufacturer = "fastdicom"
    ds.ReferringPhysicianName = ""
    ds.ManufacturerModelName = "phantom"
    ds.PatientName = "Phantom^Generated"
    ds.PatientID = "FD-0001"
    ds.PatientBirthDate = "19700101"
    ds.PatientSex = "O"
    ds.StudyInstanceUID = spec.study_uid
    ds.StudyID = "1"


def _series_and_equipment(ds: Dataset, spec: SeriesSpec) -> None:
    ds.Modality = spec.modality
    ds.SeriesDescription = spec.series_description
    ds.SeriesInstanceUID = spec.series_uid
    ds.SeriesNumber = spec.series_number
    ds.SoftwareVersions = "1.0"
    ds.DeviceSerialNumber = "42"
    if spec.position or spec.multi_frame:
        ds.FrameOfReferenceUID = spec.reference_uid
        ds.PositionReferenceIndicator = ""
        ds.PatientPosition = "HFS"
    else:
        ds.PatientOrientation = ""


def _modality(ds: Dataset, spec: SeriesSpec) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    if spec.multi_frame != "enhanced":
        ds.AcquisitionNumber = 1
    if str(ds.SOPClassUID).startswith(SECONDARY_CAPTURE) and spec.modality != "PT":
        ds.ImageType = ["DERIVED", "SECONDARY"]
        ds.ConversionType = "WSD"
        ds.BurnedInAnnotation = "NO"
    if spec.modality in MODALITY_MODULES:
        MODALITY_MODULES[spec.modality](ds, spec)


def pixel_attributes(ds: Dataset, spec: SeriesSpec) -> None:
    """Image Pixel module and what belongs to the display of the pixels (PS3.3 C.7.6.3)."""
    fmt = spec.pixel_format
    ds.SamplesPerPixel = fmt.samples_per_pixel
    ds.PhotometricInterpretation = fmt.photometric_interpretation
    if fmt.samples_per_pixel > 1:
        ds.PlanarConfiguration = fmt.planar_configuration
    ds.Rows, ds.Columns, ds.BitsAllocated = fmt.rows, fmt.columns, fmt.bits_allocated
    if fmt.pixel_keyword == "PixelData":
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = fmt.bits_stored, fmt.high_bit, fmt.pixel_representation
    if fmt.photometric_interpretation == "PALETTE COLOR":
        palette(ds, fmt.bits_stored, ">u2" if spec.transfer_syntax_uid == BIG_ENDIAN else "<u2")
    if spec.padding is not None:
        ds.add_new("PixelPaddingValue", "SS" if spec.signed else "US", spec.padding)
    if spec.multi_frame == "enhanced":
        return
    if spec.windows and fmt.samples_per_pixel == 1:
        centres, widths = zip(*spec.windows, strict=True)
        ds.WindowCenter = [format_decimal(v) for v in centres] if len(centres) > 1 else format_decimal(centres[0])
        ds.WindowWidth = [format_decimal(v) for v in widths] if len(widths) > 1 else format_decimal(widths[0])
    if fmt.samples_per_pixel == 1 and spec.modality in ("CT", "MR") and spec.slope is not None:
        ds.RescaleType = "HU" if spec.modality == "CT" else "US"


def palette(ds: Dataset, bits: int, words: str) -> None:
    """A palette of 16-bit entries for the lower 256 indices; larger ones take the last (PS3.3 C.7.6.3.1.5).

    pydicom writes OW as it is given, so it is given as `words` in the byte order of the file.
    """
    entries = min(1 << bits, 256)
    ramp = np.linspace(0, 65535, entries)
    for colour, levels in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", np.abs(ramp - 32768) * 1.99)):
        ds.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [entries, 0, 16])
        ds.add_new(f"{colour}PaletteColorLookupTableData", "OW", levels.astype(words).tobytes())
