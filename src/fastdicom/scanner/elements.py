"""What the walk looks for, and the little it knows of the DICOM dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import UsageError
from fastdicom.scanner.kernels import ENHANCED, FLAG, MAX_CREATORS, SPAN, VALUE

__all__ = ["ENHANCED", "FLAG", "SEQUENCES", "SPAN", "VALUE", "VR_TABLE", "Wanted", "WantedElement"]

_CLASSES = (
    "",  # 0: unknown
    "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT",  # 1: text; the numbers are those of kernels.py
    "US",
    "SS",
    "UL",
    "SL",
    "FD",
    "FL",
    "SQ",
    "UN",
    "AT OB OD OF OL OV OW SV UV",
)
_LONG_VRS = "OB OD OF OL OV OW SQ SV UC UN UR UT UV"
"""32-bit length after two reserved bytes in explicit VR (PS3.5 7.1.2)."""

_VR_CLASS = {vr: number for number, vrs in enumerate(_CLASSES) for vr in vrs.split()}


def _vr_table() -> NDArray[np.uint8]:
    table = np.zeros(26 * 26, dtype=np.uint8)
    for vr, number in _VR_CLASS.items():
        table[(ord(vr[0]) - 65) * 26 + ord(vr[1]) - 65] = number | (0x80 if vr in _LONG_VRS.split() else 0)
    return table


VR_TABLE = _vr_table()
"""(676,) class of each pair of capitals, 0 where it is no VR; bit 7: long form."""

# Implicit VR does not say which element is a sequence, so the walk must know. These are the sequences of PS3.6 in the
# groups that images use; another one of undefined length is handed over.
_SEQUENCE_ELEMENTS = {
    0x0008: """
        0006 0051 0063 0082 0096 009D 0109 0110 0121 0123 0124 0220 0300 0305 0310 0400 0406 0410 0411 0412 0413
        0419 041A 041D 041E 0420 0421 0422 0423 0424 0425 1032 103F 1041 1049 1052 1062 1072 1084 1100 1110 1111
        1112 1115 1120 1125 1130 1134 113A 1140 1145 114A 114B 1156 1164 1198 1199 119A 119B 1200 1250 2112 2133
        2135 2218 2220 2228 2229 2230 2240 2242 2244 2246 2251 2253 2255 2257 2259 225A 225C 3001 3011 9092 9121
        9124 9154 9215 9237 9410 9458
        """,
    0x0010: """
        0024 0026 0027 0050 0101 0102 0201 0215 0216 0219 0221 0229 1002 1021 1100 2161 2202 2293 2294 2296
        """,
    0x0012: """
        0023 0054 0064 0083
        """,
    0x0018: """
        0012 0014 0026 0029 002A 0036 100A 11B8 11BA 11BC 11BF 11C1 1272 2041 5011 5104 6011 9006 9042 9045 9049
        9076 9083 9084 9092 9103 9107 9112 9114 9115 9117 9118 9119 9125 9126 9152 9176 9197 9226 9227 9239 9251
        925D 9260 9301 9304 9308 9312 9314 9321 9325 9326 9329 9338 9340 9341 9346 9360 9362 9363 9364 9365 936F
        9379 937D 9380 9381 9382 9401 9405 9406 9407 9412 9417 9432 9434 9451 9455 9456 9462 9472 9476 9477 9504
        9506 9507 9530 9538 9541 9542 9555 9556 9601 9621 9732 9733 9734 9735 9736 9737 9749 9751 9771 9772 9803
        9806 9807 9809 980D 980E 980F 9821 9825 982A 982C 9831 9832 9835 9836 9902 9903 9906 9907 9909 990B 990C
        990D 990E 9911 9912 9913 9914 991B 991C 991D 991F 9920 9931 9932 9933 9934 9935 9936 993B 993C 993D 993E
        A001
        """,
    0x0020: """
        9071 9111 9113 9116 9170 9171 9172 9221 9222 9253 930E 930F 9310 9450 9529
        """,
    0x0028: """
        1230 1352 1401 1404 140B 140C 3000 3001 3010 3110 5000 6100 7000 7008 700A 700F 7010 7011 7012 7015 7016
        701C 7022 7023 7024 7027 7028 702C 702D 702E 9110 9132 9145 9415 9422 9443 9501 9502 9505
        """,
    0x0032: """
        1031 1034 1064 1065 1067
        """,
    0x0038: """
        0004 0014 0044 0064 0100 0101 0502
        """,
    0x0040: """
        0008 000A 000B 0026 0027 0036 0039 003A 0100 0220 0260 0270 0275 0281 0293 0295 0296 030E 0320 0321 0324
        0330 0340 0440 0441 0500 0513 0515 0518 0520 0550 0552 0555 0560 0562 059A 0610 0612 0620 0710 071A 08D8
        08DA 08EA 09F8 100A 1011 1012 1101 4004 4007 4009 4015 4016 4018 4019 4021 4022 4025 4026 4027 4028 4029
        4030 4031 4032 4033 4034 4035 4070 4071 4072 4074 9092 9094 9096 9098 9220 A020 A026 A028 A043 A066 A068
        A070 A073 A076 A078 A07A A07C A085 A088 A090 A167 A168 A170 A195 A296 A300 A301 A313 A340 A358 A360 A370
        A372 A375 A380 A385 A390 A404 A504 A525 A730 A731 A732 A744 A801 A806 A807 A808 B020 E006 E008 E021 E022
        E023 E024 E025
        """,
    0x0054: """
        0012 0013 0016 0022 0032 0052 0062 0063 0072 0220 0222 0300 0302 0304 0306 0410 0412 0414
        """,
    0x0062: """
        0002 0003 0007 000A 000F 0011 0012
        """,
    0x0088: """
        0200
        """,
    0x3006: """
        0010 0012 0014 0016 0018 0020 0030 0037 0039 0040 004A 004B 004C 004D 004E 004F 0080 0086 00A0 00B0 00B6
        00B9 00C0 00C9 00CA 00CB
        """,
    0x5200: """
        9229 9230
        """,
}
SEQUENCES: NDArray[np.int64] = np.array(
    sorted(group << 16 | int(text, 16) for group, texts in _SEQUENCE_ELEMENTS.items() for text in texts.split()),
    dtype=np.int64,
)
"""Sorted tags of standard sequences."""


@dataclass(frozen=True, slots=True)
class WantedElement:
    """One element that the walk looks for."""

    tag: int
    """(group << 16) | element; of a private element with block 0x10."""
    vr: str
    keep: int = VALUE
    """VALUE: its bytes. FLAG: whether it is there and not empty. SPAN: its place. ENHANCED: nothing, as a file that
    has it is handed over."""
    creator: bytes = b""
    """Private creator that owns the element's block, whichever block it reserved in a file (PS3.5 7.8.1)."""


class Wanted:
    """The elements that a walk looks for, as the sorted tables that the compiled code searches.

    Parameters
    ----------
    elements : sequence of WantedElement
        The columns of the result are in this order.

    Raises
    ------
    UsageError
        A tag is wanted twice, or there are too many private creators.
    """

    def __init__(self, elements: Sequence[WantedElement]) -> None:
        self.elements = tuple(elements)
        keys = {(e.tag, e.creator) for e in elements}
        if len(keys) < len(self.elements):
            raise UsageError("An element is wanted twice. List each tag (and private creator) once.")
        creators = sorted({(e.tag >> 16, e.creator) for e in elements if e.creator})
        if len(creators) > MAX_CREATORS:
            raise UsageError(f"{len(creators)} private creators are wanted, the walk knows {MAX_CREATORS}. Want fewer.")
        owner = {key: number for number, key in enumerate(creators)}
        ends = np.cumsum([0] + [len(name) for _, name in creators])
        numbered = list(enumerate(self.elements))
        self.standard = _table(sorted((e.tag, i) for i, e in numbered if not e.creator), 2)
        self.private = _table(sorted((e.tag, i, owner[e.tag >> 16, e.creator]) for i, e in numbered if e.creator), 3)
        self.creators = _table([(group, ends[i], len(name)) for i, (group, name) in enumerate(creators)], 3)
        self.creator_names = np.frombuffer(b"".join(name for _, name in creators) or b"\0", dtype=np.uint8)
        self.kinds = _table([(_VR_CLASS[e.vr], e.keep) for e in self.elements], 2)

    def __len__(self) -> int:
        return len(self.elements)


def _table(rows: Sequence[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, width)
