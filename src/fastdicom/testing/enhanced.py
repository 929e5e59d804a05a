"""Functional groups of enhanced multi-frame images: place and dimensions of each frame (PS3.3 C.7.6.16, C.7.6.17)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from fastdicom.errors import UsageError
from fastdicom.testing.attributes import per_slice
from fastdicom.testing.placement import format_decimal, slice_positions
from fastdicom.testing.spec import SeriesSpec, uid_from

__all__ = ["enhanced_attributes", "frame_order"]

DIMENSION_POINTERS = {
    "temporal_position": ("FrameContentSequence", "TemporalPositionIndex"),
    "echo": ("MREchoSequence", "EffectiveEchoTime"),
    "b_value": ("MRDiffusionSequence", "DiffusionBValue"),
    "gradient": ("MRDiffusionSequence", "DiffusionGradientOrientation"),
    "trigger_time": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "acquisition_number": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "acquisition_time": ("FrameContentSequence", "FrameAcquisitionDateTime"),
    "content_time": ("FrameContentSequence", "FrameReferenceDateTime"),
}
IMAGE_TYPE = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
"""Not original: those must also describe the acquisition (table, tube, coils) in a dozen functional groups."""


def frame_order(spec: SeriesSpec) -> list[int]:
    """Flat grid indices of the frames of a multi-frame file: in grid order, or shuffled where tags tell the order."""
    frames = [f for f in range(math.prod(spec.grid_shape)) if f % spec.slices not in spec.missing]
    if spec.multi_frame != "enhanced":
        return frames
    return [int(f) for f in np.random.default_rng(spec.seed + 3).permutation(frames)]


def enhanced_attributes(spec: SeriesSpec) -> Dataset:
    """What an enhanced image has and a classic one has not."""
    ds = Dataset()
    _image_module(ds, spec)
    _dimension_module(ds, spec)
    ds.SharedFunctionalGroupsSequence = [_shared_groups(spec)]
    positions = slice_positions(spec)
    ds.PerFrameFunctionalGroupsSequence = [_frame_groups(spec, frame, positions) for frame in frame_order(spec)]
    return ds


def item(**values: Any) -> list[Dataset]:
    """A sequence of one item."""
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return [ds]


def _image_module(ds: Dataset, spec: SeriesSpec) -> None:
    """Enhanced CT or MR Image (PS3.3 C.8.15.2, C.8.13.1)."""
    ds.ImageType = IMAGE_TYPE
    ds.InstanceNumber = 1
    ds.AcquisitionNumber = 1
    ds.AcquisitionDateTime = "20240229101530"
    ds.AcquisitionDuration = 10.0
    ds.ContentQualification = "PRODUCT"
    ds.PixelPresentation = "MONOCHROME"
    ds.VolumetricProperties = "VOLUME"
    ds.VolumeBasedCalculationTechnique = "NONE"
    ds.BurnedInAnnotation = "NO"
    ds.LossyImageCompression = "00"
    ds.PresentationLUTShape = "IDENTITY"
    ds.AcquisitionContextSequence = []
    if spec.modality == "MR":
        ds.ResonantNucleus, ds.KSpaceFiltering = "1H", "NONE"
        ds.ApplicableSafetyStandardAgency = "IEC"
        ds.ComplexImageComponent, ds.AcquisitionContrast = "MAGNITUDE", "UNKNOWN"


def _dimension_module(ds: Dataset, spec: SeriesSpec) -> None:
    organization = uid_from("dimensions", spec.series_uid)
    ds.DimensionOrganizationSequence = item(DimensionOrganizationUID=organization)
    pointers = [("FrameContentSequence", "StackID"), ("FrameContentSequence", "InStackPositionNumber")]
    pointers += [_pointer(name) for name in spec.dimensions]
    ds.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword(keyword),
            FunctionalGroupPointer=tag_for_keyword(group),
            DimensionDescriptionLabel=keyword,
        )[0]
        for group, keyword in pointers
    ]


def _pointer(name: str) -> tuple[str, str]:
    if name not in DIMENSION_POINTERS:
        raise UsageError(
            f"SeriesSpec(dimensions={{{name!r}: ...}}) has no functional group here. Use one of "
            f"{', '.join(DIMENSION_POINTERS)}, or classic files (multi_frame=False).",
            argument="dimensions",
        )
    return DIMENSION_POINTERS[name]


def _shared_groups(spec: SeriesSpec) -> Dataset:
    ds = Dataset()
    ds.PixelMeasuresSequence = item(
        PixelSpacing=[format_decimal(v) for v in spec.pixel_spacing], SliceThickness=format_decimal(spec.slice_step)
    )
    if spec.position:
        ds.PlaneOrientationSequence = item(ImageOrientationPatient=[format_decimal(v) for v in spec.orientation])
    frame_type = {
        "FrameType": IMAGE_TYPE,
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
    }
    if spec.modality == "MR":
        frame_type |= {"ComplexImageComponent": "MAGNITUDE", "AcquisitionContrast": "UNKNOWN"}
        ds.MRImageFrameTypeSequence = item(**frame_type)
    else:
        ds.CTImageFrameTypeSequence = item(**frame_type)
    if not isinstance(spec.slope, tuple) and not isinstance(spec.intercept, tuple):
        _add_rescale(ds, spec, 0)
    if spec.windows:
        centres, widths = zip(*spec.windows, strict=True)
        ds.FrameVOILUTSequence = item(
            WindowCenter=[format_decimal(v) for v in centres], WindowWidth=[format_decimal(v) for v in widths]
        )
    return ds


def _add_rescale(ds: Dataset, spec: SeriesSpec, k: int) -> None:
    slope, intercept = per_slice(spec.slope, k), per_slice(spec.intercept, k)
    if slope is None and intercept is None:
        return
    # Both are type 1 in this group, so an absent one is written as what its absence means.
    ds.PixelValueTransformationSequence = item(
        RescaleSlope=format_decimal(1.0 if slope is None else slope),
        RescaleIntercept=format_decimal(intercept or 0.0),
        RescaleType="HU" if spec.modality == "CT" else "US",
    )


def _frame_groups(spec: SeriesSpec, frame: int, positions: np.ndarray[Any, Any]) -> Dataset:
    *at, k = (int(i) for i in np.unravel_index(frame, spec.grid_shape))
    ds = Dataset()
    ds.FrameContentSequence = item(
        FrameAcquisitionNumber=1,
        StackID="1",
        InStackPositionNumber=k + 1,
        DimensionIndexValues=[1, k + 1, *(i + 1 for i in at)],
    )
    if spec.position:
        ds.PlanePositionSequence = item(ImagePositionPatient=[format_decimal(v) for v in positions[k]])
    if isinstance(spec.slope, tuple) or isinstance(spec.intercept, tuple):
        _add_rescale(ds, spec, k)
    for (name, choices), i in zip(spec.dimension_values.items(), at, strict=True):
        _add_dimension(ds, name, choices[i], i)
    return ds


def _add_dimension(ds: Dataset, name: str, value: Any, i: int) -> None:
    group, keyword = _pointer(name)
    if group not in ds:
        setattr(ds, group, [Dataset()])
    target = ds[group].value[0]
    if name == "temporal_position":
        value = i + 1
    elif name in ("acquisition_time", "content_time"):
        value = f"20240229{value}"
    elif name == "b_value":
        target.DiffusionDirectionality = "NONE" if value == 0 else "ISOTROPIC"
    elif name == "gradient":
        target.DiffusionDirectionality = "DIRECTIONAL"
        target.DiffusionGradientDirectionSequence = item(DiffusionGradientOrientation=list(value))
        return
    setattr(target, keyword, value)
