"""Lookup tables in headers: Modality LUT, VOI LUT, palettes. Read with pydicom, once for each file that has one."""

from __future__ import annotations

from collections.abc import Sequence
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
            signed = dataset.get("PixelRepresentation", 0) == 1 and keyword == "ModalityLUTSequence"
            item = dataset[keyword].value[0]
            target[number] = tables.add(_lut(item, path, signed=signed))
            if keyword == "ModalityLUTSequence":
                tables.modality_types.add(str(item.get("ModalityLUTType") or ""))
    if display and dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        tables.palettes[number] = _palette(dataset, path)


def _lut(item: Any, path: str, *, signed: bool) -> Lut:
    """One item of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1.1, C.11.2.1.1)."""
    try:
        entries, first, bits = (int(v) for v in item.LUTDescriptor)
        raw = item.LUTData
    except (AttributeError, TypeError, ValueError) as error:
        raise ValuesError(
            f"The lookup table of {path} has no valid LUT Descriptor or LUT Data. Load values='stored'.", path=path
        ) from error
    entries = entries or 1 << 16
    if signed and first >= 1 << 15:
        first -= 1 << 16
    data = _lut_words(raw, entries)
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


def _lut_words(raw: Any, entries: int) -> NDArray[np.uint16]:
    if isinstance(raw, bytes):
        kind = np.uint8 if len(raw) in (entries, entries + entries % 2) and len(raw) < 2 * entries else np.dtype("<u2")
        return np.frombuffer(raw[: len(raw) // np.dtype(kind).itemsize * np.dtype(kind).itemsize], kind).astype(
            np.uint16
        )
    return np.atleast_1d(np.asarray(raw, dtype=np.int64)).astype(np.uint16)


def _palette(dataset: Any, path: str) -> bytes:
    from fastdicom.kernels import expand_segmented_palette, palette_rgb

    channels = []
    try:
        entries, first, bits = (int(v) for v in dataset.RedPaletteColorLookupTableDescriptor)
        for colour in ("Red", "Green", "Blue"):
            segmented = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
            raw = segmented if segmented is not None else dataset[f"{colour}PaletteColorLookupTableData"].value
            words = _lut_words(raw, entries or 1 << 16)
            channels.append(expand_segmented_palette(words) if segmented is not None else words[: entries or 1 << 16])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValuesError(
            f"{path} is PALETTE COLOR but its palette cannot be read ({error}). Load values='stored'.", path=path
        ) from error
    if dataset.get("PixelRepresentation", 0) == 1 and first >= 1 << 15:
        first -= 1 << 16
    return np.array([first], "<i4").tobytes() + palette_rgb(channels, bits).tobytes()
