"""Functions of the C library for compiled code: opening, reading and closing files without the interpreter lock."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._numba import kernel

__all__ = [
    "HAS_POSIX",
    "OPEN_FLAGS",
    "READ_FAILED",
    "SEEK_END",
    "STATX_MODE",
    "STATX_SIZE",
    "STATX_WORDS",
    "c_names",
    "close",
    "has_statx",
    "lseek",
    "mtime_ns_of",
    "open_",
    "pread",
    "statx",
]

HAS_POSIX = os.name == "posix" and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")
"""Whether the functions can be called: from compiled code only, so not where compilation is switched off."""

# Non-blocking: not to hang where a path has become a pipe since it was listed; no effect on files.
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
SEEK_END = os.SEEK_END
READ_FAILED = -1


STATX_MODE, STATX_SIZE, _SECONDS, _NANOSECONDS, STATX_WORDS = 3, 5, 14, 15, 32
"""Places in struct statx, in words of 8 bytes; linux/stat.h fixes them for every architecture."""


class _LibraryFunction:
    """A function of the C library, which every process has loaded: declared when Numba first meets it."""

    def __init__(self, name: str, result: str, *arguments: str) -> None:
        self.declared = name, result, arguments
        self._type: Any = None

    def __call__(self, *arguments: Any) -> Any:
        raise NotImplementedError("Only compiled code can call this. Do not disable compilation here.")

    @property
    def _numba_type_(self) -> Any:
        if self._type is None:
            from numba.core import types

            name, result, arguments = self.declared
            signature = getattr(types, result)(*[getattr(types, argument) for argument in arguments])
            self._type = types.ExternalFunction(name, signature)
        return self._type


# open is variadic in C; with its two fixed arguments the calling convention is that of any function.
open_ = _LibraryFunction("open", "int32", "intp", "int32")
pread = _LibraryFunction("pread", "intp", "int32", "intp", "intp", "int64")
lseek = _LibraryFunction("lseek", "int64", "int32", "int64", "int32")
close = _LibraryFunction("close", "int32", "int32")
statx = _LibraryFunction("statx", "int32", "int32", "intp", "int32", "uint32", "intp")


def c_names(paths: Iterable[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Paths, none of which holds a zero character, for compiled code.

    Returns
    -------
    (N,) uint8
        The paths, a zero after each.
    (paths,) int64
        Where each begins.
    """
    names = np.frombuffer(os.fsencode("\0".join(paths)) + b"\0", dtype=np.uint8)
    return names, np.concatenate([[0], np.flatnonzero(names == 0)[:-1] + 1])


@kernel()
def mtime_ns_of(facts: Any) -> Any:
    """Modification time in what `statx` has filled, nanoseconds since the epoch."""
    return facts[_SECONDS] * 1_000_000_000 + (facts[_NANOSECONDS] & 0xFFFF_FFFF)


@cache
def has_statx() -> bool:
    """Whether `statx` can be called: the one call for size and time whose result is laid out alike on every Linux."""
    if not HAS_POSIX or not sys.platform.startswith("linux") or sys.byteorder != "little":
        return False
    import ctypes

    try:
        return hasattr(ctypes.CDLL(None), "statx")
    except OSError:
        return False
