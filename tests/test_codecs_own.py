"""codecs of our own: RLE and native frames, against pydicom."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.pixels.decoders.base import get_decoder as pydicom_decoder

from codec_samples import BASE, BIG, LITTLE, RLE, MemoryReader, backends, format_of, smooth
from fastdicom import codecs
from fastdicom.errors import (
    DecodeError,
    PixelDataError,
)
from fastdicom.types import PixelFormat, PixelLocation

# --------------------------------------------------------------------------------------------------------------- RLE

runs = st.lists(st.tuples(st.integers(0, 255), st.integers(1, 300), st.booleans()), min_size=1, max_size=30)


@settings(deadline=None)
@given(
    runs, st.sampled_from([(1, 8), (1, 16), (1, 32), (1, 64), (3, 8), (3, 16)]), st.integers(1, 60), st.integers(1, 90)
)
def test_rle_equals_pydicoms_decoder(
    pattern: list[tuple[int, int, bool]], kind: tuple[int, int], rows: int, columns: int
) -> None:
    """Images made of runs and noise, encoded by pylibjpeg-rle and decoded by pydicom's pure Python."""
    from rle import encode_pixel_data

    samples, bits = kind
    rng = np.random.default_rng(pattern[0][0])
    pieces = [
        np.full(count, value, np.uint8) if flat else rng.integers(0, 256, count, dtype=np.uint8)
        for value, count, flat in pattern
    ]
    raw = np.resize(np.concatenate(pieces), rows * columns * samples * bits // 8)
    image = raw.view(f"<u{bits // 8}").reshape((rows, columns) if samples == 1 else (rows, columns, samples))
    data = encode_pixel_data(
        image.tobytes(), rows=rows, columns=columns, samples_per_pixel=samples, bits_allocated=bits,
        number_of_frames=1, byteorder="<",
    )  # fmt: skip
    fmt = format_of(RLE, image, bits)
    for name in backends(RLE):
        if name != "fastdicom.rle" and bits == 64:
            continue
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt), image, err_msg=name)


def _rle(*segments: bytes) -> bytes:
    offsets = [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


def test_rle_extremes() -> None:
    zeros = bytes([129, 0]) * 32  # 128 zeros each
    fmt = PixelFormat(RLE, 64, 64, bits_allocated=8, bits_stored=8, high_bit=7)
    frame = codecs.decode_frame("fastdicom.rle", _rle(zeros), fmt)
    assert not frame.any()
    # 128 is "no operation" in PackBits; literals of 128; padding after the last run; data after the last pixel
    literal = bytes([127]) + bytes(range(128))
    frame = codecs.decode_frame("fastdicom.rle", _rle(bytes([128, 128]) + literal * 32 + b"\0\0\0"), fmt)
    np.testing.assert_array_equal(frame.reshape(32, 128), np.tile(np.arange(128), (32, 1)))
    for bad in (zeros[:-2], zeros[:-1], literal * 31, (literal * 32)[:-1], b"", bytes([128]) * 1000):
        with pytest.raises(DecodeError, match="RLE segment 0 of 1 ends before the 4096 pixels"):
            codecs.decode_frame("fastdicom.rle", _rle(bad), fmt, path="x.dcm", frame=3)


@settings(deadline=None)
@given(st.data())
def test_every_rle_backend_draws_the_line_where_ours_does(data: st.DataObject) -> None:
    """Padding after the last pixel is legal, more is another image: pylibjpeg says nothing of it, pydicom warns."""
    bits, samples = data.draw(st.sampled_from([(8, 1), (16, 1), (8, 3), (32, 1)]))
    segments = samples * bits // 8
    tail = st.sampled_from([b"", b"\0", b"\0\0", b"\x80\0", b"\0\0\0", b"\0\7", b"\xff\7", b"\0" * 6, b"\2abc", b"\5"])
    run = bytes([257 - 12 - data.draw(st.sampled_from([0, 1, 2])), 7])
    parts = [bytes([3, 1, 2, 3, 4, 128]) + run + data.draw(tail) for _ in range(segments)]
    stream = _rle(*parts)
    fmt = PixelFormat(RLE, 4, 4, samples, bits_allocated=bits, bits_stored=bits, high_bit=bits - 1)
    fmt = replace(fmt, photometric_interpretation="RGB") if samples == 3 else fmt
    outcomes = {}
    for name in backends(RLE):
        try:
            outcomes[name] = codecs.decode_frame(name, stream, fmt).tobytes()
        except DecodeError as error:
            outcomes[name] = str(error).partition(": ")[2]
    assert len(outcomes) == 3
    if isinstance(outcomes["pylibjpeg.rle"], str) and isinstance(outcomes["fastdicom.rle"], bytes):
        del outcomes["pylibjpeg.rle"]  # it may refuse the byte of padding too
    assert len(set(outcomes.values())) == 1, outcomes


@pytest.mark.parametrize(
    "header",
    [
        (0,),
        (3, 64, 66, 68),
        (2, 64, 10**9),
        (2, 64, 2**32 - 1),
        (2, 80, 70),
        (2, 0, 64),
        (16, 64, 64),
        (2**32 - 1, 64, 64),
    ],
)
def test_rle_headers_that_lie(header: tuple[int, ...]) -> None:
    data = struct.pack("<16I", *header, *[0] * (16 - len(header))) + bytes(100)
    with pytest.raises(DecodeError, match="RLE segments"):
        codecs.decode_frame("fastdicom.rle", data, PixelFormat(RLE, 4, 4))
    with pytest.raises(DecodeError, match="header alone has 64"):
        codecs.decode_frame("fastdicom.rle", data[:63], PixelFormat(RLE, 4, 4))


@pytest.mark.fuzz
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 300), min_size=1, max_size=4), st.integers(1, 40))
def test_rle_of_any_bytes_is_an_image_or_a_typed_error(body: bytes, offsets: list[int], columns: int) -> None:
    """The kernel has no bounds checks of its own: what would crash here must be refused."""
    data = struct.pack("<16I", len(offsets), *offsets, *[0] * (15 - len(offsets))) + body
    fmt = PixelFormat(RLE, 7, columns, bits_allocated={1: 8, 2: 16, 3: 8, 4: 32}[len(offsets)], bits_stored=8)
    if len(offsets) == 3:
        fmt = replace(fmt, samples_per_pixel=3, photometric_interpretation="RGB")
    guard = np.full((3, *fmt.frame_shape), 7, fmt.stored_dtype)
    try:
        codecs.decode_frame("fastdicom.rle", data, fmt, guard[1])
    except DecodeError:
        pass
    assert (guard[[0, 2]] == 7).all()


@given(st.data())
def test_rle_of_several_blocks_stays_within_its_memory(data: st.DataObject) -> None:
    """Runs and literals across the borders of blocks; memory before and behind is as it was. Oracle: pylibjpeg-rle."""
    from rle.rle import decode_segment

    from fastdicom.codecs import rle

    segments = data.draw(st.integers(1, 3))
    pixels = data.draw(
        st.sampled_from([rle._BLOCK - 1, rle._BLOCK, rle._BLOCK + 1, 2 * rle._BLOCK + 77, 3 * rle._BLOCK])
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    parts = []
    for _ in range(segments):
        stream, made = bytearray(), 0
        while made < pixels:
            count = int(min(pixels - made, rng.choice([1, 2, 3, 100, 127, 128])))
            if count > 1 and rng.random() < 0.5:
                stream += bytes([257 - count, rng.integers(256)])
            else:
                stream += bytes([count - 1, *rng.integers(0, 256, count).tolist()])
            made += count
        parts.append(bytes(stream) + bytes(len(stream) % 2))
    starts = np.cumsum([64, *map(len, parts)])
    stream = struct.pack("<16I", segments, *starts[:-1].tolist(), *[0] * (15 - segments)) + b"".join(parts)
    source, guard = np.frombuffer(stream, np.uint8), 4096
    bounds = np.array([rle.parse_segments(stream, segments)], np.int64)
    out = np.full(guard + pixels * segments + guard, 0xA5, np.uint8)
    planes = np.full((segments + 2, rle._WIDTH), 0xA5, np.uint8)
    inside, state = planes[1:-1], np.empty((2, segments), np.uint64)
    target = out[guard:-guard]
    assert rle._decode_frames(source, bounds, pixels, 1, inside, state, target) == (1, -1)
    assert (out[:guard] == 0xA5).all()
    assert (out[-guard:] == 0xA5).all()
    assert (planes[0] == 0xA5).all()
    assert (planes[-1] == 0xA5).all()
    assert (inside[:, rle._BLOCK + rle._RUN :] == 0xA5).all(), "the margin is wider than what is ever written"
    for number, part in enumerate(parts):
        expected = np.frombuffer(bytes(decode_segment(part)), np.uint8)[:pixels]
        assert np.array_equal(target.reshape(-1, segments)[:, number], expected)


@pytest.mark.parametrize("damage", ["header", "segment"])
def test_rle_of_several_frames_ends_before_a_damaged_one(damage: str) -> None:
    from fastdicom.codecs import rle

    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    fmt = format_of(RLE, image, 8)
    good = _rle(bytes([63, *image.ravel().tolist()]) + b"\x80")
    bad = b"\0" * 4 + good[4:] if damage == "header" else _rle(bytes([31, *range(32)]))
    for place in range(3):
        streams = [bad if place == k else good for k in range(3)]
        ends = np.cumsum([len(stream) for stream in streams])
        spans = np.stack([ends - [len(stream) for stream in streams], ends], axis=1)
        out = np.zeros((3, 8, 8), np.uint8)
        assert rle.decode_spans(np.frombuffer(b"".join(streams), np.uint8), spans, fmt, out) == place
        assert (out[:place] == image).all()


def test_rle_kernel_equals_its_python_source() -> None:
    from fastdicom.codecs import rle

    rng = np.random.default_rng(0)
    image = rng.integers(0, 50, (70, 90), dtype=np.uint16)
    from rle import encode_pixel_data

    data = encode_pixel_data(
        image.tobytes(), rows=70, columns=90, samples_per_pixel=1, bits_allocated=16, number_of_frames=1, byteorder="<"
    )
    bounds = np.array(rle.parse_segments(data, 2), np.int64)
    planes, state = np.empty((2, rle._WIDTH), np.uint8), np.empty((2, 2), np.uint64)
    plain = np.zeros(image.nbytes, np.uint8)
    source = np.frombuffer(data, np.uint8)
    with np.errstate(over="ignore"):
        assert rle._decode_segments.python(source, bounds, image.size, 2, planes, state, plain, 0) == -1
    np.testing.assert_array_equal(plain.view(np.uint16).reshape(image.shape), image)


# ------------------------------------------------------------------------------------------------------------ native


@settings(deadline=None)
@given(st.data())
def test_native_equals_pydicom(data: st.DataObject) -> None:
    draw = data.draw
    syntax = draw(st.sampled_from([LITTLE, BIG, BASE]))
    allocated = draw(st.sampled_from([1, 8, 16, 32, 64]))
    samples = draw(st.sampled_from([1, 3])) if allocated in (8, 16) else 1
    photometric = draw(st.sampled_from(["RGB", "YBR_FULL", "YBR_FULL_422"])) if samples == 3 else "MONOCHROME2"
    if allocated != 8 and photometric != "MONOCHROME2":
        photometric = "RGB"
    planar = draw(st.integers(0, 1)) if photometric in ("RGB", "YBR_FULL") else 0
    rows, count = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    columns = draw(st.integers(1, 4)) * (2 if photometric == "YBR_FULL_422" else 1)
    stored = draw(st.integers(1, allocated))
    fmt = PixelFormat(
        syntax, rows, columns, samples, photometric, planar, allocated, stored, stored - 1, draw(st.integers(0, 1))
    )
    if allocated == 1 or photometric.startswith("YBR"):
        fmt = replace(fmt, pixel_representation=0)
    nbytes = -(-fmt.frame_bits * count // 8)
    pixels = np.random.default_rng(rows * columns).integers(0, 256, nbytes + nbytes % 2, dtype=np.uint8).tobytes()
    vr = draw(st.sampled_from([b"OB", b"OW"])) if syntax == BIG and allocated == 8 else b"OW"
    element = b"\x7f\xe0\x00\x10" + vr + b"\0\0" + struct.pack(">I", len(pixels))
    expected, _ = pydicom_decoder(syntax).as_array(
        pixels, rows=rows, columns=columns, number_of_frames=count, samples_per_pixel=samples,
        photometric_interpretation=photometric, planar_configuration=planar, bits_allocated=allocated,
        bits_stored=stored, pixel_representation=fmt.pixel_representation, pixel_keyword="PixelData",
        pixel_vr=vr.decode(), allow_excess_frames=False,
    )  # fmt: skip
    expected = expected.reshape(count, *fmt.frame_shape)
    reader = MemoryReader(b"\0" * 33 + element + pixels)
    location = PixelLocation(33 + len(element), len(pixels), count)
    for i in range(count):
        out = np.full(fmt.frame_shape, 7, fmt.stored_dtype)
        codecs.read_native_frame(reader, fmt, location, i, out)
        np.testing.assert_array_equal(out, expected[i])
        first = draw(st.integers(0, rows))
        last = draw(st.integers(first, rows))
        band = np.full((last - first, *fmt.frame_shape[1:]), 7, fmt.stored_dtype)
        codecs.read_native_frame(reader, fmt, location, i, band, rows=slice(first, last))
        np.testing.assert_array_equal(band, expected[i][first:last])
        wide = np.full((rows, columns + 2, *fmt.frame_shape[2:]), 7, fmt.stored_dtype)
        codecs.read_native_frame(reader, fmt, location, i, wide[:, 1:-1])
        np.testing.assert_array_equal(wide[:, 1:-1], expected[i])
    if allocated > 8:
        raw = np.full(fmt.frame_shape, 7, fmt.stored_dtype)
        codecs.read_native_frame(reader, fmt, location, 0, raw, mask=False)
        codecs.mask_unused_bits_inplace(raw, codecs.unused_bits(fmt))
        np.testing.assert_array_equal(raw, expected[0])


@pytest.mark.parametrize("vr", [b"OB", b"OW"])
@pytest.mark.parametrize("shape", [(3, 3), (3, 5), (2, 4), (3, 3, 3)])
def test_big_endian_bytes_in_words(vr: bytes, shape: tuple[int, ...]) -> None:
    """8-bit samples in OW are swapped in pairs, over the borders of frames of odd length. Oracle: pydicom."""
    count = 5
    volume = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    pixels = volume.tobytes() + b"\0" * (volume.nbytes % 2)
    fmt = format_of(BIG, volume[0], 8)
    expected, _ = pydicom_decoder(BIG).as_array(
        pixels, rows=shape[0], columns=shape[1], number_of_frames=count, samples_per_pixel=fmt.samples_per_pixel,
        photometric_interpretation=fmt.photometric_interpretation, planar_configuration=0, bits_allocated=8,
        bits_stored=8, pixel_representation=0, pixel_keyword="PixelData", pixel_vr=vr.decode(),
    )  # fmt: skip
    element = b"\x7f\xe0\x00\x10" + vr + b"\0\0" + struct.pack(">I", len(pixels))
    reader, location = MemoryReader(element + pixels), PixelLocation(12, len(pixels), count)
    out = np.zeros_like(volume)
    for i in range(count):
        codecs.read_native_frame(reader, fmt, location, i, out[i])
    np.testing.assert_array_equal(out, expected)
    assert np.array_equal(out, volume) == (vr == b"OB")


@pytest.mark.parametrize("keyword", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("syntax", [LITTLE, BIG])
def test_float_pixels(keyword: Any, syntax: str) -> None:
    dtype = np.dtype(np.float32 if keyword == "FloatPixelData" else np.float64)
    image = np.array([[0.5, -1e30, np.nan], [np.inf, 3.25, -0.0]], dtype)
    fmt = PixelFormat(syntax, 2, 3, bits_allocated=8 * dtype.itemsize, bits_stored=0, pixel_keyword=keyword)
    assert codecs.choose_decoder(fmt) == "native"
    data = image.astype(dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    out = np.zeros((2, 3), dtype)
    codecs.read_native_frame(MemoryReader(b"\0" * 12 + data), fmt, PixelLocation(12, len(data)), 0, out)
    np.testing.assert_array_equal(out, image)
    np.testing.assert_array_equal(codecs.decode_native(data, fmt), image)


def test_encapsulated_native_and_deflated_frames() -> None:
    image = smooth((10, 13), 12)
    fmt = format_of(f"{BASE}.1.98", image, 12)
    assert codecs.choose_decoder(fmt) == "native"
    np.testing.assert_array_equal(codecs.decode_frame("native", image.tobytes() + b"\0\0", fmt), image)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(image.tobytes()) + packer.flush()
    fmt = format_of(f"{BASE}.8.1", image, 12)
    np.testing.assert_array_equal(codecs.decode_frame("fastdicom.deflate", data, fmt), image)
    with pytest.raises(DecodeError, match=r"Frame 5 of x\.dcm .*bytes where 10 x 13 pixels need 260"):
        codecs.decode_frame("fastdicom.deflate", data[: len(data) // 2], fmt, path="x.dcm", frame=5)
    with pytest.raises(DecodeError, match=r"incorrect|invalid"):
        codecs.decode_frame("fastdicom.deflate", b"\xff" * 100, fmt)
    with pytest.raises(DecodeError):
        codecs.decode_frame("fastdicom.deflate", data[:-1], fmt)


@pytest.mark.parametrize("syntax", [f"{BASE}.1.98", f"{BASE}.8.1", RLE])
@pytest.mark.parametrize("columns", [12, 23])
def test_frames_of_more_pixels_than_the_header_says(syntax: str, columns: int) -> None:
    image = smooth((10, 24), 12)
    data = image.tobytes()
    if syntax == RLE:
        from rle import encode_pixel_data

        data = encode_pixel_data(
            data, rows=10, columns=24, samples_per_pixel=1, bits_allocated=16, number_of_frames=1, byteorder="<"
        )
    elif syntax.endswith("8.1"):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        data = packer.compress(data) + packer.flush()
    fmt = format_of(syntax, image[:, :columns], 12)
    for name in backends(syntax):
        with pytest.raises(DecodeError):
            codecs.decode_frame(name, data, fmt)


def test_a_direct_read_is_short_where_the_file_is() -> None:
    image = smooth((10, 13), 12)
    out = np.zeros_like(image)
    with pytest.raises(PixelDataError, match=r"only 200 could be read.*x\.dcm"):
        codecs.read_native_frame(
            MemoryReader(image.tobytes()[:200]),
            format_of(LITTLE, image, 12),
            PixelLocation(0, 260),
            0,
            out,
            path="x.dcm",
        )
