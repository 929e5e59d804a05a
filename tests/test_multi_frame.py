"""Small frames of one compressed file, made several at once: the same slices as one at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, get_frame

import fastdicom
from fastdicom import blocks
from fastdicom.blocks import BlockStats, Failure, read_block
from fastdicom.errors import DecodeError, ValuesError
from fastdicom.testing import SeriesSpec, strategies, write_series

SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}
SPEC = SeriesSpec(slices=12, rows=20, columns=24, modality="MR", multi_frame="enhanced")


class Calls:
    """How many slices `decode_streams` was asked for, and in how many calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        really = blocks.decode_streams

        def decode(decoder: str, streams: Any, *args: Any, **options: Any) -> bool | None:
            self.sizes.append(len(streams))
            return really(decoder, streams, *args, **options)

        monkeypatch.setattr(blocks, "decode_streams", decode)


def one_by_one(plan: Any) -> np.ndarray:
    """Each slice in a block of its own."""
    return np.stack([read_block(plan, (k,)) for k in range(plan.shape[0])])


@pytest.mark.parametrize("name", SYNTAXES)
def test_frames_together_are_pydicoms(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_series(tmp_path, replace(SPEC, transfer_syntax_uid=SYNTAXES[name], bits_stored=12))
    calls = Calls(monkeypatch)
    volume = fastdicom.load_volume(tmp_path, values="stored")
    assert calls.sizes, "they are made together"
    assert max(calls.sizes) > 1
    pixels = pydicom.dcmread(written.paths[0]).pixel_array
    np.testing.assert_array_equal(volume.array, pixels[volume.plan.slices["frame"]])


@settings(max_examples=40)
@given(
    spec=strategies.series_specs(slices=(2, 9), syntaxes=list(SYNTAXES.values())),
    values=st.sampled_from(["stored", "modality"]),
)
def test_frames_together_are_those_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, spec: SeriesSpec, values: str
) -> None:
    """Signs, rubbish above Bits Stored, slopes that differ, colours, any order of the frames."""
    folder = tmp_path_factory.mktemp("multi")
    write_series(folder, replace(spec, multi_frame="enhanced", modality="MR"))
    for entry in fastdicom.scan(folder):
        if entry.error is None and len(entry.shape) == 3:
            volume = fastdicom.load_volume(entry, values=values)
            np.testing.assert_array_equal(volume.array, one_by_one(volume.plan))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("values", ["stored", "modality"])
def test_what_is_above_bits_stored_does_not_show(signed: bool, values: str, tmp_path: Path) -> None:
    """RLE keeps it; and the decoder of several frames leaves it for the rescale kernel to clear."""
    spec = replace(SPEC, transfer_syntax_uid=SYNTAXES["RLE"], bits_stored=12, signed=signed, unused_bits="noise")
    written = write_series(tmp_path, replace(spec, slope=1.0, intercept=0.0))
    volume = fastdicom.load_volume(tmp_path, values=values)
    pixels = pydicom.dcmread(written.paths[0]).pixel_array
    np.testing.assert_array_equal(volume.array, pixels[volume.plan.slices["frame"]])


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(None, None, 2), slice(3, 9)])
def test_any_slices_of_a_file(order: slice, tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, transfer_syntax_uid=SYNTAXES["RLE"]))
    plan = fastdicom.load_volume(tmp_path).plan
    backwards = replace(plan, slices=plan.slices[::-1].copy())
    if order.step == -1:
        np.testing.assert_array_equal(read_block(backwards), read_block(plan)[::-1])
    else:
        np.testing.assert_array_equal(read_block(plan, (order,)), one_by_one(plan)[order])


@pytest.mark.parametrize("name", SYNTAXES)
def test_a_damaged_frame_spoils_no_other(name: str, tmp_path: Path) -> None:
    written = write_series(tmp_path, replace(SPEC, transfer_syntax_uid=SYNTAXES[name]))
    expected = fastdicom.load_volume(tmp_path)
    dataset = pydicom.dcmread(written.paths[0])
    frames = [get_frame(dataset.PixelData, k, number_of_frames=12) for k in range(12)]
    frames[4] = frames[4][:60] + b"\0" * (len(frames[4]) % 2)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(written.paths[0])
    (bad,) = np.flatnonzero(expected.plan.slices["frame"] == 4).tolist()
    with pytest.raises(DecodeError, match="Frame 4 of"):
        fastdicom.load_volume(tmp_path)
    volume = fastdicom.load_volume(tmp_path, errors="report")
    assert [(failure.index, failure.frame) for failure in volume.failures] == [((bad,), 4)]
    good = np.arange(12) != bad
    np.testing.assert_array_equal(volume.array[good], expected.array[good])
    assert (volume.array[bad] == volume.plan.fill_value).all()


def test_values_that_do_not_fit_are_reported_for_their_frame(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, transfer_syntax_uid=SYNTAXES["RLE"], slope=1.0, intercept=0.0))
    plan = fastdicom.load_volume(tmp_path).plan
    slices = plan.slices.copy()
    slices["slope"][5] = 1e6
    plan = replace(plan, slices=slices)
    with pytest.raises(ValuesError, match=rf"frame {slices['frame'][5]} in .* do not fit"):
        read_block(plan)
    failures: list[Failure] = []
    block = read_block(plan, failures=failures)
    assert [failure.index for failure in failures] == [(5,)]
    np.testing.assert_array_equal(block[6], read_block(plan, (6,)))


def test_large_frames_and_those_of_little_memory_go_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large one goes straight to its place; many workers share the memory between."""
    calls = Calls(monkeypatch)
    spec = replace(SPEC, transfer_syntax_uid=SYNTAXES["RLE"])
    write_series(tmp_path / "small", spec)
    write_series(tmp_path / "large", replace(spec, slices=3, rows=300, columns=300))
    plan = fastdicom.load_volume(tmp_path / "large").plan
    read_block(plan)
    assert calls.sizes == []
    plan = fastdicom.load_volume(tmp_path / "small").plan
    calls.sizes.clear()
    plan.derived["workers"] = (24 << 20) // (20 * 24 * 2 * 4)  # memory for 4 frames each
    read_block(plan)
    assert calls.sizes == [4, 4, 4]


def test_what_was_done_is_counted(tmp_path: Path) -> None:
    write_series(tmp_path, replace(SPEC, transfer_syntax_uid=SYNTAXES["RLE"]))
    plan = fastdicom.load_volume(tmp_path).plan
    together, single = BlockStats(), BlockStats()
    read_block(plan, stats=together)
    for k in range(12):
        read_block(plan, (k,), stats=single)
    assert (together.frames, together.bytes_read) == (single.frames, single.bytes_read) == (12, single.bytes_read)
    assert together.files_opened == 1
    assert together.by_decoder["fastdicom.rle"][0] == 12
