"""Slices made several at once are those made one at a time; what is unusual is left to the way that explains it."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels import apply_rescale

import fastdicom
from fastdicom import _posix, runs
from fastdicom.blocks import BlockStats, Failure, read_block
from fastdicom.codecs import together
from fastdicom.errors import DecodeError, FastDicomError, FileChangedError, SourceNotFoundError, ValuesError
from fastdicom.frames import can_read_local_ranges, read_local_ranges
from fastdicom.frames.local import NBYTES
from fastdicom.prepare import z_blocks
from fastdicom.testing import SeriesSpec, strategies, write_series
from fastdicom.types import PixelFormat

pytestmark = pytest.mark.skipif(not can_read_local_ranges(), reason="no statx: slices are made one at a time here")

RLE, J2K, BIG = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.2"


def both_ways(plan: Any, monkeypatch: pytest.MonkeyPatch, index: Any = ()) -> tuple[Any, Any, BlockStats, BlockStats]:
    """A block made with runs and without; the counts of both."""
    counts = BlockStats(), BlockStats()
    together = read_block(plan, index, stats=counts[0])
    with monkeypatch.context() as patched:
        patched.setattr(runs, "can_read_local_ranges", lambda: False)
        single = read_block(plan, index, stats=counts[1])
    return together, single, *counts


class Tries:
    """Counts the slices that runs made, and those that they tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = self.tried = 0
        really = runs._Runs.produce

        def produce(this: Any, first: int, stop: int) -> bool:
            done = really(this, first, stop)
            self.tried += stop - first
            self.made += (stop - first) * done
            return done

        monkeypatch.setattr(runs._Runs, "produce", produce)


COLOUR = SeriesSpec(slices=4, modality="US", bits_allocated=8, photometric_interpretation="RGB")
SPECS = {
    "native": SeriesSpec(slices=5, bits_stored=12, unused_bits="noise"),
    "signed": SeriesSpec(slices=5, signed=True, unused_bits="noise"),
    "stored as they are": SeriesSpec(slices=5, slope=1.0, intercept=0.0, bits_stored=16),
    "8 bits of 5 x 3": SeriesSpec(slices=5, rows=5, columns=3, bits_allocated=8, slope=None, intercept=None),
    "32 bits": SeriesSpec(slices=4, bits_allocated=32, slope=None, intercept=None),
    "64 bits": SeriesSpec(slices=4, bits_allocated=64, slope=None, intercept=None),
    "32 bits, noise": SeriesSpec(slices=4, bits_allocated=32, bits_stored=20, unused_bits="noise", intercept=7.0),
    "8 bits, signed": SeriesSpec(slices=4, bits_allocated=8, bits_stored=6, unused_bits="noise", signed=True),
    "whole slopes": SeriesSpec(slices=4, modality="PT", slope=(1.0, 3.0, 3.0, -2.0), intercept=(0.0, 5.0, 5.0, -9.0)),
    "intercepts": SeriesSpec(slices=4, slope=1.0, intercept=(0.0, 10.0, 20.0, 20.5)),
    "alternating": SeriesSpec(slices=6, modality="PT", slope=(2.0, 0.5) * 3, intercept=(1.0, 1.0, 2.0) * 2),
    "slopes": SeriesSpec(slices=4, modality="PT", slope=(0.5, 0.5, 2.0, 1.25), intercept=0.0),
    "float": SeriesSpec(slices=4, bits_allocated=32, pixel_keyword="FloatPixelData", slope=None, intercept=None),
    "colour": replace(COLOUR, intercept=None),
    "RLE": SeriesSpec(slices=5, transfer_syntax_uid=RLE, unused_bits="noise"),
    "RLE, signed": SeriesSpec(slices=5, transfer_syntax_uid=RLE, signed=True, slope=None, intercept=None),
    "RLE, colour": replace(COLOUR, transfer_syntax_uid=RLE),
    "JPEG 2000": SeriesSpec(slices=5, transfer_syntax_uid=J2K),
    "JPEG 2000 in fragments": SeriesSpec(slices=5, transfer_syntax_uid=J2K, fragments_per_frame=3),
    "JPEG 2000, empty table": SeriesSpec(slices=5, transfer_syntax_uid=J2K, offset_table="empty"),
    "HTJ2K": SeriesSpec(slices=5, transfer_syntax_uid="1.2.840.10008.1.2.4.201"),
    "HTJ2K, signed": SeriesSpec(slices=5, transfer_syntax_uid="1.2.840.10008.1.2.4.203", signed=True),
    "JPEG-LS, signed": SeriesSpec(slices=5, transfer_syntax_uid="1.2.840.10008.1.2.4.80", signed=True),
    "JPEG-LS, colour": replace(COLOUR, transfer_syntax_uid="1.2.840.10008.1.2.4.80"),
    "JPEG, colour": replace(
        COLOUR, photometric_interpretation="YBR_FULL_422", transfer_syntax_uid="1.2.840.10008.1.2.4.50"
    ),
    "JPEG XL": SeriesSpec(slices=4, transfer_syntax_uid="1.2.840.10008.1.2.4.110"),
    "frames of one file": SeriesSpec(slices=6, multi_frame="enhanced"),
}


@pytest.mark.parametrize("values", ["stored", "modality"])
@pytest.mark.parametrize("piece", [1, 10_000, 1 << 20])
@pytest.mark.parametrize("name", list(SPECS))
def test_together_equals_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, piece: int, values: str
) -> None:
    write_series(tmp_path, SPECS[name])
    plan = fastdicom.open_volume(tmp_path, values=values).plan
    monkeypatch.setattr(runs, "PIECE_NBYTES", piece)
    monkeypatch.setattr(runs, "LONG_PIECE_NBYTES", piece)
    monkeypatch.setattr(runs, "STREAMS_NBYTES", piece)
    tries = Tries(monkeypatch)
    for index in ((), (slice(1, None),), (slice(None, None, -1),), (slice(None, None, 2),)):
        together, single, counted, expected = both_ways(plan, monkeypatch, index)
        np.testing.assert_array_equal(together, single)
        assert counted.frames == expected.frames
        if not SPECS[name].multi_frame or piece == 1 << 20:  # such a file is opened for each piece
            assert counted.files_opened == expected.files_opened
        assert {k: n for k, (n, _) in counted.by_decoder.items()} == {k: n for k, (n, _) in expected.by_decoder.items()}
    assert tries.made == tries.tried > 0, "this series is made together, or the test compares nothing"


@settings(max_examples=40, deadline=None)
@given(spec=strategies.series_specs(slices=(2, 5), bits_allocated=(8, 16, 32), lossy=True), data=st.data())
def test_together_equals_one_by_one_for_any_series(spec: SeriesSpec, data: st.DataObject) -> None:
    values = data.draw(st.sampled_from(["stored", "modality"]))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        write_series(folder, spec)
        for entry in fastdicom.scan(folder):
            if entry.error is not None:
                continue
            try:
                plan = fastdicom.open_volume(entry, values=values).plan
            except FastDicomError:
                continue
            together, single, *_ = both_ways(plan, patch)
            np.testing.assert_array_equal(together, single)


@pytest.mark.parametrize("name", ["native", "signed", "8 bits, signed", "32 bits, noise", "whole slopes", "RLE"])
@pytest.mark.parametrize("dtype", [">i2", ">i4", ">f4", "<i4"])
def test_voxels_in_any_byte_order_are_pydicoms(tmp_path: Path, name: str, dtype: str) -> None:
    series = write_series(tmp_path, SPECS[name])
    datasets = [pydicom.dcmread(path) for path in series.paths if path is not None]
    expected = np.stack([apply_rescale(dataset.pixel_array, dataset) for dataset in datasets])
    try:
        volume = fastdicom.load_volume(tmp_path, dtype=dtype)
    except ValuesError:
        assert expected.max() > np.iinfo(np.dtype(dtype).type).max
        return
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array, expected)
    lazy = fastdicom.open_volume(tmp_path, dtype=dtype).array
    np.testing.assert_array_equal(lazy[1].compute(), expected[1])


def test_unusual_memory_to_fill(tmp_path: Path) -> None:
    write_series(tmp_path, SPECS["native"])
    plan = fastdicom.open_volume(tmp_path).plan
    out = np.empty(plan.shape, plan.dtype)
    odd = np.empty(out.nbytes + 1, np.uint8)[1:].view(plan.dtype).reshape(plan.shape)
    assert not odd.flags.aligned
    assert read_block(plan, out=odd) is odd
    np.testing.assert_array_equal(odd, read_block(plan))
    out.flags.writeable = False
    with pytest.raises(ValuesError, match="writeable is False"):
        read_block(plan, out=out)


def test_absent_slices_and_what_must_go_another_way_lie_between_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path, SeriesSpec(slices=7, missing=(3,)))
    policy = fastdicom.GeometryPolicy(gaps="fill")
    plan = fastdicom.open_volume(tmp_path, policy=policy).plan
    tries = Tries(monkeypatch)
    together, single, *_ = both_ways(plan, monkeypatch)
    np.testing.assert_array_equal(together, single)
    assert tries.made == 6


@pytest.mark.parametrize(
    "spec", [SeriesSpec(slices=3, transfer_syntax_uid=BIG), SeriesSpec(slices=3, bits_allocated=1)]
)
def test_what_is_not_in_the_file_as_in_memory_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: SeriesSpec
) -> None:
    write_series(tmp_path, spec)
    tries = Tries(monkeypatch)
    fastdicom.load_volume(tmp_path, values="stored")
    assert tries.tried == 0


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLE, J2K])
class TestDamage:
    """One file of a run is not what it was: its error is that of a slice read alone, and the others are loaded."""

    def plan(self, folder: Path, syntax: str) -> tuple[Any, Path]:
        write_series(folder, SeriesSpec(slices=5, transfer_syntax_uid=syntax))
        plan = fastdicom.open_volume(folder).plan
        return plan, Path(plan.files[plan.slices["file"][2]].locator)

    def check(self, plan: Any, expected: np.ndarray, path: Path, error: type[FastDicomError]) -> None:
        with pytest.raises(error) as raised:
            read_block(plan)
        assert str(path) in str(raised.value)
        failures: list[Failure] = []
        found = read_block(plan, failures=failures)
        assert [(f.index, f.path, f.kind) for f in failures] == [((2,), str(path), type(raised.value).__name__)]
        kept = np.arange(5) != 2
        np.testing.assert_array_equal(found[kept], expected[kept])
        assert (found[2] == plan.fill_value).all()

    def test_written_again_with_the_same_size(self, tmp_path: Path, syntax: str) -> None:
        plan, path = self.plan(tmp_path, syntax)
        expected = read_block(plan)
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
        self.check(plan, expected, path, FileChangedError)

    def test_cut_short(self, tmp_path: Path, syntax: str) -> None:
        plan, path = self.plan(tmp_path, syntax)
        expected = read_block(plan)
        times = path.stat()
        os.truncate(path, path.stat().st_size - 100)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        self.check(plan, expected, path, FileChangedError)

    def test_gone(self, tmp_path: Path, syntax: str) -> None:
        plan, path = self.plan(tmp_path, syntax)
        expected = read_block(plan)
        path.unlink()
        self.check(plan, expected, path, SourceNotFoundError)

    def test_a_pipe_in_its_place(self, tmp_path: Path, syntax: str) -> None:
        plan, path = self.plan(tmp_path, syntax)
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(FastDicomError):
            read_block(plan)


@pytest.mark.parametrize("syntax", [RLE, J2K])
def test_a_damaged_code_stream_among_good_ones(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, SeriesSpec(slices=5, transfer_syntax_uid=syntax))
    expected = fastdicom.load_volume(tmp_path).array
    plan = fastdicom.open_volume(tmp_path).plan
    path = Path(plan.files[plan.slices["file"][2]].locator)
    content = bytearray(path.read_bytes())
    start = plan.files[plan.slices["file"][2]].location.offset
    where = content.index(b"\xfe\xff\x00\xe0", start + 8) + 8  # the first fragment, after the offset table
    content[where : where + 16] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(DecodeError, match="Frame 0 of"):
        fastdicom.load_volume(tmp_path)
    found = fastdicom.load_volume(tmp_path, errors="report")
    assert [failure.path for failure in found.failures] == [str(path)]
    kept = np.arange(5) != 2
    np.testing.assert_array_equal(found.array[kept], expected[kept])


def test_values_that_do_not_fit_name_their_file(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(slices=4, slope=(1.0, 1.0, 300.0, 1.0), intercept=0.0, signed=False))
    plan = fastdicom.open_volume(tmp_path, dtype=np.int16).plan
    path = plan.files[plan.slices["file"][2]].locator
    with pytest.raises(ValuesError) as raised:
        fastdicom.load_volume(tmp_path, dtype=np.int16)
    assert path in str(raised.value)
    assert "slope 300.0" in str(raised.value)


class LocalRange(NamedTuple):
    path: str
    size: int
    mtime_ns: int
    offset: int
    nbytes: int


def read_ranges(ranges: list[LocalRange], out: np.ndarray, numbers: np.ndarray | None = None) -> bool:
    names = [os.fsencode(path) + b"\0" for path in dict.fromkeys(each.path for each in ranges)]
    starts = np.cumsum([0, *map(len, names)]).tolist()
    places = dict(zip((os.fsdecode(name[:-1]) for name in names), starts[:-1], strict=True))
    rows = np.array([(places[path], *facts) for path, *facts in ranges], np.int64).reshape(-1, 5)
    return read_local_ranges(np.frombuffer(b"".join(names), np.uint8), rows, out, numbers)


class TestLocalRanges:
    def ranges(self, folder: Path, *sizes: int) -> list[LocalRange]:
        found = []
        for number, size in enumerate(sizes):
            path = folder / f"ü {number}"
            path.write_bytes(bytes(range(number, number + size)))
            stat = path.stat()
            found.append(LocalRange(str(path), stat.st_size, stat.st_mtime_ns, 1, size - 1))
        return found

    def test_bytes_one_after_the_other(self, tmp_path: Path) -> None:
        ranges = self.ranges(tmp_path, 5, 1, 9)
        again = [*ranges, ranges[0]._replace(offset=3, nbytes=2), ranges[0]._replace(offset=0, nbytes=1, mtime_ns=0)]
        out = np.zeros(15, np.uint8)
        assert read_ranges(again, out)
        assert out.tolist() == [1, 2, 3, 4, *range(3, 11), 3, 4, 0]

    @pytest.mark.parametrize("change", [{"size": 6}, {"mtime_ns": 5}, {"path": "/nowhere/at all"}, {"offset": 2}])
    def test_what_is_not_as_it_was(self, tmp_path: Path, change: dict[str, Any]) -> None:
        ranges = self.ranges(tmp_path, 5, 5, 5)
        out = np.zeros(12, np.uint8)
        assert read_ranges(ranges, out)
        ranges[1] = ranges[1]._replace(**change)
        before = sorted(os.listdir("/proc/self/fd"))
        for _ in range(20):
            assert not read_ranges(ranges, out)
        assert sorted(os.listdir("/proc/self/fd")) == before, "descriptors are closed"

    def test_an_unknown_size_and_time_are_not_compared(self, tmp_path: Path) -> None:
        ranges = [self.ranges(tmp_path, 5)[0]._replace(size=-1, mtime_ns=0)]
        assert read_ranges(ranges, np.zeros(4, np.uint8))

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
    def test_each_range_with_numbers_of_its_own(self, tmp_path: Path, dtype: Any) -> None:
        dtype = np.dtype(dtype)
        ranges = self.ranges(tmp_path, 1 + 3 * dtype.itemsize, 1, 1 + 2 * dtype.itemsize)
        out = np.zeros(5, dtype)
        numbers = np.array([[0x3F, 0x20, 3, 250], [1, 0, 0, 9], [0x0F, 0, 2, 1]], dtype)  # mask, sign, slope, intercept
        assert read_ranges(ranges, out, numbers)
        plain = np.zeros(5, dtype)
        assert read_ranges(ranges, plain)
        modulus = 1 << 8 * dtype.itemsize
        expected = [(((int(v) & 0x3F) ^ 0x20) - 0x20) * 3 + 250 for v in plain[:3]]
        expected += [(int(v) & 0x0F) * 2 + 1 for v in plain[3:]]
        assert out.tolist() == [value % modulus for value in expected]

    def test_numbers_that_are_not_for_the_ranges_are_refused(self, tmp_path: Path) -> None:
        ranges = self.ranges(tmp_path, 5, 5)
        for numbers, count in ((np.zeros((1, 4), np.uint16), 4), (np.zeros((2, 3), np.uint16), 4)):
            with pytest.raises(ValueError, match="numbers of shape"):
                read_ranges(ranges, np.zeros(count, np.uint16), numbers)
        odd = self.ranges(tmp_path, 4, 6)
        with pytest.raises(ValueError, match="numbers of shape"):
            read_ranges(odd, np.zeros(4, np.uint16), np.zeros((2, 4), np.uint16))

    def test_a_folder(self, tmp_path: Path) -> None:
        assert not read_ranges([LocalRange(str(tmp_path), -1, 0, 0, 4)], np.zeros(4, np.uint8))

    @pytest.mark.parametrize(("nbytes", "room"), [(4, 3), (4, 5), (-1, 4)])
    def test_memory_of_another_size_is_refused(self, tmp_path: Path, nbytes: int, room: int) -> None:
        ranges = [self.ranges(tmp_path, 5)[0]._replace(nbytes=nbytes)]
        with pytest.raises(ValueError, match="do not fill"):
            read_ranges(ranges, np.zeros(room, np.uint8))
        with pytest.raises(ValueError, match="do not fill"):
            read_ranges([], np.zeros(room, np.uint8))

    @pytest.mark.parametrize(("names", "start"), [(b"x\0", 2), (b"x\0", -1), (b"x", 0)])
    def test_names_without_that_of_a_range_are_refused(self, names: bytes, start: int) -> None:
        with pytest.raises(ValueError, match="bytes of names do not hold"):
            read_local_ranges(np.frombuffer(names, np.uint8), np.array([[start, -1, 0, 0, 4]]), np.zeros(4, np.uint8))


def test_library_functions_are_for_compiled_code() -> None:
    with pytest.raises(NotImplementedError, match="Only compiled code"):
        _posix.pread(0, 0, 0, 0)


@given(
    st.lists(st.sampled_from([20, 60_000, 150_000, 1_000_000, 1 << 20, 8_000_000]), min_size=1, max_size=80),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
    st.sampled_from([(1, 1), (12, 2), (2, 12), (36, 3), (3, 1000)]),
)
def test_pieces_keep_to_the_memory_that_a_worker_may_have(
    lengths: list[int], encapsulated: bool, same_size: bool, first: int, cores_and_workers: tuple[int, int]
) -> None:
    """Code streams of 6 MiB, and 72 for all workers; pixels of 2, and 24, where they do not go where the values go."""
    cores, workers = cores_and_workers
    fmt, dtype = PixelFormat(J2K, 512, 512), np.dtype(np.int16 if same_size else np.float32)
    plan: Any = SimpleNamespace(dtype=dtype, formats=(fmt,), derived={"workers": workers})
    counts = np.array([-(2**62), -1, 2**62, 2**62, 2**62][:first] + lengths)
    ranges = np.zeros((len(counts), 5), np.int64)
    ranges[:, NBYTES] = counts
    kinds = np.where(np.arange(len(counts)) < first, -1, 0)  # the first ones are not made together
    ways = [runs.NOT_HERE, runs._Way(0, encapsulated=encapsulated)]
    slices = runs._Slices(ways, kinds + 1, kinds, ranges)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runs, "available_cores", lambda: cores)
        pieces = list(runs._Runs(plan, slices, np.empty(0), BlockStats(), runs._Memory()).pieces())
    assert [place for piece in pieces for place in range(*piece)] == list(range(first, len(counts)))
    many = max(cores, workers)
    most_streams = min(6 << 20, (72 << 20) // many) if encapsulated else 2**62
    most = max(1, 32 if encapsulated and same_size else min(2 << 20, (24 << 20) // many) >> 19)
    for start, stop in pieces:
        nbytes = counts[start:stop].sum()
        assert stop - start == 1 or (nbytes <= most_streams and stop - start <= most)
        if stop < len(counts):
            assert stop - start == most or nbytes + counts[stop] > most_streams, "a piece is as long as it may be"


def test_workers_share_the_memory_for_pieces(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(slices=5, rows=300, columns=300, transfer_syntax_uid=RLE))
    for scheduler, workers, expected in ((None, 5, 5), ("threads", 3, 3), ("synchronous", 3, 1), (None, 99, 5)):
        plan = fastdicom.load_volume(tmp_path, scheduler=scheduler, workers=workers).plan
        assert plan is not None
        assert plan.derived["workers"] == expected  # no more than there are blocks


def test_memory_is_kept_for_the_next_block_unless_it_is_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, SPECS["JPEG 2000"])
    plan = fastdicom.open_volume(tmp_path).plan
    runs._spare.__dict__.clear()
    read_block(plan)
    kept = runs._spare.memory
    assert 0 < kept.nbytes <= runs.KEPT_NBYTES
    arrays = dict(kept.arrays)
    read_block(plan)
    assert runs._spare.memory is kept
    assert all(kept.arrays[name] is array for name, array in arrays.items())
    monkeypatch.setattr(runs, "KEPT_NBYTES", 100)
    read_block(plan)
    assert not hasattr(runs._spare, "memory")


def test_a_block_within_a_block_has_memory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler or a finalizer may read a block while the thread makes another."""
    plans = []
    for name in ("JPEG 2000", "HTJ2K"):
        write_series(tmp_path / name, SPECS[name])
        plans.append(fastdicom.open_volume(tmp_path / name).plan)
    expected = [read_block(plan) for plan in plans]  # and there is memory to share
    really, inner = together.decode_frames, []

    def decode_frames(name: str, streams: Any, *rest: Any, **options: Any) -> bool:
        if not inner:
            inner.append(None)
            inner[0] = read_block(plans[1])
        return really(name, streams, *rest, **options)

    monkeypatch.setattr(together, "decode_frames", decode_frames)
    tries = Tries(monkeypatch)
    np.testing.assert_array_equal(read_block(plans[0]), expected[0])
    np.testing.assert_array_equal(inner[0], expected[1])
    assert tries.made == tries.tried == len(expected[0]) + len(expected[1])


def test_levels_are_made_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, SeriesSpec(slices=5, rows=64, columns=64, transfer_syntax_uid="1.2.840.10008.1.2.4.201"))
    plan = fastdicom.open_volume(tmp_path, level=1).plan
    tries = Tries(monkeypatch)
    together, single, *_ = both_ways(plan, monkeypatch)
    np.testing.assert_array_equal(together, single)
    assert tries.made == tries.tried == 5


class Shape:
    def __init__(self, outer_shape: tuple[int, ...], frame_nbytes: int) -> None:
        self.outer_shape = outer_shape
        self.frame_shape = (1, frame_nbytes)
        self.dtype = np.dtype(np.uint8)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.integers(1, 70), st.sampled_from([1, 3, 8]))
def test_blocks_cover_each_slice_once_and_end_small(outer: list[int], workers: int, least: int) -> None:
    counts = np.zeros(outer, int)
    frame = 2**17 // least
    plan: Any = Shape(tuple(outer), frame)
    blocks = z_blocks(plan, workers)
    sizes = []
    for index in blocks:
        counts[index] += 1
        sizes.append(counts[index].size)
    assert (counts == 1).all()
    assert sizes[-1] <= 2**17 // (2**17 // least) + 1
    left = int(np.prod(outer))
    least = -(-(2**17) // (2**17 // least))
    assert max(sizes) <= max(least, -(-left // (4 * workers)))
    assert max(sizes) <= max(least, -(-left // (8 * workers))) or max(sizes) * frame <= 1 << 24
    assert least > 1 or sizes[-1] == 1 or workers == 1
    for size in sizes:
        share = max(least, -(-2 * left // (3 * workers)))
        assert size <= share, "no worker has more than two thirds of its share of the rest before it"
        left -= size
