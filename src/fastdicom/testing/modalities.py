"""What the IOD of each modality asks for, type 1 and 2 attributes first (PS3.3 annex C.8)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom.dataset import Dataset

from fastdicom.testing.placement import format_decimal, slice_positions
from fastdicom.testing.spec import SeriesSpec

__all__ = ["MODALITY_MODULES", "code", "present_slices"]


def present_slices(spec: SeriesSpec) -> list[int]:
    """Indices of the slices that are written."""
    return [k for k in range(spec.slices) if k not in spec.missing]


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence (PS3.3 8)."""
    ds = Dataset()
    ds.CodeValue, ds.CodingSchemeDesignator, ds.CodeMeaning = value, scheme, meaning
    return ds


def _ct(ds: Dataset, spec: SeriesSpec) -> None:
    if spec.multi_frame == "enhanced":
        return
    ds.KVP = "120"
    ds.GantryDetectorTilt = format_decimal(spec.tilt_deg)
    ds.ConvolutionKernel = "STANDARD"
    ds.ScanOptions = "HELICAL MODE"


def _mr(ds: Dataset, spec: SeriesSpec) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    ds.MagneticFieldStrength = "1.5"
    if spec.multi_frame == "enhanced":
        return
    ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions = "SE", "NONE", ""
    ds.MRAcquisitionType = "2D"
    ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength, ds.EchoNumbers = "2000", "30", 1, 1
    ds.FlipAngle = "90"


def _pt(ds: Dataset, spec: SeriesSpec) -> None:
    """PS3.3 C.8.9; the numbers an SUV needs are all here."""
    ds.Units, ds.CountsSource, ds.DecayCorrection = "BQML", "EMISSION", "START"
    ds.SeriesType = ["WHOLE BODY", "IMAGE"]
    ds.NumberOfSlices = spec.slices
    ds.CorrectedImage = ["DECY", "ATTN", "SCAT", "RAN"]
    ds.CollimatorType = "NONE"
    _orientation_codes(ds)
    ds.FrameReferenceTime, ds.ActualFrameDuration, ds.DecayFactor = "60000", 120000, "1.01"
    ds.PatientWeight, ds.PatientSize = "70", "1.75"
    dose = Dataset()
    dose.Radiopharmaceutical = "FDG"
    dose.RadiopharmaceuticalStartTime = "091500"
    dose.RadiopharmaceuticalStartDateTime = "20240229091500"
    dose.RadionuclideTotalDose = "370000000"
    dose.RadionuclideHalfLife = "6586.2"
    dose.RadionuclidePositronFraction = "0.97"
    dose.RadionuclideCodeSequence = [code("C-111A1", "SRT", "^18^Fluorine")]
    ds.RadiopharmaceuticalInformationSequence = [dose]


def _orientation_codes(ds: Dataset) -> None:
    """Recumbent, headfirst (PS3.3 C.8.4.6)."""
    ds.PatientOrientationCodeSequence = [code("102538003", "SCT", "recumbent")]
    ds.PatientGantryRelationshipCodeSequence = [code("102540008", "SCT", "headfirst")]


def _nm(ds: Dataset, spec: SeriesSpec) -> None:
    """PS3.3 C.8.4; a reconstructed tomogram keeps its geometry in the detector sequence."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.AcquisitionTerminationCondition = "TIME"
    ds.CountsAccumulated = 1000
    ds.NumberOfEnergyWindows = 1
    ds.EnergyWindowInformationSequence = []
    ds.RadiopharmaceuticalInformationSequence = []
    _orientation_codes(ds)
    ds.NumberOfSlices = spec.slices
    detector = Dataset()
    detector.CollimatorType, detector.FocalDistance = "PARA", 0
    if spec.position:
        detector.ImageOrientationPatient = [format_decimal(v) for v in spec.orientation]
        detector.ImagePositionPatient = [format_decimal(v) for v in slice_positions(spec)[present_slices(spec)[0]]]
    ds.DetectorInformationSequence = [detector]
    ds.NumberOfDetectors = 1


def _xray(ds: Dataset, spec: SeriesSpec) -> None:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    ds.KVP, ds.RadiationSetting, ds.PixelIntensityRelationship = "80", "SC", "LIN"
    ds.XRayTubeCurrent, ds.ExposureTime = 100, 10
    if spec.modality == "XA":
        ds.PositionerPrimaryAngle, ds.PositionerSecondaryAngle = "30", "-15"


def _radiograph(ds: Dataset, spec: SeriesSpec) -> None:
    ds.BodyPartExamined, ds.ViewPosition = "CHEST", "PA"


def _dose(ds: Dataset, spec: SeriesSpec) -> None:
    """PS3.3 C.8.8.3; positions of the frames are offsets in the grid vector."""
    ds.ImageType = ["DERIVED", "SECONDARY", "DOSE"]
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    ds.DoseGridScaling = "0.001"
    ds.OperatorsName = ""
    if spec.multi_frame and spec.position:
        positions = slice_positions(spec)[present_slices(spec)]
        ds.ImagePositionPatient = [format_decimal(v) for v in positions[0]]
        ds.ImageOrientationPatient = [format_decimal(v) for v in spec.orientation]
        normal = np.cross(*np.asarray(spec.orientation, np.float64).reshape(2, 3))
        offsets = [format_decimal(round(float((p - positions[0]) @ normal), 6)) for p in positions]
        ds.GridFrameOffsetVector = offsets if len(offsets) > 1 else offsets[0]


MODALITY_MODULES: dict[str, Callable[[Dataset, SeriesSpec], None]] = {
    "CT": _ct,
    "MR": _mr,
    "PT": _pt,
    "NM": _nm,
    "XA": _xray,
    "RF": _xray,
    "CR": _radiograph,
    "RTDOSE": _dose,
}
"""Sets the attributes of one modality; others (US, CR, OT, ...) need none."""
