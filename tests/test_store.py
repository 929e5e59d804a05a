"""Zarr stores: written whole or visibly not, continued, refused, read back, and free of who the patient is."""

from __future__ import annotations

import json
import math
import os
import pickle
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
from hypothesis import given
from hypothesis import strategies as st

import fastdicom
from fastdicom.errors import (
    InvalidStoreError,
    PixelDataError,
    PlanMismatchError,
    SourceNotFoundError,
    UsageError,
)
from fastdicom.store import writing
from fastdicom.store.layout import SHARD_BYTES, choose_grid
from fastdicom.store.memory import COPIES_A_SHARD
from fastdicom.testing import SeriesSpec, corrupt, write_series

SPEC = SeriesSpec(slices=8, rows=12, columns=10, names="dcm")
GRID = {"chunks": (2, 12, 10), "shards": (2, 12, 10)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", SPEC)
    return tmp_path / "series"


def shards_of(store: Path) -> list[str]:
    return sorted(str(p.relative_to(store)) for p in (store / "0" / "c").rglob("*") if p.is_file())


def status_of(store: Path) -> str:
    return json.loads((store / "zarr.json").read_text())["attributes"]["fastdicom"]["status"]


class Breaks:
    """`read_block` that raises after a number of shards."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException) -> None:
        self.calls = 0
        really = writing.read_block

        def read_block(*args: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls > after:
                raise error
            return really(*args, **options)

        monkeypatch.setattr(writing, "read_block", read_block)


# Complete or visibly not


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_write_that_fails_is_continued_by_the_same_call(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    store = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        Breaks(patch, after, PixelDataError("broken on purpose"))
        with pytest.raises(PixelDataError, match="on purpose"):
            fastdicom.write_zarr(source, store, scheduler="synchronous", **GRID)
    assert len(shards_of(store)) == after
    assert status_of(store) == "writing"
    assert "ome" not in json.loads((store / "zarr.json").read_text())["attributes"]
    for read in (fastdicom.load_volume, fastdicom.open_volume):
        with pytest.raises(InvalidStoreError, match="not complete"):
            read(store)
    times = {name: (store / name).stat().st_mtime_ns for name in shards_of(store)}
    report = fastdicom.write_zarr(source, store, **GRID)
    assert report.ok
    assert (report.stores[0].shards_kept, report.stores[0].shards_written) == (after, 4 - after)
    assert times == {name: (store / name).stat().st_mtime_ns for name in times}
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, fastdicom.load_volume(source).array)


def test_the_same_call_on_a_complete_store_does_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "out.zarr"
    assert fastdicom.write_zarr(source, store, **GRID).stores[0].shards_written == 4
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.is_file()}
    Breaks(monkeypatch, 0, AssertionError("nothing may be read"))
    report = fastdicom.write_zarr(source, store, **GRID)
    assert (report.stores[0].shards_kept, report.stores[0].shards_written, report.ok) == (4, 0, True)
    assert before == {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.is_file()}


def test_a_failure_in_the_last_step_leaves_a_store_that_says_so(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "out.zarr"
    with monkeypatch.context() as patch:
        patch.setattr(writing, "ome_attributes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            fastdicom.write_zarr(source, store, **GRID)
    with pytest.raises(InvalidStoreError, match="not complete"):
        fastdicom.load_volume(store)
    assert fastdicom.write_zarr(source, store, **GRID).stores[0].shards_kept == 4
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, fastdicom.load_volume(source).array)


KILLED = """
import sys, time
from fastdicom.store import writing
really = writing.read_block
def slowly(*args, **options):
    time.sleep(0.15)
    return really(*args, **options)
writing.read_block = slowly
import fastdicom
print("ready", flush=True)
fastdicom.write_zarr(sys.argv[1], sys.argv[2], chunks=(2, 12, 10), shards=(2, 12, 10), workers=2)
"""


@pytest.mark.fault
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_write_is_continued(tmp_path: Path) -> None:
    source, store = tmp_path / "series", tmp_path / "out.zarr"
    write_series(source, replace(SPEC, slices=40))
    process = subprocess.Popen([sys.executable, "-c", KILLED, source, store], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 60
        while len(shards_of(store)) < 3 and time.monotonic() < deadline:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert status_of(store) == "writing"
    with pytest.raises(InvalidStoreError):
        fastdicom.load_volume(store)
    report = fastdicom.write_zarr(source, store, **GRID)
    assert report.stores[0].shards_kept >= 3
    assert report.stores[0].shards_kept + report.stores[0].shards_written == 20
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, fastdicom.load_volume(source).array)


# What is there already


@pytest.mark.parametrize(
    "changed",
    [
        {"values": "stored"},
        {"dtype": np.float32},
        {"values": "display"},
        {"identifiers": "keep"},
        {"chunks": (1, 12, 10)},
        {"shards": (4, 12, 10)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_other_settings_are_refused_and_overwrite_replaces(
    source: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    store = tmp_path / "out.zarr"
    fastdicom.write_zarr(source, store, **GRID)
    before = fastdicom.load_volume(store).array
    with pytest.raises(PlanMismatchError, match="overwrite=True"):
        fastdicom.write_zarr(source, store, **(GRID | changed))
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, before)
    report = fastdicom.write_zarr(source, store, **(GRID | changed), overwrite=True)
    assert report.stores[0].shards_kept == 0
    options = {k: v for k, v in changed.items() if k in ("values", "dtype")}
    volume = fastdicom.load_volume(store)
    expected = fastdicom.load_volume(source, **options)
    assert volume.dtype == expected.dtype
    np.testing.assert_array_equal(volume.array, expected.array)


def test_another_input_is_refused(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "out.zarr"
    fastdicom.write_zarr(source, store)
    write_series(tmp_path / "other", replace(SPEC, seed=1))
    with pytest.raises(PlanMismatchError):
        fastdicom.write_zarr(tmp_path / "other", store)
    changed = source / "00003.dcm"
    os.utime(changed, ns=(1, 1))
    with pytest.raises(PlanMismatchError):
        fastdicom.write_zarr(source, store)


def make_foreign(kind: str, path: Path) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
        (path / "thesis.txt").write_text("precious")
    elif kind == "group":
        zarr.create_group(path, attributes={"mine": True})
    elif kind == "group of version 2":
        zarr.create_group(path, attributes={"mine": True}, zarr_format=2)
    elif kind == "array":
        zarr.create_array(path, data=np.arange(5))
    elif kind == "broken":
        path.mkdir()
        (path / "zarr.json").write_text("{")


def tree(path: Path) -> dict[str, bytes]:
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["file", "folder", "group", "group of version 2", "array", "broken"])
def test_what_fastdicom_did_not_write_is_left_alone(source: Path, tmp_path: Path, kind: str, overwrite: bool) -> None:
    path = tmp_path / "out.zarr"
    make_foreign(kind, path)
    before = tree(path)
    with pytest.raises(InvalidStoreError, match=re.escape(str(path))):
        fastdicom.write_zarr(source, path, overwrite=overwrite)
    assert tree(path) == before
    with pytest.raises(InvalidStoreError, match="another path"):
        fastdicom.load_volume(source).to_zarr(path, overwrite=overwrite)
    assert tree(path) == before


def test_an_empty_folder_is_a_place_for_a_store(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out.zarr").mkdir()
    assert fastdicom.write_zarr(source, tmp_path / "out.zarr").ok


@pytest.mark.parametrize("kind", ["group", "group of version 2", "array", "broken"])
def test_a_foreign_store_is_not_read_as_a_volume(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.zarr"
    make_foreign(kind, path)
    if (path / "zarr.json").is_file():
        with pytest.raises(InvalidStoreError, match="not a store that fastdicom wrote"):
            fastdicom.load_volume(path)


def test_a_store_of_a_newer_schema_is_refused(source: Path, tmp_path: Path) -> None:
    store = tmp_path / "out.zarr"
    fastdicom.write_zarr(source, store)
    group = zarr.open_group(store)
    group.attrs["fastdicom"] = group.attrs["fastdicom"] | {"schema": 99}
    with pytest.raises(InvalidStoreError, match="schema 99"):
        fastdicom.open_volume(store)


def test_a_missing_source_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        fastdicom.write_zarr(tmp_path / "absent", tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()


# Frames that cannot be read


@pytest.fixture
def damaged(source: Path) -> Path:
    corrupt.truncate(source / "00006.dcm", -40)
    return source


def test_errors_report_writes_the_others_and_lists_the_failures(damaged: Path, tmp_path: Path) -> None:
    store = tmp_path / "out.zarr"
    with pytest.raises(PixelDataError, match=re.escape("00006.dcm")):
        fastdicom.write_zarr(damaged, store, **GRID)
    report = fastdicom.write_zarr(damaged, store, errors="report", **GRID)
    assert not report.ok
    (failure,) = report.stores[0].failures
    assert (failure.index, Path(failure.path).name, failure.frame) == ((5,), "00006.dcm", 0)
    json.dumps(report.to_dict())
    volume = fastdicom.load_volume(store)
    assert volume.slices["valid"].tolist() == [True] * 5 + [False] + [True] * 2
    expected = fastdicom.load_volume(damaged, errors="report")
    np.testing.assert_array_equal(volume.array, expected.array)
    assert (volume.array[5] == expected.plan.fill_value).all()
    assert len(zarr.open_group(store).attrs["fastdicom"]["failures"]) == 1
    again = fastdicom.write_zarr(damaged, store, errors="report", **GRID)
    assert (again.ok, again.stores[0].shards_kept, len(again.stores[0].failures)) == (False, 4, 1)


def test_failures_of_an_interrupted_write_are_not_forgotten(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "out.zarr"
    for after in range(5):
        with monkeypatch.context() as patch:
            Breaks(patch, after, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                fastdicom.write_zarr(damaged, store, errors="report", scheduler="synchronous", **GRID)
        report = fastdicom.write_zarr(damaged, store, errors="report", **GRID)
        assert [f.index for f in report.stores[0].failures] == [(5,)], after
        volume = fastdicom.load_volume(store)
        assert volume.slices["valid"].tolist() == [True] * 5 + [False] + [True] * 2
        np.testing.assert_array_equal(volume.array, fastdicom.load_volume(damaged, errors="report").array)
        fastdicom.write_zarr(damaged, store, errors="report", overwrite=True, chunks=(1, 12, 10))
        _remove(store)


def test_what_was_filled_is_read_again_where_errors_are_to_raise(tmp_path: Path) -> None:
    source, store = tmp_path / "series", tmp_path / "out.zarr"
    write_series(source, replace(SPEC, transfer_syntax_uid="1.2.840.10008.1.2.5"))
    path = source / "00006.dcm"
    stat = path.stat()
    corrupt.set_bytes(path, corrupt.find(path, 0xFFFEE000, -1) + 8, b"\x63")  # 99 RLE segments
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = fastdicom.write_zarr(source, store, errors="report", **GRID)
    assert [f.index for f in report.stores[0].failures] == [(5,)]
    with pytest.raises(PixelDataError, match=re.escape("00006.dcm")):
        fastdicom.write_zarr(source, store, **GRID)
    corrupt.set_bytes(path, corrupt.find(path, 0xFFFEE000, -1) + 8, b"\x02")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    report = fastdicom.write_zarr(source, store, **GRID)
    assert (report.ok, report.stores[0].shards_written) == (True, 1)
    volume = fastdicom.load_volume(store)
    np.testing.assert_array_equal(volume.array, fastdicom.load_volume(source).array)
    assert volume.slices["valid"].all()


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder)


def test_volumes_of_an_archive_that_fail_do_not_stop_the_others(tmp_path: Path) -> None:
    for number, name in enumerate(("good", "gap")):
        write_series(tmp_path / "in" / name, replace(SPEC, series_number=number, missing=(3,) if number else ()))
    report = fastdicom.write_zarr(tmp_path / "in", tmp_path / "out", errors="report")
    assert [type(r.error).__name__ for r in report.stores] == ["NoneType", "IrregularSpacingError"]
    assert not report.ok
    assert len(list((tmp_path / "out").iterdir())) == 1
    with pytest.raises(fastdicom.errors.IrregularSpacingError):
        fastdicom.write_zarr(tmp_path / "in", tmp_path / "out2")


# Several volumes


def test_each_volume_of_an_archive_gets_a_store_of_its_own_name(tmp_path: Path) -> None:
    for number, spec in enumerate(
        (SPEC, replace(SPEC, seed=1), replace(SPEC, modality="MR"), replace(SPEC, orientation=(1, 0, 0, 0, 0, -1.0)))
    ):
        write_series(tmp_path / "in" / str(number), replace(spec, series_number=3))
    report = fastdicom.write_zarr(tmp_path / "in", tmp_path / "out")
    names = [Path(r.store).name for r in report.stores]
    assert sorted(names) == sorted(p.name for p in (tmp_path / "out").iterdir())
    assert len({name.lower() for name in names}) == 4
    assert sorted(names) == [
        "003_CT_axial_8x12x10.zarr",
        "003_CT_axial_8x12x10_2.zarr",
        "003_CT_coronal_8x12x10.zarr",
        "003_MR_axial_8x12x10.zarr",
    ]
    for entry, name in zip(fastdicom.scan(tmp_path / "in"), names, strict=True):
        np.testing.assert_array_equal(
            fastdicom.load_volume(tmp_path / "out" / name).array, fastdicom.load_volume(entry).array
        )
    again = fastdicom.write_zarr(tmp_path / "in", tmp_path / "out")
    assert [r.shards_written for r in again.stores] == [0] * 4


# Who the patient is

SECRETS = {
    "PatientName": "Zyxwv^Utsrq",
    "PatientID": "PID-4711-SECRET",
    "PatientBirthDate": "19340217",
    "PatientSex": "O",
    "PatientAge": "087Y",
    "PatientSize": 1.23456,
    "PatientWeight": 67.891,
    "OtherPatientIDs": "OTHER-0815",
    "PatientComments": "comment that identifies",
    "EthnicGroup": "ETHNIC-GROUP",
    "AccessionNumber": "ACC-99887",
    "StudyID": "STUDY-ID-5566",
    "StudyDate": "20011231",
    "SeriesDate": "20020130",
    "AcquisitionDate": "20020228",
    "ContentDate": "20020331",
    "StudyTime": "111213.1415",
    "SeriesTime": "121314.1516",
    "AcquisitionTime": "131415.1617",
    "ContentTime": "141516.1718",
    "StudyDescription": "study of Zyxwv",
    "SeriesDescription": "series of Zyxwv",
    "ProtocolName": "protocol for Zyxwv",
    "InstitutionName": "Hospital of Nowhere",
    "InstitutionAddress": "Nowhere Street 1",
    "ReferringPhysicianName": "Doctor^Refers",
    "PerformingPhysicianName": "Doctor^Performs",
    "OperatorsName": "Operator^Name",
    "StationName": "STATION-7",
    "DeviceSerialNumber": "SERIAL-123456",
    "ContrastBolusAgent": "agent for Zyxwv",
    "ImageComments": "image of Zyxwv",
    "RequestedProcedureDescription": "procedure on Zyxwv",
    "PatientPosition": "HFS",
}
HARMLESS = {"PatientPosition", "PatientSex"}  # "O" is in every other word; its keyword is looked for instead


def secret_series(folder: Path) -> list[str]:
    """Write a series full of secrets into folders named after the patient; returns what no store may hold."""
    spec = replace(SPEC, extra=SECRETS)
    series = write_series(folder / "Zyxwv_Utsrq", spec)
    for number, path in enumerate(series.files):
        Path(path).rename(Path(path).with_name(f"Zyxwv-{number}.dcm"))
    uids = [spec.series_uid, spec.study_uid, spec.reference_uid, spec.series_uid[5:40]]
    values = [str(value) for name, value in SECRETS.items() if name not in HARMLESS]
    return [*values, *uids, "Zyxwv", "Utsrq", "PatientSex", "PID-4711"]  # a fingerprint may hold any four digits


def everything_in(folder: Path) -> bytes:
    texts = [str(p.relative_to(folder)).encode() + b"\n" + p.read_bytes() for p in folder.rglob("*") if p.is_file()]
    assert texts
    return b"\n".join(texts)


@pytest.mark.parametrize("case", ["one", "archive", "report", "to_zarr"])
def test_no_byte_of_a_store_says_who_the_patient_is(tmp_path: Path, case: str) -> None:
    secrets = secret_series(tmp_path / "in")
    out = tmp_path / "out"
    if case == "archive":
        write_series(tmp_path / "in" / "more", replace(SPEC, extra=SECRETS, seed=5))
    if case == "report":
        corrupt.truncate(next((tmp_path / "in").rglob("*-3.dcm")), -40)
    if case == "to_zarr":
        fastdicom.load_volume(tmp_path / "in").to_zarr(out / "x.zarr")
    else:
        report = fastdicom.write_zarr(
            tmp_path / "in",
            out if case == "archive" else out / "x.zarr",
            errors="report" if case == "report" else "raise",
        )
        assert report.ok == (case != "report")
    found = everything_in(out)
    for secret in secrets:
        assert secret.encode() not in found, secret
    record = json.loads(next(out.rglob("zarr.json")).read_text())["attributes"]
    assert record["fastdicom"]["attributes"]["PatientPosition"] == "HFS"


def test_remnants_in_notes_do_not_say_who_the_patient_is(tmp_path: Path) -> None:
    secrets = secret_series(tmp_path / "in")
    odd = write_series(tmp_path / "odd", replace(SPEC, extra=SECRETS, rows=6, slices=1, series_instance_uid=SPEC_UID))
    Path(odd.files[0]).rename(tmp_path / "in" / "Zyxwv-odd.dcm")
    index = max(fastdicom.scan(tmp_path / "in"), key=lambda entry: entry.shape[0]).index
    fastdicom.write_zarr(tmp_path / "in", tmp_path / "out" / "x.zarr", series=index)
    found = everything_in(tmp_path / "out")
    for secret in secrets:
        assert secret.encode() not in found, secret


SPEC_UID = replace(SPEC, extra=SECRETS).series_uid


def test_identifiers_are_kept_on_demand(tmp_path: Path) -> None:
    secret_series(tmp_path / "in")
    store = tmp_path / "out.zarr"
    fastdicom.write_zarr(tmp_path / "in", store, identifiers="keep")
    original, kept = fastdicom.load_volume(tmp_path / "in"), fastdicom.load_volume(store)
    assert kept.series_instance_uid == original.series_instance_uid
    assert dict(kept.attrs) == dict(original.attrs)
    assert kept.attrs["PatientName"] == SECRETS["PatientName"]
    assert kept.slices.keys() == original.slices.keys()
    assert kept.slices["sop_instance_uid"].tolist() == original.slices["sop_instance_uid"].tolist()
    with pytest.raises(UsageError, match="remove"):
        fastdicom.write_zarr(tmp_path / "in", store, identifiers="maybe")


# Chunks, shards and memory


@given(
    st.lists(st.integers(1, 700), min_size=2, max_size=4),
    st.booleans(),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, SHARD_BYTES),
    st.data(),
)
def test_shards_are_whole_chunks_that_cover_the_array(
    sizes: list[int], colour: bool, itemsize: int, shard_bytes: int, data: st.DataObject
) -> None:
    sizes = [1, *sizes] if len(sizes) < 3 else sizes
    shape = (*sizes, 3) if colour else tuple(sizes)
    dims = (*("t", "z", "y", "x")[-len(sizes) :], *(("c",) if colour else ()))
    any_sizes = st.tuples(*(st.integers(1, 800) for _ in shape))
    chunks = data.draw(st.none() | any_sizes)
    shards = data.draw(st.none() | any_sizes)
    grid = choose_grid(shape, dims, itemsize, chunks, shards, shard_bytes)
    assert all(s % c == 0 and s >= 1 and c >= 1 for s, c in zip(grid.shards, grid.chunks, strict=True))
    for axis, length in enumerate(shape):
        places = [tuple(k if a == axis else 0 for a in range(len(shape))) for k in range(grid.counts[axis])]
        covered = [i for place in places for i in range(*grid.index(place)[axis].indices(length))]
        assert covered == list(range(length))
    if shards is None:
        axis = len(shape) - (4 if colour else 3)
        nbytes = math.prod(grid.shards) * itemsize
        assert nbytes <= max(shard_bytes, nbytes // (grid.shards[axis] // grid.chunks[axis]))
    if chunks is not None:
        assert all(c == min(asked, n) for c, asked, n in zip(grid.chunks, chunks, shape, strict=True))


@pytest.mark.parametrize("sizes", [(2, 2), (0, 2, 2), (2, 2, 2, 2), 5, "abc"])
@pytest.mark.parametrize("name", ["chunks", "shards"])
def test_impossible_sizes_are_usage_errors(source: Path, tmp_path: Path, name: str, sizes: Any) -> None:
    with pytest.raises(UsageError, match=name):
        fastdicom.write_zarr(source, tmp_path / "out.zarr", **{name: sizes})
    assert not (tmp_path / "out.zarr").exists()


def test_max_memory_bounds_the_tasks_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in", SeriesSpec(slices=40, rows=256, columns=256))
    limit = 2 * 2**20
    alive: dict[int, int] = {}
    peaks = []
    really = writing._write_shard

    def watched(array: Any, grid: Any, *rest: Any) -> Any:
        place = rest[-1]
        shape = [s.stop - s.start for s in grid.index(place)]
        alive[id(place)] = COPIES_A_SHARD * math.prod(shape) * array.dtype.itemsize
        peaks.append(sum(alive.values()))
        time.sleep(0.002)
        try:
            return really(array, grid, *rest)
        finally:
            del alive[id(place)]

    monkeypatch.setattr(writing, "_write_shard", watched)
    for workers in (1, 2, 8):
        store = tmp_path / f"out{workers}.zarr"
        fastdicom.write_zarr(
            tmp_path / "in", store, chunks=(2, 256, 256), max_memory="2 MiB", workers=workers, scheduler="threads"
        )
        np.testing.assert_array_equal(fastdicom.load_volume(store).array, fastdicom.load_volume(tmp_path / "in").array)
    assert max(peaks) <= limit
    assert max(peaks) > limit / 8
    with pytest.raises(UsageError, match="max_memory"):
        fastdicom.write_zarr(tmp_path / "in", tmp_path / "x.zarr", chunks=(32, 256, 256), max_memory="2 MiB")
    for nonsense in ("much", 0, -5, "12 bananas"):
        with pytest.raises(UsageError, match="max_memory"):
            fastdicom.write_zarr(tmp_path / "in", tmp_path / "x.zarr", max_memory=nonsense)
    assert not (tmp_path / "x.zarr").exists()


# What a store says

VOLUMES = {
    "plain": SPEC,
    "tilted": replace(SPEC, tilt_deg=15.0),
    "slopes": replace(SPEC, modality="PT", slope=tuple(1.0 + k / 7 for k in range(8)), intercept=0.0),
    "gap": replace(SPEC, missing=(3,)),
    "colour": replace(
        SPEC, modality="US", photometric_interpretation="RGB", bits_allocated=8, slope=None, intercept=None
    ),
    "echoes": replace(SPEC, modality="MR", dimensions={"echo": 2}),
    "times": replace(SPEC, modality="MR", dimensions={"temporal_position": 3}),
    "two": replace(SPEC, modality="MR", dimensions={"temporal_position": 2, "echo": 2}),
    "one slice": replace(SPEC, slices=1),
    "float": replace(SPEC, pixel_keyword="FloatPixelData"),
}


@pytest.fixture(scope="module", params=list(VOLUMES))
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[fastdicom.Volume, Path]:  # fmt: skip
    root = tmp_path_factory.mktemp("pair")
    write_series(root / "in", VOLUMES[request.param])
    policy = fastdicom.GeometryPolicy(gaps="fill")
    fastdicom.write_zarr(root / "in", root / "out.zarr", policy=policy)
    return fastdicom.load_volume(root / "in", policy=policy), root / "out.zarr"


def test_a_store_is_the_volume_again(pair: tuple[fastdicom.Volume, Path]) -> None:
    volume, store = pair
    again = fastdicom.open_volume(store)
    assert not isinstance(again.array, np.ndarray)
    for name in ("dims", "shape", "dtype", "values", "units", "modality", "spacing", "origin", "transfer_syntax_uid"):
        assert getattr(again, name) == getattr(volume, name), name
    np.testing.assert_array_equal(again.compute().array, volume.array)
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)
    for name in ("slice_positions", "image_positions"):
        np.testing.assert_array_equal(getattr(again.geometry, name), getattr(volume.geometry, name))
    for name in ("uniform", "tilt_deg", "spacing_source", "deviation_mm", "has_positions"):
        assert getattr(again.geometry, name) == getattr(volume.geometry, name), name
    assert dict(again.coordinate_units) == dict(volume.coordinate_units)
    assert again.coordinates.keys() == volume.coordinates.keys()
    for name, values in volume.coordinates.items():
        np.testing.assert_array_equal(again.coordinates[name], values)
    assert again.policy == volume.policy == volume.plan.policy == fastdicom.GeometryPolicy(gaps="fill")
    assert again.fill_value == volume.fill_value == volume.plan.fill_value
    removed = {"sop_instance_uid", "acquisition_time", "content_time"}
    assert set(again.slices) == set(volume.slices) - removed
    for name, column in again.slices.items():
        assert column.dtype == volume.slices[name].dtype
        np.testing.assert_array_equal(column, volume.slices[name], err_msg=name)
    assert "PatientName" not in again.attrs
    assert again.attrs["PatientPosition"] == volume.attrs["PatientPosition"]


def test_per_slice_columns_are_arrays_beside_the_image(pair: tuple[fastdicom.Volume, Path]) -> None:
    volume, store = pair
    group = zarr.open_group(store, mode="r")
    outer = volume.shape[: volume.geometry_axis + 1]
    for name, array in group["slices"].arrays():
        assert array.shape[: len(outer)] == outer, name
    assert group["slices/valid"].dtype == np.bool_


def test_the_same_selection_of_a_store_and_of_files(pair: tuple[fastdicom.Volume, Path]) -> None:
    volume, store = pair
    np.testing.assert_array_equal(fastdicom.load_volume(store, values=volume.values).array, volume.array)
    with pytest.raises(UsageError, match="values="):
        fastdicom.load_volume(store, values="display")
    with pytest.raises(UsageError, match="dtype="):
        fastdicom.load_volume(store, dtype=np.complex64)


def test_ome_metadata_follow_the_rules_of_ome_zarr_0_5(pair: tuple[fastdicom.Volume, Path]) -> None:
    """https://ngff.openmicroscopy.org/0.5: axes, order of their types, one scale an axis, datasets."""
    volume, store = pair
    group = zarr.open_group(store, mode="r")
    ome = group.attrs.get("ome")
    kinds = [dim for dim in volume.dims if dim not in "tzyx"]
    if len(kinds) > 1 or volume.dims[-1] == "c":
        assert ome is None
        return
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    axes = multiscale["axes"]
    assert tuple(axis["name"] for axis in axes) == volume.dims
    assert len({axis["name"] for axis in axes}) == len(axes)
    order = {"time": 0, "channel": 1, None: 1, "space": 2}
    places = [order[axis.get("type")] for axis in axes]
    assert places == sorted(places)
    assert places.count(0) <= 1
    assert places.count(1) <= 1
    assert 2 <= places.count(2) <= 3
    assert all(axis["unit"] == "millimeter" for axis in axes if axis.get("type") == "space")
    for dataset in multiscale["datasets"]:
        (transform,) = dataset["coordinateTransformations"]
        array = group[dataset["path"]]
        assert transform["type"] == "scale"
        assert len(transform["scale"]) == array.ndim == len(axes)
        assert array.metadata.dimension_names == tuple(axis["name"] for axis in axes)
        assert all(isinstance(s, float) and math.isfinite(s) and s > 0 for s in transform["scale"])
        np.testing.assert_allclose(transform["scale"][-3:], volume.spacing)


def test_ome_metadata_pass_the_models_of_the_ome_community(pair: tuple[fastdicom.Volume, Path]) -> None:
    models = pytest.importorskip("ome_zarr_models.v05")
    _, store = pair
    group = zarr.open_group(store, mode="r")
    if "ome" in group.attrs:
        image = models.Image.from_zarr(group)
        assert image.ome_attributes.multiscales[0].ndim == group["0"].ndim


def test_attributes_are_json_without_nan(pair: tuple[fastdicom.Volume, Path]) -> None:
    _, store = pair

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    for path in store.rglob("zarr.json"):
        json.loads(path.read_text(), parse_constant=None if "slices" in str(path) else refuse)


# Volumes of one's own


def test_to_zarr_writes_the_array_as_it_is(source: Path, tmp_path: Path) -> None:
    volume = fastdicom.load_volume(source)
    volume.array[3] += 7
    report = volume.to_zarr(tmp_path / "a.zarr", **GRID)
    assert report.ok
    again = fastdicom.load_volume(tmp_path / "a.zarr")
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(again.affine, volume.affine)
    with pytest.raises(PlanMismatchError):
        volume.to_zarr(tmp_path / "a.zarr", **GRID)
    volume.to_zarr(tmp_path / "a.zarr", overwrite=True)


def test_to_zarr_of_lazy_and_stored_volumes(source: Path, tmp_path: Path) -> None:
    lazy = fastdicom.open_volume(source)
    doubled = replace(lazy, array=lazy.array.astype(np.float32) * 2)
    doubled.to_zarr(tmp_path / "b.zarr", **GRID)
    stored = fastdicom.open_volume(tmp_path / "b.zarr")
    np.testing.assert_array_equal(stored.compute().array, fastdicom.load_volume(source).array.astype(np.float32) * 2)
    stored.to_zarr(tmp_path / "c.zarr", chunks=(3, 5, 5))
    again = fastdicom.load_volume(tmp_path / "c.zarr")
    np.testing.assert_array_equal(again.array, stored.compute().array)
    assert dict(again.attrs) == dict(stored.attrs)
    assert again.slices.keys() == stored.slices.keys()


@pytest.mark.parametrize("fill", [-1000.0, 0.0, 1.5, math.nan, math.inf, -math.inf])
def test_policy_and_fill_value_go_through_stores(source: Path, tmp_path: Path, fill: float) -> None:
    policy = fastdicom.GeometryPolicy(gaps="keep", tilt="raise", spacing_tolerance=0.25)
    volume = replace(fastdicom.load_volume(source, policy=policy), fill_value=fill)
    for volume_or_copy in (volume, volume.compute(), replace(volume, plan=None), pickle.loads(pickle.dumps(volume))):
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}.zarr"
        volume_or_copy.to_zarr(place)
        record = json.loads((place / "zarr.json").read_text(), parse_constant=pytest.fail)["attributes"]["fastdicom"]
        assert record["policy"] == policy.to_dict()
        assert record["tolerance_mm"] == pytest.approx(0.25 * volume.spacing[0])
        again = fastdicom.open_volume(place, chunks=(3, 5, 5))
        assert again.policy == policy
        np.testing.assert_equal(again.fill_value, fill)
    again.to_zarr(tmp_path / "again.zarr")
    again = fastdicom.load_volume(tmp_path / "again.zarr")
    assert again.policy == policy
    np.testing.assert_equal(again.fill_value, fill)


@pytest.mark.parametrize(("slope", "air"), [(1.0, -1000.0), (None, 0.0)])
def test_a_store_without_policy_and_fill_value_is_read(tmp_path: Path, slope: float | None, air: float) -> None:
    """As an earlier version wrote a volume of its own."""
    write_series(tmp_path / "in", replace(SPEC, slope=slope, intercept=None if slope is None else -1024.0))
    fastdicom.write_zarr(tmp_path / "in", tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr")
    group.attrs.put(
        {"fastdicom": group.attrs["fastdicom"] | {"policy": None, "tolerance_mm": None, "fill_value": None}}
    )
    volume = fastdicom.load_volume(tmp_path / "a.zarr")
    assert volume.policy is None
    assert volume.fill_value == air
    volume.to_zarr(tmp_path / "b.zarr")
    record = zarr.open_group(tmp_path / "b.zarr").attrs["fastdicom"]
    assert (record["policy"], record["fill_value"]) == (None, air)


def test_a_store_with_a_setting_of_a_later_policy_is_read(source: Path, tmp_path: Path) -> None:
    fastdicom.write_zarr(source, tmp_path / "a.zarr")
    group = zarr.open_group(tmp_path / "a.zarr")
    record = group.attrs["fastdicom"]
    group.attrs.put({"fastdicom": record | {"policy": record["policy"] | {"of_tomorrow": "x"}}})
    assert fastdicom.load_volume(tmp_path / "a.zarr").policy == fastdicom.GeometryPolicy()


def test_to_zarr_keeps_what_is_known_of_failures(damaged: Path, tmp_path: Path) -> None:
    volume = fastdicom.load_volume(damaged, errors="report")
    volume.to_zarr(tmp_path / "a.zarr")
    record = zarr.open_group(tmp_path / "a.zarr").attrs["fastdicom"]
    assert [f["index"] for f in record["failures"]] == [[5]]
    assert not fastdicom.load_volume(tmp_path / "a.zarr").slices["valid"][5]


def test_a_store_in_memory(source: Path) -> None:
    store = zarr.storage.MemoryStore()
    assert fastdicom.write_zarr(source, store).ok
    np.testing.assert_array_equal(fastdicom.load_volume(store).array, fastdicom.load_volume(source).array)
