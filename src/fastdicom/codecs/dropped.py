"""Seeing the errors that a Cython extension drops.

OpenJPH throws on a damaged code stream; imagecodecs catches that in a function that cannot raise, so Python reports it
to ``sys.unraisablehook``, and the caller gets an image that is black from there on. The hook runs in the thread of the
decoder, before the decoder returns, so a flag of the thread tells what happened.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from fastdicom.codecs.streams import StreamError

__all__ = ["raising_dropped"]

Result = TypeVar("Result")

_TRIES = 3


class _Seen(threading.local):
    error: BaseException | None = None


_seen = _Seen()


class _Hook:
    """Notes what comes from one extension module, passes the rest on."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.previous = sys.unraisablehook

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.object).startswith(self.module):
            _seen.error = unraisable.exc_value or RuntimeError("unknown error")
        else:
            self.previous(unraisable)


def raising_dropped(module: str, call: Callable[[], Result]) -> Result:
    """What `call` returns; the error that the extension dropped meanwhile, in this thread, is raised.

    Calls nest: a signal handler or a finalizer may decode in the middle of one.

    Raises
    ------
    StreamError
        Somebody puts another hook in place whenever this is tried, so an error might go unseen.
    """
    for _ in range(_TRIES):
        # The hook stays, for other threads may be inside the extension; one that somebody else has put in its place
        # since is wrapped anew.
        hook = sys.unraisablehook
        if not isinstance(hook, _Hook) or hook.module != module:
            hook = sys.unraisablehook = _Hook(module)
        outer, _seen.error = _seen.error, None
        try:
            result = call()
        finally:
            dropped, _seen.error = _seen.error, outer
        if dropped is not None:
            raise dropped
        if sys.unraisablehook is hook:
            return result
    raise StreamError("sys.unraisablehook, by which errors of the codec are seen, is replaced again and again")
