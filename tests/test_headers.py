"""Header tables: the compiled reader and pydicom agree, in order, kinds, values and reasons."""

from __future__ import annotations

import io
import math
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdicom
from fastdicom.headers import (
    BY_NAME,
    COLUMNS,
    INT_MISSING,
    READER_PYDICOM,
    READER_WALK,
    HeaderTable,
    column_from_bytes,
    read_headers,
)
from fastdicom.headers.columns import patient_key
from fastdicom.sources import discover
from fastdicom.testing import SeriesSpec, strategies, write_series
from fastdicom.types import FileRef
from test_scanner import EXPLICIT, data_set, encoded, explicit, private, with_inserted

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def disagreements(compiled: HeaderTable, plain: HeaderTable) -> list[str]:
    """Every difference between what the two readers made of the same files, as a sentence."""
    found = [f"skipped {a} / {b}" for a, b in zip(compiled.skipped, plain.skipped, strict=False) if a != b]
    if len(compiled.skipped) != len(plain.skipped):
        found.append(f"{len(compiled.skipped)} / {len(plain.skipped)} skipped")
    if set(compiled) != set(plain) or list(compiled["path"]) != list(plain["path"]):
        return [*found, "other rows or columns"]
    for name in set(plain) - {"reader"}:
        a, b = compiled[name], plain[name]
        if (a.dtype.kind, a.shape) != (b.dtype.kind, b.shape):
            found.append(f"{name}: {a.dtype} {a.shape} / {b.dtype} {b.shape}")
            continue
        different = ~((a == b) | ((a != a) & (b != b)))
        rows = np.unique(np.argwhere(different)[:, 0]) if different.any() else []
        found += [f"{plain['path'][row]}: {name} {a[row]!r} / {b[row]!r}" for row in rows]
    return found


def read_both(files: list[FileRef]) -> HeaderTable:
    compiled = read_headers(files)
    assert disagreements(compiled, read_headers(files, compiled=False)) == []
    return compiled


def refs(folder: Path | str) -> list[FileRef]:
    return discover(folder)[0]


def ref_of(folder: Path, content: bytes, name: str = "file") -> FileRef:
    (folder / name).write_bytes(content)
    return FileRef(str(folder / name), len(content))


# Agreement


@pytest.mark.realdata
@pytest.mark.slow
def test_the_readers_agree_on_all_real_data(data_root: Path) -> None:
    files = refs(data_root)
    table = read_both(files)
    assert len(files) > 1500
    readers = Counter(table["reader"].tolist())
    assert readers[READER_WALK] > 4 * readers[READER_PYDICOM]
    accounted = {*table["path"].tolist(), *(item.path for item in table.skipped)}
    assert accounted == {ref.locator for ref in files}


def test_the_readers_agree_on_the_files_of_pydicom() -> None:
    table = read_both(refs(PYDICOM_FILES))
    assert (table["reader"] == READER_WALK).sum() > 80


@given(strategies.series_specs(gaps=True, dimensions=True, bits_allocated=(8, 16, 32)))
def test_the_readers_agree_on_generated_series(spec: SeriesSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        read_both(refs(write_series(folder, spec).folder))


@given(
    st.sampled_from([False, True, "enhanced"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 60, 200]),
    st.sampled_from(["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]),
)
def test_the_readers_agree_on_every_kind_of_file(
    multi_frame: bool, undefined: bool, preamble: bool, meta: bool, elements: int | None, syntax: str
) -> None:
    spec = SeriesSpec(
        slices=3, rows=4, columns=6, multi_frame=multi_frame, undefined_length=undefined, preamble=preamble,
        file_meta=meta or "99" in syntax, elements=elements, transfer_syntax_uid=syntax,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        table = read_both(refs(write_series(folder, spec).folder))
    assert len(table) == 3
    if multi_frame != "enhanced" and syntax in ("1.2.840.10008.1.2", EXPLICIT) and meta:
        assert (table["reader"] == READER_WALK).all()


NUMBER_TEXTS = st.one_of(
    st.floats().map(repr),
    st.floats(-1e5, 1e5).map(lambda v: f"{v:.12f}"[:16]),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.text("0123456789+-.eE _naif", max_size=16),
    st.sampled_from(
        ["", " ", "1_0", "+1.", ".5", "1e5", "-0", "3.0", "2147483648", "-2147483648", "1 2", "0x10", "inf"]
    ),
)


@given(st.lists(NUMBER_TEXTS, min_size=1, max_size=4), st.lists(st.lists(NUMBER_TEXTS, max_size=4), max_size=12))
def test_numbers_are_rounded_as_python_rounds_them(first: list[str], more: list[list[str]]) -> None:
    """Any text in a decimal element: the vectorised conversion is Python's float of each."""
    texts = [first, *more]
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, parts in enumerate(texts):
            value = "\\".join(parts).encode()
            content = with_inserted(encoded(data_set()), 0x0028_0010, explicit(0x0020_0032, b"DS", value))
            content = content.replace(b"\x20\0\x13\0IS\2\x007 ", explicit(0x0020_0013, b"IS", value))
            files.append(ref_of(Path(folder), content, f"{number:03d}"))
        table = read_both(files)
    assert (table["reader"] == READER_WALK).all()
    for row, parts in enumerate(texts):
        for k, text in enumerate(parts[:3]):
            try:
                expected = float(text)
            except ValueError:
                expected = math.nan
            value = table["image_position"][row, k]
            assert value == expected or (math.isnan(value) and math.isnan(expected)), text


def test_every_private_block_and_vendor(tmp_path: Path) -> None:
    for block in (0x10, 0x11, 0xE0):
        ref_of(tmp_path, encoded(private(block)), f"{block}")
    ref_of(tmp_path, encoded(private(0x10, "SOMEBODY ELSE")), "other")
    table = read_both(refs(tmp_path))
    assert sorted(table["siemens_mosaic_images"].tolist()) == [INT_MISSING, 36, 36, 36]


def test_a_creator_that_reserves_two_blocks(tmp_path: Path) -> None:
    dataset = private(0x10)
    dataset.add_new((0x0019, 0x0020), "LO", "SIEMENS MR HEADER")
    dataset.add_new((0x0019, 0x200A), "US", 99)
    assert read_both([ref_of(tmp_path, encoded(dataset))])["siemens_mosaic_images"].tolist() == [36]


def test_a_delimiter_whose_length_looks_like_a_vr(tmp_path: Path) -> None:
    items = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + explicit(0x0008_0060, b"CS", b"XX")
    for length in (b"\0\0\0\0", b"UV\0\0", b"US\0\0", b"\1\0\0\0"):
        ended = items + b"\xfe\xff\x0d\xe0" + length + b"\xfe\xff\xdd\xe0" + length
        sequence = explicit(0x0008_1140, b"SQ", ended, 0xFFFF_FFFF)
        read_both([ref_of(tmp_path, with_inserted(encoded(data_set()), 0x0020_0013, sequence))])


@pytest.mark.parametrize("vr", ["US", "SS", "UL", "SL", "UN", "OB", "OW", "IS", "DS", "FD", "LO", "SQ", "AT"])
def test_a_value_in_another_vr_than_the_dictionary_has(vr: str, tmp_path: Path) -> None:
    value = {"FD": struct.pack("<d", 5), "UL": b"\5\0\0\0", "SL": b"\5\0\0\0", "AT": b"\5\0\0\0", "SQ": b""}.get(
        vr, b"5 " if vr in ("IS", "DS", "LO") else b"\5\0"
    )
    for tag, old in ((0x0028_0010, b"\x28\0\x10\0US\2\0\3\0"), (0x0020_0013, b"\x20\0\x13\0IS\2\x007 ")):
        content = encoded(data_set()).replace(old, explicit(tag, vr.encode(), value))
        read_both([ref_of(tmp_path, content)])


# Patients

NAMES = st.text(st.characters(codec="latin-1", exclude_characters="\\\r\n\f\x1b"), max_size=12)


def with_patient(name: bytes, number: bytes, birth: bytes, vr: bytes = b"LO") -> bytes:
    values = (0x0010_0010, b"PN", name), (0x0010_0020, vr, number), (0x0010_0030, b"DA", birth)
    elements = [explicit(tag, vr, value + b" " * (len(value) % 2)) for tag, vr, value in values]
    return with_inserted(encoded(data_set()), 0x0020_0013, b"".join(elements))


@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(["", "19700101", "19800505"])), min_size=1, max_size=9))
def test_both_readers_make_one_key_of_a_patient(patients: list[tuple[str, str, str]]) -> None:
    raw = [tuple(text.encode("latin-1") for text in patient) for patient in patients]
    with tempfile.TemporaryDirectory() as folder:
        table = read_both([ref_of(Path(folder), with_patient(*each), str(k)) for k, each in enumerate(raw)])
    expected = [patient_key(b"", number, name, birth) for name, number, birth in raw]
    assert table["patient_key"].tolist() == expected


@pytest.mark.parametrize("vr", [b"LO", b"SH", b"PN", b"UN", b"OB", b"US", b"UT", b"SQ"])
def test_a_patient_id_in_any_vr_is_read_alike(vr: bytes, tmp_path: Path) -> None:
    read_both([ref_of(tmp_path, with_patient(b"A^B", b"" if vr == b"SQ" else b"0815", b"", vr))])


def test_a_patient_is_one_number_in_every_syntax_and_no_column_says_who(tmp_path: Path) -> None:
    identity = {"PatientName": "Meier^Eva", "PatientID": "4711-0815", "PatientBirthDate": "19991231"}
    syntaxes = ("1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
    for k, syntax in enumerate(syntaxes):
        (tmp_path / str(k)).write_bytes(encoded(data_set(**identity), syntax))
    files = refs(tmp_path)
    table = read_both(files)
    assert set(table["reader"]) == {READER_WALK, READER_PYDICOM}
    assert table["patient_key"].tolist() == [patient_key(b"", b"4711-0815", b"Meier^Eva", b"19991231")] * 4
    assert table["patient_key"][0] != 0
    for name in set(table) - {"path"}:
        values = table[name].tobytes() if table[name].dtype != object else repr(table[name].tolist()).encode()
        assert not any(text.encode() in values for text in identity.values()), name


def test_a_name_of_any_length_costs_no_image(tmp_path: Path) -> None:
    table = read_both([ref_of(tmp_path, with_patient(b"A" * 5000, b"", b""))])
    assert table["patient_key"].tolist() == [patient_key(b"", b"", b"A" * 5000, b"")]


UIDS = st.sampled_from([b"", b"1.2.3", b"1.2.4"])
PARTS = st.sampled_from([b"", b"A", b"B", b"A^B"])


@given(UIDS, st.tuples(PARTS, PARTS, PARTS), st.tuples(PARTS, PARTS, PARTS))
def test_keys_are_equal_exactly_where_the_patients_are(uid: bytes, one: tuple, other: tuple) -> None:
    def who(parts: tuple) -> tuple:
        return parts[:1] if uid and parts[0] else parts

    assert (patient_key(uid, *one) == patient_key(uid, *other)) == (who(one) == who(other))
    assert (patient_key(uid, *one) == 0) == (one == (b"", b"", b""))
    assert patient_key(uid, *one) == patient_key(uid + b"\0", *(part.lower() + b" " for part in one))
    if any(one):
        assert patient_key(b"9.9", *one) != patient_key(uid, *one)  # no key follows a patient from series to series


# The table


def test_rows_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    write_series(tmp_path / "a", SeriesSpec(slices=5))
    write_series(tmp_path / "b", SeriesSpec(slices=3, multi_frame="enhanced"))
    write_series(tmp_path / "c", SeriesSpec(slices=4, multi_frame=True))
    write_series(tmp_path / "d", SeriesSpec(slices=2, transfer_syntax_uid="1.2.840.10008.1.2.2"))
    files = refs(tmp_path)[::-1]
    files.insert(3, ref_of(tmp_path, b"no DICOM"))
    table = read_both(files)
    order = [ref.locator for ref in files if ref.locator in set(table["path"])]
    assert list(dict.fromkeys(table["path"])) == order
    assert [item.kind for item in table.skipped] == ["not-dicom"]
    several = table["frames_in_file"] > 1
    assert table["frame"][several].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert set(table["reader"]) == {READER_WALK, READER_PYDICOM}


def test_no_files() -> None:
    table = read_headers([])
    assert len(table) == 0
    assert {column.name for column in COLUMNS} <= set(table)


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    good = encoded(data_set())
    no_pixels = data_set()
    del no_pixels.PixelData, no_pixels.Rows, no_pixels.BitsAllocated
    no_pixels.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    files = [
        ref_of(tmp_path, good, "good"),
        ref_of(tmp_path, b"", "empty"),
        ref_of(tmp_path, b"some text", "text"),
        ref_of(tmp_path, encoded(no_pixels), "report"),
        ref_of(tmp_path, good[:300], "cut"),
        FileRef(str(tmp_path / "gone"), 5000),
        FileRef(str(tmp_path), 4096),
        FileRef("zero\0byte", 100),
    ]
    table = read_both(files)
    assert table["path"].tolist() == [files[0].locator]
    kinds = {Path(item.path).name: item.kind for item in table.skipped}
    assert kinds["empty"] == kinds["text"] == "not-dicom"
    assert (kinds["report"], kinds["gone"]) == ("no-pixels", "missing")
    assert kinds[tmp_path.name] == kinds["zero\0byte"] == "unreadable"
    assert len(kinds) == 7
    assert all(item.reason for item in table.skipped)


@pytest.mark.parametrize("count", ["1", "0", "-3", "", " 4", "4.0", "x", "2\\3", "999999999", "1e3", "1_0", "٣"])
def test_number_of_frames_that_is_odd(count: str, tmp_path: Path) -> None:
    value = count.encode()
    content = with_inserted(encoded(data_set()), 0x0028_0010, explicit(0x0028_0008, b"IS", value))
    table = read_both([ref_of(tmp_path, content)])
    assert len(table) <= 1024


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90"])
@pytest.mark.parametrize(("held", "claimed"), [(3000, 3000), (3000, 3001), (10, 40_000), (1500, 1024)])
def test_frames_smaller_than_their_row_must_be_there(held: int, claimed: int, syntax: str, tmp_path: Path) -> None:
    """PS3.5 A.4: an offset table, and a fragment or more for each frame."""
    import tracemalloc

    dataset = data_set(NumberOfFrames=claimed)
    fragment = 80 if held > 10 else 300_000
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(fragment)] * held, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    ref = ref_of(tmp_path, encoded(dataset, syntax))
    tracemalloc.start()
    table = read_both([ref])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if claimed <= max(held, 1024):
        assert len(table) == claimed
    else:
        assert len(table) == 0
        assert f"NumberOfFrames is {claimed}" in table.skipped[0].reason
        assert most < 2 * ref.size + (8 << 20)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", EXPLICIT, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
@pytest.mark.parametrize(
    ("rows", "columns", "photometric", "held", "claimed", "is_read"),
    [
        (16, 16, "MONOCHROME2", 1500, 1500, True),
        (8, 8, "MONOCHROME2", 1500, 1500, True),
        (8, 8, "YBR_FULL_422", 1500, 1500, True),
        (2, 1, "MONOCHROME2", 60_000, 60_000, False),
        (8, 8, "MONOCHROME2", 1500, 1501, False),
        (8, 8, "MONOCHROME2", 10, 1000, True),
    ],
)
def test_rows_take_no_multiple_of_a_native_file(
    rows: int, columns: int, photometric: str, held: int, claimed: int, is_read: bool, syntax: str, tmp_path: Path
) -> None:
    import tracemalloc

    dataset = data_set(Rows=rows, Columns=columns, BitsAllocated=8, NumberOfFrames=claimed)
    dataset.PhotometricInterpretation = photometric
    dataset.SamplesPerPixel = 1 if photometric == "MONOCHROME2" else 3
    nbytes = rows * columns * (1 if photometric == "MONOCHROME2" else 2)
    dataset.PixelData = np.random.default_rng(0).integers(0, 256, held * nbytes).astype(np.uint8).tobytes()
    dataset["PixelData"].VR = "OB"
    content = encoded(dataset, syntax)
    ref = ref_of(tmp_path, content)
    tracemalloc.start()
    table = read_both([ref])
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table) == (claimed if is_read else 0)
    if not is_read:
        assert f"NumberOfFrames is {claimed}" in table.skipped[0].reason
        assert most < 4 * ref.size + (8 << 20)


def test_a_deflated_file_that_claims_many_tiny_frames_is_refused(tmp_path: Path) -> None:
    dataset = data_set(Rows=1, Columns=1, BitsAllocated=8, NumberOfFrames=600_000)
    dataset.PixelData = bytes(600_000)
    dataset["PixelData"].VR = "OB"
    table = read_both([ref_of(tmp_path, encoded(dataset, "1.2.840.10008.1.2.1.99"))])
    assert "NumberOfFrames is 600000" in table.skipped[0].reason


def test_many_fragments_of_nothing_are_no_frames(tmp_path: Path) -> None:
    dataset = data_set(NumberOfFrames=100_000)
    dataset.PixelData = pydicom.encaps.encapsulate([b"xy"] * 100_000, has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    table = read_both([ref_of(tmp_path, encoded(dataset, "1.2.840.10008.1.2.5"))])
    assert "NumberOfFrames is 100000" in table.skipped[0].reason


def test_a_video_has_its_frames_in_one_fragment(tmp_path: Path) -> None:
    dataset = data_set(NumberOfFrames=1500)
    dataset.PixelData = pydicom.encaps.encapsulate([bytes(600 * 1500)], has_bot=False)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    assert len(read_both([ref_of(tmp_path, encoded(dataset, "1.2.840.10008.1.2.4.102"))])) == 1500


def test_values_too_long_for_a_column_do_not_widen_it(tmp_path: Path) -> None:
    for n in (900, 1500, 60_000):
        content = with_inserted(encoded(data_set()), 0x0020_0013, explicit(0x0018_1030, b"LO", b"x" * n))
        ref_of(tmp_path, content, f"{n}")
    table = read_both(refs(tmp_path))
    assert len(table) == 2
    assert table["protocol_name"].dtype.itemsize <= 2048
    assert [item.kind for item in table.skipped] == ["damaged"]


def test_a_deflate_bomb_is_not_inflated(tmp_path: Path) -> None:
    import tracemalloc

    dataset = data_set()
    content = encoded(dataset, "1.2.840.10008.1.2.1.99")
    meta = encoded(data_set()).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    start = content.index(b"1.2.840.10008.1.2.1.99") + 22
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = explicit(0x0009_1001, b"OB", b"", 0xF000_0000)
    stream = packer.compress(bomb) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    del meta
    ref = ref_of(tmp_path, content[:start] + stream)
    tracemalloc.start()
    table = read_headers([ref])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.kind for item in table.skipped] == ["damaged"]
    assert peak < 300 << 20


def test_batches_in_many_threads(tmp_path: Path) -> None:
    files = refs(write_series(tmp_path, SeriesSpec(slices=64, elements=100)).folder)
    expected = read_headers(files)
    wrong: list[str] = []

    def read(start: int) -> None:
        for _ in range(20):
            part = read_headers(files[start : start + 16])
            wrong.extend(disagreements(part, expected.take(slice(start, start + 16))))  # type: ignore[arg-type]

    threads = [threading.Thread(target=read, args=(start,)) for start in (0, 16, 32, 48)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_threads_that_share_a_walk(tmp_path: Path, workers: int) -> None:
    """A scan of few files makes one table of the walks of several threads: the same as one thread makes."""
    for number, elements in enumerate((0, 40, 200)):  # values of different lengths
        spec = SeriesSpec(slices=110, rows=4, columns=4, elements=elements, seed=number, series_number=number)
        write_series(tmp_path / str(number), spec)
    (tmp_path / "notes.txt").write_text("no DICOM")
    expected, shared = fastdicom.scan(tmp_path, workers=1), fastdicom.scan(tmp_path, workers=workers)
    assert len(expected.table) == 330
    assert disagreements(shared.table, expected.table) == []
    assert shared.skipped == expected.skipped
    (tmp_path / "notes.txt").unlink()
    expected, shared = fastdicom.scan(tmp_path, workers=1), fastdicom.scan(tmp_path, workers=workers)
    assert not shared.skipped
    assert disagreements(shared.table, expected.table) == []
    assert (shared.table["reader"] == READER_WALK).all()


def test_undecoded_text_and_kinds() -> None:
    assert column_from_bytes(BY_NAME["rows"], [b"\2\1", None, b"\1"]).tolist() == [258, INT_MISSING, INT_MISSING]
    assert column_from_bytes(BY_NAME["modality"], [b"CT", None]).tolist() == [b"CT", b""]
    assert column_from_bytes(BY_NAME["palette_descriptor"], [b"x", None, b""]).tolist() == [True, False, False]


# The first call


WARM = """
import time
begin = time.perf_counter()
from fastdicom.headers import read_headers
from fastdicom.headers.columns import patient_key
from fastdicom.sources import discover
table = read_headers(discover({folder!r})[0])
assert not table["reader"].any()
print(len(table), time.perf_counter() - begin)
"""


def _first_scan(folder: Path, cache: Path) -> tuple[int, float]:
    done = subprocess.run(
        [sys.executable, "-c", WARM.format(folder=str(folder))],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows, seconds = done.stdout.split()
    return int(rows), float(seconds)


@pytest.mark.slow
def test_cold_and_warm_start(tmp_path: Path) -> None:
    write_series(tmp_path / "series", SeriesSpec(slices=20))
    begin = time.perf_counter()
    assert _first_scan(tmp_path / "series", tmp_path / "cache")[0] == 20
    assert time.perf_counter() - begin < 60  # 10 s on a machine that does nothing else
    seconds = min(_first_scan(tmp_path / "series", tmp_path / "cache")[1] for _ in range(3))
    assert seconds < 3  # 0.3 s on a machine that does nothing else


def test_without_compilation(tmp_path: Path) -> None:
    """Debuggers and coverage switch it off; the same Python runs."""
    write_series(tmp_path / "series", SeriesSpec(slices=3))
    done = subprocess.run(
        [sys.executable, "-c", WARM.format(folder=str(tmp_path / "series"))],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split()[:1] == ["3"], done.stderr[-2000:]


@pytest.mark.slow
def test_eight_processes_on_an_empty_cache(tmp_path: Path) -> None:
    """All compile, or wait for the one that does; FASTDICOM_STARTS=20 repeats it as often."""
    write_series(tmp_path / "series", SeriesSpec(slices=20))
    command = [sys.executable, "-c", WARM.format(folder=str(tmp_path / "series"))]
    for k in range(int(os.environ.get("FASTDICOM_STARTS", "1"))):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / f"cache{k}")}
        started = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(8)
        ]
        for process in started:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err[-2000:]
            assert out.split()[0] == "20"


@pytest.mark.parametrize("vr", [b"CS", b"PN", b"DS", b"IS", b"LO"])
def test_a_character_set_that_is_no_code_string(vr: bytes, tmp_path: Path) -> None:
    content = with_inserted(encoded(data_set()), 0x0008_0060, explicit(0x0008_0005, vr, b"ISO_IR 100"))
    table = read_both([ref_of(tmp_path, content)])
    if vr == b"CS":
        assert table["reader"].tolist() == [READER_WALK]


@pytest.mark.parametrize("vr", [b"SQ", b"OB", b"LO"])
def test_empty_per_frame_groups_of_any_representation(vr: bytes, tmp_path: Path) -> None:
    content = with_inserted(encoded(data_set()), 0x7FE0_0010, explicit(0x5200_9230, vr, b""))
    read_both([ref_of(tmp_path, content)])


def test_a_number_of_frames_far_beyond_the_pixel_data_makes_no_rows(tmp_path: Path) -> None:
    """A row takes some 900 bytes: a count that a few bad digits make up must not take the memory of its rows."""
    ds = data_set()
    ds.Rows = ds.Columns = 512
    ds.BitsAllocated, ds.SamplesPerPixel = 16, 1
    ds.NumberOfFrames = 300_000
    content = encoded(ds)
    path = tmp_path / "sparse"
    path.write_bytes(content)
    os.truncate(path, 40 << 20)
    content_size = path.stat().st_size
    table = read_headers([FileRef(str(path), content_size, 0)])
    assert len(table) <= 1024


def test_text_of_sets_that_are_switched_with_escapes(tmp_path: Path) -> None:
    ds = data_set()
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.SeriesDescription = "胸部 CT"
    content = encoded(ds)
    table = read_both([ref_of(tmp_path, content)])
    expected = pydicom.dcmread(io.BytesIO(content), force=True).SeriesDescription
    assert table.text("series_description", 0) == expected == "胸部 CT"


def test_what_was_never_meant_to_have_pixels_is_no_damage(tmp_path: Path) -> None:
    """Worklists name their class in the file meta group only; spectra have Rows and Columns, but no pixels."""
    cut, spectrum, gone = data_set(), data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.4.2"), data_set()
    for dataset in (cut, spectrum, gone):
        del dataset.PixelData
    del gone.Rows, gone.Columns, gone.BitsAllocated
    image, worklist = (uid.ljust(26, b"\0") for uid in (b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.5.1.4.31"))
    contents = {"cut": encoded(cut), "spectrum": encoded(spectrum), "gone": encoded(gone)}
    contents["worklist"] = contents["gone"].replace(image, worklist)
    assert contents["worklist"] != contents["gone"]
    contents["unnamed"] = contents["gone"].replace(image, bytes(26))
    table = read_both([ref_of(tmp_path, content, name) for name, content in contents.items()])
    kinds = {Path(item.path).name: item.kind for item in table.skipped}
    assert kinds == dict.fromkeys(("cut", "gone", "unnamed"), "damaged") | dict.fromkeys(
        ("spectrum", "worklist"), "no-pixels"
    )


def test_a_dicomdir_among_the_files_is_no_damage(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    path = str(get_testdata_file("DICOMDIR"))
    table = read_both([FileRef(path, Path(path).stat().st_size)])
    assert [(item.kind, "DICOMDIR" in item.reason) for item in table.skipped] == [("no-pixels", True)]


@pytest.mark.parametrize("vr", ["SS", "US", "UN", "IS"])
@pytest.mark.parametrize("block", [0x10, 0x11])
def test_both_readers_see_ge_raw_data_types(vr: str, block: int, tmp_path: Path) -> None:
    dataset = data_set()
    dataset.Modality = "MR"
    dataset.add_new((0x0043, block), "LO", "GEMS_PARM_01")
    dataset.add_new((0x0043, block << 8 | 0x2F), vr, {"UN": b"\2\0", "IS": "2"}.get(vr, 2))
    table = read_both([ref_of(tmp_path, encoded(dataset))])
    if vr != "IS":
        assert table["ge_raw_data_type"].tolist() == [2]
        assert table["complex_image_component"].tolist() == [b"REAL"]


@pytest.mark.parametrize("count", [None, "1", "3"])
@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.4"])
@pytest.mark.parametrize("origin", [["1", "2", "3"], ["1", "2"], ["x", "2", "3"], None])
def test_both_readers_place_tomograms_alike(
    count: str | None, sop_class: str, origin: list[str] | None, tmp_path: Path
) -> None:
    dataset = data_set()
    frames = int(count or 1)
    dataset.SOPClassUID, dataset.ImageType = sop_class, ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    dataset.SliceVector, dataset.SliceThickness = list(range(1, frames + 1)), "4"
    detector = pydicom.Dataset()
    detector.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if origin is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector.add(pydicom.DataElement(0x0020_0032, "DS", "\\".join(origin), already_converted=True))
    dataset.DetectorInformationSequence = [detector]
    if count is not None:
        dataset.NumberOfFrames = count
    dataset.PixelData = dataset.PixelData * frames
    table = read_both([ref_of(tmp_path, encoded(dataset))])
    assert len(table) == frames
    if count == "3" and sop_class.endswith("20") and origin == ["1", "2", "3"]:
        assert table["image_position"].tolist() == [[1, 2, 3], [1, 2, 7], [1, 2, 11]]
