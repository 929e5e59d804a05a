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
from scipy.optimize import linear_sum_assignment

from fastdicom.geometry import corners

CORNER_MM = 1e-3
VOXELS = 1e-6


@dataclass(frozen=True)
class Agreement:
    """How far a reference is from a volume once its axes are brought into the volume's order."""

    corner_mm: float
    voxels: float
    """Largest difference of a voxel, relative to the largest value where the volume is not of integers. Infinite where
    the reference has more 3-D images than the volume: no two of them are matched to the same one."""
    order: list[int]
    """Which 3-D image of the volume each 3-D image of the reference is: its own number, where their voxels agree."""
    images: int
    """3-D images of the volume."""

    @property
    def in_order(self) -> bool:
        """As many 3-D images here as there, in the same order."""
        return self.order == list(range(self.images))

    @property
    def fits(self) -> bool:
        """Place and voxels, in whatever order."""
        return self.corner_mm <= CORNER_MM and self.voxels <= VOXELS

    @property
    def good(self) -> bool:
        return self.fits and self.in_order


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
    scale = 1.0 if np.array_equal(ours, np.rint(ours)) else max(1.0, float(np.abs(ours).max()))
    order, error = _matched(theirs, ours, VOXELS * scale)
    return Agreement(corner, error / scale, order, ours.shape[3])


def _matched(theirs: np.ndarray, ours: np.ndarray, tolerance: float) -> tuple[list[int], float]:
    """One of our images for each of theirs, none of them twice; largest difference of a voxel.

    The order as it is, where that agrees (images may be equal to one another), else the one with the smallest
    differences.
    """
    n_theirs, n_ours = theirs.shape[3], ours.shape[3]
    if n_theirs == n_ours:
        error = float(np.abs(theirs - ours).max())
        if error <= tolerance:
            return list(range(n_ours)), error
    errors = np.array([[np.abs(theirs[..., k] - ours[..., j]).max() for j in range(n_ours)] for k in range(n_theirs)])
    # NaN agrees with nothing, and no assignment can be made of it.
    errors = np.where(np.isnan(errors), np.finfo(np.float64).max / errors.size, errors)
    rows, columns = linear_sum_assignment(errors)
    worst = float(errors[rows, columns].max()) if len(rows) == n_theirs else float("inf")
    return columns.tolist(), worst


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
