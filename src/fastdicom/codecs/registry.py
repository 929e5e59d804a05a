"""Which decoder for which transfer syntax."""

from __future__ import annotations

from functools import cache

from fastdicom.codecs import htj2k, lossless_jpeg, native, reduced, rle, via_imagecodecs, via_pydicom, via_pylibjpeg
from fastdicom.codecs.base import Decoder
from fastdicom.errors import (
    DecodeError,
    MissingDependencyError,
    UnsupportedTransferSyntaxError,
    UsageError,
)
from fastdicom.types import PixelFormat

__all__ = ["available_decoders", "choose_decoder", "decoders_for", "get_decoder", "requirement"]


# In order of preference: without the GIL and bit-identical first, pydicom last. The order is the policy of "auto".
_DECODERS: dict[str, Decoder] = {
    decoder.name: decoder
    for decoder in (
        *native.DECODERS,
        *rle.DECODERS,
        *lossless_jpeg.DECODERS,
        *htj2k.DECODERS,
        *via_imagecodecs.DECODERS,
        *via_pylibjpeg.DECODERS,
        *via_pydicom.DECODERS,
    )
}
_REDUCING: dict[str, Decoder] = {decoder.name: decoder for decoder in reduced.DECODERS}
_BACKENDS = tuple(dict.fromkeys(decoder.backend for decoder in (_DECODERS | _REDUCING).values()))


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
        f"Run: pip install {requirement(wanted[0])}.",
        transfer_syntax_uid=uid,
        package=wanted[0].package,
        extra=wanted[0].extra,
    )


def requirement(decoder: Decoder) -> str:
    """What to give to pip for the package of a decoder."""
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
