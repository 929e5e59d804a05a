"""Frames to compressed streams: one encoder for each transfer syntax (PS3.5 8.2, annex A.4)."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import MissingDependencyError, UsageError
from fastdicom.testing.pixels import to_container
from fastdicom.testing.spec import SeriesSpec
from fastdicom.types import PixelFormat

__all__ = ["CODECS", "Codec", "check_encodable", "encodable_syntaxes", "encode_frame", "is_lossy"]

Frame = NDArray[Any]
Encoder = Callable[[Frame, SeriesSpec, PixelFormat], bytes]
Decoder = Callable[[bytes, PixelFormat], Frame]

NATIVE = (
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.1",  # explicit VR little endian
    "1.2.840.10008.1.2.2",  # explicit VR big endian
    "1.2.840.10008.1.2.1.99",  # deflated explicit VR little endian
)
LOSSLESS_COLOUR = frozenset({"RGB", "YBR_FULL"})
GREY = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})


@dataclass(frozen=True)
class Codec:
    """What an encoder takes, and how it is called."""

    name: str
    package: str
    encode: Encoder
    decode: Decoder | None = None
    """Only of lossy codecs: what their own library makes of the stream."""
    bits: tuple[int, int] = (2, 16)
    """Fewest and most Bits Stored."""
    signed: bool = True
    photometric: frozenset[str] = GREY | LOSSLESS_COLOUR
    converts_colour: bool = False
    """The library itself makes YBR of RGB, and RGB of YBR."""
    method: str = ""
    """Lossy Image Compression Method (0028,2114)."""


def is_lossy(spec: SeriesSpec) -> bool:
    """Whether decoding gives other values than those that were encoded."""
    codec = CODECS.get(spec.transfer_syntax_uid)
    return codec is not None and codec.decode is not None


def encodable_syntaxes() -> tuple[str, ...]:
    """UIDs of the transfer syntaxes that `write_series` can write with the packages installed here."""
    return NATIVE + tuple(uid for uid, codec in CODECS.items() if importlib.util.find_spec(codec.package))


def check_encodable(spec: SeriesSpec) -> None:
    """Raise the error that says why the pixels of a recipe cannot be encoded in its transfer syntax."""
    fmt = spec.pixel_format
    if spec.transfer_syntax_uid in NATIVE:
        if fmt.photometric_interpretation in ("YBR_RCT", "YBR_ICT"):
            raise UsageError(f"{fmt.photometric_interpretation} exists in JPEG 2000 streams only. Use RGB.")
        return
    codec = CODECS.get(spec.transfer_syntax_uid)
    if codec is None:
        raise UsageError(
            f"SeriesSpec(transfer_syntax_uid={spec.transfer_syntax_uid!r}) cannot be written. "
            "Use one of fastdicom.testing.encodable_syntaxes().",
            argument="transfer_syntax_uid",
        )
    if importlib.util.find_spec(codec.package) is None:
        raise MissingDependencyError(
            f"Writing {codec.name} needs {codec.package}. Install it: pip install {codec.package}."
        )
    low, high = codec.bits
    problems = (
        (fmt.pixel_keyword != "PixelData", "takes no float pixels"),
        (not low <= fmt.bits_stored <= high, f"takes {low} to {high} bits stored, not {fmt.bits_stored}"),
        (spec.signed and not codec.signed, "takes unsigned values only"),
        (fmt.photometric_interpretation not in codec.photometric, f"takes no {fmt.photometric_interpretation}"),
        (fmt.high_bit != fmt.bits_stored - 1 and codec.encode is not _rle, "has no place for a high bit elsewhere"),
        (
            (spec.codestream_bits, spec.codestream_signed) != (None, None)
            and not ("2K" in codec.name and codec.decode is None),
            "has no codestream_bits and codestream_signed",
        ),
        (
            fmt.planar_configuration == 1 and codec.encode is not _rle,
            "interleaves colour by pixel (planar_configuration=0)",
        ),
        (fmt.bits_allocated == 1, "takes no single bits"),
        (codec.encode is _jpeg and fmt.bits_allocated != 8, "needs 8 bits allocated"),
        (fmt.samples_per_pixel == 3 and fmt.bits_stored < fmt.bits_allocated, "writes colour with all bits stored"),
    )
    for found, problem in problems:
        if found:
            raise UsageError(f"{codec.name} ({spec.transfer_syntax_uid}) {problem}. Change the recipe or the syntax.")


def encode_frame(samples: Frame, spec: SeriesSpec) -> tuple[bytes, Frame]:
    """(stream, what a decoder makes of it) of one frame of shape (rows, columns[, 3])."""
    codec = CODECS[spec.transfer_syntax_uid]
    fmt = spec.pixel_format
    stream = bytes(codec.encode(samples, spec, fmt))
    if codec.decode is None:
        return stream, samples
    return stream, codec.decode(stream, fmt).astype(samples.dtype).reshape(samples.shape)


_first_htj2k = threading.Lock()
_htj2k_has_run: list[bool] = []


def _imagecodecs() -> Any:
    return importlib.import_module("imagecodecs")


def _bits(values: Frame, fmt: PixelFormat) -> Frame:
    """Bits Stored as unsigned numbers (two's complement of signed ones), in the smallest word that holds them."""
    word = np.dtype(np.uint8 if fmt.bits_stored <= 8 else np.uint16 if fmt.bits_stored <= 16 else np.uint32)
    wide = values.astype(np.int64) & ((1 << fmt.bits_stored) - 1)
    return np.ascontiguousarray(wide.astype(word))


def _rle(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
    encode_pixel_data = importlib.import_module("rle.utils").encode_pixel_data
    words = to_container(values, spec, fmt, np.random.default_rng(spec.seed))
    return bytes(
        encode_pixel_data(
            words.tobytes(),
            byteorder="<",
            rows=fmt.rows,
            columns=fmt.columns,
            samples_per_pixel=fmt.samples_per_pixel,
            bits_allocated=fmt.bits_allocated,
        )
    )


def _jpeg(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
    """JPEG baseline; for YBR the library converts, so it gets RGB."""
    space = {"RGB": {"colorspace": "RGB", "outcolorspace": "RGB"}, "YBR_FULL": {"subsampling": "444"}}
    options = space.get(fmt.photometric_interpretation, {})
    if fmt.photometric_interpretation == "YBR_FULL_422":
        options = {"subsampling": "422"}
    return bytes(_imagecodecs().jpeg8_encode(_bits(values, fmt), level=int(spec.quality or 90), **options))


def _jpeg_extended(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
    return bytes(
        _imagecodecs().jpeg8_encode(_bits(values, fmt), level=int(spec.quality or 95), bitspersample=fmt.bits_stored)
    )


def _jpeg_decode(stream: bytes, fmt: PixelFormat) -> Frame:
    return np.asarray(_imagecodecs().jpeg8_decode(stream))


def _jpeg_lossless(predictor: int) -> Encoder:
    def encode(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
        options = {"lossless": True, "predictor": predictor, "bitspersample": fmt.bits_stored}
        return bytes(_imagecodecs().jpeg8_encode(_bits(values, fmt), **options))

    return encode


def _jpeg_ls(near: bool) -> Encoder:
    def encode(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
        error = int(2 if spec.quality is None else spec.quality) if near else 0
        stream = _jpeg_ls_with_precision(_bits(values, fmt), error, fmt)
        if stream is not None:
            return stream
        # imagecodecs declares the precision of the word, not Bits Stored: legal, and met in the wild.
        word = f"u{values.dtype.itemsize}"
        return bytes(_imagecodecs().jpegls_encode(np.ascontiguousarray(values).view(word), error))

    return encode


def _jpeg_ls_with_precision(words: Frame, error: int, fmt: PixelFormat) -> bytes | None:
    """A stream that declares Bits Stored; None where pyjpegls is absent, or gives its buffer too few bytes."""
    if importlib.util.find_spec("jpeg_ls") is None:
        return None
    jpeg_ls: Any = importlib.import_module("jpeg_ls")
    try:
        stream = jpeg_ls.encode_pixel_data(
            words.tobytes(),
            lossy_error=error,
            rows=fmt.rows,
            columns=fmt.columns,
            samples_per_pixel=fmt.samples_per_pixel,
            bits_stored=fmt.bits_stored,
            planar_configuration=0,
        )
    except RuntimeError:
        # "The destination buffer is too small": small or noisy images, pyjpegls 1.5.
        return None
    return bytes(stream)


def _jpeg_ls_decode(stream: bytes, fmt: PixelFormat) -> Frame:
    return np.asarray(_imagecodecs().jpegls_decode(stream))


def _for_jpeg_2000(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> tuple[Frame, int]:
    """(values, precision) as the stream declares them: `codestream_bits` and `codestream_signed` of the recipe."""
    precision = spec.codestream_bits or fmt.bits_stored
    signed = spec.signed if spec.codestream_signed is None else spec.codestream_signed
    if signed != spec.signed:
        values = _bits(values, fmt) if spec.signed else _from_signed_bits(values, fmt)
    width = 8 if precision <= 8 else 16 if precision <= 16 else 32
    return np.ascontiguousarray(values.astype(f"{'i' if signed else 'u'}{width // 8}")), precision


def _from_signed_bits(values: Frame, fmt: PixelFormat) -> Frame:
    half = 1 << (fmt.bits_stored - 1)
    return (values.astype(np.int64) ^ half) - half


def _jpeg_2000(reversible: bool) -> Encoder:
    def encode(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
        words, precision = _for_jpeg_2000(values, spec, fmt)
        return bytes(
            _imagecodecs().jpeg2k_encode(
                words,
                0 if reversible else (spec.quality or 60),
                codecformat="j2k",
                reversible=reversible,
                bitspersample=precision,
                mct=fmt.photometric_interpretation in ("YBR_RCT", "YBR_ICT"),
            )
        )

    return encode


def _jpeg_2000_decode(stream: bytes, fmt: PixelFormat) -> Frame:
    return np.asarray(_imagecodecs().jpeg2k_decode(stream))


def _htj2k_encode(*arguments: Any, **options: Any) -> Any:
    """OpenJPH's encoder fills its tables at first use: two threads there at once get broken streams, rarely."""
    encode = _imagecodecs().htj2k_encode
    with _first_htj2k:
        if not _htj2k_has_run:
            encode(np.zeros((8, 8), np.uint8), reversible=True)
            _htj2k_has_run.append(True)
    return encode(*arguments, **options)


def _htj2k(reversible: bool) -> Encoder:
    def encode(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
        words, precision = _for_jpeg_2000(values, spec, fmt)
        colour = fmt.photometric_interpretation in ("YBR_RCT", "YBR_ICT")
        if fmt.samples_per_pixel == 3 and not colour:
            planes = np.ascontiguousarray(np.moveaxis(words, -1, 0))
            return bytes(_htj2k_encode(planes, reversible=reversible, planar=True, rgb=False, tlm=True))
        if not reversible:
            # The step is a fraction of the word; the recipe means one of the range in use.
            step = (spec.quality or (0.001 if precision > 8 else 0.008)) * 2.0 ** (precision - 8 * words.dtype.itemsize)
            return bytes(_htj2k_encode(words, step, reversible=False, tlm=True))
        if precision == 8 * words.dtype.itemsize:
            return bytes(_htj2k_encode(words, reversible=True, tlm=True))
        return _htj2k_with_precision(words, precision)

    return encode


def _htj2k_with_precision(words: Frame, precision: int) -> bytes:
    """A reversible stream that declares `precision` bits; the encoder itself knows whole words only.

    Unsigned samples are shifted by half of their range before coding, signed ones are not (ISO 15444-1 annex G.1), so
    unsigned values are shifted here, coded as signed, and declared unsigned of the right precision afterwards.
    """
    signed = words.dtype.kind == "i"
    shifted = words.astype(np.int64) - (0 if signed else 1 << (precision - 1))
    stream = bytearray(_htj2k_encode(shifted.astype(f"i{words.dtype.itemsize}"), reversible=True, tlm=True))
    ssiz = stream.index(b"\xff\x51") + 40
    stream[ssiz] = (precision - 1) | (0x80 if signed else 0)
    return bytes(stream)


def _htj2k_decode(stream: bytes, fmt: PixelFormat) -> Frame:
    frame = np.asarray(_imagecodecs().htj2k_decode(stream))
    return np.moveaxis(frame, 0, -1) if frame.ndim == 3 and frame.shape != fmt.frame_shape else frame


def _jpeg_xl(lossless: bool) -> Encoder:
    def encode(values: Frame, spec: SeriesSpec, fmt: PixelFormat) -> bytes:
        options: dict[str, Any] = {"lossless": True} if lossless else {"distance": float(spec.quality or 0.5)}
        words = _bits(values, fmt)
        return bytes(
            _imagecodecs().jpegxl_encode(words, effort=3, bitspersample=fmt.bits_stored, usecontainer=False, **options)
        )

    return encode


def _jpeg_xl_decode(stream: bytes, fmt: PixelFormat) -> Frame:
    return np.asarray(_imagecodecs().jpegxl_decode(stream))


_JPEG = frozenset({"MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422"})
_MONO = frozenset({"MONOCHROME1", "MONOCHROME2"})
_RGB = frozenset({"RGB"})
_RCT, _ICT = frozenset({"YBR_RCT"}), frozenset({"YBR_ICT"})
_IC = "imagecodecs"
CODECS: dict[str, Codec] = {
    "1.2.840.10008.1.2.5": Codec("RLE", "rle", _rle, bits=(1, 64)),
    "1.2.840.10008.1.2.4.50": Codec(
        "JPEG baseline", _IC, _jpeg, _jpeg_decode, (8, 8), False, _JPEG, True, "ISO_10918_1"
    ),
    "1.2.840.10008.1.2.4.51": Codec(
        "JPEG extended", _IC, _jpeg_extended, _jpeg_decode, (12, 12), False, _MONO, method="ISO_10918_1"
    ),
    "1.2.840.10008.1.2.4.57": Codec("JPEG lossless", _IC, _jpeg_lossless(6), photometric=GREY | _RGB),
    "1.2.840.10008.1.2.4.70": Codec("JPEG lossless SV1", _IC, _jpeg_lossless(1), photometric=GREY | _RGB),
    "1.2.840.10008.1.2.4.80": Codec("JPEG-LS", _IC, _jpeg_ls(near=False)),
    "1.2.840.10008.1.2.4.81": Codec(
        "JPEG-LS near-lossless",
        _IC,
        _jpeg_ls(near=True),
        _jpeg_ls_decode,
        signed=False,
        photometric=_MONO | _RGB,
        method="ISO_14495_1",
    ),
    "1.2.840.10008.1.2.4.90": Codec(
        "J2K lossless", _IC, _jpeg_2000(True), bits=(1, 24), photometric=GREY | LOSSLESS_COLOUR | _RCT
    ),
    "1.2.840.10008.1.2.4.91": Codec(
        "J2K", _IC, _jpeg_2000(False), _jpeg_2000_decode, photometric=_MONO | _RGB | _ICT, method="ISO_15444_1"
    ),
    "1.2.840.10008.1.2.4.201": Codec(
        "HTJ2K lossless", _IC, _htj2k(True), bits=(1, 32), photometric=GREY | LOSSLESS_COLOUR | _RCT
    ),
    "1.2.840.10008.1.2.4.202": Codec(
        "HTJ2K lossless RPCL", _IC, _htj2k(True), bits=(1, 32), photometric=GREY | LOSSLESS_COLOUR | _RCT
    ),
    "1.2.840.10008.1.2.4.203": Codec(
        "HTJ2K", _IC, _htj2k(False), _htj2k_decode, photometric=_MONO | _ICT, method="ISO_15444_15"
    ),
    "1.2.840.10008.1.2.4.110": Codec("JPEG XL lossless", _IC, _jpeg_xl(True), signed=False, photometric=GREY | _RGB),
    "1.2.840.10008.1.2.4.112": Codec(
        "JPEG XL", _IC, _jpeg_xl(False), _jpeg_xl_decode, (8, 16), False, _MONO | _RGB, method="ISO_18181_1"
    ),
}
"""Encapsulated transfer syntaxes by UID."""
