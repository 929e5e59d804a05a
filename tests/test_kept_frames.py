"""What is kept of files from block to block: made once, of the last few files, and anew after an error."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastdicom
from fastdicom import blocks, kept_frames
from fastdicom.blocks import read_block
from fastdicom.testing import SeriesSpec, write_series

RLE = "1.2.840.10008.1.2.5"


def a_file(name: str) -> Any:
    return SimpleNamespace(locator=name, size=10, mtime_ns=1, location=SimpleNamespace(offset=0))


def test_who_wants_the_same_meanwhile_waits_and_others_do_not() -> None:
    kept = kept_frames._LastFiles[str](2)
    begun, go_on = threading.Event(), threading.Event()
    made: list[str] = []

    def make() -> str:
        begun.set()
        assert go_on.wait(30)
        made.append("slow")
        return "slow"

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(kept.of, a_file("slow"), make)
        assert begun.wait(30)
        second = pool.submit(kept.of, a_file("slow"), make)
        assert pool.submit(kept.of, a_file("quick"), lambda: "quick").result(30) == "quick"
        go_on.set()
        assert (first.result(30), second.result(30), made) == ("slow", "slow", ["slow"])


def test_the_last_files_are_kept_and_an_error_is_not() -> None:
    kept = kept_frames._LastFiles[str](2)

    def fail() -> str:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        kept.of(a_file("a"), fail)
    assert kept.of(a_file("a"), lambda: "sound") == "sound"
    kept.of(a_file("b"), lambda: "b")
    assert kept.of(a_file("a"), fail) == "sound", "used again, so that b goes first"
    kept.of(a_file("c"), lambda: "c")
    assert kept.of(a_file("a"), fail) == "sound"
    with pytest.raises(ValueError, match="damaged"):
        kept.of(a_file("b"), fail)


def test_the_items_of_a_file_are_walked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, SeriesSpec(slices=6, modality="MR", multi_frame="enhanced", transfer_syntax_uid=RLE))
    calls, index_frames = [], kept_frames.index_frames
    monkeypatch.setattr(
        kept_frames, "index_frames", lambda *args, **named: calls.append(1) or index_frames(*args, **named)
    )
    plan = fastdicom.open_volume(tmp_path).plan
    slices = [read_block(plan, (k,)) for k in range(6)]
    assert len(calls) == 1
    np.testing.assert_array_equal(np.stack(slices), fastdicom.load_volume(tmp_path).array)


def test_code_streams_beyond_a_pieces_memory_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams that are much longer than their images must not all be there at once."""
    write_series(tmp_path, SeriesSpec(slices=6, modality="MR", multi_frame="enhanced", transfer_syntax_uid=RLE))
    plan = fastdicom.open_volume(tmp_path).plan
    expected = read_block(plan)
    monkeypatch.setattr(blocks, "streams_nbytes", lambda plan: 1000)
    monkeypatch.setattr(blocks, "decode_streams", lambda *args, **named: pytest.fail("they are decoded together"))
    np.testing.assert_array_equal(read_block(plan), expected)
