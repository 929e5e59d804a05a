"""Pixel data that lie, are cut, or are made to exhaust memory: an error with file and frame, the rest untouched."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, get_frame

import fastdicom
from fastdicom.errors import DecodeError, FastDicomError, PixelDataError
from fastdicom.testing import SeriesSpec, WrittenSeries, corrupt, write_series

NATIVE, DEFLATED, RLE = (f"1.2.840.10008.1.2{end}" for end in (".1", ".1.99", ".5"))
JPEG = [f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 203, 110)]
ENCAPSULATED = [RLE, *JPEG]
DEFLATED_FRAME = "1.2.840.10008.1.2.8.1"
BAD = 2  # the slice that is damaged


def series(folder: Path, syntax: str, **changes: Any) -> WrittenSeries:
    spec = SeriesSpec(slices=5, rows=40, columns=48, transfer_syntax_uid=syntax, names="dcm", intercept=-1000.0)
    if syntax == JPEG[0]:
        spec = replace(spec, bits_allocated=8)
    return write_series(folder, replace(spec, **changes))


def check_one_bad(folder: Path, bad: str, expected: Any, kinds: tuple[str, ...]) -> None:
    """One frame fails with its file and number; under errors="report" all others are what they were."""
    entry = fastdicom.scan(folder).volumes[0]
    with pytest.raises(PixelDataError) as caught:
        fastdicom.load_volume(entry)
    assert caught.value.path == bad
    assert bad in str(caught.value)
    assert caught.value.frame == 0
    for options in ({}, {"scheduler": "synchronous"}):
        found = fastdicom.load_volume(entry, errors="report", **options)
        (failure,) = found.failures
        assert (failure.path, failure.frame, failure.index) == (bad, 0, (BAD,))
        assert failure.kind in kinds
        assert found.slices["valid"].tolist() == [k != BAD for k in range(5)]
        np.testing.assert_array_equal(np.delete(found.array, BAD, 0), np.delete(expected, BAD, 0))
        assert (found.array[BAD] == found.plan.fill_value).all()


def stream_of(path: str) -> bytes:
    return bytes(get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1))


def reencode(path: str, change: Callable[[bytes], bytes]) -> None:
    """Replace the code stream of a file by a function of it; the items around it stay right."""
    data, stream = Path(path).read_bytes(), change(stream_of(path))
    stream += b"\0" * (len(stream) % 2)
    start = corrupt.find(path, 0x7FE00010, occurrence=-1) + 12
    items = [b"", stream]
    body = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)
    Path(path).write_bytes(data[:start] + body + b"\xfe\xff\xdd\xe0\0\0\0\0")


def claim_size(path: str, rows: int, columns: int) -> None:
    """Write Rows and Columns into an explicit VR little endian header."""
    for tag, value in ((0x00280010, rows), (0x00280011, columns)):
        corrupt.set_bytes(path, corrupt.find(path, tag) + 8, struct.pack("<H", value))


@pytest.mark.parametrize("syntax", ENCAPSULATED)
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.97])
def test_a_truncated_stream(tmp_path: Path, syntax: str, kept: float) -> None:
    written = series(tmp_path, syntax)
    expected = fastdicom.load_volume(tmp_path).array
    bad = str(written.paths[BAD])
    reencode(bad, lambda stream: stream.rstrip(b"\0")[: int(kept * len(stream))])
    check_one_bad(tmp_path, bad, expected, ("DecodeError",) if kept else ("PixelDataError",))


@pytest.mark.parametrize("syntax", ENCAPSULATED)
@pytest.mark.parametrize("size", [(40, 96), (80, 48), (13, 7), (48, 40)])
def test_a_stream_of_another_size(tmp_path: Path, syntax: str, size: tuple[int, int]) -> None:
    written = series(tmp_path / "in", syntax)
    other = series(tmp_path / "other", syntax, rows=size[0], columns=size[1])
    expected = fastdicom.load_volume(tmp_path / "in").array
    stream = stream_of(str(other.paths[0]))
    bad = str(written.paths[BAD])
    if syntax == RLE and size[0] * size[1] == 40 * 48:
        pytest.skip("RLE has no size, only a number of pixels")
    reencode(bad, lambda _: stream)
    check_one_bad(tmp_path / "in", bad, expected, ("DecodeError",))


@pytest.mark.parametrize("syntax", ENCAPSULATED)
@pytest.mark.parametrize("length", [0x7FFF_FFF0, 0xFFFF_FFF0, 1 << 20])
def test_a_fragment_longer_than_the_file(tmp_path: Path, syntax: str, length: int) -> None:
    written = series(tmp_path, syntax)
    expected = fastdicom.load_volume(tmp_path).array
    bad = str(written.paths[BAD])
    item = corrupt.find(bad, 0xFFFEE000, occurrence=0)
    first = struct.unpack_from("<I", Path(bad).read_bytes(), item + 4)[0]  # the offset table
    corrupt.set_bytes(bad, item + 8 + first + 4, struct.pack("<I", length))
    check_one_bad(tmp_path, bad, expected, ("PixelDataError", "DecodeError"))


@pytest.mark.parametrize("cut", [30, 200])
@pytest.mark.parametrize("syntax", ENCAPSULATED)
def test_a_file_that_is_cut_after_the_scan(tmp_path: Path, syntax: str, cut: int) -> None:
    written = series(tmp_path, syntax)
    entry = fastdicom.scan(tmp_path).volumes[0]
    expected = fastdicom.load_volume(entry).array
    bad = str(written.paths[BAD])
    corrupt.truncate(bad, -cut)
    found = fastdicom.load_volume(entry, errors="report")
    assert [(f.path, f.kind) for f in found.failures] == [(bad, "FileChangedError")]
    np.testing.assert_array_equal(np.delete(found.array, BAD, 0), np.delete(expected, BAD, 0))
    with pytest.raises(PixelDataError, match="Scan the source again"):
        fastdicom.load_volume(entry)


@pytest.mark.parametrize("syntax", [NATIVE, "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", DEFLATED])
def test_native_pixels_that_are_too_few(tmp_path: Path, syntax: str) -> None:
    written = series(tmp_path, syntax)
    expected = fastdicom.load_volume(tmp_path).array
    bad = str(written.paths[BAD])
    ds = pydicom.dcmread(bad)
    ds.PixelData = ds.PixelData[:-512]
    ds.save_as(bad)
    entry = fastdicom.scan(tmp_path).volumes[0]
    with pytest.raises(PixelDataError, match=r"damaged|truncated|short") as caught:
        fastdicom.load_volume(entry)
    assert caught.value.path == bad
    found = fastdicom.load_volume(entry, errors="report")
    assert [(f.path, f.frame) for f in found.failures] == [(bad, 0)]
    np.testing.assert_array_equal(np.delete(found.array, BAD, 0), np.delete(expected, BAD, 0))


@pytest.mark.parametrize("syntax", [NATIVE, DEFLATED])
def test_native_columns_that_lie(tmp_path: Path, syntax: str) -> None:
    """Less than a frame is left over: padding only where it is zero, and then with a note."""
    written = series(tmp_path, syntax)
    for path in map(str, written.paths):
        ds = pydicom.dcmread(path)
        ds.Columns = 40
        ds.save_as(path)
    with pytest.raises(PixelDataError, match="describes another image") as caught:
        fastdicom.load_volume(tmp_path)
    assert caught.value.path in map(str, written.paths)
    assert caught.value.frame == 0
    for path in map(str, written.paths):
        ds = pydicom.dcmread(path)
        ds.PixelData = ds.PixelData[: 40 * 40 * 2] + bytes(640)
        ds.save_as(path)
    assert any("taken for padding" in note for note in fastdicom.load_volume(tmp_path).notes)


def test_a_deflated_file_of_many_frames_is_inflated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdicom import kept_frames

    series(tmp_path, DEFLATED, multi_frame="enhanced", modality="MR")
    calls, inflate = [], kept_frames.inflate
    monkeypatch.setattr(kept_frames, "inflate", lambda *args, **options: calls.append(1) or inflate(*args, **options))
    volume = fastdicom.open_volume(tmp_path)
    whole = np.stack([np.asarray(volume.array[k]) for k in range(5)])
    assert len(calls) == 1
    np.testing.assert_array_equal(whole, fastdicom.load_volume(tmp_path).array)


def test_one_frame_of_many_in_a_file(tmp_path: Path) -> None:
    """The others of the same file are untouched."""
    written = series(tmp_path, JPEG[3], multi_frame="enhanced", modality="MR")
    expected = fastdicom.load_volume(tmp_path)
    path = str(written.paths[0])
    ds = pydicom.dcmread(path)
    frames = [get_frame(ds.PixelData, k, number_of_frames=5) for k in range(5)]
    bad = int(expected.plan.slices["frame"][BAD])
    frames[bad] = frames[bad][:100]
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path)
    with pytest.raises(DecodeError, match=f"Frame {bad} of {path}") as caught:
        fastdicom.load_volume(tmp_path)
    assert (caught.value.path, caught.value.frame) == (path, bad)
    found = fastdicom.load_volume(tmp_path, errors="report")
    assert [(f.frame, f.index) for f in found.failures] == [(bad, (BAD,))]
    np.testing.assert_array_equal(np.delete(found.array, BAD, 0), np.delete(expected.array, BAD, 0))


@pytest.mark.fuzz
@pytest.mark.parametrize("syntax", [NATIVE, *ENCAPSULATED])
@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_flipped_bits_end_in_a_volume_or_a_report(
    tmp_path_factory: pytest.TempPathFactory, syntax: str, seed: int, bits: int
) -> None:
    """Damage that no codec can notice changes its own frame at most."""
    folder = tmp_path_factory.mktemp("flips")
    written = series(folder, syntax)
    expected = fastdicom.load_volume(folder).array
    bad = str(written.paths[BAD])
    corrupt.flip(bad, bits, seed=seed, start=corrupt.find(bad, 0x7FE00010, occurrence=-1) + 12)
    entry = fastdicom.scan(folder).volumes[0]
    if entry.found.rows.size < 5:
        return  # the damage is in the element's head and the file is not of the volume any more
    try:
        found = fastdicom.load_volume(entry, errors="report")
    except PixelDataError:  # known before anything is read
        return
    assert {failure.path for failure in found.failures} <= {bad}
    np.testing.assert_array_equal(np.delete(found.array, BAD, 0), np.delete(expected, BAD, 0))


# ------------------------------------------------------------------------------------------------- bounded in memory

LIMITED = """
    import json, resource, sys
    import numpy as np
    import fastdicom
    from fastdicom.errors import FastDicomError

    def peak():  # KiB to MiB; of this process, from now on
        return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024

    fastdicom.load_volume(sys.argv[1])  # libraries loaded, kernels compiled
    before = peak()
    outcome = {}
    for errors in ("raise", "report"):
        try:
            found = fastdicom.load_volume(sys.argv[2], errors=errors)
            outcome[errors] = [failure.kind for failure in found.failures]
        except FastDicomError as error:
            outcome[errors] = type(error).__name__ + ": " + str(error)
    outcome["grown"] = peak() - before
    print(json.dumps(outcome))
"""
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")


def outcome_of(good: Path, bad: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(good), str(bad)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@linux
@pytest.mark.fuzz
@pytest.mark.parametrize("syntax", [NATIVE, DEFLATED, RLE, JPEG[0], JPEG[3], JPEG[4], JPEG[6], JPEG[8], JPEG[10]])
def test_rows_and_columns_that_lie_take_no_memory(tmp_path: Path, syntax: str) -> None:
    """Every file claims 65535 x 65535 pixels, 8 GiB each."""
    series(tmp_path / "good", syntax)
    written = series(tmp_path / "bad", syntax)
    for path in map(str, written.paths):
        if syntax == DEFLATED:
            ds = pydicom.dcmread(path)
            ds.Rows = ds.Columns = 65535
            ds.save_as(path)
        else:
            claim_size(path, 65535, 65535)
    outcome = outcome_of(tmp_path / "good", tmp_path / "bad")
    for errors in ("raise", "report"):
        assert "Error: " in outcome[errors], outcome
        assert "00001.dcm" in outcome[errors], outcome
    assert outcome["grown"] < 100, outcome


def _bomb(syntax: str) -> bytes:
    """A code stream that is small, whole, and claims a huge image, as the file header does."""
    import imagecodecs

    small = np.zeros((64, 64), np.uint16)
    if syntax == JPEG[6]:  # JPEG 2000: the size in SIZ; tiles of the same size, so one tile-part stays enough
        data = bytearray(imagecodecs.jpeg2k_encode(small, codecformat="j2k", reversible=True, level=0))
        struct.pack_into(">2I", data, 8, 65535, 65535)
        struct.pack_into(">2I", data, 24, 65535, 65535)
        return bytes(data)
    if syntax == JPEG[8]:
        data = bytearray(imagecodecs.htj2k_encode(small, reversible=True))
        struct.pack_into(">2I", data, 8, 65535, 65535)
        struct.pack_into(">2I", data, 24, 65535, 65535)
        return bytes(data)
    if syntax == JPEG[4]:
        data = bytearray(imagecodecs.jpegls_encode(small))
        start = data.index(b"\xff\xf7")
    else:
        data = bytearray(imagecodecs.jpeg8_encode(small, lossless=True, predictor=1, bitspersample=16))
        start = data.index(b"\xff\xc3")
    struct.pack_into(">2H", data, start + 5, 65535, 65535)
    return bytes(data)


@linux
@pytest.mark.fuzz
@pytest.mark.parametrize("syntax", [JPEG[3], JPEG[4], JPEG[6], JPEG[8], DEFLATED_FRAME])
def test_bombs_take_no_memory(tmp_path: Path, syntax: str) -> None:
    template = JPEG[6] if syntax == DEFLATED_FRAME else syntax
    series(tmp_path / "good", template)
    path = str(series(tmp_path / "bad", template, slices=1).paths[0])
    if syntax == DEFLATED_FRAME:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        stream = packer.compress(bytes(200 << 20)) + packer.flush()
    else:
        stream = _bomb(syntax)
    reencode(path, lambda _: stream)
    claim_size(path, 65535, 65535)
    uid = template.encode() + b"\0" * (len(template) % 2)  # of the same length as that of the deflated frame
    data = Path(path).read_bytes()
    Path(path).write_bytes(data.replace(uid, syntax.encode().ljust(len(uid), b"\0")))
    outcome = outcome_of(tmp_path / "good", tmp_path / "bad")
    for errors in ("raise", "report"):
        assert outcome[errors].startswith("DecodeError: Frame 0 of"), outcome
    assert outcome["grown"] < 300, outcome


def test_empty_images_are_no_bombs(tmp_path: Path) -> None:
    """Black slices compress to almost nothing, and are right."""
    import imagecodecs

    for number, encode in (
        (90, lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True, level=0)),
        (80, imagecodecs.jpegls_encode),
    ):
        folder = tmp_path / str(number)
        written = write_series(
            folder,
            SeriesSpec(
                slices=3,
                rows=512,
                columns=512,
                transfer_syntax_uid=f"1.2.840.10008.1.2.4.{number}",
                bits_stored=16,
                intercept=0.0,
            ),
        )
        for path in written.paths:
            reencode(str(path), lambda _, encode=encode: bytes(encode(np.full((512, 512), 7, np.uint16))))
        assert (fastdicom.load_volume(folder).array == 7).all()


# ----------------------------------------------------------------------------------------------- the hostile corpora


@pytest.mark.realdata
@pytest.mark.fuzz
@pytest.mark.parametrize("report", [False, True])
@pytest.mark.filterwarnings("ignore::fastdicom.errors.FastDicomWarning")
def test_hostile_files_end_in_a_volume_or_a_typed_error(data_root: Path, report: bool) -> None:
    """Every image of every bad-* folder: in time, within the memory limit of the marker, nothing but our own errors."""
    folders = sorted(path for path in data_root.glob("*/bad-*") if path.is_dir())
    assert folders
    loaded = refused = 0
    for folder in folders:
        catalog = fastdicom.scan(folder)
        assert len(catalog.table) + len(catalog.skipped) > 0
        for entry in catalog.volumes:
            try:
                volume = fastdicom.load_volume(entry, errors="report" if report else "raise", values="stored")
            except FastDicomError:
                refused += 1
                continue
            loaded += 1
            assert volume.array.nbytes < 200 << 20
            assert report or not volume.failures
    assert loaded > 10
    assert refused > 5
