"""Compressed samples against the uncompressed images that they come with, as whole volumes, with every backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdicom
from fastdicom import codecs
from fastdicom.errors import DecodeError, MissingDependencyError, UnsupportedTransferSyntaxError
from nifti_references import agreement

pytestmark = [pytest.mark.realdata, pytest.mark.filterwarnings("ignore::fastdicom.errors.FastDicomWarning")]

PYDICOM, CT, NEMA = "ts-pydicom-data/dicom/", "ts-ctimage-15/dicom/CTImage.dcm", "ts-htj2k202/dicom/"
LOSSLESS = [
    (PYDICOM + "MR2_J2KR.dcm", PYDICOM + "MR2_UNCR.dcm"),
    (PYDICOM + "MR2_J2KI.dcm", PYDICOM + "MR2_UNCI.dcm"),  # the reference is what the encoder's own decoder made of it
    *((PYDICOM + f"emri_small_{name}.dcm", PYDICOM + "emri_small.dcm") for name in (
        "RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless")),
    *((PYDICOM + f"liver_{name}.dcm", PYDICOM + "liver.dcm") for name in ("deflate", "expb", "j2k", "rle")),
    *((PYDICOM + f"liver_nonbyte_aligned_{name}.dcm", PYDICOM + "liver_nonbyte_aligned.dcm") for name in (
        "deflate", "j2k", "rle")),
    *((PYDICOM + f"JLSL_RGB_ILV{mode}.dcm", PYDICOM + "JLSL_RGB_ILV0.dcm") for mode in "12"),
    *((NEMA + f"htj2k/{name}_JPH", NEMA + f"dicomp10/{name}_UNC") for name in ("XA1", "VL2", "MR2")),
    *((f"{CT}_{name}.dcm", CT) for name in (
        "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
        "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
        "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
        "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
        "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
        "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
        "RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
    )),
]  # fmt: skip
LOSSY = [
    # (file, reference, largest difference that this compression made)
    (PYDICOM + "JLSN_RGB_ILV0.dcm", PYDICOM + "JLSL_RGB_ILV0.dcm", 3),
    (PYDICOM + "HTJ2K_08_RGB.dcm", PYDICOM + "HTJ2KLossless_08_RGB.dcm", 4),
    (PYDICOM + "RG3_J2KI.dcm", PYDICOM + "RG3_J2KR.dcm", 9),
    (f"{CT}_JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm", CT, 1),
    (f"{CT}_JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm", CT, 5),
]
BACKENDS = ("auto", "imagecodecs", "pylibjpeg", "pydicom")


def load(data_root: Path, name: str, **options: Any) -> fastdicom.Volume:
    return fastdicom.load_volume(data_root / "transfer-syntax" / name, values="stored", **options)


@pytest.mark.parametrize("decoder", BACKENDS)
@pytest.mark.parametrize(("name", "reference"), LOSSLESS, ids=[Path(name).name[-48:] for name, _ in LOSSLESS])
def test_lossless_samples_are_their_originals(data_root: Path, name: str, reference: str, decoder: str) -> None:
    try:
        found = load(data_root, name, decoder=decoder)
    except UnsupportedTransferSyntaxError:
        (fmt,) = load(data_root, name).plan.formats
        assert not any(one.backend == decoder for one in codecs.decoders_for(fmt.transfer_syntax_uid))
        pytest.skip(f"{decoder} does not claim this syntax")
    except MissingDependencyError as error:
        pytest.skip(error.message)
    except DecodeError as error:
        if "liver" in name and name.endswith("rle.dcm") and decoder != "auto":
            pytest.skip(f"their RLE decoders know no images of 1 bit: {error}")
        raise
    expected = load(data_root, reference)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.array, expected.array)


@pytest.mark.parametrize(("name", "reference", "most"), LOSSY, ids=[Path(name).name[-48:] for name, _, _ in LOSSY])
def test_lossy_samples_are_near_their_originals(data_root: Path, name: str, reference: str, most: int) -> None:
    expected = load(data_root, reference).array.astype(np.int64)
    first = load(data_root, name).array.astype(np.int64)
    assert 0 < np.abs(first - expected).max() <= most
    for decoder in BACKENDS[1:]:
        try:
            other = load(data_root, name, decoder=decoder).array.astype(np.int64)
        except UnsupportedTransferSyntaxError:
            continue
        assert np.abs(other - first).max() <= 1, decoder


@pytest.mark.parametrize("name", ["j2k", "jpeg", "jpegls", "rle"])
def test_compressed_volumes_are_those_of_another_converter(data_root: Path, name: str) -> None:
    folder = data_root / "transfer-syntax/ts-d2n-compressed-volumes"
    (reference,) = folder.rglob(f"generic_compressed_{name}_001_ground_truth.nii.gz")
    volume = fastdicom.load_volume(folder / f"dicom/generic_compressed_{name}")
    found = agreement(volume.to_nibabel(), reference)
    assert found is not None
    assert found.good, found
