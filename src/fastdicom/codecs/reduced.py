"""Half, quarter, ... resolution of JPEG 2000 and HTJ2K code streams, without decoding the rest (ISO 15444-1 annex F).

Both wavelets are odd and symmetric, so sample k of a level is centred on sample 2k of the next finer one: the grid gets
coarser, its first voxel stays where it is.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs.base import Decoder, installed
from fastdicom.codecs.dropped import raising_dropped
from fastdicom.codecs.stored import to_stored
from fastdicom.codecs.streams import HTJ2K_SYNTAXES, JPEG2000_SYNTAXES, StreamError, StreamHeader, start_of_codestream
from fastdicom.codecs.via_imagecodecs import HTJ2K_MODULE, has_codec
from fastdicom.errors import MissingDependencyError
from fastdicom.types import PixelFormat

__all__ = ["DECODERS", "reduced_format", "reduced_length"]


def reduced_length(length: int, level: int) -> int:
    """Samples of an axis of `length` that starts at 0, `level` resolutions below the full one."""
    return -(-length >> level)


def reduced_format(fmt: PixelFormat, level: int) -> PixelFormat:
    """The format of a frame at a level: fewer rows and columns."""
    return replace(fmt, rows=reduced_length(fmt.rows, level), columns=reduced_length(fmt.columns, level))


def _decode_htj2k(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    import imagecodecs

    if header is None or not header.lossless or header.precision > 24:
        return _decode_pillow(data, fmt, header, out)
    # Averages overshoot the range of the samples by up to a quarter at each level, and imagecodecs' OpenJPH wraps them
    # around. A stream that says it is signed and wider is decoded to the same coefficients, whole, and clipped here.
    wide = bytearray(data)
    sizes = start_of_codestream(data) + 42
    for component in range(header.components):
        wide[sizes + 3 * component] = 0x80 | (header.precision + 2 * header.skipped - 1)
    decode = partial(imagecodecs.htj2k_decode, bytes(wide), planar=False, skipres=header.skipped)
    raw = raising_dropped(HTJ2K_MODULE, decode)
    return to_stored(_clipped(raw, header, raw_middle=0), fmt, header, out)


def _clipped(raw: NDArray[Any], header: StreamHeader, *, raw_middle: int) -> NDArray[Any]:
    """Samples in the range and the dtype that the header of the code stream gives them."""
    half = 1 << (header.precision - 1)
    middle = 0 if header.signed else half
    low = middle - half
    values = raw.astype(np.int32) + (middle - raw_middle)
    np.clip(values, low, low + 2 * half - 1, out=values)
    size = 1 if header.precision <= 8 else 2 if header.precision <= 16 else 4
    return values.astype(f"{'i' if header.signed else 'u'}{size}")


def _decode_pillow(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    """OpenJPEG as Pillow has it: left-justified in 8 or 16 bits, signed samples with half of the range added."""
    try:
        from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
    except ImportError as error:
        raise MissingDependencyError(
            "JPEG 2000 at a lower resolution needs Pillow, which is not installed. Run: pip install "
            "'fastdicom-volume[levels]'.",
            package="pillow",
            extra="levels",
        ) from error

    if header is None or header.components not in (1, 3) or header.precision > (16 if header.components == 1 else 8):
        raise StreamError("Pillow decodes one component of up to 16 bits, or three of 8, at a lower resolution")
    image = Jpeg2KImageFile(io.BytesIO(data[start_of_codestream(data) :]))
    # Pillow's own way to ask for a level rounds the size where the standard rounds it up.
    (tile,) = image.tile
    size = (fmt.columns, fmt.rows)
    options: Any = tile.args
    codec, _, layers, file, length = options
    image._size = size
    image.tile = [tile._replace(extents=(0, 0, *size), args=(codec, header.skipped, layers, file, length))]
    raw = np.asarray(image)
    raw = raw >> ((16 if raw.dtype.itemsize == 2 else 8) - header.precision)
    half = 1 << (header.precision - 1)
    return to_stored(_clipped(raw, header, raw_middle=half), fmt, header, out)


DECODERS = (
    Decoder(
        name="imagecodecs.htj2k-reduced",
        backend="imagecodecs",
        syntaxes=HTJ2K_SYNTAXES,
        decode=_decode_htj2k,
        releases_gil=True,
        package="imagecodecs",
        is_available=has_codec("HTJ2K"),
    ),
    Decoder(
        name="pillow.jpeg2k-reduced",
        backend="pillow",
        syntaxes=JPEG2000_SYNTAXES | HTJ2K_SYNTAXES,
        decode=_decode_pillow,
        package="pillow",
        is_available=installed("PIL"),
    ),
)
"""Only asked where a level is: each decodes full resolution too, but others do that better."""
