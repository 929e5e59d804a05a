"""The files of a plan: a sequence of records, kept as columns."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdicom
from fastdicom import runs
from fastdicom.blocks import read_block
from fastdicom.frames import can_read_local_ranges
from fastdicom.headers import HeaderTable
from fastdicom.planned_files import FILE_DTYPE, PlannedFile, PlannedFiles
from fastdicom.planner import _files, _formats
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.types import PixelLocation

NUMBERS = st.integers(-(2**63), 2**63 - 1)
LOCATIONS = st.builds(
    PixelLocation, NUMBERS, NUMBERS, NUMBERS, st.tuples(NUMBERS, NUMBERS), st.tuples(NUMBERS, NUMBERS)
)
# Names as a Linux file system has them: any bytes but zero and the slash, decoded as Python does.
NAMES = st.binary(max_size=12).map(lambda raw: os.fsdecode(b"/" + raw.replace(b"\0", b"_")))
URLS = st.sampled_from(["s3://bucket/a.dcm", "zip://a.dcm::/data/study.zip", "object://1"])
RECORDS = st.builds(PlannedFile, NAMES | URLS | st.just("/a\0b"), NUMBERS, NUMBERS, LOCATIONS, st.just("1.2.3"))


def columns_of(records: list[PlannedFile]) -> PlannedFiles:
    facts = np.array([(each.size, each.mtime_ns, *each.location) for each in records], FILE_DTYPE)
    uids = np.array([each.instance_uid.encode() for each in records])
    return PlannedFiles([each.locator for each in records], facts, uids)


@given(st.lists(RECORDS, min_size=1, max_size=6))
def test_a_sequence_of_records(records: list[PlannedFile]) -> None:
    files = columns_of(records)
    again = pickle.loads(pickle.dumps(files))
    for each in (files, again):
        assert list(each) == [each[k] for k in range(len(each))] == records
        assert list(each[1:]) == records[1:]
        assert each[-1] == records[-1]
    assert len(files) == len(records)
    assert repr(files) == f"<fastdicom.PlannedFiles: {len(records)}>"


@given(st.lists(RECORDS, min_size=1, max_size=6))
def test_names_for_the_c_library(records: list[PlannedFile]) -> None:
    names, starts = columns_of(records).names
    assert len(starts) == len(records)
    for record, start in zip(records, starts.tolist(), strict=True):
        if "://" in record.locator or "\0" in record.locator:
            assert start == -1
        else:
            assert bytes(names[start:]).split(b"\0")[0] == os.fsencode(record.locator)


class TestFilesOfATable:
    def table(self, folder: Path) -> HeaderTable:
        """Rows of two multi-frame files and two others, in no order."""
        for name, frames in (("a", 3), ("b", 4)):
            write_series(folder / name, SeriesSpec(slices=frames, multi_frame="enhanced"))
        write_series(folder / "c", SeriesSpec(slices=2))
        table = fastdicom.scan(folder).table
        assert len(table) == 9
        return table.take(np.random.default_rng(1).permutation(9))

    def test_each_file_once_with_its_facts(self, tmp_path: Path) -> None:
        table = self.table(tmp_path)
        files, numbers = _files(table)
        assert len(files) == 4
        for row, number in enumerate(numbers.tolist()):
            file = files[number]
            assert file.locator == table["path"][row]
            assert (file.size, file.mtime_ns) == (table["file_size"][row], table["mtime_ns"][row])
            assert file.location.offset == table["pixel_offset"][row]
            assert file.location.length == table["pixel_length"][row]
            assert file.location.number_of_frames == table["frames_in_file"][row]
            assert file.instance_uid.encode() == table["sop_instance_uid"][row]

    @pytest.mark.parametrize("name", ["transfer_syntax_uid", "frame_columns", "bits_stored", "planar_configuration"])
    def test_each_format_once(self, tmp_path: Path, name: str) -> None:
        table = self.table(tmp_path)
        formats, numbers = _formats(table)
        assert len(formats) == 1
        assert not numbers.any()
        column = table[name].copy()
        column[[2, 5]] = b"1.2" if column.dtype.kind == "S" else 7
        formats, numbers = _formats(HeaderTable({**table.columns, name: column}))
        assert len(formats) == 2
        assert numbers.tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 0]


class TestWhatIsDerived:
    def test_stays_behind_where_the_plan_travels(self, tmp_path: Path) -> None:
        write_series(tmp_path, SeriesSpec(slices=4))
        plan = fastdicom.open_volume(tmp_path).plan
        small = len(pickle.dumps(plan))
        expected = read_block(plan)
        assert bool(plan.derived) == can_read_local_ranges()
        assert len(pickle.dumps(plan)) == small
        again = pickle.loads(pickle.dumps(plan))
        assert again == plan
        assert again.derived == {}
        np.testing.assert_array_equal(read_block(again), expected)

    def test_is_worked_out_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_series(tmp_path, SeriesSpec(slices=4))
        plan = fastdicom.open_volume(tmp_path).plan
        runs.prepare_runs(plan, 2)
        found = plan.derived["runs"]
        monkeypatch.setattr(runs, "_ranges_of", None)
        runs.prepare_runs(plan, 2)
        assert plan.derived["runs"] is found
        read_block(plan, (slice(2, 4),))


@pytest.mark.parametrize(("field", "value"), [("file", -1), ("modality_lut", 0), ("mapping", 0), ("format", 1)])
def test_a_slice_that_is_not_like_its_neighbours_is_not_made_like_them(tmp_path: Path, field: str, value: int) -> None:
    write_series(tmp_path, SeriesSpec(slices=5, slope=1.0, intercept=0.0))
    plan = fastdicom.open_volume(tmp_path).plan
    assert (runs._Slices.of(plan).kinds >= 0).all()
    slices = plan.slices.copy()
    slices[field][2] = value
    changed = replace(plan, slices=slices, formats=(plan.formats[0], replace(plan.formats[0], rows=3)))
    assert (runs._Slices.of(changed).kinds >= 0).tolist() == [True, True, False, True, True]


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, list[Any]]:
    """Bytes of a frame, and of each file: name, frame, frames, bytes of the pixel data and the file, encapsulated."""
    nbytes = draw(st.sampled_from([0, 1, 16, 50, runs.LARGE_FRAME_NBYTES, runs.LARGE_FRAME_NBYTES + 1, 2**54]))
    found = []
    for number in range(draw(st.integers(1, 8))):
        frames = draw(st.sampled_from([1, 2, 2, 3, 0, -1, 2**31 - 1, 2**62]))
        frame = draw(st.sampled_from([0, 0, frames - 1, frames, -1]))
        most = min(nbytes * max(frames, 1), 2**62)
        length = draw(st.sampled_from([most, most + 1, most + 2, most - 1, -1]))
        size = draw(st.just(-1) | st.sampled_from([36, 37, 20 + nbytes, 21 + nbytes]))
        name = draw(st.sampled_from(["/{}"] * 6 + ["s3://{}", "/{}\0"])).format(number)
        found.append((name, frame, frames, length, size, draw(st.booleans())))
    return nbytes, found


@settings(max_examples=500, deadline=None)
@given(cases())
def test_what_is_read_for_each_slice_is_its_frame(cases: tuple[int, list[Any]]) -> None:
    """Against the rule as Python's integers have it, which do not overflow."""
    nbytes, found = cases
    records = [
        PlannedFile(name, size, 7, PixelLocation(20, length, frames)) for name, _, frames, length, size, _ in found
    ]
    slices = np.zeros(len(found), [("file", np.int32), ("frame", np.int64)])
    slices["file"], slices["frame"] = np.arange(len(found)), [frame for _, frame, *_ in found]
    ways = [runs._Way(0, encapsulated=each[-1], nbytes=nbytes) for each in found]
    plan: Any = SimpleNamespace(files=columns_of(records))
    ranges, are_found = runs._ranges_of(plan, slices, ways, np.arange(len(found)))
    for k, (name, frame, frames, length, size, encapsulated) in enumerate(found):
        rest, count = size - 20, max(1, frames)
        if encapsulated:
            is_one = frame == 0 and frames == 1 and length < 0 and 16 < rest <= nbytes
            offset, wanted = 20, rest
        else:
            is_one = nbytes > 0 and 0 <= length - nbytes * count <= 1 and 0 <= frame < count
            is_one = is_one and (count == 1 or nbytes <= runs.LARGE_FRAME_NBYTES)
            offset, wanted = 20 + frame * nbytes, nbytes
        is_one = is_one and not name.startswith("s3") and "\0" not in name
        assert are_found[k] == is_one
        if is_one:
            assert ranges[k, 1:].tolist() == [size, 7, offset, wanted]
