"""The short way to the code stream of a file with one frame finds what the long way finds, or leaves it to that."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec_samples import MemoryReader
from fastdicom.errors import PixelDataError
from fastdicom.frames import index_frames, only_frame, only_frames, read_encapsulated, read_only_frame
from fastdicom.types import PixelLocation

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def item(content: bytes) -> bytes:
    return ITEM + struct.pack("<I", len(content)) + content


@given(
    table=st.sampled_from([b"", bytes(4), bytes(8), b"\1\0\0\0"]),
    fragments=st.lists(st.binary(max_size=40), max_size=5),
    before=st.binary(max_size=20),
    after=st.sampled_from([b"", b"\xfc\xff\xfc\xff\0\0\0\0", b"\0" * 30, ITEM * 4]),
    delimited=st.booleans(),
)
def test_it_is_the_long_way(table: bytes, fragments: list[bytes], before: bytes, after: bytes, delimited: bool) -> None:
    body = item(table) + b"".join(map(item, fragments)) + (DELIMITER + bytes(4) if delimited else b"")
    reader, location = MemoryReader(before + body + after), PixelLocation(len(before), -1)
    found = read_only_frame(reader, location)
    if found is not None:
        assert bytes(found) == b"".join(fragments)
        assert bytes(read_encapsulated(reader, index_frames(reader, location), 0)) == bytes(found)
    else:
        assert not delimited or not any(fragments)


@given(st.binary(max_size=200), st.data())
def test_any_bytes(noise: bytes, data: st.DataObject) -> None:
    body = bytearray(item(b"") + item(noise) + DELIMITER + bytes(4))
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    reader, location = MemoryReader(bytes(body)), PixelLocation(0, -1)
    found = read_only_frame(reader, location)
    if found is not None:
        try:
            slow = read_encapsulated(reader, index_frames(reader, location), 0)
        except PixelDataError:
            raise AssertionError("the short way takes what the long way refuses") from None
        assert bytes(slow) == bytes(found)


@given(st.integers(2, 4))
def test_several_frames_are_for_the_index(count: int) -> None:
    body = item(b"") + item(b"ab") * count + DELIMITER + bytes(4)
    assert read_only_frame(MemoryReader(body), PixelLocation(0, -1, number_of_frames=count)) is None


def test_one_read() -> None:
    reads: list[tuple[int, int]] = []

    class Spy(MemoryReader):
        def readinto_at(self, offset: int, buffer: memoryview) -> int:
            reads.append((offset, len(buffer)))
            return super().readinto_at(offset, buffer)

    body = item(b"") + item(b"abcd") + item(b"ef") + DELIMITER + bytes(4)
    assert bytes(read_only_frame(Spy(b"xx" + body), PixelLocation(2, -1)) or b"") == b"abcdef"
    assert reads == [(2, len(body))]
    scratch = bytearray(b"-" * 100)
    assert bytes(read_only_frame(Spy(b"xx" + body), PixelLocation(2, -1), scratch) or b"") == b"abcdef"
    assert len(scratch) == 100


def test_a_frame_that_is_held_stays_as_it_is() -> None:
    scratch = bytearray()
    small, large = (item(b"") + item(content) + DELIMITER + bytes(4) for content in (b"ab", b"c" * 50))
    held = read_only_frame(MemoryReader(small), PixelLocation(0, -1), scratch)
    found = read_only_frame(MemoryReader(large), PixelLocation(0, -1), scratch)
    assert (bytes(held or b""), bytes(found or b"")) == (b"ab", b"c" * 50)


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2)), max_size=5), st.data())
def test_several_files_are_each_of_them(files: list[tuple[bytes, int]], data: st.DataObject) -> None:
    """Whatever is damaged: nothing is taken from the file after it, and nothing that is refused alone."""
    bodies = []
    for content, shape in files:
        fragments = [content] if shape < 2 else [content, b"more"]
        body = bytearray(item(bytes(4 * shape)) + b"".join(map(item, fragments)) + DELIMITER + bytes(4 + shape))
        for _ in range(data.draw(st.integers(0, 2))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        bodies.append(bytes(body[: data.draw(st.sampled_from([None, None, -1, -8, -9, 7]))]))
    joined = np.frombuffer(b"".join(bodies), np.uint8)
    spans = only_frames(joined, [len(body) for body in bodies])
    alone = [only_frame(memoryview(body)) for body in bodies]
    in_one_fragment = [one is not None and one.obj is body for one, body in zip(alone, bodies, strict=True)]
    assert (spans is not None) == all(in_one_fragment)
    if spans is not None:
        for (start, stop), one, first in zip(spans, alone, np.cumsum([0, *map(len, bodies)]), strict=False):
            assert one is not None
            assert start > first
            assert joined[start:stop].tobytes() == bytes(one)


def test_lengths_that_are_not_those_of_the_data_are_refused() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        only_frames(np.zeros(10, np.uint8), [4, 5])
    found = only_frames(np.zeros(0, np.uint8), [])
    assert found is not None
    assert found.shape == (0, 2)
