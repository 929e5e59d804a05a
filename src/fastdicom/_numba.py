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
* A kernel may call kernels *of its own file*: only that file's content decides whether the cache is stale.
  They are inlined from source; no closures.
* ``function.python`` is the undecorated function, and helpers called from Python are plain Python: a kernel can be
  debugged and measured for coverage. ``NUMBA_DISABLE_JIT=1`` runs that everywhere.
* Before fanning out to processes call :func:`warm_up`: not needed for safety, but it saves the workers waiting.

The cache lies where Numba puts it: ``NUMBA_CACHE_DIR``, else ``__pycache__`` beside the module, else the user's cache
directory. Where none of them can be written or locked, functions are compiled anew in each process.

Why a lock of our own: Numba writes an index that maps signatures to numbered data files. Two processes that write at
once can leave an index whose entry points at the other's machine code, and calling that crashes. Here all writers of
a directory hold an exclusive lock, readers a shared one, and the file names carry a hash of the source and the
versions, so that no reader, even after a writer was killed half-way, meets data of another version under a name it
trusts.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

__all__ = ["Kernel", "kernel", "warm_up"]

P = ParamSpec("P")
R = TypeVar("R")

LOCK_NAME = "fastdicom.lock"
LOCK_TIMEOUT_S = 180.0
"""Longer than any compilation: whoever still waits then (a stopped process, a hung file server) goes on uncached."""

OUTDATED_AFTER_S = 7 * 24 * 3600.0
_DIGEST_LENGTH = 10

LEAN_LOAD_TESTED = ((0, 61), (0, 68))
"""First and last Numba version (major, minor) for which :func:`_load_lean` is known to work."""

_OPTIONS = {"nogil": True, "fastmath": False, "boundscheck": False, "no_cfunc_wrapper": True}

_state = threading.RLock()
_registry: list[Kernel[..., Any]] = []


def _renew_lock_after_fork() -> None:
    global _state
    _state = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_after_fork)


def kernel(
    signatures: str | Sequence[str] = (), *, warm: int | None = None
) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Declare a compiled function.

    Parameters
    ----------
    signatures : str or sequence of str
        Numba signatures with return type; none for a helper that only other kernels call.
    warm : int, optional
        How many of the leading signatures :func:`warm_up` prepares (default all): put the common ones first.
    """
    listed = (signatures,) if isinstance(signatures, str) else tuple(signatures)

    def declare(function: Callable[P, R]) -> Kernel[P, R]:
        return Kernel(function, listed, len(listed) if warm is None else warm)

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

    def __init__(self, function: Callable[P, R], signatures: tuple[str, ...], warm: int) -> None:
        self.python = function
        self.signatures = signatures
        self.warm = warm
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self._run: Callable[..., R] = self._load_and_run if signatures else function
        self._dispatcher: Any = None
        self._pending: list[Any] | None = None
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
                import numba

                # Only machine code calls it: without the wrappers for others a helper compiles in half the time.
                self._inlined = numba.njit(**_OPTIONS, no_cpython_wrapper=True)(self.python)
            return self._inlined._numba_type_

    def load(self, count: int | None = None) -> int:
        """Make the first `count` signatures (default all) ready; returns how many are."""
        if not self.signatures or not self._prepare():
            return 0
        with _state:
            wanted = _parse(self.signatures)[:count]
            for signature in wanted:
                if signature in (self._pending or ()):
                    self._compile(signature)
        return len(wanted)

    def _load_and_run(self, *args: Any, **kwargs: Any) -> R:
        if not self._prepare():
            return self.python(*args, **kwargs)
        if self._load_for(args) or self._run != self._load_and_run:
            return self._run(*args, **kwargs)
        raise TypeError(f"{self} takes {' or '.join(self.signatures)}")

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
            dispatcher = numba.njit(**_OPTIONS)(function)
            with suppress(RuntimeError):  # no directory can be written
                dispatcher.enable_caching()
                name = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}"
                dispatcher._cache = _LockedCache(dispatcher._cache, name)
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
            if isinstance(dispatcher._cache, _LockedCache):
                dispatcher._cache.release()
            raise
        finally:
            if dispatcher.signatures:
                dispatcher.disable_compile()
                self._run = dispatcher
        cast("list[Any]", self._pending).remove(signature)


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
    import llvmlite  # type: ignore[import-untyped]
    import numba

    try:
        source = Path(function.__code__.co_filename).read_bytes()
    except OSError:
        source = b""  # frozen or zipped: Numba finds no cache directory for it either
    versions = f"{numba.__version__} {llvmlite.__version__} {_OPTIONS}".encode()
    digest = hashlib.sha256(source + versions).hexdigest()[:_DIGEST_LENGTH]
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__qualname__}-{digest}"
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class _LockedCache:
    """Numba's function cache (`numba.core.caching._Cache`) with readers and writers kept apart across processes.

    Numba calls ``load_overload``, compiles if that found nothing, and calls ``save_overload``: the exclusive lock held
    in between makes sure that one process compiles while the others wait for its result.
    """

    def __init__(self, cache: Any, name: str) -> None:
        self._cache = cache
        self._name = name
        self._usable = True
        self._writing: int | None = None
        self._lock_path = os.path.join(cache.cache_path, LOCK_NAME)

    @property
    def cache_path(self) -> Any:
        return self._cache.cache_path

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        if not self._usable:
            return None
        try:
            with _locked(self._lock_path, exclusive=False):
                found = self._read(signature, target_context)
            if found is None:
                self._writing = _acquire(self._lock_path, exclusive=True)
                found = self._read(signature, target_context)
                if found is not None:
                    self.release()
                else:
                    self._remove_outdated()
        except OSError:
            self._usable = False
            return None
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        if self._writing is None:
            return
        try:
            self._cache.save_overload(signature, data)
        except Exception:
            # A disk that is full or an index that is damaged costs the cache, never the compiled function.
            with suppress(Exception):
                self._cache.flush()
                self._cache.save_overload(signature, data)
        finally:
            self.release()

    def release(self) -> None:
        if self._writing is not None:
            _release(self._writing)
            self._writing = None

    def flush(self) -> None:
        self._cache.flush()

    def enable(self) -> None:
        self._cache.enable()

    def disable(self) -> None:
        self._cache.disable()

    def _remove_outdated(self) -> None:
        """Delete what older sources or versions left under other hashes, or a developer's cache would grow for ever.

        Only after a while, because environments that share an editable install use their own hashes in turn.
        """
        name, digest = self._name.rsplit("-", 1)
        python = f"{sys.version_info[0]}{sys.version_info[1]}"
        version = re.compile(re.escape(name) + rf"-([0-9a-f]{{{_DIGEST_LENGTH}}})-\d+\.py{python}\D")
        with suppress(OSError):
            for entry in os.scandir(self._cache.cache_path):
                found = version.match(entry.name)
                outdated = found is not None and found[1] != digest
                if outdated and entry.stat().st_mtime < time.time() - OUTDATED_AFTER_S:
                    Path(entry.path).unlink()

    def _read(self, signature: Any, target_context: Any) -> Any:
        try:
            return _load_lean(self._cache, signature, target_context)
        except Exception:  # damaged files: compile and overwrite them
            return None


def _load_lean(cache: Any, signature: Any, target_context: Any) -> Any:
    """Load machine code without first loading the compiler: 0.04 s instead of 0.35 s in a new process.

    ``load_overload`` begins by registering everything Numba can compile, which imports ``scipy.linalg`` among others.
    Finished code needs of all that only Numba's runtime symbols (without them it crashes, so untested versions of
    Numba take the long way). The compiler registers the rest by itself should something have to be compiled later.
    """
    import numba

    version = tuple(int(part) for part in numba.__version__.split(".")[:2])
    if not LEAN_LOAD_TESTED[0] <= version <= LEAN_LOAD_TESTED[1]:
        return cache.load_overload(signature, target_context)
    from numba.core.runtime.nrt import rtsys

    rtsys.initialize(target_context)
    return cache._load_overload(signature, target_context)


@contextmanager
def _locked(path: str, *, exclusive: bool) -> Iterator[None]:
    descriptor = _acquire(path, exclusive=exclusive)
    try:
        yield
    finally:
        _release(descriptor)


def _acquire(path: str, *, exclusive: bool) -> int:
    """Descriptor of the lock file, locked. OSError where that is impossible, TimeoutError (an OSError) where too slow.

    The system drops the lock when its holder dies, so there is no stale lock to clean up.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    give_up = time.monotonic() + LOCK_TIMEOUT_S
    pause = 0.001
    try:
        while not _try_lock(descriptor, exclusive):
            if time.monotonic() > give_up:
                raise TimeoutError(f"{path} stayed locked for {LOCK_TIMEOUT_S} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.03)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, exclusive: bool) -> bool:
        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    def _release(descriptor: int) -> None:
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
        finally:
            os.close(descriptor)

else:
    import fcntl

    def _try_lock(descriptor: int, exclusive: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(descriptor: int) -> None:
        try:
            # Not left to close(): a child forked meanwhile shares this descriptor and would keep the lock.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)
