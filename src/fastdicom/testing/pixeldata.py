"""The pixel elements of each file: native words, or frames that threads compress ahead of their use."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.testing.codestreams import CODECS, encode_frame
from fastdicom.testing.encapsulation import SEQUENCE_DELIMITER, encapsulate
from fastdicom.testing.pixels import native_value, samples_in_file, samples_to_stored
from fastdicom.testing.placement import format_decimal
from fastdicom.testing.spec import SeriesSpec

__all__ = ["PixelValue", "pixel_values"]

NO_OPERATION = b"\x80\x80"
"""Bytes behind the end of a stream: RLE takes 128 for nothing (PS3.5 G.3.1), other decoders have stopped before."""

WORTH_A_THREAD = 1 << 20
"""Bytes of pixels below which starting threads takes longer than compressing."""


@dataclass(frozen=True, slots=True)
class PixelValue:
    """What one file says about its pixels."""

    elements: list[tuple[str, str, bytes, bool]]
    """(keyword, VR, value, of undefined length) of Pixel Data and of its offset tables."""
    attributes: dict[str, Any]
    """Attributes that depend on the encoding."""


def pixel_values(
    spec: SeriesSpec, frames: NDArray[Any], files: Sequence[tuple[list[int], int]]
) -> Iterator[PixelValue]:
    """The pixels of each file in turn.

    Parameters
    ----------
    frames : (F, rows, columns[, 3]) stored values
        Replaced by what readers see where that differs (lossy, YBR).
    files : (frames in it, copy) of each file
        A copy comes after its original and gets the very same pixels.
    """
    order = [frame for wanted, copy in files if not copy for frame in wanted]
    streams = _compressed(spec, frames, order) if spec.transfer_syntax_uid in CODECS else None
    copied = {wanted[0] for wanted, copy in files if copy}
    kept: dict[int, PixelValue] = {}
    for wanted, copy in files:
        if copy:
            yield kept[wanted[0]]
            continue
        if streams is None:
            value = _native(spec, frames, wanted)
        else:
            value = _encapsulated(spec, [next(streams) for _ in wanted])
        if wanted[0] in copied:
            kept[wanted[0]] = value
        yield value


def _native(spec: SeriesSpec, frames: NDArray[Any], wanted: list[int]) -> PixelValue:
    fmt = spec.pixel_format
    samples = samples_in_file(frames[wanted], fmt)
    value = native_value(samples, spec, np.random.default_rng((spec.seed, wanted[0])))
    if fmt.photometric_interpretation.startswith("YBR"):
        frames[wanted] = samples_to_stored(samples, fmt)
    vr = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}.get(fmt.pixel_keyword)
    vr = vr or ("OB" if fmt.bits_allocated <= 8 else "OW")
    return PixelValue([(fmt.pixel_keyword, vr, value, False)], {})


def _encapsulated(spec: SeriesSpec, streams: list[bytes]) -> PixelValue:
    value, tables = encapsulate(streams, spec)
    native = -(-len(streams) * spec.pixel_format.frame_bits // 16) * 2
    if len(value) - len(SEQUENCE_DELIMITER) == native:
        # As long as uncompressed pixels by chance: readers warn of a wrong transfer syntax. Make it longer.
        if spec.offset_table == "extended":
            value, tables = encapsulate([*streams[:-1], streams[-1] + NO_OPERATION], spec)
        else:
            value, tables = encapsulate(streams, replace(spec, fragments_per_frame=spec.fragments_per_frame + 1))
    elements = [(keyword, "OV", table, False) for keyword, table in tables.items()]
    elements.append(("PixelData", "OB", value, True))
    attributes: dict[str, Any] = {}
    codec = CODECS[spec.transfer_syntax_uid]
    if codec.decode is not None:
        fmt = spec.pixel_format
        ratio = len(streams) * fmt.frame_bits / 8 / sum(map(len, streams))
        attributes["LossyImageCompression"] = "01"
        attributes["LossyImageCompressionRatio"] = format_decimal(round(ratio, 3))
        attributes["LossyImageCompressionMethod"] = codec.method
    return PixelValue(elements, attributes)


def _compressed(spec: SeriesSpec, frames: NDArray[Any], order: list[int]) -> Iterator[bytes]:
    """The streams of the frames in `order`; encoders that release the GIL run on several cores."""
    fmt = spec.pixel_format
    codec = CODECS[spec.transfer_syntax_uid]

    def compress(frame: int) -> bytes:
        if codec.converts_colour:
            stream, frames[frame] = encode_frame(frames[frame], spec)
        else:
            stream, decoded = encode_frame(samples_in_file(frames[frame], fmt), spec)
            frames[frame] = samples_to_stored(decoded, fmt)
        return stream

    if len(order) * fmt.decoded_nbytes < WORTH_A_THREAD:
        yield from map(compress, order)
        return
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(compress, order)
