"""jpeg_blocks: baseline and extended JPEG that libjpeg decodes whatever happened to them."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from codec_samples import backends, format_of, smooth, uid
from fastdicom import codecs
from fastdicom.codecs import jpeg_blocks
from fastdicom.codecs.jpeg_blocks import check_blocks
from fastdicom.codecs.jpeg_tail import check_tail
from fastdicom.codecs.streams import StreamError, parse_stream
from fastdicom.errors import DecodeError
from guard_pages import guarded

END = b"\xff\xd9"


def saved(image: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", **options)
    return file.getvalue()


def data_of(stream: bytes) -> int:
    """Where the data of the last scan begin."""
    at = stream.rindex(b"\xff\xda")
    return int(at + 2 + struct.unpack_from(">H", stream, at + 2)[0])


def check(stream: bytes) -> None:
    check_blocks([stream])


@pytest.fixture(autouse=True)
def _with_guards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that cannot be touched are right behind all that the compiled code reads and writes."""
    count_all, fill = jpeg_blocks._count_all, jpeg_blocks._fill

    def behind(array: NDArray[Any]) -> NDArray[Any]:
        copy = guarded(array.shape, array.dtype)
        copy[...] = array
        return copy

    def guarded_count(*arguments: Any) -> None:
        guards = [behind(a) if isinstance(a, np.ndarray) else a for a in arguments]
        count_all(*guards)
        arguments[-1][...] = guards[-1]

    def guarded_fill(*arguments: Any) -> None:
        guards = [behind(a) if isinstance(a, np.ndarray) else a for a in arguments]
        fill(*guards)
        for array, copy in zip(arguments[3:], guards[3:], strict=True):
            array[...] = copy

    monkeypatch.setattr(jpeg_blocks, "_count_all", guarded_count)
    monkeypatch.setattr(jpeg_blocks, "_fill", guarded_fill)
    jpeg_blocks._tables_of.cache_clear()


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """By libjpeg-turbo: gray and colour, any sampling, restarts, tables of its own, noise (the longest codes), flat."""
    height, width = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    shape = (height, width, 3) if draw(st.booleans()) else (height, width)
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    noise = draw(st.sampled_from([0, 3, 90]))
    image = (smooth(shape, 8) // 2 + rng.normal(0, noise, shape)).clip(0, 255).astype(np.uint8)
    if draw(st.booleans()):
        image[draw(st.integers(0, height)) :] = draw(st.integers(0, 255))
    if draw(st.integers(0, 4)) == 0 and len(shape) == 2:  # 12 bits
        return bytes(imagecodecs.jpeg8_encode(image.astype(np.uint16) * 16, level=95, bitspersample=12))
    options: dict[str, Any] = {"quality": draw(st.sampled_from([5, 50, 90, 100])), "optimize": draw(st.booleans())}
    if len(shape) == 3:
        options["subsampling"] = draw(st.integers(0, 2))
    if draw(st.booleans()):
        options["restart_marker_blocks"] = draw(st.integers(1, 20))
    return saved(image, **options)


@given(streams())
def test_no_whole_stream_is_refused(stream: bytes) -> None:
    check(stream)


@given(streams(), st.sampled_from([b"\0", b"\0" * 7, b"\xff\0", b"\xff\xff"]))
def test_what_coders_leave_before_the_end_is_no_damage(stream: bytes, padding: bytes) -> None:
    check(stream[:-2] + padding + END)


@given(streams(), st.data())
def test_a_stream_that_was_cut_and_closed_is_damaged(stream: bytes, data: st.DataObject) -> None:
    """libjpeg fills what is missing, and only warns. Zeros, which a disk or a network leaves, are codes like others."""
    first = data_of(stream)
    if len(stream) < first + 24:  # no room to lose more than padding
        return
    kept = data.draw(st.integers(first, len(stream) - 20))
    lost = stream[:kept].rstrip(b"\xff")
    with pytest.raises(StreamError):
        check(lost + END)


@pytest.mark.parametrize("quality", [60, 100])
@pytest.mark.parametrize("shape", [(120, 160), (120, 160, 3)])
def test_data_that_became_zeros_are_damage(quality: int, shape: tuple[int, ...]) -> None:
    stream = saved(smooth(shape, 8), quality=quality)
    first = data_of(stream)
    for kept in np.linspace(first, len(stream) - 100, 12).astype(int).tolist():
        with pytest.raises(StreamError):
            check(stream[:kept] + bytes(len(stream) - kept - 2) + END)


def test_every_backend_refuses_what_lost_its_end() -> None:
    for number, bits in ((50, 8), (51, 12)):
        image = smooth((64, 80), bits)
        stream = bytes(imagecodecs.jpeg8_encode(image, level=95, bitspersample=bits))
        fmt = format_of(number, image, bits)
        cut = stream[: len(stream) * 3 // 4].rstrip(b"\xff") + END
        assert backends(uid(number))
        for name in backends(uid(number)):
            codecs.decode_frame(name, stream + b"\0" * (len(stream) % 2), fmt)
            with pytest.raises(DecodeError, match=r"Frame 3 of x\.dcm cannot be decoded by"):
                codecs.decode_frame(name, cut, fmt, path="x.dcm", frame=3)
            out = np.empty((2, *image.shape), fmt.stored_dtype)
            assert codecs.decode_frames(name, [stream, stream], fmt, out)
            assert not codecs.decode_frames(name, [stream, cut], fmt, out)


def test_how_much_is_missing_or_left_over_is_said() -> None:
    stream = saved(smooth((64, 64), 8), quality=90)
    first = data_of(stream)
    middle = (first + len(stream)) // 2
    with pytest.raises(StreamError, match=r"are those of \d+ of 64 blocks of 8 x 8 samples"):
        check(stream[:middle].rstrip(b"\xff") + END)
    again = stream[first:-2]
    with pytest.raises(
        StreamError, match=rf"go on for {len(again.replace(bytes([255, 0]), b'x'))} bytes after the last"
    ):
        check(stream[:-2] + again + END)
    for padding in (b"\0" * 8, b"\xff\0" * 8, b"\x01"):
        with pytest.raises(StreamError, match=r"go on for \d bytes"):
            check(stream[:-2] + padding + END)


def test_restarts_that_are_not_due() -> None:
    stream = saved(smooth((64, 64), 8), quality=90, restart_marker_blocks=8)
    marks = [
        at
        for at in range(data_of(stream), len(stream) - 2)
        if stream[at] == 0xFF and stream[at + 1] in range(0xD0, 0xD8)
    ]
    assert [stream[at + 1] for at in marks] == [0xD0 + k for k in range(7)]
    check(stream[:-2] + b"\xff\xd7" + END)  # one more behind the last is what some coders write
    with pytest.raises(StreamError, match="another restart marker than is due after 24 of 64 units"):
        check(stream[: marks[2]] + b"\xff\xd5" + stream[marks[2] + 2 :])
    with pytest.raises(StreamError):
        check(stream[: marks[2]] + stream[marks[3] :])  # an interval is gone
    with pytest.raises(StreamError, match="are those of 24 of 64 blocks"):
        check(stream[: marks[2]] + END)


def test_fill_bytes_before_a_restart() -> None:
    stream = saved(smooth((64, 64), 8), quality=90, restart_marker_blocks=8)
    at = stream.index(b"\xff\xd2", data_of(stream))
    check(stream[:at] + b"\xff\xff" + stream[at:])


def gray_stream(dc: bytes, ac: bytes, data: bytes, shape: tuple[int, int] = (8, 8)) -> bytes:
    """A stream of one component with these tables (counts and symbols)."""
    frame = struct.pack(">BHHB", 8, *shape, 1) + b"\1\x11\0"
    segments = [(0xDB, b"\0" + b"\1" * 64), (0xC0, frame), (0xC4, b"\0" + dc), (0xC4, b"\x10" + ac)]
    segments.append((0xDA, b"\1\1\0\0\x3f\0"))
    head = b"".join(b"\xff" + bytes([m]) + struct.pack(">H", len(body) + 2) + body for m, body in segments)
    return b"\xff\xd8" + head + data.replace(b"\xff", b"\xff\0") + END


def spec(*lengths_and_symbols: tuple[int, int]) -> bytes:
    counts = bytearray(16)
    for length, _ in lengths_and_symbols:
        counts[length - 1] += 1
    return bytes(counts) + bytes(symbol for _, symbol in sorted(lengths_and_symbols, key=lambda pair: pair[0]))


def packed(bits: str) -> bytes:
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


SIZE_0 = spec((1, 0))  # DC: "0" is no difference
RUNS = spec((1, 0x00), (2, 0xF0), (3, 0xE1), (14, 0x01))  # AC: "0" ends, "10" 16 zeros, "110x" 14 zeros and one more


@pytest.mark.parametrize(
    ("bits", "blocks"),
    [
        ("0" + "0", 1),
        ("0" + "101010" + "1101" + "0" + "0" + "0", 2),  # 48 + 15 coefficients: the last one, so no end; a second block
        ("0" + "11100000000000" + "1" + "0", 1),  # a code of 14 bits
    ],
)
def test_codes_of_whole_blocks(bits: str, blocks: int) -> None:
    stream = gray_stream(SIZE_0, RUNS, packed(bits), (8, 8 * blocks))
    assert imagecodecs.jpeg8_decode(stream).shape == (8, 8 * blocks)
    check(stream)


@pytest.mark.parametrize(
    "bits",
    [
        "0" + "10101010",  # more zeros than coefficients
        "0" + "101010" + "110" + "1" + "1101" + "0" * 4,
        "1" + "0" * 7,  # no such DC code
        "0" + "1111" + "0" * 3,  # no such AC code
        "0" + "1010101",  # it ends within its last block
    ],
)
def test_codes_that_are_of_no_block(bits: str) -> None:
    with pytest.raises(StreamError):
        check(gray_stream(SIZE_0, RUNS, packed(bits)[: -(-len(bits) // 8)]))


def test_the_last_of_tables_with_one_number_counts() -> None:
    stream = gray_stream(SIZE_0, RUNS, packed("00"))
    at = stream.index(b"\xff\xc4")
    other = b"\0" + spec((2, 0))
    check(stream[:at] + b"\xff\xc4" + struct.pack(">H", len(other) + 2) + other + stream[at:])
    with pytest.raises(StreamError):
        check(stream.replace(SIZE_0, spec((5, 0))))


def test_what_is_left_to_the_decoder() -> None:
    """Nothing is said of a stream whose segments leave something open; and nothing outside of it is touched."""
    stream = saved(smooth((40, 40, 3), 8), quality=90, subsampling=0)
    cut = stream[:-60] + END
    with pytest.raises(StreamError):
        check(cut)
    frame, scan = cut.index(b"\xff\xc0"), cut.index(b"\xff\xda")
    same_names = bytearray(cut)
    for at in (frame + 10, frame + 13, frame + 16, scan + 5, scan + 7, scan + 9):
        same_names[at] = 1
    check(bytes(same_names))
    twice = of_three_scans(smooth((40, 40, 3), 8))[:-2]
    check(twice + twice[twice.rindex(b"\xff\xda") : -30] + END)  # a component that has had its scan
    for table in (
        spec(*((1, k) for k in range(3))),
        bytes(14) + b"\xff\x10" + bytes(271),
        b"\xff" * 16 + bytes(256),
        b"",
    ):
        check(gray_stream(table, RUNS, packed("00")))  # no Huffman code, or none of its symbols
        check(gray_stream(SIZE_0, table, packed("00")))
    gray = gray_stream(SIZE_0, RUNS, packed("00"))
    for excess in (4, 40, 250, 400):  # a scan header that is longer than what is left
        later = gray[:-2] + b"\xff\xfe\0\2\xff\0\0\4\xff\xd9" + gray[2:-3]
        start = later.rindex(b"\xff\xda")
        check(later[: start + 2] + struct.pack(">H", 8 + excess) + later[start + 4 :])
        start = gray.index(b"\xff\xda")
        check(gray[: start + 2] + struct.pack(">H", 8 + excess) + gray[start + 4 :])


def test_what_follows_the_end_is_not_looked_at() -> None:
    """libjpeg passes over FF 00 between segments; read as one with a length it would hide the end."""
    gray = gray_stream(SIZE_0, RUNS, packed("00"))
    other = gray[2:-3].replace(b"\1\x11\0", b"\2\x11\0").replace(b"\1\1\0\0\x3f", b"\1\2\0\0\x3f") + END
    with pytest.raises(StreamError):
        check(gray[:2] + other)
    check(gray + other)
    check(gray[:-2] + b"\xff\xfe\0\2\xff\0\0\4\xff\xd9" + other)


def test_many_segments_take_no_time() -> None:
    stream = gray_stream(SIZE_0, RUNS, packed("00"))
    table = b"\xff\xc4\0\x14\0" + SIZE_0
    at = stream.index(b"\xff\xc4")
    check(stream[:at] + table * 400 + stream[at:])
    check(stream[:at] + table * 400_000 + stream[at:])  # seconds where each of them looks at those before it


@given(st.lists(streams(), min_size=2, max_size=5), st.data())
def test_streams_together_are_those_one_by_one(many: list[bytes], data: st.DataObject) -> None:
    mixed = [*many, many[0], *many[::-1], many[0]]
    check_blocks(mixed)
    place = data.draw(st.integers(0, len(mixed) - 1))
    mixed[place] = mixed[place][:-2] + bytes(range(1, 30)) + END
    with pytest.raises(StreamError) as one:
        check(mixed[place])
    with pytest.raises(StreamError) as together:
        check_blocks(mixed)
    assert str(one.value) == str(together.value)


def of_three_scans(image: NDArray[np.uint8]) -> bytes:
    """A colour image whose components have a scan each (A.2.2), from three gray streams by libjpeg."""
    planes = [saved(np.ascontiguousarray(image[..., k]), quality=90) for k in range(3)]
    start = planes[0].index(b"\xff\xc0")
    tables = planes[0][:start] + planes[0][start + 13 : planes[0].rindex(b"\xff\xda")]  # without its frame header
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, *image.shape[:2], 3) + b"R\x11\0G\x11\0B\x11\0"
    scans = [b"\xff\xda" + struct.pack(">HB", 8, 1) + bytes([name]) + b"\0\0\x3f\0" for name in b"RGB"]
    return tables + frame + b"".join(s + p[data_of(p) : -2] for s, p in zip(scans, planes, strict=True)) + END


def test_a_scan_for_each_component() -> None:
    image = smooth((52, 76, 3), 8)
    stream = of_three_scans(image)
    decoded = imagecodecs.jpeg8_decode(stream, colorspace="RGB", outcolorspace="RGB")
    assert np.abs(decoded.astype(int) - image).max() < 24  # it is what it is meant to be
    check(stream)
    starts = [at for at in range(len(stream)) if stream[at : at + 2] == b"\xff\xda"]
    with pytest.raises(StreamError, match="ends after 2 of 3 components"):
        check(stream[: starts[2]] + END)
    with pytest.raises(StreamError, match="of 70 blocks"):
        check(stream[: starts[2] - 90] + stream[starts[2] :])


@pytest.mark.parametrize("restarts", [0, 3])
def test_components_that_are_sampled_less(restarts: int) -> None:
    """Blocks of a scan of its own fill the component; those of a common scan fill whole units (A.2.2, A.2.3)."""
    for subsampling in (0, 1, 2):
        for shape in ((17, 33, 3), (16, 16, 3), (1, 1, 3), (40, 8, 3)):
            check(saved(smooth(shape, 8), quality=80, subsampling=subsampling, restart_marker_blocks=restarts))
    gray = bytearray(saved(smooth((40, 24), 8), quality=80))
    at = gray.index(b"\xff\xc0")
    gray[at + 11] = 0x22  # of one component the factors mean nothing
    np.testing.assert_array_equal(
        imagecodecs.jpeg8_decode(bytes(gray)), imagecodecs.jpeg8_decode(saved(smooth((40, 24), 8), quality=80))
    )
    check(bytes(gray))


def test_other_processes_are_not_looked_at() -> None:
    image = smooth((40, 40), 8)
    for stream in (saved(image, progressive=True), bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=1))):
        check(stream[:-40] + END)


@pytest.mark.fuzz
@given(streams(), st.data())
def test_nothing_else_comes_of_damage(stream: bytes, data: st.DataObject) -> None:
    damaged = bytearray(stream)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(2, len(damaged) - 1))
        if data.draw(st.booleans()):
            damaged[at] = data.draw(st.sampled_from([0, 1, 0x11, 0x44, 0x7F, 0xC4, 0xD0, 0xDA, 0xDD, 0xFF]))
        else:
            del damaged[at : at + data.draw(st.integers(1, 30))]
        if len(damaged) < 8:
            return
    with suppress(StreamError):
        check(bytes(damaged))


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_data_that_became_zeros_are_damage(predictor: int, bits: int) -> None:
    """Zeros are the codes of pixels that look like data; where they are of too many pixels, more of them are left."""
    image = smooth((96, 96), bits)
    number = 70 if predictor == 1 else 57
    stream = bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=predictor, bitspersample=bits))
    header = parse_stream(stream, uid(number))
    assert header is not None
    check_tail(stream, header, image)
    first = data_of(stream)
    for kept in np.linspace(first, len(stream) - 300, 12).astype(int).tolist():
        damaged = stream[:kept] + bytes(len(stream) - kept - 2) + END
        assert not np.array_equal(imagecodecs.jpeg8_decode(damaged), image)
        for name in backends(uid(number)):
            with pytest.raises(DecodeError):
                codecs.decode_frame(name, damaged, format_of(number, image, bits))
