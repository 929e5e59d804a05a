"""Which decoder for which transfer syntax, and the one function that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import lossless_jpeg, native, reduced, rle, via_imagecodecs, via_pydicom, via_pylibjpeg
from fastdicom.codecs.base import Decoder
from fastdicom.codecs.jpeg_tail import check_tail
from fastdicom.codecs.streams import StreamError, StreamHeader, parse_stream
from fastdicom.errors import (
    DecodeError,
    FastDicomError,
    MissingDependencyError,
    UnsupportedTransferSyntaxError,
    UsageError,
    ValuesError,
)
from fastdicom.types import PixelFormat

__all__ = [
    "available_decoders",
    "check_stream",
    "choose_decoder",
    "decode_frame",
    "decode_frames",
    "decoders_for",
    "get_decoder",
]


# In order of preference: without the GIL and bit-identical first, pydicom last. The order is the policy of "auto".
_DECODERS: dict[str, Decoder] = {
    decoder.name: decoder
    for decoder in (
        *native.DECODERS,
        *rle.DECODERS,
        *lossless_jpeg.DECODERS,
        *via_imagecodecs.DECODERS,
        *via_pylibjpeg.DECODERS,
        *via_pydicom.DECODERS,
    )
}
_REDUCING: dict[str, Decoder] = {decoder.name: decoder for decoder in reduced.DECODERS}
_BACKENDS = tuple(dict.fromkeys(decoder.backend for decoder in (_DECODERS | _REDUCING).values()))


RLE = "1.2.840.10008.1.2.5"
BOMB_NBYTES, BOMB_RATIO = 1 << 30, 2000
"""A frame of a gigabyte that is less than a two thousandth of that in the file is made to exhaust memory."""


def get_decoder(name: str) -> Decoder:
    """The decoder of this name, available or not.

    Raises
    ------
    UsageError
        There is none.
    """
    try:
        return _REDUCING[name] if name in _REDUCING else _DECODERS[name]
    except KeyError:
        raise UsageError(
            f"There is no decoder {name!r}. Use one of {', '.join(_DECODERS)}.", argument="decoder"
        ) from None


def decoders_for(transfer_syntax_uid: str) -> list[Decoder]:
    """Decoders that claim a transfer syntax, in order of preference, available or not."""
    return [decoder for decoder in _DECODERS.values() if transfer_syntax_uid in decoder.syntaxes]


@cache
def _is_available(name: str) -> bool:
    return get_decoder(name).is_available()


def available_decoders() -> list[Decoder]:
    """Decoders whose packages are installed, in order of preference."""
    return [decoder for decoder in _DECODERS.values() if _is_available(decoder.name)]


def choose_decoder(fmt: PixelFormat, decoder: str = "auto", *, level: int = 0) -> str:
    """Decide, once for a volume, what decodes its frames.

    Parameters
    ----------
    fmt : PixelFormat
    decoder : str
        ``"auto"``, a backend (``"imagecodecs"``, ``"pylibjpeg"``, ``"pydicom"``, ``"fastdicom"``) or the name of one
        decoder (``"imagecodecs.jpeg8"``). Uncompressed frames need none, whatever is asked for.
    level : int
        Resolutions to leave out: JPEG 2000 and HTJ2K only.

    Returns
    -------
    str
        Name for :func:`decode_frame`; the same in every process with the same packages.

    Raises
    ------
    UsageError
        `decoder` is not a name known here.
    UnsupportedTransferSyntaxError
        Nothing here, or not the backend asked for, decodes this transfer syntax.
    MissingDependencyError
        Something would, but its package is not installed; the message names it.
    DecodeError
        The format itself is impossible (Bits Allocated 12, more bits stored than allocated).
    """
    _check_format(fmt)
    uid = fmt.transfer_syntax_uid
    if decoder not in ("auto", *_BACKENDS, *_DECODERS, *_REDUCING):
        names = ", ".join(repr(name) for name in ("auto", *_BACKENDS))
        raise UsageError(f"decoder={decoder!r} is not one of {names}, nor a decoder's full name.", argument="decoder")
    claiming = [one for one in _REDUCING.values() if uid in one.syntaxes] if level else decoders_for(uid)
    if level and not claiming:
        raise UnsupportedTransferSyntaxError(
            f"level={level} leaves out resolutions of JPEG 2000 and HTJ2K code streams; transfer syntax {uid} has "
            "none. Load it whole (level=0), or write a Zarr store, which has levels of its own.",
            transfer_syntax_uid=uid,
            level=level,
        )
    if not claiming:
        raise UnsupportedTransferSyntaxError(
            f"Transfer syntax {uid} cannot be decoded by any backend known here. Transcode the files, for example "
            "with dcmconv or gdcmconv, to Explicit VR Little Endian (1.2.840.10008.1.2.1).",
            transfer_syntax_uid=uid,
        )
    if claiming[0].name == "native":
        return "native"
    wanted = [one for one in claiming if decoder in ("auto", one.backend, one.name)]
    if not wanted:
        raise UnsupportedTransferSyntaxError(
            f"decoder={decoder!r} does not decode transfer syntax {uid}; {', '.join(one.name for one in claiming)} "
            "would. Use decoder='auto'.",
            transfer_syntax_uid=uid,
            decoder=decoder,
        )
    for one in wanted:
        if _is_available(one.name):
            return one.name
    raise MissingDependencyError(
        f"Transfer syntax {uid} needs {' or '.join(one.package for one in wanted)}, which is not installed. "
        f"Run: pip install {_requirement(wanted[0])}.",
        transfer_syntax_uid=uid,
        package=wanted[0].package,
        extra=wanted[0].extra,
    )


def _requirement(decoder: Decoder) -> str:
    return f"'fastdicom-volume[{decoder.extra}]'" if decoder.extra else decoder.package


def _check_format(fmt: PixelFormat) -> None:
    """Refuse what no array can hold, before a wrong dtype is made of it (PS3.5 8.1.1)."""
    problem = ""
    if fmt.bits_allocated not in (1, 8, 16, 32, 64):
        problem = f"Bits Allocated is {fmt.bits_allocated}, which is not 1, 8, 16, 32 or 64"
    elif fmt.pixel_keyword == "PixelData" and not 1 <= fmt.bits_stored <= fmt.bits_allocated:
        problem = f"Bits Stored is {fmt.bits_stored} with Bits Allocated {fmt.bits_allocated}"
    elif fmt.rows < 1 or fmt.columns < 1 or fmt.samples_per_pixel < 1:
        problem = f"the image is empty ({fmt.rows} x {fmt.columns} x {fmt.samples_per_pixel})"
    elif fmt.photometric_interpretation.startswith("YBR_PARTIAL"):
        problem = f"{fmt.photometric_interpretation} (retired) is not supported"
    elif fmt.photometric_interpretation.startswith("YBR_FULL") and fmt.pixel_representation:
        problem = f"{fmt.photometric_interpretation} cannot be signed (Pixel Representation 1)"
    if problem:
        raise DecodeError(
            f"The pixels cannot be decoded: {problem}. Correct the header or leave the file out.",
            bits_allocated=fmt.bits_allocated,
            bits_stored=fmt.bits_stored,
        )


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
            f"{decoder.package or decoder.name} cannot be imported ({error}). "
            f"Run: pip install {_requirement(decoder)}.",
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
    raise DecodeError(
        f"Frame {frame}{where} cannot be decoded by {decoder_name}: {cause or type(cause).__name__}. The file is "
        'damaged or its header is wrong; copy it again, or pass errors="report" to load the other frames.',
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
    if header is not None and header.kind == "jpeg" and header.lossless and not decoder.checks_end:
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
