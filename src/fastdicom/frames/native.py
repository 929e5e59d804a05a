"""Native pixel data: a plain array in the file, so a frame or a band of its rows is a range of bytes."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fastdicom.frames.base import pixel_error
from fastdicom.types import ByteReader, PixelFormat, PixelLocation

SURPLUS_NBYTES = 1 << 20
"""Bytes after the last frame that are looked at."""


def native_frame_span(fmt: PixelFormat, location: PixelLocation, frame: int, *, path: str = "") -> tuple[int, int]:
    """Range of the bytes that hold one native frame.

    Parameters
    ----------
    fmt, location
        Format and place of the pixel data.
    frame : int
        0-based.

    Returns
    -------
    (offset, nbytes) : int, bytes from the start of the file (deflated: of the inflated data set)
        For Bits Allocated 1 the frame may start and end inside a byte (frames are packed without a gap,
        PS3.5 8.1.1): the range covers all of its bits and :func:`native_bit_offset` says at which bit it starts.

    Raises
    ------
    PixelDataError
        The pixel data are encapsulated, or shorter than `frame` needs.
    """
    if location.length < 0:
        raise pixel_error(
            "The pixel data have an undefined length, so they are encapsulated, but the transfer syntax "
            f"{fmt.transfer_syntax_uid} is not. The header contradicts itself; correct its Transfer Syntax UID.",
            path,
            frame,
        )
    first_bit = frame * fmt.frame_bits
    end = -(-(first_bit + fmt.frame_bits) // 8)
    if not 0 <= frame < max(1, location.number_of_frames):
        raise pixel_error(f"Frame {frame} is asked for, but the file has {location.number_of_frames}.", path, frame)
    if end > location.length:
        raise pixel_error(
            f"Frame {frame} of {fmt.rows} x {fmt.columns} x {fmt.samples_per_pixel} samples of {fmt.bits_allocated} "
            f"bits ends at byte {end} of the pixel data, which has only {location.length}. The data are truncated or "
            "the header describes another image; copy the file again from its origin.",
            path,
            frame,
            expected=end,
            found=location.length,
        )
    start = first_bit // 8
    return location.offset + start, end - start


def check_surplus(reader: ByteReader, fmt: PixelFormat, location: PixelLocation, frame: int, *, path: str = "") -> None:
    """Refuse pixel data that go on after the last frame with anything but zeros: the header describes another image.

    One byte, which makes the length even, may be anything. Costs a read only where there are more.

    Raises
    ------
    PixelDataError
    """
    needed = -(-fmt.frame_bits * max(1, location.number_of_frames) // 8)
    surplus = location.length - needed
    if surplus <= 1:
        return
    found = reader.read_at(location.offset + needed, min(surplus, SURPLUS_NBYTES))
    if any(found):
        raise pixel_error(
            f"The pixel data have {surplus} bytes, not all zero, after the {needed} that {location.number_of_frames} "
            f"frames of {fmt.rows} x {fmt.columns} need: the header describes another image. Correct Rows, Columns, "
            "Bits Allocated or Number of Frames.",
            path,
            frame,
            expected=needed,
            found=location.length,
        )


def native_bit_offset(fmt: PixelFormat, frame: int) -> int:
    """Bit (0 to 7, counted from the least significant) of the first byte at which a native frame starts."""
    return frame * fmt.frame_bits % 8


def read_native_into(
    reader: ByteReader,
    fmt: PixelFormat,
    location: PixelLocation,
    frame: int,
    out: memoryview | NDArray[Any],
    rows: slice | None = None,
    *,
    path: str = "",
) -> None:
    """Read the bytes of one native frame, as they are in the file, straight into `out`.

    Parameters
    ----------
    out : writable C-contiguous buffer of exactly the bytes of the frame (or of its rows)
        For little endian data that are not planar, sub-sampled or bit-packed, this is the decoded image.
    rows : slice, optional
        A band of rows of the frame (step 1). Not for planar or bit-packed data, whose bands are not one range.

    Raises
    ------
    PixelDataError
        The pixel data or the file end before the frame does.
    """
    offset, nbytes = native_frame_span(fmt, location, frame, path=path)
    if rows is not None:
        start, stop, step = rows.indices(fmt.rows)
        planar = fmt.samples_per_pixel > 1 and fmt.planar_configuration == 1
        if step != 1 or planar or fmt.bits_allocated % 8:
            raise pixel_error("A band of rows is one range only for unpacked, interleaved data.", path, frame)
        row_nbytes = nbytes // fmt.rows if fmt.rows else 0
        offset, nbytes = offset + start * row_nbytes, max(0, stop - start) * row_nbytes
    view = memoryview(out)  # type: ignore[arg-type]
    if view.nbytes != nbytes:
        raise pixel_error(f"The output has {view.nbytes} bytes where the frame has {nbytes}.", path, frame)
    if nbytes == 0:
        return
    buffer = view.cast("B")
    read_range_into(reader, offset, buffer, path=path, frame=frame)


def read_range_into(reader: ByteReader, offset: int, buffer: memoryview, *, path: str, frame: int) -> None:
    """Fill `buffer` from `offset`, or raise PixelDataError."""
    found = reader.readinto_at(offset, buffer)
    while 0 < found < buffer.nbytes:  # a read may return early (2 GiB limit of the kernel, a signal, a network)
        more = reader.readinto_at(offset + found, buffer[found:])
        if more <= 0:
            break
        found += more
    if found < buffer.nbytes:
        raise pixel_error(
            f"Frame {frame} needs {buffer.nbytes} bytes at offset {offset}, but only {found} could be read; the file "
            f"has {reader.size}. It is truncated; copy it again from its origin.",
            path,
            frame,
            expected=buffer.nbytes,
            found=found,
        )
