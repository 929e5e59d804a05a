"""Deflated multi-frame files: any order of reads, without the inflated stream in memory."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_samples import MemoryReader
from fastdicom.errors import PixelDataError
from fastdicom.frames import deflated, inflate
from fastdicom.types import PixelFormat, PixelLocation

UID = "1.2.840.10008.1.2.1.99"
HEAD = bytes(range(200)) * 20


def packed(dataset: bytes) -> bytes:
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(UID)) + UID.encode()
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return b"\0" * 128 + b"DICM" + meta + packer.compress(dataset) + packer.flush()


def image(frames: int, rows: int, columns: int) -> tuple[np.ndarray, PixelFormat, PixelLocation]:
    pixels = np.random.default_rng(frames).integers(0, 4096, (frames, rows, columns), dtype=np.uint16)
    pixels[::3] = 7  # some of it as good as nothing once it is deflated
    return pixels, PixelFormat(UID, rows, columns), PixelLocation(len(HEAD), pixels.nbytes, frames)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30_000), st.integers(0, 9_000)), min_size=1, max_size=12),
    st.integers(1, 12),
    st.integers(100, 3000),
)
def test_every_range_in_every_order(ranges: list[tuple[int, int]], places: int, output: int) -> None:
    pixels, fmt, location = image(14, 30, 31)
    data = pixels.tobytes()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_KEPT_NBYTES", 0), ("_MAX_PLACES", places), ("_OUTPUT_NBYTES", output)):
            patch.setattr(deflated, name, value)
        reader = inflate(MemoryReader(packed(HEAD + data + b"tail")), location, fmt)
        assert not reader.inflated.data
        assert reader.size == len(HEAD) + len(data)
        for offset, length in ranges:
            assert reader.read_at(len(HEAD) + offset, length) == data[offset : offset + length]


def test_little_of_a_large_stream_is_kept() -> None:
    pixels, fmt, location = image(64, 512, 512)
    source = MemoryReader(packed(HEAD + pixels.tobytes()))
    tracemalloc.start()
    try:
        inflated = inflate(source, location, fmt).inflated
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20 < pixels.nbytes // 4

    def frame(k: int) -> bool:
        out = np.empty((512, 512), np.uint16)
        with inflated.open(source) as reader:
            reader.readinto_at(location.offset + k * out.nbytes, memoryview(out).cast("B"))
        return bool(np.array_equal(out, pixels[k]))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(frame, np.random.default_rng(0).permutation(64).tolist()))


def test_frames_in_any_order_inflate_each_byte_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for all, to know that the stream is whole, and once for itself."""
    pixels, fmt, location = image(64, 512, 512)
    count = 0
    real = deflated._Cursor.advance

    def counted(self: Any, limit: int) -> bytes:
        nonlocal count
        part = real(self, limit)
        count += len(part)
        return part

    monkeypatch.setattr(deflated._Cursor, "advance", counted)
    reader = inflate(MemoryReader(packed(HEAD + pixels.tobytes())), location, fmt)
    nbytes = pixels[0].nbytes
    for k in np.random.default_rng(0).permutation(64).tolist():
        assert reader.read_at(location.offset + k * nbytes, nbytes) == pixels[k].tobytes()
    assert count <= 2 * pixels.nbytes + len(HEAD)


def test_a_stream_that_breaks_gives_no_frame_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deflate has no checksum: what lies before the place where it no longer makes sense may be wrong, too."""
    monkeypatch.setattr(deflated, "_KEPT_NBYTES", 0)
    pixels, fmt, location = image(9, 64, 64)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    part = packer.compress(HEAD + pixels[:6].tobytes()) + packer.flush(zlib.Z_FULL_FLUSH)
    broken = packed(b"")[:-2] + part + b"\xff" * 100  # a block of a type that does not exist
    with pytest.raises(PixelDataError, match=r"breaks after \d+ inflated bytes.*x\.dcm"):
        inflate(MemoryReader(broken), location, fmt, path="x.dcm")


def test_a_match_that_a_read_cuts_at_the_end_of_the_file() -> None:
    """zlib has taken all input, and still has bytes to give."""
    for length in range(deflated._OUTPUT_NBYTES - 300, deflated._OUTPUT_NBYTES + 300, 7):
        data = bytes(length)
        reader = inflate(MemoryReader(packed(data)), PixelLocation(0, length, 1))
        assert reader.read_at(0, length) == data
