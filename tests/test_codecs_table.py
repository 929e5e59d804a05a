"""Every image file at hand x every backend that claims its transfer syntax: stored values equal pydicom's pixel_array.

Lossless syntaxes are compared exactly. Lossy ones within one level, and where JPEG stores YCbCr that is one level of a
pydicom plug-in with the same libjpeg family (Pillow): pylibjpeg-libjpeg rounds its inverse DCT and interpolates
subsampled chroma otherwise, which the conversion to RGB turns into up to 3 levels, and 12 at the edges of chroma.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.pixels import pixel_array
from pydicom.tag import Tag

from fastdicom import codecs, frames
from fastdicom.errors import FastDicomError
from fastdicom.types import PixelFormat, PixelLocation

pytestmark = pytest.mark.realdata

DATA = Path(os.environ.get("FASTDICOM_DATA", Path(__file__).parents[2] / "shared" / "data"))
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
ITEMS = sorted(p for p in DATA.glob("*/*") if p.is_dir() and p.parent.name != "licences")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
BASELINE = "1.2.840.10008.1.2.4.50"
LOSSY = {BASELINE, *(f"1.2.840.10008.1.2.4.{n}" for n in (51, 53, 55))}

NO_DECODER = "pydicom 3.0 has no decoder for this transfer syntax"
TRUNCATED = "the pixel data are shorter than the header says"
NOT_A_STREAM = "the fragment is not a code stream of this transfer syntax"
CONTRADICTS = "the header contradicts the pixel data or itself"

# What pydicom cannot decode: (why, whether fastdicom decodes it nevertheless). Names are unique among these files.
PYDICOM_CANNOT: dict[str, tuple[str, bool]] = {
    "JPEG-lossy.dcm": ("pylibjpeg rejects the spectral selection of its scan header, Pillow its 12 bits", True),
    "JPEG2000-embedded-sequence-delimiter.dcm": (NOT_A_STREAM, False),
    "MR_truncated.dcm": (TRUNCATED, False),
    "TC0285_buf_half.dcm": (TRUNCATED, False),
    "TC0297_cols_zero.dcm": (CONTRADICTS, False),
    "TC0309_bits_ba_three.dcm": ("Bits Allocated 3", False),
    "TC0321_encap_empty_bot.dcm": (NOT_A_STREAM, False),
    "TC0709_encap_frag_len_maxuint.dcm": (CONTRADICTS, False),
    "TC0713_encap_frag_len_2gb.dcm": (CONTRADICTS, False),
    "TC0717_encap_frag_len_1_data_64.dcm": (CONTRADICTS, False),
    "TC0721_encap_frag_len_int_max.dcm": (CONTRADICTS, False),
    "TC0847_rle_seg_offset_oob.dcm": (NOT_A_STREAM, False),
    "TC0851_rle_seg_expand_bomb.dcm": (NOT_A_STREAM, False),
    "TC0855_rle_zero_segments.dcm": (NOT_A_STREAM, False),
    "TC0917_minmax_bs0.dcm": (CONTRADICTS, False),
    "TC0925_minmax_ba8_bs16.dcm": (CONTRADICTS, False),
    "TC0945_ect_10k_frames_0pfg.dcm": (TRUNCATED, False),
    "TC0949_ect_65535_frames_1pfg.dcm": (TRUNCATED, False),
    "TC0953_ect_sfg_huge.dcm": (TRUNCATED, False),
    "TC0957_jpegls_huge_near.dcm": (NOT_A_STREAM, False),
    "TC0973_px_1024sq_64b.dcm": (TRUNCATED, False),
    "TC0977_px_256sq_ba32_32b.dcm": (TRUNCATED, False),
    "TC0985_px_wide_1x32768.dcm": (TRUNCATED, False),
    "20-wrong-transfer-syntax.dcm": ("native pixels under a JPEG-LS transfer syntax", False),
    "bad-short-pixeldata/dicom/002.dcm": (TRUNCATED, False),
    "bad-truncated-pixels/dicom/003.dcm": (TRUNCATED, False),
    "bad-wrong-transfer-syntax/dicom/005.dcm": ("native pixels under the RLE transfer syntax", False),
    "CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": (NO_DECODER, True),
    "CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": (NO_DECODER, True),
    "will-jxl.dcm": (NO_DECODER, True),
    "liver_deflate.dcm": (NO_DECODER, True),
    "liver_nonbyte_aligned_deflate.dcm": (NO_DECODER, True),
    "liver_rle.dcm": ("RLE with Bits Allocated 1", True),
    "liver_nonbyte_aligned_rle.dcm": ("RLE with Bits Allocated 1", True),
    **{f"ts-jxl110-volume/transcoded/{i:03}.dcm": (NO_DECODER, True) for i in range(12)},
}

# A backend that claims the syntax but not this file.
BACKEND_CANNOT = {
    ("GDCMJ2K_TextGBR.dcm", "pydicom.pillow"): "Pillow cannot open its JP2 container",
    ("JPEG-lossy.dcm", "pylibjpeg.libjpeg"): "rejects its scan header",
    ("liver_rle.dcm", "pylibjpeg.rle"): "Bits Allocated 1 in packed bytes",
    ("liver_rle.dcm", "pydicom.pydicom"): "Bits Allocated 1",
    ("liver_nonbyte_aligned_rle.dcm", "pylibjpeg.rle"): "Bits Allocated 1 in packed bytes",
    ("liver_nonbyte_aligned_rle.dcm", "pydicom.pydicom"): "Bits Allocated 1",
}


class Reader:
    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)

    def readinto_at(self, offset: int, buffer: memoryview) -> int:
        return os.preadv(self.descriptor, [buffer], offset)

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def describe(path: Path) -> tuple[PixelFormat, PixelLocation] | None:
    """Format and place of the pixels from pydicom's header; None for what is no image."""
    try:
        dataset = pydicom.dcmread(path, force=True, defer_size="4 KB")
        keyword = next((k for k in PIXELS if k in dataset), None)
        if keyword is None or "Rows" not in dataset:
            return None
        uid = str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "1.2.840.10008.1.2"))

        def number(name: str, default: int) -> int:
            value = dataset.get(name)
            return default if value is None else int(value)

        allocated = number("BitsAllocated", 16)
        fmt = PixelFormat(
            transfer_syntax_uid=uid,
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
            samples_per_pixel=number("SamplesPerPixel", 1),
            photometric_interpretation=str(dataset.get("PhotometricInterpretation", "")),
            planar_configuration=number("PlanarConfiguration", 0),
            bits_allocated=allocated,
            bits_stored=number("BitsStored", allocated),
            high_bit=number("HighBit", allocated - 1),
            pixel_representation=number("PixelRepresentation", 0),
            pixel_keyword=keyword,  # type: ignore[arg-type]
        )
        count = number("NumberOfFrames", 1) or 1
    except (ValueError, TypeError, OSError, AttributeError, EOFError, NotImplementedError):
        return None  # not an image header that anyone could read: the header tests own these

    def place(name: str) -> int:
        element = dataset._dict[Tag(name)]
        offset = getattr(element, "value_tell", None)
        return int(element.file_tell if offset is None else offset)  # type: ignore[union-attr, arg-type]

    offset = place(keyword)
    if uid.endswith(".1.99"):
        length = len(dataset[keyword].value)
    else:
        order = "big" if uid == "1.2.840.10008.1.2.2" else "little"
        with path.open("rb") as file:
            file.seek(offset - 4)
            length = int.from_bytes(file.read(4), order)  # type: ignore[arg-type]
        length = -1 if length == 2**32 - 1 else length
    extended = (-1, 0)
    if "ExtendedOffsetTable" in dataset:
        extended = (place("ExtendedOffsetTable"), len(dataset.ExtendedOffsetTable))
    return fmt, PixelLocation(offset, length, count, extended)


def references(path: Path, fmt: PixelFormat, count: int) -> list[NDArray[Any]]:
    """pydicom's pixel_array; for baseline JPEG also by Pillow. Empty where pydicom cannot decode the file."""
    found = []
    plugins = ["", "pillow"] if fmt.transfer_syntax_uid == BASELINE else [""]
    for plugin in plugins:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
            dataset.ensure_file_meta()
            dataset.file_meta.TransferSyntaxUID = fmt.transfer_syntax_uid
        try:
            array = pixel_array(dataset, decoding_plugin=plugin)
        except Exception:
            continue
        found.append(array.reshape(-1, *fmt.frame_shape)[:count])
    return found


def decoded(path: Path, fmt: PixelFormat, location: PixelLocation, name: str) -> Iterator[NDArray[Any]]:
    """Every frame of a file, decoded into an array that held something else."""
    with Reader(path) as file:
        if name == "native":
            source: Any = file
            if fmt.transfer_syntax_uid.endswith(".1.99"):
                source = frames.inflate(file, location, fmt, path=str(path))
            for i in range(location.number_of_frames):
                out = np.full(fmt.frame_shape, 7, fmt.stored_dtype)
                codecs.read_native_frame(source, fmt, location, i, out, path=str(path))
                yield out
            return
        index = frames.index_frames(file, location, fmt, path=str(path))
        for i in range(location.number_of_frames):
            data = frames.read_encapsulated(file, index, i, path=str(path))
            out = np.full(fmt.frame_shape, 7, fmt.stored_dtype)
            assert codecs.decode_frame(name, data, fmt, out, path=str(path), frame=i) is out
            yield out


def known(path: Path, table: dict[str, Any]) -> Any:
    return table.get(path.name) or table.get("/".join(path.parts[-3:]))


def names_for(fmt: PixelFormat) -> list[str]:
    return [d.name for d in codecs.decoders_for(fmt.transfer_syntax_uid) if d.is_available()]


def mismatches(path: Path) -> list[str]:
    """What is wrong with one file, over all backends."""
    found = describe(path)
    if found is None:
        return []
    fmt, location = found
    expected = references(path, fmt, location.number_of_frames)
    listed = known(path, PYDICOM_CANNOT)
    if bool(expected) == bool(listed):
        return [f"pydicom {'can' if expected else 'cannot'} decode {path}, PYDICOM_CANNOT says otherwise"]
    must_fail = listed is not None and not listed[1]
    problems = []
    names = names_for(fmt)
    if not names:
        problems.append(f"{path}: no decoder claims {fmt.transfer_syntax_uid}")
    for name in names:
        if (path.name, name) in BACKEND_CANNOT:
            continue
        try:
            codecs.choose_decoder(fmt)
            for i, frame in enumerate(decoded(path, fmt, location, name)):
                difference = min((_difference(frame, e[i]) for e in expected), default=0)
                allowed = 1 if fmt.transfer_syntax_uid in LOSSY else 0
                if name == "pylibjpeg.libjpeg":
                    allowed = 0  # pydicom runs the very same decoder
                if difference > allowed:
                    problems.append(f"{path} frame {i} by {name}: differs by {difference}")
                    break
            if must_fail:
                problems.append(f"{path} by {name}: decoded, but it was expected to be refused")
        except FastDicomError as error:
            if not must_fail:
                problems.append(f"{path} by {name}: {error}")
            if str(path) not in str(error) and not isinstance(getattr(error, "bits_allocated", None), int):
                problems.append(f"{path} by {name}: the error does not name the file: {error}")
    return problems


def _difference(frame: NDArray[Any], expected: NDArray[Any]) -> float:
    assert frame.shape == expected.shape
    assert frame.dtype == expected.dtype.newbyteorder("=")
    if np.array_equal(frame, expected, equal_nan=frame.dtype.kind == "f"):
        return 0
    return float(np.abs(frame.astype(np.float64) - expected).max())


@pytest.fixture(autouse=True)
def _quiet_pydicom() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def check(folder: Path) -> None:
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    problems = [problem for path in paths for problem in mismatches(path)]
    assert not problems, "\n".join(problems)


def test_pydicom_test_files() -> None:
    check(PYDICOM_FILES)


@pytest.mark.skipif(not ITEMS, reason="the shared real data are not here (FASTDICOM_DATA)")
@pytest.mark.parametrize("item", ITEMS, ids=[p.name for p in ITEMS])
def test_shared_data(item: Path) -> None:
    check(item)


# ------------------------------------------------------------------------------------------- twins in another syntax


def _twins() -> list[tuple[str, str]]:
    """(compressed, uncompressed original), both below transfer-syntax/ or derived/."""
    pairs = [
        (f"transfer-syntax/ts-htj2k202/dicom/htj2k/{n}_JPH", f"transfer-syntax/ts-htj2k202/dicom/dicomp10/{n}_UNC")
        for n in ("MR2", "VL2", "XA1")
    ]
    misc = "transfer-syntax/ts-pydicom-data/dicom"
    pairs += [(f"{misc}/MR2_J2KR.dcm", f"{misc}/MR2_UNCR.dcm")]
    pairs += [
        (f"{misc}/{stem}_{how}.dcm", f"{misc}/{stem}.dcm")
        for stem in ("liver", "liver_nonbyte_aligned")
        for how in ("rle", "deflate", "j2k")
    ]
    pairs += [
        (f"{misc}/emri_small_{how}.dcm", f"{misc}/emri_small.dcm")
        for how in ("RLE", "jpeg_ls_lossless", "jpeg_2k_lossless")
    ]
    ct = "transfer-syntax/ts-ctimage-15/dicom/CTImage.dcm"
    pairs += [
        (f"{ct}_{how}.dcm", f"{ct}_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm")
        for how in (
            "RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
            "JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
            "JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
            "JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
            "JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
            "BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
            "DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
        )
    ]
    return pairs


@pytest.mark.skipif(not ITEMS, reason="the shared real data are not here (FASTDICOM_DATA)")
@pytest.mark.parametrize(("compressed", "original"), _twins(), ids=lambda p: Path(p).name[-40:])
def test_lossless_twins_are_equal(compressed: str, original: str) -> None:
    fmt, location = describe(DATA / compressed)  # type: ignore[misc]
    expected = pydicom.dcmread(DATA / original).pixel_array.reshape(-1, *fmt.frame_shape)
    name = codecs.choose_decoder(fmt)
    for i, frame in enumerate(decoded(DATA / compressed, fmt, location, name)):
        np.testing.assert_array_equal(frame, expected[i])


@pytest.mark.skipif(not ITEMS, reason="the shared real data are not here (FASTDICOM_DATA)")
@pytest.mark.parametrize(
    ("item", "count"), [("ts-jxl110-volume", 12), ("ts-htj2k201-volume", 12), ("ts-htj2k201-signed", 6)]
)
def test_transcoded_series_equal_their_source(item: str, count: int) -> None:
    source = "mr/mr-sag-anon-192" if count == 12 else "ct/ct-crlm-1004"
    by_uid = {}
    for path in (DATA / source).rglob("*"):
        if path.is_file() and path.suffix != ".json":
            dataset = pydicom.dcmread(path, force=True, specific_tags=["InstanceNumber", "ImagePositionPatient"])
            if "ImagePositionPatient" in dataset:
                by_uid[tuple(map(float, dataset.ImagePositionPatient))] = path
    compared = 0
    for path in sorted((DATA / "derived" / item / "transcoded").glob("*.dcm")):
        position = tuple(map(float, pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient))
        fmt, location = describe(path)  # type: ignore[misc]
        (frame,) = decoded(path, fmt, location, codecs.choose_decoder(fmt))
        np.testing.assert_array_equal(frame, pydicom.dcmread(by_uid[position]).pixel_array)
        compared += 1
    assert compared == count


@pytest.mark.skipif(not ITEMS, reason="the shared real data are not here (FASTDICOM_DATA)")
@pytest.mark.parametrize(
    "process", ["6_8TransferSyntax_1.2.840.10008.1.2.4.53", "10_12TransferSyntax_1.2.840.10008.1.2.4.55"]
)
def test_retired_jpeg_processes_hold_the_image_of_extended_jpeg(process: str) -> None:
    """The three files are one image with one quantisation: the same coefficients in another order."""
    folder = DATA / "transfer-syntax" / "ts-ctimage-15" / "dicom"
    extended = pydicom.dcmread(
        folder / "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm"
    ).pixel_array
    path = folder / f"CTImage.dcm_JPEGProcess{process}.dcm"
    fmt, location = describe(path)  # type: ignore[misc]
    for name in names_for(fmt):
        (frame,) = decoded(path, fmt, location, name)
        assert np.abs(frame.astype(int) - extended).max() <= 1, name


@pytest.mark.skipif(not ITEMS, reason="the shared real data are not here (FASTDICOM_DATA)")
def test_jpeg_xl_recompression_gives_the_pixels_of_the_jpeg_inside() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    path = DATA / "transfer-syntax" / "ts-jxl111" / "dicom" / "will-jxl.dcm"
    fmt, location = describe(path)  # type: ignore[misc]
    with Reader(path) as file:
        index = frames.index_frames(file, location, fmt)
        for i in (0, 13, 26):
            data = bytes(frames.read_encapsulated(file, index, i))
            jpeg = imagecodecs.jpegxl_decode_jpeg(data)
            expected = imagecodecs.jpeg8_decode(bytes(jpeg), colorspace="YCBCR", outcolorspace="RGB")
            frame = codecs.decode_frame("imagecodecs.jpegxl", data, fmt)
            # libjxl computes the inverse DCT and the chroma interpolation in float: measured 0.15 levels off libjpeg
            # on average and 9 at chroma edges.
            assert np.abs(frame.astype(int) - expected).max() <= 12
            assert np.abs(frame.astype(int) - expected).mean() < 0.25
