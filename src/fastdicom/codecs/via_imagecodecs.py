"""imagecodecs: libjpeg-turbo, CharLS, OpenJPEG, OpenJPH and libjxl. Releases the GIL and decodes into a given array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastdicom.codecs.base import Decoder
from fastdicom.codecs.colour import needs_rgb
from fastdicom.codecs.dropped import raising_dropped
from fastdicom.codecs.stored import corrected, to_stored
from fastdicom.codecs.streams import (
    HTJ2K_SYNTAXES,
    JPEG2000_SYNTAXES,
    JPEG_SYNTAXES,
    JPEGLS_SYNTAXES,
    JPEGXL_SYNTAXES,
    StreamError,
    StreamHeader,
    refuse_point_transform,
)
from fastdicom.types import PixelFormat

__all__ = ["DECODERS", "LOSSLESS_JPEG", "decode_each_htj2k", "decode_htj2k", "decode_jpeg8", "has_codec"]

LOSSLESS_JPEG = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
HTJ2K_MODULE = "imagecodecs._htj2k"


class _Call(NamedTuple):
    """How a codec is to be called for a frame: its header tells, before anything is decoded."""

    function: Callable[..., NDArray[Any]]
    """(code stream, out=array or None) -> samples, in the array where it could use it."""
    is_rgb: bool = False
    """It converts YBR to RGB."""
    fills_pixels: bool = True
    """It can decode into an array that it is given, as pixels: not as planes where there are several components."""
    drops_errors: bool = False
    """Of errors inside it only `sys.unraisablehook` hears (`dropped`)."""


_Choose = Callable[[PixelFormat, StreamHeader | None], _Call]


def _slot(call: _Call, out: NDArray[Any] | None, header: StreamHeader | None) -> NDArray[Any] | None:
    """`out` as the codec wants to see it, or None where it must use an array of its own."""
    if not call.fills_pixels or out is None or header is None:
        return None
    if not out.flags.c_contiguous or out.dtype.kind not in "iu":
        return None
    itemsize = 1 if header.precision <= 8 else 2 if header.precision <= 16 else 4
    return out.view(f"{'i' if header.signed else 'u'}{itemsize}") if out.dtype.itemsize == itemsize else None


def _decode_one(
    choose: _Choose, data: Any, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    call = choose(fmt, header)
    slot = _slot(call, out, header)
    (raw,) = _called(call, [data], [slot])
    # `out` itself where that is what was filled, so that nobody need compare addresses.
    return to_stored(raw if raw is not slot or out is None else out, fmt, header, out, is_rgb=call.is_rgb)


def _decode_each(
    choose: _Choose,
    streams: Sequence[bytes | memoryview],
    fmt: PixelFormat,
    header: StreamHeader | None,
    out: NDArray[Any],
) -> None:
    call = choose(fmt, header)
    stack = _slot(call, out, header)
    if stack is None:  # arrays of the codec's own: no more than one at a time
        for data, frame in zip(streams, out, strict=True):
            _decode_one(choose, data, fmt, header, frame)
        return
    slots = list(stack)
    raws = _called(call, streams, slots)
    if all(raw is slot for raw, slot in zip(raws, slots, strict=True)):
        corrected(out, fmt, header, is_rgb=call.is_rgb)
        return
    for raw, frame in zip(raws, out, strict=True):
        to_stored(raw, fmt, header, frame, is_rgb=call.is_rgb)


def _called(
    call: _Call, streams: Sequence[bytes | memoryview], slots: Sequence[NDArray[Any] | None]
) -> list[NDArray[Any]]:
    """What the codec makes of each stream; an error that it drops is found after the last.

    Nothing but the codec runs between two frames. It leaves nothing of the interpreter in the caches, so what runs in
    between takes several times as long as it does before and after.
    """

    def decode() -> list[NDArray[Any]]:
        return [call.function(data, out=slot) for data, slot in zip(streams, slots, strict=True)]

    return raising_dropped(HTJ2K_MODULE, decode) if call.drops_errors else decode()


def _jpeg8(fmt: PixelFormat, header: StreamHeader | None) -> _Call:
    import imagecodecs

    if header is None or header.components != 3:
        return _Call(imagecodecs.jpeg8_decode)
    # Without these, libjpeg guesses the colour space from markers. YCbCr to RGB in the codec saves a pass.
    is_rgb = needs_rgb(fmt, header) and not header.lossless and header.precision == 8
    colours: dict[str, Any] = {"colorspace": "YCBCR" if is_rgb else "RGB", "outcolorspace": "RGB"}
    return _Call(partial(imagecodecs.jpeg8_decode, **colours), is_rgb=is_rgb)


decode_jpeg8 = partial(_decode_one, _jpeg8)


def _is_gray(header: StreamHeader | None) -> bool:
    return header is not None and header.components == 1


def _htj2k(fmt: PixelFormat, header: StreamHeader | None) -> _Call:
    import imagecodecs

    if header is None or not header.lossless:
        # Irreversible streams overshoot, and imagecodecs' OpenJPH wraps 256 to 0 where OpenJPEG clips it to 255.
        return _jpeg2k(fmt, header)
    # Without a colour transform in the stream it would hand out planes.
    return _Call(partial(imagecodecs.htj2k_decode, planar=False), drops_errors=True)


decode_htj2k, decode_each_htj2k = partial(_decode_one, _htj2k), partial(_decode_each, _htj2k)


def _jpeg2k(fmt: PixelFormat, header: StreamHeader | None) -> _Call:
    import imagecodecs

    # One thread: the cores belong to the workers, not to the codec.
    return _Call(partial(imagecodecs.jpeg2k_decode, numthreads=1))


def _jpegls(fmt: PixelFormat, header: StreamHeader | None) -> _Call:
    import imagecodecs

    interleaved = header is not None and header.interleaved
    return _Call(imagecodecs.jpegls_decode, fills_pixels=interleaved or _is_gray(header))


def _jpegxl(fmt: PixelFormat, header: StreamHeader | None) -> _Call:
    import imagecodecs

    def decode(data: Any, out: NDArray[Any] | None) -> NDArray[Any]:
        # The first image only: a code stream may be an animation of any length.
        raw = imagecodecs.jpegxl_decode(data, 0, numthreads=1)
        if fmt.pixel_representation and header is not None and header.precision > fmt.bits_stored:
            # JPEG XL has no sign: a negative sample is its bits, up to Bits Stored or to the precision. Nothing else
            # fits.
            most, least = 1 << fmt.bits_stored, (1 << header.precision) - (1 << (fmt.bits_stored - 1))
            if ((raw >= most) & (raw < least)).any():
                raise StreamError(f"its values, of {header.precision} bits, do not fit Bits Stored {fmt.bits_stored}")
        return raw

    return _Call(decode, fills_pixels=False)


def _simple(function: str) -> _Choose:
    def choose(fmt: PixelFormat, header: StreamHeader | None) -> _Call:
        import imagecodecs

        if header is not None:
            refuse_point_transform(header)
        return _Call(getattr(imagecodecs, function), fills_pixels=_is_gray(header))

    return choose


def has_codec(codec: str) -> Callable[[], bool]:
    """A check that the installed imagecodecs was built with a codec."""

    def check() -> bool:
        try:
            import imagecodecs
        except ImportError:
            return False
        return bool(getattr(getattr(imagecodecs, codec, None), "available", False))

    return check


def _decoder(codec: str, syntaxes: frozenset[str], choose: _Choose, *, into: bool) -> Decoder:
    return Decoder(
        name=f"imagecodecs.{codec.lower()}",
        backend="imagecodecs",
        syntaxes=syntaxes,
        decode=partial(_decode_one, choose),
        decode_each=partial(_decode_each, choose),
        releases_gil=True,
        writes_into=into,
        package="imagecodecs",
        is_available=has_codec(codec),
    )


DECODERS = (
    _decoder("JPEG8", JPEG_SYNTAXES, _jpeg8, into=True),
    _decoder("JPEGLS", JPEGLS_SYNTAXES, _jpegls, into=True),
    _decoder("HTJ2K", HTJ2K_SYNTAXES, _htj2k, into=True),
    _decoder("JPEG2K", JPEG2000_SYNTAXES | HTJ2K_SYNTAXES, _jpeg2k, into=True),
    _decoder("JPEGXL", JPEGXL_SYNTAXES, _jpegxl, into=False),
    _decoder("LJPEG", LOSSLESS_JPEG, _simple("ljpeg_decode"), into=True),
    _decoder("JPEGSOF3", LOSSLESS_JPEG, _simple("jpegsof3_decode"), into=True),
)
