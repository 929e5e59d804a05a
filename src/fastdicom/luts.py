"""Lookup tables in headers: Modality LUT, VOI LUT, palettes. Read with pydicom, once for each file that has one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import import_pydicom, quiet_pydicom
from fastdicom.errors import ValuesError
from fastdicom.headers import HeaderTable
from fastdicom.plan import Lut
from fastdicom.sources import open_reader

__all__ = ["FileTables", "read_dataset", "read_tables"]


@dataclass
class FileTables:
    """The tables of the files of one volume."""

    luts: list[Lut] = field(default_factory=list)
    modality: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """(files,) index into `luts`, or -1."""
    voi: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    modality_types: set[str] = field(default_factory=set)
    """Modality LUT Type (0028,3004) of the tables: what their output is."""
    palettes: dict[int, bytes] = field(default_factory=dict)
    """File number -> int32 first mapped value, then RGB bytes of each entry."""

    def add(self, lut: Lut) -> int:
        if lut not in self.luts:
            self.luts.append(lut)
        return self.luts.index(lut)


def read_dataset(locator: str) -> Any:
    """The pydicom Dataset of a file, without pixel data."""
    import_pydicom()
    from pydicom import dcmread

    from fastdicom.headers.datasets import open_clamped

    with open_reader(locator) as reader, quiet_pydicom():
        return dcmread(open_clamped(reader), stop_before_pixels=True, force=True)


def read_tables(
    headers: HeaderTable, file_of: NDArray[np.int64], locators: Sequence[str], *, values: str
) -> FileTables:
    """Read the tables of those files that have one.

    Parameters
    ----------
    headers : HeaderTable
        Rows of the slices.
    file_of : (N,) int
        File number of each row.
    locators : file of each number
    values : str
        "stored" and "padding" need no table; only "display" needs VOI LUTs and palettes, so that a damaged one does
        not keep the rest from being loaded.
    """
    count = len(locators)
    tables = FileTables(modality=np.full(count, -1, np.int64), voi=np.full(count, -1, np.int64))
    if values in ("stored", "padding"):
        return tables
    display = values == "display"
    palette = headers["photometric_interpretation"] == b"PALETTE COLOR"
    wanted = headers["modality_lut_sequence"] | (display & (headers["voi_lut_sequence"] | palette))
    for number in np.unique(file_of[wanted]).tolist():
        dataset = read_dataset(locators[number])
        with quiet_pydicom():
            _take_tables(tables, dataset, number, locators[number], display=display)
    return tables


def _take_tables(tables: FileTables, dataset: Any, number: int, path: str, *, display: bool) -> None:
    for keyword, target in (("ModalityLUTSequence", tables.modality), ("VOILUTSequence", tables.voi)):
        if dataset.get(keyword) and (display or keyword == "ModalityLUTSequence"):
            item = dataset[keyword].value[0]
            inputs = _voi_inputs(dataset) if keyword == "VOILUTSequence" else _stored_range(dataset)
            target[number] = tables.add(_lut(item, path, inputs, swapped=_is_big_endian(dataset)))
            if keyword == "ModalityLUTSequence":
                tables.modality_types.add(str(item.get("ModalityLUTType") or ""))
    if display and dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        tables.palettes[number] = _palette(dataset, path)


def _stored_range(dataset: Any) -> tuple[float, float]:
    """The least and the greatest stored value that the pixels can have."""
    stored, signed = dataset.get("BitsStored"), dataset.get("PixelRepresentation") == 1
    bits = stored if isinstance(stored, int) and 0 < stored <= 64 else 16
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)


def _voi_inputs(dataset: Any) -> tuple[float, float]:
    """The least and the greatest value that a VOI LUT can be given: what the modality transform makes."""
    if dataset.get("ModalityLUTSequence"):
        return 0.0, 65535.0
    low, high = _stored_range(dataset)
    try:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    except (AttributeError, TypeError, ValueError):
        return low, high
    ends = low * slope + intercept, high * slope + intercept
    return min(ends), max(ends)


def _first_mapped(first: int, entries: int, inputs: tuple[float, float]) -> int:
    """The first mapped value with the sign that the input of the table gives it, whatever its VR says.

    Writers store -32 as US 65504, and in Implicit VR nothing but the input tells the one from the other.
    Source: PS3.3 C.11.1.1.1, C.11.2.1.1 (signed where the input may be).
    """
    low, high = inputs
    other = first - (1 << 16) if first >= 1 << 15 else first + (1 << 16) if first < 0 else first
    if first >= 1 << 15 and low < 0:
        first, other = other, first
    # The sign that lets the table map nothing of the input is not the one that was meant.
    mapped, other_mapped = (value <= high and value + entries > low for value in (first, other))
    return first if mapped or not other_mapped else other


def _is_big_endian(dataset: Any) -> bool:
    return dataset.original_encoding[1] is False


def _lut(item: Any, path: str, inputs: tuple[float, float], *, swapped: bool) -> Lut:
    """One item of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    try:
        entries, first, bits = (int(v) for v in item.LUTDescriptor)
        raw = item["LUTData"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValuesError(
            f"The lookup table of {path} has no valid LUT Descriptor or LUT Data. Load values='stored'.", path=path
        ) from error
    entries = entries or 1 << 16
    first = _first_mapped(first, entries, inputs)
    data = _entries(raw, entries, swapped=swapped)
    if len(data) < entries:
        raise ValuesError(
            f"The lookup table of {path} has {len(data)} of {entries} entries. Load values='stored'.", path=path
        )
    # A descriptor of 8 bits with 16-bit values is a known mistake of writers: the values are right (pydicom agrees).
    bits = 16 if int(data[:entries].max(initial=0)) > 255 and bits == 8 else bits
    if not 8 <= bits <= 16:
        raise ValuesError(
            f"The lookup table of {path} has entries of {bits} bits; 8 to 16 are possible (PS3.3 C.11.1.1.1). Correct "
            "the third value of its LUT Descriptor, or load values='stored'.",
            path=path,
            bits=bits,
        )
    return Lut(first, bits, data[:entries].astype("<u2").tobytes(), str(item.get("LUTExplanation", "")))


def _entries(element: Any, entries: int, *, swapped: bool) -> NDArray[Any]:
    """The values of a table that is not segmented: words, or bytes (uint8) where the length says so."""
    raw = element.value
    if not isinstance(raw, bytes):
        return np.atleast_1d(np.asarray(raw, dtype=np.int64)).astype(np.uint16)
    packed = len(raw) in (entries, entries + entries % 2) and len(raw) < 2 * entries
    return _values(element, 1 if packed else 2, swapped=swapped)


def _values(element: Any, width: int, *, swapped: bool) -> NDArray[Any]:
    """OW bytes as values of `width` bytes each. pydicom hands them over in the order of the file.

    In Explicit VR Big Endian the bytes of each word are swapped, also where a word packs two 8-bit entries, the first
    of them in the lower byte (PS3.5 7.3, PS3.3 C.7.6.3.1.6). OB is never swapped.
    """
    raw = bytes(element.value)
    words = raw[: len(raw) & ~1]
    if width == 2:
        return np.frombuffer(words, ">u2" if swapped else "<u2").astype(np.uint16)
    if swapped and element.VR != "OB":
        raw = np.frombuffer(words, "<u2").byteswap().tobytes() + raw[len(words) :]
    return np.frombuffer(raw, np.uint8)


def _segments(element: Any, entries: int, bits: int, *, swapped: bool) -> NDArray[Any]:
    """The entries of a segmented palette.

    The descriptor counts the entries after the expansion, so the length of the data does not tell the width of their
    values. The third value of the descriptor does, where it is right: data that expand to as many entries as it says
    only with the other width, or as bytes in the order of the file, are read so.
    """
    from fastdicom.kernels import expand_segmented_palette

    raw = element.value
    if not isinstance(raw, bytes):
        return expand_segmented_palette(np.atleast_1d(np.asarray(raw, dtype=np.int64)).astype(np.uint16))[:entries]
    width = 1 if bits <= 8 else 2
    others = [(3 - width, swapped), (1, False)] if swapped else [(3 - width, False)]
    first: NDArray[Any] | ValuesError
    try:
        first = expand_segmented_palette(_values(element, width, swapped=swapped))
    except ValuesError as error:
        first = error
    if not isinstance(first, ValuesError) and len(first) == entries:
        return first
    for other, order in others:
        with suppress(ValuesError):
            found = expand_segmented_palette(_values(element, other, swapped=order))
            if len(found) == entries:
                return found
    if isinstance(first, ValuesError):
        raise first
    return first[:entries]


def _palette(dataset: Any, path: str) -> bytes:
    from fastdicom.kernels import palette_rgb

    channels = []
    swapped = _is_big_endian(dataset)
    try:
        entries, first, bits = (int(v) for v in dataset.RedPaletteColorLookupTableDescriptor)
        entries = entries or 1 << 16
        for colour in ("Red", "Green", "Blue"):
            keyword = f"{colour}PaletteColorLookupTableData"
            if f"Segmented{keyword}" in dataset:
                channels.append(_segments(dataset[f"Segmented{keyword}"], entries, bits, swapped=swapped))
            else:
                channels.append(_entries(dataset[keyword], entries, swapped=swapped)[:entries])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValuesError(
            f"{path} is PALETTE COLOR but its palette cannot be read ({error}). Load values='stored'.", path=path
        ) from error
    if dataset.get("PixelRepresentation", 0) == 1 and first >= 1 << 15:
        first -= 1 << 16
    # As for other tables: values that need 16 bits have them, whatever the descriptor says.
    bits = 16 if max(int(channel.max(initial=0)) for channel in channels) > 255 else bits
    return np.array([first], "<i4").tobytes() + palette_rgb(channels, bits).tobytes()
