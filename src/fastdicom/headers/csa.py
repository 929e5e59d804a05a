"""Siemens' CSA header: a list of named values inside one private element, in two binary layouts.

Source: Siemens' DICOM conformance statements name the element only; the layout is as nibabel documents it
(https://nipy.org/nibabel/dicom/siemens_csa.html).
"""

from __future__ import annotations

import struct
from collections.abc import Collection

__all__ = ["read_csa"]

WANTED = frozenset(("B_value", "DiffusionGradientDirection", "NumberOfImagesInMosaic", "SliceNormalVector"))
MAX_TAGS = 1024
MAX_ITEMS = 4096
_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")


def read_csa(data: bytes, wanted: Collection[str] = WANTED) -> dict[str, list[str]]:
    """Values of the wanted entries of a CSA header, as text; what cannot be read is left out.

    Parameters
    ----------
    data : bytes
        Value of CSA Image Header Info (0029,1010) or CSA Series Header Info (0029,1020).
    wanted : collection of str
        Names of the entries.
    """
    second = data[:4] == b"SV10"
    position = 8 if second else 0
    if len(data) < position + 8:
        return {}
    (count,) = struct.unpack_from("<I", data, position)
    position += 8
    if not 1 <= count <= MAX_TAGS:
        return {}
    found: dict[str, list[str]] = {}
    first_items = -1
    for _ in range(count):
        if position + _TAG.size > len(data):
            return found
        raw_name, _, _, _, items, _ = _TAG.unpack_from(data, position)
        position += _TAG.size
        name = raw_name.split(b"\0", 1)[0].decode("latin-1")
        first_items = items if first_items < 0 else first_items
        if not 0 <= items <= MAX_ITEMS:
            return found
        values: list[str] = []
        for _ in range(items):
            if position + _ITEM.size > len(data):
                return found
            lengths = _ITEM.unpack_from(data, position)
            position += _ITEM.size
            # The first layout writes the length plus the number of items of the first entry.
            length = lengths[1] if second else lengths[0] - first_items
            if length < 0 or position + length > len(data):
                return found
            text = data[position : position + length].split(b"\0", 1)[0].decode("latin-1").strip()
            position += (length + 3) // 4 * 4
            if text:
                values.append(text)
        if name in wanted:
            found[name] = values
    return found
