"""What cannot be computed for certain is an error that names the file, or a note; never a quiet guess."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import fastdicom
from fastdicom.errors import (
    FastDicomError,
    FileChangedError,
    GeometryWarning,
    PixelDataError,
    UsageError,
    ValuesError,
)
from fastdicom.testing import SeriesSpec, WrittenSeries, corrupt, write_series

SPEC = SeriesSpec(slices=6, rows=16, columns=12, window=(40, 400))


def edit(path: str | Path | None, change: Callable[[Dataset], None]) -> None:
    assert path is not None
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def put_text(path: str | Path | None, tag: int, text: bytes) -> None:
    """Write the raw bytes of a DS value, which pydicom would refuse to write."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    assert path is not None
    dataset = pydicom.dcmread(path)
    padded = text + b" " * (len(text) % 2)
    dataset[tag] = RawDataElement(Tag(tag), "DS", len(padded), padded, 0, False, True)
    dataset.save_as(path)


@pytest.fixture
def series(tmp_path: Path) -> WrittenSeries:
    return write_series(tmp_path / "scans", SPEC)


@pytest.mark.parametrize("text", [b"1,5", b"abc", b"nan", b"1.5 2"])
@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("tag", [0x0028_1053, 0x0028_1052])
def test_a_slope_that_is_no_number_is_an_error(series: WrittenSeries, tag: int, text: bytes, every: bool) -> None:
    for path in series.paths if every else series.paths[2:3]:
        put_text(path, tag, text)
    with pytest.raises(ValuesError, match="no number") as caught:
        fastdicom.load_volume(series.folder)
    assert caught.value.path in series.paths
    assert np.array_equal(fastdicom.load_volume(series.folder, values="stored").array, series.stored)


def test_a_slice_without_slope_among_others_is_an_error(tmp_path: Path) -> None:
    series = write_series(tmp_path / "scans", SeriesSpec(slices=6, rows=8, columns=8, slope=2.0))
    edit(series.paths[2], lambda dataset: dataset.__delitem__("RescaleSlope"))
    with pytest.raises(ValuesError, match=r"RescaleSlope is absent in 1 of 6 slices"):
        fastdicom.load_volume(series.folder)


def test_a_series_without_any_slope_has_its_stored_values(tmp_path: Path) -> None:
    series = write_series(tmp_path / "scans", SeriesSpec(slices=3, rows=8, columns=8, slope=None, intercept=None))
    assert np.array_equal(fastdicom.load_volume(series.folder).array, series.stored)


def add_lut(dataset: Dataset, factor: int) -> None:
    for keyword in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        if keyword in dataset:
            del dataset[keyword]
    item = Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = (np.arange(4096) * factor).astype("<u2").tobytes()
    item.ModalityLUTType = "US"
    dataset.ModalityLUTSequence = [item]


def test_a_lut_that_does_not_fit_an_explicit_dtype_is_an_error(series: WrittenSeries) -> None:
    for path in series.paths:
        edit(path, lambda dataset: add_lut(dataset, 10))
    expected = series.stored.astype(np.int64) * 10
    assert np.array_equal(fastdicom.load_volume(series.folder).array, expected)
    assert np.array_equal(fastdicom.load_volume(series.folder, dtype="int32").array, expected)
    with pytest.raises(ValuesError, match="do not fit int16"):
        fastdicom.load_volume(series.folder, dtype="int16")


def test_a_lut_in_some_slices_and_a_slope_in_others_load_together(series: WrittenSeries) -> None:
    edit(series.paths[1], lambda dataset: add_lut(dataset, 1))
    expected = series.stored.astype(np.int64) - 1024
    expected[1] += 1024
    with pytest.warns(GeometryWarning, match="rescale_type"):
        volume = fastdicom.load_volume(series.folder)
    assert volume.dtype == np.int32
    assert np.array_equal(volume.array, expected)


@pytest.mark.parametrize("at", [700, 900, 1100])
def test_an_image_cut_in_its_header_is_damaged(series: WrittenSeries, at: int) -> None:
    assert series.paths[-1] is not None
    corrupt.truncate(series.paths[-1], at)
    (skipped,) = fastdicom.scan(series.folder).skipped
    assert skipped.kind == "damaged"
    with pytest.warns(fastdicom.errors.SkippedFilesWarning):
        fastdicom.load_volume(series.folder)


def test_a_file_of_the_same_size_in_the_place_of_another_is_noticed(series: WrittenSeries) -> None:
    lazy = fastdicom.open_volume(series.folder)
    first, last = series.paths[0], series.paths[-1]
    assert first is not None
    assert last is not None
    content, before = Path(last).read_bytes(), Path(first).stat().st_mtime_ns
    Path(first).write_bytes(content)
    os.utime(first, ns=(before + 10**9, before + 10**9))
    with pytest.raises(FileChangedError, match="Scan the source again"):
        lazy.array[0].compute()


@pytest.mark.parametrize(("keyword", "value"), [("Rows", 8), ("Columns", 6), ("BitsAllocated", 8)])
def test_pixel_data_of_a_larger_image_are_not_cut_to_a_smaller(series: WrittenSeries, keyword: str, value: int) -> None:
    def shrink(dataset: Dataset) -> None:
        setattr(dataset, keyword, value)
        if keyword == "BitsAllocated":
            dataset.BitsStored, dataset.HighBit = 8, 7

    for path in series.paths:
        edit(path, shrink)
    with pytest.raises(PixelDataError, match="describe"):
        fastdicom.load_volume(series.folder)


def test_frames_that_nobody_counts_are_not_dropped(tmp_path: Path) -> None:
    series = write_series(tmp_path / "scans", SeriesSpec(slices=6, rows=8, columns=8, modality="US", multi_frame=True))
    edit(series.paths[0], lambda dataset: setattr(dataset, "NumberOfFrames", 3))
    with pytest.raises(PixelDataError, match="describe"):
        fastdicom.load_volume(series.folder)


def test_voi_functions_that_differ_are_an_error(series: WrittenSeries) -> None:
    edit(series.paths[1], lambda dataset: setattr(dataset, "VOILUTFunction", "SIGMOID"))
    with pytest.raises(ValuesError, match="LINEAR, SIGMOID"):
        fastdicom.load_volume(series.folder, values="display")
    assert fastdicom.load_volume(series.folder, values="display", window=(40, 400)).dtype == np.uint8


def test_a_high_bit_that_is_not_the_highest_is_refused(tmp_path: Path) -> None:
    spec = SeriesSpec(slices=2, rows=8, columns=8, bits_stored=12, high_bit=15)
    written = write_series(tmp_path / "scans", spec)
    for values in ("modality", "display"):
        with pytest.raises(ValuesError, match="High Bit is 15 with Bits Stored 12") as caught:
            fastdicom.load_volume(written.folder, values=values)
        assert caught.value.path in map(str, written.paths)  # type: ignore[attr-defined]
    volume = fastdicom.load_volume(written.folder, values="stored")
    assert any("High Bit is 15 with Bits Stored 12" in note for note in volume.notes)


def test_window_is_for_display_only(series: WrittenSeries) -> None:
    with pytest.raises(UsageError, match="values='display'"):
        fastdicom.load_volume(series.folder, window=(40, 400))


def test_windows_of_the_header_keep_their_number(series: WrittenSeries) -> None:
    for path in series.paths:
        edit(path, lambda dataset: dataset.__setattr__("WindowCenter", [40, 50]))
        edit(path, lambda dataset: dataset.__setattr__("WindowWidth", [0, 400]))
    with pytest.raises(ValuesError, match="window=0"):
        fastdicom.load_volume(series.folder, values="display", window=0)
    second = fastdicom.load_volume(series.folder, values="display", window=1)
    assert np.array_equal(second.array, fastdicom.load_volume(series.folder, values="display", window=(50, 400)).array)
    assert "window of the header: center 50, width 400, LINEAR" in second.notes


def test_a_window_from_the_voxels_is_told(series: WrittenSeries) -> None:
    edit(series.paths[3], lambda dataset: dataset.__delitem__("WindowCenter"))
    volume = fastdicom.load_volume(series.folder, values="display")
    assert any("window from the voxels" in note and "some slices" in note for note in volume.notes)


def test_a_volume_can_be_pickled_and_copied_after_its_attributes_were_read(series: WrittenSeries) -> None:
    volume = fastdicom.load_volume(series.folder)
    assert volume.attrs["Modality"] == "CT"
    for other in (pickle.loads(pickle.dumps(volume)), copy.deepcopy(volume)):
        assert np.array_equal(other.array, volume.array)
        assert other.attrs["Modality"] == "CT"


def test_a_damaged_slice_does_not_stop_the_search_for_a_window(tmp_path: Path) -> None:
    spec = SeriesSpec(slices=6, rows=64, columns=64, transfer_syntax_uid="1.2.840.10008.1.2.5", window=None)
    series = write_series(tmp_path / "scans", spec)
    path = series.paths[0]
    assert path is not None
    whole = fastdicom.scan(series.folder).table
    corrupt.set_bytes(path, int(whole["pixel_offset"][whole["path"] == str(path)][0]) + 16, b"\xff" * 64)
    volume = fastdicom.load_volume(series.folder, values="display", errors="report")
    assert [failure.index for failure in volume.failures] == [(0,)]
    assert volume.array[1:].max() == 255


ARGUMENTS: dict[str, dict[str, Any]] = {
    "policy": {"policy": "fill"},
    "dtype": {"dtype": "foo"},
    "display-dtype": {"values": "display", "dtype": "int16"},
    "window-text": {"values": "display", "window": "12"},
    "workers": {"workers": 1.5},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_wrong_arguments_are_usage_errors(series: WrittenSeries, arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        fastdicom.load_volume(series.folder, **arguments)


def test_wrong_chunks_are_a_usage_error(series: WrittenSeries) -> None:
    with pytest.raises(UsageError, match="chunks"):
        fastdicom.open_volume(series.folder, chunks=(0, 1))


def test_series_of_an_entry_is_a_usage_error(series: WrittenSeries) -> None:
    with pytest.raises(UsageError, match="one already"):
        fastdicom.load_volume(fastdicom.scan(series.folder)[0], series=5)


def test_a_store_is_not_asked_for_what_it_cannot_give(series: WrittenSeries, tmp_path: Path) -> None:
    fastdicom.write_zarr(series.folder, tmp_path / "out.zarr", values="stored")
    assert np.array_equal(fastdicom.load_volume(tmp_path / "out.zarr").array, series.stored)
    wrong: list[dict[str, Any]] = [
        {"values": "modality"}, {"series": "1.2.3"}, {"decoder": "pydicom"}, {"errors": "report"},
        {"policy": fastdicom.GeometryPolicy()},
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises(UsageError):
            fastdicom.load_volume(tmp_path / "out.zarr", **arguments)


def test_file_objects_stay_in_this_process(series: WrittenSeries) -> None:
    objects = [io.BytesIO(Path(path).read_bytes()) for path in series.paths if path]
    expected = series.stored.astype(np.int64) - 1024
    assert np.array_equal(fastdicom.load_volume(objects).array, expected)
    with pytest.raises(FastDicomError, match="file objects"):
        fastdicom.load_volume(fastdicom.scan(objects)[0], scheduler="processes")
    with pytest.raises(UsageError, match="file objects"):
        fastdicom.scan(objects, scheduler="processes")
    for wrong in ("thread", 1, np.zeros(3)):
        with pytest.raises(UsageError, match="scheduler="):
            fastdicom.scan(objects, scheduler=wrong)


@pytest.mark.parametrize("bits", [0, 40])
def test_a_voi_lut_of_impossible_bits_is_refused_for_display_only(tmp_path: Path, bits: int) -> None:
    series = write_series(tmp_path / "scans", SeriesSpec(slices=2, rows=8, columns=8))
    path = str(series.paths[1])
    dataset, item = pydicom.dcmread(path), pydicom.Dataset()
    item.add_new(0x00283002, "US", [4, 0, bits])
    item.add_new(0x00283006, "US", [0, 1, 2, 3])
    dataset.VOILUTSequence = [item]
    dataset.save_as(path)
    with pytest.raises(ValuesError, match=f"entries of {bits} bits") as caught:
        fastdicom.load_volume(series.folder, values="display")
    assert caught.value.path == path  # type: ignore[attr-defined]
    fastdicom.load_volume(series.folder)


def test_integers_that_float32_rounds_are_told(tmp_path: Path) -> None:
    spec = SeriesSpec(slices=2, rows=8, columns=8, bits_allocated=32, intercept=-1024.0)
    folder = write_series(tmp_path / "scans", spec).folder
    volume = fastdicom.load_volume(folder)
    assert volume.dtype == np.float32
    assert any("float32 rounds integers" in note for note in volume.notes)
    assert not any("float32" in note for note in fastdicom.load_volume(folder, dtype="int64").notes)


def big_endian(folder: Path, samples: np.ndarray, *, words: bool = False, keyword: str = "PixelData") -> Path:
    """pydicom's sample of 32 bits with other samples: whole numbers, or words with the lowest first (PS3.5 7.3)."""
    from pydicom.data import get_testdata_file

    dataset = pydicom.dcmread(str(get_testdata_file("rtdose_expb_1frame.dcm")))
    bits = 8 * samples.itemsize
    dataset.Rows, dataset.Columns = samples.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    data = samples.astype(samples.dtype.newbyteorder(">")).tobytes()
    if words:
        data = np.frombuffer(data, ">u2").reshape(-1, bits // 16)[:, ::-1].tobytes()
    del dataset.PixelData
    setattr(dataset, keyword, data)
    if keyword == "PixelData":
        dataset[keyword].VR = "OW"
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / "file.dcm", little_endian=False, implicit_vr=False)
    return folder / "file.dcm"


def smooth_samples(dtype: str) -> np.ndarray:
    y, x = np.mgrid[:20, :30]
    return (y * 1000 + x * 77 + 12345).astype(dtype) << np.array(7, dtype)


def notes_on_words(path: Path) -> list[str]:
    return [note for note in fastdicom.load_volume(path, values="stored").notes if "big endian samples" in note]


@pytest.mark.parametrize("dtype", ["u4", "u8"])
def test_wide_big_endian_numbers_are_told_from_words(dtype: str, tmp_path: Path) -> None:
    """Both are written: pydicom's sample has whole numbers; DCMTK swaps the bytes of each word (PS3.5 7.3)."""
    from pydicom.data import get_testdata_file

    samples = smooth_samples(dtype)
    path = big_endian(tmp_path / "numbers", samples)
    np.testing.assert_array_equal(fastdicom.load_volume(path, values="stored").array[0], samples)
    assert len(notes_on_words(path)) == 1
    assert len(notes_on_words(Path(str(get_testdata_file("rtdose_expb.dcm"))))) == 1
    path = big_endian(tmp_path / "words", samples, words=True)
    for values in ("stored", "modality"):
        with pytest.raises(ValuesError, match=r"file\.dcm seem to be big endian words of 16 bits, the lowest first"):
            fastdicom.load_volume(path, values=values)


def test_samples_without_an_order_are_numbers(tmp_path: Path) -> None:
    """Noise has as many values in either half: nothing is refused, and the note stays."""
    noise = np.random.default_rng(3).integers(0, 1 << 32, (20, 30), dtype=np.uint32)
    halves = noise & np.uint32(0xFFFF_01FF)  # more values above, but not as many as words would have
    for samples in (noise, np.zeros_like(noise), halves | np.uint32(0xFE00)):
        np.testing.assert_array_equal(
            fastdicom.load_volume(big_endian(tmp_path, samples), values="stored").array[0], samples
        )
        assert len(notes_on_words(tmp_path / "file.dcm")) == 1


def test_a_first_frame_that_is_cut_says_nothing_about_words(tmp_path: Path) -> None:
    path = big_endian(tmp_path, smooth_samples("u4"))
    content = path.read_bytes()
    path.write_bytes(content[: -20 * 30 * 4 + 50])
    volume = fastdicom.load_volume(path, values="stored", errors="report")
    assert len(volume.failures) == 1
    path.write_bytes(content)
    entry = fastdicom.scan(path)[0]
    path.unlink()
    assert len(fastdicom.load_volume(entry, values="stored", errors="report").failures) == 1


def test_little_endian_and_16_bits_are_not_asked(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    for name in ("rtdose.dcm", "MR_small_bigendian.dcm"):
        notes = fastdicom.load_volume(str(get_testdata_file(name))).notes
        assert not any("whole numbers" in note for note in notes)
