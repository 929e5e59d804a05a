"""Our decoder of lossless JPEG against libjpeg-turbo's, for any image and for any damage."""

from __future__ import annotations

from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastdicom.codecs import TOGETHER, decode_frame, lossless_jpeg
from fastdicom.codecs.jpeg_tail import check_tail
from fastdicom.codecs.streams import StreamError, parse_stream
from fastdicom.errors import DecodeError
from fastdicom.types import PixelFormat

UID = "1.2.840.10008.1.2.4.57"
GUARD = 64


def encoded(image: NDArray[Any], precision: int, predictor: int = 1) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=predictor, bitspersample=precision))


def format_of(image: NDArray[Any], precision: int, *, signed: bool = False) -> PixelFormat:
    return PixelFormat(
        UID, *image.shape[:2], bits_allocated=8 * image.itemsize, bits_stored=precision, high_bit=precision - 1,
        pixel_representation=int(signed), samples_per_pixel=1 if image.ndim == 2 else 3,
        photometric_interpretation="MONOCHROME2" if image.ndim == 2 else "RGB",
    )  # fmt: skip


def ours(data: bytes, shape: tuple[int, ...], precision: int, itemsize: int = 0) -> NDArray[Any] | None:
    """What the compiled decoder makes of a stream; None where it leaves it to others. It writes nothing else."""
    dtype = np.dtype(f"u{itemsize or (1 if precision <= 8 else 2)}")
    count = shape[0] * shape[1]
    memory = np.full(count + 2 * GUARD, 0xA5, dtype)
    out = memory[GUARD : GUARD + count].reshape(shape)
    spans = np.array([[0, len(data)]])
    done = lossless_jpeg._decode_all(np.frombuffer(data, np.uint8), spans, *shape, precision, out)
    assert (memory[:GUARD] == 0xA5).all()
    assert (memory[GUARD + count :] == 0xA5).all()
    return out if done else None


@st.composite
def images(draw: st.DrawFn) -> tuple[NDArray[Any], int]:
    """(image, precision): smooth, noisy, flat, of few values far apart, and of codes of every length."""
    precision = draw(st.integers(2, 16))
    rows, columns = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    top = (1 << precision) - 1
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    kind = draw(st.sampled_from(["noise", "smooth", "flat", "extreme", "skewed"]))
    if kind == "noise":
        image = rng.integers(0, top + 1, (rows, columns))
    elif kind == "smooth":
        walk = np.cumsum(rng.integers(-3, 4, (rows, columns)), axis=1)
        image = np.clip(walk + top // 2, 0, top)
    elif kind == "flat":
        image = np.full((rows, columns), draw(st.integers(0, top)))
    elif kind == "extreme":
        image = rng.choice([0, top, (top + 1) // 2, 1], (rows, columns))
    else:  # steps of 2 ** k, each half as frequent as the one before: codes up to 16 bits long
        steps = 1 << np.minimum(rng.geometric(0.5, (rows, columns)), precision - 1)
        image = np.cumsum(steps * rng.choice([-1, 1], (rows, columns)), axis=1) % (top + 1)
    return image.astype(np.uint8 if precision <= 8 else np.uint16), precision


@given(images(), st.integers(1, 7), st.booleans())
def test_any_image_is_what_libjpeg_makes_of_it(drawn: tuple[NDArray[Any], int], predictor: int, wide: bool) -> None:
    image, precision = drawn
    data = encoded(image, precision, predictor)
    expected = imagecodecs.jpeg8_decode(data)
    assert np.array_equal(expected, image)
    found = ours(data, image.shape, precision, 2 if wide else 0)
    assert found is not None, "this is for our decoder"
    assert np.array_equal(found, expected)


@given(images(), st.integers(1, 7), st.booleans(), st.integers(1, 3))
def test_frames_together_are_those_one_by_one(
    drawn: tuple[NDArray[Any], int], predictor: int, signed: bool, count: int
) -> None:
    image, precision = drawn
    frames = [np.roll(image, k, axis=0) for k in range(count)]
    streams = [encoded(frame, precision, predictor) for frame in frames]
    buffer = np.frombuffer(b"x" + b"yz".join(streams), np.uint8).copy()
    views, start = [], 1
    for stream in streams:
        views.append(memoryview(buffer)[start : start + len(stream)])  # type: ignore[arg-type]
        start += len(stream) + 2
    fmt = format_of(image, precision, signed=signed)
    out = np.empty((count, *image.shape), fmt.stored_dtype)
    assert TOGETHER["fastdicom.jpeg"](buffer, views, fmt, out)
    for frame, stream, found in zip(frames, streams, out, strict=True):
        one = decode_frame("fastdicom.jpeg", stream, fmt)
        assert np.array_equal(one, decode_frame("imagecodecs.jpeg8", stream, fmt))
        shift = 8 * fmt.stored_dtype.itemsize - precision
        assert np.array_equal((found << shift) >> shift, one)
        assert np.array_equal(found.view(frame.dtype), frame)


@pytest.mark.fuzz
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(images(), st.integers(1, 7), st.data())
def test_what_it_accepts_of_damaged_streams_is_whole(
    drawn: tuple[NDArray[Any], int], predictor: int, data: st.DataObject
) -> None:
    """Nothing outside `out` is written, and what is not left to libjpeg is what libjpeg and the count of codes say."""
    image, precision = drawn
    stream = bytearray(encoded(image, precision, predictor))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        change = data.draw(st.sampled_from(["flip", "set", "cut", "insert", "drop", "ff"]))
        if change == "flip":
            stream[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "set":
            stream[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del stream[at : data.draw(st.integers(at, len(stream)))]
        elif change == "insert":
            stream[at:at] = data.draw(st.binary(max_size=20))
        elif change == "drop":
            del stream[at]
        else:
            stream[at : at + 2] = b"\xff" + data.draw(st.sampled_from([b"\x00", b"\xd9", b"\xd0", b"\xff"]))
        if not stream:
            return
    damaged = bytes(stream)
    found = ours(damaged, image.shape, precision)
    if found is None:
        return
    header = parse_stream(damaged, UID)
    assert header is not None
    assert (header.rows, header.columns, header.precision) == (*image.shape, precision)
    check_tail(damaged, header, found)
    assert np.array_equal(found, imagecodecs.jpeg8_decode(damaged))


@pytest.mark.fuzz
@given(st.binary(max_size=400), st.integers(1, 6), st.integers(1, 6), st.integers(1, 16))
def test_any_bytes_do_no_harm(data: bytes, rows: int, columns: int, precision: int) -> None:
    ours(b"\xff\xd8" + data + b"\xff\xd9", (rows, columns), precision)


def test_every_prefix_is_refused() -> None:
    image = np.random.default_rng(0).integers(0, 4096, (9, 11)).astype(np.uint16)
    data = encoded(image, 12)
    for length in range(len(data)):
        assert ours(data[:length], image.shape, 12) is None
    for length in range(len(data) - 2):
        # An end marker behind what is left: libjpeg fills the rest and says nothing.
        with pytest.raises(DecodeError):
            decode_frame("fastdicom.jpeg", data[:length] + b"\xff\xd9", format_of(image, 12))


def test_data_that_go_on_are_refused() -> None:
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    data = encoded(image, 12)
    assert ours(data[:-2] + b"\x55" * 5 + data[-2:], image.shape, 12) is None
    for padding in (b"\0", b"\0\0\0", b"\xff\xff"):
        assert np.array_equal(ours(data + padding, image.shape, 12), image)
    with pytest.raises(DecodeError, match="go on"):
        decode_frame("fastdicom.jpeg", data[:-2] + b"\x55" * 5 + data[-2:], format_of(image, 12))


def test_colour_is_for_libjpeg() -> None:
    image = np.random.default_rng(1).integers(0, 256, (12, 7, 3)).astype(np.uint8)
    data = encoded(image, 8)
    fmt = format_of(image, 8)
    assert np.array_equal(decode_frame("fastdicom.jpeg", data, fmt), image)
    assert ours(data, (12, 7), 8) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\xff\xda", b"\xff\xdd\x00\x04\x00\x07\xff\xda"),  # restarts after each 7
        (b"\xff\xc3", b"\xff\xcb"),  # arithmetic coding
        (b"\xff\xc3", b"\xff\xc0"),  # baseline
        (b"\xff\xda", b"\xff\xf8\x00\x02\xff\xda"),  # a segment of JPEG-LS
        (b"\xff\xda", b"\xff\xdc\x00\x04\x00\x0a\xff\xda"),  # the number of lines, later
    ],
)
def test_what_changes_the_decoding_is_for_others(old: bytes, new: bytes) -> None:
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    data = encoded(image, 12)
    assert data.count(old) == 1
    assert ours(data.replace(old, new), image.shape, 12) is None


def test_harmless_segments_are_passed_over() -> None:
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    data = encoded(image, 12)
    for segment in (b"\xff\xe5\x00\x06abcd", b"\xff\xfe\x00\x03c", b"\xff\xdd\x00\x04\x00\x00", b"\xff\xff"):
        assert np.array_equal(ours(data.replace(b"\xff\xda", segment + b"\xff\xda"), image.shape, 12), image)


def test_a_point_transform_is_for_libjpeg() -> None:
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    data = bytearray(encoded(image, 12))
    end_of_scan_header = data.index(b"\xff\xda") + 2 + 8 - 1
    data[end_of_scan_header] |= 2
    assert ours(bytes(data), image.shape, 12) is None


def test_damage_is_told_as_by_the_other_way() -> None:
    image = np.random.default_rng(0).integers(0, 4096, (30, 30)).astype(np.uint16)
    data = encoded(image, 12)
    cut = data[: len(data) // 2] + b"\xff\xd9"
    with pytest.raises(DecodeError, match=r"are those of \d+ of 900 pixels"):
        decode_frame("fastdicom.jpeg", cut, format_of(image, 12))
    header = parse_stream(cut, UID)
    assert header is not None
    with pytest.raises(StreamError, match=r"are those of \d+ of 900 pixels"):
        lossless_jpeg.decode(cut, format_of(image, 12), header, None)


def test_kernel_equals_its_python_source() -> None:
    rng = np.random.default_rng(0)
    for precision, predictor in ((12, 1), (16, 4), (8, 7)):
        top = 1 << precision
        image = rng.integers(0, top, (9, 21)).astype(np.uint16)
        image[3:6] = top // 3
        image = image.astype(np.uint8) if precision == 8 else image
        data = encoded(image, precision, predictor)
        plain = np.zeros(image.size, np.uint16)
        memory = (
            np.empty(len(data) + 32, np.uint8), np.empty((68, 2), np.int64), np.empty(9, np.int64),
            np.empty(1 << 12, np.int32), np.empty(1 << 12, np.uint64),
        )  # fmt: skip
        source, spans = np.frombuffer(data, np.uint8), np.array([[0, len(data)]])
        with np.errstate(over="ignore"):
            answer = lossless_jpeg._decode_frames.python(source, spans, *image.shape, precision, *memory, plain)
        assert answer == -1
        assert np.array_equal(plain.reshape(image.shape), image)
