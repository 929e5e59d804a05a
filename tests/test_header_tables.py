"""Lookup tables in headers: byte order, width and sign of their values. Oracles: pydicom's transforms, SimpleITK."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import fastdicom
from edited_series import item
from fastdicom.testing import SeriesSpec, make_series

LITTLE, BIG, IMPLICIT = ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
SYNTAXES = [IMPLICIT, LITTLE, BIG]


def write(path: Path, syntax: str, pixels: NDArray[Any], **attributes: Any) -> Path:
    """One file of these pixels, its header with these attributes."""
    spec = SeriesSpec(
        modality="OT", slices=1, rows=pixels.shape[0], columns=pixels.shape[1], slope=None, intercept=None, window=None,
        bits_allocated=8 * pixels.itemsize, bits_stored=8 * pixels.itemsize, signed=pixels.dtype.kind == "i",
    )  # fmt: skip
    (ds,) = make_series(spec)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    ds["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for keyword, value in attributes.items():
        if isinstance(value, DataElement):
            ds.add(value)
        else:
            setattr(ds, keyword, value)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def words(values: Sequence[int] | NDArray[Any], syntax: str) -> bytes:
    return np.asarray(values).astype(">u2" if syntax == BIG else "<u2").tobytes()


def packed(values: Sequence[int] | NDArray[Any], syntax: str) -> bytes:
    """8-bit entries, two in each word, the first of them in its lower byte: so swapped in Big Endian (PS3.5 7.3)."""
    data = bytes(int(v) for v in values)
    data += b"\0" * (len(data) % 2)
    return words(np.frombuffer(data, "<u2"), syntax)


def table(descriptor: list[int], data: Any, vr: str = "OW", **attributes: Any) -> list[Dataset]:
    lut = item(LUTDescriptor=descriptor, **attributes)
    lut["LUTDescriptor"].VR = "SS" if descriptor[1] < 0 else "US"
    lut.add(DataElement(0x00283006, vr, data))
    return [lut]


def palette(descriptor: list[int], channels: list[bytes], *, segmented: bool = False) -> dict[str, Any]:
    elements: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for k, (colour, data) in enumerate(zip(("Red", "Green", "Blue"), channels, strict=True)):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = DataElement(BaseTag(0x00281101 + k), "US", descriptor)
        tag = BaseTag((0x00281221 if segmented else 0x00281201) + k)
        elements[colour] = DataElement(tag, "OW", data)
    return elements


def display(path: Path) -> NDArray[np.uint8]:
    return np.asarray(fastdicom.load_volume(path, values="display").array[0])


def rendered(path: Path) -> NDArray[Any]:
    """By pydicom, in the depth that it finds in the data."""
    ds = pydicom.dcmread(path)
    return np.asarray(apply_color_lut(ds.pixel_array, ds))


BYTES = np.arange(64, dtype=np.uint8).reshape(8, 8)
SHORTS = np.arange(64, dtype=np.uint16).reshape(8, 8)

# ---------------------------------------------------------------------------------------------------------- byte order


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_modality_tables_in_every_byte_order(tmp_path: Path, syntax: str, vr: str) -> None:
    values = [1000 + 3 * i for i in range(64)]
    lut = table([64, 0, 16], words(values, syntax) if vr == "OW" else values, vr, ModalityLUTType="OD")
    path = write(tmp_path / "a.dcm", syntax, SHORTS, ModalityLUTSequence=lut)
    ds = pydicom.dcmread(path)
    found = fastdicom.load_volume(path).array[0]
    np.testing.assert_array_equal(found, apply_modality_lut(ds.pixel_array, ds))
    np.testing.assert_array_equal(found.ravel(), values)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_voi_tables_in_every_byte_order(tmp_path: Path, syntax: str, bits: int) -> None:
    values = np.arange(64) * (1000 if bits == 16 else 4)
    data = (words if bits == 16 else packed)(values, syntax)
    path = write(tmp_path / "a.dcm", syntax, SHORTS, VOILUTSequence=table([64, 0, bits], data))
    shown = display(path).ravel()
    np.testing.assert_allclose(shown, values * 255 / (2**bits - 1), atol=1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_palettes_in_every_byte_order_are_those_of_simpleitk(tmp_path: Path, syntax: str, bits: int) -> None:
    step = 257 if bits == 16 else 1
    channels = [(np.arange(64) * 2 + offset) * step + (bits == 16) for offset in (1, 70, 120)]
    data = [(words if bits == 16 else packed)(channel, syntax) for channel in channels]
    path = write(tmp_path / "a.dcm", syntax, BYTES, **palette([64, 0, bits], data))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    np.testing.assert_array_equal(display(path), expected.reshape(8, 8, 3))
    np.testing.assert_array_equal(display(path)[0, 0], [1, 70, 120])


@pytest.mark.realdata
@pytest.mark.parametrize("file", ["OBXXXX1A_2frame.dcm", "OBXXXX1A_expb_2frame.dcm"])
def test_real_palettes_are_those_of_simpleitk(data_root: Path, file: str) -> None:
    path = data_root / "transfer-syntax/ts-pydicom-data/dicom" / file
    ours = fastdicom.load_volume(path, values="display").array
    np.testing.assert_array_equal(ours, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))))


@pytest.mark.realdata
def test_a_real_segmented_palette_in_big_endian(data_root: Path) -> None:
    path = data_root / "transfer-syntax/ts-pydicom-data/dicom/gdcm-US-ALOKA-16_big.dcm"
    np.testing.assert_array_equal(display(path), rendered(path) >> 8)


# --------------------------------------------------------------------------------------------------------------- width


@st.composite
def segments(draw: st.DrawFn, bits: int) -> tuple[list[int], int]:
    """Segmented palette data, and how many entries they make."""
    value = st.integers(0, 2**bits - 1)
    first = draw(st.lists(value, min_size=1, max_size=9))
    found, entries = [0, len(first), *first], len(first)
    for _ in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            part = draw(st.lists(value, min_size=1, max_size=20))
            found += [0, len(part), *part]
            entries += len(part)
        else:
            length = draw(st.integers(1, 30))
            found += [1, length, draw(value)]
            entries += length
    return found, entries


@settings(max_examples=25)
@given(st.data(), st.sampled_from([8, 16]))
def test_segmented_palettes_are_those_of_pydicom(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, bits: int
) -> None:
    code, entries = data.draw(segments(bits))
    pixels = (np.arange(300) % entries).astype(np.uint16).reshape(10, 30)
    folder = tmp_path_factory.mktemp("segments")
    shown = {}
    for syntax in (LITTLE, BIG):
        segmented = (words if bits == 16 else packed)(code, syntax)
        path = folder / f"{syntax}.dcm"
        write(path, syntax, pixels, **palette([entries, 0, bits], [segmented] * 3, segmented=True))
        shown[syntax] = display(path)
    expected = rendered(folder / f"{LITTLE}.dcm")
    np.testing.assert_array_equal(shown[LITTLE], expected >> 8 if bits == 16 else expected)
    np.testing.assert_array_equal(shown[BIG], shown[LITTLE])


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_segmented_data_of_as_many_bytes_as_entries_are_words_all_the_same(tmp_path: Path, syntax: str) -> None:
    code = [0, 118, *(300 * i for i in range(118)), 1, 136, 50_000, 0, 2, 7, 9, 0]
    assert len(words(code, syntax)) == 256
    path = write(tmp_path / "a.dcm", syntax, BYTES, **palette([256, 0, 16], [words(code, syntax)] * 3, segmented=True))
    np.testing.assert_array_equal(display(path), rendered(path) >> 8)


def test_segments_of_8_bits_in_words_are_found_by_what_expands(tmp_path: Path) -> None:
    code = [0, 2, 10, 20, 1, 30, 200, 0, 32, *range(100, 132)]
    path = write(tmp_path / "a.dcm", LITTLE, BYTES, **palette([64, 0, 8], [words(code, LITTLE)] * 3, segmented=True))
    line = np.rint(np.linspace(26, 200, 30))  # 20 to 200 in 30 steps, the first of them not included
    np.testing.assert_array_equal(display(path)[..., 1].ravel(), [10, 20, *line, *range(100, 132)])


def test_segments_in_the_order_of_the_file(tmp_path: Path) -> None:
    """8-bit segments whose words were not swapped in Big Endian: what pydicom renders."""
    code = bytes([0, 2, 10, 20, 1, 62, 200, 0])
    path = write(tmp_path / "a.dcm", BIG, BYTES, **palette([64, 0, 8], [code] * 3, segmented=True))
    np.testing.assert_array_equal(display(path), rendered(path))


def test_segments_that_expand_in_no_way_are_an_error(tmp_path: Path) -> None:
    code = words([0, 9000, 1, 2], LITTLE)
    path = write(tmp_path / "a.dcm", LITTLE, BYTES, **palette([64, 0, 16], [code] * 3, segmented=True))
    with pytest.raises(fastdicom.errors.ValuesError, match=r"a segment that ends at word 9002 of 4.*values='stored'"):
        display(path)


def test_a_palette_of_bytes_that_claims_16_bits(tmp_path: Path) -> None:
    data = [packed(np.arange(64) + offset, LITTLE) for offset in (1, 70, 140)]
    path = write(tmp_path / "a.dcm", LITTLE, BYTES, **palette([64, 0, 16], data))
    np.testing.assert_array_equal(display(path), rendered(path))
    assert display(path).any()


def test_a_palette_of_16_bits_that_claims_8(tmp_path: Path) -> None:
    data = [struct.pack("<64H", *(256 * (offset + i) + 255 - i for i in range(64))) for offset in (1, 70, 140)]
    path = write(tmp_path / "a.dcm", LITTLE, BYTES, **palette([64, 0, 8], data))
    np.testing.assert_array_equal(display(path), rendered(path) >> 8)


# ---------------------------------------------------------------------------------------------------------------- sign

NEGATIVE = np.arange(64, dtype=np.int16).reshape(8, 8) - np.int16(32)
RAMP = [1000 * i for i in range(64)]


@pytest.mark.parametrize("first", [-32, 65504])
@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", ["signed", "rescaled"])
def test_first_mapped_values_have_the_sign_of_the_input(tmp_path: Path, kind: str, syntax: str, first: int) -> None:
    voi = table([64, first, 16], RAMP, "US")
    rescale = {"RescaleSlope": "1", "RescaleIntercept": "-32"} if kind == "rescaled" else {}
    path = write(tmp_path / "a.dcm", syntax, SHORTS if rescale else NEGATIVE, VOILUTSequence=voi, **rescale)
    np.testing.assert_allclose(display(path).ravel(), np.array(RAMP) * 255 / 65535, atol=1)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_large_first_mapped_values_of_what_is_not_negative_stay(tmp_path: Path, syntax: str) -> None:
    """Stored values that are unsigned, and the output of a Modality LUT whatever the sign of the pixels."""
    voi = table([64, 65000, 16], RAMP, "US")
    unsigned = write(tmp_path / "a.dcm", syntax, SHORTS + np.uint16(65000), VOILUTSequence=voi)
    modality = table([64, -32, 16], list(range(65000, 65064)), "US", ModalityLUTType="US")
    path = write(tmp_path / "b.dcm", syntax, NEGATIVE, ModalityLUTSequence=modality, VOILUTSequence=voi)
    for file in (unsigned, path):
        np.testing.assert_allclose(display(file).ravel(), np.array(RAMP) * 255 / 65535, atol=1)


def test_a_rescale_that_may_be_negative_does_not_turn_a_table_away_from_the_image(tmp_path: Path) -> None:
    """Values of -1024 to 64511: a table from 40000 on maps some of them, one from -25536 on none."""
    voi = table([64, 40_000, 16], RAMP, "US")
    path = write(
        tmp_path / "a.dcm", LITTLE, SHORTS + np.uint16(41_024), VOILUTSequence=voi, RescaleSlope="1",
        RescaleIntercept="-1024",
    )  # fmt: skip
    np.testing.assert_allclose(display(path).ravel(), np.array(RAMP) * 255 / 65535, atol=1)
