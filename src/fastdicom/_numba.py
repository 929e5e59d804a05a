"""Compiled leaf functions: declared at import, compiled at first use, cached on disk, safe with many processes.

The pattern for a module that has compiled code::

    from fastdicom._numba import kernel

    @kernel()                                     # a helper: no signature, callable from other kernels only
    def _word(block, at):
        return block[at] | np.int64(block[at + 1]) << 8

    @kernel("int64(const(uint8[::1]), int64[:, ::1])")
    def walk(block, found):
        ...

    walk(block, found)                            # first call: loads from the cache, or compiles

* Importing such a module does not import Numba; the first call does.
* A signature is a Numba signature string with an explicit return type. ``const(...)`` marks an array that is only
  read: read-only and unaligned arrays (views of ``bytes``) are accepted there, and refused elsewhere.
  Several signatures may be given as a list; each is compiled only when arguments that need it arrive. They must differ
  in array dtypes or dimensions, not only in scalars. Arrays ``[::1]`` and ``[:, ::1]`` vectorise, ``[:]`` does not.
* Python ints and floats go in as int64 and float64. Pass positional arguments only.
* Compiled with ``nogil=True, fastmath=False, boundscheck=False``: an index out of bounds is memory corruption, so a
  kernel checks every length that comes from a file itself. Constants from module globals are frozen in.
* A kernel allocates nothing: what it needs besides its arguments is an argument, too.
* A kernel may call other kernels, of its file or imported from another; they are compiled with it. No closures. LLVM
  decides which of them it puts in place; ``@kernel(inline=True)`` decides it for a helper in a loop that must be fast.
  The content of all these files decides whether the cache is stale, and the values of constants from elsewhere.
* ``function.python`` is the undecorated function, and helpers called from Python are plain Python: a kernel can be
  debugged and measured for coverage. ``NUMBA_DISABLE_JIT=1`` runs that everywhere.
* Before fanning out to processes call :func:`warm_up`: not needed for safety, but it saves the workers waiting.

The cache lies where Numba puts it: ``NUMBA_CACHE_DIR``, else ``__pycache__`` beside the module, else the user's cache
directory. Where none of them can be written or locked, functions are compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from fastdicom._machine_code import MachineCode, load_machine_code, may_keep_machine_code, save_machine_code
from fastdicom._numba_cache import DIGEST_LENGTH, OPTIONS, LockedCache
from fastdicom._numba_sources import source_digest

__all__ = ["Kernel", "kernel", "warm_up"]

P = ParamSpec("P")
R = TypeVar("R")

_state = threading.RLock()
_registry: list[Kernel[..., Any]] = []


def _renew_lock_after_fork() -> None:
    global _state
    _state = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_after_fork)


def kernel(
    signatures: str | Sequence[str] = (), *, warm: int | None = None, inline: bool = False
) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Declare a compiled function.

    Parameters
    ----------
    signatures : str or sequence of str
        Numba signatures with return type; none for a helper that only other kernels call.
    warm : int, optional
        How many of the leading signatures :func:`warm_up` prepares (default all): put the common ones first.
    inline : bool
        A helper whose code is put in place of each call, whatever its size.
    """
    listed = (signatures,) if isinstance(signatures, str) else tuple(signatures)

    def declare(function: Callable[P, R]) -> Kernel[P, R]:
        return Kernel(function, listed, len(listed) if warm is None else warm, inline=inline)

    return declare


def warm_up(*modules: str) -> int:
    """Load, and where need be compile and cache, what the kernels of `modules` commonly need.

    Parameters
    ----------
    *modules : str
        Module names (``"fastdicom.scanner"``), submodules included; default: all modules with kernels imported so far.

    Returns
    -------
    int
        Compiled functions that are now ready in this process.
    """
    chosen = [k for k in list(_registry) if not modules or _lies_in(k.__module__, modules)]
    return sum(k.load(k.warm) for k in chosen)


def _lies_in(module: str, parents: Sequence[str]) -> bool:
    return any(module == parent or module.startswith(parent + ".") for parent in parents)


class Kernel(Generic[P, R]):
    """A function that compiles itself at the first call; made by :func:`kernel`."""

    def __init__(self, function: Callable[P, R], signatures: tuple[str, ...], warm: int, *, inline: bool) -> None:
        self.python = function
        self.signatures = signatures
        self.warm = warm
        self.inline = inline
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._run: Callable[..., R] = self._load_and_run if signatures else function
        self._dispatcher: Any = None
        self._pending: list[Any] | None = None
        self._looked_up: dict[str, MachineCode | None] = {}
        self._ready: tuple[MachineCode, ...] = ()
        self._inlined: Any = None
        _registry.append(cast("Kernel[..., Any]", self))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._run(*args, **kwargs)
        except TypeError:
            # No compiled signature takes these arguments (nothing ran): there may be a declared one that does.
            if self._dispatcher is None or not self._load_for(args):
                raise
        return self._run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<kernel {self.__module__}.{self.__qualname__}>"

    def __reduce__(self) -> str:
        return self.__qualname__

    @property
    def _numba_type_(self) -> Any:
        """What Numba sees where another kernel calls this one: the plain function, compiled into the caller."""
        with _state:
            if self._inlined is None:
                # Only machine code calls it: without the wrappers for others a helper compiles in half the time.
                self._inlined = _njit(cast(FunctionType, self.python), no_cpython_wrapper=True, forceinline=self.inline)
            return self._inlined._numba_type_

    def load(self, count: int | None = None) -> int:
        """Make the first `count` signatures (default all) ready; returns how many are."""
        if not self.signatures:
            return 0
        with _state:
            named = self.signatures[:count]
            if self._may_do_without_numba() and None not in [self._finished(text) for text in named]:
                return len(named)
        if not self._prepare():
            return 0
        with _state:
            wanted = _parse(self.signatures)[:count]
            for signature in wanted:
                if signature in (self._pending or ()):
                    self._compile(signature)
        return len(wanted)

    def _load_and_run(self, *args: Any, **kwargs: Any) -> R:
        found = None if kwargs else self._find_finished(args)
        if found is not None:
            return cast("R", found[0].call(found[1]))
        if not self._prepare():
            return self.python(*args, **kwargs)
        if self._load_for(args) or self._run not in (self._load_and_run, self._run_finished):
            return self._run(*args, **kwargs)
        raise TypeError(f"{self} takes {' or '.join(self.signatures)}")

    def _run_finished(self, *args: Any, **kwargs: Any) -> R:
        """Call machine code that was found, without Numba."""
        for code in () if kwargs else self._ready:
            leaves = code.leaves_of(args)
            if leaves is not None:
                return cast("R", code.call(leaves))
        return self._load_and_run(*args, **kwargs)

    def _find_finished(self, args: tuple[Any, ...]) -> tuple[MachineCode, list[Any]] | None:
        """Machine code that takes `args`, and these as it takes them."""
        if not self._may_do_without_numba():
            return None
        with _state:
            for text in self.signatures:
                code = self._finished(text)
                leaves = None if code is None else code.leaves_of(args)
                if code is not None and leaves is not None:
                    self._ready = (*(other for other in self._ready if other is not code), code)
                    self._run = self._run_finished
                    return code, leaves
        return None

    def _finished(self, signature: str) -> MachineCode | None:
        if signature not in self._looked_up:
            self._looked_up[signature] = load_machine_code(cast(FunctionType, self.python), signature)
        return self._looked_up[signature]

    def _may_do_without_numba(self) -> bool:
        """Not once Numba is there: its own way of calling takes a microsecond, that of finished code ten."""
        return self._dispatcher is None and "numba" not in sys.modules and may_keep_machine_code()

    def _prepare(self) -> bool:
        """Create the dispatcher; False where compilation is switched off."""
        with _state:
            if self._dispatcher is not None:
                return True
            import numba

            if numba.config.DISABLE_JIT:
                self._run = self.python
                return False
            function = _with_versioned_name(cast(FunctionType, self.python))
            dispatcher = _njit(function)
            with suppress(RuntimeError):  # no directory can be written
                dispatcher.enable_caching()
                name = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}"
                dispatcher._cache = LockedCache(dispatcher._cache, name)
            self._pending = _parse(self.signatures)
            self._dispatcher = dispatcher
            return True

    def _load_for(self, args: tuple[Any, ...]) -> bool:
        """Compile the first declared signature that takes `args`; False if none is left that does."""
        if self._dispatcher is None:
            return False
        with _state:
            accepts = self._dispatcher.typingctx.can_convert
            given = [_type_of(a) for a in args]
            for signature in self._pending or ():
                if len(signature.args) == len(given) and all(map(_is_some, map(accepts, given, signature.args))):
                    self._compile(signature)
                    return True
        return False

    def _compile(self, signature: Any) -> None:
        dispatcher = self._dispatcher
        self._run = self._load_and_run  # other threads wait for the lock instead of compiling what is not declared
        try:
            dispatcher.disable_compile(False)
            dispatcher.compile(signature)
        except BaseException:
            if isinstance(dispatcher._cache, LockedCache):
                dispatcher._cache.release()
            raise
        finally:
            if dispatcher.signatures:
                dispatcher.disable_compile()
                self._run = dispatcher
        pending = cast("list[Any]", self._pending)
        # What fails here costs the next process its fast start, and nothing else.
        with suppress(Exception):
            if may_keep_machine_code():
                text = self.signatures[_parse(self.signatures).index(signature)]
                save_machine_code(cast(FunctionType, self.python), text, dispatcher.overloads[signature.args])
        pending.remove(signature)


def _njit(function: FunctionType, **more: bool) -> Any:
    import numba
    from numba.core.options import DefaultOptions

    # Options that are not public: should a version of Numba not have one, kernels are only slower.
    options = {name: value for name, value in OPTIONS.items() if name[0] != "_" or hasattr(DefaultOptions, name)}
    return numba.njit(**options, **more)(function)


def _is_some(value: object) -> bool:
    return value is not None


def _parse(signatures: Sequence[str]) -> list[Any]:
    """Signature objects; the strings are this package's own source code, never input."""
    from numba.core import types

    names = {**vars(types), "const": _const}
    return [eval(text, {"__builtins__": {}}, names) for text in signatures]


def _const(array: Any) -> Any:
    from numba.core import types

    return types.Array(array.dtype, array.ndim, array.layout, readonly=True, aligned=False)


def _type_of(value: object) -> Any:
    """``numba.typeof`` that does not import ``numpy.ma`` (25 ms) to tell that a plain array is one."""
    import numba

    if type(value) is not np.ndarray or not value.dtype.isnative:
        return numba.typeof(value)
    layout = "C" if value.flags.c_contiguous else "F" if value.flags.f_contiguous else "A"
    return numba.types.Array(
        numba.from_dtype(value.dtype),
        value.ndim,
        layout,
        readonly=not value.flags.writeable,
        aligned=value.flags.aligned,
    )


def _with_versioned_name(function: FunctionType) -> FunctionType:
    """A copy whose qualified name, and so whose cache files, belong to this source text and these versions only."""
    import llvmlite
    import numba

    try:
        source = source_digest(function)
    except OSError:
        source = ""  # frozen or zipped: Numba finds no cache directory for it either
    # The last word: what was cached before machine code was kept as well is not used, or that would never be kept.
    made_from = f"{source} {numba.__version__} {llvmlite.__version__} {OPTIONS} machine code"
    digest = hashlib.sha256(made_from.encode()).hexdigest()[:DIGEST_LENGTH]
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__qualname__}-{digest}"
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
