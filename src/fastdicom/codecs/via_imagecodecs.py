"""imagecodecs: libjpeg-turbo, CharLS, OpenJPEG, OpenJPH and libjxl. Releases the GIL and decodes into a given array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fastdicom.codecs.base import Decoder
from fastdicom.codecs.colour import needs_rgb
from fastdicom.codecs.dropped import raise_if_dropped, watch
from fastdicom.codecs.stored import to_stored
from fastdicom.codecs.streams import (
    HTJ2K_SYNTAXES,
    JPEG2000_SYNTAXES,
    JPEG_SYNTAXES,
    JPEGLS_SYNTAXES,
    JPEGXL_SYNTAXES,
    StreamError,
    StreamHeader,
)
from fastdicom.types import PixelFormat

__all__ = ["DECODERS", "LOSSLESS_JPEG", "decode_jpeg8", "has_codec"]

LOSSLESS_JPEG = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})


def _slot(out: NDArray[Any] | None, header: StreamHeader | None, *, planar: bool = False) -> NDArray[Any] | None:
    """`out` as the codec wants to see it, or None where it must use an array of its own."""
    if out is None or header is None or not out.flags.c_contiguous or out.dtype.kind not in "iu":
        return None
    if planar and header.components > 1:
        return None
    itemsize = 1 if header.precision <= 8 else 2 if header.precision <= 16 else 4
    return out.view(f"{'i' if header.signed else 'u'}{itemsize}") if out.dtype.itemsize == itemsize else None


def _filled(raw: NDArray[Any], slot: NDArray[Any] | None, out: NDArray[Any] | None) -> NDArray[Any]:
    """What the codec returned; `out` itself where that is what it has filled, so that nobody need compare addresses."""
    return out if out is not None and raw is slot else raw


def decode_jpeg8(data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None) -> NDArray[Any]:
    import imagecodecs

    options: dict[str, Any] = {}
    is_rgb = False
    if header is not None and header.components == 3:
        # Without these, libjpeg guesses the colour space from markers. YCbCr to RGB in the codec saves a pass.
        is_rgb = needs_rgb(fmt, header) and not header.lossless and header.precision == 8
        options = {"colorspace": "YCBCR" if is_rgb else "RGB", "outcolorspace": "RGB"}
    slot = _slot(out, header)
    raw = imagecodecs.jpeg8_decode(data, out=slot, **options)
    return to_stored(_filled(raw, slot, out), fmt, header, out, is_rgb=is_rgb)


def _decode_htj2k(data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None) -> NDArray[Any]:
    import imagecodecs

    if header is None or not header.lossless:
        # Irreversible streams overshoot, and imagecodecs' OpenJPH wraps 256 to 0 where OpenJPEG clips it to 255.
        return _decode_jpeg2k(data, fmt, header, out)
    watch("imagecodecs._htj2k")
    # Without a colour transform in the stream it would hand out planes.
    slot = _slot(out, header)
    raw = imagecodecs.htj2k_decode(data, planar=False, out=slot)
    raise_if_dropped()
    return to_stored(_filled(raw, slot, out), fmt, header, out)


def _decode_jpeg2k(data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None) -> NDArray[Any]:
    import imagecodecs

    # One thread: the cores belong to the workers, not to the codec.
    slot = _slot(out, header)
    raw = imagecodecs.jpeg2k_decode(data, numthreads=1, out=slot)
    return to_stored(_filled(raw, slot, out), fmt, header, out)


def _decode_jpegls(data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None) -> NDArray[Any]:
    import imagecodecs

    planar = header is not None and not header.interleaved  # CharLS fills planes then, whatever is passed
    slot = _slot(out, header, planar=planar)
    raw = imagecodecs.jpegls_decode(data, out=slot)
    return to_stored(_filled(raw, slot, out), fmt, header, out)


def _decode_jpegxl(data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None) -> NDArray[Any]:
    import imagecodecs

    # The first image only: a code stream may be an animation of any length.
    raw = imagecodecs.jpegxl_decode(data, 0, numthreads=1)
    if fmt.pixel_representation and header is not None and header.precision > fmt.bits_stored:
        # JPEG XL has no sign: a negative sample is its bits, up to Bits Stored or to the precision. Nothing else fits.
        most, least = 1 << fmt.bits_stored, (1 << header.precision) - (1 << (fmt.bits_stored - 1))
        if ((raw >= most) & (raw < least)).any():
            raise StreamError(f"its values, of {header.precision} bits, do not fit Bits Stored {fmt.bits_stored}")
    return to_stored(raw, fmt, header, out)


def _simple(function: str) -> Callable[..., NDArray[Any]]:
    def decode(data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None) -> NDArray[Any]:
        import imagecodecs

        # These two fill planes where there are several components.
        return to_stored(getattr(imagecodecs, function)(data, out=_slot(out, header, planar=True)), fmt, header, out)

    return decode


def has_codec(codec: str) -> Callable[[], bool]:
    """A check that the installed imagecodecs was built with a codec."""

    def check() -> bool:
        try:
            import imagecodecs
        except ImportError:
            return False
        return bool(getattr(getattr(imagecodecs, codec, None), "available", False))

    return check


def _decoder(codec: str, syntaxes: frozenset[str], decode: Callable[..., NDArray[Any]], *, into: bool) -> Decoder:
    return Decoder(
        name=f"imagecodecs.{codec.lower()}",
        backend="imagecodecs",
        syntaxes=syntaxes,
        decode=decode,
        releases_gil=True,
        writes_into=into,
        package="imagecodecs",
        is_available=has_codec(codec),
    )


DECODERS = (
    _decoder("JPEG8", JPEG_SYNTAXES, decode_jpeg8, into=True),
    _decoder("JPEGLS", JPEGLS_SYNTAXES, _decode_jpegls, into=True),
    _decoder("HTJ2K", HTJ2K_SYNTAXES, _decode_htj2k, into=True),
    _decoder("JPEG2K", JPEG2000_SYNTAXES | HTJ2K_SYNTAXES, _decode_jpeg2k, into=True),
    _decoder("JPEGXL", JPEGXL_SYNTAXES, _decode_jpegxl, into=False),
    _decoder("LJPEG", LOSSLESS_JPEG, _simple("ljpeg_decode"), into=True),
    _decoder("JPEGSOF3", LOSSLESS_JPEG, _simple("jpegsof3_decode"), into=True),
)
