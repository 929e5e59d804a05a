"""Our decoder of HTJ2K against OpenJPH and OpenJPEG, for any image and for any damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fastdicom
from codec_samples import by_pydicom, damaged, format_of, smooth
from fastdicom import codecs
from fastdicom.codecs import decode_frame, decode_together, htj2k
from fastdicom.codecs.dropped import raising_dropped
from fastdicom.codecs.htj2k import tables
from fastdicom.codecs.htj2k.frames import _fits, decode_frames
from fastdicom.codecs.htj2k.packets import (
    BAND_AT,
    BAND_FACTS,
    BAND_HEIGHT,
    BAND_WIDTH,
    COLUMNS,
    FACTS,
    LEVELS,
    ROWS,
    lay_out_bands,
)
from fastdicom.codecs.htj2k.wavelet import LINES, join_bands
from fastdicom.codecs.together import TOGETHER
from fastdicom.errors import DecodeError
from fastdicom.testing import SeriesSpec, write_series
from guard_pages import guarded
from htj2k_streams import DAMAGED, IMAGE, OTHERS, OURS

UID = "1.2.840.10008.1.2.4.201"
SIZ, CAP, COD, QCD, SOT, EOC = b"\xff\x51", b"\xff\x50", b"\xff\x52", b"\xff\x5c", b"\xff\x90", b"\xff\xd9"


def encoded(image: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.htj2k_encode(image, reversible=True, **options))


def with_precision(image: NDArray[Any], bits: int, **options: Any) -> bytes:
    """A stream that declares its bits: the encoder knows whole words only, and subtracts half of their range."""
    signed = image.dtype.kind == "i"
    shifted = image.astype(np.int64) - (0 if signed else 1 << (bits - 1))
    stream = bytearray(encoded(shifted.astype(f"i{image.itemsize}"), **options))
    stream[stream.index(SIZ) + 40] = (bits - 1) | (0x80 if signed else 0)
    return bytes(stream)


def ours(data: bytes, like: NDArray[Any], bits: int) -> NDArray[Any] | None:
    """What the compiled decoder makes of a stream; None where it leaves it to others."""
    out = np.empty((1, *like.shape), like.dtype)
    spans = np.array([[0, len(data)]])
    done = htj2k._decode_all(np.frombuffer(data, np.uint8), spans, bits, like.dtype.kind == "i", out)
    return out[0] if done else None


def by_openjph(data: bytes) -> NDArray[Any]:
    return raising_dropped("imagecodecs._htj2k", lambda: imagecodecs.htj2k_decode(data, planar=False))


@st.composite
def images(draw: st.DrawFn) -> tuple[NDArray[Any], int]:
    """(image, bits): smooth, noisy, flat, of few values far apart, and mostly empty; with and without a sign, in words
    that fit or are wider."""
    bits = draw(st.integers(1, 16))
    rows, columns = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    top = (1 << bits) - 1
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kind = draw(st.sampled_from(["noise", "quiet", "smooth", "flat", "extreme", "sparse", "skewed"]))
    if kind == "noise":
        image = rng.integers(0, top + 1, (rows, columns))
    elif kind == "quiet":
        image = draw(st.integers(0, top)) + rng.integers(0, 1 << draw(st.integers(0, bits)), (rows, columns))
    elif kind == "smooth":
        image = np.cumsum(rng.integers(-3, 4, (rows, columns)), axis=1) + top // 2
    elif kind == "flat":
        image = np.full((rows, columns), draw(st.integers(0, top)))
    elif kind == "extreme":
        image = rng.choice([0, top, (top + 1) // 2, 1], (rows, columns))
    elif kind == "sparse":
        image = np.where(rng.random((rows, columns)) < 0.01, rng.integers(0, top + 1, (rows, columns)), 0)
    else:  # each step half as frequent as the one before: samples of every length beside one another
        image = 1 << np.minimum(rng.geometric(0.5, (rows, columns)), bits)
    signed = draw(st.booleans())
    values = np.clip(image, 0, top) - (1 << (bits - 1) if signed else 0)
    itemsize = 2 if bits > 8 or draw(st.booleans()) else 1
    return values.astype(f"{'i' if signed else 'u'}{itemsize}"), bits


# ------------------------------------------------------------------------------------------------------ equal pixels


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=3 * settings().max_examples)
@given(images(), st.integers(2, 8), st.booleans(), st.booleans())
def test_any_image_is_what_others_make_of_it(
    drawn: tuple[NDArray[Any], int], resolutions: int, declared: bool, tlm: bool
) -> None:
    image, bits = drawn
    options = {"resolutions": resolutions, "tlm": tlm}
    data = with_precision(image, bits, **options) if declared else encoded(image, **options)
    assert np.array_equal(by_openjph(data), image)
    found = ours(data, image, bits)
    if bits <= 10:  # in words of any width
        assert found is not None, "this is for our decoder"
    if found is not None:
        assert np.array_equal(found, image)
        assert np.array_equal(found, imagecodecs.jpeg2k_decode(data))


@pytest.mark.parametrize("dtype", ["u2", "i2"])
@pytest.mark.parametrize("declared", [12, 16])
def test_whole_words_of_a_scanner_are_for_it(dtype: str, declared: int) -> None:
    """12 bits in words of 16: unsigned ones have 32768 subtracted, which only the lowest band shows."""
    image = smooth((300, 200), 12, signed=dtype == "i2").astype(dtype)
    data = with_precision(image, declared)
    found = ours(data, image, declared)
    assert found is not None
    assert np.array_equal(found, image)


def test_16_bits_of_little_contrast_are_for_it_wherever_they_are() -> None:
    for base in (0, 100, 30_000, 62_000):
        image = (smooth((130, 90), 11) + base).astype(np.uint16)
        found = ours(encoded(image), image, 16)
        assert found is not None, base
        assert np.array_equal(found, image)


def test_what_16_bits_do_not_hold_is_not_for_it() -> None:
    rng = np.random.default_rng(1)
    for image in (
        rng.choice(np.array([0, 65535], np.uint16), (64, 64)),  # samples of more bits
        np.repeat(np.array([[0], [65535]], np.uint16), 64, axis=0).repeat(64, axis=1),  # a step as high as the words
    ):
        assert ours(encoded(image), image, 16) is None
        assert np.array_equal(decode_frame("fastdicom.htj2k", encoded(image), format_of(201, image, 16)), image)


def discs() -> Iterator[NDArray[Any]]:
    """Bright on nothing: in unsigned words of 16 bits the lowest band goes below -32768."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:64, :64]
    yield np.where(np.hypot(y - 32, x - 32) < 20, 1000, 0).astype(np.uint16)
    for _ in range(40):
        row, column, radius = [*rng.integers(0, 64, 2).tolist(), int(rng.integers(2, 30))]
        shape = (int(rng.integers(1, 65)), int(rng.integers(1, 65)))
        disc = np.hypot(y - row, x - column) < radius
        yield np.where(disc, rng.integers(500, 4096), 0).astype(np.uint16)[: shape[0], : shape[1]]


def test_amounts_of_any_size() -> None:
    for image in discs():
        found = ours(encoded(image), image, 16)
        assert found is not None
        assert np.array_equal(found, image)


def test_the_table_of_amounts_holds_all_that_its_codes_say() -> None:
    table = tables.amount_table()
    assert len(table) == 256 * tables.MODES
    escapes = 0
    for place, entry in enumerate(table.tolist()):
        mode, bits = divmod(place, 256)
        used, first, second = map(int, tables.amounts_of.python(np.uint64(bits), mode, False, False))
        if entry & 15 == tables.ESCAPE:
            assert used > 8
            escapes += 1
        else:
            assert (entry & 15, entry >> 4 & 63, entry >> 10) == (used, first, second)
    assert escapes == 32 + 16 + 8 + 4  # two amounts, of which the first, or only the second, has five bits more


def test_many_small_images() -> None:
    """Their streams of events and codes share a byte more often than not."""
    rng = np.random.default_rng(11)
    for _ in range(2500):
        shape = tuple(rng.integers(1, 22, 2).tolist())
        high = 1 << int(rng.integers(0, 11))
        image = (rng.integers(0, high, shape) * (rng.random(shape) < rng.choice([0.05, 0.3, 1]))).astype(np.uint16)
        data = encoded(image, resolutions=int(rng.integers(2, 5)))
        found = ours(data, image, 16)
        assert found is not None
        assert np.array_equal(found, image)


def test_a_sample_of_too_many_bits_is_for_others() -> None:
    """Four of 15 bits, and a byte begun, are more than the 64 that are loaded at once."""
    image = np.zeros((64, 64), np.uint16)
    image[33, 33] = 8300  # where row and column are odd, a coefficient is as large
    assert ours(encoded(image), image, 16) is None
    image[33, 33] = 8100
    assert np.array_equal(_or_nothing(ours(encoded(image), image, 16)), image)


def joined(low: NDArray[Any], hl: NDArray[Any], lh: NDArray[Any], hh: NDArray[Any]) -> NDArray[np.int64]:
    """2D_SR of ISO 15444-1 annex F, in numbers that hold everything."""

    def along(axis: int, low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
        low, high = (np.moveaxis(part.astype(np.int64), axis, 0) for part in (low, high))
        out = np.empty((len(low) + len(high), *low.shape[1:]), np.int64)
        beyond = np.concatenate([high[:1], high, high[-1:]])
        out[::2] = low - ((beyond[: len(low)] + beyond[1 : len(low) + 1] + 2) >> 2)
        even = np.concatenate([out[::2], out[::2][-1:]])
        out[1::2] = high + ((even[: len(high)] + even[1 : len(high) + 1]) >> 1)
        return np.moveaxis(out, 0, axis)

    return along(0, along(1, low, hl), along(1, lh, hh))


def test_what_16_bits_hold_is_known_beforehand() -> None:
    """Bands of the largest numbers for which the bound is kept, with the signs that add up."""
    rng = np.random.default_rng(5)
    largest = 0
    for _ in range(60):
        limits = rng.integers(0, 32_000, 4) * rng.choice([0, 1, 1], 4)
        height, width = rng.integers(2, 9, 2).tolist()
        facts, bands = np.zeros(FACTS, np.int64), np.zeros((4, BAND_FACTS), np.int64)
        facts[[ROWS, COLUMNS, LEVELS]] = height, width, 1
        lay_out_bands.python(facts, bands)

        sizes = (bands[:, BAND_WIDTH] * bands[:, BAND_HEIGHT]).tolist()

        def fits(limits: NDArray[Any], sizes: list[int] = sizes, bands: NDArray[np.int64] = bands) -> bool:
            filled = np.repeat(limits, sizes)
            return bool(_fits.python(filled[: sizes[0]], 0, filled, bands, 0))

        while not fits(limits):
            limits = limits * 99 // 100
        assert fits(-limits)
        y, x = np.mgrid[:height, :width]
        for pattern in (rng.choice([-1, 1], (height, width)), 1 - 2 * ((x ^ y) & 1), 1 - 2 * (x & 1), 1 - 2 * (y & 1)):
            parts = [
                (sign * limit * pattern[a::2, b::2]).astype(np.int16)
                for limit, sign, (a, b) in zip(
                    limits, rng.choice([-1, 1], 4), [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True
                )
            ]
            flat = np.concatenate([part.reshape(-1) for part in parts])
            starts = tuple(bands[1:, BAND_AT].tolist())
            memory = np.zeros((LINES, width), np.int16), np.zeros(width + 1, np.int16)
            out = np.zeros(height * width, np.int16)
            low = parts[0].reshape(-1)
            seen = join_bands.python(low, 0, flat, starts, height, width, *memory, out, 0, 0, 40_000)
            expected = joined(*parts)
            assert np.array_equal(out.reshape(height, width), expected)
            assert seen == np.bitwise_or.reduce(expected.ravel() + 40_000)
            largest = max(largest, int(np.abs(expected).max()))
    assert largest > 32_000  # and no less would do


def test_large_frames_of_bytes_are_for_others() -> None:
    """Those of 16 bits are not: what is needed for them is less than two frames."""
    image = smooth((1025, 1024), 8)
    assert ours(encoded(image), image, 8) is None
    assert np.array_equal(_or_nothing(ours(encoded(image[:1024]), image[:1024], 8)), image[:1024])
    wide = image.astype(np.uint16)
    taken: list[int] = []

    def counted(shape: Any, dtype: Any) -> NDArray[Any]:
        taken.append(np.empty(shape, dtype).nbytes)
        return np.empty(shape, dtype)

    with patch.object(htj2k, "_take", counted):
        assert np.array_equal(_or_nothing(ours(encoded(wide), wide, 16)), wide)
    assert wide.nbytes < sum(taken) < 2 * wide.nbytes


@pytest.mark.parametrize("name", OURS)
def test_streams_with_other_blocks_and_orders(name: str) -> None:
    assert np.array_equal(by_openjph(OURS[name]), IMAGE)
    found = ours(OURS[name], IMAGE, 8)
    assert found is not None
    assert np.array_equal(found, IMAGE)


@pytest.mark.parametrize("name", OTHERS)
def test_streams_for_others(name: str) -> None:
    assert ours(OTHERS[name], IMAGE, 8) is None
    assert np.array_equal(decode_frame("fastdicom.htj2k", OTHERS[name], format_of(201, IMAGE, 8)), IMAGE)


def test_other_streams_are_for_others() -> None:
    image = smooth((40, 50), 8)
    colour = smooth((40, 50, 3), 8)
    assert ours(bytes(imagecodecs.htj2k_encode(image, 0.01, reversible=False)), image, 8) is None
    assert ours(encoded(colour, rgb=True), image, 8) is None
    assert ours(encoded(image, tile=(16, 16)), image, 8) is None
    assert ours(bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True, level=0)), image, 8) is None
    assert ours(encoded(image.astype(np.int8)), image, 8) is None  # a sign where the file has none
    for fmt, data in (
        (format_of(203, colour, 8), encoded(colour, rgb=True)),
        (format_of(203, image, 8), bytes(imagecodecs.htj2k_encode(image, 0.01, reversible=False))),
    ):
        expected = decode_frame("imagecodecs.htj2k", data, fmt)
        assert np.array_equal(decode_frame("fastdicom.htj2k", data, fmt), expected)


def test_every_code_of_the_tables_is_right() -> None:
    """A code that stands for something else is missed by some image: so these images show that each is right."""
    rng = np.random.default_rng(3)
    corpus = []
    for shape in ((128, 128), (8, 1024)):  # of few rows many are the first of a block
        for part in (0.02, 0.1, 0.3, 0.6, 1.0):
            for high in (1, 2, 5, 8):
                steps = 1 << np.minimum(rng.geometric(0.5, shape), high)
                image = np.where(rng.random(shape) < part, steps + rng.integers(0, high, shape), 0).astype(np.uint16)
                corpus.append((with_precision(image, 10, resolutions=2), image))
    assert all(np.array_equal(_or_nothing(ours(data, image, 10)), image) for data, image in corpus)
    right = tables.quad_tables()
    missed = []
    for table, rows in enumerate((tables._FIRST_ROW, tables._OTHER_ROWS)):
        for context, codes in enumerate(rows):
            at = 1024 * table + 128 * context
            part_of_table = right[at : at + 128]
            entries = np.unique(part_of_table)
            assert len(entries) == len(codes) // 4, "two codes stand for the same"
            for entry in entries:
                # Its bits of e^k, or of e^1, or of significance: something else in each code.
                wrong = right.copy()
                wrong[at : at + 128][part_of_table == entry] ^= np.uint64(1 << 6)
                with patch.object(htj2k, "quad_tables", lambda wrong=wrong: wrong):
                    if all(np.array_equal(_or_nothing(ours(data, image, 10)), image) for data, image in corpus):
                        missed.append((table, context, hex(entry)))
    assert missed == []


def _or_nothing(found: NDArray[Any] | None) -> NDArray[Any]:
    return np.empty(0) if found is None else found


# ------------------------------------------------------------------------------------------------- several, and damage


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True), (16, True)])
def test_frames_together_are_those_one_by_one(bits: int, signed: bool) -> None:
    image = smooth((70, 45), min(bits, 12), signed=signed).astype(f"{'i' if signed else 'u'}{1 if bits == 8 else 2}")
    frames = [np.roll(image, k, axis=0) for k in range(3)]
    streams = [with_precision(frame, bits) for frame in frames]
    buffer = np.frombuffer(b"x" + b"yz".join(streams), np.uint8).copy()
    starts = 1 + np.cumsum([0, *(len(stream) + 2 for stream in streams[:-1])])
    spans = np.stack([starts, starts + [len(stream) for stream in streams]], axis=1)
    fmt = format_of(201, image, bits)
    out = np.empty((3, *image.shape), fmt.stored_dtype)
    assert htj2k.decode_spans(buffer, spans, fmt, out) == 3
    assert np.array_equal(out, frames)
    out[...] = 0
    assert decode_together("fastdicom.htj2k", buffer, spans, fmt, out) is False
    assert np.array_equal(out, frames)
    for frame, stream in zip(frames, streams, strict=True):
        assert np.array_equal(decode_frame("fastdicom.htj2k", stream, fmt), frame)
        strided = np.zeros((70, 90), image.dtype)[:, ::2]
        unaligned = np.zeros(image.nbytes + 1, np.uint8)[1:].view(image.dtype).reshape(image.shape)
        for inside in (strided, unaligned):
            assert np.array_equal(decode_frame("fastdicom.htj2k", stream, fmt, inside), frame)
            assert np.array_equal(inside, frame)


def test_values_beyond_bits_stored_are_not_for_it() -> None:
    """A stream of 12 bits where the file says 10: as long as no value needs them."""
    low, high = smooth((40, 30), 10), smooth((40, 30), 12)
    assert np.array_equal(_or_nothing(ours(with_precision(low, 12), low, 10)), low)
    assert ours(with_precision(high, 12), high, 10) is None
    signed = smooth((40, 30), 10, signed=True)
    assert np.array_equal(_or_nothing(ours(with_precision(signed, 12), signed, 10)), signed)
    assert ours(with_precision(signed, 12), signed, 9) is None
    below = np.full((40, 30), -3000, np.int16)
    below[::3] = 2000
    stream = changed(encoded(below), SIZ, 40, 11)  # 12 bits without a sign: -952 and 4048
    assert ours(stream, below.view(np.uint16), 12) is None
    fmt = replace(format_of(201, high, 12), bits_stored=10, high_bit=9)
    with pytest.raises(DecodeError, match="do not fit Bits Stored 10"):
        decode_frame("fastdicom.htj2k", with_precision(high, 12), fmt)


def together(streams: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    ends = np.cumsum([len(stream) for stream in streams])
    return np.frombuffer(b"".join(streams), np.uint8), np.stack([ends - [len(s) for s in streams], ends], axis=1)


def test_streams_that_differ_are_left_to_others() -> None:
    image = smooth((40, 50), 8)
    fmt = format_of(201, image, 8)
    for other, known in ((encoded(image, resolutions=3), True), (encoded(smooth((50, 40), 8)), False)):
        out = np.zeros((3, *image.shape), np.uint8)
        buffer, spans = together([encoded(image), other, encoded(image)])
        assert htj2k.decode_spans(buffer, spans, fmt, out) == 1
        assert decode_together("fastdicom.htj2k", buffer, spans, fmt, out) is (True if known else None)
        if known:
            assert np.array_equal(out, [image] * 3)


def test_only_what_is_for_others_is_decoded_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more and more is, less and less is tried."""
    image, other = smooth((40, 50), 12), smooth((40, 50), 12)
    other[10, 10] = 4095
    fmt = format_of(201, image, 12)
    for_us, for_others = with_precision(image, 12), with_precision(other, 12, tile=(16, 16))
    calls: list[tuple[str, int]] = []
    ours, theirs = TOGETHER["fastdicom.htj2k"], codecs.together.decode_frames

    def by_us(*args: Any) -> int:
        calls.append(("ours", ours(*args)))
        return calls[-1][1]

    def by_others(name: str, streams: list[Any], *args: Any, **options: Any) -> bool:
        calls.append(("others", len(streams)))
        return theirs(name, streams, *args, **options)

    monkeypatch.setitem(TOGETHER, "fastdicom.htj2k", by_us)
    monkeypatch.setattr(codecs.together, "decode_frames", by_others)
    out = np.empty((20, *image.shape), np.uint16)
    for kinds, expected in (
        ("uuuuuuo", [("ours", 6), ("others", 1)]),
        ("uouuuuu", [("ours", 1), ("others", 1), ("ours", 5)]),
        ("o" * 20, [call for count in (1, 2, 4, 8, 5) for call in (("ours", 0), ("others", count))]),
    ):
        calls.clear()
        frames = [image if kind == "u" else other for kind in kinds]
        buffer, spans = together([for_us if kind == "u" else for_others for kind in kinds])
        assert decode_together("fastdicom.htj2k", buffer, spans, fmt, out[: len(kinds)]) is True
        assert np.array_equal(out[: len(kinds)], frames)
        assert calls == expected


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("palette", [False, True])
@pytest.mark.parametrize("kinds", ["u", "uou", "ooo", "oouu"])
def test_what_others_have_put_right_is_left_alone(signed: bool, palette: bool, kinds: str) -> None:
    """Indices into a palette have the bits of the stream, whatever its sign, as in pydicom; gray values have not."""
    image = smooth((40, 50), 12, signed=not signed)
    photometric = "PALETTE COLOR" if palette else "MONOCHROME2"
    fmt = replace(format_of(201, image, 12), pixel_representation=int(signed), photometric_interpretation=photometric)
    for_us = with_precision(smooth((40, 50), 12, signed=signed), 12)
    streams = [for_us if kind == "u" else with_precision(image, 12) for kind in kinds]
    expected = np.stack([decode_frame("imagecodecs.htj2k", stream, fmt) for stream in streams])
    if "o" in kinds:
        assert np.array_equal(expected[kinds.index("o")], by_pydicom(streams[kinds.index("o")], fmt, "pylibjpeg"))
    buffer, spans = together(streams)
    out = np.empty((len(streams), *image.shape), fmt.stored_dtype)
    assert decode_together("fastdicom.htj2k", buffer, spans, fmt, out) is ("o" in kinds)
    assert np.array_equal(out, expected)
    strided = np.zeros((len(streams), 40, 100), fmt.stored_dtype)[:, :, ::2]
    assert decode_together("fastdicom.htj2k", buffer, spans, fmt, strided) is True
    assert np.array_equal(strided, expected)


def test_spans_outside_of_the_buffer_are_refused() -> None:
    image = smooth((40, 50), 8)
    data = np.frombuffer(encoded(image), np.uint8)
    out = np.empty((1, *image.shape), np.uint8)
    for span in ([0, len(data) + 1], [-1, len(data)], [len(data), 0]):
        assert not htj2k._decode_all(data, np.array([span]), 8, False, out)
    assert not htj2k._decode_all(data, np.empty((0, 2), np.int64), 8, False, out[:0])
    assert not htj2k._decode_all(data, np.array([[0, len(data)]] * 2), 8, False, out)


def test_a_stream_must_be_whole_and_regular_to_its_last_byte() -> None:
    image = smooth((90, 70), 8)
    data = encoded(image)
    assert ours(data, image, 8) is not None
    assert ours(data + b"\0", image, 8) is not None  # makes the length even
    assert ours(data + b"\0\0", image, 8) is None
    for cut in (*range(1, 60), *range(60, len(data), 97)):
        assert ours(data[:-cut], image, 8) is None, cut
        assert ours(data[: -cut - 2] + EOC, image, 8) is None, cut


def changed(data: bytes, marker: bytes, offset: int, value: int) -> bytes:
    stream = bytearray(data)
    stream[stream.index(marker) + offset] = value
    return bytes(stream)


@pytest.mark.parametrize(
    ("marker", "offset", "value"),
    [
        (SIZ, 3, 42), (SIZ, 4, 0), (CAP, 3, 10), (CAP, 4, 1), (CAP, 5, 3),  # length of SIZ, Rsiz; CAP
        (SIZ, 8, 1), (SIZ, 9, 1), (SIZ, 12, 1), (SIZ, 13, 1),  # columns, rows
        (SIZ, 17, 1), (SIZ, 21, 1), (SIZ, 33, 1), (SIZ, 37, 1),  # where the image and the tiles begin
        (SIZ, 25, 1), (SIZ, 29, 1),  # smaller tiles
        (SIZ, 39, 2), (SIZ, 41, 2), (SIZ, 42, 2),  # components, and their steps
        (COD, 4, 2), (COD, 4, 4), (COD, 5, 5), (COD, 7, 2), (COD, 8, 1),  # marks, order, layers, colour transform
        (COD, 9, 0), (COD, 9, 33), (COD, 9, 4), (COD, 9, 6),  # levels
        (COD, 10, 9), (COD, 11, 9), (COD, 10, 200), (COD, 10, 5), (COD, 10, 0),  # size of blocks
        (COD, 12, 0), (COD, 12, 0x48), (COD, 13, 0),  # style, wavelet
        (QCD, 4, 0x21), (QCD, 4, 0x42), (QCD, 5, 0x50), (QCD, 3, 3),  # quantization, guard bits, planes, length
        (SOT, 3, 11), (SOT, 5, 1), (SOT, 10, 1), (SOT, 9, 255),  # length, tile, tile-part, its length
    ],
)  # fmt: skip
def test_headers_that_say_something_else_are_refused(marker: bytes, offset: int, value: int) -> None:
    image = smooth((90, 70), 8)
    assert ours(changed(encoded(image), marker, offset, value), image, 8) is None


def test_a_main_header_needs_all_its_segments() -> None:
    image = smooth((90, 70), 8)
    data = encoded(image)
    for marker in (SIZ, CAP, COD, QCD):
        at = data.index(marker)
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        without = data[:at] + data[at + 2 + length :]
        assert ours(without, image, 8) is None, marker
        twice = data[:at] + data[at : at + 2 + length] + data[at:]
        assert ours(twice, image, 8) is None, marker
    at = data.index(QCD)
    assert ours(data[:at] + b"\xff\x53\x00\x05\x00\x00\x00" + data[at:], image, 8) is None  # COC
    assert ours(data[:at] + b"\xff\x64\x00\x06\x00\x01ab" + data[at:], image, 8) is not None  # COM


def test_several_tile_parts() -> None:
    image = smooth((90, 70), 8)
    data = encoded(image, tilepart=1)
    assert data.count(SOT) > 1
    found = ours(data, image, 8)
    assert found is not None
    assert np.array_equal(found, image)


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=6 * settings().max_examples)
@given(images(), st.integers(2, 6), st.data())
def test_what_it_accepts_of_damaged_streams_is_what_openjph_makes_of_them(
    drawn: tuple[NDArray[Any], int], resolutions: int, data: st.DataObject
) -> None:
    """And nothing outside of its arrays is touched: each ends before a page that cannot be."""
    image, bits = drawn
    stream = damaged(data, encoded(image, resolutions=resolutions), b"\xff\x00", b"\xff\x7f", b"\xff\x90", b"\xff\xff")
    source = guarded(len(stream), np.uint8)
    source[:] = np.frombuffer(stream, np.uint8)
    out = guarded((1, *image.shape), image.dtype)
    with patch.object(htj2k, "_take", guarded):
        done = htj2k._decode_all(source, np.array([[0, len(stream)]]), bits, image.dtype.kind == "i", out)
    if done:
        assert np.array_equal(out[0], by_openjph(stream))


@pytest.mark.fuzz
def test_damage_within_the_blocks() -> None:
    """As above, without the headers, of which hypothesis changes most."""
    rng = np.random.default_rng(13)
    accepted = 0
    for number in range(4000):
        if number % 50 == 0:
            shape = tuple(rng.integers(8, 100, 2).tolist())
            image = (rng.integers(0, 1 << int(rng.integers(1, 11)), shape) * (rng.random(shape) < 0.5)).astype(
                np.uint16
            )
            data = with_precision(image, 12)
            body = data.index(b"\xff\x93") + 2
        stream = bytearray(data)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(body, len(stream) - 2))
            stream[at] = (0xFF, 0x8F, 0x7F, 0, stream[at] ^ 1 << int(rng.integers(0, 8)))[
                min(4, int(rng.integers(0, 12)))
            ]
        found = ours(bytes(stream), image, 12)
        if found is not None:
            accepted += 1
            assert np.array_equal(found, by_openjph(bytes(stream)))
    assert accepted > 80


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_that_is_easy_to_miss(name: str) -> None:
    """OpenJPH makes another image of it than a decoder would that misses it."""
    data, shape, bits, signed = DAMAGED[name]
    found = ours(data, np.empty(shape, f"{'i' if signed else 'u'}2"), bits)
    assert found is None or np.array_equal(found, by_openjph(data))


def test_kernels_agree_with_themselves_in_python() -> None:
    """Where NumPy checks each index."""
    image = smooth((9, 11), 8)
    data = np.frombuffer(encoded(image, resolutions=3), np.uint8)
    out = np.empty((1, *image.shape), np.uint8)
    with patch.object(htj2k, "decode_frames", decode_frames.python), np.errstate(over="ignore"):
        assert htj2k._decode_all(data, np.array([[0, len(data)]]), 8, False, out)
    assert np.array_equal(out[0], image)


# -------------------------------------------------------------------------------------------------------- whole loads


def test_a_series_is_decoded_by_it(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(slices=5, rows=70, columns=90, bits_stored=12, transfer_syntax_uid=UID))
    calls = []
    decode = TOGETHER["fastdicom.htj2k"]
    with patch.dict(TOGETHER, {"fastdicom.htj2k": lambda *args: calls.append(decode(*args)) or calls[-1]}):
        volume = fastdicom.load_volume(tmp_path)
    assert calls
    assert all(calls)
    assert np.array_equal(volume.array, fastdicom.load_volume(tmp_path, decoder="imagecodecs").array)
    assert np.array_equal(volume.array, fastdicom.load_volume(tmp_path, decoder="pylibjpeg").array)
