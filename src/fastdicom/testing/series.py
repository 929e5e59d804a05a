"""Recipes to files: one header is encoded, then patched for each instance, so thousands of files take seconds."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset, FileDataset

from fastdicom.testing import attributes
from fastdicom.testing.codestreams import check_encodable
from fastdicom.testing.elements import Encoding, Template, encode_file_meta, pixel_element
from fastdicom.testing.enhanced import enhanced_attributes, frame_order
from fastdicom.testing.filler import fill_up
from fastdicom.testing.phantom import stored_voxels
from fastdicom.testing.pixeldata import pixel_values
from fastdicom.testing.pixels import EXPLICIT_VR_BIG_ENDIAN
from fastdicom.testing.placement import affine_of, as_written, slice_positions
from fastdicom.testing.spec import SeriesSpec, digest_of

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
DEFLATED = "1.2.840.10008.1.2.1.99"

__all__ = ["WrittenSeries", "make_series", "write_series"]


@dataclass(frozen=True)
class WrittenSeries:
    """A series on disk together with the truth about it.

    Grids include the missing slices: what a perfect reader would have found had they been written.
    """

    spec: SeriesSpec
    folder: Path
    paths: list[str | None]
    """One for each entry of ``spec.grid_shape`` in C order (without extra dimensions: in slice order); None where the
    slice is missing. A multi-frame series has one path for all."""
    duplicate_paths: list[str]
    """Second copies of the slices in ``spec.duplicates``, in the same order."""
    stored: NDArray[Any]
    """(*dimensions, slices, rows, columns[, 3]) stored values; YBR is RGB already, palettes are indices, lossy syntaxes
    are what the encoder's own library decodes."""
    positions: NDArray[np.float64]
    """(slices, 3) Image Position (Patient) as written, mm."""
    affine: NDArray[np.float64]
    """(4, 4) from array indices ``(z, y, x, 1)`` of the whole grid to LPS mm."""

    @property
    def files(self) -> list[str]:
        """All files of the series, in the order of their names."""
        return sorted({path for path in self.paths if path is not None} | set(self.duplicate_paths))

    @property
    def present(self) -> NDArray[np.bool_]:
        """(*dimensions, slices) True where the slice was written."""
        return np.array([path is not None for path in self.paths]).reshape(self.spec.grid_shape)

    @property
    def datasets(self) -> list[FileDataset]:
        """The data sets of all files, read now; in the order of `paths`, then second copies."""
        unique = dict.fromkeys([path for path in self.paths if path is not None] + self.duplicate_paths)
        return [dcmread(path, force=True) for path in unique]

    def modality_values(self) -> NDArray[np.float64]:
        """Stored values times Rescale Slope plus Rescale Intercept, as written; the shape of `stored`, float64."""
        values = self.stored.astype(np.float64)
        if self.spec.pixel_format.samples_per_pixel > 1:
            return values
        for number, operation in ((self.spec.slope, np.multiply), (self.spec.intercept, np.add)):
            if number is not None:
                given = as_written(np.broadcast_to(np.asarray(number, np.float64), self.spec.slices))
                operation(values, given[:, None, None], out=values)
        return values


def write_series(folder: str | os.PathLike[str], spec: SeriesSpec | None = None) -> WrittenSeries:
    """Write the files of a series into a folder, which is made if need be.

    Parameters
    ----------
    folder : path
        Files of the same name are replaced, others are left alone.
    spec : SeriesSpec
        None: the default CT series.

    Raises
    ------
    UsageError
        The recipe cannot be encoded in its transfer syntax.
    MissingDependencyError
        The encoder of the transfer syntax is not installed.
    """
    spec = spec or SeriesSpec()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = stored_voxels(spec)
    paths: list[str | None] = [None] * int(np.prod(spec.grid_shape))
    duplicates: list[str] = []
    names = file_names(spec)
    for (frames, copy, content), name in zip(encoded_files(spec, stored), names, strict=False):
        path = os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(content)
        if copy:
            duplicates.append(path)
        else:
            for frame in frames:
                paths[frame] = path
    return WrittenSeries(spec, folder, paths, duplicates, stored, slice_positions(spec), affine_of(spec))


def make_series(spec: SeriesSpec | None = None) -> list[FileDataset]:
    """The data sets of a series, without files: those of `write_series` in slice order, second copies last."""
    spec = spec or SeriesSpec()
    contents = encoded_files(spec, stored_voxels(spec))
    return [dcmread(BytesIO(content), force=True) for _, _, content in contents]


def file_names(spec: SeriesSpec) -> list[str]:
    """Names of the files, in the order in which `encoded_files` gives them."""
    n = 1 if spec.multi_frame else len(attributes.instances(spec))
    if spec.names == "sequential":
        return [f"IM{i + 1:05d}" for i in range(n)]
    if spec.names == "dcm":
        return [f"{i + 1:05d}.dcm" for i in range(n)]
    # Multiplying by an odd number is one-to-one modulo 2**32: no two names are equal. Two series in one folder start
    # from different numbers.
    start = digest_of("names", spec.series_uid) % 2**32
    return [f"{(int(i) + start) * 2654435761 % 2**32:08x}" for i in np.random.default_rng(spec.seed + 2).permutation(n)]


def encoded_files(spec: SeriesSpec, stored: NDArray[Any]) -> Iterator[tuple[list[int], int, bytes]]:
    """(frames in it, copy, content) of each file. Lossy and YBR pixels are replaced in `stored` as readers see them."""
    check_encodable(spec)
    if spec.multi_frame:
        order = frame_order(spec)
        files = [(order, 0)]
        records = [attributes.multi_frame_attributes(spec, len(order))]
    else:
        files = [([i.frame], i.copy) for i in attributes.instances(spec)]
        records = [values for _, values in attributes.instance_attributes(spec)]
    frames = stored.reshape(-1, *spec.pixel_format.frame_shape)
    sop_class = str(spec.extra.get("SOPClassUID", attributes.sop_class_of(spec)))
    template = None
    for (wanted, copy), record, pixel in zip(files, records, pixel_values(spec, frames, files), strict=True):
        values = {**record, **pixel.attributes}
        values |= {k: v for k, v in spec.extra.items() if k in values and not callable(v)}
        if template is None:
            template = _template(spec, values, [keyword for keyword, *_ in pixel.elements])
        elements = [pixel_element(*element, encoding=template.encoding) for element in pixel.elements]
        data_set = template.fill(values, *elements)
        yield wanted, copy, _file(spec, sop_class, str(values["SOPInstanceUID"] or record["SOPInstanceUID"]), data_set)


def _template(spec: SeriesSpec, first: Mapping[str, Any], encoded: list[str]) -> Template:
    """What all files share; `first` is what the first one has of its own, `encoded` are its pixel elements."""
    syntax = spec.transfer_syntax_uid
    encoding = Encoding(implicit=syntax == IMPLICIT_VR_LITTLE_ENDIAN, little=syntax != EXPLICIT_VR_BIG_ENDIAN)
    constant = attributes.constant_attributes(spec)
    if spec.multi_frame == "enhanced":
        constant.update(enhanced_attributes(spec))
    attributes.apply_extra(constant, spec)
    varying = [*first, *encoded]
    for keyword in varying:
        if keyword in constant:
            delattr(constant, keyword)
    fill_up(constant, spec, len(encoded) + sum(value is not None for value in first.values()))
    if "SpecificCharacterSet" in constant:
        encoding.charsets = convert_encodings(constant.SpecificCharacterSet)
    if spec.undefined_length:
        _with_undefined_length(constant)
    return Template(constant, varying, encoding)


def _with_undefined_length(ds: Dataset) -> None:
    for element in ds:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for item in element.value:
                item.is_undefined_length_sequence_item = True
                _with_undefined_length(item)


def _file(spec: SeriesSpec, sop_class: str, sop_instance: str, data_set: bytes) -> bytes:
    """Preamble, group 2 and data set (PS3.10 7.1)."""
    if spec.transfer_syntax_uid == DEFLATED:
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        data_set = squeeze.compress(data_set) + squeeze.flush()
        data_set += b"\0" * (len(data_set) % 2)
    meta = encode_file_meta(sop_class, sop_instance, spec.transfer_syntax_uid) if spec.file_meta else b""
    return (bytes(128) + b"DICM" if spec.preamble else b"") + meta + data_set
