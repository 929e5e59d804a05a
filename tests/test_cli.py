"""The command line: what it prints, what it writes, and its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import fastdicom
import fastdicom.loading  # before a test replaces what it imports
import fastdicom.scanning
from fastdicom.cli import INTERRUPTED, run
from fastdicom.cli import fastdicom as group
from fastdicom.cli.messages import as_options, human_bytes
from fastdicom.testing import SeriesSpec, WrittenSeries, write_series
from fastdicom.testing.corrupt import flip, truncate

SPEC = SeriesSpec(slices=6, rows=16, columns=12, series_number=3, series_description="Thorax of John Doe")
COMMANDS = sorted(group.commands)


@pytest.fixture
def series(tmp_path: Path) -> WrittenSeries:
    return write_series(tmp_path / "dicom", SPEC)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four volumes: two of them look the same from outside, one is sagittal, one has a gap."""
    folder = tmp_path / "archive"
    specs = (
        SPEC,
        replace(SPEC, seed=1),
        replace(SPEC, series_number=4, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)),
        replace(SPEC, series_number=5, missing=(2,)),
    )
    for number, spec in enumerate(specs):
        write_series(folder / str(number), spec)
    (folder / "notes.txt").write_text("not DICOM")
    return folder


def everything_in(folder: Path) -> str:
    """All names and all text below a folder."""
    texts = [str(path) for path in folder.rglob("*")]
    texts += [path.read_text() for path in folder.rglob("zarr.json")]
    return "\n".join(texts)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_help_shows_an_example(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run([command, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "Examples:" in shown
        assert len(re.findall(rf"^ +fastdicom {command}\b", shown, re.MULTILINE)) >= 2

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_example_is_accepted(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        run([command, "--help"])
        examples = re.findall(rf"^ +fastdicom {command} (.*)$", capsys.readouterr().out, re.MULTILINE)
        for example in examples:
            arguments = example.split("|")[0].split()
            context = group.commands[command].make_context(command, arguments)  # parses, does not run
            assert context.params

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["--version"]) == 0
        assert fastdicom.__version__ in capsys.readouterr().out

    @pytest.mark.parametrize(
        "arguments",
        [["nonsense"], ["scan"], ["scan", "--nonsense", "."], ["convert", "."], ["scan", ".", "--gaps", "guess"],
         ["preview", ".", "picture.jpg"], ["preview", ".", "a.png", "--window", "wide"],
         ["scan", ".", "--workers", "0"], ["convert", ".", "out.nrrd"],
         ["convert", ".", "out.zarr", "--chunks", "big"], ["convert", ".", "out.zarr", "--dtype", "fancy"]],
        ids=" ".join,
    )  # fmt: skip
    def test_wrong_usage(self, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert run(arguments) == 2
        assert list(tmp_path.iterdir()) == []


class TestScan:
    def test_one_line_a_volume_in_a_pipe(
        self, archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        assert run(["scan", str(archive)]) == 1  # one has a gap
        said = capsys.readouterr()
        assert "\x1b" not in said.out
        assert said.err == ""
        lines = said.out.splitlines()
        rows = [line for line in lines if re.match(r"^\d  ", line)]
        assert len(rows) == 4
        for row in rows:
            assert re.search(r"CT +Thorax of John Doe +[56]x16x12 +[\d.]+ x 0\.7 x 0\.8 +Explicit LE +[56] +\d", row)
        assert sum("IrregularSpacingError" in row for row in rows) == 1
        assert any("--gaps fill" in line for line in lines)
        assert any("1 not-dicom" in line for line in lines)
        assert any("notes.txt" in line for line in lines)

    def test_choice_of_a_policy_makes_it_whole(self, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["scan", str(archive), "--gaps", "fill"]) == 0
        assert "IrregularSpacingError" not in capsys.readouterr().out

    def test_json_is_the_catalog(self, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["scan", str(archive), "--json"]) == 1
        assert json.loads(capsys.readouterr().out) == json.loads(fastdicom.scan(archive).to_json())

    def test_many_skipped_files_are_counted(self, series: WrittenSeries, capsys: pytest.CaptureFixture[str]) -> None:
        for number in range(10):
            (series.folder / f"{number}.txt").write_text("text")
        assert run(["scan", str(series.folder)]) == 0  # what is no DICOM is no failure
        assert "and 7 more" in capsys.readouterr().out
        assert run(["scan", str(series.folder), "-v"]) == 0
        assert len(re.findall(r"\d\.txt", capsys.readouterr().out)) == 10

    def test_fits_a_terminal(
        self, archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from fastdicom.cli.messages import show_table

        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        show_table(
            ("#", "modality", "description", "unusual"), [("0", "CT", "[b]Thorax[/b]", "word " * 40)], right=(0,)
        )
        lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
        assert max(map(len, lines)) <= 60
        assert sum(line.count("word") for line in lines) == 40  # wrapped, not cut
        assert any("[b]Thorax[/b]" in line for line in lines)  # a description is not markup


class TestConvert:
    def test_one_volume_becomes_the_store(self, series: WrittenSeries, tmp_path: Path) -> None:
        out = tmp_path / "out.zarr"
        assert run(["convert", str(series.folder), str(out)]) == 0
        array: Any = zarr.open_group(str(out), mode="r")["0"]
        np.testing.assert_array_equal(array[...], series.modality_values())

    def test_several_become_one_each(self, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "out.zarr"
        assert run(["convert", str(archive), str(out), "--gaps", "fill"]) == 0
        said = capsys.readouterr().out
        stores = sorted(path.name for path in out.iterdir())
        assert stores == [
            "003_CT_axial_6x16x12.zarr", "003_CT_axial_6x16x12_2.zarr", "004_CT_sagittal_6x16x12.zarr",
            "005_CT_axial_6x16x12.zarr",
        ]  # fmt: skip
        assert all(name in said for name in stores)
        catalog = fastdicom.scan(archive, policy=fastdicom.GeometryPolicy(gaps="fill"))
        stored = sorted(fastdicom.open_volume(out / name).compute().array.tobytes() for name in stores)
        loaded = sorted(fastdicom.load_volume(entry).array.tobytes() for entry in catalog)
        assert stored == loaded

    def test_one_bad_volume_does_not_stop_the_others(
        self, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out.zarr"
        assert run(["convert", str(archive), str(out)]) == 1
        said = capsys.readouterr()
        assert "IrregularSpacingError" in said.err
        assert "3 of 4 volumes" in said.out
        assert len(list(out.iterdir())) == 3

    def test_nobody_is_identified_by_default(self, archive: Path, tmp_path: Path) -> None:
        gaps = ["--gaps", "fill"]
        assert run(["convert", str(archive), str(tmp_path / "a.zarr"), *gaps]) == 0
        assert "Doe" not in everything_in(tmp_path / "a.zarr")
        assert SPEC.series_uid not in everything_in(tmp_path / "a.zarr")
        assert run(["convert", str(archive), str(tmp_path / "b.zarr"), *gaps, "--identifiers", "keep"]) == 0
        assert "Doe" in everything_in(tmp_path / "b.zarr")

    @pytest.mark.parametrize("name", ["out.zarr", "out.nii"])
    def test_a_damaged_file_is_a_failure(
        self, name: str, series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        damaged = str(series.paths[-1])  # the others still are a regular volume
        truncate(damaged, 300)
        assert run(["convert", str(series.folder), str(tmp_path / name)]) == 1
        assert damaged in capsys.readouterr().err
        assert (tmp_path / name).exists()

    def test_choosing_one(self, archive: Path, tmp_path: Path) -> None:
        out = tmp_path / "one.zarr"
        entry = fastdicom.scan(archive).volumes[2]
        assert run(["convert", str(archive), str(out), "--series", "2"]) == 0
        np.testing.assert_array_equal(fastdicom.open_volume(out).compute().array, fastdicom.load_volume(entry).array)
        by_uid = tmp_path / "uid.zarr"
        assert run(["convert", str(archive), str(by_uid), "--series", entry.series_instance_uid]) == 0
        assert run(["convert", str(archive), str(out), "--series", "9"]) == 2

    def test_again_continues_and_json_says_so(
        self, series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["convert", str(series.folder), str(tmp_path / "out.zarr"), "--json"]
        assert run(command) == 0
        first = json.loads(capsys.readouterr().out)
        assert run(command) == 0
        second = json.loads(capsys.readouterr().out)
        assert first["stores"][0]["shards_written"] == second["stores"][0]["shards_kept"] == 1
        assert second["stores"][0]["shards_written"] == 0

    def test_other_settings_are_refused_until_overwritten(
        self, series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["convert", str(series.folder), str(tmp_path / "out.zarr")]
        assert run(command) == 0
        assert run([*command, "--values", "stored"]) == 1
        assert "Pass --overwrite" in capsys.readouterr().err
        assert run([*command, "--values", "stored", "--overwrite"]) == 0
        np.testing.assert_array_equal(
            fastdicom.open_volume(tmp_path / "out.zarr", values="stored").compute().array, series.stored
        )

    def test_what_is_not_ours_is_left_alone(self, series: WrittenSeries, tmp_path: Path) -> None:
        out = tmp_path / "precious"
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
        assert run(["convert", str(series.folder), str(out), "--overwrite"]) == 1
        assert [path.name for path in out.iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize(
        "options",
        [["--scheduler", "synchronous"], ["--workers", "1"], ["--chunks", "2,8,8", "--shards", "4,16,16"],
         ["--dtype", "float64"], ["--decoder", "pydicom"], ["--max-memory", "64 MB"]],
        ids=" ".join,
    )  # fmt: skip
    def test_options_that_do_not_change_the_voxels(
        self, options: list[str], series: WrittenSeries, tmp_path: Path
    ) -> None:
        assert run(["convert", str(series.folder), str(tmp_path / "out.zarr"), *options]) == 0
        volume = fastdicom.open_volume(tmp_path / "out.zarr").compute()
        np.testing.assert_array_equal(volume.array, series.modality_values())

    def test_window_reaches_the_voxels(self, series: WrittenSeries, tmp_path: Path) -> None:
        out = tmp_path / "out.zarr"
        options = ["--values", "display", "--window", "100,700,LINEAR_EXACT"]
        assert run(["convert", str(series.folder), str(out), *options]) == 0
        wanted = fastdicom.load_volume(series.folder, values="display", window=(100, 700, "LINEAR_EXACT"))
        array: Any = zarr.open_group(str(out), mode="r")["0"]
        np.testing.assert_array_equal(array[...], wanted.array)


class TestNifti:
    def test_affine_and_voxels(self, series: WrittenSeries, tmp_path: Path) -> None:
        import nibabel

        out = tmp_path / "volume.nii.gz"
        assert run(["convert", str(series.folder), str(out)]) == 0
        image: Any = nibabel.load(out)
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, series.modality_values())
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
        np.testing.assert_allclose(lps[:, [2, 1, 0, 3]], series.affine, atol=1e-4)

    def test_of_a_store(self, series: WrittenSeries, tmp_path: Path) -> None:
        assert run(["convert", str(series.folder), str(tmp_path / "out.zarr")]) == 0
        assert run(["convert", str(tmp_path / "out.zarr"), str(tmp_path / "a.nii")]) == 0
        assert run(["convert", str(series.folder), str(tmp_path / "b.nii")]) == 0
        assert (tmp_path / "a.nii").read_bytes() == (tmp_path / "b.nii").read_bytes()

    def test_one_volume_only(self, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["convert", str(archive), str(tmp_path / "out.nii")]) == 2
        assert "--series" in capsys.readouterr().err
        assert run(["convert", str(archive), str(tmp_path / "out.nii"), "--series", "2"]) == 0

    def test_where_nothing_can_be_written(
        self, series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["convert", str(series.folder), str(tmp_path / "nowhere" / "out.nii")]) == 1
        assert capsys.readouterr().err.startswith("Error: ")


class TestInterrupted:
    def test_status_of_control_c(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(fastdicom.scanning, "scan", interrupt)
        assert run(["scan", "."]) == INTERRUPTED == 130
        assert "Interrupted" in capsys.readouterr().err

    @pytest.mark.slow
    @pytest.mark.fault
    def test_nothing_half_written_looks_complete(self, tmp_path: Path) -> None:
        source, out = tmp_path / "dicom", tmp_path / "out.zarr"
        write_series(source, SeriesSpec(slices=400, rows=128, columns=128))
        command = [sys.executable, "-m", "fastdicom", "convert", str(source), str(out), "--workers", "1"]
        command += ["--chunks", "1,128,128", "--shards", "1,128,128"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while len(list(out.glob("0/c/*/*/*"))) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == INTERRUPTED, said
        assert "Traceback" not in said
        with pytest.raises(fastdicom.errors.InvalidStoreError, match="not complete"):
            fastdicom.open_volume(out)
        written = len(list(out.glob("0/c/*/*/*")))
        assert 0 < written < 400
        done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)["stores"][0]
        assert report["shards_kept"] >= written - 1  # the one that was being written may be made again
        assert report["shards_kept"] + report["shards_written"] == 400
        np.testing.assert_array_equal(fastdicom.open_volume(out).compute().array, fastdicom.load_volume(source).array)


class TestInfo:
    def test_geometry_and_attributes(self, series: WrittenSeries, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["info", str(series.folder)]) == 0
        said = capsys.readouterr().out
        assert "z 6, y 16, x 12" in said
        assert "2.5 x 0.7 x 0.8 mm" in said
        assert "[HU]" in said
        assert "Explicit LE" in said
        assert "Doe" not in said
        assert run(["info", str(series.folder), "--identifiers", "keep"]) == 0
        assert "Doe" in capsys.readouterr().out

    def test_store_says_the_same(
        self, series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["info", str(series.folder), "--json"]) == 0
        source = json.loads(capsys.readouterr().out)
        run(["convert", str(series.folder), str(tmp_path / "out.zarr")])
        capsys.readouterr()
        assert run(["info", str(tmp_path / "out.zarr"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == source

    def test_extra_dimensions(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_series(
            tmp_path, SeriesSpec(modality="MR", slices=3, rows=8, columns=8, dimensions={"echo": [10.0, 35.0]})
        )
        assert run(["info", str(tmp_path)]) == 0
        assert re.search(r"echo +10, 35", capsys.readouterr().out)


class TestPreview:
    def test_is_a_picture(self, series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        from matplotlib.image import imread

        path = tmp_path / "picture.png"
        assert run(["preview", str(series.folder), str(path), "--size", "64", "--window", "auto"]) == 0
        shape = imread(path).shape
        assert capsys.readouterr().out == f"{path}: {shape[1]} x {shape[0]} pixels\n"

    def test_of_a_store(self, series: WrittenSeries, tmp_path: Path) -> None:
        run(["convert", str(series.folder), str(tmp_path / "out.zarr")])
        pictures = [tmp_path / "a.png", tmp_path / "b.png"]
        window = ["--window", "40,2000,LINEAR_EXACT"]
        assert run(["preview", str(series.folder), str(pictures[0]), *window]) == 0
        assert run(["preview", str(tmp_path / "out.zarr"), str(pictures[1]), *window]) == 0
        assert pictures[0].read_bytes() == pictures[1].read_bytes()


class TestLevel:
    """Half, quarter, ... of the rows and columns of JPEG 2000 and HTJ2K files."""

    SPEC = replace(SPEC, rows=64, columns=48, transfer_syntax_uid="1.2.840.10008.1.2.4.90")

    @pytest.fixture
    def compressed(self, tmp_path: Path) -> str:
        return str(write_series(tmp_path / "j2k", self.SPEC).folder)

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"])
    @pytest.mark.parametrize("errors", ["raise", "report"])
    def test_of_nifti(self, syntax: str, errors: str, tmp_path: Path) -> None:
        import nibabel

        folder = write_series(tmp_path / "in", replace(self.SPEC, transfer_syntax_uid=syntax)).folder
        out = tmp_path / "half.nii"
        assert run(["convert", str(folder), str(out), "--level", "1", "--errors", errors]) == 0
        image: Any = nibabel.load(out)
        wanted = fastdicom.load_volume(folder, level=1)
        assert wanted.shape == (6, 32, 24)
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, wanted.array)
        np.testing.assert_allclose(image.header.get_zooms(), wanted.spacing[::-1], rtol=1e-6)

    @pytest.mark.parametrize("options", [[], ["--errors", "report"], ["--window", "100,700"]], ids=" ".join)
    def test_of_a_picture(self, options: list[str], compressed: str, tmp_path: Path) -> None:
        from matplotlib.image import imread

        pictures = [imread(self.drawn(compressed, tmp_path / f"{level}.png", level, options)) for level in (0, 1, 2)]
        assert pictures[0].shape == pytest.approx(pictures[1].shape, abs=2)
        height, width = (min(picture.shape[k] for picture in pictures) for k in (0, 1))
        whole, half, quarter = (picture[:height, :width].astype(float) for picture in pictures)
        assert 0 < np.abs(half - whole).mean() < np.abs(quarter - whole).mean() < 0.2

    def drawn(self, source: str, out: Path, level: int, options: list[str]) -> Path:
        arguments = ["preview", source, str(out), "--size", "96", "--no-labels", "--level", str(level)]
        assert run([*arguments, *options]) == 0
        return out

    @pytest.mark.parametrize("command", [["convert", "out.nii"], ["preview", "out.png"]], ids=" ".join)
    def test_files_without_levels(
        self, command: list[str], series: WrittenSeries, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / command[1]
        assert run([command[0], str(series.folder), str(out), "--level", "1"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("Error: ")
        assert "transfer syntax 1.2.840.10008.1.2.1 has none" in said
        assert "(--level 0)" in said
        assert not out.exists()

    def test_more_levels_than_there_are(
        self, compressed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["convert", compressed, str(tmp_path / "out.nii"), "--level", "9"]) == 1
        assert re.search(r"the code stream of frame 0 of .* has \d lower resolutions", capsys.readouterr().err)
        assert run(["convert", compressed, str(tmp_path / "out.nii"), "--level", "-1"]) == 2
        assert not (tmp_path / "out.nii").exists()

    def test_a_damaged_frame_is_filled_and_listed(
        self, compressed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        damaged = sorted(Path(compressed).iterdir())[2]
        data = bytearray(damaged.read_bytes())
        at = data.index(b"\xff\x4f\xff\x51")
        data[at + 8 : at + 16] = (4096).to_bytes(4, "big") * 2  # another size
        damaged.write_bytes(data)
        assert run(["convert", compressed, str(tmp_path / "a.nii"), "--level", "1"]) == 1
        assert run(["convert", compressed, str(tmp_path / "b.nii"), "--level", "1", "--errors", "report"]) == 1
        assert f"is filled: {damaged}" in capsys.readouterr().err
        assert [path.name for path in tmp_path.glob("*.nii")] == ["b.nii"]

    def test_of_stores(self, compressed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One is written at a lower resolution, verified at it, continued; none is read at one: it has its own."""
        out = tmp_path / "out.zarr"
        assert run(["convert", compressed, str(out), "--level", "1"]) == 0
        wanted, found = fastdicom.load_volume(compressed, level=1), fastdicom.load_volume(out)
        np.testing.assert_array_equal(found.array, wanted.array)
        np.testing.assert_allclose(found.affine, wanted.affine)
        assert run(["verify", str(out), compressed]) == 0
        assert run(["convert", compressed, str(out), "--level", "1"]) == 0
        assert run(["convert", compressed, str(out)]) == 1  # other settings
        capsys.readouterr()
        for command in (["convert", "out.nii"], ["preview", "out.png"]):
            assert run([command[0], str(out), str(tmp_path / command[1]), "--level", "1"]) == 2
            assert "store has its own levels" in capsys.readouterr().err


class TestVerify:
    @pytest.fixture
    def store(self, series: WrittenSeries, tmp_path: Path) -> Path:
        out = tmp_path / "out.zarr"
        run(["convert", str(series.folder), str(out), "--chunks", "2,16,12", "--shards", "2,16,12"])
        return out

    def test_whole(self, store: Path, series: WrittenSeries, capsys: pytest.CaptureFixture[str]) -> None:
        capsys.readouterr()
        assert run(["verify", str(store)]) == 0
        assert "complete" in capsys.readouterr().out
        assert run(["verify", str(store), str(series.folder), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == [
            {"store": str(store), "ok": True, "shape": [6, 16, 12], "shards": 3, "compared": True, "problems": []}
        ]

    def test_missing_shard(self, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (store / "0" / "c" / "1" / "0" / "0").unlink()
        assert run(["verify", str(store)]) == 1
        assert "missing" in capsys.readouterr().out

    def test_damaged_shard(self, store: Path, series: WrittenSeries, capsys: pytest.CaptureFixture[str]) -> None:
        shard = store / "0" / "c" / "1" / "0" / "0"
        truncate(shard, -10)  # into the index and its checksum
        assert run(["verify", str(store)]) == 1
        assert "cannot be read" in capsys.readouterr().out

    def test_other_voxels(self, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        other = write_series(tmp_path / "other", replace(SPEC, seed=7))
        assert run(["verify", str(store), str(other.folder)]) == 1
        assert "voxels differ" in capsys.readouterr().out

    def test_other_geometry(self, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        moved = write_series(tmp_path / "moved", replace(SPEC, origin=(0.0, 0.0, 0.0)))
        assert run(["verify", str(store), str(moved.folder)]) == 1
        assert "affine" in capsys.readouterr().out

    def test_a_store_that_is_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["verify", str(tmp_path)]) == 1
        assert capsys.readouterr().err.startswith("Error: ")

    def test_a_folder_of_stores(self, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = tmp_path / "out.zarr"
        run(["convert", str(archive), str(out)])
        capsys.readouterr()
        assert run(["verify", str(out)]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
        record = out / "003_CT_axial_6x16x12.zarr" / "zarr.json"
        record.write_text(record.read_text().replace('"complete"', '"writing"'))
        assert run(["verify", str(out)]) == 1


class TestDemo:
    @pytest.mark.slow
    def test_tells_and_leaves_what_it_says(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tmp_path / "demo"
        command = ["demo", str(folder), "--slices", "12", "--size", "64"]
        assert run(command) == 0
        said = capsys.readouterr().out
        assert "NOT EQUAL" not in said
        assert said.count("equal") == 3
        for name in ("picture.png", "dicom", "volume.zarr"):
            assert str(folder / name) in said
            assert (folder / name).exists()
        assert run(["scan", str(folder / "dicom")]) == 0
        assert run(["verify", str(folder / "volume.zarr"), str(folder / "dicom")]) == 0
        assert run(command) == 0  # again: replaces its own files

    def test_touches_no_folder_of_others(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "dicom").mkdir()
        (tmp_path / "dicom" / "real.dcm").touch()
        assert run(["demo", str(tmp_path)]) == 2
        assert "not empty" in capsys.readouterr().err
        assert (tmp_path / "dicom" / "real.dcm").exists()


class TestMessages:
    @pytest.mark.parametrize(
        ("python", "options"),
        [
            ("Pass policy=GeometryPolicy(gaps='fill') to insert", "Pass --gaps fill to insert"),
            ('Pass policy=GeometryPolicy(gaps="fill"), or gaps="keep".', "Pass --gaps fill, or --gaps keep."),
            ("pass errors='report' to load", "pass --errors report to load"),
            ("Pass series= an index to choose", "Pass --series an index to choose"),
            ("Load values='stored'.", "Load --values stored."),
            ("Pass overwrite=True to replace", "Pass --overwrite to replace"),
            ("series=7 is out of range", "series=7 is out of range"),
            ("The file says dtype and window.", "The file says dtype and window."),
        ],
    )
    def test_python_becomes_options(self, python: str, options: str) -> None:
        assert as_options(python) == options

    def test_sizes(self) -> None:
        assert [human_bytes(n) for n in (0, 1023, 1024, 1536 * 1024, 5 * 2**40)] == [
            "0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 TiB"
        ]  # fmt: skip

    def test_warnings_are_sentences(self, series: WrittenSeries, capfd: pytest.CaptureFixture[str]) -> None:
        truncate(str(series.paths[-1]), 300)
        assert run(["info", str(series.folder)]) == 0
        said = capfd.readouterr().err
        assert said.startswith("Warning: 1 file could not be read")
        assert ".py:" not in said


def test_a_real_process_in_a_pipe(series: WrittenSeries) -> None:
    """What a shell sees: no bars, no colours, no traceback, the right status."""
    environment = {**os.environ, "FORCE_COLOR": "", "COLUMNS": "20"}
    command = [sys.executable, "-m", "fastdicom"]
    done = subprocess.run([*command, "scan", str(series.folder)], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "Thorax of John Doe" in done.stdout
    flip(str(series.paths[0]), 4000, seed=1, start=132)
    done = subprocess.run([*command, "scan", str(series.folder)], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
