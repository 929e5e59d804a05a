"""The catalogue cache: the same table as without it, and no file opened that did not change."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdicom
from fastdicom.cache import HeaderCache, read_with_cache
from fastdicom.errors import SourceError
from fastdicom.headers import HeaderTable, read_headers
from fastdicom.sources import discover
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.types import FileRef, Skipped
from test_headers import disagreements

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


@pytest.mark.parametrize("damage", [b"", b"rubbish", b"PK\3\4rubbish", "cut", "flip", "version"])
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
    with pytest.raises(SourceError, match="No space"):
        read_with_cache(discover(archive)[0], tmp_path / "cache", read_headers)
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

    read_with_cache(refs, tmp_path / "cache", failing)
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
