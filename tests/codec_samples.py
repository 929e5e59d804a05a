"""Images, code streams by encoders that are not ours, and formats: what the tests of the codecs share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder as pydicom_decoder

from fastdicom import codecs
from fastdicom.types import PixelFormat

BASE = "1.2.840.10008.1.2"
LITTLE, BIG, RLE = f"{BASE}.1", f"{BASE}.2", f"{BASE}.5"


def uid(number: int) -> str:
    return f"{BASE}.4.{number}"


def smooth(shape: tuple[int, ...], bits: int, *, signed: bool = False, seed: int = 0) -> NDArray[Any]:
    """An image with structure and noise that uses all its bits."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    top = 2**bits - 1
    ramp = (x * 3 + y * 5) / (3 * shape[1] + 5 * shape[0]) * top
    image = np.clip(ramp + rng.normal(0, top / 40, shape[:2]), 0, top)
    if len(shape) == 3:
        image = np.stack([image, image[::-1], image[:, ::-1]], axis=-1)
    image[0, 0], image[-1, -1] = 0, top
    values = image.astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")


def encoded(number: int, image: NDArray[Any], bits: int) -> bytes:
    """A code stream of a transfer syntax, by an encoder that is not ours."""
    if number in (57, 70):
        return bytes(imagecodecs.jpeg8_encode(_unsigned(image, bits), lossless=True, predictor=1, bitspersample=bits))
    if number in (50, 51):
        return bytes(imagecodecs.jpeg8_encode(image, level=95, bitspersample=8 if bits <= 8 else 12))
    if number in (80, 81):
        # its precision is that of the dtype, so the sign bit is the top one
        return bytes(imagecodecs.jpegls_encode(image.view(f"u{image.dtype.itemsize}"), level=0 if number == 80 else 2))
    if number in (90, 91):
        return bytes(
            imagecodecs.jpeg2k_encode(
                image, codecformat="j2k", reversible=number == 90, level=0 if number == 90 else 50, bitspersample=bits
            )
        )
    if number in (201, 202, 203):
        return bytes(imagecodecs.htj2k_encode(image, reversible=True))
    if number == 110:
        return bytes(imagecodecs.jpegxl_encode(image, lossless=True))
    raise AssertionError(number)


def _unsigned(image: NDArray[Any], bits: int) -> NDArray[Any]:
    kind = image.dtype
    return (image.view(f"u{kind.itemsize}") & (2**bits - 1)).astype(f"u{kind.itemsize}") if kind.kind == "i" else image


def format_of(number_or_uid: int | str, image: NDArray[Any], bits: int, **changes: Any) -> PixelFormat:
    syntax = number_or_uid if isinstance(number_or_uid, str) else uid(number_or_uid)
    fmt = PixelFormat(
        transfer_syntax_uid=syntax,
        rows=image.shape[0],
        columns=image.shape[1],
        samples_per_pixel=1 if image.ndim == 2 else image.shape[2],
        photometric_interpretation="MONOCHROME2" if image.ndim == 2 else "RGB",
        bits_allocated=8 * image.dtype.itemsize,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(image.dtype.kind == "i"),
    )
    return replace(fmt, **changes)


def damaged(draw: st.DataObject, stream: bytes, *markers: bytes) -> bytes:
    """A stream with one to four changes, of any kind that files suffer, and markers where none should be."""
    changed = bytearray(stream)
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(changed) - 1))
        change = draw.draw(st.sampled_from(["flip", "set", "cut", "insert", "drop", "ff"]))
        if change == "flip":
            changed[at] ^= 1 << draw.draw(st.integers(0, 7))
        elif change == "set":
            changed[at] = draw.draw(st.integers(0, 255))
        elif change == "cut":
            del changed[at : draw.draw(st.integers(at, len(changed)))]
        elif change == "insert":
            changed[at:at] = draw.draw(st.binary(max_size=20))
        elif change == "drop":
            del changed[at]
        else:
            changed[at : at + 2] = draw.draw(st.sampled_from(markers))
        assume(changed)
    return bytes(changed)


def backends(syntax: str) -> list[str]:
    return [d.name for d in codecs.decoders_for(syntax) if d.is_available()]


LOSSLESS = [57, 70, 80, 90, 201, 202, 203]
ALL = [50, 51, *LOSSLESS, 81, 91, 110]


def by_pydicom(data: bytes, fmt: PixelFormat, plugin: str = "") -> NDArray[Any]:
    from pydicom.encaps import encapsulate

    frame, _ = pydicom_decoder(fmt.transfer_syntax_uid).as_array(
        encapsulate([data], has_bot=False) if codecs.choose_decoder(fmt) != "native" else data,
        index=0,
        decoding_plugin=plugin,
        number_of_frames=1,
        rows=fmt.rows,
        columns=fmt.columns,
        samples_per_pixel=fmt.samples_per_pixel,
        planar_configuration=fmt.planar_configuration,
        photometric_interpretation=fmt.photometric_interpretation,
        bits_allocated=fmt.bits_allocated,
        bits_stored=fmt.bits_stored,
        pixel_representation=fmt.pixel_representation,
        pixel_keyword=fmt.pixel_keyword,
        pixel_vr="OW",
    )
    return frame


class MemoryReader:
    """A `ByteReader` over bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        part = self.data[offset : offset + buffer.nbytes]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None: ...

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(self, *exc: object) -> None: ...
