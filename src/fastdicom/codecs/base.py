"""What a decoder is: a name, what it needs, what it promises, and one function from bytes to pixels."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from fastdicom.codecs.streams import StreamHeader
from fastdicom.types import PixelFormat

__all__ = ["DecodeEachFunction", "DecodeFunction", "Decoder", "always", "installed"]

DecodeFunction = Callable[[bytes | memoryview, PixelFormat, StreamHeader | None, NDArray[Any] | None], NDArray[Any]]
"""(code stream, format, its header, `out` or None) -> stored values of one frame, in `out` where given.

`out`, where given, has the stored dtype and the shape of the frame; it need not be contiguous. May raise anything.
"""

DecodeEachFunction = Callable[[Sequence[bytes | memoryview], PixelFormat, StreamHeader | None, NDArray[Any]], None]
"""(code streams with one and the same header, format, header, C-contiguous stack of as many frames to fill)."""


def always() -> bool:
    return True


def installed(*modules: str) -> Callable[[], bool]:
    """A check that the modules can be imported, without importing them."""

    def check() -> bool:
        return all(importlib.util.find_spec(module) is not None for module in modules)

    return check


@dataclass(frozen=True, slots=True)
class Decoder:
    """One way to decode some transfer syntaxes."""

    name: str
    """``backend.codec``; what a plan keeps and what a profile shows."""
    backend: str
    """``imagecodecs``, ``pylibjpeg``, ``pydicom`` or ``fastdicom``."""
    syntaxes: frozenset[str]
    """Transfer Syntax UIDs."""
    decode: DecodeFunction = field(repr=False)
    releases_gil: bool = False
    """Threads speed it up; otherwise only processes do."""
    writes_into: bool = False
    """It decodes into a given contiguous buffer of the right dtype, without a copy."""
    package: str = ""
    """What to install where it is absent."""
    extra: str = ""
    """Extra of fastdicom-volume that brings the package; empty for one that is always installed."""
    is_available: Callable[[], bool] = field(default=always, repr=False)
    decode_each: DecodeEachFunction | None = field(default=None, repr=False)
    """Several frames at once; None: one by one."""
    checks_end: bool = False
    """It finds by itself that a lossless JPEG is cut or damaged; what others decode is checked afterwards."""
