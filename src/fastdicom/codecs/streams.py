"""What the header of a code stream says, read before anything is decoded or allocated.

A decoder allocates what the code stream claims, so a few bytes can ask for gigabytes; and the lenient ones fill a
truncated stream with grey and say nothing. Both are found here, from a few dozen bytes of the stream. Damage inside a
stream that has its end is not: libjpeg only warns of it, and imagecodecs drops the warning. `jpeg_tail` (lossless JPEG)
and `jpeg_blocks` (baseline and extended) find what of it can be found, after decoding.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Literal, NamedTuple

__all__ = [
    "OtherDecoderError",
    "StreamError",
    "StreamHeader",
    "parse_stream",
    "refuse_point_transform",
    "start_of_codestream",
]

Buffer = bytes | bytearray | memoryview

JPEG_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 53, 55, 57, 70))
JPEGLS_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (80, 81))
JPEG2000_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 92, 93))
HTJ2K_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203))
JPEGXL_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112))


class StreamError(ValueError):
    """The bytes are not a whole code stream of their kind. `decoding` adds the file and the frame."""


class OtherDecoderError(StreamError):
    """The stream is sound, but the library that was asked would make another image of it."""


class StreamHeader(NamedTuple):
    """The image that a code stream claims to hold."""

    kind: Literal["jpeg", "jpegls", "jpeg2000", "jpegxl"]
    rows: int
    columns: int
    components: int = 0
    """0: the stream does not say at a fixed place (JPEG XL)."""
    precision: int = 0
    """Bits a sample; 0: not said."""
    signed: bool = False
    component_ids: tuple[int, ...] = ()
    """JPEG and JPEG-LS: the component identifiers of the frame header."""
    jfif: bool = False
    """JPEG: a JFIF marker, so three components are YCbCr."""
    lossless: bool = False
    """JPEG: process 14; JPEG 2000: the reversible wavelet; JPEG XL: the transfer syntax says so."""
    is_float: bool = False
    """JPEG XL: samples are floats, which no DICOM image has."""
    interleaved: bool = True
    """JPEG and JPEG-LS: the first scan holds all components, so they come out as pixels, not as planes."""
    point_transform: int = 0
    """JPEG and JPEG-LS: bits that each sample was shifted right by before it was encoded."""
    colour_transform: int = 0
    """JPEG-LS: that of HP's marker segment "mrfx", which only some decoders know; 0: none."""
    complete: bool = True
    """The end of the stream is where it must be."""
    levels: int = 0
    """JPEG 2000: resolutions below the full one, each half as wide and high as the one above."""
    at_origin: bool = True
    """JPEG 2000: the image starts at 0, 0 of its reference grid."""
    skipped: int = 0
    """Resolutions to leave out, which is for the caller to say, not for the stream."""


def refuse_point_transform(header: StreamHeader) -> None:
    """For libraries that undo it wrongly, or not at all.

    Raises
    ------
    OtherDecoderError
    """
    if header.point_transform and (header.lossless or header.kind == "jpegls"):
        raise OtherDecoderError(f"the stream has a point transform of {header.point_transform}")


def parse_stream(data: Buffer, transfer_syntax_uid: str) -> StreamHeader | None:
    """Read the header of a code stream.

    Returns
    -------
    StreamHeader, or None for transfer syntaxes without one (RLE, deflated, native).

    Raises
    ------
    StreamError
        The bytes do not start like a code stream of this transfer syntax.
    """
    try:
        if transfer_syntax_uid in JPEG_SYNTAXES or transfer_syntax_uid in JPEGLS_SYNTAXES:
            return _parse_jpeg(data)
        if transfer_syntax_uid in JPEG2000_SYNTAXES or transfer_syntax_uid in HTJ2K_SYNTAXES:
            return _parse_jpeg2000(data)
        if transfer_syntax_uid in JPEGXL_SYNTAXES:
            return _parse_jpegxl(data, transfer_syntax_uid == _JXL_LOSSLESS)
    except (struct.error, IndexError) as error:
        raise StreamError(f"the code stream ends inside its header, after {len(data)} bytes") from error
    return None


# --------------------------------------------------------------------------------------------- JPEG and JPEG-LS

_JPEG_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})


def _parse_jpeg(data: Buffer) -> StreamHeader:
    """ISO 10918-1 B.2 and ISO 14495-1 C.2: marker segments up to the first scan."""
    if bytes(data[:2]) != b"\xff\xd8":
        raise StreamError(f"it starts with {bytes(data[:4]).hex(' ')} where JPEG starts with ff d8")
    position, jfif, colour_transform = 2, False, 0
    header: StreamHeader | None = None
    while True:
        if data[position] != 0xFF:
            raise StreamError(f"byte {position} is {data[position]:#04x} where a JPEG marker is due")
        while data[position] == 0xFF:  # fill bytes may precede a marker
            position += 1
        marker = data[position]
        position += 1
        if marker in _JPEG_NO_LENGTH:
            continue
        if marker == 0xD9:
            raise StreamError("the JPEG stream ends before any image data")
        (length,) = struct.unpack_from(">H", data, position)
        if marker == 0xE0 and bytes(data[position + 2 : position + 6]) == b"JFIF":
            jfif = True
        elif marker == 0xE8 and bytes(data[position + 2 : position + 6]) == b"mrfx":
            colour_transform = data[position + 6]
        elif marker in _JPEG_FRAMES:
            precision, rows, columns, components = struct.unpack_from(">BHHB", data, position + 2)
            header = StreamHeader(
                kind="jpegls" if marker == 0xF7 else "jpeg",
                rows=rows,
                columns=columns,
                components=components,
                precision=precision,
                component_ids=tuple(data[position + 8 + 3 * i] for i in range(components)),
                lossless=marker in (0xC3, 0xC7, 0xCB, 0xCF),
            )
        elif marker == 0xDA:
            if header is None:
                raise StreamError("the JPEG stream has a scan without a frame header")
            return header._replace(
                jfif=jfif,
                interleaved=data[position + 2] == header.components,
                point_transform=data[position + length - 1] & 0x0F,
                colour_transform=colour_transform,
                complete=_has_end_marker(data, position + length),
            )
        position += length


def _has_end_marker(data: Buffer, scan: int) -> bool:
    """EOI after the first scan: entropy-coded data never contain FF D9, so a cut stream has none."""
    tail = max(scan, len(data) - 64)
    return b"\xff\xd9" in bytes(data[tail:]) or bytes(data).rfind(b"\xff\xd9", scan) >= 0


# ------------------------------------------------------------------------------------------ JPEG 2000 and HTJ2K

_MAIN_HEADER_NBYTES = 512
"""A main header without much of a comment is shorter."""
_TILE_PART = b"\xff\x90"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


def start_of_codestream(data: Buffer) -> int:
    """Offset of a JPEG 2000 code stream: 0, unless it lies in a JP2 file, which DICOM does not allow but has."""
    return _find_box(data, b"jp2c") if bytes(data[:12]) == _JP2_SIGNATURE else 0


def _parse_jpeg2000(data: Buffer) -> StreamHeader:
    """ISO 15444-1 A.4 and A.5: the main header, and whether the tile-parts after it are whole."""
    start = start_of_codestream(data)
    head = bytes(data[start : start + _MAIN_HEADER_NBYTES])
    end = head.find(_TILE_PART)
    header = _known_main_header(head[:end]) if end >= 0 else None
    if header is None:
        header, end = _main_header(data[start:])
    return header if _tile_parts_complete(data, start + end) else header._replace(complete=False)


@lru_cache(maxsize=64)
def _known_main_header(head: bytes) -> StreamHeader | None:
    """The main header that `head` is, up to the first tile-part, because frames of a series have the same; or None."""
    try:
        header, end = _main_header(head + _TILE_PART)
    except (StreamError, struct.error, IndexError):  # the mark is within a segment; or whoever asks finds out
        return None
    return header if end == len(head) else None


def _main_header(data: Buffer) -> tuple[StreamHeader, int]:
    """SOC and SIZ, then the main header up to the first tile-part; and where that begins."""
    if bytes(data[:4]) != b"\xff\x4f\xff\x51":
        raise StreamError(f"it starts with {bytes(data[:4]).hex(' ')} where JPEG 2000 has ff 4f ff 51")
    right, bottom, left, top = struct.unpack_from(">4I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    if components == 0 or right <= left or bottom <= top:
        raise StreamError("the JPEG 2000 stream describes an empty image")
    depth, step_x, step_y = data[42], data[43], data[44]
    if not step_x or not step_y:
        raise StreamError("the JPEG 2000 stream has a component that is sampled with step 0")
    position = 4 + struct.unpack_from(">H", data, 4)[0]
    reversible, levels = False, 0
    while data[position] == 0xFF and data[position + 1] != 0x90:
        if data[position + 1] == 0x52:  # COD: the wavelet is the last of its fixed parameters
            reversible = data[position + 13] == 1
            levels = data[position + 9]
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    header = StreamHeader(
        kind="jpeg2000",
        rows=-(-bottom // step_y) - -(-top // step_y),
        columns=-(-right // step_x) - -(-left // step_x),
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        lossless=reversible,
        levels=levels,
        at_origin=left == 0 and top == 0,
    )
    return header, position


def _tile_parts_complete(data: Buffer, position: int) -> bool:
    """Every tile-part is followed by another or by the end (their lengths are in SOT, ISO 15444-1 A.4.2)."""
    end = len(data)
    while position + 12 <= end and data[position] == 0xFF and data[position + 1] == 0x90:
        (length,) = struct.unpack_from(">I", data, position + 6)
        if length == 0:  # the last tile-part: it runs to the end marker
            return bytes(data[position:]).rfind(b"\xff\xd9") >= 0
        if length < 12:
            return False
        position += length
    # Without an end marker all tile-parts are still whole; odd-length streams have a padding byte after it.
    return position == end or bytes(data[position : position + 2]) == b"\xff\xd9"


def _find_box(data: Buffer, wanted: bytes) -> int:
    """Offset of the contents of a box of an ISO base media container."""
    position = 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        if bytes(data[position + 4 : position + 8]) == wanted:
            return position + head
        if length < head:
            break
        position += length
    raise StreamError(f"the container has no {wanted.decode()} box")


# ------------------------------------------------------------------------------------------------------ JPEG XL

_JXL_SIGNATURE = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
_JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_JXL_HEADER_NBYTES = 64  # its fields up to the bit depth take 35 at most
_JXL_LOSSLESS = "1.2.840.10008.1.2.4.110"


class _Bits:
    """Fields of bits from the least significant on (ISO 18181-1 B.2)."""

    def __init__(self, data: bytes) -> None:
        self.left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self.left & ((1 << count) - 1)
        self.left >>= count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """One of four (offset, bits that are added to it)."""
        offset, bits = choices[self.take(2)]
        return offset + self.take(bits)

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        small = self.take(1)

        def length() -> int:
            return 8 * (self.take(5) + 1) if small else self.choose((1, 9), (1, 13), (1, 18), (1, 30))

        rows, ratio = length(), self.take(3)
        return rows, rows * _JXL_RATIOS[ratio - 1][0] // _JXL_RATIOS[ratio - 1][1] if ratio else length()

    def skip_preview_size(self) -> None:
        by_8 = self.take(1)

        def length() -> int:
            if by_8:
                return self.choose((16, 0), (32, 0), (1, 5), (33, 9))
            return self.choose((1, 6), (65, 8), (321, 10), (1345, 12))

        length()
        if not self.take(3):
            length()

    def skip_animation(self) -> None:
        self.choose((100, 0), (1000, 0), (1, 10), (1, 30))
        self.choose((1, 0), (1001, 0), (1, 8), (1, 10))
        self.choose((0, 0), (0, 3), (0, 16), (0, 32))
        self.take(1)


def _parse_jpegxl(data: Buffer, lossless: bool) -> StreamHeader:
    """ISO 18181-1 D.2 and D.3: the size header, and the image metadata up to the bit depth."""
    start = 0
    if bytes(data[:12]) == _JXL_SIGNATURE:
        try:
            start = _find_box(data, b"jxlc")
        except StreamError:
            start = _find_box(data, b"jxlp") + 4  # a part starts with its number
    if bytes(data[start : start + 2]) != b"\xff\x0a":
        raise StreamError(f"it starts with {bytes(data[start : start + 4]).hex(' ')} where JPEG XL has ff 0a")
    bits = _Bits(bytes(data[start + 2 : start + 2 + _JXL_HEADER_NBYTES]))
    rows, columns = bits.size()
    precision, is_float = 8, 0
    if not bits.take(1):  # not all as usual
        if bits.take(1):
            bits.take(3)  # orientation
            if bits.take(1):
                bits.size()
            if bits.take(1):
                bits.skip_preview_size()
            if bits.take(1):
                bits.skip_animation()
        is_float = bits.take(1)
        usual = ((32, 0), (16, 0), (24, 0)) if is_float else ((8, 0), (10, 0), (12, 0))
        precision = bits.choose(*usual, (1, 6))
    return StreamHeader(
        kind="jpegxl",
        rows=rows,
        columns=columns,
        precision=precision,
        is_float=bool(is_float),
        lossless=lossless,
    )
