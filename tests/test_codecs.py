"""codecs: every backend gives pydicom's stored values, refuses what lies, and writes where it is told."""

from __future__ import annotations

import pickle
import struct
import sys
import threading
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder as pydicom_decoder
from pydicom.pixels.processing import convert_color_space

from fastdicom import codecs
from fastdicom.codecs.colour import ybr_full_to_rgb_inplace
from fastdicom.codecs.streams import StreamError, StreamHeader, parse_stream
from fastdicom.errors import (
    DecodeError,
    MissingDependencyError,
    PixelDataError,
    UnsupportedTransferSyntaxError,
    UsageError,
)
from fastdicom.types import PixelFormat, PixelLocation

BASE = "1.2.840.10008.1.2"
LITTLE, BIG, RLE = f"{BASE}.1", f"{BASE}.2", f"{BASE}.5"


def uid(number: int) -> str:
    return f"{BASE}.4.{number}"


def smooth(shape: tuple[int, ...], bits: int, *, signed: bool = False, seed: int = 0) -> NDArray[Any]:
    """An image with structure and noise that uses all its bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    top = 2**bits - 1
    ramp = (x * 3 + y * 5) / (3 * shape[1] + 5 * shape[0]) * top
    image = np.clip(ramp + rng.normal(0, top / 40, shape[:2]), 0, top)
    if len(shape) == 3:
        image = np.stack([image, image[::-1], image[:, ::-1]], axis=-1)
    image[0, 0], image[-1, -1] = 0, top
    values = image.astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def encoded(number: int, image: NDArray[Any], bits: int) -> bytes:
    """A code stream of a transfer syntax, by an encoder that is not ours."""
    if number in (57, 70):
        return bytes(imagecodecs.jpeg8_encode(_unsigned(image, bits), lossless=True, predictor=1, bitspersample=bits))
    if number in (50, 51):
        return bytes(imagecodecs.jpeg8_encode(image, level=95, bitspersample=8 if bits <= 8 else 12))
    if number in (80, 81):
        # its precision is that of the dtype, so the sign bit is the top one
        return bytes(imagecodecs.jpegls_encode(image.view(f"u{image.dtype.itemsize}"), level=0 if number == 80 else 2))
    if number in (90, 91):
        return bytes(
            imagecodecs.jpeg2k_encode(
                image, codecformat="j2k", reversible=number == 90, level=0 if number == 90 else 50, bitspersample=bits
            )
        )
    if number in (201, 202, 203):
        return bytes(imagecodecs.htj2k_encode(image, reversible=True))
    if number == 110:
        return bytes(imagecodecs.jpegxl_encode(image, lossless=True))
    raise AssertionError(number)


def _unsigned(image: NDArray[Any], bits: int) -> NDArray[Any]:
    kind = image.dtype
    return (image.view(f"u{kind.itemsize}") & (2**bits - 1)).astype(f"u{kind.itemsize}") if kind.kind == "i" else image


def format_of(number_or_uid: int | str, image: NDArray[Any], bits: int, **changes: Any) -> PixelFormat:
    syntax = number_or_uid if isinstance(number_or_uid, str) else uid(number_or_uid)
    fmt = PixelFormat(
        transfer_syntax_uid=syntax,
        rows=image.shape[0],
        columns=image.shape[1],
        samples_per_pixel=1 if image.ndim == 2 else image.shape[2],
        photometric_interpretation="MONOCHROME2" if image.ndim == 2 else "RGB",
        bits_allocated=8 * image.dtype.itemsize,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(image.dtype.kind == "i"),
    )
    return replace(fmt, **changes)


def backends(syntax: str) -> list[str]:
    return [d.name for d in codecs.decoders_for(syntax) if d.is_available()]


LOSSLESS = [57, 70, 80, 90, 201, 202, 203]
ALL = [50, 51, *LOSSLESS, 81, 91, 110]


# ---------------------------------------------------------------------------------------------------------- choosing


def test_the_defaults_release_the_gil() -> None:
    for number in ALL:
        fmt = PixelFormat(uid(number), 4, 4)
        assert codecs.choose_decoder(fmt).startswith("imagecodecs."), number
        assert codecs.get_decoder(codecs.choose_decoder(fmt)).releases_gil
    assert codecs.choose_decoder(PixelFormat(RLE, 4, 4)) == "fastdicom.rle"
    assert codecs.choose_decoder(PixelFormat(LITTLE, 4, 4)) == "native"
    assert codecs.choose_decoder(PixelFormat(f"{BASE}.8.1", 4, 4)) == "fastdicom.deflate"
    assert codecs.choose_decoder(PixelFormat(LITTLE, 4, 4), "pylibjpeg") == "native"


@pytest.mark.parametrize("number", [50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203])
def test_pylibjpeg_can_be_asked_for_and_holds_the_gil(number: int) -> None:
    name = codecs.choose_decoder(PixelFormat(uid(number), 4, 4), "pylibjpeg")
    assert codecs.get_decoder(name).backend == "pylibjpeg"
    assert not codecs.get_decoder(name).releases_gil
    assert codecs.choose_decoder(PixelFormat(uid(number), 4, 4), name) == name


def test_choosing_refuses_in_words() -> None:
    with pytest.raises(UsageError, match="'gdcm2' is not one of 'auto'"):
        codecs.choose_decoder(PixelFormat(LITTLE, 4, 4), "gdcm2")
    with pytest.raises(UsageError, match="no decoder 'x'"):
        codecs.get_decoder("x")
    with pytest.raises(UnsupportedTransferSyntaxError, match=r"1\.2\.840\.10008\.1\.2\.4\.100 cannot be decoded"):
        codecs.choose_decoder(PixelFormat(uid(100), 4, 4))  # MPEG-2
    with pytest.raises(UnsupportedTransferSyntaxError, match=r"imagecodecs\.jpegxl would"):
        codecs.choose_decoder(PixelFormat(uid(110), 4, 4), "pylibjpeg")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdicom.codecs import registry

    monkeypatch.setattr(registry, "_is_available", lambda name: False)
    with pytest.raises(MissingDependencyError, match=r"pylibjpeg-libjpeg.*'fastdicom-volume\[libjpeg\]'") as caught:
        codecs.choose_decoder(PixelFormat(uid(70), 4, 4), "pylibjpeg")
    assert caught.value.extra == "libjpeg"  # type: ignore[attr-defined]
    with pytest.raises(MissingDependencyError, match=r"needs imagecodecs or .*pip install imagecodecs"):
        codecs.choose_decoder(PixelFormat(uid(70), 4, 4))


def test_a_package_that_vanished_since_the_plan_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth((8, 8), 8)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingDependencyError, match="imagecodecs cannot be imported"):
        codecs.decode_frame("imagecodecs.jpegls", encoded_jpegls(image), format_of(80, image, 8))


def encoded_jpegls(image: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(image))


@pytest.mark.parametrize(
    "changes",
    [
        {"bits_allocated": 12, "bits_stored": 12},
        {"bits_allocated": 24, "bits_stored": 24},
        {"bits_stored": 0},
        {"bits_stored": 17},
        {"rows": 0},
        {"samples_per_pixel": 0},
        {"photometric_interpretation": "YBR_PARTIAL_422"},
        {"photometric_interpretation": "YBR_FULL", "samples_per_pixel": 3, "pixel_representation": 1},
    ],
)
def test_formats_that_no_array_holds_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="cannot be decoded"):
        codecs.choose_decoder(replace(PixelFormat(LITTLE, 4, 4), **changes))


def test_importing_the_registry_imports_no_codec() -> None:
    import subprocess

    code = (
        "import sys, fastdicom.codecs as c; c.choose_decoder\n"
        "print([m for m in ('numba', 'imagecodecs', 'pydicom', 'openjpeg', 'rle', 'libjpeg') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_decoders_say_what_they_are() -> None:
    for decoder in codecs.available_decoders():
        assert decoder.name == pickle.loads(pickle.dumps(decoder.name))
        assert decoder.syntaxes
        assert codecs.get_decoder(decoder.name) is decoder


# ---------------------------------------------------------------------------------------------------------- decoding


@pytest.mark.parametrize(
    ("shape", "bits", "signed"),
    [*(((33, 17), bits, signed) for bits in (8, 12, 16) for signed in (False, True)), ((16, 24, 3), 8, False)],
)
@pytest.mark.parametrize("number", LOSSLESS)
def test_lossless_codecs_return_the_image(number: int, signed: bool, bits: int, shape: tuple[int, ...]) -> None:
    if number in (201, 202, 203) and bits == 12:
        bits = 16  # the encoder takes the precision from the dtype
    image = smooth(shape, bits, signed=signed)
    fmt = format_of(number, image, bits)
    data = encoded(number, image, bits)
    for name in backends(fmt.transfer_syntax_uid):
        if name == "pydicom.pillow" and (signed or image.dtype.itemsize > 1):
            continue  # scales J2K precision its own way
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt), image, err_msg=name)
        volume = np.full((3, *image.shape), 7, image.dtype)
        assert codecs.decode_frame(name, memoryview(data), fmt, volume[1]) is not None
        np.testing.assert_array_equal(volume[1], image, err_msg=name)
        assert (volume[[0, 2]] == 7).all(), name
        padded = np.full((image.shape[0], image.shape[1] + 5, *image.shape[2:]), 7, image.dtype)
        codecs.decode_frame(name, data, fmt, padded[:, 2:-3])
        np.testing.assert_array_equal(padded[:, 2:-3], image, err_msg=name)
        assert (padded[:, :2] == 7).all(), name
        assert (padded[:, -3:] == 7).all(), name


@pytest.mark.parametrize(("number", "bits", "error"), [(50, 8, 1), (51, 12, 1), (81, 12, 0), (91, 12, 0)])
def test_lossy_backends_agree_within_one_level(number: int, bits: int, error: int) -> None:
    image = smooth((64, 48), bits)
    fmt, data = format_of(number, image, bits), encoded(number, image, bits)
    frames = {name: codecs.decode_frame(name, data, fmt).astype(int) for name in backends(fmt.transfer_syntax_uid)}
    assert len(frames) > 1
    first = next(iter(frames.values()))
    for name, frame in frames.items():
        assert np.abs(frame - first).max() <= error, name


def test_writes_into_means_no_array_of_its_own() -> None:
    image = smooth((256, 256), 16)
    out = np.empty_like(image)
    for number in (70, 80, 201):
        fmt, data = format_of(number, image, 16), encoded(number, image, 16)
        name = codecs.choose_decoder(fmt)
        assert codecs.get_decoder(name).writes_into
        codecs.decode_frame(name, data, fmt, out)
        tracemalloc.start()
        try:
            codecs.decode_frame(name, data, fmt, out)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < image.nbytes // 2, name


@pytest.mark.parametrize("precision", [8, 12, 16])
@pytest.mark.parametrize("signed_stream", [False, True])
@pytest.mark.parametrize("representation", [0, 1])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "PALETTE COLOR"])
def test_jpeg2000_sign_and_precision_that_differ_from_the_header(
    precision: int, signed_stream: bool, representation: int, photometric: str
) -> None:
    """Oracle: pydicom, over all combinations of what the code stream and the header say."""
    image = smooth((20, 30), precision, signed=signed_stream)
    data = encoded(90, image, precision)
    fmt = format_of(
        90, image, 14, bits_allocated=16, pixel_representation=representation, photometric_interpretation=photometric
    )
    expected = by_pydicom(data, fmt, "pylibjpeg")
    for name in ("imagecodecs.jpeg2k", "pylibjpeg.openjpeg"):
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt), expected, err_msg=name)
        out = np.empty(fmt.frame_shape, fmt.stored_dtype)
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt, out), expected, err_msg=name)


@pytest.mark.parametrize(  # pydicom cannot put 8-bit JPEG into 16 bits
    ("number", "precision"), [(70, 12), (70, 15), (70, 16), (80, 8), (80, 16)]
)
@pytest.mark.parametrize("stored", [8, 12, 16])
@pytest.mark.parametrize("representation", [0, 1])
def test_jpeg_precision_and_bits_stored_that_differ(
    number: int, precision: int, stored: int, representation: int
) -> None:
    image = smooth((20, 30), precision)
    data = encoded(number, image, precision)
    fmt = format_of(number, image, stored, bits_allocated=16, pixel_representation=representation)
    expected = by_pydicom(data, fmt, "pylibjpeg")
    for name in backends(fmt.transfer_syntax_uid):
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt), expected, err_msg=name)


def by_pydicom(data: bytes, fmt: PixelFormat, plugin: str = "") -> NDArray[Any]:
    from pydicom.encaps import encapsulate

    frame, _ = pydicom_decoder(fmt.transfer_syntax_uid).as_array(
        encapsulate([data], has_bot=False) if codecs.choose_decoder(fmt) != "native" else data,
        index=0,
        decoding_plugin=plugin,
        number_of_frames=1,
        rows=fmt.rows,
        columns=fmt.columns,
        samples_per_pixel=fmt.samples_per_pixel,
        planar_configuration=fmt.planar_configuration,
        photometric_interpretation=fmt.photometric_interpretation,
        bits_allocated=fmt.bits_allocated,
        bits_stored=fmt.bits_stored,
        pixel_representation=fmt.pixel_representation,
        pixel_keyword=fmt.pixel_keyword,
        pixel_vr="OW",
    )
    return frame


@pytest.mark.parametrize(
    ("number", "photometric"),
    [
        *((number, photometric) for number in (50, 70, 80, 90) for photometric in ("RGB", "YBR_FULL", "YBR_FULL_422")),
        *((number, photometric) for number in (70, 80, 90) for photometric in ("YBR_RCT", "YBR_ICT")),
    ],
)
@pytest.mark.filterwarnings("ignore:The .0028,0004. 'Photometric Interpretation':UserWarning")
def test_colour_follows_the_rules_of_pydicom(number: int, photometric: str) -> None:
    image = smooth((24, 32, 3), 8)
    if number == 50:
        data = bytes(
            imagecodecs.jpeg8_encode(image, level=95, colorspace="RGB", outcolorspace="YCBCR", subsampling="444")
        )
    else:
        data = encoded(number, image, 8)
    fmt = format_of(number, image, 8, photometric_interpretation=photometric)
    expected = by_pydicom(data, fmt, "pillow" if number == 50 else "pylibjpeg").astype(int)
    tolerance = 1 if number == 50 else 0
    for name in backends(fmt.transfer_syntax_uid):
        allowed = 3 if name == "pylibjpeg.libjpeg" and number == 50 else tolerance
        frame = codecs.decode_frame(name, data, fmt).astype(int)
        assert np.abs(frame - expected).max() <= allowed, name
        out = np.zeros(fmt.frame_shape, np.uint8)
        codecs.decode_frame(name, data, fmt, out)
        np.testing.assert_array_equal(out, frame, err_msg=name)


def test_irreversible_htj2k_does_not_wrap_around() -> None:
    """imagecodecs' OpenJPH turns an overshoot of 256 into 0."""
    rng = np.random.default_rng(0)
    image = np.where(rng.random((64, 64)) < 0.5, 255, 0).astype(np.uint8)
    data = bytes(imagecodecs.htj2k_encode(image, level=0.02, reversible=False))
    fmt = format_of(203, image, 8)
    reference = codecs.decode_frame("pylibjpeg.openjpeg", data, fmt).astype(int)
    for number in (201, 202, 203):
        same = replace(fmt, transfer_syntax_uid=uid(number))
        assert np.abs(codecs.decode_frame("imagecodecs.htj2k", data, same) - reference).max() <= 1
    assert np.abs(imagecodecs.htj2k_decode(data).astype(int) - reference).max() > 100  # the trap is still there


@given(st.integers(0, 255), st.integers(0, 255))
def test_ybr_full_to_rgb_is_pydicoms(cb: int, cr: int) -> None:
    frame = np.empty((16, 16, 3), np.uint8)
    frame[..., 0] = np.arange(256).reshape(16, 16)
    frame[..., 1:] = cb, cr
    expected = convert_color_space(frame, "YBR_FULL", "RGB")
    for converted in (frame.copy(), frame.astype(np.uint16)):
        ybr_full_to_rgb_inplace(converted)
        np.testing.assert_array_equal(converted, expected)
    wide = np.zeros((16, 20, 3), np.uint8)
    wide[:, 2:-2] = frame
    ybr_full_to_rgb_inplace(wide[:, 2:-2])
    np.testing.assert_array_equal(wide[:, 2:-2], expected)


def test_ybr_ties_fall_as_in_pydicom() -> None:
    frame = np.zeros((2, 256, 3), np.uint8)
    frame[..., 0] = np.arange(256)
    frame[0, :, 1:], frame[1, :, 1:] = (78, 178), (178, 78)  # exactly half a level in green
    expected = convert_color_space(frame, "YBR_FULL", "RGB")
    ybr_full_to_rgb_inplace(frame)
    np.testing.assert_array_equal(frame, expected)


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


def test_rle_kernel_equals_its_python_source() -> None:
    from fastdicom.codecs import rle

    rng = np.random.default_rng(0)
    image = rng.integers(0, 50, (70, 90), dtype=np.uint16)
    from rle import encode_pixel_data

    data = encode_pixel_data(
        image.tobytes(), rows=70, columns=90, samples_per_pixel=1, bits_allocated=16, number_of_frames=1, byteorder="<"
    )
    bounds = rle.parse_segments(data, 2)
    plain = np.zeros(image.nbytes, np.uint8)
    source = np.frombuffer(data, np.uint8)
    with np.errstate(over="ignore"):
        assert rle._decode_segments.python(source, bounds, image.size, 2, plain) == -1
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


class MemoryReader:
    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        part = self.data[offset : offset + buffer.nbytes]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None: ...

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(self, *exc: object) -> None: ...


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


def test_dropped_errors_of_others_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from fastdicom.codecs.dropped import raise_if_dropped, watch

    passed = []
    monkeypatch.setattr(sys, "unraisablehook", passed.append)
    watch("some.module")
    watch("some.module")
    mine = SimpleNamespace(object="some.module._function", exc_value=ValueError("mine"))
    other = SimpleNamespace(object="another.function", exc_value=ValueError("other"))
    sys.unraisablehook(other)  # type: ignore[arg-type]
    raise_if_dropped()
    sys.unraisablehook(mine)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mine"):
        raise_if_dropped()
    raise_if_dropped()
    assert passed == [other]


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


# ------------------------------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize("number", ALL)
def test_headers_are_read_as_the_encoder_wrote_them(number: int) -> None:
    bits = 8 if number == 50 else 12 if number in (51, 57, 70, 90, 91) else 16
    image = smooth((41, 57), bits)
    header = parse_stream(encoded(number, image, bits), uid(number))
    assert header is not None
    assert (header.rows, header.columns, header.complete) == (41, 57, True)
    if number != 110:
        assert (header.components, header.precision, header.signed) == (1, bits, False)


@given(st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=40, deadline=None)
def test_jpeg_xl_sizes(rows: int, columns: int) -> None:
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((rows, columns), np.uint8), lossless=True, effort=1))
    header = parse_stream(data, uid(110))
    assert header is not None
    assert (header.rows, header.columns) == (rows, columns)


def test_fragments_padded_to_even_length_are_whole() -> None:
    image = smooth((41, 57), 8)
    for number in (50, 70, 80, 90, 201):
        data = encoded(number, image, 8)
        fmt = format_of(number, image, 8)
        for padding in (b"\0", b"\0\0\0"):
            for name in backends(fmt.transfer_syntax_uid):
                if name != "pydicom.pillow":
                    frame = codecs.decode_frame(name, data + padding, fmt)
                    assert np.abs(frame.astype(int) - image).max() <= (30 if number == 50 else 0), name


@pytest.mark.slow
def test_threads_do_not_share_anything() -> None:
    """The same frames decoded by four threads at once, each syntax, into one array."""
    images = [smooth((128, 128), 12, seed=i) for i in range(8)]
    for number in (70, 80, 90, 201):
        bits = 16 if number == 201 else 12
        fmt = format_of(number, images[0], bits)
        streams = [encoded(number, image, bits) for image in images]
        name = codecs.choose_decoder(fmt)
        out = np.zeros((8, 128, 128), np.uint16)

        def work(start: int, name: str = name, fmt: PixelFormat = fmt, streams: Any = streams, out: Any = out) -> None:
            for _ in range(5):
                for i in range(start, 8, 4):
                    codecs.decode_frame(name, streams[i], fmt, out[i])

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(out, np.stack(images))
