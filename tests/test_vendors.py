"""Private elements of vendors: diffusion weighting wherever it hides, and slices tiled into one frame."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

import fastdicom
from fastdicom.errors import GeometryError
from fastdicom.headers import HeaderTable, read_headers
from fastdicom.headers.csa import read_csa
from fastdicom.headers.vendors import TILES_ASSUMED, TILES_SIEMENS
from fastdicom.sources import discover

MR = "1.2.840.10008.5.1.4.1.1.4"


def csa_header(values: dict[str, list[str]], *, second: bool = True) -> bytes:
    """A Siemens CSA header in either of its layouts."""
    out = (b"SV10\4\3\2\1" if second else b"") + struct.pack("<II", len(values), 77)
    first_items = None
    for name, items in values.items():
        padded = items + [""] * 2
        first_items = len(padded) if first_items is None else first_items
        out += struct.pack("<64si4siii", name.encode() + b"\0\xcd\xcd", len(items), b"FD\0\0", 4, len(padded), 77)
        for item in padded:
            text = item.encode() + b"\0" if item else b""
            length = len(text)
            head = (length, length, 77, length) if second else (length + first_items, 77, 77, length)
            out += struct.pack("<4i", *head) + text + bytes(-length % 4)
    return out


def write_image(path: Path, pixels: np.ndarray, **attributes: object) -> Dataset:
    """A small MR file; private elements are given by ``private={(group, creator): {element: (VR, value)}}``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MR, f"1.2.3.{abs(hash(path.name)) % 10**9}"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    private = attributes.pop("private", {})
    plain = {
        "SOPClassUID": MR,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "StudyInstanceUID": "1.2.1",
        "SeriesInstanceUID": "1.2.2",
        "Modality": "MR",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "InstanceNumber": 1,
        "ImagePositionPatient": [0, 0, 0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [2.0, 3.0],
        "SliceThickness": 4.0,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.astype("<u2").tobytes(),
    }
    for keyword, value in (plain | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    for (group, creator), elements in private.items():
        block = dataset.private_block(group, creator, create=True)
        for element, (vr, value) in elements.items():
            block.add_new(element, vr, value)
    dataset.save_as(path, enforce_file_format=True)
    return dataset


def headers_of(folder: Path) -> HeaderTable:
    return read_headers(discover(folder)[0])


def weighting_of(folder: Path) -> tuple[float, list[float]]:
    table = headers_of(folder)
    return float(table["diffusion_b_value"][0]), table["diffusion_gradient_orientation"][0].tolist()


# --- diffusion weighting ---------------------------------------------------------------------------------------------

WAY = [0.6, 0.0, -0.8]
PLACES = {
    "siemens": {
        "Manufacturer": "SIEMENS",
        "private": {(0x0019, "SIEMENS MR HEADER"): {0x0C: ("IS", "1000"), 0x0E: ("FD", WAY)}},
    },
    "ge": {
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "private": {
            (0x0043, "GEMS_PARM_01"): {0x39: ("IS", [1000, 8, 0, 0])},
            (0x0019, "GEMS_ACQU_01"): {k: ("DS", str(v)) for k, v in zip((0xBB, 0xBC, 0xBD), WAY, strict=True)},
        },
    },
    "ge with an offset of 10^9": {
        "private": {
            (0x0043, "GEMS_PARM_01"): {0x39: ("IS", [1_000_001_000, 8, 0, 0])},
            (0x0019, "GEMS_ACQU_01"): {k: ("DS", str(v)) for k, v in zip((0xBB, 0xBC, 0xBD), WAY, strict=True)},
        },
    },
    "philips": {
        "private": {
            (0x2001, "Philips Imaging DD 001"): {0x03: ("FL", 1000.0)},
            (0x2005, "Philips MR Imaging DD 001"): {k: ("FL", v) for k, v in zip((0xB0, 0xB1, 0xB2), WAY, strict=True)},
        },
    },
    "united imaging": {
        "private": {(0x0065, "Image Private Header"): {0x09: ("FD", 1000.0), 0x37: ("FD", WAY)}},
    },
    "siemens csa text": {
        "Manufacturer": "SIEMENS",
        "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"],
        "private": {
            (0x0029, "SIEMENS CSA HEADER"): {
                0x10: (
                    "OB",
                    csa_header({"B_value": ["1000"], "DiffusionGradientDirection": [f"{v:.8f}" for v in WAY]}),
                )
            }
        },
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_the_weighting_is_found_where_the_vendor_hides_it(place: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.dcm", np.zeros((4, 4)), **PLACES[place])
    b_value, direction = weighting_of(tmp_path)
    assert b_value == 1000
    np.testing.assert_allclose(direction, WAY, atol=1e-6)


def test_the_standard_attribute_wins(tmp_path: Path) -> None:
    write_image(tmp_path / "a.dcm", np.zeros((4, 4)), DiffusionBValue=750.0, **PLACES["philips"])
    assert weighting_of(tmp_path)[0] == 750


@pytest.mark.parametrize("value", [-1, 268435456, 2**31 - 1])
def test_flags_are_no_weightings(value: int, tmp_path: Path) -> None:
    private = {(0x0043, "GEMS_PARM_01"): {0x39: ("IS", [value, 0, 0, 0])}}
    write_image(tmp_path / "a.dcm", np.zeros((4, 4)), private=private)
    assert np.isnan(weighting_of(tmp_path)[0])


def test_an_unweighted_image_has_no_direction(tmp_path: Path) -> None:
    private = {(0x0065, "Image Private Header"): {0x09: ("FD", 0.0), 0x37: ("FD", WAY)}}
    write_image(tmp_path / "a.dcm", np.zeros((4, 4)), private=private)
    b_value, direction = weighting_of(tmp_path)
    assert b_value == 0
    assert np.isnan(direction).all()


def test_a_private_element_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    private = {(0x0019, "ANOTHER CREATOR"): {0x0C: ("IS", "1000")}}
    write_image(tmp_path / "a.dcm", np.zeros((4, 4)), private=private)
    assert np.isnan(weighting_of(tmp_path)[0])


def test_a_diffusion_series_of_private_values_has_a_b_axis(tmp_path: Path) -> None:
    for number, b_value in enumerate((0, 500, 1000)):
        for k in range(3):
            private = {(0x2001, "Philips Imaging DD 001"): {0x03: ("FL", float(b_value))}}
            place = {"ImagePositionPatient": [0, 0, 4.0 * k], "InstanceNumber": 3 * number + k + 1}
            write_image(tmp_path / f"{number}{k}.dcm", np.full((4, 4), 10 * number + k), private=private, **place)
    volume = fastdicom.load_volume(tmp_path)
    assert volume.dims == ("b", "z", "y", "x")
    np.testing.assert_array_equal(volume.coordinates["b"], [0, 500, 1000])
    assert volume.array[2, 1, 0, 0] == 21


# --- CSA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [True, False])
def test_both_layouts_of_the_csa_header_are_read(second: bool) -> None:
    data = csa_header(
        {"Other": ["1", "2", "3"], "SliceNormalVector": ["0.0", "0.6", "0.8"], "B_value": ["50"]}, second=second
    )
    assert read_csa(data) == {"SliceNormalVector": ["0.0", "0.6", "0.8"], "B_value": ["50"]}


@pytest.mark.fuzz
@given(st.binary(max_size=400) | st.binary(max_size=400).map(lambda tail: b"SV10\4\3\2\1" + tail))
def test_no_bytes_whatever_break_the_csa_reader(data: bytes) -> None:
    assert isinstance(read_csa(data), dict)


@pytest.mark.fuzz
@given(st.data())
def test_a_damaged_csa_header_gives_what_can_be_read(data: st.DataObject) -> None:
    whole = bytearray(csa_header({"B_value": ["1000"], "SliceNormalVector": ["0", "0", "1"]}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = read_csa(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert set(found) <= {"B_value", "SliceNormalVector"} or len(found) <= 2


# --- mosaics ---------------------------------------------------------------------------------------------------------


def write_mosaic(folder: Path, count: int, *, normal: list[str] | None, **attributes: object) -> np.ndarray:
    """A mosaic of `count` slices of 4 x 6 pixels; returns the slices."""
    side = int(np.ceil(np.sqrt(count)))
    slices = np.arange(count)[:, None, None] * 100 + np.arange(24).reshape(4, 6)
    picture = np.zeros((4 * side, 6 * side), dtype=np.uint16)
    for k, pixels in enumerate(slices):
        y, x = k // side * 4, k % side * 6
        picture[y : y + 4, x : x + 6] = pixels
    csa = {"NumberOfImagesInMosaic": [str(count)]} | ({"SliceNormalVector": normal} if normal else {})
    given = {
        "Manufacturer": "SIEMENS",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "SpacingBetweenSlices": 5.0,
        "private": {(0x0029, "SIEMENS CSA HEADER"): {0x10: ("OB", csa_header(csa))}},
    }
    write_image(folder / "mosaic.dcm", picture, **(given | attributes))
    return slices


@pytest.mark.parametrize("errors", ["raise", "report"])
@pytest.mark.parametrize("missing", ["count", "spacing"])
def test_a_mosaic_that_cannot_be_taken_apart_is_no_slice(missing: str, errors: str, tmp_path: Path) -> None:
    """Whole pixels, places unknown: nothing that `errors="report"` could load, and not for another copy to mend."""
    write_mosaic(
        tmp_path, 4, normal=["0.0", "0.0", "1.0"],
        **({"private": {}} if missing == "count" else {"SpacingBetweenSlices": None, "SliceThickness": None}),
    )  # fmt: skip
    with pytest.raises(
        GeometryError, match=r"1 of 1 images .* hold several slices whose places are not known.*mosaic"
    ) as e:
        fastdicom.load_volume(tmp_path, errors=errors)
    assert "damaged pixel data" not in str(e.value)
    assert "cannot be taken apart" in str(e.value)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9, 11])
def test_a_mosaic_becomes_its_slices(count: int, tmp_path: Path) -> None:
    slices = write_mosaic(tmp_path, count, normal=["0.0", "0.0", "1.0"])
    volume = fastdicom.load_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, slices)
    side = int(np.ceil(np.sqrt(count)))
    # The corner of the whole picture is half its surplus width away from the corner of a slice.
    expected = [3.0 * 6 * (side - 1) / 2, 2.0 * 4 * (side - 1) / 2, 0.0]
    np.testing.assert_allclose(volume.origin, expected)
    assert volume.spacing == pytest.approx((5.0, 2.0, 3.0))
    assert volume.geometry.spacing_source == "SpacingBetweenSlices"
    assert any("Siemens mosaics" in note for note in volume.notes)


def test_slices_of_a_mosaic_follow_the_normal_of_its_csa_header(tmp_path: Path) -> None:
    """Against the cross product of the cosines: slice 0 of the mosaic is then the last of the volume."""
    slices = write_mosaic(tmp_path, 5, normal=["0.0", "0.0", "-1.0"])
    volume = fastdicom.load_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, slices[::-1])
    assert volume.origin[2] == -20.0


def test_a_mosaic_without_a_normal_says_that_its_direction_is_assumed(tmp_path: Path) -> None:
    write_mosaic(tmp_path, 4, normal=None)
    table = headers_of(tmp_path)
    assert set(table["tile_source"].tolist()) == {TILES_ASSUMED}
    (entry,) = fastdicom.scan(tmp_path)
    assert any("assumed" in warning for warning in entry.found.warnings)


def test_a_mosaic_that_cannot_be_taken_apart_is_an_error_that_says_so(tmp_path: Path) -> None:
    private = {(0x0029, "SIEMENS CSA HEADER"): {0x10: ("OB", csa_header({"NumberOfImagesInMosaic": ["9"]}))}}
    write_mosaic(tmp_path, 4, normal=None, private=private)  # 9 slices do not fit into 8 x 12 pixels
    with pytest.raises(GeometryError, match="Siemens mosaic of 9 slices in 8 x 12 pixels"):
        fastdicom.load_volume(tmp_path)


def test_every_row_knows_its_frame(tmp_path: Path) -> None:
    write_mosaic(tmp_path, 5, normal=["0.0", "0.0", "1.0"])
    table = headers_of(tmp_path)
    assert len(table) == 5
    assert table["tile_source"].tolist() == [TILES_SIEMENS] * 5
    assert set(zip(table["frame_rows"].tolist(), table["frame_columns"].tolist(), strict=True)) == {(12, 18)}
    assert set(zip(table["rows"].tolist(), table["columns"].tolist(), strict=True)) == {(4, 6)}
    assert list(zip(table["tile_row"].tolist(), table["tile_column"].tolist(), strict=True)) == [
        (0, 0),
        (0, 6),
        (0, 12),
        (4, 0),
        (4, 6),
    ]
    assert set(table["frame"].tolist()) == {0}


def test_plain_rows_are_their_own_frame(tmp_path: Path) -> None:
    write_image(tmp_path / "a.dcm", np.zeros((5, 7)))
    table = headers_of(tmp_path)
    assert [int(table[n][0]) for n in ("frame_rows", "frame_columns", "tile_row", "tile_column")] == [5, 7, 0, 0]
    empty = read_headers([])
    assert set(empty.columns) == set(table.columns)


def test_united_imaging_grid_takes_each_place_from_its_sequence(tmp_path: Path) -> None:
    count = 5
    picture = np.zeros((8, 18), dtype=np.uint16)  # 3 across, and only as many rows of tiles as are needed
    items = []
    for k in range(count):
        y, x = k // 3 * 4, k % 3 * 6
        picture[y : y + 4, x : x + 6] = 100 * k + np.arange(24).reshape(4, 6)
        item = Dataset()
        item.ImagePositionPatient = [1.0, 2.0, 30.0 - 3.0 * k]
        item.AcquisitionDateTime = f"2020010112000{k}.5"
        items.append(item)
    private = {(0x0065, "Image Private Header"): {0x50: ("DS", str(count)), 0x51: ("SQ", items)}}
    write_image(
        tmp_path / "grid.dcm",
        picture,
        Manufacturer="UIH",
        ImageType=["ORIGINAL", "PRIMARY", "M", "VFRAME"],
        ImagePositionPatient=None,
        private=private,
    )
    volume = fastdicom.load_volume(tmp_path)
    assert volume.shape == (5, 4, 6)
    np.testing.assert_array_equal(volume.array[:, 0, 0], [400, 300, 200, 100, 0])
    np.testing.assert_allclose(volume.origin, [1, 2, 18])
    assert volume.geometry.spacing_source == "positions"


# --- hostile files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", [b"SQ", b"FD"])
@pytest.mark.parametrize("content", [b"\xff" * 16, b"\xfe\xff\0", bytes(5), b""])
def test_a_malformed_grid_spoils_only_its_own_file(vr: bytes, content: bytes, tmp_path: Path) -> None:
    write_image(tmp_path / "good.dcm", np.zeros((4, 4)))
    grid = {(0x0065, "Image Private Header"): {0x50: ("DS", "4"), 0x51: ("OB", b"MARKER")}}
    write_image(tmp_path / "bad.dcm", np.zeros((4, 4)), Manufacturer="UIH", SeriesInstanceUID="1.2.9", private=grid)
    whole = (tmp_path / "bad.dcm").read_bytes()
    old = b"\x65\0\x51\x10OB\0\0" + struct.pack("<I", 6) + b"MARKER"
    assert old in whole
    long_form = vr == b"SQ"
    length = b"\0\0" + struct.pack("<I", len(content)) if long_form else struct.pack("<H", len(content))
    (tmp_path / "bad.dcm").write_bytes(whole.replace(old, b"\x65\0\x51\x10" + vr + length + content))
    table = headers_of(tmp_path)
    problems = {Path(path).name: problem for path, problem in zip(table["path"], table["problem"], strict=True)}
    assert problems["good.dcm"] == ""
    assert "cannot be taken apart" in problems["bad.dcm"]


@pytest.mark.parametrize("count", ["inf", "nan", "-inf", "1e400"])
@pytest.mark.parametrize("normal", [["inf", "0", "nan"], ["1e308", "1e308", "1e308"]])
def test_numbers_without_sense_in_a_mosaic(count: str, normal: list[str], tmp_path: Path) -> None:
    csa = {"NumberOfImagesInMosaic": [count], "SliceNormalVector": normal}
    private = {(0x0029, "SIEMENS CSA HEADER"): {0x10: ("OB", csa_header(csa))}}
    write_mosaic(tmp_path, 4, normal=None, private=private)
    table = headers_of(tmp_path)
    assert ["cannot be taken apart" in problem for problem in table["problem"]] == [True]
    csa["NumberOfImagesInMosaic"] = ["4"]
    private = {(0x0029, "SIEMENS CSA HEADER"): {0x10: ("OB", csa_header(csa))}}
    write_mosaic(tmp_path, 4, normal=None, private=private)
    assert set(headers_of(tmp_path)["tile_source"].tolist()) == {TILES_ASSUMED}


@pytest.mark.parametrize("what", ["mosaic", "weighting"])
def test_a_disk_that_fails_makes_a_file_unreadable_and_not_damaged(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is unreadable is tried again by the next scan; a file without its weighting would be sorted wrongly."""
    write_image(tmp_path / "good.dcm", np.zeros((4, 4)))
    if what == "mosaic":
        write_mosaic(tmp_path, 4, normal=None)
    else:
        write_image(tmp_path / "b.dcm", np.zeros((4, 4)), **PLACES["siemens csa text"])

    def fail(path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("fastdicom.headers.vendors.open_reader", fail)
    table = headers_of(tmp_path)
    assert [Path(path).name for path in table["path"]] == ["good.dcm"]
    assert [item.kind for item in table.skipped] == ["unreadable"]
    assert "Input/output error" in table.skipped[0].reason


@pytest.mark.fuzz
def test_the_deflated_pixels_of_a_grid_are_not_unpacked(tmp_path: Path) -> None:
    import tracemalloc

    items = [Dataset() for _ in range(4)]
    for k, item in enumerate(items):
        item.ImagePositionPatient = [0.0, 0.0, float(k)]
    private = {(0x0065, "Image Private Header"): {0x50: ("DS", "4"), 0x51: ("SQ", items)}}
    dataset = write_image(tmp_path / "a.dcm", np.zeros((8192, 8192)), Manufacturer="UIH", private=private)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    files, _ = discover(tmp_path)
    read_headers(files)  # what is imported and compiled once is not counted
    tracemalloc.start()
    table = read_headers(files)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert table["problem"].tolist() == [""] * 4
    assert peak < 16 << 20


# --- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("enhanced/enh-nitest-balls1/dicom/DTI.dcm", [0.0] + [1000.0] * 7),
        ("mr/mr-uih-grid/dicom", [1.2512641359237109] + [929.7501831334999] * 16),
    ],
)
def test_weightings_of_real_series(item: str, expected: list[float], data_root: Path) -> None:
    (entry,) = fastdicom.scan(data_root / item)
    axis = entry.found.dimensions[0]
    assert axis.name == "b"
    np.testing.assert_allclose(axis.values, expected, rtol=1e-4)
    lengths = np.linalg.norm(axis.directions[np.isfinite(axis.directions).all(axis=1)], axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-3)


@pytest.mark.parametrize("item", ["mr/mr-ge-4d-classic", "mr/mr-philips-magphase-slopes"])
def test_unweighted_series_have_no_b_axis_though_the_vendor_writes_a_weighting(item: str, data_root: Path) -> None:
    table = headers_of(data_root / item / "dicom")
    assert set(table["diffusion_b_value"].tolist()) == {0.0}
    (entry,) = fastdicom.scan(data_root / item / "dicom")
    assert "b" not in entry.dims


def test_the_csa_reader_agrees_with_nibabel(data_root: Path) -> None:
    csareader = pytest.importorskip("nibabel.nicom.csareader")
    paths = sorted((data_root / "mosaic" / "mosaic-siemens-planes" / "dicom").rglob("MR*"))
    assert paths
    for path in paths:
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        theirs = csareader.get_csa_header(dataset, "image")["tags"]
        ours = read_csa(dataset[0x0029, 0x1010].value, set(theirs))
        for name, tag in theirs.items():
            found = [float(v) if not isinstance(w, str) else v for v, w in zip(ours[name], tag["items"], strict=True)]
            assert found == tag["items"], name


# --- complex parts ---------------------------------------------------------------------------------------------------


def ge_slice(folder: Path, name: str, number: int, raw: int | None, **attributes: object) -> None:
    private = {} if raw is None else {(0x0043, "GEMS_PARM_01"): {0x2F: ("SS", raw)}}
    given = {
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
        "InstanceNumber": number,
        "ContentTime": f"1000{number:02d}",
        "private": private,
    }
    write_image(folder / name, np.full((4, 5), number), **(given | attributes))


def test_ge_says_what_part_of_the_complex_image_it_is(tmp_path: Path) -> None:
    for part in range(4):
        for k in range(3):
            ge_slice(tmp_path, f"{part}-{k}", 3 * part + k, part, ImagePositionPatient=[0, 0, 2.0 * k])
    (entry,) = fastdicom.scan(tmp_path)
    volume = fastdicom.load_volume(entry)
    assert volume.dims[:2] == ("component", "z")
    assert volume.coordinates["component"].tolist() == ["MAGNITUDE", "PHASE", "REAL", "IMAGINARY"]
    np.testing.assert_array_equal(volume.array[:, :, 0, 0], np.arange(12).reshape(4, 3))


@pytest.mark.parametrize(
    ("raw", "attributes", "expected"),
    [
        (1, {}, b"PHASE"),
        (None, {}, b""),
        (4, {}, b""),
        (-1, {}, b""),
        (1, {"Modality": "CT"}, b""),
        (1, {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}, b""),
        (1, {"ComplexImageComponent": "REAL"}, b"REAL"),
    ],
)
def test_what_the_standard_says_comes_before_ge(
    raw: int | None, attributes: dict, expected: bytes, tmp_path: Path
) -> None:
    ge_slice(tmp_path, "a", 1, raw, **attributes)
    assert headers_of(tmp_path)["complex_image_component"].tolist() == [expected]


def test_raw_data_type_of_another_creator_is_not_read(tmp_path: Path) -> None:
    ge_slice(tmp_path, "a", 1, None, private={(0x0043, "SOMEBODY ELSE"): {0x2F: ("SS", 1)}})
    assert headers_of(tmp_path)["complex_image_component"].tolist() == [b""]


# --- nuclear medicine ------------------------------------------------------------------------------------------------

NM = "1.2.840.10008.5.1.4.1.1.20"


def write_tomogram(path: Path, slices: list[int], *, top: bool = False, **attributes: object) -> np.ndarray:
    """A reconstructed tomogram whose frames show their own number."""
    values = np.arange(len(slices), dtype=np.uint16) + 1
    place = Dataset()
    place.ImagePositionPatient, place.ImageOrientationPatient = [-10, -20, 100], [1, 0, 0, 0, 0.6, 0.8]
    detector = Dataset() if top else place
    given = {
        "SOPClassUID": NM,
        "Modality": "NM",
        "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"],
        "NumberOfFrames": len(slices),
        "FrameIncrementPointer": 0x00540080,
        "SliceVector": slices,
        "SliceThickness": 4.0,
        "ImagePositionPatient": [-10, -20, 100] if top else None,
        "ImageOrientationPatient": place.ImageOrientationPatient if top else None,
        "DetectorInformationSequence": [detector],
        "PixelData": np.repeat(values, 20).tobytes(),
    } | attributes
    plain = {name: value for name, value in given.items() if value is not None}
    write_image(path, np.zeros((4, 5)), **plain)
    dataset = pydicom.dcmread(path)
    for name, value in given.items():
        if value is None and name in dataset:
            del dataset[name]
    dataset.file_meta.MediaStorageSOPClassUID = NM
    dataset.save_as(path)
    return values


@pytest.mark.parametrize("spacing", [4.5, -4.5])
def test_a_tomogram_lies_where_simpleitk_puts_it(spacing: float, tmp_path: Path) -> None:
    import SimpleITK

    write_tomogram(tmp_path / "nm", [1, 2, 3], SpacingBetweenSlices=spacing)
    (entry,) = fastdicom.scan(tmp_path)
    volume = fastdicom.load_volume(entry)
    assert volume.dims == ("z", "y", "x")
    assert any("the first one and SpacingBetweenSlices" in note for note in entry.found.notes)
    expected = SimpleITK.ReadImage(str(tmp_path / "nm"))
    for k in range(3):
        mine = k if spacing > 0 else 2 - k  # ours are always along the normal
        assert volume.array[mine, 0, 0] == expected.GetPixel(0, 0, k) == k + 1
        place = expected.TransformIndexToPhysicalPoint((0, 0, k))
        np.testing.assert_allclose((volume.affine @ [mine, 0, 0, 1])[:3], place, atol=1e-4)


def test_a_tomogram_without_a_spacing_or_with_its_place_at_the_top(tmp_path: Path) -> None:
    for name, top, spacing in (("a", False, None), ("b", True, None), ("c", True, 4.0)):
        (tmp_path / name).mkdir()
        write_tomogram(tmp_path / name / "nm", [1, 2, 3], top=top, SpacingBetweenSlices=spacing)
        (entry,) = fastdicom.scan(tmp_path / name)
        volume = fastdicom.load_volume(entry)
        along = 4.0 * np.arange(3)[:, None] * [0, -0.8, 0.6]
        np.testing.assert_allclose(volume.geometry.image_positions, np.array([-10, -20, 100]) + along, atol=1e-9)
        assert any(("SpacingBetweenSlices" if spacing else "SliceThickness") in note for note in entry.found.notes)


def test_time_slots_of_a_gated_tomogram_are_an_axis(tmp_path: Path) -> None:
    values = write_tomogram(
        tmp_path / "nm",
        [1, 2, 3] * 2,
        ImageType=["ORIGINAL", "PRIMARY", "RECON GATED TOMO", "EMISSION"],
        TimeSlotVector=[1] * 3 + [2] * 3,
    )
    (entry,) = fastdicom.scan(tmp_path)
    volume = fastdicom.load_volume(entry)
    assert volume.dims == ("t", "z", "y", "x")
    np.testing.assert_array_equal(volume.array[..., 0, 0], values.reshape(2, 3))


@pytest.mark.parametrize(
    "attributes",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]},
        {"EnergyWindowVector": [1, 1, 2]},
        {"SliceVector": [1, 2]},
        {"SliceThickness": None},
        {"DetectorInformationSequence": [Dataset(), Dataset()]},
        {"DetectorInformationSequence": [Dataset()]},
    ],
)
def test_what_is_no_placed_tomogram_stays_a_sequence(attributes: dict, tmp_path: Path) -> None:
    write_tomogram(
        tmp_path / "nm", [1, 2, 3], **({"ImagePositionPatient": None, "ImageOrientationPatient": None} | attributes)
    )
    (entry,) = fastdicom.scan(tmp_path)
    assert entry.found.dims == ("frame",)
