"""What bad input gets: a typed error that names the file and what to do, and the exit status that fits."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdicom
from fastdicom.cli import run
from fastdicom.errors import (
    DecodeError,
    FastDicomError,
    IrregularSpacingError,
    MixedSeriesError,
    NoDicomError,
    PixelDataError,
    RepeatedPositionError,
    SeriesSelectionError,
    SkippedFilesWarning,
    SourceNotFoundError,
    TiltError,
    UsageError,
)
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.testing.corrupt import find, truncate

SPEC = SeriesSpec(slices=6, rows=16, columns=12)
PIXEL_DATA = 0x7FE00010


def empty(folder: Path) -> None:
    folder.mkdir()


def only_text(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("no image here")
    (folder / "empty.dcm").touch()


def two_series(folder: Path) -> None:
    write_series(folder, SPEC)
    write_series(folder, replace(SPEC, seed=1, series_number=2))


def one_of_another_size(folder: Path) -> None:
    series = write_series(folder, SPEC)
    middle = series.paths[3]
    assert middle is not None
    other = write_series(folder / "other", replace(SPEC, rows=8, series_instance_uid=SPEC.series_uid))
    Path(str(other.paths[3])).replace(middle)
    for path in other.files:
        Path(path).unlink(missing_ok=True)


def one_missing(folder: Path) -> None:
    write_series(folder, replace(SPEC, missing=(3,)))


def one_twice(folder: Path) -> None:
    write_series(folder, replace(SPEC, duplicates=(3,)))


def truncated_pixels(folder: Path) -> None:
    series = write_series(folder, SPEC)
    truncate(str(series.paths[3]), -40)


def broken_codestream(folder: Path) -> None:
    series = write_series(folder, replace(SPEC, transfer_syntax_uid="1.2.840.10008.1.2.4.80"))
    path = str(series.paths[3])
    data = bytearray(Path(path).read_bytes())
    start = find(path, PIXEL_DATA, -1) + 60
    data[start : start + 40] = bytes(40)
    Path(path).write_bytes(data)


CASES: dict[str, tuple[Callable[[Path], None], type[FastDicomError], str]] = {
    "empty folder": (empty, NoDicomError, "Check the path"),
    "no DICOM": (only_text, NoDicomError, "notes.txt|empty.dcm"),
    "two series": (two_series, SeriesSelectionError, "series="),
    "another size": (one_of_another_size, MixedSeriesError, "series="),
    "a slice missing": (one_missing, IrregularSpacingError, "gaps="),
    "a slice twice": (one_twice, RepeatedPositionError, "duplicates="),
    "truncated pixels": (truncated_pixels, PixelDataError, "Copy the files again|errors="),
    "broken codestream": (broken_codestream, DecodeError, "errors=|decoder=|[Cc]opy"),
}
EVERY_WAY: dict[str, Callable[[Path, Path], Any]] = {
    "load": lambda source, out: fastdicom.load_volume(source),
    "open": lambda source, out: fastdicom.open_volume(source).compute(scheduler="synchronous"),
    "write": lambda source, out: fastdicom.write_zarr(source, out),
}


@pytest.mark.parametrize("way", EVERY_WAY)
@pytest.mark.parametrize("case", CASES)
def test_typed_error_with_a_remedy(case: str, way: str, tmp_path: Path) -> None:
    make, expected, remedy = CASES[case]
    source, out = tmp_path / "source", tmp_path / "out.zarr"
    make(source)
    if way == "write" and case in ("two series", "another size"):
        pytest.skip("write_zarr writes several volumes to a store each")
    with pytest.raises(expected, match=remedy):
        EVERY_WAY[way](source, out)
    with pytest.raises((FileNotFoundError, FastDicomError)):
        fastdicom.open_volume(out)  # nothing half-written looks complete


@pytest.mark.parametrize("case", ["truncated pixels", "broken codestream"])
def test_errors_about_a_file_name_it(case: str, tmp_path: Path) -> None:
    make, expected, _ = CASES[case]
    make(tmp_path / "source")
    with pytest.raises(expected) as caught:
        fastdicom.load_volume(tmp_path / "source")
    assert Path(caught.value.path).is_file()  # type: ignore[attr-defined]
    assert Path(caught.value.path).name in str(caught.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES)
def test_command_line_says_a_sentence_and_fails(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, _, _ = CASES[case]
    source, out = tmp_path / "source", tmp_path / "out.zarr"
    make(source)
    wrong_usage = case == "two series"
    assert run(["preview", str(source), str(tmp_path / "picture.png")]) == (2 if wrong_usage else 1)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert "Traceback" not in said.err
    assert "policy=" not in said.err
    assert not (tmp_path / "picture.png").exists()
    assert run(["convert", str(source), str(out)]) == (0 if case == "two series" else 1)
    if case != "two series":
        assert capsys.readouterr().err
        with pytest.raises((FileNotFoundError, FastDicomError)):
            fastdicom.open_volume(out)


@pytest.mark.parametrize("case", CASES)
def test_scan_lists_it(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, expected, _ = CASES[case]
    source = tmp_path / "source"
    make(source)
    files = [path for path in source.rglob("*") if path.is_file()]
    status = run(["scan", str(source), "--json"])
    record = json.loads(capsys.readouterr().out)
    found = {path for volume in record["volumes"] for path in volume["files"]}
    skipped = {item["path"] for item in record["skipped"]}
    assert found | skipped == {str(path) for path in files}
    assert found & skipped == set()
    # Two series are no failure of a scan, and broken codestreams are not seen by one. The slice of another size is a
    # volume of its own, and leaves a gap in the first one.
    assert status == (0 if case in ("two series", "broken codestream") else 1)
    if status and record["volumes"]:
        kind = IrregularSpacingError if case == "another size" else expected
        assert record["volumes"][0]["error"]["kind"] == kind.__name__


def test_a_file_that_is_no_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(NoDicomError, match=r"picture\.jpg"):
        fastdicom.load_volume(path)
    assert run(["info", str(path)]) == 1
    assert "picture.jpg" in capsys.readouterr().err


@pytest.mark.parametrize("function", [fastdicom.scan, fastdicom.load_volume, fastdicom.open_volume])
def test_a_path_that_does_not_exist(function: Callable[[Any], Any], tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="Check the path"):
        function(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):  # also what a program that knows nothing of us would catch
        function(str(tmp_path / "nowhere"))


def test_a_file_cut_inside_its_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = write_series(tmp_path, SPEC)
    last = str(series.paths[-1])  # without it the others are still a regular volume
    truncate(last, 300)
    catalog = fastdicom.scan(tmp_path)
    assert [(item.path, item.kind) for item in catalog.skipped] == [(last, "damaged")]
    with pytest.warns(SkippedFilesWarning, match=Path(last).name):
        volume = fastdicom.load_volume(tmp_path)
    assert volume.shape[0] == SPEC.slices - 1
    assert run(["scan", str(tmp_path)]) == 1
    assert Path(last).name in capsys.readouterr().out


def test_what_can_be_read_is_read_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truncated_pixels(tmp_path / "source")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedFilesWarning)
        volume = fastdicom.load_volume(tmp_path / "source", errors="report")
    assert volume.slices["valid"].tolist() == [True] * 3 + [False] + [True] * 2
    assert [failure.index for failure in volume.failures] == [(3,)]
    assert np.unique(volume.array[3]).size == 1
    assert run(["convert", str(tmp_path / "source"), str(tmp_path / "out.zarr"), "--errors", "report"]) == 1
    assert "slice 3" in capsys.readouterr().err
    stored = fastdicom.open_volume(tmp_path / "out.zarr").compute(scheduler="synchronous")
    np.testing.assert_array_equal(stored.array, volume.array)


def test_tilt_is_refused_on_request(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, tilt_deg=12.0))
    policy = fastdicom.GeometryPolicy(tilt="raise")
    with pytest.raises(TiltError, match="12"):
        fastdicom.load_volume(tmp_path, policy=policy)
    assert fastdicom.load_volume(tmp_path).geometry.tilt_deg == pytest.approx(12.0, abs=1e-3)


@pytest.mark.parametrize(
    "arguments",
    [
        {"values": "hounsfield"},
        {"window": "wide", "values": "display"},
        {"window": (40, -1), "values": "display"},
        {"dtype": "complex64"},
        {"dtype": "U8"},
        {"decoder": "magic"},
        {"workers": 0},
        {"workers": "many"},
        {"scheduler": "cloud"},
        {"errors": "ignore"},
        {"series": 1.5},
    ],
    ids=str,
)
def test_wrong_arguments_name_themselves(arguments: dict[str, Any], tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    with pytest.raises(UsageError, match=next(iter(arguments))):
        fastdicom.load_volume(tmp_path, **arguments)
    with pytest.raises(ValueError):
        fastdicom.load_volume(tmp_path, **arguments)


def test_dtype_that_cannot_hold_the_values(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    with pytest.raises(FastDicomError, match="uint8"):
        fastdicom.load_volume(tmp_path, dtype=np.uint8)
