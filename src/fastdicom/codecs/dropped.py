"""Seeing the errors that a Cython extension drops.

OpenJPH throws on a damaged code stream; imagecodecs catches that in a function that cannot raise, so Python reports it
to ``sys.unraisablehook``, and the caller gets an image that is black from there on. The hook runs in the thread of the
decoder, before the decoder returns, so a flag of the thread tells what happened.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

__all__ = ["raise_if_dropped", "watch"]


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


def watch(module: str) -> None:
    """Call before the extension: from now on its dropped errors are noted for this thread.

    The hook stays, for other threads may be inside the extension; one that somebody else has put in its place since is
    wrapped anew.
    """
    _seen.error = None
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(module)


def raise_if_dropped() -> None:
    """Call after the extension: raise what it dropped."""
    error, _seen.error = _seen.error, None
    if error is not None:
        raise error
