"""Several frames given to a decoder at once: each comes out as it does alone, or all are refused."""

from __future__ import annotations

import tracemalloc
from itertools import product
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec_samples import ALL, BASE, backends, encoded, format_of, smooth
from fastdicom import codecs
from fastdicom.codecs import decoding
from fastdicom.codecs.streams import StreamHeader, _known_main_header, parse_stream
from fastdicom.errors import DecodeError
from fastdicom.types import PixelFormat

J2K = f"{BASE}.4.90"


def alone(name: str, streams: list[bytes], fmt: PixelFormat) -> NDArray[Any]:
    return np.stack([codecs.decode_frame(name, data, fmt) for data in streams])


GRAY, COLOUR = (33, 17), (16, 24, 3)
CASES = [
    *((number, GRAY, False) for number in ALL),
    *((number, GRAY, True) for number in ALL if number not in (50, 51, 110)),  # which have no sign
    *((number, COLOUR, False) for number in ALL if number != 51),  # which is for 12 bits here, and colour has 8
]


@pytest.mark.parametrize(("number", "shape", "signed"), CASES)
def test_several_equal_each_alone(number: int, shape: tuple[int, ...], signed: bool) -> None:
    bits = 8 if len(shape) == 3 or number == 50 else 12 if number == 51 else 16
    images = [smooth(shape, bits, signed=signed, seed=seed) for seed in range(4)]
    streams = [encoded(number, image, bits) for image in images]
    photometric = {50: "YBR_FULL_422", 80: "YBR_FULL"}.get(number, "RGB") if len(shape) == 3 else "MONOCHROME2"
    fmt = format_of(number, images[0], bits, photometric_interpretation=photometric)
    for name in backends(fmt.transfer_syntax_uid):
        try:
            expected = alone(name, streams, fmt)
        except DecodeError:
            assert not codecs.decode_frames(name, streams, fmt, np.empty((4, *shape), images[0].dtype)), name
            continue
        volume = np.full((6, *shape), 7, images[0].dtype)
        assert codecs.decode_frames(name, [memoryview(data) for data in streams], fmt, volume[1:5]), name
        np.testing.assert_array_equal(volume[1:5], expected, err_msg=name)
        assert (volume[[0, 5]] == 7).all(), name
        strided = np.full((8, *shape), 7, images[0].dtype)
        assert codecs.decode_frames(name, streams, fmt, strided[::2]), name
        np.testing.assert_array_equal(strided[::2], expected, err_msg=name)
        assert (strided[1::2] == 7).all(), name


@given(st.lists(st.sampled_from(["reversible", "irreversible", "8 bits", "levels"]), min_size=1, max_size=6))
def test_streams_with_different_headers_may_be_mixed(kinds: list[str]) -> None:
    """Which decoder is called, and what is corrected after it, follows from the header of each stream."""
    image = smooth((40, 30), 12)
    streams = []
    for seed, kind in enumerate(kinds):
        image = smooth((40, 30), 12, seed=seed)
        if kind == "8 bits":
            streams.append(bytes(imagecodecs.htj2k_encode((image >> 4).astype(np.uint8), reversible=True)))
        elif kind == "irreversible":
            streams.append(bytes(imagecodecs.htj2k_encode(image << 2, reversible=False, level=0.001)))
        else:
            streams.append(
                bytes(imagecodecs.htj2k_encode(image, reversible=True, resolutions=2 if kind == "levels" else 5))
            )
    fmt = format_of(201, image, 16)
    for name in backends(fmt.transfer_syntax_uid):
        try:
            expected = alone(name, streams, fmt)
        except DecodeError:
            continue  # what pydicom's decoders say to some of these
        out = np.empty((len(streams), 40, 30), np.uint16)
        assert codecs.decode_frames(name, streams, fmt, out), name
        np.testing.assert_array_equal(out, expected, err_msg=name)


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("number", ALL)
def test_one_that_cannot_be_decoded_is_told(number: int, place: int) -> None:
    bits = 8 if number == 50 else 12 if number == 51 else 16
    images = [smooth((33, 17), bits, seed=seed) for seed in range(5)]
    streams = [encoded(number, image, bits) for image in images]
    other = encoded(number, images[0][:, :-1].copy(), bits)
    fmt = format_of(number, images[0], bits)
    for name in backends(fmt.transfer_syntax_uid):
        out = np.empty((5, 33, 17), images[0].dtype)
        for bad in (streams[place][: len(streams[place]) // 2], b"", other):
            several = [*streams[:place], bad, *streams[place + 1 :]]
            with pytest.raises(DecodeError):
                codecs.decode_frame(name, bad, fmt)
            assert not codecs.decode_frames(name, several, fmt, out), name
        assert codecs.decode_frames(name, streams, fmt, out), name


def test_an_error_that_the_codec_drops_is_of_these_frames_and_no_others() -> None:
    """OpenJPH throws, and imagecodecs returns what is there (see test_codecs_damage)."""
    image = smooth((64, 48), 16)
    good, name = encoded(201, image, 16), "imagecodecs.htj2k"
    fmt, out = format_of(201, image, 16), np.empty((3, 64, 48), np.uint16)
    thrown = 0
    for seed in range(40):
        bad, rng = bytearray(good), np.random.default_rng(seed)
        bad[int(rng.integers(100, len(bad) - 5))] ^= int(rng.integers(1, 256))
        try:
            expected = codecs.decode_frame(name, bytes(bad), fmt)
        except DecodeError as error:
            thrown += "ojph error" in str(error)
            assert not codecs.decode_frames(name, [good, bytes(bad), good], fmt, out)
        else:
            assert codecs.decode_frames(name, [good, bytes(bad), good], fmt, out)
            np.testing.assert_array_equal(out[1], expected)
        assert codecs.decode_frames(name, [good] * 3, fmt, out)
        np.testing.assert_array_equal(out, [image] * 3)
    assert thrown >= 3


def test_values_beyond_bits_stored_are_found_in_any_frame() -> None:
    low, high = np.full((32, 32), 100, np.uint16), np.full((32, 32), 60_000, np.uint16)
    streams = [encoded(80, image, 16) for image in (low, high, low)]
    fmt, out = format_of(80, low, 12), np.empty((3, 32, 32), np.uint16)
    assert not codecs.decode_frames("imagecodecs.jpegls", streams, fmt, out)
    assert codecs.decode_frames("imagecodecs.jpegls", streams[::2], fmt, out[:2])


def test_an_overshoot_of_a_lossy_stream_is_clipped_in_each_frame() -> None:
    """As OpenJPEG does at the precision of the stream; unclipped values would not fit Bits Stored."""
    beyond = 0
    for seed, level in product(range(8), (45, 50, 60, 70)):
        images = [np.clip(smooth((64, 64), 12, seed=3 * seed + k).astype(int) * 5 // 4, 0, 4095) for k in range(3)]
        options: dict[str, Any] = {"codecformat": "j2k", "reversible": False, "level": level, "bitspersample": 16}
        streams = [bytes(imagecodecs.jpeg2k_encode(image.astype(np.uint16), **options)) for image in images]
        fmt = format_of(91, images[0].astype(np.uint16), 12)
        out = np.empty((3, 64, 64), np.uint16)
        try:
            expected = alone("imagecodecs.jpeg2k", streams, fmt)
        except DecodeError:  # far beyond
            assert not codecs.decode_frames("imagecodecs.jpeg2k", streams, fmt, out)
            continue
        beyond += any(imagecodecs.jpeg2k_decode(stream).max() > 4095 for stream in streams)
        assert codecs.decode_frames("imagecodecs.jpeg2k", streams, fmt, out)
        assert out.max() <= 4095
        np.testing.assert_array_equal(out, expected)
    assert beyond >= 3


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_end_of_each_lossless_jpeg_is_checked(place: int) -> None:
    """What libjpeg makes of a stream that lost some bytes in its middle is only seen at its end."""
    images = [smooth((64, 64), 12, seed=seed) for seed in range(3)]
    streams = [encoded(70, image, 12) for image in images]
    fmt, out = format_of(70, images[0], 12), np.empty((3, 64, 64), np.uint16)
    assert codecs.decode_frames("imagecodecs.jpeg8", streams, fmt, out)
    middle = len(streams[place]) // 2
    streams[place] = streams[place][:middle] + streams[place][middle + 40 :]
    with pytest.raises(DecodeError):
        codecs.decode_frame("imagecodecs.jpeg8", streams[place], fmt)
    assert not codecs.decode_frames("imagecodecs.jpeg8", streams, fmt, out)


def test_bombs_are_refused_before_any_frame_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.zeros((256, 256), np.uint16)
    data, fmt, out = encoded(90, image, 16), format_of(90, image, 16), np.empty((2, 256, 256), np.uint16)
    decoded: list[Any] = []
    monkeypatch.setattr(decoding, "_decode_alike", lambda *arguments: decoded.append(arguments))
    assert codecs.decode_frames("imagecodecs.jpeg2k", [data, data], fmt, out)
    assert len(decoded) == 1
    monkeypatch.setattr(decoding, "BOMB_NBYTES", 1 << 16)
    monkeypatch.setattr(decoding, "BOMB_RATIO", 10)
    assert not codecs.decode_frames("imagecodecs.jpeg2k", [data, data], fmt, out)
    assert len(decoded) == 1


def test_planes_are_not_decoded_into_pixels() -> None:
    jpeg_ls = pytest.importorskip("jpeg_ls", reason="no encoder of JPEG-LS by plane")
    images = [smooth((30, 40, 3), 8, seed=seed) for seed in range(3)]
    size = {"rows": 30, "columns": 40, "samples_per_pixel": 3, "bits_stored": 8, "interleave_mode": 0}
    streams = [bytes(jpeg_ls.encode_buffer(image.transpose(2, 0, 1).tobytes(), **size)) for image in images]
    fmt, out = format_of(80, images[0], 8), np.empty((3, 30, 40, 3), np.uint8)
    assert codecs.decode_frames("imagecodecs.jpegls", streams, fmt, out)
    np.testing.assert_array_equal(out, images)


@pytest.mark.parametrize(("number", "bits"), [(110, 16), (80, 8)])
def test_arrays_of_the_codec_are_there_one_at_a_time(number: int, bits: int) -> None:
    images = [smooth((256, 256), bits, seed=seed) for seed in range(8)]
    streams = [encoded(number, image, bits) for image in images]
    fmt, out = format_of(number, images[0], bits, bits_allocated=16), np.empty((8, 256, 256), np.uint16)
    name = backends(fmt.transfer_syntax_uid)[0]
    assert codecs.decode_frames(name, streams, fmt, out)
    tracemalloc.start()
    assert codecs.decode_frames(name, streams, fmt, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(out, images)
    assert peak < 3 * out[0].nbytes


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_error_of_a_decoder_goes_through(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise error

    image = smooth((16, 16), 16)
    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", interrupted)
    with pytest.raises(error):
        codecs.decode_frames("imagecodecs.jpeg2k", [encoded(90, image, 16)], format_of(90, image, 16), image[None])


def test_a_panic_of_rust_is_a_frame_that_cannot_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    panic = type("PanicException", (BaseException,), {})

    def panicking(*_: Any) -> None:
        raise panic

    monkeypatch.setattr(decoding, "_decode_alike", panicking)
    image = smooth((16, 16), 16)
    assert not codecs.decode_frames(
        "imagecodecs.jpeg2k", [encoded(90, image, 16)], format_of(90, image, 16), image[None]
    )


def marker(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + (len(body) + 2).to_bytes(2, "big") + body


@given(
    st.lists(st.tuples(st.sampled_from([0x64, 0x55]), st.binary(max_size=300)), max_size=4),
    st.booleans(),
    st.integers(0, 3),
)
def test_a_main_header_is_read_whatever_else_is_in_it(
    segments: list[tuple[int, bytes]], as_jp2: bool, tile_part_marks: int
) -> None:
    """Comments of any length, and with the mark of a tile-part in them."""
    image = smooth((33, 17), 12)
    plain = encoded(90, image, 12)
    expected = parse_stream(plain, J2K)
    assert isinstance(expected, StreamHeader)
    assert expected.complete
    start = plain.index(b"\xff\x90")
    extra = b"".join(marker(code, body + b"\xff\x90" * tile_part_marks) for code, body in segments)
    data = plain[:start] + extra + plain[start:]
    if as_jp2:
        signature = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
        data = signature + (len(data) + 8).to_bytes(4, "big") + b"jp2c" + data
    for _ in range(2):  # the second time it is known
        assert parse_stream(data, J2K) == expected
    assert parse_stream(data[:-20], J2K) == expected._replace(complete=False)


def test_main_headers_are_kept_and_not_for_ever() -> None:
    _known_main_header.cache_clear()
    image = smooth((33, 17), 12)
    streams = [encoded(90, smooth((33, 17), 12, seed=seed), 12) for seed in range(5)]
    codecs.decode_frames("imagecodecs.jpeg2k", streams, format_of(90, image, 12), np.empty((5, 33, 17), np.uint16))
    assert _known_main_header.cache_info().misses == 1
    assert _known_main_header.cache_info().hits == 4
    assert _known_main_header.cache_info().maxsize == 64


def test_a_main_header_that_ends_in_rubbish_has_no_tile_part() -> None:
    data = encoded(90, smooth((33, 17), 12), 12)
    start = data.index(b"\xff\x90")
    header = parse_stream(data[:start] + b"\0" + data[start:], J2K)
    assert header is not None
    assert not header.complete
