"""A look at the first frames of a volume, before memory is taken for all of it."""

from __future__ import annotations

import numpy as np

from fastdicom.codecs import check_stream
from fastdicom.errors import FastDicomError, PixelDataError, ValuesError
from fastdicom.frames import index_frames, is_encapsulated, native_frame_span, read_encapsulated
from fastdicom.frames.base import DEFLATED
from fastdicom.plan import SliceRecord, VolumePlan
from fastdicom.sources import open_reader

__all__ = ["check_first_frames"]

LARGE_NBYTES, LARGE_RATIO = 256 << 20, 100
"""A volume is looked at where it takes this much memory and its files have less than a hundredth of it."""

TRIED = 16
"""Frames of each format: some may be damaged, which is for the caller to hear of as they are read."""


def check_first_frames(plan: VolumePlan) -> None:
    """Refuse a volume whose size or resolution its frames do not have, by a few of them.

    Every frame is checked again as it is decoded. But a header that claims 65535 x 65535 pixels would have the memory
    for the whole volume taken before that, and filled where errors are only reported; and a lazy volume that cannot be
    computed would be a late surprise.

    Raises
    ------
    PixelDataError, DecodeError
        No frame of a format is what the file header says; the message is that of the first one.
    ValuesError
        A code stream has not the resolution asked for.
    """
    held = int(np.maximum(plan.files.facts["size"], 0).sum())
    if not plan.level and (plan.nbytes <= LARGE_NBYTES or plan.nbytes <= LARGE_RATIO * held):
        return
    for number in np.unique(plan.slices["format"][plan.slices["file"] >= 0]).tolist():
        rows = plan.slices[(plan.slices["format"] == number) & (plan.slices["file"] >= 0)][:TRIED]
        first: FastDicomError | None = None
        for row in rows.tolist():
            try:
                _check_frame(plan, SliceRecord._make(row))
                break
            except ValuesError:
                raise
            except FastDicomError as error:
                first = first or error
        else:
            if first is not None and not (plan.level and plan.nbytes <= LARGE_NBYTES):
                raise first


def _check_frame(plan: VolumePlan, record: SliceRecord) -> None:
    file, fmt = plan.files[record.file], plan.formats[record.format]
    if fmt.transfer_syntax_uid == DEFLATED:
        if fmt.decoded_nbytes > 1032 * file.size >= 0:
            raise PixelDataError(
                f"{file.locator} has {file.size} bytes, which cannot inflate to {fmt.rows} x {fmt.columns} pixels. "
                "Its header is wrong; copy it again from its origin.",
                path=file.locator,
            )
        return
    if not is_encapsulated(fmt.transfer_syntax_uid):
        native_frame_span(fmt, file.location, record.frame, path=file.locator)
        return
    with open_reader(file.locator) as reader:
        index = index_frames(reader, file.location, fmt, path=file.locator)
        data = read_encapsulated(reader, index, record.frame, path=file.locator)
    check_stream(data, fmt, level=plan.level, path=file.locator, frame=record.frame)
