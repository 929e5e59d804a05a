"""Code streams to frames of stored values: what every decoder is checked for, before and after it runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import reduced
from fastdicom.codecs.base import Decoder
from fastdicom.codecs.jpeg_blocks import check_blocks
from fastdicom.codecs.jpeg_tail import check_tail
from fastdicom.codecs.registry import get_decoder, requirement
from fastdicom.codecs.streams import OtherDecoderError, StreamError, StreamHeader, parse_stream
from fastdicom.errors import DecodeError, FastDicomError, MissingDependencyError, UsageError, ValuesError
from fastdicom.types import PixelFormat

__all__ = ["check_stream", "decode_frame", "decode_frames"]

RLE = "1.2.840.10008.1.2.5"
BOMB_NBYTES, BOMB_RATIO = 1 << 30, 2000
"""A frame of a gigabyte that is less than a two thousandth of that in the file is made to exhaust memory."""


def decode_frame(
    decoder_name: str,
    data: bytes | memoryview,
    fmt: PixelFormat,
    out: NDArray[Any] | None = None,
    *,
    path: str = "",
    frame: int = 0,
    level: int = 0,
) -> NDArray[Any]:
    """Decode one frame to stored values (as pydicom's ``pixel_array``: RGB, interleaved, sign and bits corrected).

    Parameters
    ----------
    decoder_name : str
        From :func:`choose_decoder`.
    data : bytes or memoryview
        Code stream of the frame.
    out : (rows, columns[, samples]) array of ``fmt.stored_dtype``, optional
        Where to put the frame. A C-contiguous one is decoded into without a copy where the codec can.
    path, frame
        For messages.
    level : int
        Resolutions to leave out; `fmt` and `out` are then those of the smaller frame (`reduced_format`).

    Returns
    -------
    (rows, columns[, samples]) array of ``fmt.stored_dtype``; `out` itself where given

    Raises
    ------
    DecodeError
        The stream is damaged or truncated, or holds another image than `fmt` describes. The size that it claims is
        compared before anything is allocated. `out` may be partly overwritten.
    """
    decoder = get_decoder(decoder_name)
    if out is not None and (out.shape != fmt.frame_shape or out.dtype != fmt.stored_dtype):
        raise UsageError(
            f"out has shape {out.shape} and dtype {out.dtype}, but the frame has {fmt.frame_shape} and "
            f"{fmt.stored_dtype}. Pass an array like the frame.",
            argument="out",
        )
    try:
        header = _checked_header(data, fmt, level, path, frame)
        return _checked(decoder.decode(data, fmt, header, out), fmt.frame_shape, decoder, [data], fmt, header)
    except FastDicomError:
        raise
    except ImportError as error:
        raise MissingDependencyError(
            f"{decoder.package or decoder.name} cannot be imported ({error}). Run: pip install {requirement(decoder)}.",
            package=decoder.package,
            extra=decoder.extra,
        ) from error
    except Exception as error:  # codecs raise their own classes, and pylibjpeg even bare RuntimeErrors
        cause = _picklable(error)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a panic of Rust code (pyo3), on purpose no Exception
            raise
        cause = _picklable(error)
    # Raised out here, so that the error of the codec is not its context, which travels with it too.
    where = f" of {path}" if path else ""
    remedy = (
        'The file is damaged or its header is wrong; copy it again, or pass errors="report" to load the other frames.'
    )
    if isinstance(cause, OtherDecoderError):
        remedy = "That library makes another image of it. Leave decoder= out."
    raise DecodeError(
        f"Frame {frame}{where} cannot be decoded by {decoder_name}: {cause or type(cause).__name__}. {remedy}",
        path=path,
        frame=frame,
        decoder=decoder_name,
    ) from cause


def decode_frames(
    decoder_name: str, streams: Sequence[bytes | memoryview], fmt: PixelFormat, out: NDArray[Any], *, level: int = 0
) -> bool:
    """Decode frames of one format, as :func:`decode_frame` does with each.

    Parameters
    ----------
    streams : sequence of bytes or memoryview
        Code streams of the frames.
    out : (len(streams), rows, columns[, samples]) array of ``fmt.stored_dtype``
        Where to put them.

    Returns
    -------
    bool
        False where one of them cannot be decoded: `decode_frame` finds out which, and why. `out` is undefined then.
    """
    decoder = get_decoder(decoder_name)
    try:
        start = 0
        for header, alike in groupby(_checked_headers(streams, fmt, level)):
            part = slice(start, start + len(list(alike)))
            _decode_alike(decoder, streams[part], fmt, header, out[part])
            start = part.stop
    except Exception:  # of any kind: see decode_frame
        return False
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # see decode_frame
            raise
        return False
    return True


def _decode_alike(
    decoder: Decoder,
    streams: Sequence[bytes | memoryview],
    fmt: PixelFormat,
    header: StreamHeader | None,
    out: NDArray[Any],
) -> None:
    """Decode frames whose code streams have the same header."""
    if decoder.decode_each is None or not out.flags.c_contiguous:
        for data, frame in zip(streams, out, strict=True):
            _checked(decoder.decode(data, fmt, header, frame), fmt.frame_shape, decoder, [data], fmt, header)
        return
    decoder.decode_each(streams, fmt, header, out)
    _checked(out, (len(streams), *fmt.frame_shape), decoder, streams, fmt, header)


def _checked(
    frames: NDArray[Any],
    shape: tuple[int, ...],
    decoder: Decoder,
    streams: Sequence[bytes | memoryview],
    fmt: PixelFormat,
    header: StreamHeader | None,
) -> NDArray[Any]:
    """What a decoder made of streams with one header, found to be of this shape: of a frame, or of a stack of them.

    Raises
    ------
    StreamError
    """
    if frames.shape != shape or frames.dtype != fmt.stored_dtype:
        raise StreamError(f"it decodes to {frames.shape} {frames.dtype}, not {shape} {fmt.stored_dtype}")
    if header is not None and header.kind == "jpeg" and not decoder.checks_end:
        if not header.lossless:
            check_blocks(streams)
        else:
            for data, frame in zip(streams, frames.reshape(-1, *fmt.frame_shape), strict=True):
                check_tail(data, header, frame)
    return _within_bits(frames, fmt, header)


def _picklable(error: BaseException) -> Exception:
    """An error of a codec as a builtin one.

    Errors travel between processes, with their causes where tblib is installed (Dask brings it), and those of
    imagecodecs can be pickled but not unpickled.
    """
    if isinstance(error, Exception) and type(error).__module__ in ("builtins", StreamError.__module__):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def check_stream(data: bytes | memoryview, fmt: PixelFormat, *, level: int = 0, path: str = "", frame: int = 0) -> None:
    """Refuse what `decode_frame` would refuse before it decodes: by the header of the code stream alone.

    Raises
    ------
    DecodeError
        It is no code stream, is truncated, or holds another image than `fmt` describes.
    ValuesError
        It has not as many resolutions; the message says how many.
    """
    try:
        _checked_header(data, fmt, level, path, frame)
    except StreamError as error:
        raise DecodeError(
            f"Frame {frame} of {path} cannot be decoded: {error}. The file is damaged or its header is wrong; copy it "
            "again.",
            path=path,
            frame=frame,
        ) from error


def _checked_header(
    data: bytes | memoryview, fmt: PixelFormat, level: int, path: str, frame: int
) -> StreamHeader | None:
    """The header of a code stream, found to describe `fmt`; None for a stream that has none.

    Raises
    ------
    StreamError, ValuesError
    """
    return _checked_headers([data], fmt, level, path, frame)[0]


def _checked_headers(
    streams: Sequence[bytes | memoryview], fmt: PixelFormat, level: int, path: str = "", frame: int = 0
) -> list[StreamHeader | None]:
    nbytes = fmt.decoded_nbytes
    headers: list[StreamHeader | None] = []
    checked: dict[StreamHeader, StreamHeader] = {}
    for data in streams:
        _refuse_bomb(data, fmt, nbytes)
        header = parse_stream(data, fmt.transfer_syntax_uid)
        if header is not None and header not in checked:
            found = _at_level(header, level, path, frame) if level else header
            _check_header(found, fmt)
            checked[header] = found
        headers.append(None if header is None else checked[header])
    return headers


def _refuse_bomb(data: bytes | memoryview, fmt: PixelFormat, nbytes: int) -> None:
    # RLE makes 128 bytes of 2; what the others make of few bytes is an empty image.
    if fmt.transfer_syntax_uid == RLE and nbytes > 64 * len(data) * (8 if fmt.bits_allocated == 1 else 1):
        raise StreamError(f"it has {len(data)} bytes where RLE needs at least a 64th of the {nbytes} of the image")
    if nbytes > BOMB_NBYTES and nbytes > BOMB_RATIO * len(data):
        raise StreamError(f"{nbytes >> 20} MiB of image from {len(data)} bytes are a decompression bomb")


def _at_level(header: StreamHeader, level: int, path: str, frame: int) -> StreamHeader:
    """The header of the image that is left when `level` resolutions are left out."""
    if level > header.levels or not header.at_origin:
        why = f"has {header.levels} lower resolutions" if header.at_origin else "does not start at 0, 0 of its grid"
        raise ValuesError(
            f"level={level} cannot be decoded: the code stream of frame {frame} of {path} {why}. Pass "
            f"level={header.levels if header.at_origin else 0} or less.",
            path=path,
            frame=frame,
            level=level,
            levels=header.levels,
        )
    rows, columns = (reduced.reduced_length(length, level) for length in (header.rows, header.columns))
    return header._replace(rows=rows, columns=columns, skipped=level)


def _within_bits(frames: NDArray[Any], fmt: PixelFormat, header: StreamHeader | None) -> NDArray[Any]:
    """Refuse values beyond Bits Stored: what follows (rescale, tables) counts on its bits (PS3.3 C.7.6.3.1).

    Those of an irreversible transform overshoot a little at edges. They are clipped, as a codec does at its precision.
    """
    width = 8 * frames.itemsize
    if header is None or not fmt.bits_stored < min(header.precision, width) or frames.dtype.kind not in "iu":
        return frames
    half = 1 << (fmt.bits_stored - 1) if frames.dtype.kind == "i" else 0
    low, high = int(frames.min()) if half else 0, int(frames.max())
    least, most = -half, (1 << fmt.bits_stored) - half - 1
    if low >= least and high <= most:
        return frames
    beyond = max(least - low, high - most)
    if header.kind not in ("jpeg2000", "jpegxl") or header.lossless or beyond > 1 << max(0, fmt.bits_stored - 4):
        span = f"{int(frames.min())} to {high}"
        raise StreamError(f"its values {span}, of {header.precision} bits, do not fit Bits Stored {fmt.bits_stored}")
    return np.clip(frames, least, most, out=frames if frames.flags.writeable else None)


def _check_header(header: StreamHeader, fmt: PixelFormat) -> None:
    """Compare what the stream claims with the file header, and see whether it is whole."""
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise StreamError(
            f"the code stream holds {header.rows} x {header.columns} pixels where the file header says "
            f"{fmt.rows} x {fmt.columns}"
        )
    if header.components and header.components != fmt.samples_per_pixel:
        raise StreamError(
            f"the code stream has {header.components} components where Samples per Pixel is {fmt.samples_per_pixel}"
        )
    if header.precision > 8 * np.dtype(fmt.stored_dtype).itemsize:
        raise StreamError(
            f"the code stream has {header.precision} bits a sample, Bits Allocated is {fmt.bits_allocated}"
        )
    if header.is_float:
        raise StreamError("the samples of the code stream are floating point numbers, which no DICOM image has")
    if not header.complete:
        raise StreamError("the code stream is truncated (it has no end)")
