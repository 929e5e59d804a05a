"""What a volume knows about its series, and which of it may leave the DICOM files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import quiet_pydicom
from fastdicom.catalog import CatalogEntry
from fastdicom.headers import INT_MISSING
from fastdicom.plan import VolumePlan

__all__ = ["IDENTIFYING", "SeriesRecord", "slice_columns"]

IDENTIFYING = frozenset(
    {
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
        "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "EthnicGroup", "Occupation",
        "AccessionNumber", "StudyID", "StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate",
        "ContentDate", "StudyDescription", "SeriesDescription", "ProtocolName", "InstitutionName",
        "InstitutionAddress", "InstitutionalDepartmentName", "ReferringPhysicianName", "PerformingPhysicianName",
        "OperatorsName", "StationName", "DeviceSerialNumber", "ContrastBolusAgent", "StudyInstanceUID",
        "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID",
    }
)  # fmt: skip
"""Keywords of `SERIES_KEYWORDS` that the basic profile of PS3.15 table E.1-1 removes or replaces."""

SERIES_KEYWORDS = (
    # Patient (PS3.3 C.7.1.1, C.7.2.2)
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight",
    # Study (C.7.2.1)
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription",
    "ReferringPhysicianName",
    # Series (C.7.3.1)
    "SeriesInstanceUID", "SeriesNumber", "SeriesDate", "SeriesTime", "SeriesDescription", "ProtocolName", "Modality",
    "BodyPartExamined", "PatientPosition", "Laterality", "FrameOfReferenceUID", "PositionReferenceIndicator",
    # Equipment (C.7.5.1)
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "InstitutionName", "StationName", "DeviceSerialNumber",
    # Acquisition, constant over a series
    "SOPClassUID", "ImageType", "KVP", "ConvolutionKernel", "GantryDetectorTilt", "SliceThickness",
    "SpacingBetweenSlices", "MagneticFieldStrength", "ScanningSequence", "SequenceVariant", "MRAcquisitionType",
    "RepetitionTime", "EchoTime", "InversionTime", "FlipAngle", "ContrastBolusAgent", "Units", "DecayCorrection",
    "RescaleType", "BitsStored", "PhotometricInterpretation", "LossyImageCompression",
)  # fmt: skip


@dataclass(frozen=True)
class SeriesRecord:
    """Identity of the series a volume comes from."""

    modality: str
    series_instance_uid: str
    study_instance_uid: str
    frame_of_reference_uid: str
    transfer_syntax_uids: tuple[str, ...]
    series_number: int | None = None
    stored_attributes: Mapping[str, Any] | None = None
    """Attributes that a Zarr store kept; None for a volume that has its DICOM files."""

    @classmethod
    def of(cls, entry: CatalogEntry) -> SeriesRecord:
        return cls(
            modality=entry.modality,
            series_instance_uid=entry.series_instance_uid,
            study_instance_uid=entry.study_instance_uid,
            frame_of_reference_uid=entry.frame_of_reference_uid,
            transfer_syntax_uids=entry.transfer_syntax_uids,
            series_number=entry.series_number,
        )

    def attributes(self, plan: VolumePlan | None) -> dict[str, Any]:
        """Series-level attributes by keyword, as plain Python values."""
        from fastdicom.luts import read_dataset

        if plan is None:
            return dict(self.stored_attributes or {})
        dataset = read_dataset(plan.files[0].locator)
        with quiet_pydicom():
            return {keyword: plain(dataset.get(keyword)) for keyword in SERIES_KEYWORDS if keyword in dataset}


def plain(value: Any) -> Any:
    """A pydicom value as str, int, float, None, or a list of them."""
    if value is None or isinstance(value, (bool, int, str)):
        return int(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
        return [plain(item) for item in value]
    return str(value)


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


_SLICE_COLUMNS = (
    "instance_number", "sop_instance_uid", "image_position", "slice_thickness", "rescale_slope", "rescale_intercept",
    "acquisition_number", "acquisition_time", "content_time", "trigger_time", "temporal_position_identifier",
    "echo_time", "repetition_time", "inversion_time", "flip_angle", "diffusion_b_value",
    "diffusion_gradient_orientation", "frame_reference_time", "kvp", "gantry_detector_tilt", "pixel_padding_value",
)  # fmt: skip


def _as_text(values: NDArray[Any]) -> NDArray[Any]:
    try:
        return values.astype(np.str_)
    except UnicodeDecodeError:  # not ASCII, which these columns must be (PS3.5 6.2)
        return np.char.decode(values, "ascii", "replace")


def slice_columns(entry: CatalogEntry, plan: VolumePlan) -> dict[str, NDArray[Any]]:
    """Per-slice header columns in the shape of the dimensions before y, and ``valid``.

    A filled slice has NaN, the integer `INT_MISSING`, or an empty string. Columns without any value are left out.
    """
    outer = plan.outer_shape
    used = entry.found.rows.ravel() >= 0
    columns: dict[str, NDArray[Any]] = {"valid": plan.valid.copy()}
    for name in _SLICE_COLUMNS:
        values = entry.headers[name]
        if values.dtype.kind == "S":
            values = _as_text(values)
            absent: Any = ""
        else:
            absent = np.nan if values.dtype.kind == "f" else INT_MISSING
        if np.all(np.isnan(values)) if values.dtype.kind == "f" else np.all(values == absent):
            continue
        spread = np.full((len(used), *values.shape[1:]), absent, dtype=values.dtype)
        spread[used] = values
        columns[name] = spread.reshape(*outer, *values.shape[1:])
    return columns
