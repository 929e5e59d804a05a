"""A `Volume` as a NIfTI file: in memory through nibabel, or written to disk slice by slice without it.

NIfTI wants the first index fastest and this library the last: the bytes of an array ``(t, z, y, x)`` are those of the
NIfTI image ``(x, y, z, t)``, so nothing is transposed and only one block is ever in memory.

Sources: NIfTI-1 (https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h), NIfTI-2 (nifti2.h).
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import GeometryError, UsageError, ValuesError
from fastdicom.progress import ProgressArgument, progress_bar
from fastdicom.volume import missing

if TYPE_CHECKING:
    from fastdicom.volume import Volume

__all__ = ["nifti_affine", "to_nibabel", "write_nifti"]

BLOCK_NBYTES = 1 << 26
MEMBER_NBYTES = 1 << 22

COMPRESSION = 3
"""zlib level: a third of the time of the usual 6 for some percent more bytes."""

LARGEST_NIFTI_1 = 32767
"""Dimensions of NIfTI-1 are int16."""

_RGB24 = 128
_DATATYPES = {
    "u1": 2,
    "i2": 4,
    "i4": 8,
    "f4": 16,
    "f8": 64,
    "i1": 256,
    "u2": 512,
    "u4": 768,
    "i8": 1024,
    "u8": 1280,
}
_SECONDS, _MILLISECONDS, _MILLIMETRES = 8, 16, 2

_COMMON_END = [("qform_code", "i2"), ("sform_code", "i2")]
_FIELDS_1 = [
    ("sizeof_hdr", "i4"),
    ("unused_1", "S35"),
    ("dim_info", "u1"),
    ("dim", "i2", 8),
    ("intent_p", "f4", 3),
    ("intent_code", "i2"),
    ("datatype", "i2"),
    ("bitpix", "i2"),
    ("slice_start", "i2"),
    ("pixdim", "f4", 8),
    ("vox_offset", "f4"),
    ("scl_slope", "f4"),
    ("scl_inter", "f4"),
    ("slice_end", "i2"),
    ("slice_code", "u1"),
    ("xyzt_units", "u1"),
    ("cal_max", "f4"),
    ("cal_min", "f4"),
    ("slice_duration", "f4"),
    ("toffset", "f4"),
    ("unused_2", "S8"),
    ("descrip", "S80"),
    ("aux_file", "S24"),
    *_COMMON_END,
    ("quatern", "f4", 3),
    ("qoffset", "f4", 3),
    ("srow", "f4", (3, 4)),
    ("intent_name", "S16"),
    ("magic", "S4"),
]
_FIELDS_2 = [
    ("sizeof_hdr", "i4"),
    ("magic", "S8"),
    ("datatype", "i2"),
    ("bitpix", "i2"),
    ("dim", "i8", 8),
    ("intent_p", "f8", 3),
    ("pixdim", "f8", 8),
    ("vox_offset", "i8"),
    ("scl_slope", "f8"),
    ("scl_inter", "f8"),
    ("cal_max", "f8"),
    ("cal_min", "f8"),
    ("slice_duration", "f8"),
    ("toffset", "f8"),
    ("slice_start", "i8"),
    ("slice_end", "i8"),
    ("descrip", "S80"),
    ("aux_file", "S24"),
    ("qform_code", "i4"),
    ("sform_code", "i4"),
    ("quatern", "f8", 3),
    ("qoffset", "f8", 3),
    ("srow", "f8", (3, 4)),
    ("slice_code", "i4"),
    ("xyzt_units", "i4"),
    ("intent_code", "i4"),
    ("intent_name", "S16"),
    ("dim_info", "u1"),
    ("unused", "S15"),
]


def nifti_affine(volume: Volume) -> NDArray[np.float64]:
    """(4, 4) float64: NIfTI voxel indices ``(x, y, z, 1)`` to RAS mm (x and y of DICOM's LPS negated)."""
    swapped: NDArray[np.float64] = volume.affine[:, [2, 1, 0, 3]]
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ swapped + 0.0


def to_nibabel(volume: Volume) -> Any:
    """See `Volume.to_nibabel`."""
    try:
        import nibabel
    except ImportError as error:
        raise missing("nibabel", "nibabel") from error
    header = _header(volume, 1 if max(volume.shape) <= LARGEST_NIFTI_1 else 2)
    affine = nifti_affine(volume)
    colour = volume.dims[-1] == "c"
    array = np.asarray(volume.array)
    spatial = array.ndim - int(colour)
    data = array.transpose(*range(spatial - 1, -1, -1), *([spatial] if colour else []))
    kind = nibabel.Nifti1Image if header["sizeof_hdr"] == np.dtype(_FIELDS_1).itemsize else nibabel.Nifti2Image
    # Colour is an axis for nibabel's users; a file has RGB voxels.
    # nibabel refuses 64-bit integers unless they are asked for by name.
    image = kind(data, affine, dtype=data.dtype)
    image.header["pixdim"][: spatial + 1] = header["pixdim"][: spatial + 1]
    image.header["xyzt_units"] = header["xyzt_units"]
    image.set_sform(affine, code=int(header["sform_code"]))
    image.set_qform(affine if header["qform_code"] else None, code=int(header["qform_code"]))
    return image


def write_nifti(
    volume: Volume,
    path: str | os.PathLike[str],
    *,
    version: int | None = None,
    compression: int = COMPRESSION,
    progress: ProgressArgument = False,
) -> Path:
    """Write a volume as one NIfTI file, block by block: a lazy volume of any size needs little memory.

    Parameters
    ----------
    volume : Volume
        (..., z, y, x[, c]); extra dimensions become the 4th and further ones, the last of them first.
    path : path
        ``.nii`` or ``.nii.gz``. Written under another name first, so that a file of this name is always whole.
    version : {1, 2}, optional
        NIfTI version. None: 1, or 2 where a dimension is larger than 32767.
    compression : int
        zlib level 1 to 9 of ``.nii.gz``.
    progress : bool or callable (done, total)
        Of slices.

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    GeometryError
        The slices are not evenly spaced, which no NIfTI affine can say.
    UsageError
        The name or the version does not fit, or there are more than 7 dimensions.
    ValuesError
        NIfTI has no such voxel type (16-bit colour).
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{path.name} is no NIfTI name. Use one that ends in .nii or .nii.gz.", argument="path")
    if version not in (None, 1, 2):
        raise UsageError(f"version={version!r} is not known. Use 1, 2 or None.", argument="version")
    if not 1 <= compression <= 9:
        raise UsageError(f"compression={compression!r} is no zlib level. Use 1 to 9.", argument="compression")
    largest = max(volume.shape)
    if version == 1 and largest > LARGEST_NIFTI_1:
        raise UsageError(f"NIfTI-1 holds at most 32767 along a dimension, not {largest}. Use version=2.")
    header = _header(volume, version or (1 if largest <= LARGEST_NIFTI_1 else 2))
    header["datatype"], header["bitpix"] = _datatype(volume)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _opened(partial, compressed=path.name.endswith(".gz"), level=compression) as write:
            write(np.frombuffer(header.tobytes() + bytes(4), dtype=np.uint8))  # four zeros: no extensions
            _write_voxels(volume, write, progress)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def _opened(path: Path, *, compressed: bool, level: int) -> Iterator[Callable[[NDArray[Any]], None]]:
    """A function that appends an array's bytes to a new file."""
    with open(path, "wb", buffering=1 << 20) as file:
        if compressed:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                yield lambda array: _write_compressed(file, array, level, pool)
        else:
            yield lambda array: _write_plain(file, array)


def _write_plain(file: BinaryIO, array: NDArray[Any]) -> None:
    file.write(array.reshape(-1).view(np.uint8).data)


def _write_compressed(file: BinaryIO, array: NDArray[Any], level: int, pool: ThreadPoolExecutor) -> None:
    """Append an array as gzip members of some megabytes, compressed on all cores (RFC 1952 2.2: members concatenate).

    Neither name nor time is in them: writing a volume again gives the same bytes.
    """
    flat = array.reshape(-1).view(np.uint8)
    pieces = [flat[start : start + MEMBER_NBYTES].data for start in range(0, len(flat), MEMBER_NBYTES)]
    for packed in pool.map(lambda piece: zlib.compress(piece, level, wbits=31), pieces):
        file.write(packed)


def _write_voxels(volume: Volume, write: Callable[[NDArray[Any]], None], progress: ProgressArgument) -> None:
    axis = volume.geometry_axis
    outer, depth = volume.shape[:axis], volume.shape[axis]
    dtype = volume.dtype.newbyteorder("<")
    step = max(1, BLOCK_NBYTES // max(1, int(np.prod(volume.shape[axis + 1 :])) * dtype.itemsize))
    step = _whole_chunks(volume, axis, step)
    with progress_bar(progress, "nifti", int(np.prod(outer, dtype=np.int64)) * depth, "slices") as advance:
        for index in np.ndindex(outer):
            for start in range(0, depth, step):
                block = np.asarray(volume.array[(*index, slice(start, start + step))])
                write(np.ascontiguousarray(block, dtype=dtype))
                advance(len(block))


def _whole_chunks(volume: Volume, axis: int, step: int) -> int:
    """Blocks end where chunks of a lazy array do, so that no chunk is read twice."""
    chunks = getattr(volume.array, "chunks", None)
    if chunks is None:
        return step
    chunk = int(max(chunks[axis]))
    return max(chunk, step // chunk * chunk)


def _header(volume: Volume, version: int) -> Any:
    """The header as a NumPy record, little endian, but for the type of the voxels."""
    axis, colour = volume.geometry_axis, volume.dims[-1] == "c"
    geometry = volume.geometry
    if geometry.has_positions and not geometry.uniform:
        raise GeometryError(
            f"The slices of this volume are up to {geometry.deviation_mm:.3f} mm away from even spacing, which NIfTI "
            "cannot hold. Call volume.regularize() first.",
            deviation_mm=geometry.deviation_mm,
        )
    sizes = [int(n) for n in (volume.shape[:-1] if colour else volume.shape)][::-1]
    if len(sizes) > 7:
        raise UsageError(f"NIfTI has at most 7 dimensions; this volume has {len(sizes)}. Select from it first.")
    fields = _FIELDS_1 if version == 1 else _FIELDS_2
    header = np.zeros((), dtype=np.dtype(fields).newbyteorder("<"))
    header["sizeof_hdr"] = header.dtype.itemsize
    header["magic"] = b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n"
    header["vox_offset"] = header.dtype.itemsize + 4
    header["dim"] = [len(sizes), *sizes, *[1] * (7 - len(sizes))]
    header["scl_slope"] = 1
    steps, units = _steps(volume, axis)
    header["pixdim"] = [1.0, *steps, *[1.0] * (7 - len(steps))]
    header["xyzt_units"] = units
    header["descrip"] = b"fastdicom"
    _set_transforms(header, volume)
    return header


def _datatype(volume: Volume) -> tuple[int, int]:
    """(NIfTI datatype, bits of a voxel)."""
    dtype = volume.dtype
    if volume.dims[-1] == "c":
        if dtype != np.uint8 or volume.shape[-1] != 3:
            raise ValuesError(
                f"NIfTI has no colour voxels of {volume.shape[-1]} x {dtype.name}, only of 3 x uint8. Convert the "
                "array first."
            )
        return _RGB24, 24
    code = _DATATYPES.get(f"{dtype.kind}{dtype.itemsize}")
    if code is None:
        raise ValuesError(f"NIfTI has no voxels of {dtype.name}. Pass dtype='float32'.")
    return code, 8 * dtype.itemsize


def _steps(volume: Volume, axis: int) -> tuple[list[float], int]:
    """(step along each axis, x first; NIfTI's unit code). Extra axes that are not even count in ones."""
    z, y, x = volume.spacing
    steps, time_unit = [x, y, z], 0
    for name in volume.dims[:axis][::-1]:
        values = np.asarray(volume.coordinates.get(name, ()))
        step = 1.0
        if len(values) > 1 and values.dtype.kind in "fiu":
            gaps = np.diff(values.astype(np.float64))
            if gaps[0] > 0 and np.allclose(gaps, gaps[0], rtol=1e-3):
                step = float(gaps[0])
        unit = volume.coordinate_units.get(name, "")
        if len(steps) == 3:  # NIfTI gives a unit to the 4th dimension only
            time_unit = {"s": _SECONDS, "ms": _MILLISECONDS}.get(unit, 0)
        steps.append(step)
    return steps, _MILLIMETRES | time_unit


def _set_transforms(header: Any, volume: Volume) -> None:
    """sform: the affine itself. qform: the same as a quaternion, only where the axes are orthogonal."""
    affine = nifti_affine(volume)
    placed = volume.geometry.has_positions
    header["srow"] = affine[:3]
    header["sform_code"] = 1 if placed else 0  # 1: scanner coordinates
    size = np.linalg.norm(affine[:3, :3], axis=0)
    unit = affine[:3, :3] / np.where(size > 0, size, 1.0)
    header["qoffset"] = affine[:3, 3]
    if not placed or np.abs(unit.T @ unit - np.eye(3)).max() > 1e-5:
        return  # a tilted stack has no quaternion
    handed = 1.0 if np.linalg.det(unit) > 0 else -1.0
    header["qform_code"] = 1
    header["pixdim"][0] = handed
    header["quatern"] = _quaternion(unit * [1.0, 1.0, handed])


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, c, d) of the unit quaternion with a >= 0 of a rotation matrix (largest component first: it is stable)."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0, 0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [0, 0, 0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    values, vectors = np.linalg.eigh(k + np.triu(k, 1).T)
    quaternion = vectors[:, np.argmax(values)]
    if quaternion[0] < 0:
        quaternion = -quaternion
    return np.asarray(quaternion[1:], dtype=np.float64)
