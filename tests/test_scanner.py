"""The compiled walk itself: what it finds, where it stops, and that it never leaves its block."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_sequence
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fastdicom.errors import UsageError
from fastdicom.scanner import DONE, HANDED_OVER, NO_PIXELS, REASONS, RUNNING, SPAN, Walk, Wanted, WantedElement
from fastdicom.scanner.elements import ENHANCED, FLAG, SEQUENCES
from fastdicom.testing import SeriesSpec, strategies, write_series

IMPLICIT, EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
BOTH = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT], ids=["implicit", "explicit"])
WANTED = Wanted(
    [
        WantedElement(0x0002_0010, "UI"),
        WantedElement(0x0008_0060, "CS"),
        WantedElement(0x0020_0013, "IS"),
        WantedElement(0x0028_0010, "US"),
        WantedElement(0x0040_9096, "SQ", FLAG),
        WantedElement(0x0019_100A, "US", creator=b"SIEMENS MR HEADER"),
        WantedElement(0x0029_1010, "OB", SPAN, creator=b"SIEMENS CSA HEADER"),
        WantedElement(0x5200_9230, "SQ", ENHANCED),
    ]
)
SYNTAX, MODALITY, NUMBER, ROWS, MAPPING, MOSAIC, CSA, GROUPS = range(8)


def data_set(**attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.Modality = "CT"
    dataset.InstanceNumber = "7"
    dataset.Rows = 3
    dataset.Columns = 2
    dataset.BitsAllocated = 16
    dataset.PixelRepresentation = 0
    dataset.PixelData = bytes(range(12))
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def encoded(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta = meta
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def walk(content: bytes, wanted: Wanted = WANTED, step: int | None = None) -> Walk:
    """The walk of one file, all at once or `step` bytes at a time."""
    result = Walk(wanted, np.array([len(content)]))
    rows, start = np.array([0]), np.array([0])
    while result.status[0] == RUNNING:
        position = int(result.position[0])
        block = content[position : position + (step or len(content))]
        result.feed(rows, np.frombuffer(block, np.uint8), start, np.array([len(block)]))
    return result


def explicit(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + vr
    long_form = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC")
    return head + (b"\0\0" + length.to_bytes(4, "little") if long_form else length.to_bytes(2, "little")) + value


def with_inserted(content: bytes, before: int, element: bytes) -> bytes:
    """`element` put in front of the element `before` (explicit VR)."""
    at = content.index((before >> 16).to_bytes(2, "little") + (before & 0xFFFF).to_bytes(2, "little"), 140)
    return content[:at] + element + content[at:]


@BOTH
def test_finds_values_and_pixel_data(syntax: str) -> None:
    content = encoded(data_set(), syntax)
    result = walk(content)
    assert result.status[0] == DONE
    assert result.value(0, SYNTAX).rstrip(b"\0") == syntax.encode()
    assert (result.value(0, MODALITY), result.value(0, NUMBER), result.value(0, ROWS)) == (b"CT", b"7 ", b"\3\0")
    assert result.length[0].tolist()[MAPPING:] == [-1, -1, -1, -1]
    for column in (MODALITY, NUMBER, ROWS):
        start, length = int(result.offset[0, column]), int(result.length[0, column])
        assert content[start : start + length] == result.value(0, column)
    offset, length = int(result.pixel_offset[0]), int(result.pixel_length[0])
    assert content[offset : offset + length] == bytes(range(12))
    assert result.pixel_tag[0] == 0x7FE0_0010


@given(strategies.series_specs(slices=(1, 1)), st.integers(4096, 20000))
def test_any_block_size_finds_the_same(spec: SeriesSpec, step: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        content = Path(write_series(folder, spec).files[0]).read_bytes()
    whole, parts = walk(content), walk(content, step=step)
    assert whole.status[0] == parts.status[0]
    assert (whole.offset == parts.offset).all()
    assert (whole.length == parts.length).all()
    assert whole.pixel_offset[0] == parts.pixel_offset[0]


def test_values_in_the_way_are_skipped_unread() -> None:
    big = with_inserted(encoded(data_set()), 0x0020_0013, explicit(0x0019_1001, b"OB", bytes(3 << 20)))
    result = Walk(WANTED, np.array([len(big)]))
    fed = 0
    while result.status[0] == RUNNING:
        position = int(result.position[0])
        block = big[position : position + 4096]
        fed += len(block)
        result.feed(np.array([0]), np.frombuffer(block, np.uint8), np.array([0]), np.array([len(block)]))
    assert result.status[0] == DONE
    assert result.value(0, NUMBER) == b"7 "
    assert fed <= 8192


@BOTH
@pytest.mark.parametrize("undefined", [False, True])
def test_an_element_in_a_sequence_is_not_the_one_at_top_level(syntax: str, undefined: bool) -> None:
    item = Dataset()
    item.Modality, item.Rows, item.InstanceNumber = "XX", 999, "999"
    inner = Dataset()
    inner.RealWorldValueMappingSequence = Sequence([item])
    item_with_inner = Dataset()
    item_with_inner.Modality = "YY"
    item_with_inner.ReferencedImageSequence = Sequence([inner])
    for sequence in (inner["RealWorldValueMappingSequence"], item_with_inner["ReferencedImageSequence"]):
        sequence.is_undefined_length = undefined
    dataset = data_set(ReferencedImageSequence=Sequence([item_with_inner, item]))
    dataset["ReferencedImageSequence"].is_undefined_length = undefined
    del dataset.InstanceNumber, dataset.Rows
    for each in (item, inner, item_with_inner):
        each.is_undefined_length_sequence_item = undefined
    result = walk(encoded(dataset, syntax))
    assert result.status[0] == DONE
    assert result.value(0, MODALITY) == b"CT"
    assert result.length[0, [NUMBER, ROWS, MAPPING]].tolist() == [-1, -1, -1]


@BOTH
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("items", [0, 1, 3])
def test_a_sequence_that_has_no_item_is_empty(syntax: str, undefined: bool, items: int) -> None:
    dataset = data_set(RealWorldValueMappingSequence=Sequence([Dataset() for _ in range(items)]))
    dataset["RealWorldValueMappingSequence"].is_undefined_length = undefined
    result = walk(encoded(dataset, syntax))
    assert result.status[0] == DONE
    assert (result.length[0, MAPPING] not in (0, -1)) == (items > 0)


def private(block: int, creator: str = "SIEMENS MR HEADER") -> Dataset:
    dataset = data_set()
    dataset.add_new((0x0019, block), "LO", creator)
    dataset.add_new((0x0019, (block << 8) | 0x0A), "US", 36)
    return dataset


@BOTH
@pytest.mark.parametrize("block", [0x10, 0x11, 0x42, 0xFF])
def test_private_elements_in_any_block(syntax: str, block: int) -> None:
    assert walk(encoded(private(block), syntax)).value(0, MOSAIC) == b"\x24\0"


def test_private_elements_of_another_creator_are_not_taken() -> None:
    assert walk(encoded(private(0x10, "SOMEBODY ELSE"))).value(0, MOSAIC) is None
    dataset = private(0x11)
    dataset.add_new((0x0019, 0x0010), "LO", "SOMEBODY ELSE")
    dataset.add_new((0x0019, 0x100A), "US", 99)
    assert walk(encoded(dataset)).value(0, MOSAIC) == b"\x24\0"


def test_un_of_undefined_length_holds_implicit_items() -> None:
    item = Dataset()
    item.Modality = "XX"
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    element = pydicom.DataElement(0x0019_1001, "SQ", Sequence([item]))
    write_sequence(buffer, element, ["latin_1"])
    items = buffer.getvalue() + b"\xfe\xff\xdd\xe0\0\0\0\0"
    content = with_inserted(encoded(data_set()), 0x0020_0013, explicit(0x0019_1001, b"UN", items, 0xFFFF_FFFF))
    result = walk(content)
    assert result.status[0] == DONE
    assert result.value(0, NUMBER) == b"7 "  # explicit again behind it


def test_group_lengths_padding_and_empty_values() -> None:
    content = encoded(data_set(Modality=None))
    content = with_inserted(content, 0x0008_0060, explicit(0x0008_0000, b"UL", b"\x10\0\0\0"))
    content = with_inserted(content, 0x7FE0_0010, explicit(0x5400_0100, b"OW", b""))
    result = walk(content)
    assert result.status[0] == DONE
    assert result.value(0, MODALITY) == b""


def test_file_without_preamble() -> None:
    content = encoded(data_set())[132:]
    result = walk(content)
    assert result.status[0] == DONE
    assert result.value(0, NUMBER) == b"7 "


def test_file_without_pixel_data() -> None:
    dataset = data_set()
    del dataset.PixelData
    assert walk(encoded(dataset)).status[0] == NO_PIXELS


def test_first_fragment_of_encapsulated_data() -> None:
    dataset = data_set(PixelData=pydicom.encaps.encapsulate([b"12", b"3456"]))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    content = encoded(dataset, "1.2.840.10008.1.2.4.70")
    result = walk(content)
    assert result.pixel_length[0] == -1
    fragment = int(result.fragment[0])
    assert content[fragment : fragment + 10] == b"\xfe\xff\x00\xe0\x02\0\0\x0012"


def reason_of(content: bytes) -> str:
    result = walk(content)
    assert result.status[0] == HANDED_OVER
    return REASONS[int(result.reason[0])]


def test_what_is_handed_over() -> None:
    good = encoded(data_set())
    assert "transfer syntax" in reason_of(encoded(data_set(), "1.2.840.10008.1.2.2"))
    assert "transfer syntax" in reason_of(encoded(data_set(), "1.2.840.10008.1.2.1.99"))
    assert "transfer syntax" in reason_of(good.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"))
    assert "no preamble" in reason_of(b"")
    assert "no preamble" in reason_of(bytes(1000))
    assert "no preamble" in reason_of(good[good.index(b"\x08\0\x60\0") :])
    assert "ascending" in reason_of(with_inserted(good, 0x0028_0010, explicit(0x0008_0060, b"CS", b"MR")))
    assert "ascending" in reason_of(with_inserted(good, 0x0028_0010, explicit(0x0028_0010, b"US", b"\1\0")))
    assert "representation" in reason_of(good.replace(b"\x28\0\x10\0US\2\0", b"\x28\0\x10\0UL\2\0"))
    assert "representation" in reason_of(good.replace(b"\x28\0\x10\0US\2\0", b"\x28\0\x10\0zz\2\0"))
    assert "beyond" in reason_of(good[: good.index(b"\x28\0\x10\0US") + 9])
    assert "beyond" in reason_of(with_inserted(good, 0x0028_0010, explicit(0x0021_1001, b"OB", b"", 0xFFFF_FFFE)))
    assert "undefined length" in reason_of(
        with_inserted(good, 0x0028_0010, explicit(0x0021_1001, b"OB", b"", 2**32 - 1))
    )
    assert "too long" in reason_of(with_inserted(good, 0x0020_0013, explicit(0x0019_0010, b"LO", bytes(2000))))
    assert "character set" in reason_of(with_inserted(good, 0x0008_0060, explicit(0x0008_0005, b"CS", b"ISO\0X")))
    groups = data_set(PerFrameFunctionalGroupsSequence=Sequence([Dataset()]))
    assert "functional groups" in reason_of(encoded(groups))
    assert "sequence" in reason_of(with_inserted(good, 0x0028_0010, b"\xfe\xff\x0d\xe0\0\0\0\0"))


def test_explicit_data_under_an_implicit_transfer_syntax_and_vice_versa() -> None:
    for syntax, other in ((IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)):
        content = encoded(data_set(), syntax)
        start = content.index(b"\x08\0\x60\0")
        changed = encoded(data_set(), other)[: encoded(data_set(), other).index(b"\x08\0\x60\0")] + content[start:]
        assert "representation" in reason_of(changed)


@pytest.mark.parametrize("depth", [1, 7, 8, 9, 10_000])
@pytest.mark.parametrize("end", [b"", b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"])
def test_deep_nesting(depth: int, end: bytes) -> None:
    opened = explicit(0x0008_1140, b"SQ", b"", 0xFFFF_FFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content = with_inserted(encoded(data_set()), 0x0020_0013, opened * depth + end * depth)
    assert walk(content).status[0] == (DONE if end and depth <= 8 else HANDED_OVER)


def test_two_wanted_elements_with_one_tag_are_refused() -> None:
    with pytest.raises(UsageError, match="twice"):
        Wanted([WantedElement(0x0008_0060, "CS"), WantedElement(0x0008_0060, "CS")])
    with pytest.raises(UsageError, match="creators"):
        Wanted([WantedElement(0x0019_1001, "CS", creator=f"C{i}".encode()) for i in range(99)])


def test_feed_refuses_what_lies_outside_of_the_block() -> None:
    result = Walk(WANTED, np.array([1000]))
    block = np.zeros(100, dtype=np.uint8)
    for rows, start, count in ((0, 0, 101), (0, -1, 10), (0, 50, 51), (1, 0, 10)):
        with pytest.raises(ValueError, match="Pass"):
            result.feed(np.array([rows]), block, np.array([start]), np.array([count]))


def test_a_file_that_is_shorter_than_its_size_is_handed_over() -> None:
    content = encoded(data_set())
    result = Walk(WANTED, np.array([len(content)]))
    for _ in range(3):
        if result.status[0] == RUNNING:
            result.feed(np.array([0]), np.frombuffer(content[:200], np.uint8), np.array([0]), np.array([0]))
    assert result.status[0] == HANDED_OVER


def test_the_sequences_are_those_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_VR

    assert len(SEQUENCES) > 400
    assert {dictionary_VR(int(tag)) for tag in SEQUENCES} == {"SQ"}
    assert (np.diff(SEQUENCES) > 0).all()


BOUNDS_CHECK = """
import random, sys
import numpy as np
sys.path.insert(0, {tests!r})
from test_scanner import WANTED, data_set, encoded, EXPLICIT, IMPLICIT, private
from test_scanner_fuzz import mutated
from fastdicom.scanner import RUNNING, Walk
from fastdicom.headers.convert import WANTED as ALL, columns_of_walk
rng = random.Random(3)
seeds = [encoded(data_set(), EXPLICIT), encoded(data_set(), IMPLICIT), encoded(private(0x12))]
contents = [mutated(rng.choice(seeds), rng) for _ in range(3000)]
contents += [seed[:n] for seed in seeds for n in range(len(seed))]
for wanted in (WANTED, ALL):
    for step in (4096, 150):
        result = Walk(wanted, np.array([len(c) for c in contents]))
        while len(rows := np.flatnonzero(result.status == RUNNING)):
            blocks = [contents[r][int(result.position[r]):][:step] for r in rows]
            counts = np.array([len(b) for b in blocks])
            result.feed(rows, np.frombuffer(b"".join(blocks), np.uint8), np.cumsum(counts) - counts, counts)
        if wanted is ALL:
            columns_of_walk(result, np.flatnonzero((result.status == 1) | (result.status == 2)))
print("inside")
"""


@pytest.mark.slow
@pytest.mark.fuzz
def test_no_access_outside_of_an_array(tmp_path: Path) -> None:
    """Compiled with bounds checks, which turn any such access into an IndexError."""
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    script = BOUNDS_CHECK.format(tests=str(Path(__file__).parent))
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "inside", done.stderr[-2000:]
