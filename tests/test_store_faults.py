"""Stores that are written onto themselves, by two at once, where nobody looks, and in the way of something else."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, MemoryStore, StorePath, WrapperStore

import fastdicom
from fastdicom import nifti
from fastdicom.cli import run
from fastdicom.errors import (
    FastDicomError,
    InvalidStoreError,
    PixelDataError,
    PlanMismatchError,
    SkippedFilesWarning,
    SourceError,
    UsageError,
)
from fastdicom.store import shards, target, writing
from fastdicom.testing import SeriesSpec, corrupt, write_series

SPEC = SeriesSpec(slices=8, rows=12, columns=10, names="dcm")
GRID: dict[str, Any] = {"chunks": (2, 12, 10), "shards": (2, 12, 10), "scheduler": "synchronous"}
LAST = Path("0", "c", "3", "0", "0")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", SPEC)
    return tmp_path / "series"


@pytest.fixture
def store(source: Path, tmp_path: Path) -> Path:
    fastdicom.write_zarr(source, tmp_path / "s.zarr", **GRID)
    return tmp_path / "s.zarr"


def tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def status_of(store: Path) -> str:
    return str(json.loads((store / "zarr.json").read_text())["attributes"]["fastdicom"]["status"])


def same(store: Any, source: Path, **options: Any) -> None:
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, fastdicom.load_volume(source, **options).array)


# Onto itself


class Behind:
    """A lazy array that Dask knows nothing of, with something in it that cannot be pickled."""

    def __init__(self, array: Any) -> None:
        self.lock, self.read = threading.Lock(), lambda index: array[index]
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index: Any) -> Any:
        return self.read(index)


WAYS: dict[str, Callable[[fastdicom.Volume, Any], Any]] = {
    "as it is": lambda volume, group: volume.array,
    "doubled": lambda volume, group: (volume.array * 2).map_blocks(lambda block: block + 1),
    "regular": lambda volume, group: volume.regularize(spacing=1.0).array,
    "zarr array": lambda volume, group: group["0"],
    "behind": lambda volume, group: Behind(group["0"]),
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("kind", ["path", "link", "memory", "url", "copy of a store"])
def test_a_volume_is_not_written_over_what_it_is_read_from(source: Path, tmp_path: Path, way: str, kind: str) -> None:
    memory = MemoryStore()
    place: Any = {"memory": memory, "copy of a store": memory, "url": f"memory://{tmp_path.name}/s.zarr"}.get(
        kind, tmp_path / "s.zarr"
    )
    fastdicom.write_zarr(source, place, **GRID)
    if kind == "link":
        (tmp_path / "link.zarr").symlink_to(place)
    volume = fastdicom.open_volume(tmp_path / "link.zarr" if kind == "link" else place)
    array = WAYS[way](volume, zarr.open_group(place, mode="r"))
    onto = MemoryStore(memory._store_dict) if kind == "copy of a store" else place
    with pytest.raises(UsageError, match="read from"):
        replace(volume, array=array).to_zarr(onto, overwrite=True)
    same(place, source)
    other = tmp_path / "other.zarr"
    replace(volume, array=array).to_zarr(other)
    replace(volume, array=array).to_zarr(other, overwrite=True)
    replace(volume, array=np.asarray(volume.array) + 1).to_zarr(place, overwrite=True)
    np.testing.assert_array_equal(fastdicom.load_volume(place).array, fastdicom.load_volume(source).array + 1)


# Where nobody looks


class Client:
    """What `is_client` takes for a ``distributed.Client``."""

    submit = gather = scheduler_info = None


@pytest.mark.parametrize("scheduler", ["processes", Client()], ids=["processes", "client"])
@pytest.mark.parametrize("kind", ["store", "wrapped", "store path", "group", "url"])
def test_memory_is_refused_where_workers_are_other_processes(source: Path, kind: str, scheduler: Any) -> None:
    memory = MemoryStore()
    place = {
        "store": memory,
        "wrapped": WrapperStore(memory),
        "store path": StorePath(memory, "a"),
        "group": zarr.create_group(MemoryStore()),
        "url": "memory://a/b.zarr",
    }[kind]
    with pytest.raises(UsageError, match="memory of this process"):
        fastdicom.write_zarr(source, place, scheduler=scheduler)
    assert not memory._store_dict


def test_workers_with_another_current_folder_write_the_same_store(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    really = writing.run_tasks

    def run_elsewhere(*args: Any, **options: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path / "elsewhere")
            return really(*args, **options)

    monkeypatch.setattr(writing, "run_tasks", run_elsewhere)
    for place in ("s.zarr", LocalStore("t.zarr")):
        assert fastdicom.write_zarr(source, place, **GRID).ok
        assert list((tmp_path / "elsewhere").iterdir()) == []
        same(place, source)


def test_shards_that_are_not_there_are_noticed_before_the_store_says_complete(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "s.zarr"
    with monkeypatch.context() as patch:
        really = writing.put_shard
        patch.setattr(
            writing,
            "put_shard",
            lambda array, index, place, *rest: really(array, index, place, *rest) if place[0] != 2 else None,
        )
        with pytest.raises(InvalidStoreError, match="1 of 4 shards"):
            fastdicom.write_zarr(source, place, **GRID)
    assert status_of(place) == "writing"
    assert fastdicom.write_zarr(source, place, **GRID).stores[0].shards_written == 1
    same(place, source)


# Shards that went missing


def test_a_missing_shard_is_an_error_and_written_by_the_same_call(source: Path, store: Path) -> None:
    (store / LAST).unlink()
    for read in (fastdicom.load_volume, fastdicom.open_volume):
        with pytest.raises(InvalidStoreError, match="1 of 4 shards") as raised:
            read(store)
        assert "the same write_zarr again" in str(raised.value)
    assert fastdicom.store.reading.open_store(store, check_shards=False).shape == (8, 12, 10)
    report = fastdicom.write_zarr(source, store, **GRID).stores[0]
    assert (report.shards_written, report.shards_kept) == (1, 3)
    same(store, source)


def test_a_missing_array_is_an_error_and_written_by_the_same_call(source: Path, store: Path) -> None:
    shutil.rmtree(store / "0")
    with pytest.raises(InvalidStoreError, match="voxels"):
        fastdicom.open_volume(store)
    assert fastdicom.write_zarr(source, store, **GRID).stores[0].shards_written == 4
    same(store, source)


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("kind", ["memory", "url", "below"])
def test_missing_shards_of_other_stores(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, listing: bool
) -> None:
    memory = MemoryStore()
    place: Any = {
        "memory": memory,
        "below": StorePath(memory, "a/b"),
        "url": f"memory://{tmp_path.name}/{listing}.zarr",
    }[kind]
    fastdicom.write_zarr(source, place, **GRID)
    group = zarr.open_group(place)
    if not listing:
        really = type(group.store).list_prefix

        def list_prefix(self: Any, prefix: str) -> Any:
            if prefix.endswith("0/"):
                raise NotImplementedError
            return really(self, prefix)

        monkeypatch.setattr(type(group.store), "list_prefix", list_prefix)
    same(place, source)
    where = group.store_path / "0" / "c/1/0/0"
    zarr.core.sync.sync(where.delete())
    with pytest.raises(InvalidStoreError, match="1 of 4 shards"):
        fastdicom.open_volume(place)
    assert fastdicom.write_zarr(source, place, **GRID).stores[0].shards_written == 1
    same(place, source)


def test_an_interrupted_repair_does_not_look_complete(
    source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / LAST).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(writing, "read_block", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fastdicom.write_zarr(source, store, **GRID)
    assert status_of(store) == "writing"
    fastdicom.write_zarr(source, store, **GRID)
    assert status_of(store) == "complete"
    same(store, source)


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("scheduler", [None, "synchronous"])
def test_ctrl_c_waits_for_what_is_being_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, scheduler: Any
) -> None:
    """Or a shard of this call lands in the store of the next."""
    begun, ended = [], []
    really = shards._put_shard

    def slowly(array: Any, index: Any, place: Any, *rest: Any) -> None:
        begun.append(place)
        if len(begun) == 1:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(0.4)
        really(array, index, place, *rest)
        ended.append(place)

    monkeypatch.setattr(shards, "_put_shard", slowly)
    with pytest.raises(KeyboardInterrupt):
        fastdicom.write_zarr(source, tmp_path / "s.zarr", **GRID | {"workers": workers, "scheduler": scheduler})
    assert sorted(begun) == sorted(ended)
    assert status_of(tmp_path / "s.zarr") == "writing"
    monkeypatch.undo()
    fastdicom.write_zarr(source, tmp_path / "s.zarr", **GRID)
    same(tmp_path / "s.zarr", source)


# Two at once


class Once:
    """Calls something in the middle of another call, the first `after` times excepted."""

    def __init__(
        self, really: Callable[..., Any], between: Callable[[], Any], after: int, *, late: bool = False
    ) -> None:
        self.really, self.between, self.left, self.late = really, between, after, late

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.left -= 1
        now = self.left == -1
        if now and not self.late:
            self.between()
        result = self.really(*args, **options)
        if now and self.late:
            self.between()
        return result


OTHERS: dict[str, dict[str, Any]] = {
    "values": {"values": "stored"},
    "chunks": {"chunks": (1, 12, 10), "shards": (1, 12, 10)},
    "type": {"dtype": np.float64},
}


@pytest.mark.parametrize("other", list(OTHERS))
@pytest.mark.parametrize(
    ("module", "name", "after"),
    [(writing, "read_block", k) for k in range(4)] + [(writing, "ome_attributes", 0)],
    ids=[f"shard {k}" for k in range(4)] + ["at the end"],
)
@pytest.mark.parametrize("kind", ["path", "memory"])
def test_a_write_that_was_replaced_in_the_middle_ends_with_an_error(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    after: int,
    other: str,
    kind: str,
) -> None:
    place: Any = tmp_path / "s.zarr" if kind == "path" else MemoryStore()
    between = partial(fastdicom.write_zarr, source, place, **(GRID | OTHERS[other]), overwrite=True)
    monkeypatch.setattr(module, name, Once(getattr(module, name), between, after))
    with pytest.raises(PlanMismatchError, match="while it was being written"):
        fastdicom.write_zarr(source, place, **GRID)
    options = {k: v for k, v in OTHERS[other].items() if k in ("values", "dtype")}
    same(place, source, **options)
    assert fastdicom.load_volume(place).dtype == fastdicom.load_volume(source, **options).dtype


@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_shard_that_went_into_the_store_of_another_is_taken_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The smallest gap: between the last look at the store and the write of the shard."""
    place = tmp_path / "s.zarr"
    between = partial(fastdicom.write_zarr, source, place, **GRID, values="stored", overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "check_ours", Once(shards.check_ours, between, after, late=True))
        with pytest.raises(PlanMismatchError):
            fastdicom.write_zarr(source, place, **GRID)
    with pytest.raises(InvalidStoreError, match="1 of 4 shards"):
        fastdicom.load_volume(place)
    assert fastdicom.write_zarr(source, place, **GRID, values="stored").stores[0].shards_written == 1
    same(place, source, values="stored")


def test_a_store_that_is_removed_in_the_middle(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "s.zarr"
    monkeypatch.setattr(writing, "read_block", Once(writing.read_block, lambda: shutil.rmtree(place), 2))
    with pytest.raises(PlanMismatchError, match="removed"):
        fastdicom.write_zarr(source, place, **GRID)
    assert not place.exists()


# Killed while it is replaced


@pytest.mark.fault
@pytest.mark.parametrize("moment", ["before", "half", "one of two", "after"])
def test_a_kill_while_a_store_is_replaced(
    source: Path, store: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    really = target._delete
    calls = 0

    async def delete(where: Any) -> None:
        nonlocal calls
        calls += 1
        if moment == "half":
            (store / LAST).unlink(missing_ok=True)
            (store / "0" / "zarr.json").unlink(missing_ok=True)
        if moment in ("before", "half") or (moment == "one of two" and calls == 2):
            raise RuntimeError("killed")
        await really(where)
        if moment == "after" and calls == 2:
            raise RuntimeError("killed")

    again = partial(fastdicom.write_zarr, source, store, **GRID, values="stored", overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(target, "_delete", delete)
        with pytest.raises(RuntimeError, match="killed"):
            again()
    assert status_of(store) != "complete"
    with pytest.raises(InvalidStoreError, match="not complete"):
        fastdicom.open_volume(store)
    with pytest.raises(PlanMismatchError):  # the settings of before the kill
        fastdicom.write_zarr(source, store, **GRID)
    report = again().stores[0]
    assert (report.shards_written, report.shards_kept) == (4, 0)
    same(store, source, values="stored")


def test_a_replaced_store_keeps_nothing_of_the_old_one(source: Path, store: Path) -> None:
    (store / "labels").mkdir()
    (store / "labels" / "zarr.json").write_text("{}")
    (store / "note.txt").write_text("of the old volume")
    fastdicom.write_zarr(source, store, **(GRID | OTHERS["chunks"]), overwrite=True)
    assert sorted(item.name for item in store.iterdir()) == ["0", "slices", "zarr.json"]


def test_what_a_kill_leaves_of_the_first_file_is_not_in_the_way(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "s.zarr"
    place.mkdir()
    (place / f"zarr.{'0f' * 16}.partial").write_text("{")
    assert fastdicom.write_zarr(source, place, **GRID).ok


# Stores in stores


def test_several_volumes_do_not_go_into_a_store(source: Path, store: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "two" / "a", SPEC)
    write_series(tmp_path / "two" / "b", replace(SPEC, seed=1))
    before = tree(store)
    for errors in ("raise", "report"):
        with pytest.raises(InvalidStoreError, match="below it"):
            fastdicom.write_zarr(tmp_path / "two", store, errors=errors)
    assert run(["convert", str(tmp_path / "two"), str(store), "--overwrite"]) == 1
    assert tree(store) == before


@pytest.mark.parametrize("below", ["sub", "0", "0/c/more.zarr", "slices/valid", "../link/sub"])
def test_nothing_goes_below_a_store(source: Path, store: Path, below: str) -> None:
    (store.parent / "link").symlink_to(store)
    before = tree(store)
    with pytest.raises(InvalidStoreError):
        fastdicom.write_zarr(source, store / below)
    with pytest.raises(InvalidStoreError):
        fastdicom.load_volume(source).to_zarr(str(store / below), overwrite=True)
    assert tree(store) == before


def test_nothing_goes_below_a_store_elsewhere(source: Path, tmp_path: Path) -> None:
    memory, url = MemoryStore(), f"memory://{tmp_path.name}/s.zarr"
    fastdicom.write_zarr(source, memory)
    fastdicom.write_zarr(source, url)
    for place in (StorePath(memory, "sub"), StorePath(memory, "a/b"), f"{url}/sub"):
        with pytest.raises(InvalidStoreError, match="below it"):
            fastdicom.write_zarr(source, place)


def test_a_group_of_ones_own_may_hold_stores(source: Path, tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "mine.zarr", attributes={"mine": True})
    assert fastdicom.write_zarr(source, tmp_path / "mine.zarr" / "scan").ok
    same(tmp_path / "mine.zarr" / "scan", source)


# Progress


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 12, 10), (8, 12, 10)])
def test_progress_ends_at_its_total(source: Path, tmp_path: Path, shape: tuple[int, ...]) -> None:
    calls: list[tuple[int, int]] = []
    sizes = {"chunks": shape, "shards": shape}
    fastdicom.write_zarr(
        fastdicom.scan(source), tmp_path / "s.zarr", progress=lambda *call: calls.append(call), **sizes
    )
    total = int(np.prod([-(-n // s) for n, s in zip((8, 12, 10), shape, strict=True)]))
    assert sorted(calls) == [(k + 1, total) for k in range(total)]


# Arguments


@pytest.mark.parametrize("place", [None, b"out.zarr", 5, "", "a\0b", {}, np.arange(3)], ids=repr)
def test_what_is_no_place_for_a_store(source: Path, place: Any) -> None:
    with pytest.raises(UsageError, match="store="):
        fastdicom.write_zarr(source, place)
    with pytest.raises(UsageError, match="store="):
        fastdicom.load_volume(source).to_zarr(place)


@pytest.mark.parametrize(
    "options",
    [
        {"max_memory": [1]}, {"max_memory": float("inf")}, {"max_memory": True}, {"max_memory": 1j},
        {"identifiers": "kepe"}, {"identifiers": None}, {"chunks": (2.9, 12, 10)}, {"shards": (2.0, 12, 10)},
    ],
    ids=repr,
)  # fmt: skip
def test_arguments_that_cannot_work(source: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        fastdicom.write_zarr(source, tmp_path / "s.zarr", **options)
    with pytest.raises(UsageError, match=next(iter(options))):
        fastdicom.load_volume(source).to_zarr(tmp_path / "s.zarr", **options)
    assert not (tmp_path / "s.zarr").exists()


def test_a_file_in_the_way_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for place in (tmp_path / "file" / "s.zarr", tmp_path / "file" / "a" / "s.zarr"):
        for write in (partial(fastdicom.write_zarr, source), fastdicom.load_volume(source).to_zarr):
            with pytest.raises(FastDicomError, match=str(place)):
                write(place)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a /proc where nothing can be made")
def test_a_place_where_nothing_can_be_made_is_named(source: Path) -> None:
    with pytest.raises(SourceError, match=r"/proc/x\.zarr"):
        fastdicom.write_zarr(source, "/proc/x.zarr")


@pytest.mark.parametrize("how", ["library", "command", "nifti"])
def test_a_full_disk_is_told_with_the_path(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = tmp_path / ("s.nii.gz" if how == "nifti" else "s.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage._local, "_put", full)
        patch.setattr(nifti, "_write_voxels", full)
        if how == "library":
            with pytest.raises(SourceError, match=r"s\.zarr cannot be written: No space left"):
                fastdicom.write_zarr(source, place)
        else:
            assert run(["convert", str(source), str(place)]) == 1
            assert f"{place} cannot be written: No space left" in capsys.readouterr().err
    assert run(["convert", str(source), str(place)]) == 0


def test_a_store_is_no_source_of_a_conversion(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (store, str(store), zarr.open_group(store)):
        with pytest.raises(UsageError, match=r"open_volume\(source\)\.to_zarr"):
            fastdicom.write_zarr(source, tmp_path / "t.zarr")
    assert run(["convert", str(store), str(tmp_path / "t.zarr")]) == 2
    assert "already" in capsys.readouterr().err
    assert not (tmp_path / "t.zarr").exists()
    fastdicom.open_volume(store).to_zarr(tmp_path / "t.zarr", chunks=(3, 5, 5))
    same(tmp_path / "t.zarr", store)


def test_nifti_files_are_not_replaced_unasked(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.nii.gz"
    out.write_bytes(b"precious")
    assert run(["convert", str(source), str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert run(["convert", str(source), str(out), "--overwrite"]) == 0
    assert out.read_bytes()[:2] == b"\x1f\x8b"


# What a volume knows of what went wrong


def test_failures_are_still_known_when_a_store_is_opened(source: Path, tmp_path: Path) -> None:
    corrupt.truncate(source / "00006.dcm", -40)
    with pytest.raises(PixelDataError):
        fastdicom.write_zarr(source, tmp_path / "s.zarr", **GRID)
    fastdicom.write_zarr(source, tmp_path / "s.zarr", **GRID, errors="report")
    volume = fastdicom.open_volume(tmp_path / "s.zarr")
    for _ in range(2):
        assert [(f.index, f.path, f.frame) for f in volume.failures] == [((5,), "", 0)]
        assert sum("could not be read" in note for note in volume.notes) == 1
        assert volume.slices["valid"].tolist() == [True] * 5 + [False] + [True] * 2
        report = volume.to_zarr(tmp_path / "t.zarr", overwrite=True)
        assert not report.ok
        volume = fastdicom.open_volume(tmp_path / "t.zarr").compute()


@pytest.mark.filterwarnings("ignore::fastdicom.errors.SkippedFilesWarning")
@pytest.mark.parametrize("how", ["path", "catalog", "several", "command"])
def test_files_that_were_skipped_are_noted_in_the_store(source: Path, tmp_path: Path, how: str) -> None:
    write_series(source / "more", replace(SPEC, series_number=2, seed=2))
    corrupt.truncate(source / "00008.dcm", 200)
    catalog = fastdicom.scan(source)
    assert len(catalog.volumes) == 2
    series = None if how == "several" else catalog.volumes[0].series_instance_uid
    if how == "command":
        assert run(["convert", str(source), str(tmp_path / "s.zarr"), "--series", str(series)]) == 1
    else:
        with pytest.warns(SkippedFilesWarning):
            fastdicom.write_zarr(catalog if how == "catalog" else source, tmp_path / "s.zarr", series=series)
    places = sorted((tmp_path / "s.zarr").iterdir()) if how == "several" else [tmp_path / "s.zarr"]
    for place in places:
        (note,) = [note for note in fastdicom.open_volume(place).notes if "could not be read" in note]
        assert note.startswith("1 file of the source")


# xarray


def test_xarray_says_nothing_of_the_patient_unasked(source: Path) -> None:
    volume = fastdicom.load_volume(source)
    identifying = {"sop_instance_uid", "acquisition_time", "content_time"} & set(volume.slices)
    assert "sop_instance_uid" in identifying
    array, kept = volume.to_xarray(), volume.to_xarray(identifiers="keep")
    assert not identifying & set(array.coords)
    assert identifying <= set(kept.coords)
    assert kept.attrs["series_instance_uid"] == volume.series_instance_uid
    assert volume.series_instance_uid not in repr(array.attrs) + repr(array.to_dict())
    assert volume.slices["sop_instance_uid"][0] not in repr(array.to_dict())
    with pytest.raises(UsageError, match="identifiers"):
        volume.to_xarray(identifiers="kepe")
