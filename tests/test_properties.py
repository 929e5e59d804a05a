"""What must hold for any series: nothing about files, chunks, indices or schedulers changes a voxel.

The series are generated; the voxels are compared with pydicom's.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

import fastdicom
from fastdicom import blocks, runs
from fastdicom.blocks import BlockStats, read_block
from fastdicom.errors import ValuesError
from fastdicom.frames.local import PATH
from fastdicom.testing import SeriesSpec, WrittenSeries, encodable_syntaxes, strategies, write_series
from fastdicom.testing.codestreams import CODECS, NATIVE

RLE, J2K, JPEG_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"
IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_XL = "1.2.840.10008.1.2.4.110"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
LOSSLESS = [uid for uid in encodable_syntaxes() if uid in NATIVE or CODECS[uid].decode is None]
PYDICOM_DECODES = [uid for uid in LOSSLESS if uid != JPEG_XL]
FEW = [uid for uid in (IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE, J2K, JPEG_LS) if uid in LOSSLESS]


@contextmanager
def written(spec: SeriesSpec) -> Iterator[WrittenSeries]:
    with tempfile.TemporaryDirectory() as folder:
        yield write_series(folder, spec)


def quiet_pixels(ds: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom on odd lengths and paddings that the generator writes on purpose
        return ds.pixel_array


def pydicom_slices(volume: fastdicom.Volume, transform: Any = None) -> np.ndarray:
    """pydicom's pixels of each slice of a volume, in the order of its plan."""
    read: dict[str, tuple[Any, np.ndarray]] = {}
    found = []
    for record in volume.plan.slices:
        path = volume.plan.files[record["file"]].locator
        if path not in read:
            ds = pydicom.dcmread(path, force=True)
            read[path] = (ds, quiet_pixels(ds))
        ds, pixels = read[path]
        frames = int(ds.get("NumberOfFrames", None) or 1)
        pixels = pixels[record["frame"]] if frames > 1 else pixels
        found.append(transform(pixels, ds) if transform else pixels)
    return np.stack(found).reshape(volume.shape)


def pydicom_decodes(spec: SeriesSpec) -> bool:
    """What pydicom cannot: JPEG XL; 8 bits of JPEG in a container of 16."""
    fmt = spec.pixel_format
    if fmt.transfer_syntax_uid in JPEG_LOSSLESS:
        return fmt.bits_stored > 8 or fmt.bits_allocated == 8
    return fmt.transfer_syntax_uid != JPEG_XL


def rescaled(pixels: np.ndarray, ds: Any) -> np.ndarray:
    return pixels * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))


# Any kind of pixels


WIDE = [uid for uid in (IMPLICIT, EXPLICIT, BIG, DEFLATED, RLE) if uid in LOSSLESS]


@settings(max_examples=60)
@given(strategies.series_specs(syntaxes=LOSSLESS) | strategies.series_specs(syntaxes=WIDE, bits_allocated=32))
def test_gray_voxels_and_geometry_of_any_series(spec: SeriesSpec) -> None:
    with written(spec) as series:
        stored = fastdicom.load_volume(series.folder, values="stored")
        assert stored.array.dtype == spec.pixel_format.stored_dtype
        np.testing.assert_array_equal(stored.array, series.stored)
        volume = fastdicom.load_volume(series.folder)
        exact = series.modality_values()
        if pydicom_decodes(spec):
            np.testing.assert_array_equal(stored.array, pydicom_slices(stored))
            np.testing.assert_array_equal(exact, pydicom_slices(volume, rescaled))
        if volume.dtype.kind in "iu":
            np.testing.assert_array_equal(volume.array, exact)
        else:
            np.testing.assert_array_equal(volume.array, exact.astype(volume.dtype))
        if spec.slices > 1:
            np.testing.assert_allclose(volume.affine, series.affine, rtol=0, atol=1e-4)
        double = fastdicom.load_volume(series.folder, dtype=np.float64)
        np.testing.assert_array_equal(double.array, exact)


@settings(max_examples=25)
@given(
    strategies.series_specs(
        syntaxes=PYDICOM_DECODES,
        photometric=("RGB", "YBR_FULL", "PALETTE COLOR"),
        bits_allocated=8,
        modalities=("US",),
        rows=(5, 12),  # imagecodecs' encoder takes an image of one or two rows for planes
        columns=(5, 12),
    )
)
def test_colour_is_a_last_axis_equal_to_pydicom(spec: SeriesSpec) -> None:
    with written(spec) as series:
        for values in ("stored", "modality"):
            volume = fastdicom.load_volume(series.folder, values=values)
            colour = spec.photometric_interpretation != "PALETTE COLOR"
            assert volume.dims == (("z", "y", "x", "c") if colour else ("z", "y", "x"))
            expected = pydicom_slices(volume) if values == "stored" or colour else pydicom_slices(volume, rescaled)
            np.testing.assert_array_equal(volume.array, expected.astype(volume.dtype))
        if spec.photometric_interpretation == "PALETTE COLOR":
            shown = fastdicom.load_volume(series.folder, values="display")
            assert shown.dims == ("z", "y", "x", "c")
            expected = pydicom_slices(shown, _through_palette)
            np.testing.assert_allclose(shown.array.astype(int), expected.astype(int), rtol=0, atol=1)


def _through_palette(pixels: np.ndarray, ds: pydicom.Dataset) -> np.ndarray:
    """By pydicom, which reads the words of a big endian palette as little endian ones: they are turned for it."""
    if ds.file_meta.TransferSyntaxUID == BIG:
        for colour in ("Red", "Green", "Blue"):
            element = ds[f"{colour}PaletteColorLookupTableData"]
            element.value = np.frombuffer(element.value, "<u2").byteswap().tobytes()
    return _to_8_bits(apply_color_lut(pixels, ds))


def _to_8_bits(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else np.round(pixels / 257.0)


@settings(max_examples=25)
@given(
    strategies.series_specs(
        syntaxes=LOSSLESS,
        multi_frame=st.sampled_from([True, "enhanced"]),
        offset_table=st.sampled_from(["basic", "extended"]),  # without one, fragments of frames cannot be told apart
        tilt=False,
        modalities=("CT", "MR"),
    )
)
def test_multi_frame_files(spec: SeriesSpec) -> None:
    with written(spec) as series:
        stored = fastdicom.load_volume(series.folder, values="stored")
        np.testing.assert_array_equal(stored.array.reshape(series.stored.shape), series.stored)
        if pydicom_decodes(spec):
            np.testing.assert_array_equal(stored.array, pydicom_slices(stored))
        volume = fastdicom.load_volume(series.folder)
        np.testing.assert_array_equal(volume.array.ravel(), series.modality_values().ravel().astype(volume.dtype))


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("slope", [None, 0.3])
def test_float_pixels_stay_float(tmp_path: Path, keyword: str, slope: float | None) -> None:
    write_series(tmp_path, SeriesSpec(pixel_keyword=keyword, slices=3, slope=slope, intercept=slope and 2.0))
    stored = fastdicom.load_volume(tmp_path, values="stored")
    assert stored.dtype == (np.float32 if keyword == "FloatPixelData" else np.float64)
    np.testing.assert_array_equal(stored.array, pydicom_slices(stored))
    volume = fastdicom.load_volume(tmp_path)
    assert volume.dtype == (np.float64 if keyword == "DoubleFloatPixelData" and slope is None else np.float32)
    expected = pydicom_slices(volume, lambda pixels, ds: rescaled(pixels.astype(np.float64), ds))
    np.testing.assert_array_equal(volume.array, expected.astype(volume.dtype))


def test_single_bits(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(bits_allocated=1, slices=3, rows=5, columns=7, slope=None, intercept=None))
    volume = fastdicom.load_volume(tmp_path)
    assert volume.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, pydicom_slices(volume))


@settings(max_examples=60)
@given(
    strategies.series_specs(
        syntaxes=FEW,
        slices=(1, 4),
        window=st.tuples(
            st.floats(-1500, 3000).map(lambda v: round(v, 2)), st.floats(1.5, 5000).map(lambda v: round(v, 2))
        ),
        slope=st.sampled_from([None, 1.0, 2.0, 0.37]),
        intercept=st.sampled_from([0.0, -1024.0]),
    ),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID", None]),
)
def test_display_is_the_window_of_pydicom_within_one_level(spec: SeriesSpec, function: str | None) -> None:
    from dataclasses import replace

    spec = replace(spec, extra={"VOILUTFunction": function}, intercept=None if spec.slope is None else spec.intercept)
    with written(spec) as series:
        shown = fastdicom.load_volume(series.folder, values="display")
        assert shown.dtype == np.uint8

        def through_pydicom(pixels: np.ndarray, ds: Any) -> np.ndarray:
            y = apply_voi_lut(apply_modality_lut(pixels, ds), ds).astype(np.float64)
            bits, signed = ds.BitsStored, ds.PixelRepresentation
            low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
            ends = [
                end * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0)) for end in (low, high)
            ]
            level = (y - ends[0]) / (ends[1] - ends[0]) * 255.0
            return 255.0 - level if ds.PhotometricInterpretation == "MONOCHROME1" else level

        expected = pydicom_slices(shown, through_pydicom)
        assert np.abs(shown.array - expected).max() <= 1.0


def test_a_window_may_be_given_or_chosen_by_index(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(slices=2, window=((40.0, 400.0), (-600.0, 1500.0)), intercept=-1024.0))
    first, second = (fastdicom.load_volume(tmp_path, values="display", window=k).array for k in (0, 1))
    np.testing.assert_array_equal(fastdicom.load_volume(tmp_path, values="display").array, first)
    np.testing.assert_array_equal(
        fastdicom.load_volume(tmp_path, values="display", window=(-600, 1500)).array, second
    )  # fmt: skip
    assert not np.array_equal(first, second)
    automatic = fastdicom.load_volume(tmp_path, values="display", window="auto").array
    assert automatic.min() == 0
    assert automatic.max() == 255
    with pytest.raises(ValuesError, match="has 2 windows"):
        fastdicom.load_volume(tmp_path, values="display", window=2)


# Files: order, names, folders, how often they are opened


@settings(max_examples=25)
@given(strategies.series_specs(syntaxes=FEW, slices=(2, 6), dimensions=False), st.randoms(use_true_random=False))
def test_order_names_and_folders_of_files_change_nothing(spec: SeriesSpec, random: Any) -> None:
    with written(spec) as series, tempfile.TemporaryDirectory() as elsewhere:
        reference = fastdicom.load_volume(series.folder)
        names = list(range(len(series.files)))
        random.shuffle(names)
        moved = []
        for path, name in zip(series.files, names, strict=True):
            target = Path(elsewhere) / f"sub {name % 3}" / f"{name}.{random.choice(['dcm', 'IMA', 'x'])}"
            target.parent.mkdir(exist_ok=True)
            moved.append(shutil.copyfile(path, target))
        random.shuffle(moved)
        for source in (elsewhere, moved):
            volume = fastdicom.load_volume(source)
            np.testing.assert_array_equal(volume.array, reference.array)
            assert volume.array.dtype == reference.array.dtype
            np.testing.assert_array_equal(volume.affine, reference.affine)
            np.testing.assert_array_equal(volume.slice_positions, reference.slice_positions)
            assert volume.slices.keys() == reference.slices.keys()
            for name, column in volume.slices.items():
                np.testing.assert_array_equal(column, reference.slices[name], err_msg=name)
            assert volume.attrs == reference.attrs


class Spy:
    """Counts what `read_block` opens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: Counter[str] = Counter()
        really, together = blocks.open_reader, runs.read_local_ranges

        def open_reader(locator: str) -> Any:
            self.opened[locator] += 1
            return really(locator)

        def read_local_ranges(names: Any, ranges: Any, *rest: Any) -> bool:
            starts = [start for start, _ in groupby(ranges[:, PATH].tolist())]
            self.opened.update(bytes(names[start:]).split(b"\0")[0].decode() for start in starts)
            return together(names, ranges, *rest)

        monkeypatch.setattr(blocks, "open_reader", open_reader)
        monkeypatch.setattr(runs, "read_local_ranges", read_local_ranges)


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
@pytest.mark.parametrize("multi_frame", [False, "enhanced"])
def test_a_block_opens_each_of_its_files_once_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, multi_frame: Any
) -> None:
    series = write_series(
        tmp_path, SeriesSpec(slices=6, rows=5, columns=4, transfer_syntax_uid=syntax, multi_frame=multi_frame)
    )
    plan = fastdicom.open_volume(tmp_path).plan
    in_order = [plan.files[k].locator for k in plan.slices["file"]]
    for index in ((), (slice(1, 5, 2),), (slice(None, None, -1), 2), (3, slice(0, 2)), (slice(0, 0),)):
        spy = Spy(monkeypatch)
        stats = BlockStats()
        read_block(plan, index, stats=stats)
        z = index[0] if index else slice(None)
        wanted = in_order[z] if isinstance(z, slice) else [in_order[z]]
        assert spy.opened == Counter(set(wanted)), index
        assert (stats.files_opened, stats.frames) == (len(set(wanted)), len(wanted))
    spy = Spy(monkeypatch)
    lazy = fastdicom.open_volume(tmp_path, chunks=(2, 5, 4)).array
    lazy[2:4].compute(scheduler="synchronous")
    assert spy.opened == Counter(set(in_order[2:4]))
    assert set(series.files) == set(in_order)


def test_native_bands_of_rows_read_only_their_bytes(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(slices=2, rows=50, columns=40))
    stats = BlockStats()
    read_block(fastdicom.open_volume(tmp_path).plan, (slice(None), slice(10, 15)), stats=stats)
    assert stats.bytes_read == 2 * 5 * 40 * 2


# Chunks and indices

INDEXED = [
    SeriesSpec(slices=5, rows=6, columns=7, slope=(1.0, 1.5, 2.0, 1.0, 0.5), intercept=0.0, modality="PT"),
    SeriesSpec(slices=4, rows=6, columns=7, transfer_syntax_uid=RLE, missing=(2,)),
    SeriesSpec(slices=3, rows=4, columns=6, transfer_syntax_uid=J2K, photometric_interpretation="RGB", modality="US"),
    SeriesSpec(slices=3, rows=4, columns=6, bits_allocated=8, photometric_interpretation="RGB", planar_configuration=1),
    SeriesSpec(slices=3, rows=5, columns=6, modality="MR", dimensions={"echo": 2}),
    SeriesSpec(slices=4, rows=5, columns=6, transfer_syntax_uid=RLE, multi_frame="enhanced"),
    SeriesSpec(slices=3, rows=5, columns=9, bits_allocated=1, slope=None, intercept=None),
]


@pytest.fixture(scope="module", params=range(len(INDEXED)))
def indexed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fastdicom.Volume:
    spec = INDEXED[request.param]
    if spec.photometric_interpretation == "RGB":
        from dataclasses import replace

        spec = replace(spec, bits_allocated=8, bits_stored=8, slope=None, intercept=None)
    folder = tmp_path_factory.mktemp("indexed")
    write_series(folder, spec)
    return fastdicom.load_volume(folder, policy=fastdicom.GeometryPolicy(gaps="fill"))


@settings(max_examples=60)
@given(st.data())
def test_any_basic_index_is_numpy_s(indexed: fastdicom.Volume, data: st.DataObject) -> None:
    index = data.draw(basic_indices(indexed.shape, allow_newaxis=False, min_dims=0))
    expected = indexed.array[index]
    block = read_block(indexed.plan, index if isinstance(index, tuple) else (index,))
    assert block.dtype == expected.dtype
    assert block.shape == np.shape(expected)
    np.testing.assert_array_equal(block, expected)


@settings(max_examples=40)
@given(st.data())
def test_any_chunks_and_any_index_through_dask(indexed: fastdicom.Volume, data: st.DataObject) -> None:
    chunks = tuple(data.draw(st.integers(1, n)) for n in indexed.shape)
    lazy = fastdicom.open_volume(
        next(iter(_folder_of(indexed))), chunks=chunks, policy=fastdicom.GeometryPolicy(gaps="fill")
    ).array
    index = data.draw(basic_indices(indexed.shape, allow_newaxis=True, min_dims=0))
    expected = indexed.array[index]
    result = lazy[index].compute(scheduler="synchronous")
    assert np.shape(result) == np.shape(expected)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), indexed.array)


def _folder_of(volume: fastdicom.Volume) -> set[Path]:
    return {Path(file.locator).parent for file in volume.plan.files}


def test_lists_and_masks_index_the_lazy_array(indexed: fastdicom.Volume) -> None:
    (folder,) = _folder_of(indexed)
    lazy = fastdicom.open_volume(folder, policy=fastdicom.GeometryPolicy(gaps="fill")).array
    axis = indexed.geometry_axis
    n = indexed.shape[axis]
    before = (slice(None),) * axis
    for pick in ([n - 1, 0], np.arange(n) % 2 == 0, np.array([0, 0, 1])):
        index = (*before, pick)
        np.testing.assert_array_equal(lazy[index].compute(scheduler="synchronous"), indexed.array[index])


@settings(max_examples=60)
@given(st.data())
def test_out_may_be_any_view(indexed: fastdicom.Volume, data: st.DataObject) -> None:
    index = data.draw(basic_indices(indexed.shape, allow_newaxis=False, min_dims=0))
    index = index if isinstance(index, tuple) else (index,)
    expected = np.asarray(indexed.array[index])
    steps = [data.draw(st.sampled_from([1, 2, -1, -2])) for _ in expected.shape]
    if data.draw(st.booleans()):
        backing = np.full([abs(step) * n + 1 for step, n in zip(steps, expected.shape, strict=True)], 77, indexed.dtype)
        view = backing[(..., *(slice(None, None, step) for step in steps))]
        view = view[(..., *(slice(0, n) for n in expected.shape))]
    else:
        order = data.draw(st.permutations(range(expected.ndim)))
        view = np.empty([expected.shape[k] for k in order], indexed.dtype).transpose(np.argsort(order))
    assert view.shape == expected.shape
    result = read_block(indexed.plan, index, out=view)
    assert result is view
    np.testing.assert_array_equal(view, expected)


def test_out_of_another_shape_or_type_is_refused(indexed: fastdicom.Volume) -> None:
    shape = indexed.shape
    other = np.float32 if indexed.dtype == np.float64 else np.float64
    for out in (
        np.zeros(shape[::-1], indexed.dtype),
        np.zeros(shape[:-1], indexed.dtype),
        np.zeros((*shape, 2), indexed.dtype),
        np.zeros(shape, other),
    ):
        with pytest.raises(ValuesError, match="out must be"):
            read_block(indexed.plan, (), out=out)


def test_an_index_out_of_bounds_is_an_index_error(indexed: fastdicom.Volume) -> None:
    for index in ((99,), (0, -99), (0,) * (len(indexed.shape) + 1)):
        with pytest.raises(IndexError):
            read_block(indexed.plan, index)


# dtype


@settings(max_examples=60)
@given(
    strategies.series_specs(syntaxes=[EXPLICIT, RLE], slices=(1, 3), bits_allocated=(8, 16)),
    st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", "int64", "float32", "float64"]),
    st.sampled_from(["stored", "modality"]),
)
def test_an_explicit_dtype_holds_every_value_or_is_an_error(spec: SeriesSpec, dtype: str, values: str) -> None:
    with written(spec) as series:
        exact = series.stored.astype(np.float64) if values == "stored" else series.modality_values()
        try:
            volume = fastdicom.load_volume(series.folder, dtype=dtype, values=values)
        except ValuesError:
            assert not _holds(exact, np.dtype(dtype))
            return
        assert volume.dtype == dtype
        if np.dtype(dtype).kind in "iu":
            assert _holds(exact, np.dtype(dtype))
        np.testing.assert_array_equal(volume.array, exact.astype(dtype))


def _holds(values: np.ndarray, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    limits = np.iinfo(dtype)
    whole = np.array_equal(values, np.round(values))
    return bool(whole and values.min() >= limits.min and values.max() <= limits.max)


# Schedulers

SCHEDULED = {
    "native": SeriesSpec(slices=9, rows=12, columns=10, slope=tuple(0.5 + k for k in range(9)), intercept=0.0),
    "rle": SeriesSpec(slices=9, rows=12, columns=10, transfer_syntax_uid=RLE, tilt_deg=10.0),
    "echoes": SeriesSpec(slices=4, rows=12, columns=10, modality="MR", dimensions={"echo": 2}),
    "frames": SeriesSpec(slices=9, rows=12, columns=10, transfer_syntax_uid=J2K, multi_frame="enhanced"),
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive")
    for number, (name, spec) in enumerate(SCHEDULED.items()):
        from dataclasses import replace

        write_series(root / name, replace(spec, series_number=number + 1))
    return root


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=1, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client


@pytest.fixture(params=["threads", "processes", "client"])
def scheduler(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("client") if request.param == "client" else request.param


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_no_scheduler_changes_a_scan_a_volume_or_a_store(
    archive: Path, scheduler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastdicom.scanning.FEW_BATCHES", 0)  # processes for few files, too
    how = {"scheduler": scheduler, "workers": 2}
    reference = fastdicom.scan(archive, scheduler="synchronous")
    catalog = fastdicom.scan(archive, **how)
    assert len(catalog) == len(SCHEDULED)
    assert catalog.to_json() == reference.to_json()
    pairs = list(zip(catalog, reference, strict=True))
    for ours, theirs in pairs[-1:] if scheduler == "processes" else pairs:  # each call starts processes: seconds
        expected = fastdicom.load_volume(theirs, scheduler="synchronous")
        volume = fastdicom.load_volume(ours, **how)
        assert volume.array.dtype == expected.array.dtype
        np.testing.assert_array_equal(volume.array, expected.array)
        lazy = fastdicom.open_volume(ours, chunks=(*(1,) * (len(ours.shape) - 2), *ours.shape[-2:])).array
        options = {"scheduler": scheduler, "num_workers": 2} if isinstance(scheduler, str) else {}
        np.testing.assert_array_equal(lazy.compute(**options), expected.array)
    chunks = {"chunks": (2, 12, 10), "shards": (4, 12, 10)}
    select = {"series": lambda entry: entry.series_number == 2}
    for folder, options in (("ours", how), ("theirs", {"scheduler": "synchronous"})):
        fastdicom.write_zarr(archive, tmp_path / folder, **select, **chunks, **options)
    assert files_below(tmp_path / "ours") == files_below(tmp_path / "theirs")
    assert any("/c/" in f"/{name}" for name in files_below(tmp_path / "ours"))


@settings(max_examples=15)
@given(
    strategies.series_specs(syntaxes=FEW, slices=(1, 8)),
    st.integers(1, 5),
    st.sampled_from(["modality", "stored", "display"]),
)
def test_no_number_of_threads_changes_a_voxel(spec: SeriesSpec, workers: int, values: str) -> None:
    with written(spec) as series:
        one = fastdicom.load_volume(series.folder, values=values, scheduler="synchronous")
        many = fastdicom.load_volume(series.folder, values=values, workers=workers)
        np.testing.assert_array_equal(one.array, many.array)
