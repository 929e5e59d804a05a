"""Our decoder of lossless JPEG against libjpeg-turbo's, for any image and for any damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fastdicom
from codec_samples import damaged
from fastdicom.blocks import read_block
from fastdicom.codecs import decode_frame, decode_together, lossless_jpeg
from fastdicom.codecs.jpeg_bits import PADDED
from fastdicom.codecs.jpeg_tail import check_tail
from fastdicom.codecs.streams import StreamError, parse_stream
from fastdicom.codecs.together import TOGETHER
from fastdicom.errors import DecodeError
from fastdicom.planner import PlanOptions
from fastdicom.prepare import make_plan
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.types import PixelFormat
from guard_pages import guarded

UID = "1.2.840.10008.1.2.4.57"


def encoded(image: NDArray[Any], precision: int, predictor: int = 1) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(image, lossless=True, predictor=predictor, bitspersample=precision))


def format_of(image: NDArray[Any], precision: int, *, signed: bool = False) -> PixelFormat:
    return PixelFormat(
        UID, *image.shape[:2], bits_allocated=8 * image.itemsize, bits_stored=precision, high_bit=precision - 1,
        pixel_representation=int(signed), samples_per_pixel=1 if image.ndim == 2 else 3,
        photometric_interpretation="MONOCHROME2" if image.ndim == 2 else "RGB",
    )  # fmt: skip


def ours(data: bytes, shape: tuple[int, ...], precision: int, itemsize: int = 0) -> NDArray[Any] | None:
    """What the compiled decoder makes of a stream; None where it leaves it to others."""
    out = np.empty((1, *shape), f"u{itemsize or (1 if precision <= 8 else 2)}")
    spans = np.array([[0, len(data)]])
    return out[0] if lossless_jpeg._decode_all(np.frombuffer(data, np.uint8), spans, precision, out) else None


def with_guards(data: bytes, shape: tuple[int, int], precision: int) -> tuple[int, NDArray[Any]]:
    """The kernel with pages that cannot be touched right behind each of its arrays."""
    rows, columns = shape
    source = guarded(len(data), np.uint8)
    source[:] = np.frombuffer(data, np.uint8)
    memory = (
        guarded(len(data) + PADDED, np.uint8),
        guarded((4 * lossless_jpeg._CATEGORIES, 2), np.int64, fill=-777),
        guarded(lossless_jpeg._FACTS, np.int64, fill=-999),
        guarded(1 << lossless_jpeg._WINDOW, np.int32, fill=-1),
        guarded(1 << lossless_jpeg._WINDOW, np.uint64, fill=1 << 63),
    )
    out = guarded((rows * columns,), np.uint16)
    spans = np.array([[0, len(data)]])
    return lossless_jpeg._decode_frames(source, spans, rows, columns, precision, 16, *memory, out), out.reshape(shape)


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
    starts = 1 + np.cumsum([0, *(len(stream) + 2 for stream in streams[:-1])])
    spans = np.stack([starts, starts + [len(stream) for stream in streams]], axis=1)
    fmt = format_of(image, precision, signed=signed)
    out = np.empty((count, *image.shape), fmt.stored_dtype)
    assert decode_together("fastdicom.jpeg", buffer, spans, fmt, out) is False
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
    stream = damaged(data, encoded(image, precision, predictor), b"\xff\x00", b"\xff\xd9", b"\xff\xd0", b"\xff\xff")
    found = ours(stream, image.shape, precision)
    if found is None:
        return
    header = parse_stream(stream, UID)
    assert header is not None
    assert (header.rows, header.columns, header.precision) == (*image.shape, precision)
    check_tail(stream, header, found)
    assert np.array_equal(found, imagecodecs.jpeg8_decode(stream))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body


def skeleton(tables: bytes, shape: tuple[int, int], precision: int, data: bytes, **fields: int) -> bytes:
    """A stream with these DHT bodies and entropy-coded data; `fields`: what to say in SOF and SOS."""
    rows, columns = shape
    size = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    frame = segment(0xC3, bytes([precision]) + size + bytes([fields.get("components", 1), 1, 0x11, 0]))
    scan = bytes([1, fields.get("selector", 1), fields.get("table", 0) << 4, fields.get("predictor", 1)])
    scan += bytes([fields.get("end", 0), fields.get("transform", 0)])
    stuffed = data.replace(b"\xff", b"\xff\0")
    return b"\xff\xd8" + frame + segment(0xC4, tables) + segment(0xDA, scan) + stuffed + b"\xff\xd9"


def coded(image: NDArray[Any], precision: int, lengths: list[int], table: int = 0) -> tuple[bytes, bytes]:
    """(DHT body, data) of an image by predictor 1: `lengths[k]` is that of the code of category k."""
    order = sorted((length, k) for k, length in enumerate(lengths) if length)
    counts = bytes(sum(length == wanted for length, _ in order) for wanted in range(1, 17))
    codes, code, last = {}, 0, 0
    for length, k in order:
        code <<= length - last
        codes[k], code, last = f"{code:0{length}b}", code + 1, length
    values = image.astype(int)
    before = np.concatenate([np.concatenate([[[1 << (precision - 1)]], values[:-1, :1]]), values[:, :-1]], axis=1)
    bits = []
    for difference in ((values - before) % 65536).ravel().tolist():
        difference -= 65536 if difference > 32768 else 0
        k = abs(difference).bit_length()
        extra = difference if difference > 0 else difference + (1 << k) - 1
        bits.append(codes[k] + (f"{extra:0{k}b}" if 0 < k < 16 else ""))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big")
    return bytes([table]) + counts + bytes(k for _, k in order), data


TABLES = {
    "balanced": [5] * 15 + [6, 6],
    "rising": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16],
    "falling": [16, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1],
    "all of 16 bits": [16] * 17,
    "about the window": [12, 12, 12, 13, 13, 13, 11, 11, 11, 14, 14, 12, 12, 13, 12, 13, 12],
}


@pytest.mark.parametrize("lengths", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("number", [0, 3])
def test_codes_of_any_length(lengths: list[int], number: int) -> None:
    """By an encoder of our own, because libjpeg's makes short codes; its decoder is the oracle. Category 16, too."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 65536, (20, 31)).astype(np.uint16)
    image[3], image[4] = 0, np.where(np.arange(31) % 2, 32768, 0)
    image[5:9] = 1000 + rng.integers(-3, 4, (4, 31))
    tables, data = coded(image, 16, lengths, number)
    other = bytes([1]) + bytes([0] * 15) + b"\x01\x05"
    for stream in (
        skeleton(tables, image.shape, 16, data, table=number),
        skeleton(other + tables, image.shape, 16, data, table=number),
        skeleton(bytes([number]) + bytes([0, 1] + [0] * 14) + b"\x07" + tables, image.shape, 16, data, table=number),
    ):
        assert np.array_equal(imagecodecs.jpeg8_decode(stream), image)
        answer, found = with_guards(stream, image.shape, 16)
        assert answer == -1
        assert np.array_equal(found, image)


def valid() -> tuple[NDArray[Any], bytes, bytes]:
    image = np.random.default_rng(0).integers(0, 4096, (12, 9)).astype(np.uint16)
    return image, *coded(image, 12, TABLES["balanced"])


@pytest.mark.parametrize(
    "fields",
    [{"selector": 2}, {"table": 4}, {"table": 1}, {"predictor": 0}, {"predictor": 8}, {"end": 1}, {"transform": 1}],
)
def test_headers_that_are_not_plain_are_for_others(fields: dict[str, int]) -> None:
    image, tables, data = valid()
    assert np.array_equal(ours(skeleton(tables, image.shape, 12, data), image.shape, 12), image)
    assert with_guards(skeleton(tables, image.shape, 12, data, **fields), image.shape, 12)[0] == 0


@pytest.mark.parametrize("precision", [0, 1, 11, 13, 17, 255])
def test_another_precision_is_refused(precision: int) -> None:
    image, tables, data = valid()
    stream = skeleton(tables, image.shape, precision, data)
    assert ours(stream, image.shape, 12) is None
    if precision in (0, 1, 17, 255):
        assert ours(stream, image.shape, lossless_jpeg._ANY, 2) is None
        assert ours(stream, image.shape, precision, 2) is None


def test_another_size_is_refused() -> None:
    image, tables, data = valid()
    for shape in ((11, 9), (12, 10), (9, 12), (0, 9), (12, 0), (65535, 65535)):
        assert ours(skeleton(tables, shape, 12, data), image.shape, 12) is None
    stream = skeleton(tables, image.shape, 12, data)
    spans, source = np.array([[0, len(stream)]]), np.frombuffer(stream, np.uint8)
    assert lossless_jpeg._decode_all(source, spans, 12, np.empty((1, 12, 9), np.uint16))
    for out in (np.empty((2, 12, 9), np.uint16), np.empty((1, 12, 8), np.uint16), np.empty((1, 12, 9), np.uint8)):
        assert not lossless_jpeg._decode_all(source, spans, 12, out)
    for wrong in ([[0, len(stream) + 1]], [[-1, len(stream)]]):
        assert not lossless_jpeg._decode_all(source, np.array(wrong), 12, np.empty((1, 12, 9), np.uint16))


def test_tables_that_are_not_regular_are_for_others() -> None:
    image, tables, data = valid()
    counts, symbols = tables[1:17], tables[17:]
    wrong = {
        "number 4": b"\x04" + tables[1:],
        "class 1": b"\x10" + tables[1:],
        "symbol 17": tables[:-1] + b"\x11",
        "too few symbols": tables[:-1],
        "a byte more": tables + b"\0",
        "three codes of one bit": b"\0" + bytes([3]) + bytes(15) + b"\0\1\2",
        "over-full": b"\0" + bytes([1, 1, 3]) + bytes(13) + b"\0\1\2\3\4",
        "too many": b"\0" + bytes([255] * 16) + bytes(200),
    }
    assert len(counts) + len(symbols) == 33
    for name, body in wrong.items():
        answer, _ = with_guards(skeleton(body, image.shape, 12, data), image.shape, 12)
        assert answer == 0, name


def test_samples_beyond_the_precision_are_for_others() -> None:
    """libjpeg hands them out; what is done with them then is decided elsewhere."""
    image = np.full((4, 5), 4000, np.uint16)
    image[2, 3] = 4095
    tables, data = coded(image, 12, TABLES["balanced"])
    assert ours(skeleton(tables, image.shape, 12, data), image.shape, 12) is not None
    for at in ((0, 0), (0, 4), (3, 0), (2, 2)):
        beyond = np.full((4, 5), 4000, np.uint16)
        beyond[at] = 5000
        tables, data = coded(beyond, 12, TABLES["balanced"])
        for predictor in (1, 2, 7):
            assert ours(skeleton(tables, image.shape, 12, data, predictor=predictor), image.shape, 12) is None
    for column in range(32):  # both of two that are looked up together
        beyond = np.full((1, 64), 15, np.uint16)
        beyond[0, column] = 16
        tables, data = coded(beyond, 4, TABLES["rising"])
        assert ours(skeleton(tables, (1, 64), 4, data), (1, 64), 4) is None
        assert ours(skeleton(tables, (1, 64), 5, data), (1, 64), 5) is not None


@pytest.mark.parametrize("data", [b"", b"\0", bytes(7), bytes(40)])
def test_data_that_end_early_are_not_read_past(data: bytes) -> None:
    """A bit 0 is a difference of 0 here, and zeros follow the data: they last for as long as memory does."""
    tables, _ = coded(np.zeros((1, 1), np.uint16), 2, TABLES["rising"])
    for shape in ((1, 60_000), (200, 7), (300, 64)):
        assert with_guards(skeleton(tables, shape, 12, data), shape, 12)[0] == 0


def test_a_marker_inside_the_data_is_for_others() -> None:
    image, tables, data = valid()
    stream = skeleton(tables, image.shape, 12, data)
    middle = len(stream) - len(data) // 2
    assert ours(stream[:middle] + b"\xff\xd0" + stream[middle:], image.shape, 12) is None
    image = np.random.default_rng(0).integers(0, 4096, (60, 70)).astype(np.uint16)
    tables, data = coded(image, 12, TABLES["balanced"])
    stream = skeleton(tables, image.shape, 12, data)
    assert np.array_equal(ours(stream, image.shape, 12), image)
    start = len(stream) - len(data) - data.count(0xFF) - 2
    assert b"\xff\0" in stream[start:]
    for marker in (b"\xff\xd0", b"\xff\xfe"):
        assert ours(stream[:start] + stream[start:].replace(b"\xff\0", marker, 1), image.shape, 12) is None


def test_the_table_of_one_frame_is_not_that_of_the_next() -> None:
    image, tables, data = valid()
    whole, without = skeleton(tables, image.shape, 12, data), skeleton(b"", image.shape, 12, data)
    buffer = np.frombuffer(whole + without, np.uint8)
    out = np.empty((2, *image.shape), np.uint16)
    spans = np.array([[0, len(whole)], [len(whole), len(buffer)]])
    assert lossless_jpeg._decode_all(buffer, spans, 12, out) == 1
    assert lossless_jpeg._decode_all(buffer, spans[[0, 0]], 12, out)
    assert np.array_equal(out, [image, image])


def test_a_second_frame_header_is_for_others() -> None:
    image, tables, data = valid()
    stream = skeleton(tables, image.shape, 12, data)
    frame = segment(0xC3, bytes([12, 0, 12, 0, 9, 1, 1, 0x11, 0]))
    assert ours(stream[:2] + frame + stream[2:], image.shape, 12) is None


@pytest.mark.fuzz
def test_hostile_streams_stay_within_their_memory() -> None:
    """Whole skeletons with tables, sizes and data of any kind, and pages behind every array that end the process."""
    rng = np.random.default_rng(5)
    accepted = 0
    for _ in range(4000):
        shape = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
        precision = int(rng.integers(2, 17))
        body = b""
        for _ in range(int(rng.integers(1, 3))):
            kind = int(rng.integers(0, 5))
            if kind == 0:
                counts = np.bincount(rng.integers(0, 16, rng.integers(1, 18)), minlength=16)
            elif kind == 1:
                counts = np.array([1] * 15 + [2])
            elif kind == 2:
                counts = rng.integers(0, 256, 16)
            elif kind == 3:
                counts = np.array([0] * 15 + [17])
            else:
                counts = np.array([0, 3, *[1] * 13, 2])
            symbols = rng.permutation(17)[: counts.sum()] if counts.sum() <= 17 else rng.integers(0, 20, 300)
            body += bytes([int(rng.choice([0, 0, 0, 1, 3, 4]))]) + bytes(counts.tolist()) + bytes(symbols.tolist())
        pixels = shape[0] * shape[1]
        some, whole = rng.integers(0, pixels * 3 + 10), -(-pixels * (1 + symbols[0]) // 8)  # zeros, by the second kind
        data = rng.integers(0, 256, int(rng.choice([some, whole]))).astype(np.uint8)
        data &= rng.choice([0x00, 0x11, 0xFF], size=1, p=[0.3, 0.2, 0.5]).astype(np.uint8)
        table, predictor = int(rng.choice([0, 0, 0, 1, 3])), int(rng.integers(1, 8))
        stream = skeleton(body, shape, precision, data.tobytes(), table=table, predictor=predictor)
        if rng.random() < 0.2:
            stream = stream[: int(rng.integers(0, len(stream) + 1))]
        answer, found = with_guards(stream, shape, precision)
        if answer == -1:
            accepted += 1
            assert np.array_equal(found, imagecodecs.jpeg8_decode(stream))
    assert accepted > 0


def test_it_counts_its_codes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the end of a frame that our decoder made is looked at once more")

    image, tables, data = valid()
    monkeypatch.setattr("fastdicom.codecs.decoding.check_tail", refuse)
    stream = skeleton(tables, image.shape, 12, data)
    assert np.array_equal(decode_frame("fastdicom.jpeg", stream, format_of(image, 12)), image)


@pytest.mark.parametrize("precision", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("values", ["stored", "modality"])
def test_whole_series_are_made_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signed: bool, precision: int, values: str
) -> None:
    """Also where the stream has more bits than Bits Stored, as GDCM writes it. Signed ones with more go one by one."""
    spec = SeriesSpec(slices=5, rows=20, columns=30, bits_stored=12, signed=signed, transfer_syntax_uid=UID)
    series = write_series(tmp_path, spec)
    if precision == 16:
        for path in map(str, series.paths):
            dataset = pydicom.dcmread(path)
            pixels = dataset.pixel_array
            dataset.PixelData = pydicom.encaps.encapsulate([encoded(pixels.view(np.uint16), 16)])
            dataset.save_as(path)
    answers = []
    together = TOGETHER["fastdicom.jpeg"]

    def counted(*arguments: Any) -> int:
        answers.append(together(*arguments))
        return answers[-1]

    monkeypatch.setitem(TOGETHER, "fastdicom.jpeg", counted)
    found = fastdicom.load_volume(tmp_path, values=values).array
    expected = fastdicom.load_volume(tmp_path, values=values, decoder="imagecodecs").array
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)
    if values == "stored":
        assert np.array_equal(found, series.stored)
    assert {answer > 0 for answer in answers} == {not (signed and precision == 16)}


def test_memory_that_is_not_aligned_is_filled_all_the_same(tmp_path: Path) -> None:
    series = write_series(tmp_path, SeriesSpec(slices=3, rows=20, columns=30, transfer_syntax_uid=UID))
    plan = make_plan(fastdicom.scan(tmp_path)[0], PlanOptions(values="stored"))
    memory = np.zeros(int(np.prod(plan.shape)) * 2 + 1, np.uint8)
    out = memory[1:].view(plan.dtype).reshape(plan.shape)
    assert not out.flags.aligned
    read_block(plan, None, out)
    assert np.array_equal(out, series.stored)


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
            answer = lossless_jpeg._decode_frames.python(source, spans, *image.shape, precision, 16, *memory, plain)
        assert answer == -1
        assert np.array_equal(plain.reshape(image.shape), image)
