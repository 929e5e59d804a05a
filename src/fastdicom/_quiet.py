"""pydicom with many threads: imported once, and quiet where the damage it warns of is dealt with anyway."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["import_pydicom", "quiet_pydicom"]

_LOCK = threading.RLock()


def import_pydicom() -> None:
    """Import pydicom, before the first import of one of its modules: the threads of a scan may all be the first.

    Its modules import one another in circles. Where two threads enter such a circle at different places, Python gives
    one of them a module that is not finished yet, instead of letting both wait for ever.
    """
    with _LOCK:
        import pydicom  # noqa: F401


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Ignore warnings in this block.

    ``warnings.catch_warnings`` swaps a list that all threads share: two threads in it at once can leave the user's
    filters changed for good. pydicom holds the interpreter lock as it parses, so one thread at a time costs nothing.
    """
    import_pydicom()
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
