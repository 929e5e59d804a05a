"""What compiled code was made from: whether code on disk is still that of its source is decided by this alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np

__all__ = ["source_digest"]

_CONSTANTS = (bool, int, float, complex, str, bytes, type(None))
_LIBRARIES = (np, math)
"""Their versions are those of the environment, and what a kernel takes from them does not change with it."""


@cache
def source_digest(function: FunctionType) -> str:
    """A hash of all that the compiled code of a kernel depends on.

    That is the content of its file and of the files of the kernels that it calls, directly or not, and the values of
    the constants that they have from elsewhere.

    Parameters
    ----------
    function : function
        The undecorated function of a kernel.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        It uses something of which this cannot say when it changes. Kernels use NumPy, `math`, kernels, functions of
        the C library, numbers, texts, plain tuples of these, and arrays.
    OSError
        A file cannot be read: it is frozen or in an archive.
    """
    found = hashlib.sha256()
    waiting, seen = [function], {function}
    while waiting:
        one = waiting.pop()
        found.update(_file_digest(one.__code__.co_filename))
        for name, value in _from_outside(one):
            called = getattr(value, "python", None)
            if not isinstance(called, FunctionType):
                found.update(f"{name}={_text(value, f'{one.__qualname__} uses {name}')};".encode())
            elif called not in seen:
                seen.add(called)
                waiting.append(called)
    return found.hexdigest()


def _from_outside(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function has from outside of its own text, by name."""
    for name in sorted(set(_names(function.__code__))):
        value = function.__globals__.get(name)
        if name in function.__globals__ and not any(value is library for library in _LIBRARIES):
            yield name, value
    yield "defaults", (function.__defaults__, *sorted((function.__kwdefaults__ or {}).items()))
    if function.__closure__:
        yield "closure", function.__closure__


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _text(value: Any, where: str) -> str:
    """The value of a constant; `where` it is, for the message."""
    if type(value) in _CONSTANTS or isinstance(value, np.generic):
        return repr(value)
    if type(value) is tuple:
        return f"({','.join(_text(item, where) for item in value)})"
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        return f"{value.dtype.str}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()}"
    declared = getattr(value, "declared", None)  # a function of the C library
    if type(declared) is tuple:
        return _text(declared, where)
    raise TypeError(
        f"{where}, a {type(value).__name__}: nothing would tell that code compiled with another one is stale. Use "
        "kernels, numbers, texts, plain tuples of these, or arrays."
    )


@cache
def _file_digest(file: str) -> bytes:
    return hashlib.sha256(Path(file).read_bytes()).digest()
