"""Decoders that take several frames in one compiled call: no interpreter, and so no waiting for it, between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.codecs import lossless_jpeg, rle
from fastdicom.types import PixelFormat

__all__ = ["TOGETHER"]

DecodeTogether = Callable[[NDArray[np.uint8], Sequence[memoryview], PixelFormat, NDArray[Any]], bool]
"""(buffer, streams within it, format, (frames, rows, columns) of its stored dtype) -> whether all could be decoded.

What is above Bits Stored is for the caller to mask. Where False is returned, `out` is undefined.
"""

TOGETHER: dict[str, DecodeTogether] = {
    "fastdicom.rle": rle.decode_together,
    "fastdicom.jpeg": lossless_jpeg.decode_together,
}
