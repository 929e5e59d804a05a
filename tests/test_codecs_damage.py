"""codecs on bad input: code streams that are cut, that lie, that ask for gigabytes."""

from __future__ import annotations

import pickle
import struct
import sys
import threading
import tracemalloc
from contextlib import nullcontext, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec_samples import ALL, backends, encoded, format_of, smooth, uid
from fastdicom import codecs
from fastdicom.codecs.dropped import raising_dropped
from fastdicom.codecs.streams import StreamError, StreamHeader, parse_stream
from fastdicom.errors import (
    DecodeError,
    UsageError,
)

# ------------------------------------------------------------------------------------------------------ what it refuses


@pytest.mark.parametrize("number", ALL)
def test_streams_cut_anywhere_are_errors_in_every_backend(number: int) -> None:
    bits = 8 if number == 50 else 12 if number in (51, 70, 80, 90) else 16
    image = smooth((40, 56), bits)
    fmt, data = format_of(number, image, bits), encoded(number, image, bits)
    for name in backends(fmt.transfer_syntax_uid):
        for cut in (0, 1, 10, 40, len(data) // 4, len(data) // 2, len(data) - 30, len(data) - 3):
            with pytest.raises(DecodeError, match=r"Frame 4 of x\.dcm cannot be decoded by") as caught:
                codecs.decode_frame(name, data[:cut], fmt, path="x.dcm", frame=4)
            assert (caught.value.path, caught.value.frame) == ("x.dcm", 4)  # type: ignore[attr-defined]
            pickle.loads(pickle.dumps(caught.value))


def test_errors_travel_with_their_causes() -> None:
    """Those of imagecodecs can be pickled, but not unpickled, and tblib, which Dask may bring, pickles causes too."""
    image = smooth((16, 16), 8)
    with pytest.raises(DecodeError) as caught:
        codecs.decode_frame("imagecodecs.jpegxl", encoded(110, image, 8)[:-40], format_of(110, image, 8))
    chain: list[BaseException] = [caught.value]
    for one in chain:
        chain += [other for other in (one.__cause__, one.__context__) if other is not None and other not in chain]
        assert str(pickle.loads(pickle.dumps(one))) == str(one)
    assert len(chain) > 1


@pytest.mark.parametrize("number", [50, 70, 80, 90, 201, 110])
@pytest.mark.parametrize(
    "change", [{"rows": 41}, {"columns": 16}, {"rows": 56, "columns": 40}, {"rows": 10, "columns": 224}]
)
def test_another_size_than_the_header_says(number: int, change: dict[str, int]) -> None:
    image = smooth((40, 56), 8)
    data = encoded(number, image, 8)
    fmt = replace(format_of(number, image, 8), **change)
    for name in backends(fmt.transfer_syntax_uid):
        with pytest.raises(DecodeError, match="holds 40 x 56 pixels where the file header says"):
            codecs.decode_frame(name, data, fmt)


@pytest.mark.parametrize("number", [50, 70, 80, 90, 201, 110])
def test_another_number_of_samples_than_the_header_says(number: int) -> None:
    for image, samples in ((smooth((40, 56, 3), 8), 1), (smooth((40, 56), 8), 3)):
        fmt = replace(format_of(number, image, 8), samples_per_pixel=samples)
        data = encoded(number, image, 8)
        for name in backends(fmt.transfer_syntax_uid):
            with pytest.raises(DecodeError):
                codecs.decode_frame(name, data, fmt)


@pytest.mark.parametrize("number", [70, 80, 90, 201])
def test_more_bits_than_allocated(number: int) -> None:
    image = smooth((40, 56), 16)
    fmt = replace(format_of(number, image, 8), bits_allocated=8, bits_stored=8)
    for name in backends(fmt.transfer_syntax_uid):
        with pytest.raises(DecodeError, match="16 bits a sample, Bits Allocated is 8"):
            codecs.decode_frame(name, encoded(number, image, 16), fmt)


def _bombs() -> list[tuple[int, bytes]]:
    """A few bytes that claim 65535 x 65535 pixels (or more), with the rest of a real stream."""
    image = smooth((40, 56), 8)
    bombs = []
    for number in (50, 70, 80):
        data = bytearray(encoded(number, image, 8))
        at = next(i for i in range(len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC3, 0xF7))
        struct.pack_into(">HH", data, at + 5, 65535, 65535)
        bombs.append((number, bytes(data)))
    for number in (90, 201):
        data = bytearray(encoded(number, image, 8))
        at = data.find(b"\xff\x51")
        struct.pack_into(">II", data, at + 6, 2**31, 2**31)
        bombs.append((number, bytes(data)))
    size = 0 | 3 << 1 | (2**30 - 1) << 3 | 0 << 33 | 3 << 36 | (2**30 - 1) << 38  # JPEG XL: 2^30 x 2^30
    bombs.append((110, b"\xff\x0a" + size.to_bytes(12, "little")))
    return bombs


@pytest.mark.fuzz
@pytest.mark.parametrize(("number", "data"), _bombs(), ids=[str(n) for n, _ in _bombs()])
def test_bombs_are_refused_before_anything_is_allocated(number: int, data: bytes) -> None:
    fmt = format_of(number, smooth((40, 56), 8), 8)
    for name in backends(fmt.transfer_syntax_uid):
        tracemalloc.start()
        try:
            with pytest.raises(DecodeError, match="where the file header says 40 x 56"):
                codecs.decode_frame(name, data, fmt)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


@pytest.mark.fuzz
@settings(max_examples=200, deadline=None)
@given(st.sampled_from([50, 70, 80, 90, 201, 110]), st.data())
def test_damaged_streams_end_in_an_image_or_a_typed_error(number: int, data: st.DataObject) -> None:
    image = smooth((24, 24), 8)
    fmt = format_of(number, image, 8)
    stream = bytearray(encoded(number, image, 8))
    for _ in range(data.draw(st.integers(1, 6))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):  # nothing else may come out
        frame = codecs.decode_frame(codecs.choose_decoder(fmt), bytes(stream), fmt, path="x.dcm")
        assert frame.shape == image.shape


def lossless_jpeg(image: NDArray[Any], predictor: int, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=predictor, bitspersample=bits))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_whole_lossless_jpeg_is_refused(data: st.DataObject) -> None:
    """Every predictor and precision, and any image: the codes of the last pixels are at the end."""
    from fastdicom.codecs import jpeg_tail

    draw = data.draw
    bits, predictor = draw(st.integers(2, 16)), draw(st.integers(1, 7))
    shape: tuple[int, ...] = (draw(st.integers(1, 30)), draw(st.integers(1, 30)))
    shape = (*shape, 3) if draw(st.booleans()) and bits == 8 else shape
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    image = rng.integers(0, 1 << bits, shape).astype(np.uint8 if bits <= 8 else np.uint16)
    kind = draw(st.sampled_from(["noise", "extremes", "flat", "background", "smooth"]))
    if kind == "extremes":
        image = (rng.integers(0, 2, shape) * ((1 << bits) - 1)).astype(image.dtype)
    elif kind == "flat":
        image[...] = image.flat[0]
    elif kind == "background":
        image[draw(st.integers(0, shape[0])) :] = 0
        image[:, draw(st.integers(0, shape[1])) :] = 0
    elif kind == "smooth":
        image = (np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % (1 << bits)).astype(image.dtype)
    number = 70 if predictor == 1 else 57
    stream = lossless_jpeg(image, predictor, bits)
    fmt = format_of(number, image, bits)
    header = parse_stream(stream, uid(number))
    assert header is not None
    scan = jpeg_tail._scan_of(stream, header)
    assert scan is not None
    if kind == "noise" and image.size > 9:
        assert jpeg_tail._ends_as_decoded(stream, scan, image.reshape(-1), header)  # without counting
    jpeg_tail.check_tail(stream, header, image)
    padded = stream[:-2] + draw(st.sampled_from([b"", b"\xff", b"\xff\xff\xff", b"\0", b"\0\0\xff"])) + b"\xff\xd9"
    for name in backends(uid(number)):
        if name == "pylibjpeg.libjpeg" and padded != stream:
            continue
        with suppress(DecodeError) if name == "pylibjpeg.libjpeg" else nullcontext():
            np.testing.assert_array_equal(codecs.decode_frame(name, padded + b"\0" * (len(padded) % 2), fmt), image)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_lossless_jpeg_that_was_cut_and_closed_is_damaged(data: st.DataObject) -> None:
    """libjpeg fills what is missing, and only warns: the file has its end marker and looks whole."""
    draw = data.draw
    bits, predictor = draw(st.sampled_from([8, 12, 16])), draw(st.integers(1, 7))
    image = smooth((40, 48), bits, seed=draw(st.integers(0, 9)))
    image[:, : draw(st.integers(0, 30))] = 0  # background in which a cut is hardest to see
    image[draw(st.integers(20, 40)) :] = 0
    number = 70 if predictor == 1 else 57
    stream = lossless_jpeg(image, predictor, bits)
    first = stream.index(b"\xff\xda") + 10
    cut = stream[: draw(st.integers(first, len(stream) - 4))].rstrip(b"\xff") + b"\xff\xd9"
    for name in backends(uid(number)):
        with pytest.raises(DecodeError, match=r"Frame 3 of x\.dcm"):
            codecs.decode_frame(name, cut, format_of(number, image, bits), path="x.dcm", frame=3)


def test_a_lossless_jpeg_out_of_step_is_damaged() -> None:
    """Bytes inserted in the middle: too many codes; bytes taken out: too few."""
    image = smooth((64, 64), 12)
    stream, fmt = lossless_jpeg(image, 1, 12), format_of(70, image, 12)
    middle = len(stream) // 2
    more = stream[:middle] + stream[middle - 40 : middle] + stream[middle:]
    with pytest.raises(DecodeError, match=r"go on for \d+ bytes after the last pixel"):
        codecs.decode_frame("imagecodecs.jpeg8", more, fmt)
    with pytest.raises(DecodeError, match=r"are those of \d+ of 4096 pixels"):
        codecs.decode_frame("imagecodecs.jpeg8", stream[:middle] + stream[middle + 40 :], fmt)


def test_errors_that_imagecodecs_drops_are_raised() -> None:
    """OpenJPH throws, imagecodecs prints that and returns a black image; in every thread of its own."""
    image = smooth((64, 48), 16)
    fmt, data = format_of(201, image, 16), encoded(201, image, 16)

    def damaged(seed: int) -> bytes:
        stream, rng = bytearray(data), np.random.default_rng(seed)
        stream[int(rng.integers(100, len(stream) - 5))] ^= int(rng.integers(1, 256))
        return bytes(stream)

    outcomes: dict[int, str] = {}

    def work(seed: int) -> None:
        try:
            frame = codecs.decode_frame("imagecodecs.htj2k", damaged(seed), fmt)
            outcomes[seed] = "black" if not frame[-1].any() else "image"
        except DecodeError as error:
            outcomes[seed] = "ojph" if "ojph error" in str(error) else "header"

    previous = sys.unraisablehook
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = list(outcomes.values())
        assert len(found) == 60
        assert found.count("ojph") >= 3  # such errors do occur ...
        assert found.count("image") >= 3  # ... and do not stick to the thread or to others
        assert "black" not in found
        np.testing.assert_array_equal(codecs.decode_frame("imagecodecs.htj2k", data, fmt), image)
    finally:
        sys.unraisablehook = previous


def dropped_by(module: str, name: str) -> Any:
    return SimpleNamespace(object=f"{module}._function", exc_value=ValueError(name))


def test_dropped_errors_of_others_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", passed.append)
    mine, other = dropped_by("some.module", "mine"), dropped_by("another", "other")
    for _ in range(2):  # the second time the hook is there
        raising_dropped("some.module", lambda: sys.unraisablehook(other))
        with pytest.raises(ValueError, match="mine"):
            raising_dropped("some.module", lambda: sys.unraisablehook(mine))
        assert raising_dropped("some.module", lambda: 7) == 7
    assert passed == [other, other]


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_dropped_errors_of_calls_within_calls_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, before: bool, after: bool, within: bool
) -> None:
    """A signal handler or a finalizer may decode while a decoder runs."""
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)

    def drop(name: str) -> None:
        sys.unraisablehook(dropped_by("some.module", name))

    def fail() -> None:
        drop("inner")
        raise ZeroDivisionError

    def outer() -> int:
        if before:
            drop("outer")
        if within:
            with pytest.raises(ValueError, match="inner"):
                raising_dropped("some.module", lambda: drop("inner"))
        else:
            raising_dropped("some.module", lambda: None)
        with pytest.raises(ZeroDivisionError):
            raising_dropped("some.module", fail)
        if after:
            drop("outer")
        return 7

    if before or after:
        with pytest.raises(ValueError, match="outer"):
            raising_dropped("some.module", outer)
    else:
        assert raising_dropped("some.module", outer) == 7


def test_a_hook_that_is_replaced_makes_it_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    tries = []

    def replaced(times: int) -> int:
        tries.append(times)
        if len(tries) <= times:
            sys.unraisablehook = lambda _: None
        return len(tries)

    assert raising_dropped("some.module", lambda: replaced(1)) == 2
    tries.clear()
    with pytest.raises(StreamError, match="replaced again and again"):
        raising_dropped("some.module", lambda: replaced(99))
    assert 2 <= len(tries) <= 5


@pytest.mark.fuzz
@given(st.sampled_from([50, 80, 90, 201, 110]), st.binary(max_size=120))
def test_header_parsers_survive_anything(number: int, data: bytes) -> None:
    starts = {50: b"\xff\xd8", 80: b"\xff\xd8", 90: b"\xff\x4f\xff\x51", 201: b"\xff\x4f\xff\x51", 110: b"\xff\x0a"}
    for stream in (data, starts[number] + data, b"\x00\x00\x00\x0cjP  \r\n\x87\n" + data):
        try:
            header = parse_stream(stream, uid(number))
        except StreamError:
            continue
        assert isinstance(header, StreamHeader)


def test_out_must_be_like_the_frame() -> None:
    image = smooth((10, 13), 12)
    fmt = format_of(80, image, 12)
    for out in (np.zeros((10, 12), np.uint16), np.zeros((10, 13), np.int16), np.zeros((10, 13), np.float32)):
        with pytest.raises(UsageError, match="out has shape"):
            codecs.decode_frame("imagecodecs.jpegls", b"", fmt, out)
