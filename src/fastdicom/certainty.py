"""What must be certain before values are computed: headers that contradict themselves are errors, not guesses."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import quiet_pydicom
from fastdicom.codecs.native import is_word_data
from fastdicom.errors import FastDicomError, ValuesError
from fastdicom.frames.base import BIG_ENDIAN
from fastdicom.headers import HeaderTable
from fastdicom.headers.problems import native_surplus
from fastdicom.luts import read_dataset
from fastdicom.planned_files import PlannedFile
from fastdicom.sources import open_reader
from fastdicom.types import PixelFormat

__all__ = [
    "check_high_bit",
    "check_modality_tables",
    "check_rescale",
    "check_wide_big_endian",
    "one_voi_function",
    "surplus_pixels",
]

_RESCALE = (("rescale_slope", "RescaleSlope"), ("rescale_intercept", "RescaleIntercept"))
_LOOKED_AT = 1 << 20
VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def check_rescale(headers: HeaderTable) -> None:
    """Refuse gray volumes in which some slices have a readable slope or intercept and others have none.

    A column does not tell an absent number from one that cannot be read (``1,5``), so where no slice has one, the first
    file is asked: there, absent means that stored values are the modality values (PS3.3 C.11.1.1.2).

    Raises
    ------
    ValuesError
        Names the file whose values would be in another unit than those of its neighbours.
    """
    gray = (headers["samples_per_pixel"] <= 1) & ~headers["modality_lut_sequence"]
    if not gray.any():
        return
    for name, keyword in _RESCALE:
        readable = np.isfinite(headers[name])
        missing = np.flatnonzero(gray & ~readable)
        if not len(missing):
            continue
        path = str(headers["path"][missing[0]])
        written = None if headers["per_frame_functional_groups"][missing[0]] else _written(path, keyword)
        if written is None and not (gray & readable).any():
            continue
        what = "is absent" if written is None else f"is {written!r}, which is no number,"
        raise ValuesError(
            f"{keyword} {what} in {len(missing)} of {len(headers)} slices (first: {os.path.basename(path)}), so their "
            "values cannot be computed as those of the others are. Repair the header, or load values='stored'.",
            path=path,
            count=len(missing),
            keyword=keyword,
        )


def _written(path: str, keyword: str) -> str | None:
    """What a file really has as the value of an attribute; None where it is absent or empty."""
    with quiet_pydicom():
        dataset = read_dataset(path)
        if keyword not in dataset:
            return None
        raw: Any = dataset.get_item(keyword).value
    text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)
    return text.strip(" \0") or None


def one_voi_function(headers: HeaderTable) -> str:
    """The VOI LUT Function of all slices (absent: LINEAR).

    Raises
    ------
    ValuesError
        They differ, or it is none of PS3.3 C.11.2.1.3.
    """
    windowed = headers["voi_lut_function"][headers["window_center"] != b""]
    found = {value.decode("ascii", "replace").upper() or "LINEAR" for value in np.unique(windowed).tolist()}
    if not found:
        return "LINEAR"
    if len(found) > 1:
        raise ValuesError(
            f"VOI LUT Function differs from slice to slice ({', '.join(sorted(found))}). Pass window=(center, width).",
            functions=sorted(found),
        )
    function = found.pop()
    if function not in VOI_FUNCTIONS:
        raise ValuesError(
            f"VOI LUT Function {function!r} is none of {', '.join(VOI_FUNCTIONS)} (PS3.3 C.11.2.1.3). Pass "
            "window=(center, width).",
            function=function,
        )
    return function


def check_high_bit(headers: HeaderTable, values: str) -> list[str]:
    """Refuse values of bits that High Bit places elsewhere than at the bottom (PS3.3 C.7.6.3.1 forbids it).

    PS3.5 8.1.1 reads the upper bits; pydicom, and codecs, whose samples have no such place, the lower ones. So only
    ``values="stored"`` is certain, and a note tells of it.

    Raises
    ------
    ValuesError
        Other values are asked for, and Bits Stored leaves room for a choice.
    """
    high, stored = headers["high_bit"], headers["bits_stored"]
    # The bits of floats mean nothing, and INT_MISSING is negative.
    odd = (high >= 0) & (stored > 0) & (high != stored - 1) & (headers["pixel_keyword"] == b"PixelData")
    if not odd.any():
        return []
    unclear = odd & (stored < headers["bits_allocated"])
    row = int(np.flatnonzero(unclear if unclear.any() else odd)[0])
    what = f"High Bit is {int(high[row])} with Bits Stored {int(stored[row])}"
    if unclear.any() and values not in ("stored", "padding"):
        path = str(headers["path"][row])
        raise ValuesError(
            f"{what} and Bits Allocated {int(headers['bits_allocated'][row])} in {path}: which bits are the value is "
            f"uncertain (PS3.3 C.7.6.3.1 wants {int(stored[row]) - 1}). Correct the header, or load values='stored'.",
            path=path,
            high_bit=int(high[row]),
            bits_stored=int(stored[row]),
        )
    return [f"{what}: stored values are the lower {int(stored[row])} bits, as in pydicom's pixel_array"]


def check_modality_tables(slices: NDArray[Any], formats: Sequence[PixelFormat], files: Sequence[PlannedFile]) -> None:
    """Refuse a Modality LUT Sequence where stored values cannot be the number of an entry.

    Parameters
    ----------
    slices : (N,) of SLICE_DTYPE

    Raises
    ------
    ValuesError
        The pixels are floats, or integers of 64 bits.
    """
    for row in np.flatnonzero(slices["modality_lut"] >= 0).tolist():
        fmt, path = formats[slices["format"][row]], files[slices["file"][row]].locator
        if fmt.samples_per_pixel > 1 or (fmt.stored_dtype.kind in "iu" and fmt.bits_allocated <= 32):
            continue
        kind = "floating point" if fmt.stored_dtype.kind == "f" else "integer"
        raise ValuesError(
            f"{path} has a Modality LUT Sequence, and {kind} pixels of {fmt.bits_allocated} bits: its table is for "
            "integers of up to 32 bits (PS3.3 C.11.1). Load values='stored'.",
            path=path,
            bits_allocated=fmt.bits_allocated,
        )


def surplus_pixels(headers: HeaderTable) -> list[str]:
    """A note where native pixel data are longer than the image and the byte that makes their length even."""
    surplus = native_surplus(headers)
    long = surplus > 1
    if not long.any():
        return []
    row = int(np.flatnonzero(long)[0])
    return [
        f"The pixel data of {len(np.unique(headers['path'][long]))} files have bytes after the image that Rows, "
        f"Columns and Number of Frames describe ({int(surplus[row])} in "
        f"{os.path.basename(str(headers['path'][row]))}); they are taken for padding because they are zero"
    ]


def check_wide_big_endian(
    slices: NDArray[Any], formats: Sequence[PixelFormat], files: Sequence[PlannedFile]
) -> list[str]:
    """Samples of 32 or 64 bits in big endian words: what is unusual about the way they are read.

    By PS3.5 7.3 the bytes of each 16-bit word of OW are swapped, and the least significant word comes first (8.1.1):
    DCMTK and GDCM write that. Others write whole numbers, and pydicom reads those. The upper half of a number has fewer
    values than the lower one, so the first frame tells which it is.

    Raises
    ------
    ValuesError
        They are words, which nobody could tell from the numbers that would be made of them.
    """
    notes = []
    for number, fmt in enumerate(formats):
        if fmt.transfer_syntax_uid != BIG_ENDIAN or fmt.bits_allocated < 32:
            continue
        of_format = np.unique(slices["file"][slices["format"] == number]).tolist()
        found = next(filter(None, (_words_of_first_frame(files[k], fmt) for k in of_format)), None)
        if found is None:
            continue
        locator, words = found
        first, last = (len(np.unique(words[:, place])) for place in (0, -1))
        if first > 2 * last:
            raise ValuesError(
                f"The {fmt.bits_allocated}-bit samples of {os.path.basename(locator)} seem to be big endian words of "
                f"16 bits, the lowest first ({first} values of the first word, {last} of the last), which is not "
                "supported. Convert the files to little endian: dcmconv +te.",
                path=locator,
            )
        notes.append(f"{fmt.bits_allocated}-bit big endian samples are read as whole numbers, not as words of 16 bits")
    return notes


def _words_of_first_frame(planned: PlannedFile, fmt: PixelFormat) -> tuple[str, NDArray[Any]] | None:
    """Locator, and (samples, words) of the start of the pixel data; None where they are no OW, or cannot be read."""
    itemsize, location = fmt.bits_allocated // 8, planned.location
    nbytes = min(fmt.frame_bits // 8, _LOOKED_AT, max(0, location.length)) // itemsize * itemsize
    try:
        with open_reader(planned.locator) as reader:
            if not is_word_data(reader, location):
                return None
            data = reader.read_at(location.offset, nbytes)
    except FastDicomError:  # whoever reads the frame says so
        return None
    samples = len(data) // itemsize
    if samples == 0:
        return None
    return planned.locator, np.frombuffer(data, ">u2", samples * itemsize // 2).reshape(samples, -1)
