"""pydicom's own decoders, plug-in by plug-in: the last resort, one at a time under the GIL."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from fastdicom._quiet import import_pydicom
from fastdicom.codecs.base import Decoder, installed
from fastdicom.codecs.rle_lengths import check_lengths
from fastdicom.codecs.streams import StreamHeader
from fastdicom.types import PixelFormat

__all__ = ["DECODERS"]

RLE = "1.2.840.10008.1.2.5"


def _uids(*numbers: int) -> frozenset[str]:
    return frozenset(f"1.2.840.10008.1.2.4.{n}" for n in numbers)


def _decode_with(plugin: str) -> Callable[..., NDArray[Any]]:
    def decode(
        data: bytes | memoryview, fmt: PixelFormat, header: StreamHeader | None, out: NDArray[Any] | None
    ) -> NDArray[Any]:
        import_pydicom()
        from pydicom.encaps import encapsulate
        from pydicom.pixels.decoders.base import get_decoder

        if fmt.transfer_syntax_uid == RLE:
            check_lengths(data, fmt)  # it only warns of what is left over, and of a byte of padding alike
        padded = bytes(data) + b"\0" * (len(data) % 2)
        options: dict[str, Any] = {
            "rows": fmt.rows,
            "columns": fmt.columns,
            "number_of_frames": 1,
            "samples_per_pixel": fmt.samples_per_pixel,
            "planar_configuration": fmt.planar_configuration,
            "photometric_interpretation": fmt.photometric_interpretation,
            "bits_allocated": fmt.bits_allocated,
            "bits_stored": fmt.bits_stored,
            "pixel_representation": fmt.pixel_representation,
            "pixel_keyword": fmt.pixel_keyword,
        }
        source = encapsulate([padded], has_bot=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its advice is about the Dataset, which the caller does not have
            frame, _ = get_decoder(fmt.transfer_syntax_uid).as_array(source, index=0, decoding_plugin=plugin, **options)
        if out is None:
            return frame
        out[...] = frame
        return out

    return decode


def _decoder(plugin: str, module: str, package: str, syntaxes: frozenset[str]) -> Decoder:
    return Decoder(
        name=f"pydicom.{plugin}",
        backend="pydicom",
        syntaxes=syntaxes,
        decode=_decode_with(plugin),
        package=package,
        is_available=installed("pydicom", module),
    )


DECODERS = (
    _decoder("gdcm", "gdcm", "python-gdcm", _uids(50, 51, 57, 70, 80, 81, 90, 91)),
    _decoder("pyjpegls", "jpeg_ls", "pyjpegls", _uids(80, 81)),
    _decoder("pillow", "PIL", "pillow", _uids(50, 90, 91)),  # not .51, whose 12 bits Pillow cannot
    _decoder("pydicom", "pydicom", "pydicom", frozenset({RLE})),
)
