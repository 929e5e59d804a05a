"""Comparing a volume with a NIfTI file that somebody else made of the same DICOM files."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from fastdicom.geometry import corners

CORNER_MM = 1e-3


@dataclass(frozen=True)
class Agreement:
    """How far a reference is from a volume once its axes are brought into the volume's order."""

    corner_mm: float
    voxels: float
    """Largest difference of a voxel, relative to the largest value where the reference is not of integers."""
    order: list[int]
    """Which 3-D image of the volume each 3-D image of the reference is."""

    @property
    def good(self) -> bool:
        return self.corner_mm <= CORNER_MM and self.voxels <= 1e-6


def nifti_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.nii*") if "mask" not in path.name)


def run_dcm2niix(source: Path, out: Path) -> list[Path]:
    """The NIfTI files that dcm2niix makes of a folder; ``-p n``: with the standard's rescale, not Philips' own."""
    out.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("dcm2niix")
    options = ["-p", "n", "-z", "n", "-b", "n", "-f", "%s_%p_%u", "-o", str(out), str(source)]
    subprocess.run([str(program), *options], capture_output=True, check=False, timeout=300)
    return nifti_files(out)


def agreement(image: Any, reference: Path) -> Agreement | None:
    """How well the image (`Volume.to_nibabel`) agrees with a reference; None where their sizes differ."""
    other = nibabel.load(reference)
    aligned = _aligned(image.affine, image.shape[:3], other.affine, other.shape[:3])
    if aligned is None:
        return None
    corner, permutation, steps = aligned
    theirs = _images(other).transpose(*permutation, 3)[tuple(slice(None, None, step) for step in steps)]
    ours = _images(image)
    order, worst = [], 0.0
    for k in range(theirs.shape[3]):
        errors = [np.abs(theirs[..., k] - ours[..., j]).max() for j in range(ours.shape[3])]
        order.append(int(np.argmin(errors)))
        worst = max(worst, float(min(errors)))
    if ours.dtype.kind == "f" and not np.array_equal(ours, np.rint(ours)):
        worst /= max(1.0, float(np.abs(ours).max()))
    return Agreement(corner, worst, order)


def _images(image: Any) -> np.ndarray:
    """(x, y, z, everything else) float64; RGB, and RGBA without its A, is its three colours one after the other."""
    data = np.asanyarray(image.dataobj)
    if data.dtype.fields:
        data = np.stack([data[name] for name in data.dtype.names[:3]], axis=-1)
    return data.reshape(*data.shape[:3], -1, order="F").astype(np.float64)


def _aligned(
    affine: np.ndarray, shape: tuple[int, ...], other: np.ndarray, other_shape: tuple[int, ...]
) -> tuple[float, tuple[int, ...], tuple[int, ...]] | None:
    """The permutation and flips of the other's axes that bring its corners closest to ours."""
    best = None
    for permutation in itertools.permutations(range(3)):
        if tuple(other_shape[axis] for axis in permutation) != tuple(shape):
            continue
        for steps in itertools.product((1, -1), repeat=3):
            index = np.zeros((4, 4))
            index[3, 3] = 1
            for axis, (source, step) in enumerate(zip(permutation, steps, strict=True)):
                index[source, axis] = step
                index[source, 3] = other_shape[source] - 1 if step < 0 else 0
            distance = float(np.abs(corners(other @ index, shape) - corners(affine, shape)).max())
            if best is None or distance < best[0]:
                best = distance, permutation, steps
    return best
