"""A volume goes straight into the libraries people use next, and nothing is lost or turned round on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastdicom
from fastdicom.testing import SeriesSpec, WrittenSeries, write_series

OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)
SPECS = {
    "axial": SeriesSpec(slices=7, rows=20, columns=14),
    "sagittal": SeriesSpec(slices=7, rows=20, columns=14, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)),
    "oblique": SeriesSpec(slices=7, rows=20, columns=14, orientation=OBLIQUE),
    "signed MR": SeriesSpec(
        slices=5, rows=12, columns=10, modality="MR", signed=True, slope=None, intercept=None, orientation=OBLIQUE
    ),
    "float": SeriesSpec(slices=4, rows=12, columns=10, slope=0.37, intercept=-3.1),
}


@pytest.fixture(params=SPECS)
def series(request: pytest.FixtureRequest, tmp_path: Path) -> WrittenSeries:
    return write_series(tmp_path, SPECS[request.param])


@pytest.fixture(params=["loaded", "lazy"])
def volume(request: pytest.FixtureRequest, series: WrittenSeries) -> fastdicom.Volume:
    make = fastdicom.load_volume if request.param == "loaded" else fastdicom.open_volume
    return make(series.folder)


def test_numpy(volume: fastdicom.Volume, series: WrittenSeries) -> None:
    np.testing.assert_allclose(np.asarray(volume), series.modality_values(), rtol=1e-6)
    assert np.asarray(volume, dtype=np.float64).dtype == np.float64
    assert np.asarray(volume).dtype == volume.dtype
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-4)


def test_matplotlib(volume: fastdicom.Volume, tmp_path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    aspect = volume.spacing[1] / volume.spacing[2]
    shown = axes.imshow(volume.array[3], cmap="gray", aspect=aspect)
    figure.savefig(tmp_path / "figure.png")
    np.testing.assert_array_equal(shown.get_array(), np.asarray(volume.array[3]))
    pyplot.close(figure)


def test_scipy(volume: fastdicom.Volume) -> None:
    from scipy import ndimage

    one_mm = ndimage.zoom(np.asarray(volume, dtype=np.float32), volume.spacing, order=1)
    wanted = [round(n * step) for n, step in zip(volume.shape, volume.spacing, strict=True)]
    assert list(one_mm.shape) == wanted


def test_scikit_image(volume: fastdicom.Volume) -> None:
    from skimage import filters, measure

    array = np.asarray(volume)
    mask = array > filters.threshold_otsu(array)
    regions = measure.regionprops(mask.astype(np.uint8), spacing=volume.spacing)
    assert regions[0].area == pytest.approx(mask.sum() * np.prod(volume.spacing))


class TestSimpleITK:
    def test_same_as_its_own_reader(self, volume: fastdicom.Volume, series: WrittenSeries) -> None:
        import SimpleITK

        names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(series.folder))
        own = SimpleITK.ReadImage(names)
        ours = volume.to_sitk()
        assert ours.GetSize() == own.GetSize()
        np.testing.assert_allclose(ours.GetOrigin(), own.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(ours.GetSpacing(), own.GetSpacing(), atol=1e-4)
        np.testing.assert_allclose(ours.GetDirection(), own.GetDirection(), atol=1e-5)
        np.testing.assert_allclose(
            SimpleITK.GetArrayFromImage(ours), SimpleITK.GetArrayFromImage(own), rtol=1e-5, atol=1e-3
        )

    def test_every_voxel_keeps_its_place(self, volume: fastdicom.Volume) -> None:
        image = volume.to_sitk()
        for index in ((0, 0, 0), (1, 2, 3), (3, 9, 7)):
            place = image.TransformIndexToPhysicalPoint(index[::-1])
            np.testing.assert_allclose(place, (volume.affine @ [*index, 1])[:3], atol=1e-4)
            assert image[index[::-1]] == pytest.approx(float(np.asarray(volume.array[index])))

    def test_colour(self, tmp_path: Path) -> None:
        series = write_series(
            tmp_path,
            SeriesSpec(slices=3, rows=8, columns=6, photometric_interpretation="RGB", bits_allocated=8, modality="OT"),
        )
        image = fastdicom.load_volume(tmp_path).to_sitk()
        assert image.GetNumberOfComponentsPerPixel() == 3
        assert image[2, 5, 1] == tuple(series.stored[1, 5, 2].tolist())


def test_nibabel(volume: fastdicom.Volume, tmp_path: Path) -> None:
    import nibabel

    nibabel.save(volume.to_nibabel(), tmp_path / "volume.nii.gz")
    image = nibabel.load(tmp_path / "volume.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, np.asarray(volume))
    for index in ((0, 0, 0), (1, 2, 3), (3, 9, 7)):
        left, posterior, superior = (volume.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(
            (image.affine @ [*index[::-1], 1])[:3], [-left, -posterior, superior], rtol=1e-5, atol=1e-4
        )


class TestXarray:
    def test_voxels_and_coordinates(self, volume: fastdicom.Volume) -> None:
        array = volume.to_xarray()
        assert array.dims == volume.dims
        np.testing.assert_array_equal(array.values, np.asarray(volume))
        np.testing.assert_allclose(array["z"].values, volume.slice_positions)
        np.testing.assert_allclose(np.diff(array["y"].values), volume.spacing[1])
        np.testing.assert_allclose(np.diff(array["x"].values), volume.spacing[2])
        assert array["z"].attrs["units"] == "mm"
        assert (array.chunks is None) == isinstance(volume.array, np.ndarray)  # lazy stays lazy

    def test_selection_by_millimetres(self, volume: fastdicom.Volume) -> None:
        array = volume.to_xarray()
        position = float(volume.slice_positions[2]) + 0.1
        np.testing.assert_array_equal(array.sel(z=position, method="nearest").values, np.asarray(volume.array[2]))

    def test_through_a_file(self, volume: fastdicom.Volume, tmp_path: Path) -> None:
        import xarray

        array = volume.to_xarray()
        array = array.drop_vars([name for name, values in array.coords.items() if values.dtype.kind in "UO"])
        array.to_zarr(tmp_path / "volume.zarr", zarr_format=3, consolidated=False)
        again = xarray.open_zarr(tmp_path / "volume.zarr", consolidated=False)["voxels"]
        np.testing.assert_array_equal(again.values, np.asarray(volume))


def test_dask(volume: fastdicom.Volume, series: WrittenSeries) -> None:
    array = volume.to_dask(chunks=(2, -1, -1))
    assert array.chunks[0][:2] == (2, 2)
    wanted = series.modality_values().mean(axis=(1, 2))
    np.testing.assert_allclose(array.mean(axis=(1, 2)).compute(scheduler="synchronous"), wanted, rtol=1e-5)


def test_extra_dimensions(tmp_path: Path) -> None:
    spec = SeriesSpec(slices=4, rows=8, columns=6, modality="MR", dimensions={"echo": [12.0, 40.0]})
    series = write_series(tmp_path, spec)
    volume = fastdicom.load_volume(tmp_path)
    array = volume.to_xarray()
    np.testing.assert_array_equal(array.sel(echo=40.0).values, series.modality_values()[1])
    assert volume.to_nibabel().shape == (6, 8, 4, 2)
    assert volume.to_sitk().GetSize() == (6, 8, 4, 2)


def test_without_an_optional_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    write_series(tmp_path, replace(SPECS["axial"], slices=3))
    volume = fastdicom.load_volume(tmp_path)
    for package, method, extra in (
        ("xarray", volume.to_xarray, "xarray"),
        ("SimpleITK", volume.to_sitk, "sitk"),
        ("nibabel", volume.to_nibabel, "nibabel"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(fastdicom.errors.MissingDependencyError, match=rf"fastdicom-volume\[{extra}\]"):
            method()
