"""Numba's cache on disk, safe with many processes, and its finished code loaded without the compiler.

Why a lock of our own: Numba writes an index that maps signatures to numbered data files. Two processes that write at
once can leave an index whose entry points at the other's machine code, and calling that crashes. Here all writers of
a directory hold an exclusive lock, readers a shared one, and the file names carry a hash of the source and the
versions, so that no reader, even after a writer was killed half-way, meets data of another version under a name it
trusts.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["DIGEST_LENGTH", "OPTIONS", "LockedCache"]

OPTIONS = {"nogil": True, "fastmath": False, "boundscheck": False, "no_cfunc_wrapper": True, "_nrt": False}
"""What every kernel is compiled with. Without Numba's runtime (`_nrt`) no references to arrays are counted: around
helpers that take arrays that took twice as long as the work."""

LOCK_NAME = "fastdicom.lock"
LOCK_TIMEOUT_S = 180.0
"""Longer than any compilation: whoever still waits then (a stopped process, a hung file server) goes on uncached."""

OUTDATED_AFTER_S = 7 * 24 * 3600.0
DIGEST_LENGTH = 10

LEAN_LOAD_TESTED = ((0, 61), (0, 68))
"""First and last Numba version (major, minor) for which :func:`_load_lean` is known to work."""


class LockedCache:
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
        version = re.compile(re.escape(name) + rf"-([0-9a-f]{{{DIGEST_LENGTH}}})-\d+\.py{python}\D")
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
