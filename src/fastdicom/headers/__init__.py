"""Files to a `HeaderTable`: columns, one row a frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.errors import FastDicomError
from fastdicom.headers.columns import (
    BY_NAME,
    COLUMNS,
    INT_MISSING,
    READER_PYDICOM,
    READER_WALK,
    Column,
    HeaderTable,
    column_from_bytes,
)
from fastdicom.headers.datasets import FileHeader, looks_like_dicom, read_file_header
from fastdicom.sources import open_reader
from fastdicom.types import FileRef, Skipped

__all__ = [
    "BY_NAME",
    "COLUMNS",
    "INT_MISSING",
    "READER_PYDICOM",
    "READER_WALK",
    "Column",
    "HeaderTable",
    "read_headers",
]


def read_headers(files: Sequence[FileRef]) -> HeaderTable:
    """Read the headers of one batch of files.

    Parameters
    ----------
    files : sequence of FileRef

    Returns
    -------
    HeaderTable
        One row for each frame of each image file, in the order of `files`; every other file is in ``skipped``.
    """
    skipped: list[Skipped] = []
    read: list[tuple[FileRef, FileHeader]] = []
    for ref in files:
        header = _read_one(ref, skipped)
        if header is not None:
            read.append((ref, header))
    return HeaderTable(_columns_of(read), skipped)


def _read_one(ref: FileRef, skipped: list[Skipped]) -> FileHeader | None:
    try:
        with open_reader(ref.locator) as reader:
            head = reader.read_at(0, 132)
            if not looks_like_dicom(head):
                reason = (
                    "the file is empty" if not head else "not DICOM: no DICM prefix and no DICOM element at the start"
                )
                skipped.append(Skipped(ref.locator, "not-dicom", reason))
                return None
            header = read_file_header(reader)
    except FastDicomError as error:
        kind = "damaged" if isinstance(error, ValueError) else "unreadable"
        skipped.append(Skipped(ref.locator, kind, str(error)))
        return None
    if header.pixel_keyword:
        return header
    skipped.append(_without_pixels(ref, header))
    return None


def _without_pixels(ref: FileRef, header: FileHeader) -> Skipped:
    sop_class = header.values.get("sop_class_uid")
    if not isinstance(sop_class, bytes):
        return Skipped(ref.locator, "damaged", "the header ends before any pixel data and names no SOP Class")
    if header.values.get("rows") or header.values.get("bits_allocated"):
        return Skipped(ref.locator, "damaged", "an image header without pixel data: the file ends early")
    modality = header.values.get("modality")
    name = modality.decode("ascii", "replace").strip() if isinstance(modality, bytes) else "no modality"
    return Skipped(ref.locator, "no-pixels", f"DICOM without pixel data ({name}): not an image")


def _columns_of(read: Sequence[tuple[FileRef, FileHeader]]) -> dict[str, NDArray[Any]]:
    counts = [len(header.frames) for _, header in read]
    rows = [(header.values, frame) for _, header in read for frame in header.frames]
    columns: dict[str, NDArray[Any]] = {
        "path": _objects([ref.locator for ref, header in read for _ in header.frames]),
        "file_size": np.repeat(np.array([ref.size for ref, _ in read], dtype=np.int64), counts),
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
        else:
            columns[column.name] = column_from_bytes(column, values)  # type: ignore[arg-type]
    return columns


def _objects(values: list[str]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
