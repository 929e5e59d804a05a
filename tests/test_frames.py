"""frames: only the bytes of the frame asked for, whatever the offset tables say. Oracle: pydicom.encaps."""

from __future__ import annotations

import io
import itertools
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, encapsulate_extended, generate_fragments, generate_frames
from pydicom.pixels.decoders.base import get_decoder

import fastdicom
from fastdicom.errors import PixelDataError
from fastdicom.frames import (
    index_frames,
    inflate,
    is_encapsulated,
    native_bit_offset,
    native_frame_span,
    read_encapsulated,
    read_native_into,
    read_only_frame,
)
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

LITTLE = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"
ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"
PREFIX = 137  # odd on purpose: nothing in a file is aligned


class MemoryReader:
    """A ByteReader that counts what it is asked for."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.calls, self.nbytes = 0, 0

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset >= 0
        assert length >= 0
        part = self.data[offset : offset + length]
        self.calls, self.nbytes = self.calls + 1, self.nbytes + len(part)
        return part

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        part = self.read_at(offset, buffer.nbytes)
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None: ...

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(self, *exc: object) -> None: ...


def test_memory_reader_is_a_byte_reader() -> None:
    assert isinstance(MemoryReader(b""), ByteReader)


def _sequence(
    frames: list[list[bytes]], *, table: str = "right", delimiter: bool = True, trailing: bytes = b""
) -> tuple[MemoryReader, PixelLocation]:
    """A file with these fragments, and a Basic Offset Table that is right, empty or wrong."""
    offsets, body = [], b""
    for fragments in frames:
        offsets.append(len(body))
        for fragment in fragments:
            body += ITEM + struct.pack("<I", len(fragment)) + fragment
    tables = {
        "right": offsets,
        "empty": [],
        "short": offsets[:-1],
        "shifted": [o + 8 for o in offsets],
        "descending": offsets[::-1],
        "beyond": [*offsets[:-1], 2**32 - 16],
        "off by two": [0, *(o + 2 for o in offsets[1:])],
    }
    entries = tables[table]
    head = ITEM + struct.pack("<I", 4 * len(entries)) + struct.pack(f"<{len(entries)}I", *entries)
    data = b"\xa5" * PREFIX + head + body + (DELIMITER if delimiter else b"") + trailing
    return MemoryReader(data), PixelLocation(PREFIX, -1, number_of_frames=len(frames))


def _read_all(reader: MemoryReader, location: PixelLocation, fmt: PixelFormat | None = None) -> list[bytes]:
    index = index_frames(reader, location, fmt, path="x.dcm")
    index = pickle.loads(pickle.dumps(index))
    assert len(index) == location.number_of_frames
    return [bytes(read_encapsulated(reader, index, i, path="x.dcm")) for i in range(len(index))]


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


any_fragment = st.binary(min_size=1, max_size=40).map(_even)
any_frames = st.lists(st.lists(any_fragment, min_size=1, max_size=4), min_size=1, max_size=6)


@given(any_frames, st.sampled_from(["right", "right, not delimited"]))
def test_any_fragmentation_is_joined_as_the_table_says(frames: list[list[bytes]], how: str) -> None:
    reader, location = _sequence(frames, delimiter=how == "right")
    assert _read_all(reader, location) == [b"".join(f) for f in frames]
    value = reader.data[PREFIX:]
    assert _read_all(reader, location) == list(generate_frames(value, number_of_frames=len(frames)))


@given(st.lists(any_fragment, min_size=1, max_size=6), st.sampled_from(["empty", "short", "descending", "beyond"]))
def test_one_fragment_a_frame_needs_no_table(fragments: list[bytes], table: str) -> None:
    if table != "empty" and len(fragments) < 3:
        table = "empty"
    reader, location = _sequence([[f] for f in fragments], table=table)
    assert _read_all(reader, location) == fragments


@given(any_frames, st.sampled_from(["empty", "shifted", "off by two", "short"]))
def test_without_a_usable_table_start_markers_tell_the_frames(frames: list[list[bytes]], table: str) -> None:
    marked = [[b"\xff\xd8\xff\xe0" + f[0], *(b"\0\0" + g for g in f[1:])] for f in frames]
    reader, location = _sequence(marked, table=table if len(frames) > 1 else "empty")
    fmt = PixelFormat(JPEG, 8, 8)
    assert _read_all(reader, location, fmt) == [b"".join(f) for f in marked]


def test_a_table_that_starts_late_would_lose_the_first_fragment() -> None:
    frames = [[b"\xff\xd8\xff\xe0" + b"a" * 8, b"b" * 4], [b"\xff\xd8\xff\xe0" + b"c" * 4]]
    reader, location = _sequence(frames)
    data = bytearray(reader.data)
    struct.pack_into("<I", data, PREFIX + 8, 8 + 12)
    assert _read_all(MemoryReader(bytes(data)), location) == [b"".join(f) for f in frames]


@pytest.mark.parametrize(
    ("uid", "start"),
    [
        (JPEG, b"\xff\xd8\xff\xdb"),
        ("1.2.840.10008.1.2.4.90", b"\xff\x4f\xff\x51"),
        ("1.2.840.10008.1.2.4.90", b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
        ("1.2.840.10008.1.2.4.110", b"\xff\x0a"),
        ("1.2.840.10008.1.2.4.110", b"\x00\x00\x00\x0cJXL \r\n\x87\n"),
        (RLE, struct.pack("<16I", 2, 64, 70, *([0] * 13))),
    ],
)
def test_start_markers_of_each_codec(uid: str, start: bytes) -> None:
    frames = [[start + b"a" * 10, b"b" * 6], [start + b"c" * 4], [start, b"d" * 2, b"e" * 2]]
    reader, location = _sequence(frames, table="empty")
    for fmt in (PixelFormat(uid, 4, 4), None):
        assert _read_all(reader, location, fmt) == [b"".join(f) for f in frames]


@given(st.lists(any_fragment, min_size=1, max_size=6), st.data())
def test_extended_offset_table(fragments: list[bytes], data: st.DataObject) -> None:
    value, offsets, lengths = encapsulate_extended(fragments)
    blob = offsets + lengths + value + DELIMITER
    location = PixelLocation(2 * len(offsets), -1, len(fragments), (0, len(offsets)), (len(offsets), len(lengths)))
    index = index_frames(MemoryReader(blob), location)
    assert index.table == "extended"
    assert _read_all(MemoryReader(blob), location) == fragments
    # A wrong one is ignored: the items still say where the frames are.
    if len(fragments) > 1:
        wrong = bytearray(blob)
        place = data.draw(st.integers(1, len(fragments) - 1))
        entry = struct.unpack_from("<Q", wrong, 8 * place)[0]
        struct.pack_into("<Q", wrong, 8 * place, data.draw(st.sampled_from([entry + 1, 2**64 - 1, 0])))
        assert _read_all(MemoryReader(bytes(wrong)), location) == fragments


@given(st.lists(any_fragment, min_size=1, max_size=5), st.booleans(), st.integers(1, 3))
def test_what_pydicom_encapsulates(frames: list[bytes], has_bot: bool, per_frame: int) -> None:
    if len(frames) > 1 and not has_bot:
        per_frame = 1  # otherwise nothing tells the frames apart
    frames = [b"\x01\x02" * 8 + f for f in frames]  # long enough for so many fragments
    value = encapsulate(frames, fragments_per_frame=per_frame, has_bot=has_bot)
    reader, location = MemoryReader(b"\0" * PREFIX + value), PixelLocation(PREFIX, -1, len(frames))
    assert _read_all(reader, location) == list(generate_frames(value, number_of_frames=len(frames)))


def test_fragments_that_match_nothing_are_refused() -> None:
    reader, location = _sequence([[b"aa", b"bb"], [b"cc"]], table="empty")
    with pytest.raises(PixelDataError, match=r"2 frames in 3 fragments.*cannot be matched.*x\.dcm") as caught:
        index_frames(reader, location, PixelFormat(JPEG, 8, 8), path="x.dcm")
    assert (caught.value.expected, caught.value.found) == (2, 3)  # type: ignore[attr-defined]


def test_trailing_bytes_after_the_delimiter_are_not_read() -> None:
    reader, location = _sequence([[b"aa"], [b"bb"]], trailing=ITEM + b"\x04\0\0\0" + b"cccc")
    assert _read_all(reader, location) == [b"aa", b"bb"]


@pytest.mark.parametrize("table", ["right", "empty"])
@pytest.mark.parametrize("claimed", [1000, 2**31, 2**32 - 2])
def test_fragment_beyond_the_file_fails_only_its_frame(table: str, claimed: int) -> None:
    frames = [[b"\xff\xd8\xff" + bytes([i]) * 29] for i in range(3)]
    reader, location = _sequence(frames, table=table, delimiter=False)
    at = reader.data.rfind(ITEM)
    broken = MemoryReader(reader.data[: at + 4] + struct.pack("<I", claimed) + reader.data[at + 8 :])
    index = index_frames(broken, location, PixelFormat(JPEG, 8, 8))
    assert [bytes(read_encapsulated(broken, index, i)) for i in (0, 1)] == [f[0] for f in frames[:2]]
    with pytest.raises(PixelDataError, match=r"Frame 2 .*x\.dcm") as caught:
        read_encapsulated(broken, index, 2, path="x.dcm")
    assert caught.value.frame == 2  # type: ignore[attr-defined]
    assert caught.value.path == "x.dcm"  # type: ignore[attr-defined]


@pytest.mark.parametrize("table", ["right", "empty"])
def test_a_file_cut_anywhere_never_gives_other_bytes(table: str) -> None:
    frames = [[b"\xff\xd8\xff" + bytes([i]) * 29, b"\x11\x22"] for i in range(3)]
    whole, location = _sequence(frames, table=table)
    fmt = PixelFormat(JPEG, 8, 8)
    for end in range(len(whole.data)):
        cut = MemoryReader(whole.data[:end])
        try:
            index = index_frames(cut, location, fmt, path="x.dcm")
        except PixelDataError:
            continue
        for i, fragments in enumerate(frames):
            try:
                found = bytes(read_encapsulated(cut, index, i, path="x.dcm"))
            except PixelDataError:
                continue
            if i + 1 < len(frames) or end >= len(whole.data) - len(DELIMITER):
                assert found == b"".join(fragments), (end, i)
            else:  # the last frame, cut exactly between its fragments: nothing in the file says that one is missing
                assert b"".join(fragments).startswith(found)
                assert end == whole.data.rfind(ITEM)


def test_a_table_that_is_wrong_beyond_the_checked_items_fails_loudly() -> None:
    frames = [[bytes([i % 251]) * 6] for i in range(2000)]
    reader, location = _sequence(frames)
    broken = bytearray(reader.data)
    struct.pack_into("<I", broken, PREFIX + 8 + 4 * 1000, 1000 * 14 + 2)
    file = MemoryReader(bytes(broken))
    index = index_frames(file, location)
    for i in (998, 1001):
        assert bytes(read_encapsulated(file, index, i)) == frames[i][0]
    for i in (999, 1000):
        with pytest.raises(PixelDataError, match="offset table"):
            read_encapsulated(file, index, i)


def test_only_the_bytes_of_the_frame_are_read() -> None:
    frames = [[bytes([i]) * 50_000] for i in range(20)]
    reader, location = _sequence(frames)
    index = index_frames(reader, location)
    assert reader.nbytes < 4096
    reader.calls = reader.nbytes = 0
    assert bytes(read_encapsulated(reader, index, 7)) == frames[7][0]
    assert (reader.calls, reader.nbytes) == (1, 50_008)


def test_number_of_frames_that_lies_allocates_nothing() -> None:
    reader, _ = _sequence([[b"aa"], [b"bb"]])
    with pytest.raises(PixelDataError, match="2147483647 frames in 2 fragments"):
        index_frames(reader, PixelLocation(PREFIX, -1, 2**31 - 1))


def test_native_data_that_claim_to_be_encapsulated() -> None:
    with pytest.raises(PixelDataError, match="do not start with an item"):
        index_frames(MemoryReader(b"\0" * 1000), PixelLocation(10, 990, 1), path="x.dcm")
    with pytest.raises(PixelDataError, match="undefined length"):
        native_frame_span(PixelFormat(LITTLE, 4, 4), PixelLocation(10, -1, 1), 0)
    assert is_encapsulated(RLE)
    assert not is_encapsulated(LITTLE)


@pytest.mark.fuzz
@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(-1, 400), st.integers(0, 50), st.integers(0, 310))
def test_hostile_sequences_end_in_a_typed_error(data: bytes, length: int, count: int, offset: int) -> None:
    reader = MemoryReader(ITEM + struct.pack("<I", len(data) % 16) + data)
    location = PixelLocation(offset % 8 if data else 0, length, count, (offset, 8 * count))
    try:
        index = index_frames(reader, location, path="x")
        for i in range(len(index)):
            read_encapsulated(reader, index, i, path="x")
    except PixelDataError:
        pass


# ---------------------------------------------------------------------------------------------------------- native


def test_native_frame_goes_into_the_slot_with_one_read_and_no_copy() -> None:
    rng = np.random.default_rng(1)
    volume = rng.integers(0, 4096, (5, 6, 7), dtype=np.uint16)
    reader = MemoryReader(b"\0" * PREFIX + volume.tobytes())
    fmt, location = PixelFormat(LITTLE, 6, 7), PixelLocation(PREFIX, volume.nbytes, 5)
    out = np.zeros((2, 6, 7), np.uint16)
    read_native_into(reader, fmt, location, 3, out[1])
    assert (reader.calls, reader.nbytes) == (1, 84)
    np.testing.assert_array_equal(out[1], volume[3])
    assert not out[0].any()


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2), st.sampled_from([1, 3]))
def test_native_rows_are_read_alone(first: int, last: int, frame: int, samples: int) -> None:
    shape = (3, 6, 7) if samples == 1 else (3, 6, 7, 3)
    volume = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    reader = MemoryReader(volume.tobytes())
    fmt = PixelFormat(LITTLE, 6, 7, samples, "RGB" if samples == 3 else "MONOCHROME2")
    expected = volume[frame, first:last]
    out = np.zeros(expected.shape, np.uint16)
    read_native_into(reader, fmt, PixelLocation(0, volume.nbytes, 3), frame, out, slice(first, last))
    np.testing.assert_array_equal(out, expected)
    assert reader.nbytes == expected.nbytes


def test_native_data_that_end_early_name_numbers_and_file() -> None:
    fmt = PixelFormat(LITTLE, 6, 7)
    out = np.zeros((6, 7), np.uint16)
    with pytest.raises(PixelDataError, match=r"ends at byte 84 .* only 83.*x\.dcm") as caught:
        read_native_into(MemoryReader(b"\0" * 200), fmt, PixelLocation(10, 83), 0, out, path="x.dcm")
    assert (caught.value.expected, caught.value.found) == (84, 83)  # type: ignore[attr-defined]
    with pytest.raises(PixelDataError, match=r"needs 84 bytes at offset 10, but only 70 .*x\.dcm"):
        read_native_into(MemoryReader(b"\0" * 80), fmt, PixelLocation(10, 84), 0, out, path="x.dcm")
    with pytest.raises(PixelDataError, match="Frame 1 is asked for"):
        read_native_into(MemoryReader(b"\0" * 800), fmt, PixelLocation(10, 168), 1, out)


def test_a_reader_that_returns_early_is_asked_again() -> None:
    class Slow(MemoryReader):
        def readinto_at(self, offset: int, buffer: memoryview) -> int:
            return super().readinto_at(offset, buffer[:5])

    data = bytes(range(84))
    out = np.zeros((6, 7), np.uint16)
    read_native_into(Slow(data), PixelFormat(LITTLE, 6, 7), PixelLocation(0, 84), 0, out)
    assert out.tobytes() == data


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.data())
def test_bit_packed_frames_start_where_pydicom_finds_them(
    rows: int, columns: int, count: int, data: st.DataObject
) -> None:
    bits = np.random.default_rng(rows * 100 + columns).integers(0, 2, rows * columns * count, dtype=np.uint8)
    packed = _even(np.packbits(bits, bitorder="little").tobytes())
    frame = data.draw(st.integers(0, count - 1))
    fmt = PixelFormat(LITTLE, rows, columns, bits_allocated=1, bits_stored=1, high_bit=0)
    offset, nbytes = native_frame_span(fmt, PixelLocation(0, len(packed), count), frame)
    shift = native_bit_offset(fmt, frame)
    raw = np.frombuffer(packed[offset : offset + nbytes], np.uint8)
    found = np.unpackbits(raw, bitorder="little")[shift : shift + rows * columns].reshape(rows, columns)
    expected, _ = get_decoder(LITTLE).as_array(
        packed, rows=rows, columns=columns, number_of_frames=count, samples_per_pixel=1,
        bits_allocated=1, bits_stored=1, pixel_representation=0, photometric_interpretation="MONOCHROME2",
        pixel_keyword="PixelData",
    )  # fmt: skip
    # All frames at once: its index= fails where a small frame lies in two bytes.
    np.testing.assert_array_equal(found, expected.reshape(count, rows, columns)[frame])


# -------------------------------------------------------------------------------------------------------- deflated


def _deflated(dataset: bytes, *, level: int = 6) -> bytes:
    uid = b"1.2.840.10008.1.2.1.99"
    meta = b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\x01" + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    lying = b"\x02\x00\x00\x00UL\x04\0" + struct.pack("<I", 7)  # a group length that is wrong
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return b"\0" * 128 + b"DICM" + lying + meta + packer.compress(dataset) + packer.flush()


def test_deflated_pixels_are_those_of_the_inflated_data_set() -> None:
    pixels = np.arange(3 * 6 * 7, dtype=np.uint16).reshape(3, 6, 7)
    header = bytes(range(200)) * 20
    reader = MemoryReader(_deflated(header + pixels.tobytes() + b"tail" * 100))
    fmt, location = PixelFormat(LITTLE + ".99", 6, 7), PixelLocation(len(header), pixels.nbytes, 3)
    with inflate(reader, location, fmt, path="x.dcm") as inflated:
        assert isinstance(inflated, ByteReader)
        for i in range(3):
            out = np.zeros((6, 7), np.uint16)
            read_native_into(inflated, fmt, location, i, out)
            np.testing.assert_array_equal(out, pixels[i])


def test_deflated_stream_that_is_cut_fails_the_frames_that_are_absent() -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (3, 60, 70), dtype=np.uint16)
    data = _deflated(b"h" * 100 + pixels.tobytes())
    fmt, location = PixelFormat(LITTLE + ".99", 60, 70), PixelLocation(100, pixels.nbytes, 3)
    cut = inflate(MemoryReader(data[: len(data) // 2]), location, fmt, path="x.dcm")
    out = np.zeros((60, 70), np.uint16)
    read_native_into(cut, fmt, location, 0, out)
    np.testing.assert_array_equal(out, pixels[0])
    with pytest.raises(PixelDataError, match="truncated"):
        read_native_into(cut, fmt, location, 2, out)
    with pytest.raises(PixelDataError, match=r"x\.dcm"):
        inflate(MemoryReader(data[:200]), location, fmt, path="x.dcm")
    whole = _deflated(b"")
    broken = whole[:-2] + b"\xff" * 100  # the empty stream is 2 bytes; ff starts a block of a type that does not exist
    with pytest.raises(PixelDataError, match=r"breaks after 0 .*x\.dcm"):
        inflate(MemoryReader(broken), location, fmt, path="x.dcm")


@pytest.mark.fuzz
def test_deflate_bomb_is_bounded_by_the_declared_image() -> None:
    import tracemalloc

    data = _deflated(b"\0" * (300 << 20), level=9)
    location = PixelLocation(100, 290 << 20, 1)
    fmt = PixelFormat(LITTLE + ".99", 64, 64)
    tracemalloc.start()
    try:
        reader = inflate(MemoryReader(data), location, fmt)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reader.size == 100 + 2 * 64 * 64 * 2  # one frame more, to see whether it is padding
    assert peak < 8 << 20


def test_reading_order_does_not_matter() -> None:
    frames = [[bytes([i]) * (10 + 2 * i)] for i in range(4)]
    reader, location = _sequence(frames)
    index = index_frames(reader, location)
    for order in itertools.permutations(range(4)):
        assert [bytes(read_encapsulated(reader, index, i)) for i in order] == [frames[i][0] for i in order]
    with pytest.raises(PixelDataError, match="Frame 4 is asked for"):
        read_encapsulated(reader, index, 4)
    assert io.BytesIO(reader.data).read(PREFIX) == b"\xa5" * PREFIX


JPEG = "1.2.840.10008.1.2.4.70"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("table", ["none", "basic"])
def test_more_code_streams_than_frames_are_refused(count: int, table: str) -> None:
    frames = [b"\xff\xd8\xff" + bytes([i]) * 21 for i in range(4)]
    data = encapsulate(frames, has_bot=table == "basic")
    reader, location = MemoryReader(data), PixelLocation(0, -1, count)
    assert read_only_frame(reader, location) is None
    with pytest.raises(PixelDataError, match=f"{count} frames in 4 fragments"):
        index_frames(reader, location, PixelFormat(JPEG, 4, 4), path="x.dcm")


def test_an_offset_table_that_skips_a_code_stream_is_refused() -> None:
    frames = [b"\xff\xd8\xff" + bytes([i]) * 21 for i in range(4)]
    body = b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(f)) + f for f in frames)
    data = b"\xfe\xff\x00\xe0" + struct.pack("<I3I", 12, 0, 32, 96) + body + b"\xfe\xff\xdd\xe0\0\0\0\0"
    reader = MemoryReader(data)
    index = index_frames(reader, PixelLocation(0, -1, 3), PixelFormat(JPEG, 4, 4))
    assert bytes(read_encapsulated(reader, index, 0)) == frames[0]
    with pytest.raises(PixelDataError, match="Frame 1 consists of 2 code streams") as caught:
        read_encapsulated(reader, index, 1, path="x.dcm")
    assert (caught.value.path, caught.value.frame) == ("x.dcm", 1)  # type: ignore[attr-defined]


def test_a_start_marker_inside_of_a_stream_is_no_frame(tmp_path: Path) -> None:
    """A SPIFF header (JPEG-LS) repeats the start marker; here a fragment begins with the second one."""
    spec = SeriesSpec(
        slices=2, rows=2, columns=2, bits_allocated=8, slope=None, intercept=None, transfer_syntax_uid=JPEG_LS,
        fragments_per_frame=2,
    )  # fmt: skip
    series = write_series(tmp_path, spec)
    fragments = generate_fragments(pydicom.dcmread(series.paths[0]).PixelData)
    assert [fragment[:3] for fragment in fragments][1:] == [b"\xff\xd8\xff"] * 2
    assert np.array_equal(fastdicom.load_volume(tmp_path, values="stored").array, series.stored)


JPEG_LS = "1.2.840.10008.1.2.4.80"


def _spiff(entries: tuple[bytes, ...] = ()) -> bytes:
    """A SPIFF header up to the start marker that is repeated behind it (T.84 F.2)."""
    header = b"\xff\xd8\xff\xe8\0\x20SPIFF\0" + b"\1" * 24
    for entry in entries:
        header += b"\xff\xe8" + struct.pack(">H", 2 + len(entry)) + entry
    return header + b"\xff\xe8\0\x08\0\0\0\x01"


STREAM = b"\xff\xd8\xff\xf7" + b"z" * 90 + b"\xff\xd9"
DIRECTORIES = [(), (b"\0\0\0\2" + b"t" * 12,), (b"\0\0\0\2" + b"t" * 12, b"\0\0\0\3" + b"u" * 500)]


@pytest.mark.parametrize("entries", DIRECTORIES)
@given(frames=st.lists(st.booleans(), min_size=1, max_size=6), more=st.integers(0, 2))
def test_only_a_whole_spiff_header_is_continued_by_a_start_marker(
    entries: tuple[bytes, ...], frames: list[bool], more: int
) -> None:
    """Each frame in one fragment, or in two of which the first is its SPIFF header; Number of Frames right or too low.

    A frame that is there must come, or an error: never be taken for the rest of the one before.
    """
    split = [[_spiff(entries), STREAM] if apart else [_spiff(entries) + STREAM] for apart in frames]
    reader, location = _sequence(split, table="empty")
    fmt = PixelFormat(JPEG_LS, 8, 8)
    assert _read_all(reader, location, fmt) == [b"".join(f) for f in split]
    low = location._replace(number_of_frames=location.number_of_frames - more)
    if more and low.number_of_frames > 0:
        with pytest.raises(PixelDataError, match="cannot be matched"):
            index_frames(reader, low, fmt, path="x.dcm")
    # A table that skips a frame, and the short way of a file with one.
    if len(frames) > 1:
        assert low.number_of_frames > 1 or read_only_frame(reader, location._replace(number_of_frames=1)) is None
        body = b"".join(ITEM + struct.pack("<I", len(f)) + f for f in itertools.chain(*split))
        last = sum(8 + len(f) for f in itertools.chain(*split[:-1]))
        table = ITEM + struct.pack("<I2I", 8, 0, last)
        skipping = MemoryReader(table + body + DELIMITER)
        index = index_frames(skipping, PixelLocation(0, -1, 2), fmt)
        if len(frames) == 2:
            assert bytes(read_encapsulated(skipping, index, 0)) == b"".join(split[0])
        else:
            with pytest.raises(PixelDataError, match=f"Frame 0 consists of {len(frames) - 1} code streams"):
                read_encapsulated(skipping, index, 0)


def test_a_file_cut_behind_a_spiff_header_has_no_frame_of_it() -> None:
    whole, location = _sequence([[_spiff(), STREAM], [_spiff(), STREAM]], table="empty")
    cut = MemoryReader(whole.data[: whole.data.rfind(STREAM) + 40])
    index = index_frames(cut, location, PixelFormat(JPEG_LS, 8, 8))
    assert bytes(read_encapsulated(cut, index, 0)) == _spiff() + STREAM
    with pytest.raises(PixelDataError, match="Frame 1 is not complete"):
        read_encapsulated(cut, index, 1)


@pytest.mark.parametrize(
    ("uid", "start", "end"),
    [
        (JPEG, b"\xff\xd8\xff\xc3", b"\xff\xd9"),
        ("1.2.840.10008.1.2.4.90", b"\xff\x4f\xff\x51", b"\xff\xd9\0"),
        ("1.2.840.10008.1.2.4.201", b"\xff\x4f\xff\x51", b"\xff\xd9"),
        ("1.2.840.10008.1.2.4.110", b"\xff\x0a", b""),
        (RLE, struct.pack("<16I", 1, 64, *([0] * 14)), b""),
    ],
    ids=["JPEG", "JPEG 2000", "HTJ2K", "JPEG XL", "RLE"],
)
@given(parts=st.lists(st.integers(1, 3), min_size=2, max_size=5))
def test_as_many_fragments_as_frames_are_no_frames_where_one_continues_another(
    uid: str, start: bytes, end: bytes, parts: list[int]
) -> None:
    """Number of Frames is the number of fragments by chance, though a frame has several of them."""
    frames = [[start + b"a" * 70, *([b"b" * 70] * (count - 1))] for count in parts]
    for frame in frames:
        frame[-1] += end
    reader, location = _sequence(frames, table="empty")
    fmt = PixelFormat(uid, 8, 8)
    assert _read_all(reader, location, fmt) == [b"".join(f) for f in frames]
    lying = location._replace(number_of_frames=sum(parts))
    if max(parts) > 1:
        with pytest.raises(PixelDataError, match=f"{sum(parts)} frames in {sum(parts)} fragments.*cannot be matched"):
            index_frames(reader, lying, fmt, path="x.dcm")


@pytest.mark.parametrize("damaged", range(3))
def test_one_damaged_start_costs_only_its_frame(damaged: int) -> None:
    """Each other frame is still where pydicom finds it: a fragment after a stream that has ended is a new frame."""
    frames = [b"\xff\xd8\xff\xc3" + bytes([i + 1]) * 90 + b"\xff\xd9" for i in range(3)]
    frames[damaged] = bytes(8) + frames[damaged][8:]
    reader, location = _sequence([[f] for f in frames], table="empty")
    found = _read_all(reader, location, PixelFormat(JPEG, 8, 8))
    assert found == frames == list(generate_frames(reader.data[PREFIX:], number_of_frames=3))
