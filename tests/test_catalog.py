"""`scan`: every file ends in one place, the volumes are told as they are, entries travel."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastdicom
from fastdicom import GeometryPolicy, headers
from fastdicom.errors import (
    IrregularSpacingError,
    PixelDataError,
    RepeatedPositionError,
    SourceNotFoundError,
    UsageError,
)
from fastdicom.testing import SeriesSpec, corrupt, strategies, write_series

SPEC = SeriesSpec(slices=6, rows=8, columns=7, names="dcm")


def assert_every_file_is_somewhere(catalog: fastdicom.Catalog, folder: Path) -> None:
    files = sorted(str(p) for p in folder.rglob("*") if p.is_file())
    placed = [path for entry in catalog for path in entry.paths]
    listed = [item.path for item in catalog.skipped]
    assert catalog.n_files == len(files)
    assert sorted({*placed, *listed}) == files
    assert not set(placed) & set(listed)
    assert len(listed) == len(set(listed))
    assert sum(catalog.skipped_by_reason.values()) == len(listed)


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Two series, a copy, and everything that gets between DICOM files."""
    write_series(tmp_path / "a", SPEC)
    write_series(tmp_path / "b" / "deep", replace(SPEC, modality="MR", seed=3, series_number=2))
    shutil.copy(tmp_path / "a" / "00002.dcm", tmp_path / "copy of 2")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "readme.txt").write_text("not DICOM")
    (tmp_path / "only-preamble.dcm").write_bytes(bytes(128) + b"DICM")
    shutil.copy(tmp_path / "a" / "00001.dcm", tmp_path / "cut.dcm")
    corrupt.truncate(tmp_path / "cut.dcm", 300)
    report = pydicom.dcmread(tmp_path / "a" / "00001.dcm")
    del report.PixelData
    report.save_as(tmp_path / "ends-early.dcm")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        delattr(report, keyword)
    report.save_as(tmp_path / "report.dcm")
    return tmp_path


def test_counts_add_up_and_reasons_are_given(heap: Path) -> None:
    catalog = fastdicom.scan(heap)
    assert_every_file_is_somewhere(catalog, heap)
    assert [(e.modality, e.shape) for e in sorted(catalog, key=lambda e: e.modality)] == [
        ("CT", (6, 8, 7)),
        ("MR", (6, 8, 7)),
    ]
    # Which of two equal files is "the copy" is a matter of names: the first in order is kept.
    assert {str(Path(item.path).relative_to(heap)): item.kind for item in catalog.skipped} == {
        "copy of 2": "duplicate",
        "cut.dcm": "damaged",
        "empty": "not-dicom",
        "ends-early.dcm": "damaged",
        "only-preamble.dcm": "damaged",
        "readme.txt": "not-dicom",
        "report.dcm": "no-pixels",
    }
    assert all(item.reason for item in catalog.skipped)


@settings(max_examples=20)
@given(
    st.lists(
        strategies.series_specs(slices=(1, 4), gaps=True, syntaxes=["1.2.840.10008.1.2.1"]), min_size=1, max_size=3
    ),
    st.data(),
)
def test_counts_add_up_for_any_heap(tmp_path_factory: pytest.TempPathFactory, specs: list[Any], data: Any) -> None:
    root = tmp_path_factory.mktemp("heap")
    for number, spec in enumerate(specs):
        series = write_series(root / str(number), spec)
        for path in data.draw(st.lists(st.sampled_from(series.files), max_size=2, unique=True)):
            shutil.copy(path, root / f"copy-{number}-{Path(path).name}")
    assert_every_file_is_somewhere(fastdicom.scan(root), root)


def test_a_copy_is_a_duplicate_and_a_twin_is_not(tmp_path: Path) -> None:
    series = write_series(tmp_path, replace(SPEC, duplicates=(2,)))  # a twin: the same place, another UID
    shutil.copy(series.files[0], tmp_path / "zz-copy")
    catalog = fastdicom.scan(tmp_path)
    assert [(Path(s.path).name, s.kind) for s in catalog.skipped] == [("zz-copy", "duplicate")]
    assert Path(series.files[0]).name in catalog.skipped[0].reason
    assert isinstance(catalog[0].error, RepeatedPositionError)
    assert_every_file_is_somewhere(catalog, tmp_path)
    first = fastdicom.scan(tmp_path, policy=GeometryPolicy(duplicates="first"))
    assert first[0].error is None
    assert first[0].shape == (6, 8, 7)
    assert first.skipped_by_reason == {"duplicate": 2}
    assert_every_file_is_somewhere(first, tmp_path)
    split = fastdicom.scan(tmp_path, policy=GeometryPolicy(duplicates="split"))
    assert [entry.error for entry in split] == [None] * len(split)
    assert_every_file_is_somewhere(split, tmp_path)


def test_a_catalog_judged_under_another_policy_counts_as_well(tmp_path: Path) -> None:
    from fastdicom.selection import with_policy

    write_series(tmp_path, replace(SPEC, duplicates=(2,)))
    for before in ("raise", "first", "split"):
        for after in ("raise", "first", "split"):
            catalog = with_policy(
                fastdicom.scan(tmp_path, policy=GeometryPolicy(duplicates=before)), GeometryPolicy(duplicates=after)
            )
            expected = fastdicom.scan(tmp_path, policy=GeometryPolicy(duplicates=after))
            assert catalog.to_json() == expected.to_json()


def test_files_that_share_a_uid_but_not_their_pixels_are_both_kept(tmp_path: Path) -> None:
    series = write_series(tmp_path, SPEC)
    shutil.copy(series.files[0], tmp_path / "other.dcm")
    corrupt.set_bytes(tmp_path / "other.dcm", -2, b"\x01\x00")
    catalog = fastdicom.scan(tmp_path)
    assert catalog.skipped == ()
    assert isinstance(catalog[0].error, RepeatedPositionError)


def test_copies_of_multi_frame_files(tmp_path: Path) -> None:
    series = write_series(tmp_path, replace(SPEC, multi_frame="enhanced"))
    shutil.copy(series.files[0], tmp_path / "zz-copy")
    catalog = fastdicom.scan(tmp_path)
    assert catalog.skipped_by_reason == {"duplicate": 1}
    assert catalog[0].shape == (6, 8, 7)
    assert_every_file_is_somewhere(catalog, tmp_path)


# Sources


def test_a_folder_a_list_and_one_file(tmp_path: Path) -> None:
    series = write_series(tmp_path / "in", SPEC)
    whole = fastdicom.scan(tmp_path / "in")
    assert fastdicom.scan(str(tmp_path / "in")).to_json() == whole.to_json()
    assert fastdicom.scan(series.files).to_json() == whole.to_json()
    assert fastdicom.scan([Path(p) for p in reversed(series.files)]).to_json() == whole.to_json()
    twice = fastdicom.scan([*series.files, *series.files])
    assert (twice.n_files, twice.skipped) == (6, ())
    one = fastdicom.scan(series.files[0])
    assert (one.n_files, one[0].shape) == (1, (1, 8, 7))


def test_an_empty_folder_is_an_empty_catalog(tmp_path: Path) -> None:
    catalog = fastdicom.scan(tmp_path)
    assert (len(catalog), catalog.n_files, catalog.skipped) == (0, 0, ())
    json.loads(catalog.to_json())


@pytest.mark.parametrize("source", ["absent", ["absent"]])
def test_a_source_that_does_not_exist(tmp_path: Path, source: Any) -> None:
    wanted = [str(tmp_path / "absent")] if isinstance(source, list) else tmp_path / "absent"
    with pytest.raises(SourceNotFoundError, match="absent"):
        fastdicom.scan(wanted)


@pytest.mark.parametrize(
    "wrong", [{"scheduler": "gpu"}, {"workers": 0}, {"workers": 1.5}, {"workers": True}, {"source": 5}], ids=str
)
def test_wrong_usage_of_scan(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write_series(tmp_path, SPEC)
    with pytest.raises(UsageError):
        fastdicom.scan(**({"source": tmp_path} | wrong))


# Entries


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


HEAPS = {
    "plain": (SPEC,),
    "no positions": (replace(SPEC, position=False),),
    "one slice": (replace(SPEC, slices=1),),
    "gap": (replace(SPEC, missing=(2,)),),
    "echoes": (replace(SPEC, modality="MR", dimensions={"echo": 2}),),
    "diffusion": (replace(SPEC, modality="MR", dimensions={"b_value": 2}),),
    "colour": (
        replace(SPEC, modality="US", photometric_interpretation="RGB", bits_allocated=8, slope=None, intercept=None),
    ),
    "no rescale, no window": (replace(SPEC, slope=None, intercept=None, window=None, instance_numbers=None),),
    "several": (SPEC, replace(SPEC, seed=1), replace(SPEC, seed=2, modality="MR")),
}


@pytest.mark.filterwarnings("ignore::fastdicom.errors.GeometryWarning")
@pytest.mark.parametrize("specs", HEAPS.values(), ids=HEAPS.keys())
@pytest.mark.parametrize("policy", [GeometryPolicy(), GeometryPolicy(gaps="fill")], ids=["raise", "fill"])
def test_to_json_is_json_and_says_what_entries_say(tmp_path: Path, specs: Any, policy: GeometryPolicy) -> None:
    for number, spec in enumerate(specs):
        write_series(tmp_path / str(number), spec)
    catalog = fastdicom.scan(tmp_path, policy=policy)
    record = strict(catalog.to_json())
    assert record["files"] == catalog.n_files
    assert record["policy"] == policy.to_dict()
    assert len(record["volumes"]) == len(catalog) == len(specs)
    for told, entry in zip(record["volumes"], catalog, strict=True):
        assert tuple(told["shape"]) == entry.shape
        assert tuple(told["dims"]) == entry.dims
        assert sorted(told["files"]) == sorted(entry.paths)
        assert told["file_bytes"] == sum(Path(p).stat().st_size for p in entry.paths)
        assert (told["error"] is None) == (entry.error is None)
        if entry.found.geometry.has_positions:
            np.testing.assert_array_equal(told["geometry"]["affine_lps"], entry.found.geometry.affine)
        if entry.error is None:
            volume = fastdicom.load_volume(entry)
            assert (volume.shape, volume.dims) == (entry.shape, entry.dims)


def test_entries_say_what_the_headers_say(tmp_path: Path) -> None:
    spec = replace(SPEC, series_description="Kopf  nativ", series_number=7)
    write_series(tmp_path, spec)
    ds = pydicom.dcmread(tmp_path / "00001.dcm")
    (entry,) = fastdicom.scan(tmp_path)
    assert entry.modality == ds.Modality
    assert entry.description == ds.SeriesDescription
    assert entry.series_number == ds.SeriesNumber == 7
    assert entry.series_instance_uid == ds.SeriesInstanceUID
    assert entry.study_instance_uid == ds.StudyInstanceUID
    assert entry.frame_of_reference_uid == ds.FrameOfReferenceUID
    assert entry.transfer_syntax_uids == (ds.file_meta.TransferSyntaxUID,)
    np.testing.assert_allclose(entry.spacing, (2.5, *map(float, ds.PixelSpacing)))
    assert entry.unusual == []
    assert entry.paths == sorted(entry.paths)


def test_entries_travel_with_their_own_headers_only(tmp_path: Path) -> None:
    write_series(tmp_path / "a", SPEC)
    write_series(tmp_path / "b", replace(SPEC, slices=400, rows=2, columns=2, seed=2, series_number=9))
    write_series(tmp_path / "c", replace(SPEC, missing=(2,), seed=4, series_number=5))
    catalog = fastdicom.scan(tmp_path, policy=GeometryPolicy(gaps="fill"))
    sizes = {}
    for entry in catalog:
        data = pickle.dumps(entry)
        sizes[entry.shape[0]] = len(data)
        again = pickle.loads(data)
        assert again.to_dict() == entry.to_dict()
        np.testing.assert_array_equal(fastdicom.load_volume(again).array, fastdicom.load_volume(entry).array)
    assert sizes[6] < sizes[400] / 5
    assert pickle.loads(pickle.dumps(catalog[0].error)) is None


def test_errors_of_entries_survive_pickling(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, missing=(2,)))
    (entry,) = fastdicom.scan(tmp_path)
    assert isinstance(entry.error, IrregularSpacingError)
    again = pickle.loads(pickle.dumps(entry))
    assert (type(again.error), str(again.error)) == (type(entry.error), str(entry.error))
    with pytest.raises(IrregularSpacingError):
        fastdicom.load_volume(again)


def test_unusual_tells_what_is_unusual(tmp_path: Path) -> None:
    write_series(tmp_path / "slopes", replace(SPEC, modality="PT", slope=tuple(1.0 + k for k in range(6))))
    write_series(tmp_path / "tilt", replace(SPEC, tilt_deg=12.0, series_number=2))
    write_series(tmp_path / "gap", replace(SPEC, missing=(1,), series_number=3))
    write_series(tmp_path / "blind", replace(SPEC, position=False, series_number=4))
    told = {Path(entry.paths[0]).parent.name: " | ".join(entry.unusual) for entry in fastdicom.scan(tmp_path)}
    assert "slice to slice" in told["slopes"]
    assert "12.00 degrees" in told["tilt"]
    assert "IrregularSpacingError" in told["gap"]
    assert "InstanceNumber" in told["blind"]


def test_damaged_pixels_are_an_error_of_the_entry_that_names_the_file(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    corrupt.truncate(tmp_path / "00004.dcm", -30)
    (entry,) = fastdicom.scan(tmp_path)
    assert isinstance(entry.error, PixelDataError)
    assert "00004.dcm" in str(entry.error)
    assert "report" in str(entry.error)
    assert strict(fastdicom.scan(tmp_path).to_json())["volumes"][0]["error"]["kind"] == "PixelDataError"


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_a_header_without_a_size_is_told_without_strange_numbers(keyword: str, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, replace(SPEC, slices=1)).paths
    dataset = pydicom.dcmread(path)
    delattr(dataset, keyword)
    dataset.save_as(path)
    (entry,) = catalog = fastdicom.scan(tmp_path)
    assert 0 in entry.shape
    said = [repr(catalog), str(entry.error)]
    for errors in ("raise", "report"):
        with pytest.raises(PixelDataError) as caught:
            fastdicom.load_volume(tmp_path, errors=errors)
        said.append(str(caught.value))
    assert not any("-2147483648" in text for text in said)
    assert f"Rows x Columns is {'absent x 7' if keyword == 'Rows' else '8 x absent'}" in said[1]


def test_progress_is_told_to_a_callable(tmp_path: Path) -> None:
    write_series(tmp_path, SPEC)
    calls: list[tuple[int, int]] = []
    fastdicom.scan(tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (6, 6)
    frames: list[tuple[int, int]] = []
    fastdicom.load_volume(
        fastdicom.scan(tmp_path)[0], progress=lambda done, total: frames.append((done, total)), workers=2
    )
    assert frames[-1] == (6, 6)
    assert sorted(frames) == sorted(set(frames))


@pytest.mark.parametrize("multi_frame", [False, "enhanced"])
def test_progress_counts_files_whose_headers_have_been_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, multi_frame: Any
) -> None:
    """Not those that pydicom must still read."""
    for number in range(130):
        write_series(tmp_path / str(number), replace(SPEC, slices=1, rows=2, columns=2, multi_frame=multi_frame))
    read = Counter[str]()
    really = headers._read_one

    def read_one(ref: Any) -> Any:
        read["pydicom"] += 1
        return really(ref)

    monkeypatch.setattr(headers, "_read_one", read_one)
    calls: list[tuple[int, int, int]] = []
    fastdicom.scan(tmp_path, workers=2, progress=lambda done, total: calls.append((done, total, read["pydicom"])))
    assert calls[-1][:2] == (130, 130)
    assert read["pydicom"] == (130 if multi_frame else 0)
    assert all(by_pydicom >= done for done, _, by_pydicom in calls) or not multi_frame
    assert len(calls) == (2 if multi_frame else 1), "what pydicom reads is shared by the threads"


def test_a_cache_gives_the_same_catalog_without_opening_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "scans", SeriesSpec(slices=5, rows=8, columns=9))
    (tmp_path / "scans" / "notes.txt").write_text("not DICOM")
    for path in (tmp_path / "scans").iterdir():
        os.utime(path, (946_684_800, 946_684_800))  # files of the last seconds would be read again, to be safe
    plain = fastdicom.scan(tmp_path / "scans").to_json()
    assert fastdicom.scan(tmp_path / "scans", cache=tmp_path / "headers.npz").to_json() == plain

    def refuse(files: Any) -> None:
        raise AssertionError(f"read again: {files}")

    monkeypatch.setattr("fastdicom.scanning.read_headers", refuse)
    assert fastdicom.scan(tmp_path / "scans", cache=tmp_path / "headers.npz").to_json() == plain
    with pytest.raises(AssertionError, match="read again"):
        fastdicom.scan(tmp_path / "scans", cache=tmp_path / "another.npz")


def test_what_a_prompt_shows_is_short(tmp_path: Path) -> None:
    for number in range(23):
        spec = SeriesSpec(slices=4, rows=6, columns=5, series_number=number, missing=(2,) if number == 1 else ())
        write_series(tmp_path / str(number), spec)
    (tmp_path / "notes.txt").write_text("no DICOM")
    catalog = fastdicom.scan(tmp_path)
    head, *lines = repr(catalog).splitlines()
    assert head == "<fastdicom.Catalog of 92 files: 23 volumes, skipped: 1 not-dicom>"
    assert len(lines) == 21
    assert lines[-1].strip() == "... and 3 more"
    by_number = {entry.series_number: repr(entry) for entry in catalog}
    assert "series 0 'fastdicom phantom' (z: 4, y: 6, x: 5), 2.5 x 0.7 x 0.8 mm>" in by_number[0]
    assert "IrregularSpacingError>" in by_number[1]
    columns = len(catalog.table.columns)
    assert repr(catalog.table) == f"<fastdicom.HeaderTable of 91 rows x {columns} columns, 1 skipped>"
    plan = fastdicom.open_volume(catalog[0]).plan
    assert repr(plan) == "<fastdicom.VolumePlan (z: 4, y: 6, x: 5) int16 modality, 4 files by native>"


def test_a_store_among_the_files_is_named(tmp_path: Path) -> None:
    write_series(tmp_path / "dicom", SeriesSpec(slices=2))
    fastdicom.write_zarr(tmp_path / "dicom", tmp_path / "out.zarr")
    skipped = fastdicom.scan(tmp_path).skipped
    assert any("Zarr store" in item.reason for item in skipped if item.path.endswith("zarr.json"))
