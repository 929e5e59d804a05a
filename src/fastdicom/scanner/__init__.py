"""The compiled element walk: blocks of bytes in, places of the wanted elements out.

The walk follows the top-level elements of a file from the preamble to the pixel data without building any object
(PS3.5 7, PS3.10 7). It can stop at the end of the bytes at hand and go on with others: the state of a file is one row
of numbers. It is made to be certain, not clever: whatever it does not expect (an unknown VR, tags out of order, a
length beyond the file or the enclosing item, big endian, ...) ends the walk of that file with a reason, and pydicom
decides what the file is.
"""

from fastdicom.scanner.elements import ENHANCED, FLAG, SPAN, VALUE, Wanted, WantedElement
from fastdicom.scanner.kernels import DONE, HANDED_OVER, MAX_VALUE_NBYTES, NO_PIXELS, RUNNING
from fastdicom.scanner.walk import REASONS, Walk

__all__ = [
    "DONE",
    "ENHANCED",
    "FLAG",
    "HANDED_OVER",
    "MAX_VALUE_NBYTES",
    "NO_PIXELS",
    "REASONS",
    "RUNNING",
    "SPAN",
    "VALUE",
    "Walk",
    "Wanted",
    "WantedElement",
]
