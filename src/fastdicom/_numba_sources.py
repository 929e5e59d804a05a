"""What compiled code was made from: whether code on disk is still that of its source is decided by this alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

__all__ = ["source_digest"]

_FROZEN = (bool, int, float, complex, str, bytes, np.generic, type(None))
"""Globals of these types, and tuples of them, Numba puts into the code as they are at the time."""
_OWN = __name__.partition(".")[0]


@cache
def source_digest(function: FunctionType) -> str:
    """A hash of all that the compiled code of a kernel depends on.

    That is the content of its file and of the files of the kernels that it calls, directly or not, and the values of
    the constants that it has from elsewhere.

    Parameters
    ----------
    function : function
        The undecorated function of a kernel.

    Returns
    -------
    str
        64 hexadecimal digits. Constants of a type that is not known here are left out: a kernel should have none.

    Raises
    ------
    OSError
        A file cannot be read: it is frozen or in an archive.
    """
    found = hashlib.sha256()
    waiting, seen = [function], {function}
    while waiting:
        one = waiting.pop()
        found.update(_file_digest(one.__code__.co_filename))
        for name, value in _globals_of(one):
            called = getattr(value, "python", None)
            if isinstance(called, FunctionType):
                if called not in seen:
                    seen.add(called)
                    waiting.append(called)
            else:
                found.update(f"{name}={_text(value)};".encode())
    return found.hexdigest()


def _globals_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function has from outside of itself, by name; of modules of this package, what it may take from them."""
    names = sorted(set(_names(function.__code__)))
    for name in names:
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType) and value.__name__.partition(".")[0] == _OWN:
            yield from ((f"{name}.{item}", getattr(value, item)) for item in names if hasattr(value, item))
        elif name in function.__globals__:
            yield name, value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _text(value: Any) -> str:
    if isinstance(value, _FROZEN):
        return repr(value)
    if isinstance(value, tuple):
        return f"({','.join(map(_text, value))})"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    return str(getattr(value, "declared", ""))  # a function of the C library


@cache
def _file_digest(file: str) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()
