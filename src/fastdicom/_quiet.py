"""pydicom's warnings, silenced where the damage they speak of is dealt with anyway."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet_pydicom"]

_LOCK = threading.RLock()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Ignore warnings in this block.

    ``warnings.catch_warnings`` swaps a list that all threads share: two threads in it at once can leave the user's
    filters changed for good. pydicom holds the interpreter lock as it parses, so one thread at a time costs nothing.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
