"""The catalogue cache: the same table as without it, and no file opened that did not change."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdicom
from fastdicom.cache import HeaderCache, read_with_cache
from fastdicom.errors import FastDicomWarning, SourceError, UsageError
from fastdicom.headers import HeaderTable, read_headers
from fastdicom.sources import discover
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.types import FileRef, Skipped
from test_headers import disagreements
from test_sources import bytes_of_medium

LONG_AGO = time.time_ns() - 10**12


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series, a multi-frame file and files that are skipped, all of them old."""
    root = tmp_path_factory.mktemp("archive")
    write_series(root / "a", SeriesSpec(slices=5))
    write_series(root / "b", SeriesSpec(slices=3, multi_frame="enhanced"))
    (root / "notes.txt").write_text("no DICOM")
    (root / "müller\udcff.dcm").write_bytes(b"")
    for path in root.rglob("*"):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return root


class Spy:
    """Reads headers and remembers of which files."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, files: Sequence[FileRef]) -> HeaderTable:
        self.opened += [ref.locator for ref in files]
        return read_headers(files)


def scan(files: Sequence[FileRef], cache: Path) -> list[str]:
    """Read through the cache, compare with reading without, and return the files that were opened."""
    spy = Spy()
    table = read_with_cache(files, cache, spy)
    expected = read_headers(files)
    assert disagreements(table, expected) == []
    assert table["reader"].tolist() == expected["reader"].tolist()
    return spy.opened


def test_an_unchanged_archive_is_not_opened(archive: Path, tmp_path: Path) -> None:
    files, _ = discover(archive)
    assert scan(files, tmp_path / "cache") == [ref.locator for ref in files]
    written = (tmp_path / "cache").stat().st_mtime_ns
    assert scan(files, tmp_path / "cache") == []
    assert (tmp_path / "cache").stat().st_mtime_ns == written  # not written again


@given(st.data())
def test_only_what_changed_is_opened(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    files, _ = discover(archive)
    cache = tmp_path_factory.mktemp("cache") / "cache"
    first = data.draw(st.lists(st.sampled_from(files), unique=True))
    second = data.draw(st.lists(st.sampled_from(files), unique=True))
    changed = data.draw(st.sets(st.sampled_from(files)))
    assert scan(first, cache) == [ref.locator for ref in first]
    now = [FileRef(r.locator, r.size, r.mtime_ns - 1) if r in changed else r for r in second]
    assert scan(now, cache) == [r.locator for r in now if r not in first]


@pytest.mark.parametrize(
    ("size", "mtime"), [(-1, LONG_AGO), (None, 0), (None, -1)], ids=["no-size", "no-time", "future"]
)
def test_files_whose_change_would_not_show_are_always_read(
    archive: Path, tmp_path: Path, size: int | None, mtime: int
) -> None:
    ref = discover(archive / "a")[0][0]
    mtime = time.time_ns() if mtime == -1 else mtime  # just written: may change again within the clock's tick
    odd = FileRef(ref.locator, ref.size if size is None else size, mtime)
    for _ in range(2):
        assert len(read_with_cache([odd], tmp_path / "cache", spy := Spy())) == 1
        assert spy.opened == [ref.locator]


@pytest.mark.parametrize("damage", [b"", b"PK\3\4", "cut", "flip", "version"])
def test_a_damaged_cache_is_replaced(archive: Path, tmp_path: Path, damage: bytes | str) -> None:
    files, _ = discover(archive)
    cache = tmp_path / "cache"
    scan(files, cache)
    content = cache.read_bytes()
    if damage == "version":
        with np.load(cache) as arrays:
            np.savez(tmp_path / "other.npz", **{**arrays, "fastdicom": np.array(["other"])})
        shutil.move(tmp_path / "other.npz", cache)
    elif damage == "cut":
        cache.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        at = content.index(b"column/rows.npy") + 60
        cache.write_bytes(content[:at] + bytes(byte ^ 0xFF for byte in content[at : at + 20]) + content[at + 20 :])
    else:
        cache.write_bytes(damage)  # type: ignore[arg-type]
    assert len(scan(files, cache)) == len(files)
    assert scan(files, cache) == []


def test_no_damage_is_believed(archive: Path, tmp_path: Path) -> None:
    """Whatever byte is wrong: the table is the right one, or the cache is made anew, or is not taken for one."""
    files, _ = discover(archive)
    path = tmp_path / "cache"
    expected = read_with_cache(files, path, read_headers)
    content = path.read_bytes()
    directory = content.index(b"PK\1\2")
    rng = np.random.default_rng(3)
    every = [*range(directory, len(content)), *rng.integers(0, directory, 200).tolist()]
    loaded = 0
    for at in rng.permutation(every)[:300].tolist():
        damaged = bytearray(content)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            cache = HeaderCache.load(path)
        except UsageError:
            assert at < 256
            continue
        if cache.files:
            loaded += 1
            assert disagreements(cache.select(cache.lookup(files)), expected) == []
    assert loaded > 20  # times and the like are in the directory, too


def test_an_array_that_is_gone_or_renamed_is_damage(archive: Path, tmp_path: Path) -> None:
    files, _ = discover(archive)
    path = tmp_path / "cache.npz"
    read_with_cache(files, path, read_headers)
    with np.load(path) as arrays:
        every = dict(arrays)
    for name in every:
        if name != "fastdicom":
            np.savez(path, **{n if n != name else f"{n}_": values for n, values in every.items()})
            assert HeaderCache.load(path).files == []
    np.savez(path, **every)
    assert HeaderCache.load(path).files == files


@pytest.mark.parametrize("content", [b"my thesis", b"PK\3\4" + b"somebody's archive" * 100])
def test_no_other_file_is_replaced(archive: Path, tmp_path: Path, content: bytes) -> None:
    for path in (tmp_path / "notes.txt", tmp_path / "link"):
        if path.name == "link":
            path.symlink_to(tmp_path / "notes.txt")
        else:
            path.write_bytes(content)
        with pytest.raises(UsageError, match="another path"):
            fastdicom.scan(archive, cache=path)
        assert (tmp_path / "notes.txt").read_bytes() == content
    image = shutil.copy(discover(archive / "a")[0][0].locator, tmp_path / "image")
    before = Path(image).read_bytes()
    with pytest.raises(UsageError, match="a file of another kind"):
        fastdicom.scan(tmp_path, cache=image)
    assert Path(image).read_bytes() == before


@pytest.mark.parametrize("path", ["", 5, "memory://c.npz", os.devnull, os.curdir])
def test_a_path_that_cannot_be_a_cache(archive: Path, path: object) -> None:
    with pytest.raises(UsageError, match="cache="):
        fastdicom.scan(archive, cache=path)  # type: ignore[arg-type]
    assert Path(os.devnull).is_char_device()


def test_a_linked_cache_is_written_where_it_is(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    fastdicom.scan(archive, cache=tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "cache").stat().st_size > 0
    fastdicom.scan(archive, cache=os.fsencode(tmp_path / "link"))  # type: ignore[arg-type]


def test_who_may_read_the_cache(archive: Path, tmp_path: Path) -> None:
    files, _ = discover(archive)
    before = os.umask(0o027)
    try:
        read_with_cache(files, tmp_path / "cache", read_headers)
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o640
        (tmp_path / "cache").chmod(0o600)
        read_with_cache(files[1:], tmp_path / "cache", read_headers)
        assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o600  # as its owner wants it
    finally:
        os.umask(before)


class Opened:
    """Files below a folder that are opened while it is on (audit hooks cannot be removed)."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.paths: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and self.folder and str(arguments[0]).startswith(self.folder):
            self.paths.append(str(arguments[0]))


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()


@pytest.mark.parametrize("kind", ["folder", "list", "glob", "**", "folder then list", "list of folders"])
def test_a_second_scan_opens_no_file(archive: Path, tmp_path: Path, opened: Opened, kind: str) -> None:
    listed = [ref.locator for ref in discover(archive)[0]]
    sources = {
        "list": listed,
        "glob": str(archive / "*" / "*"),
        "**": str(archive / "**" / "*"),
        "list of folders": [archive / "a", archive / "b"],
    }
    source = sources.get(kind.split()[-1] if " of " not in kind else kind, archive)
    cache = tmp_path / "cache.npz"
    if kind == "folder then list":
        fastdicom.scan(archive, cache=cache)
    first = fastdicom.scan(source, cache=cache)
    assert len(first) in (1, 2)
    written = cache.stat().st_mtime_ns
    opened.paths.clear()
    opened.folder = str(archive)
    try:
        second = fastdicom.scan(source, cache=cache)
    finally:
        opened.folder = None
    assert opened.paths == []
    assert second.to_json() == first.to_json()
    assert cache.stat().st_mtime_ns == written


@pytest.mark.parametrize("content", ["zip", "dicomdir"])
def test_what_is_in_a_listed_file_is_seen_after_a_scan_of_its_folder(tmp_path: Path, content: str) -> None:
    """A folder's scan does not look into archives; that it knows one as a file tells nothing."""
    series = write_series(tmp_path / "a" / "A", SeriesSpec(slices=2))
    if content == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "a" / "zip"), "zip", tmp_path / "a" / "A"))
    else:
        path = tmp_path / "a" / "DICOMDIR"
        path.write_bytes(bytes_of_medium([["A", Path(file).name] for file in series.files]))
    for file in (path, *(Path(file) for file in series.files)):
        os.utime(file, ns=(LONG_AGO, LONG_AGO))
    for _ in range(2):
        assert fastdicom.scan(tmp_path / "a", cache=tmp_path / "cache").n_files == 3
        for _ in range(2):
            catalog = fastdicom.scan([path], cache=tmp_path / "cache")
            assert (len(catalog), catalog.skipped) == (1, ())


def test_a_file_that_becomes_an_archive_is_looked_at_again(tmp_path: Path) -> None:
    series = write_series(tmp_path / "a", SeriesSpec(slices=2))
    path = tmp_path / "listed"
    path.write_bytes(b"nothing")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    for _ in range(2):
        assert len(fastdicom.scan([path, *series.files], cache=tmp_path / "cache").skipped) == 1
    shutil.move(shutil.make_archive(str(tmp_path / "made"), "zip", tmp_path / "a"), path)
    assert len(fastdicom.scan([path], cache=tmp_path / "cache")) == 1


def test_a_cache_that_cannot_be_written(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cache=None"):
        read_with_cache(discover(archive)[0], tmp_path / "no" / "such" / "folder", read_headers)


def test_numpy_reads_it_without_fastdicom(archive: Path, tmp_path: Path) -> None:
    files, _ = discover(archive)
    read_with_cache(files, tmp_path / "cache.npz", read_headers)
    with np.load(tmp_path / "cache.npz", allow_pickle=False) as arrays:
        locators = arrays["file/locator"][arrays["row/file"]]
        positions = dict(zip(locators.tolist(), arrays["column/image_position"].tolist(), strict=True))
    table = read_headers(files)
    for path, position in zip(table["path"], table["image_position"].tolist(), strict=True):
        if "/a/" in path:
            assert positions[path.encode()] == position


def test_no_half_written_cache_is_left(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.warns(FastDicomWarning, match="No space.*scan is complete"):
        catalog = fastdicom.scan(archive, cache=tmp_path / "cache")
    assert len(catalog) == 2
    assert list(tmp_path.iterdir()) == []


def test_empty_cache_and_empty_archive(tmp_path: Path) -> None:
    assert len(read_with_cache([], tmp_path / "cache", read_headers)) == 0
    assert HeaderCache.load(tmp_path / "nothing").files == []


def test_what_could_not_be_read_is_tried_again(archive: Path, tmp_path: Path) -> None:
    """Permissions and connections recover without a new size or time."""
    refs = discover(archive / "a")[0]

    def failing(files: Sequence[FileRef]) -> HeaderTable:
        table = read_headers(files[2:])
        table.skipped = [Skipped(files[0].locator, "unreadable", "no"), Skipped(files[1].locator, "missing", "no")]
        return table

    def failing_again(files: Sequence[FileRef]) -> HeaderTable:
        assert list(files) == refs[:2]
        return failing(files)

    read_with_cache(refs, tmp_path / "cache", failing)
    written = (tmp_path / "cache").stat().st_mtime_ns
    read_with_cache(refs, tmp_path / "cache", failing_again)
    assert (tmp_path / "cache").stat().st_mtime_ns == written  # nothing new to keep
    assert scan(refs, tmp_path / "cache") == [ref.locator for ref in refs[:2]]
    assert scan(refs, tmp_path / "cache") == []


def test_a_cache_in_the_folder_that_is_scanned_is_no_file_of_it(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive / "a", tmp_path / "a")
    for path in (tmp_path / "a").iterdir():
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    (tmp_path / "alias").symlink_to(tmp_path / "a")
    cache = tmp_path / "alias" / "cache.npz"
    first = fastdicom.scan(tmp_path / "a", cache=cache)
    os.utime(cache, ns=(LONG_AGO, LONG_AGO))
    second = fastdicom.scan(tmp_path / "a", cache=cache)
    assert cache.stat().st_mtime_ns == LONG_AGO  # not written again
    assert first.n_files == second.n_files == 5
    assert second.skipped == ()
