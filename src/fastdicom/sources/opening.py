"""A locator to a `ByteReader`; many of them to names for compiled code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastdicom._posix import c_names
from fastdicom.errors import SourceError, SourceNotFoundError
from fastdicom.sources.archives import ZIP_SCHEME, open_member, split_locator
from fastdicom.sources.objects import OBJECT_SCHEME, open_object
from fastdicom.sources.readers import LocalReader
from fastdicom.sources.remote import RemoteReader, is_url
from fastdicom.types import ByteReader

__all__ = ["local_names", "local_path", "open_reader"]


def open_reader(locator: str, size: int = -1) -> ByteReader:
    """Open one file for ranged reads.

    Parameters
    ----------
    locator : str
        As in `FileRef`: a local path, an fsspec URL, a member of a zip archive.
    size : int, optional
        Bytes of a remote file, where they are known: saves asking for them.

    Raises
    ------
    SourceError
        The file cannot be opened; SourceNotFoundError where it is gone.
    """
    if not is_url(locator):
        return _open_local(locator)
    if locator.startswith(OBJECT_SCHEME):
        return open_object(locator)
    if locator.startswith(ZIP_SCHEME) and "::" in locator:
        archive = open_reader(split_locator(locator)[1])
        try:
            return open_member(locator, archive)
        except BaseException:
            archive.close()
            raise
    path = local_path(locator)
    return _open_local(path) if path is not None else RemoteReader(locator, size)


def local_names(locators: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Names for compiled code, and where each begins (`c_names`): -1 for a locator that is no local path."""
    together = "\0".join(locators)
    if not is_url(together) and together.count("\0") == len(locators) - 1:
        return c_names(locators)
    is_path = np.array([not is_url(each) and "\0" not in each for each in locators], dtype=np.bool_)
    names, starts = c_names(each if path else "" for each, path in zip(locators, is_path, strict=True))
    return names, np.where(is_path, starts, -1)


def local_path(url: str) -> str | None:
    """The path of a ``file://`` URL (as fsspec reads them: nothing is escaped); None for others."""
    for scheme in ("file://", "local://"):
        if url.startswith(scheme) and "::" not in url:
            return url.removeprefix(scheme)
    return None


def _open_local(path: str) -> ByteReader:
    try:
        return LocalReader(path)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"{path} does not exist (any more). Scan the source again.", path=path) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} cannot be opened: {reason}. Check its permissions.", path=path) from error
