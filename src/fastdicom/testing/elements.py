"""Elements to bytes: a data set is encoded once and each instance patches its own values into it (PS3.5 7)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element

from fastdicom.testing.placement import format_decimal

__all__ = ["Encoding", "Template", "encode_file_meta", "pixel_element"]

TEXT = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
NUMBERS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
LONG_LENGTH = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
"""VRs with two reserved bytes and a 32-bit length in explicit syntaxes (PS3.5 7.1.2)."""
UNDEFINED = 0xFFFFFFFF


class Encoding:
    """VR explicitness and byte order of a transfer syntax."""

    def __init__(self, *, implicit: bool, little: bool) -> None:
        self.implicit = implicit
        self.little = little
        self.order = "<" if little else ">"
        self.charsets: list[str] = [default_encoding]
        """Python codecs of Specific Character Set."""

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Tag, VR and length of one element."""
        group, number = tag >> 16, tag & 0xFFFF
        if self.implicit:
            return struct.pack(f"{self.order}HHI", group, number, length)
        if vr in LONG_LENGTH:
            return struct.pack(f"{self.order}HH2sHI", group, number, vr.encode(), 0, length)
        return struct.pack(f"{self.order}HH2sH", group, number, vr.encode(), length)

    def element(self, keyword: str, value: Any) -> tuple[int, bytes]:
        """(tag, encoded element); pydicom does what is neither text nor a plain number."""
        tag, vr = _tag_and_vr(keyword)
        if vr in TEXT and not isinstance(value, bytes):
            values = value if isinstance(value, (list, tuple)) else (value,)
            if vr == "DS":
                values = [format_decimal(v) if isinstance(v, float) else v for v in values]
            raw = "\\".join(map(str, values)).encode(self.charsets[0])
            raw += (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
        elif vr in NUMBERS:
            values = value if isinstance(value, (list, tuple)) else (value,)
            raw = struct.pack(f"{self.order}{len(values)}{NUMBERS[vr]}", *values)
        else:
            return tag, self.through_pydicom(DataElement(tag, vr, value))
        return tag, self.header(tag, vr, len(raw)) + raw

    def through_pydicom(self, element: DataElement) -> bytes:
        """Any element, sequences included."""
        out = DicomBytesIO()
        out.is_implicit_VR, out.is_little_endian = self.implicit, self.little
        write_data_element(out, element, self.charsets)
        return bytes(out.getvalue())


_SEEN: dict[str, tuple[int, str]] = {}


def _tag_and_vr(keyword: str) -> tuple[int, str]:
    if keyword not in _SEEN:
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise KeyError(keyword)
        _SEEN[keyword] = (tag, dictionary_VR(tag).split(" or ")[0])
    return _SEEN[keyword]


class Template:
    """The bytes of a data set with gaps for the elements that differ from instance to instance.

    Parameters
    ----------
    constant : Dataset
        Elements that all instances share.
    varying : keywords
        What :meth:`fill` sets; none of them is in `constant`.
    """

    def __init__(self, constant: Dataset, varying: Iterable[str], encoding: Encoding) -> None:
        self.encoding = encoding
        self.tags = sorted({_tag_and_vr(keyword)[0] for keyword in varying})
        correct_ambiguous_vr(constant, encoding.little)
        runs: list[list[bytes]] = [[] for _ in range(len(self.tags) + 1)]
        at = 0
        for element in constant:
            while at < len(self.tags) and self.tags[at] < element.tag:
                at += 1
            runs[at].append(encoding.through_pydicom(element))
        self.runs = [b"".join(run) for run in runs]

    def fill(self, values: dict[str, Any], *encoded: tuple[int, bytes]) -> bytes:
        """The data set of one instance; `encoded` are elements that come as bytes. None: the element is absent."""
        own = dict(encoded)
        own.update(self.encoding.element(k, v) for k, v in values.items() if v is not None)
        parts = [self.runs[0]]
        for tag, run in zip(self.tags, self.runs[1:], strict=True):
            parts += (own.get(tag, b""), run)
        return b"".join(parts)


def pixel_element(keyword: str, vr: str, value: bytes, encapsulated: bool, *, encoding: Encoding) -> tuple[int, bytes]:
    """Pixel Data with its bytes as they are; encapsulated: of undefined length (PS3.5 A.4)."""
    tag, _ = _tag_and_vr(keyword)
    return tag, encoding.header(tag, vr, UNDEFINED if encapsulated else len(value)) + value


def encode_file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Group 2 (PS3.10 7.1), always explicit VR little endian."""
    encoding = Encoding(implicit=False, little=True)
    values: Sequence[tuple[str, Any]] = (
        ("FileMetaInformationVersion", b"\0\1"),
        ("MediaStorageSOPClassUID", sop_class),
        ("MediaStorageSOPInstanceUID", sop_instance),
        ("TransferSyntaxUID", transfer_syntax),
        ("ImplementationClassUID", "2.25.305828488182831875890203105390285383139"),
        ("ImplementationVersionName", "FASTDICOM"),
    )
    body = b"".join(encoding.element(k, v)[1] for k, v in values)
    return encoding.element("FileMetaInformationGroupLength", len(body))[1] + body
