"""pylibjpeg's plug-ins: openjpeg, rle and (GPL, so an extra) libjpeg. All hold the GIL: scale with processes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs.base import Decoder, installed
from fastdicom.codecs.rle_lengths import check_lengths
from fastdicom.codecs.stored import to_stored
from fastdicom.codecs.streams import (
    HTJ2K_SYNTAXES,
    JPEGLS_SYNTAXES,
    OtherDecoderError,
    StreamError,
    StreamHeader,
    refuse_point_transform,
)
from fastdicom.types import PixelFormat

__all__ = ["DECODERS"]

# libjpeg of Thomas Richter also decodes the retired spectral selection and full progression (.53, .55) of 10918-1.
LIBJPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70)) | JPEGLS_SYNTAXES
OPENJPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91)) | HTJ2K_SYNTAXES
RLE_SYNTAXES = frozenset({"1.2.840.10008.1.2.5"})


def _container(buffer: bytes | bytearray, fmt: PixelFormat, header: StreamHeader) -> NDArray[Any]:
    """The bytes of a plug-in, whose words are as wide as the precision of the code stream needs."""
    itemsize = 1 if header.precision <= 8 else 2 if header.precision <= 16 else 4
    raw = np.frombuffer(buffer, f"<{'i' if header.signed else 'u'}{itemsize}")
    if raw.size != np.prod(fmt.frame_shape):
        raise StreamError(f"it decodes to {raw.size} samples where the file header says {fmt.frame_shape}")
    return raw.reshape(fmt.frame_shape)


def _decode_libjpeg(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    from libjpeg import decode_pixel_data

    if header is None:
        raise StreamError("it has no JPEG header")
    # Seen with 2.5: samples off by half of their range; the components of the transform in place of the colours.
    refuse_point_transform(header)
    if header.colour_transform:
        raise OtherDecoderError(f"the stream has HP's colour transform {header.colour_transform}")
    return to_stored(_container(decode_pixel_data(bytes(data), version=2), fmt, header), fmt, header, out)


def _decode_openjpeg(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    from openjpeg import decode_pixel_data

    if header is None:
        raise StreamError("it has no JPEG 2000 header")
    return to_stored(_container(decode_pixel_data(bytes(data), version=2), fmt, header), fmt, header, out)


def _decode_rle(
    data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
) -> NDArray[Any]:
    from rle import decode_pixel_data

    check_lengths(data, fmt)  # it drops what is left over, and says nothing
    buffer = decode_pixel_data(
        bytes(data),
        version=2,
        rows=fmt.rows,
        columns=fmt.columns,
        samples_per_pixel=fmt.samples_per_pixel,
        bits_allocated=fmt.bits_allocated,
    )
    planes = np.frombuffer(buffer, fmt.stored_dtype.newbyteorder("<"))  # colour by plane
    planes = planes.reshape(fmt.samples_per_pixel, fmt.rows, fmt.columns)
    raw = planes[0] if fmt.samples_per_pixel == 1 else np.ascontiguousarray(planes.transpose(1, 2, 0))
    return to_stored(raw, fmt, None, out)


DECODERS = (
    Decoder(
        name="pylibjpeg.openjpeg",
        backend="pylibjpeg",
        syntaxes=OPENJPEG_SYNTAXES,
        decode=_decode_openjpeg,
        package="pylibjpeg-openjpeg",
        is_available=installed("openjpeg"),
    ),
    Decoder(
        name="pylibjpeg.rle",
        backend="pylibjpeg",
        syntaxes=RLE_SYNTAXES,
        decode=_decode_rle,
        package="pylibjpeg-rle",
        is_available=installed("rle"),
    ),
    Decoder(
        name="pylibjpeg.libjpeg",
        backend="pylibjpeg",
        syntaxes=LIBJPEG_SYNTAXES,
        decode=_decode_libjpeg,
        package="pylibjpeg-libjpeg",
        extra="libjpeg",
        is_available=installed("libjpeg"),
    ),
)
