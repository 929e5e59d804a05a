"""Attributes that real scanners write and no volume needs: they make headers as long as real ones."""

from __future__ import annotations

from itertools import count

import numpy as np
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

from fastdicom.testing.modalities import code
from fastdicom.testing.spec import SeriesSpec, uid_from

__all__ = ["fill_up", "private_block"]

REALISTIC = {
    "InstanceCreationDate": "20240229",
    "InstanceCreationTime": "101612",
    "InstitutionName": "Generated Hospital",
    "InstitutionAddress": "1 Nowhere Street",
    "StationName": "CT01",
    "StudyDescription": "Thorax and abdomen",
    "InstitutionalDepartmentName": "Radiology",
    "OperatorsName": "Op^Erator",
    "PatientAge": "054Y",
    "PatientWeight": "70",
    "PatientSize": "1.75",
    "BodyPartExamined": "CHEST",
    "DataCollectionDiameter": "500",
    "ProtocolName": "5.1 Routine",
    "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "949.075",
    "DistanceSourceToPatient": "541",
    "TableHeight": "155.5",
    "RotationDirection": "CW",
    "ExposureTime": 700,
    "XRayTubeCurrent": 380,
    "Exposure": 4,
    "FilterType": "BODY FILTER",
    "GeneratorPower": 42000,
    "FocalSpots": "1.2",
    "RevolutionTime": 0.7,
    "SingleCollimationWidth": 0.625,
    "TotalCollimationWidth": 40.0,
    "TableSpeed": 78.7,
    "TableFeedPerRotation": 55.0,
    "SpiralPitchFactor": 1.375,
    "ImageComments": "made by a generator",
    "RequestingPhysician": "Doc^Tor",
    "RequestedProcedureDescription": "CT thorax",
    "PerformedProcedureStepStartDate": "20240229",
    "PerformedProcedureStepStartTime": "101500",
    "PerformedProcedureStepID": "PPS1",
    "PerformedProcedureStepDescription": "CT thorax",
}
GROUPS = (0x0009, 0x0019, 0x0021, 0x0023, 0x0027, 0x0029, 0x0043, 0x0045, 0x0053)
"""Odd groups that scanners use: before, between and after those with the geometry."""
CREATOR = "FASTDICOM TESTING 01"


def fill_up(ds: Dataset, spec: SeriesSpec, reserved: int) -> None:
    """Add elements to `ds` until it has `spec.elements` together with `reserved` others that come later."""
    if spec.private_elements:
        private_block(ds, 0x0019, 6)
    if spec.elements is None:
        return
    wanted = spec.elements - reserved
    for keyword, value in REALISTIC.items():
        if len(ds) < wanted and keyword not in ds:
            ds.add_new(keyword, dictionary_VR(keyword), value)
    for keyword, items in _sequences(spec).items():
        if len(ds) < wanted and keyword not in ds:
            ds.add_new(keyword, "SQ", items)
    for block in count(0x10):
        for group in GROUPS:
            # A block of n elements also brings its Private Creator.
            if len(ds) < wanted and (group, block) not in ds:
                private_block(ds, group, min(24, wanted - len(ds) - 1), block)
        if len(ds) >= wanted or block == 0xFF:
            return


def _sequences(spec: SeriesSpec) -> dict[str, list[Dataset]]:
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = uid_from("localizer", spec.seed)
    reference.PurposeOfReferenceCodeSequence = [code("121311", "DCM", "Localizer")]
    request = Dataset()
    request.RequestedProcedureID = "RP1"
    request.ScheduledProcedureStepID = "SPS1"
    request.ScheduledProtocolCodeSequence = [code("CT1", "99GEN", "Thorax"), code("CT2", "99GEN", "Abdomen")]
    dose = Dataset()
    dose.IrradiationEventUID = uid_from("irradiation", spec.seed)
    # Geometry-like attributes inside a sequence must not be taken for those of the image.
    decoy = Dataset()
    decoy.ImagePositionPatient = ["1", "2", "3"]
    decoy.Rows, decoy.Columns, decoy.PixelSpacing = 7, 9, ["9", "9"]
    dose.SourceImageSequence = [decoy]
    return {
        "ReferencedImageSequence": [reference, reference],
        "ProcedureCodeSequence": [code("CTTHOR", "99GEN", "CT thorax")],
        "RequestAttributesSequence": [request],
        "CTExposureSequence": [dose],
        "ReferencedPerformedProcedureStepSequence": [],
    }


def private_block(ds: Dataset, group: int, elements: int, block: int = 0x10) -> None:
    """A Private Creator and `elements` private elements of many VRs (PS3.5 7.8.1)."""
    ds.add_new((group, block), "LO", CREATOR)
    nested = Dataset()
    nested.add_new((group, 0x10), "LO", CREATOR)
    nested.add_new((group, 0x1001), "DS", ["1.5", "2.5"])
    values = (
        ("LO", "private text"),
        ("DS", ["0.5", "-1.25", "3e-05"]),
        ("IS", "12345"),
        ("SL", [-1, 2, 3]),
        ("FD", [0.1, 1e300]),
        ("US", 512),
        ("OB", bytes(range(64))),
        ("SQ", [nested]),
        ("UN", np.arange(33, dtype=np.uint16).tobytes()),
        ("FL", 2.5),
        ("SH", "short"),
        ("UI", uid_from(group, block)),
    )
    for i in range(elements):
        vr, value = values[(i + group) % len(values)]
        ds.add_new((group, (block << 8) + 1 + i), vr, value)
