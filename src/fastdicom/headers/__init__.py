"""Files to a `HeaderTable`: columns, one row a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import import_pydicom, quiet_pydicom
from fastdicom.errors import FastDicomError, HeaderError, SourceNotFoundError
from fastdicom.headers.columns import (
    BY_NAME,
    COLUMNS,
    INT_MISSING,
    KEY_ELEMENTS,
    READER_PYDICOM,
    READER_WALK,
    Column,
    HeaderTable,
    column_from_bytes,
    patient_key,
)
from fastdicom.headers.convert import COLUMN_INDEX, columns_of_walk, frames_of_walk
from fastdicom.headers.datasets import PIXEL_TAGS, FileHeader, looks_like_dicom, read_file_header
from fastdicom.headers.reading import hand_over_all, walk_headers
from fastdicom.headers.vendors import apply_vendor_rules
from fastdicom.scanner import NO_PIXELS, Walk
from fastdicom.sources import open_reader
from fastdicom.sources.dicomdir import MEDIA_STORAGE_DIRECTORY, media_class
from fastdicom.types import FileRef, Skipped

__all__ = [
    "BY_NAME",
    "COLUMNS",
    "INT_MISSING",
    "READER_PYDICOM",
    "READER_WALK",
    "Column",
    "HeaderTable",
    "needs_pydicom",
    "read_headers",
    "walk_headers",
]


MR_SPECTROSCOPY = "1.2.840.10008.5.1.4.1.1.4.2"
"""Its data are no pixels, but have Rows and Columns (PS3.3 C.8.14.1)."""


def read_headers(files: Sequence[FileRef], *, compiled: bool = True, walk: Walk | None = None) -> HeaderTable:
    """Read the headers of one batch of files.

    The compiled walk reads what it is certain of, pydicom the rest; column ``reader`` says which it was.

    Parameters
    ----------
    files : sequence of FileRef
    compiled : bool, default True
        False: pydicom reads all of them. The result is the same, but for ``reader``.
    walk : Walk, optional
        What `walk_headers` found in these files, where that has been done.

    Returns
    -------
    HeaderTable
        One row for each frame of each image file, in the order of `files`; every other file is in ``skipped``.
    """
    if not len(files):
        return HeaderTable.empty()
    if walk is None:
        walk = walk_headers(files) if compiled else hand_over_all(files)
    frames = frames_of_walk(walk)
    skipped: dict[int, Skipped] = {}
    for row in np.flatnonzero(walk.status == NO_PIXELS).tolist():
        skipped[row] = _without_pixels(files[row], _values_of_walk(walk, row))
    slow: dict[int, FileHeader] = {}
    for row in np.flatnonzero(_left_to_pydicom(walk, frames)).tolist():
        header = _read_one(files[row])
        if isinstance(header, FileHeader):
            slow[row] = header
        else:
            skipped[row] = header
    parts = []
    fast_rows = np.flatnonzero(frames > 0)
    if len(fast_rows) or not slow:
        parts.append(_table_of_walk(files, walk, fast_rows, frames[fast_rows]))
    if slow:
        parts.append(HeaderTable(_columns_of([(files[row], header) for row, header in slow.items()])))
    table = HeaderTable.concatenate(parts)
    if len(parts) == 2:
        counts = np.array([len(header.frames) for header in slow.values()])
        file_of_row = np.concatenate([np.repeat(fast_rows, frames[fast_rows]), np.repeat(list(slow), counts)])
        table = table.take(np.argsort(file_of_row, kind="stable"))
    table.skipped = [skipped[row] for row in sorted(skipped)]
    return apply_vendor_rules(table)


def needs_pydicom(walk: Walk) -> bool:
    """Whether `read_headers` would read some of these files once more: what one thread then does should be shared."""
    return bool(_left_to_pydicom(walk, frames_of_walk(walk)).any())


def _left_to_pydicom(walk: Walk, frames: NDArray[np.int64]) -> NDArray[np.bool_]:
    left: NDArray[np.bool_] = (walk.status != NO_PIXELS) & (frames == 0)
    return left


def _table_of_walk(
    files: Sequence[FileRef], walk: Walk, rows: NDArray[np.int64], frames: NDArray[np.int64]
) -> HeaderTable:
    refs = files if len(rows) == len(files) else [files[row] for row in rows.tolist()]
    columns: dict[str, NDArray[Any]] = {
        "path": _objects([ref.locator for ref in refs]),
        "file_size": walk.sizes[rows],
        "mtime_ns": np.array([ref.mtime_ns for ref in refs], dtype=np.int64),
        "frame": np.zeros(len(rows), dtype=np.int64),
        "frames_in_file": frames,
        "reader": np.full(len(rows), READER_WALK, dtype=np.uint8),
        "pixel_offset": walk.pixel_offset[rows],
        "pixel_length": walk.pixel_length[rows],
        "pixel_keyword": _pixel_keywords(walk.pixel_tag[rows]),
        "problem": _objects([""] * len(rows)),
    }
    table = HeaderTable(columns | columns_of_walk(walk, rows))
    if len(rows) and frames.max() > 1:
        table = table.take(np.repeat(np.arange(len(rows)), frames))
        table.columns["frame"] = np.arange(len(table)) - np.repeat(np.cumsum(frames) - frames, frames)
    return table


def _pixel_keywords(tags: NDArray[np.int64]) -> NDArray[Any]:
    keywords = np.full(len(tags), b"PixelData", dtype="S20")
    for tag, keyword in PIXEL_TAGS.items():
        keywords[tags == tag] = keyword.encode()
    return keywords


def _values_of_walk(walk: Walk, row: int) -> FileHeader:
    names = ("sop_class_uid", "rows", "bits_allocated", "modality")
    return FileHeader(values={name: walk.value(row, COLUMN_INDEX[name]) for name in names})


def _read_one(ref: FileRef) -> FileHeader | Skipped:
    try:
        with open_reader(ref.locator, ref.size) as reader:
            head = reader.read_at(0, 132)
            if not looks_like_dicom(head):
                return Skipped(ref.locator, "not-dicom", _what_else(ref.locator, head))
            header = read_file_header(reader)
    except HeaderError as error:
        return Skipped(ref.locator, "damaged", str(error))
    except SourceNotFoundError as error:
        return Skipped(ref.locator, "missing", str(error))
    except FastDicomError as error:
        return Skipped(ref.locator, "unreadable", str(error))
    except OSError as error:
        return Skipped(ref.locator, "unreadable", f"cannot be read: {error.strerror}")
    return header if header.pixel_keyword else _without_pixels(ref, header)


def _what_else(locator: str, head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head[:4] == b"PK\3\4":
        return "a zip archive; pass it as a source of its own"
    if locator.replace("\\", "/").rsplit("/", 1)[-1] == "zarr.json":
        return "part of a Zarr store; load the store itself, it needs no scan"
    return "not DICOM: no DICM prefix and no DICOM element at the start"


def _without_pixels(ref: FileRef, header: FileHeader) -> Skipped:
    found = header.values.get("sop_class_uid")
    # Worklists, DICOMDIRs and other data sets that are no instances name their class in the file meta group only.
    sop_class = (found if isinstance(found, bytes) else _media_class(ref)).strip(b"\0 ").decode("ascii", "replace")
    if not sop_class or (not isinstance(found, bytes) and _name_of_class(sop_class) == sop_class):
        return Skipped(ref.locator, "damaged", "the header ends before any pixel data and names no SOP Class")
    if sop_class == MEDIA_STORAGE_DIRECTORY.decode():
        return Skipped(ref.locator, "no-pixels", "a DICOMDIR; pass it as a source of its own")
    if sop_class != MR_SPECTROSCOPY and (header.values.get("rows") or header.values.get("bits_allocated")):
        return Skipped(ref.locator, "damaged", "an image header without pixel data: the file ends early")
    if "Image Storage" in _name_of_class(sop_class):  # nothing without pixel data (PS3.4 B.5)
        return Skipped(ref.locator, "damaged", "an image without pixel data: the file ends early, or they were removed")
    modality = header.values.get("modality")
    name = modality.decode("ascii", "replace").strip() if isinstance(modality, bytes) else "no modality"
    return Skipped(ref.locator, "no-pixels", f"DICOM without pixel data ({name}): not an image")


def _media_class(ref: FileRef) -> bytes:
    try:
        with open_reader(ref.locator, ref.size) as reader:
            return media_class(reader.read_at(0, 1024))
    except (FastDicomError, OSError):
        return b""


def _name_of_class(uid: str) -> str:
    """Name of a SOP Class; of one that is in no edition of the standard, the UID."""
    import_pydicom()
    from pydicom.uid import UID

    with quiet_pydicom():  # of what is no UID
        return UID(uid).name


def _columns_of(read: Sequence[tuple[FileRef, FileHeader]]) -> dict[str, NDArray[Any]]:
    counts = [len(header.frames) for _, header in read]
    rows = [(header.values, frame) for _, header in read for frame in header.frames]
    columns: dict[str, NDArray[Any]] = {
        "path": _objects([ref.locator for ref, header in read for _ in header.frames]),
        "file_size": np.repeat(np.array([header.size for _, header in read], dtype=np.int64), counts),
        "mtime_ns": np.repeat(np.array([ref.mtime_ns for ref, _ in read], dtype=np.int64), counts),
        "frame": np.array([i for count in counts for i in range(count)], dtype=np.int64),
        "frames_in_file": np.repeat(np.array(counts, dtype=np.int64), counts),
        "reader": np.full(len(rows), READER_PYDICOM, dtype=np.uint8),
        "pixel_offset": np.repeat(np.array([h.pixel_offset for _, h in read], dtype=np.int64), counts),
        "pixel_length": np.repeat(np.array([h.pixel_length for _, h in read], dtype=np.int64), counts),
        "pixel_keyword": np.repeat(np.array([h.pixel_keyword for _, h in read], dtype="S20"), counts),
        "problem": _objects([""] * len(rows)),
    }
    for column in COLUMNS:
        values = [frame.get(column.name, common.get(column.name)) for common, frame in rows]
        if column.kind == "span":
            spans = [value if isinstance(value, tuple) else (-1, 0) for value in values]
            columns[column.name] = np.array(spans, dtype=np.int64).reshape(-1, 2)
        elif column.kind == "key":
            columns[column.name] = np.repeat(
                np.array([_patient_key(header) for _, header in read], dtype=np.int64), counts
            )
        else:
            columns[column.name] = column_from_bytes(column, values)  # type: ignore[arg-type]
    return columns


def _patient_key(header: FileHeader) -> int:
    parts = [header.values.get(name) for name in KEY_ELEMENTS]
    return patient_key(*(part if isinstance(part, bytes) else b"" for part in parts))


def _objects(values: list[str]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
