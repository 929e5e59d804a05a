"""Sources: every file is found once, whatever it is called, and read only where it is needed."""

from __future__ import annotations

import contextlib
import glob
import io
import mmap
import os
import pickle
import shutil
import struct
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from stat import S_IFMT
from typing import Any, ClassVar

import fsspec
import numpy as np
import pydicom
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from pydicom.fileset import FileSet

import fastdicom
from fastdicom._posix import has_statx
from fastdicom.errors import SourceError, SourceNotFoundError, UsageError
from fastdicom.headers import READER_WALK, HeaderTable, read_headers
from fastdicom.sources import LocalReader, discover, discovery, open_reader
from fastdicom.sources.statuses import statuses_of
from fastdicom.testing import SeriesSpec, WrittenSeries, write_series
from fastdicom.types import ByteReader, FileRef

SPEC = SeriesSpec(slices=6, rows=64, columns=64, elements=150)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> WrittenSeries:
    return write_series(tmp_path_factory.mktemp("series"), SPEC)


@pytest.fixture(scope="module")
def local(series: WrittenSeries) -> HeaderTable:
    return read_headers(discover(str(series.folder))[0])


def names(source: Any) -> list[str]:
    return [ref.locator for ref in discover(source)[0]]


def assert_same_headers(files: list[FileRef], local: HeaderTable) -> HeaderTable:
    """The same columns as from the folder, whatever the source and its order."""
    table = read_headers(files)
    assert table.skipped == []
    order, local_order = np.argsort(table["sop_instance_uid"]), np.argsort(local["sop_instance_uid"])
    for name in set(local) - {"path", "mtime_ns", "reader"}:
        np.testing.assert_array_equal(table[name][order], local[name][local_order], err_msg=name)
    assert (table["reader"] == READER_WALK).all()
    return table


# Folders, lists and patterns


def test_folder_gives_every_file_with_size_and_time(series: WrittenSeries) -> None:
    files, skipped = discover(series.folder)
    assert [ref.locator for ref in files] == series.files
    assert skipped == []
    for ref in files:
        stat = Path(ref.locator).stat()
        assert (ref.size, ref.mtime_ns) == (stat.st_size, stat.st_mtime_ns)


def test_sub_folders_in_a_stable_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a", "c/d/e", "0"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [os.path.relpath(name, tmp_path) for name in names(tmp_path)] == ["0", "a", "b/1", "b/2", "c/d/e"]


def test_symbolic_links_may_form_loops(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "z").symlink_to(tmp_path / "a")
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("pattern", ["", "*", "**", "**/*", "*.dcm", "**/*.dcm"])
def test_a_link_to_itself_is_skipped(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "a.dcm").touch()
    (tmp_path / "self.dcm").symlink_to(tmp_path / "self.dcm")
    files, skipped = discover(str(tmp_path / pattern))
    assert [Path(ref.locator).name for ref in files] == ["a.dcm"]
    if pattern not in ("*", "*.dcm") or skipped:  # glob leaves out broken links in some versions of Python
        assert [(Path(item.path).name, item.kind) for item in skipped] == [("self.dcm", "unreadable")]


def test_a_pattern_finds_files_below_a_folder_with_an_alias(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.dcm").touch()
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    assert len(names(f"{tmp_path}/**/real/*.dcm")) == 1
    assert len(names(f"{tmp_path}/**/alias/*.dcm")) == 1
    assert len(names(f"{tmp_path}/**/*.dcm")) == 1


def test_a_folder_that_cannot_be_listed_is_reported_whatever_the_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").touch()
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files, skipped = discover(f"{tmp_path}/**/*.dcm")
    assert len(files) == 1
    assert [Path(item.path).name for item in skipped] == ["closed"]


@given(st.lists(st.sampled_from(["a", "[ab]", "[!a]", "?", "*", "a*", "**", "[]]", "[a", "a?c", "[^.*]"]), max_size=4))
def test_recursive_patterns_match_what_glob_matches(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "tree"
    if not root.exists():
        for name in ("a/b/c", "b/a/a", "abc", "a/abc", "]/[a", "[a/]", "b/abc/^", "a/b/a/b/c"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
    pattern = os.path.join(root, "**", *parts)
    expected = {path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()}
    try:
        found = names(pattern)
    except SourceNotFoundError:
        found = []
    assert sorted(found) == sorted(expected)


def test_what_is_no_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    files, skipped = discover(tmp_path)
    assert files == []
    assert {(Path(item.path).name, item.kind) for item in skipped} == {("gone", "missing"), ("pipe", "unreadable")}


def test_a_pipe_in_a_list_of_files_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    table = read_headers([FileRef(str(tmp_path / "pipe"), 0)])
    assert len(table) == 0
    assert len(table.skipped) == 1


def test_list_pattern_and_folder_agree(series: WrittenSeries, local: HeaderTable) -> None:
    assert sorted(names(series.files)) == series.files
    assert names([Path(path) for path in series.files]) == series.files
    assert names(str(series.folder / "*")) == series.files
    assert names(f"{series.folder.parent}/**/{Path(series.files[0]).name}") == series.files[:1]
    assert names([series.folder, *series.files]) == series.files  # each once
    assert names(f"file://{series.files[0]}") == series.files[:1]
    assert_same_headers(discover(series.files)[0], local)


def test_patterns_match_what_glob_matches(tmp_path: Path) -> None:
    for name in ("a/1.dcm", "a/b/2.dcm", "a/b/c/3.DCM", "x[1]/4.dcm", "5.dcm", "a.b/6.dcm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for pattern in ("**/*.dcm", "*/**/*.dcm", "a/**", "**/b/*", "**", "**/[ab]/?.dcm", "*/*.dcm", "**/*.[dD]*"):
        expected = [p for p in glob.glob(str(tmp_path / pattern), recursive=True) if Path(p).is_file()]
        found = names(str(tmp_path / pattern))
        assert set(expected) <= set(found), pattern
        if "**" in pattern:  # else folders that match are searched, too
            assert sorted(found) == sorted(set(expected)), pattern


def test_recursive_pattern_survives_loops(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.dcm").touch()
        for other in ("x", "y", "z"):
            (tmp_path / name / other).symlink_to(tmp_path)
    assert len(names(f"{tmp_path}/**/*.dcm")) == 3


def test_locators_do_not_depend_on_the_current_folder(series: WrittenSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(series.folder)
    assert names(".") == series.files
    assert names(Path(series.files[0]).name) == series.files[:1]


@pytest.mark.parametrize("source", ["", "/no/such/place", "no-*-match", "memory://no/such/file", "nope://x/y"])
def test_a_source_that_is_not_there(source: str) -> None:
    with pytest.raises(SourceError):
        discover(source)


@pytest.mark.parametrize("source", [5, None, b"bytes", io.StringIO("text")])
def test_a_source_that_cannot_be_one(source: Any) -> None:
    with pytest.raises(UsageError):
        discover(source)


def test_a_list_goes_on_after_what_is_not_there(series: WrittenSeries, tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(tmp_path / "self")
    bad = [tmp_path / "gone", tmp_path / "self", f"{tmp_path}/gone*", "memory://no/such/file", "nope://x/y"]
    catalog = fastdicom.scan([*bad, *series.files])
    assert len(catalog) == 1
    assert [item.kind for item in catalog.skipped] == ["missing", "unreadable", "missing", "missing", "unreadable"]
    assert [Path(item.path).name for item in catalog.skipped[:2]] == ["gone", "self"]
    assert catalog.n_files == len(bad) + len(series.files)
    for source in bad:  # where there is nothing else, it is what went wrong
        with pytest.raises(SourceError):
            discover(source)
        with pytest.raises(SourceError):
            discover([source])


def test_a_link_to_itself_is_not_called_absent(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(tmp_path / "self")
    with pytest.raises(SourceError, match="leads back to itself") as caught:
        discover(tmp_path / "self")
    assert not isinstance(caught.value, FileNotFoundError)


def test_a_file_in_a_folder_that_cannot_be_entered(
    series: WrittenSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", stat)
    _, skipped = discover([tmp_path / "closed", *series.files])
    assert [(Path(item.path).name, item.kind) for item in skipped] == [("closed", "unreadable")]
    with pytest.raises(SourceError, match="cannot be entered"):
        discover(tmp_path / "closed")


class TestManyFilesOfAFolder:
    """Asked for in one compiled call; the answer is that of `os.stat` for each."""

    def folder(self, path: Path) -> Path:
        path.mkdir()
        for number in range(70):
            (path / f"ü {number}").write_bytes(bytes(number))
            os.utime(path / f"ü {number}", ns=(0, (number - 35) * 10**16 + number))  # also before 1970
        (path / "link").symlink_to(path / "ü 7")
        os.utime(path / "link", ns=(5, 5), follow_symlinks=False)
        (path / os.fsdecode(b"\xff")).write_bytes(b"x")
        return path

    def asked_for_each(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(discovery, "statuses_of", lambda folder, names: None)
            return discover(folder)

    def test_files_and_links(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = self.folder(tmp_path / "in")
        found = discover(folder)
        assert found == self.asked_for_each(folder, monkeypatch)
        assert len(found[0]) == 72
        ((size, mtime),) = [ref[1:] for ref in found[0] if ref.locator.endswith("link")]
        assert (size, mtime) == (7, -28 * 10**16 + 7)

    def test_among_them_what_is_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = self.folder(tmp_path / "in")
        (folder / "broken").symlink_to("nowhere")
        os.mkfifo(folder / "pipe")
        (folder / "below").mkdir()
        (folder / "below" / "file").write_bytes(b"x")
        found = discover(folder)
        assert found == self.asked_for_each(folder, monkeypatch)
        assert [Path(item.path).name for item in found[1]] == ["broken", "pipe"]
        assert len(found[0]) == 73

    def test_what_the_system_says(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path / "in")
        names = [*os.listdir(folder), "gone"]
        found = [(folder / name).stat() for name in names[:-1]]
        expected = [[S_IFMT(each.st_mode), each.st_size, each.st_mtime_ns] for each in found] + [[0, 0, 0]]
        statuses = statuses_of(str(folder), names)
        assert (None if statuses is None else statuses.tolist()) == (expected if has_statx() else None)
        assert statuses_of(str(folder), names[:63]) is None

    def test_a_folder_that_goes_meanwhile(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = self.folder(tmp_path / "in")
        (folder / "link").unlink()  # of which the listing asked already what it leads to
        really = statuses_of

        def remove(*arguments: Any) -> Any:
            shutil.rmtree(folder)
            return really(*arguments)

        monkeypatch.setattr(discovery, "statuses_of", remove)
        files, skipped = discover(folder)
        assert files == []
        assert [item.kind for item in skipped] == ["missing"] * 71


def test_copies_on_a_disk_that_fails_do_not_end_the_scan(
    series: WrittenSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        shutil.copy(series.files[0], tmp_path / name)

    def read_at(*_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalReader, "read_at", read_at)
    catalog = fastdicom.scan(tmp_path)
    assert catalog.skipped == ()  # what cannot be compared is no copy
    assert catalog.n_files == 2


def test_names_that_begin_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("~nobody.has.this.name", "~root", "home/a"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert [os.path.relpath(name) for name in names(sorted(os.listdir()))] == ["home/a", *sorted(os.listdir())[1:]]
    assert names("~/a") == names("~") == [str(tmp_path / "home" / "a")]
    with pytest.raises(SourceNotFoundError, match="~nosuchuser/x"):
        discover("~nosuchuser/x")


# DICOMDIR


def write_medium(folder: Path, datasets: list[pydicom.FileDataset]) -> None:
    medium = FileSet()
    for dataset in datasets:
        medium.add(dataset)
    medium.write(folder)
    medium._stage["t"].cleanup()


def files_of_medium(path: Path) -> list[str]:
    medium = FileSet(path)
    medium._stage["t"].cleanup()
    return sorted(str(instance.path) for instance in medium)


def test_dicomdir_names_what_pydicom_finds(series: WrittenSeries, tmp_path: Path, local: HeaderTable) -> None:
    write_medium(tmp_path, series.datasets)
    (tmp_path / "DICOMDIR").rename(tmp_path / "renamed")  # its content says what it is
    expected = files_of_medium(tmp_path / "renamed")
    files, skipped = discover(tmp_path / "renamed")
    assert sorted(ref.locator for ref in files) == expected
    assert skipped == []
    table = read_headers(files)
    assert set(table["sop_instance_uid"]) == set(local["sop_instance_uid"])


def test_dicomdir_of_a_medium_copied_in_lower_case(series: WrittenSeries, tmp_path: Path) -> None:
    write_medium(tmp_path, series.datasets[:1])
    for folder, folders, found in os.walk(tmp_path, topdown=False):
        for name in (*folders, *found):
            Path(folder, name).rename(Path(folder, name.lower()))
    assert len(discover(tmp_path / "dicomdir")[0]) == 1


OUTSIDE = [b"..\\SECRET", b"..", b"A\\..\\..\\SECRET", b"/etc/passwd", b"A\\/etc\\passwd", b"."]


@pytest.mark.parametrize("file_id", OUTSIDE)
def test_dicomdir_names_no_file_outside_of_its_folder(series: WrittenSeries, tmp_path: Path, file_id: bytes) -> None:
    (tmp_path / "SECRET").write_bytes(b"secret")
    (tmp_path / "medium" / "A").mkdir(parents=True)
    write_medium(tmp_path / "medium", series.datasets[:1])
    content = pydicom.dcmread(tmp_path / "medium" / "DICOMDIR")
    record = next(record for record in content.DirectoryRecordSequence if "ReferencedFileID" in record)
    with pydicom.config.disable_value_validation():
        record.ReferencedFileID = file_id.decode().split("\\")
        content.save_as(tmp_path / "medium" / "DICOMDIR")
    files, skipped = discover(tmp_path / "medium" / "DICOMDIR")
    assert files == []
    assert [item.kind for item in skipped] == ["unreadable"]


def test_dicomdir_link_that_leaves_its_folder(series: WrittenSeries, tmp_path: Path) -> None:
    write_medium(tmp_path / "medium", series.datasets[:1])
    path = Path(files_of_medium(tmp_path / "medium" / "DICOMDIR")[0])
    path.rename(tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    files, skipped = discover(tmp_path / "medium" / "DICOMDIR")
    assert files == []
    assert [item.kind for item in skipped] == ["unreadable"]


def test_dicomdir_with_a_file_that_is_gone(series: WrittenSeries, tmp_path: Path) -> None:
    write_medium(tmp_path, series.datasets[:2])
    Path(files_of_medium(tmp_path / "DICOMDIR")[0]).unlink()
    files, skipped = discover(tmp_path / "DICOMDIR")
    assert len(files) == 1
    assert [item.kind for item in skipped] == ["missing"]


def bytes_of_medium(
    ids: list[list[str]], *, in_use: list[int] | None = None, undefined_length: bool = False, explicit: bool = True
) -> bytes:
    content = pydicom.Dataset()
    content.DirectoryRecordSequence = records = pydicom.Sequence()
    content["DirectoryRecordSequence"].is_undefined_length = undefined_length
    for k, file_id in enumerate(ids):
        record = pydicom.Dataset()
        record.RecordInUseFlag = 0xFFFF if in_use is None else in_use[k]
        record.DirectoryRecordType = "IMAGE"
        with pydicom.config.disable_value_validation():
            record.ReferencedFileID = file_id
        records.append(record)
    content.file_meta = pydicom.dataset.FileMetaDataset()
    content.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    content.file_meta.MediaStorageSOPInstanceUID = "1.2"
    content.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1" if explicit else "1.2.840.10008.1.2"
    buffer = io.BytesIO()
    with pydicom.config.disable_value_validation():
        content.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("undefined_length", [True, False])
def test_a_dicomdir_that_ends_early_is_an_error_wherever_it_ends(
    tmp_path: Path, undefined_length: bool, explicit: bool
) -> None:
    path = tmp_path / "DICOMDIR"
    wanted = ["A", "B", "C"]
    for name in wanted:
        (tmp_path / name).touch()
    content = bytes_of_medium([[name] for name in wanted], undefined_length=undefined_length, explicit=explicit)
    path.write_bytes(content)
    assert [Path(name).name for name in names(path)] == wanted
    for nbytes in range(400, len(content)):  # behind its class, which tells what it is
        path.write_bytes(content[:nbytes])
        with pytest.raises(SourceError, match=r"damaged DICOMDIR.*its folder"):
            discover(path)
    (tmp_path / "good").touch()
    files, skipped = discover([path, tmp_path / "good"])
    assert [Path(ref.locator).name for ref in files] == ["good"]
    assert [(item.path, item.kind) for item in skipped] == [(str(path), "unreadable")]


def test_a_record_that_claims_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "A").touch()
    content = bytearray(bytes_of_medium([["A"], ["B"]]))
    at = content.rindex(b"\xfe\xff\x00\xe0") + 4
    content[at : at + 4] = struct.pack("<I", struct.unpack_from("<I", content, at)[0] + 8)
    (tmp_path / "DICOMDIR").write_bytes(content)
    with pytest.raises(SourceError, match="last of its records"):
        discover(tmp_path / "DICOMDIR")


def test_records_that_are_not_in_use_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "A").touch()
    (tmp_path / "DICOMDIR").write_bytes(bytes_of_medium([["A"], ["GONE"]], in_use=[0xFFFF, 0]))
    files, skipped = discover(tmp_path / "DICOMDIR")
    assert [Path(ref.locator).name for ref in files] == ["A"]
    assert skipped == []


def test_a_dicomdir_without_a_folder_says_so() -> None:
    content = bytes_of_medium([["A"]])
    with pytest.raises(SourceError, match=r"is a DICOMDIR, .* Pass its path"):
        fastdicom.scan(io.BytesIO(content))
    _, skipped = discover([io.BytesIO(content), io.BytesIO(b"other")])
    assert [item.kind for item in skipped] == ["unreadable"]


def test_a_dicomdir_at_a_url_names_files_beside_it(series: WrittenSeries) -> None:
    file_system = fsspec.filesystem("memory")
    file_system.pipe_file("/medium/IMG/A", Path(series.files[0]).read_bytes())
    file_system.pipe_file("/secret", Path(series.files[1]).read_bytes())
    file_system.pipe_file("/medium/DICOMDIR", bytes_of_medium([["IMG", "A"], ["..", "secret"], ["GONE"]]))
    catalog = fastdicom.scan("memory://medium/DICOMDIR")
    assert [entry.paths for entry in catalog] == [["memory://medium/IMG/A"]]
    assert sorted(item.kind for item in catalog.skipped) == ["missing", "unreadable"]


# Zip archives


def zip_of(path: Path, files: dict[str, bytes], method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def archive(request: pytest.FixtureRequest, series: WrittenSeries, tmp_path: Path) -> Path:
    files = {f"study/{Path(path).name}": Path(path).read_bytes() for path in series.files}
    return zip_of(tmp_path / "archive.bin", {"empty/": b"", **files}, request.param)


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("tells", ["time", "nothing"])
@pytest.mark.parametrize("again", [True, False])
def test_an_archive_written_again_with_the_same_size(tmp_path: Path, tells: str, again: bool) -> None:
    path = zip_of(tmp_path / "zip", {"a": b"1" * 10, "b": b"2" * 50}, zipfile.ZIP_STORED)
    size, before = path.stat().st_size, path.stat().st_mtime_ns
    with open_reader(discover(path)[0][0].locator) as reader:
        assert reader.read_at(0, 100) == b"1" * 10
    zip_of(path, {"b": b"3" * 25, "a": b"4" * 35}, zipfile.ZIP_STORED)
    assert path.stat().st_size == size
    os.utime(path, ns=(before, before + (10**9 if tells == "time" else 0)))
    if tells == "nothing" and not again:
        archives = pytest.MonkeyPatch()
        archives.setattr("fastdicom.sources.archives._RENEWAL_S", 0.0)
    if again:
        assert {ref.locator.split("::")[0]: ref.size for ref in discover(path)[0]} == {"zip://a": 35, "zip://b": 25}
    for name, content in (("a", b"4" * 35), ("b", b"3" * 25)):
        with open_reader(f"zip://{name}::{path}") as reader:
            assert reader.read_at(0, 100) == content
    if tells == "nothing" and not again:
        archives.undo()


@pytest.mark.parametrize("name", ["plain", "\u00e9t\u00e9", "\u5f71\u50cf/1"])
def test_zip_members_of_any_name(tmp_path: Path, name: str) -> None:
    path = zip_of(tmp_path / "zip", {name: b"content"}, zipfile.ZIP_STORED)
    (ref,) = discover(path)[0]
    with open_reader(ref.locator) as reader:
        assert reader.read_at(0, 100) == b"content"


def test_zip_members_have_the_same_headers(archive: Path, local: HeaderTable) -> None:
    files, skipped = discover(archive)
    assert skipped == []
    assert_same_headers(files, local)
    assert_same_headers(discover([str(archive)])[0], local)
    assert_same_headers(discover([ref.locator for ref in files])[0], local)


def test_zip_members_in_any_order_of_ranges(archive: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        expected = {f"zip://{name}::{archive}": file.read(name) for name in file.namelist() if not name.endswith("/")}
    rng = np.random.default_rng(1)
    for ref in discover(archive)[0]:
        content = expected[ref.locator]
        with open_reader(ref.locator) as reader:
            assert reader.size == len(content) == ref.size
            for _ in range(30):
                start, length = int(rng.integers(0, len(content) + 10)), int(rng.integers(0, 5000))
                assert reader.read_at(start, length) == content[start : start + length]
                buffer = bytearray(length)
                count = reader.readinto_at(start, memoryview(buffer))
                assert bytes(buffer[:count]) == content[start : start + length]


def test_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    import tracemalloc

    path = zip_of(tmp_path / "bomb", {"a": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    files, _ = discover(path)
    tracemalloc.start()
    table = read_headers(files)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.kind for item in table.skipped] == ["not-dicom"]
    assert peak < 8 << 20


def test_zip_directory_that_lies_about_sizes(series: WrittenSeries, tmp_path: Path) -> None:
    path = zip_of(tmp_path / "zip", {"a": Path(series.files[0]).read_bytes()}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 24 : at + 28] = struct.pack("<I", 0xFFFF_FFF0)
    path.write_bytes(content)
    files, _ = discover(path)
    with open_reader(files[0].locator) as reader:
        assert reader.size < 100 << 20
        assert len(reader.read_at(0, reader.size)) == Path(series.files[0]).stat().st_size


@pytest.mark.parametrize("cut", [40, 200, -30, -1])
def test_damaged_zip(archive: Path, cut: int) -> None:
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(SourceError, match="damaged zip archive"):
        discover(archive)
    (archive.parent / "good").touch()
    files, skipped = discover([archive, archive.parent / "good"])
    assert [Path(ref.locator).name for ref in files] == ["good"]
    assert [item.kind for item in skipped] == ["unreadable"]


def test_members_that_hide_one_another_are_reported(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip", "w") as file:
        file.writestr("a", b"1")
        for content in (b"22", b"333"):
            with pytest.warns(UserWarning, match="Duplicate"):
                file.writestr("a", content)
    ((ref,), skipped) = discover(tmp_path / "zip")
    with open_reader(ref.locator) as reader:
        assert reader.read_at(0, 10) == b"333"  # which unpacking would leave
    assert [item.reason for item in skipped] == ["another member of this name follows it in the archive"] * 2


def test_an_empty_archive_is_accounted_for(tmp_path: Path) -> None:
    catalog = fastdicom.scan(zip_of(tmp_path / "zip", {}, zipfile.ZIP_STORED))
    assert catalog.n_files == 1
    assert catalog.skipped[0].reason == "an empty zip archive"


def test_a_member_whose_name_ends_in_a_colon(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "zip", {"a:": b"1", "b": b"2"}, zipfile.ZIP_STORED)
    files, skipped = discover(path)
    assert [ref.locator for ref in files] == [f"zip://b::{path}"]
    assert "colon" in skipped[0].reason


def test_a_member_whose_name_is_not_what_its_flag_says(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "zip", {"a\u00e9": b"1", "b": b"2"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace("\u00e9".encode(), b"\xe9\xff"))
    files, skipped = discover(path)
    assert skipped == []
    contents = []
    for ref in files:
        with open_reader(ref.locator) as reader:
            contents.append(reader.read_at(0, 10))
    assert sorted(contents) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", ["a", "st/1", "st/2", "st/sub/3", "stx/4"]),
        ("st", ["st/1", "st/2", "st/sub/3"]),
        ("st/", ["st/1", "st/2", "st/sub/3"]),
        ("st/*", ["st/1", "st/2"]),
        ("**/3", ["st/sub/3"]),
        ("st/1", ["st/1"]),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_url_of_a_folder_in_an_archive(tmp_path: Path, place: str, expected: list[str], scheme: str) -> None:
    contents = dict.fromkeys(("a", "st/1", "st/2", "st/sub/3", "stx/4"), b"")
    path = zip_of(tmp_path / "zip", contents, zipfile.ZIP_STORED)
    assert names(f"zip://{place}::{scheme}{path}") == [f"zip://{name}::{path}" for name in expected]
    with pytest.raises(SourceNotFoundError, match="no member nothing"):
        discover(f"zip://nothing::{path}")


def test_encrypted_members_are_reported(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "zip", {"a": b"12345"}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    files, skipped = discover(path)
    assert files == []
    assert "encrypted" in skipped[0].reason


def test_zip_among_the_files_of_a_folder_is_named_as_such(archive: Path) -> None:
    table = read_headers([FileRef(str(archive), archive.stat().st_size)])
    assert "zip archive" in table.skipped[0].reason


# File objects


def test_file_objects(series: WrittenSeries, local: HeaderTable) -> None:
    objects = [io.BytesIO(Path(path).read_bytes()) for path in series.files]
    files, _ = discover(objects)
    assert_same_headers(files, local)
    assert discover(objects)[0] == files  # the same object keeps its locator


def test_open_local_files_are_read_by_their_path(series: WrittenSeries) -> None:
    with open(series.files[0], "rb") as file:
        assert names(file) == series.files[:1]


def test_file_object_of_a_zip_archive(archive: Path, local: HeaderTable) -> None:
    file = io.BytesIO(archive.read_bytes())
    assert_same_headers(discover(file)[0], local)


def test_file_object_that_is_gone(series: WrittenSeries) -> None:
    files, _ = discover(io.BytesIO(Path(series.files[0]).read_bytes()))
    open_reader(files[0].locator)  # its locator keeps it
    names_only = [FileRef(str(file.locator), file.size) for file in files]
    assert pickle.loads(pickle.dumps(files)) == files
    del files
    with pytest.raises(SourceNotFoundError, match="Keep it"):
        open_reader(names_only[0].locator)
    assert [item.kind for item in read_headers(names_only).skipped] == ["missing"]


@pytest.mark.parametrize("zipped", [False, True])
def test_file_objects_of_a_generator_live_as_long_as_the_catalog(series: WrittenSeries, zipped: bool) -> None:
    contents = [Path(path).read_bytes() for path in series.files]
    if zipped:
        contents = [zip_bytes({"a": content}) for content in contents]
    catalog = fastdicom.scan(io.BytesIO(content) for content in contents)
    assert catalog.skipped == ()
    assert fastdicom.load_volume(catalog[0]).shape == (6, 64, 64)


class Failing(io.BytesIO):
    """A file object of somebody who does not know of OSError."""

    fails = "read"

    def read(self, size: int | None = -1, /) -> bytes:
        if self.fails == "read":
            raise RuntimeError("no")
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        if self.fails == "seek":
            raise RuntimeError("no")
        return super().seek(offset, whence)


@pytest.mark.parametrize("fails", ["read", "seek", "closed"])
def test_a_file_object_that_fails_is_skipped(series: WrittenSeries, fails: str) -> None:
    content = Path(series.files[0]).read_bytes()
    good, bad = io.BytesIO(content), Failing(content)
    bad.fails = fails
    if fails == "closed":
        bad.close()
    files, skipped = discover([good, bad])
    assert len(files) == 1
    assert [item.kind for item in skipped] == ["unreadable"]
    assert "Failing cannot be read" in skipped[0].reason


class Silent(io.BytesIO):
    """Does not tell where it went, as mmap before Python 3.13."""

    def seek(self, offset: int, whence: int = 0, /) -> None:  # type: ignore[override]
        super().seek(offset, whence)


def test_file_objects_whose_seek_returns_nothing(series: WrittenSeries) -> None:
    with open(series.files[0], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for source in (Silent(file.read()), mapped):
            catalog = fastdicom.scan([source])
            assert (len(catalog), catalog.skipped) == (1, ())


def test_file_objects_in_many_threads(series: WrittenSeries) -> None:
    content = Path(series.files[0]).read_bytes()
    file = io.BytesIO(content)
    locator = discover(file)[0][0].locator
    wrong: list[int] = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with open_reader(locator) as reader:
            for start in rng.integers(0, len(content), 200).tolist():
                if reader.read_at(start, 100) != content[start : start + 100]:
                    wrong.append(start)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# URLs


class CountingFileSystem(MemoryFileSystem):
    """Counts the bytes that leave it."""

    protocol = "counting"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    nbytes = 0
    opened = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("counting://")))

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        data = super().cat_file(path, start=start, end=end, **kwargs)
        type(self).nbytes += len(data)
        type(self).opened += 1
        return bytes(data)


@pytest.fixture
def counting(series: WrittenSeries) -> Iterator[str]:
    fsspec.register_implementation("counting", CountingFileSystem, clobber=True)
    file_system = fsspec.filesystem("counting")
    for path in series.files:
        # Pixel data that a header reader has no business with.
        file_system.pipe_file(f"/bucket/{Path(path).name}", Path(path).read_bytes() + bytes(1 << 20))
    CountingFileSystem.nbytes = CountingFileSystem.opened = 0
    yield "counting://bucket"
    file_system.store.clear()


def test_url_headers_read_no_more_than_a_block_of_each_file(
    counting: str, series: WrittenSeries, local: HeaderTable
) -> None:
    files, _ = discover(counting)
    assert len(files) == len(series.files)
    assert CountingFileSystem.nbytes == 0
    table = read_headers(files)
    assert set(table["sop_instance_uid"]) == set(local["sop_instance_uid"])
    assert CountingFileSystem.opened == len(files)
    assert CountingFileSystem.nbytes <= len(files) * (16 << 10)


def test_url_pattern_and_single_file(counting: str, series: WrittenSeries) -> None:
    name = Path(series.files[0]).name
    assert [Path(found).name for found in names(f"{counting}/{name}")] == [name]
    assert [Path(found).name for found in names(f"{counting}/{name[:5]}*")] == [name]
    assert len(names(f"{counting}/*")) == len(series.files)


class RangeServer(BaseHTTPRequestHandler):
    """Serves the files of `folder`, and counts the bytes it sends."""

    folder: ClassVar[Path]
    ranges: ClassVar[bool] = True
    head: ClassVar[bool] = True
    content_type: ClassVar[str | None] = None
    sent: ClassVar[int] = 0
    requests: ClassVar[int] = 0
    lock: ClassVar[threading.Lock] = threading.Lock()

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        with self.lock:
            type(self).requests += 1
        path = self.folder / self.path.lstrip("/")
        if path.is_dir() and not self.path.endswith("/"):
            self.send_response(301)
            self.send_header("Location", self.path + "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if not path.exists():
            self.send_error(404)
            return
        if not body and not self.head:
            self.send_error(405)
            return
        listing = "".join(f'<a href="{name}">{name}</a>' for name in os.listdir(path)) if path.is_dir() else ""
        content = listing.encode() if listing else path.read_bytes()
        size, asked = len(content), self.headers.get("Range")
        if asked and self.ranges and not listing:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            content = content[int(first) : int(last) + 1]
            if not content:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{size}")
        else:
            self.send_response(200)
        if self.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if self.content_type or listing:
            self.send_header("Content-Type", self.content_type or "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(OSError):  # who has read enough, closes
            for start in range(0, len(content) if body else 0, 1 << 16):
                written = self.wfile.write(content[start : start + (1 << 16)])
                with self.lock:
                    type(self).sent += written

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server(series: WrittenSeries) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    RangeServer.folder, RangeServer.sent, RangeServer.requests = series.folder, 0, 0
    RangeServer.ranges, RangeServer.head, RangeServer.content_type = True, True, None
    with ThreadingHTTPServer(("127.0.0.1", 0), RangeServer) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_http_headers_are_read_in_ranges(server: str, series: WrittenSeries, local: HeaderTable) -> None:
    urls = [f"{server}/{Path(path).name}" for path in series.files]
    files = [FileRef(url, -1) for url in urls]
    assert_same_headers(files, local)
    assert RangeServer.sent <= sum(min(Path(path).stat().st_size, 16 << 10) for path in series.files)


def test_http_server_without_ranges(server: str, series: WrittenSeries, local: HeaderTable) -> None:
    RangeServer.ranges = False
    path = series.files[0]
    with open_reader(f"{server}/{Path(path).name}", Path(path).stat().st_size) as reader:
        assert reader.read_at(200, 50) == Path(path).read_bytes()[200:250]


@pytest.mark.parametrize("content_type", [None, "text/html", "application/dicom"])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_http_scan_downloads_headers_only(
    server: str, series: WrittenSeries, tmp_path: Path, content_type: str | None, ranges: bool, head: bool
) -> None:
    """Whatever the server says and knows, two requests a file, of no more than a block."""
    nbytes = 64 << 20  # more than sockets hold of what nobody reads
    for path in series.files[:2]:
        shutil.copy(path, tmp_path)
        os.truncate(tmp_path / Path(path).name, nbytes)
    RangeServer.folder, RangeServer.ranges = tmp_path, ranges
    RangeServer.content_type, RangeServer.head = content_type, head
    urls = [f"{server}/{path.name}" for path in sorted(tmp_path.iterdir())]
    catalog = fastdicom.scan(urls[0])
    assert len(catalog) == 1
    assert RangeServer.requests == 2
    catalog = fastdicom.scan(urls)
    assert catalog.n_files == 2
    assert catalog.skipped == ()
    assert RangeServer.requests == 6
    assert RangeServer.sent < (6 * (17 << 10) if ranges else nbytes)


def test_http_list_is_asked_for_at_once(server: str, series: WrittenSeries, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers none of them before all of them have arrived."""
    together, arrived = threading.Barrier(len(series.files) + 1), threading.Event()
    answer = RangeServer._answer

    def wait(self: RangeServer, body: bool) -> None:
        if not arrived.is_set():  # what has failed is asked for again
            together.wait(timeout=20)
            arrived.set()
        answer(self, body)

    monkeypatch.setattr(RangeServer, "_answer", wait)
    urls = [f"{server}/{Path(path).name}" for path in series.files]
    files, skipped = discover([*urls[:3], series.files[0], f"{server}/gone", *urls[3:]])
    assert [ref.locator for ref in files] == [*urls[:3], series.files[0], *urls[3:]]
    assert [(item.path, item.kind) for item in skipped] == [(f"{server}/gone", "missing")]
    assert RangeServer.requests == len(urls) + 2


def test_http_folder_is_listed(server: str, series: WrittenSeries, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in series.files:
        shutil.copy(path, tmp_path / "folder")
    RangeServer.folder = tmp_path
    wanted = [f"{server}/folder/{Path(path).name}" for path in series.files]
    assert names(f"{server}/folder/") == wanted
    assert names(f"{server}/folder") == wanted  # which the server sends on
    assert names(f"{server}/folder/*") == wanted


def test_http_archive(server: str, series: WrittenSeries, tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", {"a": Path(series.files[0]).read_bytes()}, zipfile.ZIP_DEFLATED)
    RangeServer.folder = tmp_path
    catalog = fastdicom.scan(f"{server}/a.zip")
    assert [entry.paths for entry in catalog] == [[f"zip://a::{server}/a.zip"]]


def test_http_empty_file(server: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    RangeServer.folder = tmp_path
    assert [(ref.size) for ref in discover(f"{server}/empty")[0]] == [0]
    assert [item.reason for item in fastdicom.scan(f"{server}/empty").skipped] == ["the file is empty"]


def test_http_file_that_is_gone(server: str) -> None:
    table = read_headers([FileRef(f"{server}/nothing", -1)])
    assert [item.kind for item in table.skipped] == ["missing"]


class SilentHandler(BaseHTTPRequestHandler):
    """A server that does not say how much it sends."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(b"content")

    def log_message(self, format: str, *args: Any) -> None: ...


def test_http_file_of_unknown_size_is_not_called_empty() -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), SilentHandler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{http.server_port}/file"
        try:
            (item,) = read_headers([FileRef(url, -1)]).skipped
            with pytest.raises(SourceError, match="does not tell its size"):
                discover(url)
        finally:
            http.shutdown()
            thread.join()
    assert item.kind == "unreadable"
    assert "does not tell its size" in item.reason


def test_chained_urls_list_folders_and_keep_their_chain(counting: str, series: WrittenSeries) -> None:
    expected = [f"simplecache::{counting}/{Path(path).name}" for path in series.files]
    assert names(f"simplecache::{counting}") == expected
    assert names(f"simplecache::{counting}/*") == expected
    assert names(expected[0]) == expected[:1]
    assert read_headers([FileRef(expected[0], -1)]).skipped == []


class HostFileSystem(CountingFileSystem):
    """Its paths leave out user and host, as those of ftp, sftp and smb do."""

    protocol = "hosted"
    store: ClassVar[dict[str, Any]] = {}

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        rest = path.partition("://")[2].partition("/")[2] if "://" in path else path
        return "/" + rest.strip("/") if rest.strip("/") else ""


@pytest.mark.parametrize("place", ["", "/", "/folder", "/folder/", "/folder/*", "/*/*", "/folder/a"])
def test_locators_keep_host_and_user(place: str) -> None:
    fsspec.register_implementation("hosted", HostFileSystem, clobber=True)
    file_system = fsspec.filesystem("hosted")
    file_system.pipe_file("/folder/a", b"content")
    assert names(f"hosted://user:word@host:21{place}") == ["hosted://user:word@host:21/folder/a"]


# Readers


@pytest.mark.parametrize("kind", ["local", "object", "memory", "stored", "deflated"])
def test_every_reader_reads_the_same_ranges(kind: str, series: WrittenSeries, tmp_path: Path) -> None:
    content = Path(series.files[0]).read_bytes()
    keep = io.BytesIO(content)
    if kind == "memory":
        fsspec.filesystem("memory").pipe_file("/readers/a", content)
    method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
    locator = {
        "local": series.files[0],
        "object": discover(keep)[0][0].locator,
        "memory": "memory://readers/a",
    }.get(kind) or f"zip://a::{zip_of(tmp_path / 'z', {'a': content}, method)}"
    with open_reader(locator) as reader:
        assert isinstance(reader, ByteReader)
        assert reader.size == len(content)
        for start, length in ((0, 10), (5000, 100), (100, 4000), (len(content) - 5, 50), (len(content) + 5, 5), (0, 0)):
            assert reader.read_at(start, length) == content[start : start + length]
            buffer = bytearray(length)
            count = reader.readinto_at(start, memoryview(buffer))
            assert bytes(buffer[:count]) == content[start : start + length]
