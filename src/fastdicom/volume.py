"""`Volume`: an array with its geometry and metadata; `load_volume` now, `open_volume` lazily."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.blocks import Failure
from fastdicom.catalog import CatalogEntry
from fastdicom.errors import MissingDependencyError, UsageError
from fastdicom.metadata import SeriesRecord, slice_columns
from fastdicom.plan import VolumePlan
from fastdicom.types import Geometry, GeometryPolicy

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Volume"]


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume: voxels, where they are in the patient, and what they mean.

    Attributes
    ----------
    array : (..., z, y, x[, c]) numpy or dask array
        Slice, row, column; extra dimensions in front, colour last. Slices ascend along the normal.
    dims : tuple of str
        Name of each axis of `array`.
    geometry : Geometry
        Affine and slice positions, LPS mm.
    coordinates : dict of str to 1-D array
        Values along the extra dimensions (echo times, b-values, seconds, ...).
    coordinate_units : dict of str to str
    slices : dict of str to array
        Per-slice header columns, of the shape of the dimensions before y: ``instance_number``, ``rescale_slope``, ...,
        and ``valid`` (False: the slice is absent from the files, or could not be read, and is filled).
    values : "stored", "modality", "display", "suv", "real_world[:label]" or "philips"
    units : str
        "HU", "BQML", "g/ml", ... or "" where the values are arbitrary.
    failures : tuple of Failure
        Frames that could not be read under ``errors="report"``.
    policy : GeometryPolicy or None
        What was done with repeated positions, gaps and tilt; kept by `regularize` and by Zarr stores. None: the volume
        was put together by other means.
    fill_value : float
        Value of what no file holds: absent slices, and what lies outside of the old ones after `regularize`. Air for
        Hounsfield units, where no Pixel Padding Value says otherwise; else 0.
    """

    array: Any
    dims: tuple[str, ...]
    geometry: Geometry
    series: SeriesRecord
    values: str
    units: str = ""
    coordinates: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    coordinate_units: Mapping[str, str] = field(default_factory=dict)
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    plan: VolumePlan | None = field(default=None, repr=False)
    policy: GeometryPolicy | None = None
    fill_value: float = 0.0

    @classmethod
    def of(cls, entry: CatalogEntry, plan: VolumePlan, array: Any, failures: tuple[Failure, ...] = ()) -> Volume:
        """Put array, geometry and metadata of a catalog entry together."""
        slices = slice_columns(entry, plan)
        for failure in failures:
            slices["valid"][failure.index] = False
        return cls(
            array=array,
            dims=plan.dims,
            geometry=plan.geometry,
            series=SeriesRecord.of(entry),
            values=plan.values,
            units=plan.units,
            coordinates={d.name: d.values for d in entry.found.dimensions},
            coordinate_units={d.name: d.units for d in entry.found.dimensions if d.units},
            slices=slices,
            failures=failures,
            notes=plan.notes,
            plan=plan,
            policy=plan.policy,
            fill_value=float(plan.fill_value),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) float64: array indices ``(z, y, x, 1)`` to LPS mm; gantry tilt is in it."""
        return self.geometry.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(z, y, x) mm between voxel centres."""
        return self.geometry.spacing

    @property
    def origin(self) -> tuple[float, float, float]:
        """LPS mm of the centre of voxel (0, 0, 0)."""
        return self.geometry.origin

    @property
    def direction(self) -> NDArray[np.float64]:
        """(3, 3): unit vectors of the z, y and x axes as columns, LPS."""
        return self.geometry.direction

    @property
    def slice_positions(self) -> NDArray[np.float64]:
        """(z,) mm along the slice normal."""
        return self.geometry.slice_positions

    @property
    def modality(self) -> str:
        """Modality (0008,0060)."""
        return self.series.modality

    @property
    def series_instance_uid(self) -> str:
        return self.series.series_instance_uid

    @property
    def transfer_syntax_uid(self) -> str:
        """Transfer Syntax UID; several, where slices differ, are joined by a backslash as DICOM does."""
        return "\\".join(self.series.transfer_syntax_uids)

    @cached_property
    def attrs(self) -> Mapping[str, Any]:
        """Patient, study, series and equipment attributes by DICOM keyword, read from the first slice's file.

        Attributes that may differ from slice to slice are in `slices`, or in `dataset`.
        """
        return MappingProxyType(self.series.attributes(self.plan))

    def __getstate__(self) -> dict[str, Any]:
        # The attributes are read again where they are wanted; their read-only view cannot be pickled.
        return {name: value for name, value in self.__dict__.items() if name != "attrs"}

    def dataset(self, slice_index: int | tuple[int, ...]) -> Dataset:
        """The pydicom Dataset that a slice comes from, without its pixel data.

        Parameters
        ----------
        slice_index : int or tuple of int
            Index into the dimensions before y; an int indexes z (of the first time point, echo, ...).

        Raises
        ------
        UsageError
            The slice does not exist, is filled, or the volume was read from a store.
        """
        from fastdicom.luts import read_dataset

        if self.plan is None:
            raise UsageError(
                "This volume was read from a Zarr store, which has no DICOM files. Open the source instead."
            )
        outer = self.plan.outer_shape
        where = slice_index if isinstance(slice_index, tuple) else (*(0,) * (len(outer) - 1), slice_index)
        try:
            record = self.plan.slices.reshape(outer)[where]
        except IndexError:
            record = None
        if record is None or record.shape != ():
            raise UsageError(
                f"Slice {slice_index} does not exist: the volume has {outer} slices.", argument="slice_index"
            )
        if record["file"] < 0:
            raise UsageError(f"Slice {slice_index} comes from no file: it fills a gap.", argument="slice_index")
        dataset: Dataset = read_dataset(self.plan.files[int(record["file"])].locator)
        return dataset

    def padding_mask(self) -> Any:
        """Where the scanner recorded nothing: Pixel Padding Value, or the range up to Pixel Padding Range Limit.

        Compared with the stored values of each slice, which are read again; both ends are padding.

        Returns
        -------
        Array of bool, of the volume's shape: numpy, or dask where the volume is lazy
            True also in slices that are filled. All False where no file names a padding value.

        Raises
        ------
        UsageError
            The volume was not read from DICOM files, or at a lower resolution, where padding is mixed with pixels.

        Notes
        -----
        Source: PS3.3 C.7.5.1.1.2, C.7.6.24, C.7.6.25. To replace padding:
        ``numpy.where(volume.padding_mask(), value, volume.array)``.
        """
        from fastdicom.loading import lazy_array, load_array

        if self.plan is None or self.plan.level:
            raise UsageError(
                "Padding is told by the stored values of the DICOM files at full resolution. Load the source itself."
            )
        plan = self.plan.of_padding()
        if not isinstance(self.array, np.ndarray):
            return lazy_array(plan, chunks=self.array.chunks[: len(plan.shape)])
        return load_array(plan, failures=[] if self.failures else None)

    def compute(self, **options: Any) -> Volume:
        """The volume with its array in memory; `options` go to Dask (``scheduler=``, ``num_workers=``)."""
        if isinstance(self.array, np.ndarray):
            return self
        return replace(self, array=self.array.compute(**options))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = np.asarray(self.array)
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def to_dask(self, *, chunks: Any = None) -> Any:
        """The voxels as a dask.array.Array.

        Parameters
        ----------
        chunks : as in dask.array, optional
            None: as they are, or one slice a chunk for a NumPy array.
        """
        import dask.array as da

        if isinstance(self.array, np.ndarray):
            n_outer = self.geometry_axis + 1
            default = (*(1,) * (n_outer - 1), "auto", *self.shape[n_outer:])
            return da.from_array(self.array, chunks=chunks or default)
        return self.array if chunks is None else self.array.rechunk(chunks)

    @property
    def geometry_axis(self) -> int:
        """Number of the slice axis: the dimensions before it are extra ones."""
        return len(self.dims) - (3 if self.dims[-1] == "c" else 2) - 1

    def to_xarray(self, *, identifiers: str = "remove") -> Any:
        """An xarray.DataArray: coordinates in mm along each axis, per-slice columns along z.

        Parameters
        ----------
        identifiers : {"remove", "keep"}
            "remove": without UIDs and times of day, which the basic profile of PS3.15 removes or replaces.

        Raises
        ------
        MissingDependencyError
            xarray is not installed.
        """
        from fastdicom.exports import to_xarray

        return to_xarray(self, identifiers=identifiers)

    def to_sitk(self) -> Any:
        """A SimpleITK.Image with the origin, spacing and direction that SimpleITK's own series reader gives.

        Raises
        ------
        MissingDependencyError
            SimpleITK is not installed.
        GeometryError
            The volume is tilted or not uniform, which an ITK image cannot hold.
        """
        from fastdicom.exports import to_sitk

        return to_sitk(self)

    def to_nibabel(self) -> Any:
        """A nibabel NIfTI image: axes (x, y, z[, extra][, colour]), affine in RAS mm, tilt kept.

        Raises
        ------
        MissingDependencyError
            nibabel is not installed.
        GeometryError
            The slices are not evenly spaced, which NIfTI cannot hold: `regularize` first.
        """
        from fastdicom.nifti import to_nibabel

        return to_nibabel(self)

    def regularize(self, *, spacing: float | None = None, fill_value: float | None = None) -> Volume:
        """The volume on a regular grid with orthogonal axes: tilt and uneven gaps are resampled away.

        Linear interpolation along the stack and in the plane, computed lazily, a slab of slices at a time. The pixels
        of the new slices are those of the old ones; the slices are evenly spaced along the normal, and large enough
        for all the old ones. Slices that were filled in (``slices["valid"]`` False) are interpolated from their
        neighbours. A volume that is regular already is returned as it is, unless `spacing` asks for another.

        Parameters
        ----------
        spacing : float, optional
            mm between the new slices, from the first old one on, as many as reach the last. Where `spacing` does not
            divide the stack, the last slice lies past it: nothing is known there, so it is filled, its
            ``slices["valid"]`` is False, and a note says so. None: the usual gap, stretched so that first and last
            slice stay where they are.
        fill_value : float, optional
            Value outside of the old slices. None: that of absent slices, ``volume.fill_value`` (air for CT).

        Returns
        -------
        Volume
            With a dask.array.Array of float32 (float64 from float64); its slices come from no single file.

        Raises
        ------
        GeometryError
            The volume has no positions, or fewer than two slices.
        UsageError
            `spacing` is no distance, or so small that it makes more than a million slices.
        """
        from fastdicom.regular import regularize

        return regularize(self, spacing=spacing, fill_value=fill_value)

    def to_zarr(self, store: Any, **options: Any) -> Any:
        """Write the volume to a Zarr store; see `write_zarr`.

        Writes this volume's own array: what was changed in it is written too.
        """
        from fastdicom.store.writing import write_volume

        return write_volume(self, store, **options)

    def __repr__(self) -> str:
        kind = "lazy " if not isinstance(self.array, np.ndarray) else ""
        axes = ", ".join(f"{name}: {length}" for name, length in zip(self.dims, self.shape, strict=True))
        spacing = " x ".join(f"{value:.4g}" for value in self.spacing)
        unit = f" [{self.units}]" if self.units else ""
        return f"<fastdicom.Volume {kind}{self.modality} ({axes}) {self.dtype.name}{unit}, {spacing} mm>"


def missing(package: str, extra: str) -> MissingDependencyError:
    """The error for an optional package that is not installed."""
    return MissingDependencyError(
        f"{package} is not installed. Run: pip install 'fastdicom-volume[{extra}]'.", package=package, extra=extra
    )
