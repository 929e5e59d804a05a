"""codecs: choosing one, and what it returns: pydicom's stored values, where it is told to put them."""

from __future__ import annotations

import pickle
import struct
import sys
import threading
import tracemalloc
from contextlib import nullcontext, suppress
from dataclasses import replace
from fractions import Fraction
from math import floor
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.pixels.processing import convert_color_space

from codec_samples import ALL, BASE, LITTLE, LOSSLESS, RLE, backends, by_pydicom, encoded, format_of, smooth, uid
from fastdicom import codecs
from fastdicom.codecs.colour import ybr_full_to_rgb_inplace
from fastdicom.codecs.streams import StreamError, parse_stream, refuse_point_transform
from fastdicom.errors import (
    DecodeError,
    MissingDependencyError,
    UnsupportedTransferSyntaxError,
    UsageError,
)
from fastdicom.types import PixelFormat

# ---------------------------------------------------------------------------------------------------------- choosing


def test_the_defaults_release_the_gil() -> None:
    ours = {57: "fastdicom.jpeg", 70: "fastdicom.jpeg"} | dict.fromkeys((201, 202, 203), "fastdicom.htj2k")
    for number in ALL:
        fmt = PixelFormat(uid(number), 4, 4)
        assert codecs.choose_decoder(fmt).startswith(ours.get(number, "imagecodecs.")), number
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
    data = encoded_jpegls(image)  # imagecodecs imports its parts when they are first asked for, from itself
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(MissingDependencyError, match="imagecodecs cannot be imported"):
        codecs.decode_frame("imagecodecs.jpegls", data, format_of(80, image, 8))


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


def test_writes_into_means_no_copy() -> None:
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
        # The stream without its stuffing; the coefficients, a half more for those of lower levels, and a block.
        needed = {"fastdicom.jpeg": len(data), "fastdicom.htj2k": 3 * image.nbytes // 2 + (3 << 16)}.get(name, 0)
        assert peak < image.nbytes // 2 + needed, name


def beyond(values: NDArray[Any], bits: int) -> bool:
    low = -(1 << (bits - 1)) if values.dtype.kind == "i" else 0
    return bool(values.min() < low or values.max() >= low + (1 << bits))


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
    if precision > fmt.bits_stored and beyond(expected, fmt.bits_stored):
        for name in backends(fmt.transfer_syntax_uid):
            with pytest.raises(DecodeError, match="do not fit Bits Stored 14"):
                codecs.decode_frame(name, data, fmt)
        return
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
        if beyond(expected, stored):
            with pytest.raises(DecodeError, match=f"do not fit Bits Stored {stored}"):
                codecs.decode_frame(name, data, fmt)
        else:
            np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt), expected, err_msg=name)


def test_a_panic_of_a_codec_is_a_decode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import rle

    class PanicException(BaseException):
        """As pyo3 raises it."""

    def broken(error: BaseException) -> None:
        def decode(*args: Any, **options: Any) -> None:
            raise error

        monkeypatch.setattr(rle, "decode_pixel_data", decode)

    fmt = format_of("1.2.840.10008.1.2.5", smooth((4, 4), 8), 8)
    data = struct.pack("<16I", 1, 64, *[0] * 14) + bytes([15, *range(16)])
    broken(PanicException("index out of bounds"))
    with pytest.raises(DecodeError, match=r"Frame 2 of x\.dcm .*index out of bounds") as caught:
        codecs.decode_frame("pylibjpeg.rle", data, fmt, path="x.dcm", frame=2)
    assert "out of bounds" in str(pickle.loads(pickle.dumps(caught.value)))
    broken(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        codecs.decode_frame("pylibjpeg.rle", data, fmt)


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


def test_htj2k_colours_without_a_colour_transform() -> None:
    """imagecodecs would hand out planes."""
    image = smooth((21, 34, 3), 8)
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    data = bytes(imagecodecs.htj2k_encode(planes, reversible=True, planar=True, rgb=False))
    fmt = format_of(201, image, 8)
    for name in backends(fmt.transfer_syntax_uid):
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt), image, err_msg=name)
        out = np.empty_like(image)
        np.testing.assert_array_equal(codecs.decode_frame(name, data, fmt, out), image, err_msg=name)


@given(st.integers(0, 255), st.integers(0, 255))
def test_ybr_full_to_rgb_is_pydicoms(cb: int, cr: int) -> None:
    frame = np.empty((16, 16, 3), np.uint8)
    frame[..., 0] = np.arange(256).reshape(16, 16)
    frame[..., 1:] = cb, cr
    expected = convert_color_space(frame, "YBR_FULL", "RGB")
    for converted in (frame.copy(), frame.astype(np.uint16)):
        ybr_full_to_rgb_inplace(converted, 8)
        np.testing.assert_array_equal(converted, expected)
    wide = np.zeros((16, 20, 3), np.uint8)
    wide[:, 2:-2] = frame
    ybr_full_to_rgb_inplace(wide[:, 2:-2], 8)
    np.testing.assert_array_equal(wide[:, 2:-2], expected)


@given(st.integers(7, 24), st.integers(0, 999))
def test_colour_of_any_depth_has_no_chroma_at_half_of_full_scale(bits: int, seed: int) -> None:
    """In exact arithmetic, by the matrix of PS3.3 C.7.6.3.1.2; gray stays gray."""
    red, green, blue = Fraction("0.299"), Fraction("0.587"), Fraction("0.114")
    top, half = (1 << bits) - 1, 1 << (bits - 1)
    pixels = np.random.default_rng(seed).integers(0, top, (40, 3), endpoint=True)
    pixels[:4] = [[top, half, half], [0, half, half], [half, half, top], [half, 0, half]]
    expected = []
    for y, cb, cr in ((int(y), int(cb) - half, int(cr) - half) for y, cb, cr in pixels):
        r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
        g = (y - red * r - blue * b) / green
        expected.append([min(max(floor(v + Fraction(1, 2)), 0), top) for v in (r, g, b)])
    frame = pixels.astype(np.uint8 if bits < 8 else np.uint16 if bits <= 16 else np.uint32)
    if bits == 8:
        return  # as pydicom rounds: above
    ybr_full_to_rgb_inplace(frame, bits)
    np.testing.assert_array_equal(frame, expected)


def test_what_has_no_colours_is_refused() -> None:
    with pytest.raises(StreamError, match="signed"):
        ybr_full_to_rgb_inplace(np.zeros((2, 2, 3), np.int16), 12)
    with pytest.raises(StreamError, match="up to 4096 have more than 12 bits"):
        ybr_full_to_rgb_inplace(np.full((2, 2, 3), 4096, np.uint16), 12)


@pytest.mark.parametrize("bits_stored", [12, 16])
@pytest.mark.parametrize("number", [51, 80, 90])
def test_colour_has_the_bits_of_its_stream_where_the_header_has_more(number: int, bits_stored: int) -> None:
    """8 or 12 bits in a stream of a file whose Bits Stored is 12 or 16: gray must stay gray."""
    bits = 12 if number == 51 else 8
    gray = np.full((16, 16, 3), 1 << (bits - 1), np.uint16 if bits > 8 else np.uint8)
    gray[..., 0] = 100
    if number == 51:
        data = bytes(imagecodecs.jpeg8_encode(gray, level=100, bitspersample=12, colorspace="RGB", outcolorspace="RGB"))
        data = data.replace(b"R\x11\0G\x11\0B\x11\0", b"\1\x11\0\2\x11\0\3\x11\0")
        at = data.index(b"\xff\xda")
        data = data[:at] + data[at:].replace(b"R\0G\0B\0", b"\1\0\2\0\3\0", 1)
    elif number == 80:
        data = bytes(imagecodecs.jpegls_encode(gray))
    else:
        data = bytes(imagecodecs.jpeg2k_encode(gray, codecformat="j2k", reversible=True, level=0, mct=False))
    fmt = format_of(number, gray.astype(np.uint16), bits_stored, photometric_interpretation="YBR_FULL")
    name = {51: "imagecodecs.jpeg8", 80: "imagecodecs.jpegls", 90: "imagecodecs.jpeg2k"}[number]
    assert np.abs(codecs.decode_frame(name, data, fmt).astype(int) - 100).max() <= (1 if number == 51 else 0)


@pytest.mark.parametrize("number", [51, 80, 90, "native", "422"])
def test_12_bit_colour_is_converted_whatever_carries_it(number: int | str) -> None:
    """Pure red, blue and gray, by exact samples; DCT JPEG: as libjpeg converts them itself."""
    ybr = np.empty((16, 16, 3), np.uint16)
    ybr[:8], ybr[8:] = (1028, 2048, 2048), (1224, 1357, 4095)  # gray, red
    expected = np.empty_like(ybr)
    expected[:8], expected[8:] = 1028, (4094, 0, 0)
    if number == 51:
        ybr = smooth((24, 32, 3), 12)
        data = bytes(
            imagecodecs.jpeg8_encode(
                ybr, level=100, bitspersample=12, colorspace="RGB", outcolorspace="YCBCR", subsampling="444"
            )
        )
        expected = imagecodecs.jpeg8_decode(data, colorspace="YCBCR", outcolorspace="RGB")
    elif number == 80:
        data = bytes(imagecodecs.jpegls_encode(ybr))
    elif number == 90:
        data = bytes(
            imagecodecs.jpeg2k_encode(ybr, codecformat="j2k", reversible=True, level=0, bitspersample=12, mct=False)
        )
    else:
        quads = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
        data = (ybr if number == "native" else quads).astype("<u2").tobytes()
    photometric = "YBR_FULL_422" if number == "422" else "YBR_FULL"
    syntax = LITTLE if isinstance(number, str) else number
    fmt = format_of(syntax, ybr, 12, photometric_interpretation=photometric)
    names = ["native"] if isinstance(number, str) else backends(uid(number))
    for name in names:
        with suppress(DecodeError) if name.startswith("pydicom.") else nullcontext():  # not by all of its own
            found = codecs.decode_frame(name, data, fmt)
            assert np.abs(found.astype(int) - expected).max() <= (3 if number == 51 else 0), name


def test_ybr_ties_fall_as_in_pydicom() -> None:
    frame = np.zeros((2, 256, 3), np.uint8)
    frame[..., 0] = np.arange(256)
    frame[0, :, 1:], frame[1, :, 1:] = (78, 178), (178, 78)  # exactly half a level in green
    expected = convert_color_space(frame, "YBR_FULL", "RGB")
    ybr_full_to_rgb_inplace(frame, 8)
    np.testing.assert_array_equal(frame, expected)


# ------------------------------------------------------------------------------------- what one library decodes wrongly


@pytest.mark.parametrize(("bits", "predictor"), [(8, 1), (12, 4), (16, 7)])
def test_a_point_transform_of_lossless_jpeg(bits: int, predictor: int) -> None:
    """A stream of samples without their last bit, of the precision that they had (ISO 10918-1 H.1.2.1)."""
    image = smooth((24, 32), bits)
    data = bytearray(imagecodecs.jpeg8_encode(image >> 1, lossless=True, predictor=predictor, bitspersample=bits - 1))
    data[data.index(b"\xff\xc3") + 4], data[data.index(b"\xff\xda") + 9] = bits, 1
    number = 70 if predictor == 1 else 57
    fmt = format_of(number, image, bits)
    assert "pylibjpeg.libjpeg" in backends(uid(number))
    for name in backends(uid(number)):
        if name in ("pylibjpeg.libjpeg", "imagecodecs.ljpeg", "imagecodecs.jpegsof3"):
            with pytest.raises(DecodeError, match=r"has a point transform of 1\. .* Leave decoder= out"):
                codecs.decode_frame(name, bytes(data), fmt)
        else:
            np.testing.assert_array_equal(codecs.decode_frame(name, bytes(data), fmt), image >> 1 << 1, err_msg=name)


def test_a_point_transform_of_jpeg_ls_and_the_last_bits_of_a_lossy_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same field of the scan header; of a lossy JPEG it is about other things, and is not looked at."""
    image = smooth((24, 32), 8)
    for number, is_refused in ((80, True), (50, False)):
        data = bytearray(encoded(number, image, 8))
        data[data.index(b"\xff\xda") + 9] |= 1
        if is_refused:
            with pytest.raises(DecodeError, match="has a point transform of 1"):
                codecs.decode_frame("pylibjpeg.libjpeg", bytes(data), format_of(number, image, 8))
        else:
            header = parse_stream(bytes(data), uid(number))
            assert header is not None
            refuse_point_transform(header)


def test_the_colour_transform_of_hp() -> None:
    """Of JPEG-LS: green, red minus green, blue minus green, as a marker segment of its own says."""
    image = smooth((24, 32, 3), 8)
    parts = np.stack([image[..., 0] - image[..., 1] + 128, image[..., 1], image[..., 2] - image[..., 1] + 128], axis=-1)
    plain = bytes(imagecodecs.jpegls_encode(parts.astype(np.uint8)))
    at = plain.index(b"\xff\xda")
    data = plain[:at] + b"\xff\xe8\0\7mrfx\1" + plain[at:]
    none = plain[:at] + b"\xff\xe8\0\7mrfx\0" + plain[at:]
    for name in backends(uid(80)):
        np.testing.assert_array_equal(codecs.decode_frame(name, none, format_of(80, image, 8)), parts, err_msg=name)
    assert "pylibjpeg.libjpeg" in backends(uid(80))
    for name in backends(uid(80)):
        if name == "pylibjpeg.libjpeg":
            with pytest.raises(DecodeError, match=r"has HP's colour transform 1\. .* Leave decoder= out"):
                codecs.decode_frame(name, data, format_of(80, image, 8))
        else:
            np.testing.assert_array_equal(codecs.decode_frame(name, data, format_of(80, image, 8)), image, err_msg=name)


# ------------------------------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize("number", ALL)
def test_headers_are_read_as_the_encoder_wrote_them(number: int) -> None:
    bits = 8 if number == 50 else 12 if number in (51, 57, 70, 90, 91) else 16
    image = smooth((41, 57), bits)
    header = parse_stream(encoded(number, image, bits), uid(number))
    assert header is not None
    assert (header.rows, header.columns, header.complete) == (41, 57, True)
    components = 0 if number == 110 else 1  # JPEG XL says it at no fixed place
    assert (header.components, header.precision, header.signed) == (components, bits, False)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_jpeg_xl_headers(data: st.DataObject) -> None:
    """Size and bit depth as libjxl writes them: in a container or not, gray or colour, lossy, animated."""
    rows, columns = data.draw(st.integers(1, 400)), data.draw(st.integers(5, 400))  # fewer would be samples
    bits = data.draw(st.sampled_from([8, 9, 10, 11, 12, 13, 14, 15, 16, 32]))
    shape: tuple[int, ...] = (rows, columns, 3) if data.draw(st.booleans()) else (rows, columns)
    frames = data.draw(st.sampled_from([1, 3]))
    image = np.zeros(shape if frames == 1 else (frames, *shape), {8: np.uint8, 32: np.float32}.get(bits, np.uint16))
    options = {"lossless": True} if data.draw(st.booleans()) else {"lossless": False, "distance": 2.0}
    options |= {"bitspersample": bits} if bits < 32 else {}
    stream = imagecodecs.jpegxl_encode(image, effort=1, usecontainer=data.draw(st.booleans()), **options)
    header = parse_stream(bytes(stream), uid(112))
    assert header is not None
    assert (header.rows, header.columns, header.precision, header.is_float) == (rows, columns, bits, bits == 32)


def test_jpeg_xl_headers_with_all_that_may_come_before_the_bit_depth() -> None:
    """What libjxl does not write: an intrinsic size, a preview, an animation; 13 bits (ISO 18181-1)."""
    bits: list[int] = []

    def put(value: int, count: int) -> None:
        bits.extend(value >> k & 1 for k in range(count))

    for value, count in (
        (0, 1), (1, 2), (299, 13), (0, 3), (0, 2), (199, 9),  # size: 300 x 200
        (0, 1), (1, 1), (4, 3),  # not all default; extra fields: orientation
        (1, 1), (1, 1), (3, 5), (1, 3),  # intrinsic size of 32 x 32
        (1, 1), (0, 1), (1, 2), (77, 8), (0, 3), (3, 2), (9, 12),  # preview, not by 8
        (1, 1), (2, 2), (29, 10), (0, 2), (1, 2), (5, 3), (0, 1),  # animation
        (0, 1), (3, 2), (12, 6),  # integers of 13 bits
    ):  # fmt: skip
        put(value, count)
    stream = b"\xff\x0a" + sum(bit << k for k, bit in enumerate(bits)).to_bytes(40, "little")
    header = parse_stream(stream, uid(110))
    assert header is not None
    assert (header.rows, header.columns, header.precision, header.is_float) == (300, 200, 13, False)


@pytest.mark.parametrize(("shape", "precision"), [((33, 20), 16), ((33, 20), 14), ((17, 9, 3), 16)])
def test_jpeg_xl_of_more_bits_than_stored(shape: tuple[int, ...], precision: int) -> None:
    """Legal as long as no value needs them; then they are another image, not rubbish to be cut off."""
    image = smooth(shape, 12)
    fmt = format_of(110, image, 12)
    data = bytes(imagecodecs.jpegxl_encode(image, lossless=True, bitspersample=precision))
    np.testing.assert_array_equal(codecs.decode_frame("imagecodecs.jpegxl", data, fmt), image)
    for value in (4096, (1 << precision) - 1):
        image.flat[7] = value
        data = bytes(imagecodecs.jpegxl_encode(image, lossless=True, bitspersample=precision))
        with pytest.raises(DecodeError, match=rf"values 0 to {value}, of {precision} bits, do not fit Bits Stored 12"):
            codecs.decode_frame("imagecodecs.jpegxl", data, fmt)


def test_jpeg_xl_overshoot_of_a_lossy_stream_is_clipped() -> None:
    image = (np.indices((64, 64)).sum(axis=0) // 8 % 2 * 4095).astype(np.uint16)
    data = bytes(imagecodecs.jpegxl_encode(image, lossless=False, distance=0.2, bitspersample=16))
    raw = imagecodecs.jpegxl_decode(data)
    assert 4095 < raw.max() < 4095 + 256
    fmt = format_of(112, image, 12)
    np.testing.assert_array_equal(codecs.decode_frame("imagecodecs.jpegxl", data, fmt), np.minimum(raw, 4095))
    with pytest.raises(DecodeError, match="do not fit Bits Stored 12"):
        codecs.decode_frame("imagecodecs.jpegxl", data, replace(fmt, transfer_syntax_uid=uid(110)))


@pytest.mark.parametrize("extended", [False, True])
def test_jpeg_xl_of_signed_pixels(extended: bool) -> None:
    """The sign is the highest of the 12 bits, extended to the 16 of the stream or not."""
    image = np.random.default_rng(0).integers(-2048, 2048, (20, 30)).astype(np.int16)
    bits = image.view(np.uint16) if extended else image.view(np.uint16) & 0xFFF
    fmt = format_of(110, image, 12)
    data = bytes(imagecodecs.jpegxl_encode(bits, lossless=True, bitspersample=16))
    np.testing.assert_array_equal(codecs.decode_frame("imagecodecs.jpegxl", data, fmt), image)
    for value in (4096, 65536 - 2049):
        changed = bits.copy()
        changed[3, 4] = value
        data = bytes(imagecodecs.jpegxl_encode(changed, lossless=True, bitspersample=16))
        with pytest.raises(DecodeError, match="do not fit Bits Stored 12"):
            codecs.decode_frame("imagecodecs.jpegxl", data, fmt)


def test_jpeg_xl_of_floats_is_no_image_of_dicom() -> None:
    data = bytes(imagecodecs.jpegxl_encode(np.full((8, 9), 0.5, np.float32), lossless=True))
    fmt = replace(format_of(110, np.zeros((8, 9), np.uint32), 32), bits_allocated=32)
    with pytest.raises(DecodeError, match="floating point"):
        codecs.decode_frame("imagecodecs.jpegxl", data, fmt)


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
