"""What native and encapsulated frames share: which syntax is which, exact reads, errors that name the file."""

from __future__ import annotations

from typing import Any

from fastdicom.errors import PixelDataError
from fastdicom.types import ByteReader

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2",  # implicit VR little endian
        "1.2.840.10008.1.2.1",  # explicit VR little endian
        DEFLATED,  # deflated explicit VR little endian: native once inflated
        BIG_ENDIAN,  # explicit VR big endian (retired)
    }
)


def is_encapsulated(transfer_syntax_uid: str) -> bool:
    """Whether the pixel data of this transfer syntax are a sequence of fragments (PS3.5 A.4)."""
    return transfer_syntax_uid not in NATIVE_SYNTAXES


def pixel_error(message: str, path: str, frame: int | None = None, **details: Any) -> PixelDataError:
    where = f" [{path}]" if path else ""
    if frame is not None:
        details["frame"] = frame
    return PixelDataError(f"{message}{where}", path=path, **details)


def read_exactly(reader: ByteReader, offset: int, length: int, *, path: str = "", frame: int | None = None) -> bytes:
    """Read `length` bytes from `offset`, or raise.

    Raises
    ------
    PixelDataError
        The file ends earlier. Nothing is allocated for bytes that a file of this size cannot hold.
    """
    if offset < 0 or length < 0 or (reader.size >= 0 and offset + length > reader.size):
        raise pixel_error(
            f"{length} bytes at offset {offset} are wanted, but the file ends at {reader.size}. "
            "It is truncated or its header is wrong; copy it again from its origin.",
            path,
            frame,
        )
    data = reader.read_at(offset, length)
    if len(data) != length:
        raise pixel_error(
            f"{length} bytes at offset {offset} are wanted, but only {len(data)} could be read. "
            "The file was cut short; copy it again from its origin.",
            path,
            frame,
        )
    return data
