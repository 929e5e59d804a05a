"""Half, quarter, ... resolution from JPEG 2000 and HTJ2K code streams: right voxels, at the right place.

Oracles: the reversible wavelet as ISO 15444-1 annex F writes it, in NumPy; OpenJPEG against OpenJPH; and a field that
is linear in the patient, whose averages are its values at the voxel's centre.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

import fastdicom
from edited_series import item, with_edit
from fastdicom.codecs import choose_decoder, decode_frame, reduced_format, reduced_length
from fastdicom.errors import (
    DecodeError,
    UnsupportedTransferSyntaxError,
    UsageError,
    ValuesError,
)
from fastdicom.testing import SeriesSpec, make_series, write_series
from fastdicom.types import PixelFormat

pytest.importorskip("PIL", reason="Pillow decodes JPEG 2000 at lower resolutions")

J2K, J2K_LOSSY, HTJ2K, HTJ2K_LOSSY = (f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 203))


def half(image: NDArray[Any]) -> NDArray[np.int64]:
    """The low-pass band of the reversible 5/3 wavelet: columns, then rows (ISO 15444-1 F.4.2, F.4.8.1)."""
    return _half_rows(_half_rows(image.astype(np.int64)).T).T


def _half_rows(image: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(image) == 1:
        return image
    padded = np.pad(image, ((2, 3), *((0, 0),) * (image.ndim - 1)), "reflect" if len(image) > 3 else "symmetric")
    if len(image) <= 3:  # np.pad reflects only once
        index = np.abs(np.arange(-2, len(image) + 3))
        period = 2 * (len(image) - 1)
        index = np.minimum(index % period, period - index % period)
        padded = image[index]
    high = padded[1:-1:2] - ((padded[0:-2:2] + padded[2::2][: len(padded[1:-1:2])]) >> 1)
    count = -(-len(image) // 2)
    return padded[2 : 2 + 2 * count : 2] + ((high[:count] + high[1 : count + 1] + 2) >> 2)


def format_of(syntax: str, image: NDArray[Any], bits: int) -> PixelFormat:
    samples = 1 if image.ndim == 2 else 3
    return PixelFormat(
        transfer_syntax_uid=syntax,
        rows=image.shape[0],
        columns=image.shape[1],
        samples_per_pixel=samples,
        photometric_interpretation="MONOCHROME2" if samples == 1 else "RGB",
        bits_allocated=8 * image.dtype.itemsize,
        bits_stored=bits,
        high_bit=bits - 1,
        pixel_representation=int(image.dtype.kind == "i"),
    )


def encoded(syntax: str, image: NDArray[Any], bits: int) -> bytes:
    if syntax == HTJ2K:
        return bytes(imagecodecs.htj2k_encode(image, reversible=True))
    return bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=True, bitspersample=bits, level=0))


def decoders(syntax: str) -> list[str]:
    names = ["pillow.jpeg2k-reduced"]
    return [*names, "imagecodecs.htj2k-reduced"] if syntax == HTJ2K else names


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(33, 90), st.integers(33, 90)),
    bits=st.sampled_from([8, 16]),
    signed=st.booleans(),
    extreme=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_level_is_the_low_pass_band_of_the_standard(
    syntax: str, size: tuple[int, int], bits: int, signed: bool, extreme: bool, seed: int
) -> None:
    """Averages of black and white overshoot the range of the samples: they are clipped, they never wrap around."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(f"{'i' if signed else 'u'}{bits // 8}")
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    image = rng.choice([low, high], size) if extreme else rng.integers(low, high, size, endpoint=True)
    image = image.astype(dtype)
    data, fmt = encoded(syntax, image, bits), format_of(syntax, image, bits)
    expected = image.astype(np.int64)
    for level in (1, 2):
        expected = half(expected)
        for name in decoders(syntax):
            found = decode_frame(name, data, reduced_format(fmt, level), level=level)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, np.clip(expected, low, high), err_msg=name)


def test_twelve_bits_and_colours() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 4096, (64, 48)).astype(np.uint16)
    found = decode_frame(
        "pillow.jpeg2k-reduced", encoded(J2K, image, 12), reduced_format(format_of(J2K, image, 12), 1), level=1
    )
    np.testing.assert_array_equal(found, np.clip(half(image), 0, 4095))
    colours = np.cumsum(rng.integers(0, 4, (64, 48, 3)), axis=0).astype(np.uint8)
    fmt = reduced_format(format_of(HTJ2K, colours, 8), 1)
    ours, theirs = (decode_frame(name, encoded(HTJ2K, colours, 8), fmt, level=1) for name in decoders(HTJ2K))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (32, 24, 3)


def test_irreversible_streams() -> None:
    y, x = np.mgrid[:96, :80]
    image = (1000 + 10 * x + 5 * y).astype(np.uint16)
    lossy = bytes(imagecodecs.jpeg2k_encode(image, codecformat="j2k", reversible=False, bitspersample=12, level=80))
    high = bytes(imagecodecs.htj2k_encode(image, reversible=False))
    for syntax, data, bits in ((J2K_LOSSY, lossy, 12), (HTJ2K_LOSSY, high, 16)):
        fmt = format_of(syntax, image, bits)
        found = decode_frame(choose_decoder(fmt, level=1), data, reduced_format(fmt, 1), level=1)
        np.testing.assert_allclose(found[4:-4, 4:-4].astype(int), image[8:-8:2, 8:-8:2], atol=8)


@given(st.integers(1, 70000), st.integers(0, 12), st.integers(0, 12))
def test_levels_of_levels(length: int, first: int, second: int) -> None:
    assert reduced_length(length, 0) == length
    assert reduced_length(reduced_length(length, first), second) == reduced_length(length, first + second)


# --------------------------------------------------------------------------------------------------------- in a volume


def linear_series(folder: Path, syntax: str, spec: SeriesSpec, gradient: NDArray[np.float64]) -> None:
    """A series whose values are linear in the patient's coordinates."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, ds in enumerate(make_series(spec)):
        position = np.array(ds.ImagePositionPatient, float)
        row, column = np.reshape(np.array(ds.ImageOrientationPatient, float), (2, 3))
        down, across = map(float, ds.PixelSpacing)
        y, x = np.mgrid[: spec.rows, : spec.columns]
        places = position + y[..., None] * down * column + x[..., None] * across * row
        image = np.rint(2000 + places @ gradient).astype(np.uint16)
        ds.PixelData = encapsulate([encoded(syntax, image, 16 if syntax == HTJ2K else 12)])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(folder / f"{k}.dcm")


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
@pytest.mark.parametrize("level", [1, 2])
def test_the_coarser_grid_lies_where_its_values_were(tmp_path: Path, syntax: str, level: int) -> None:
    angle = np.deg2rad(25)
    orientation = (np.cos(angle), np.sin(angle), 0.0, -np.sin(angle), np.cos(angle), 0.0)
    spec = SeriesSpec(
        slices=4, rows=70, columns=61, bits_stored=12, slope=1.0, intercept=0.0, tilt_deg=8.0, orientation=orientation
    )
    gradient = np.array([7.0, -11.0, 5.0])
    linear_series(tmp_path, syntax, spec, gradient)
    full = fastdicom.load_volume(tmp_path)
    coarse = fastdicom.load_volume(tmp_path, level=level)
    assert coarse.shape == (4, -(-70 >> level), -(-61 >> level))
    assert coarse.origin == full.origin
    np.testing.assert_allclose(coarse.spacing, np.array(full.spacing) * [1, 1 << level, 1 << level])
    np.testing.assert_array_equal(coarse.slice_positions, full.slice_positions)
    index = np.stack(np.meshgrid(*map(np.arange, coarse.shape), indexing="ij"), axis=-1)
    places = index @ coarse.affine[:3, :3].T + coarse.affine[:3, 3]
    expected = 2000 + places @ gradient
    margin = 3  # at the border the image is continued as a mirror, not as a slope
    inner = (slice(None), slice(margin, -margin), slice(margin, -margin))
    # Half a voxel beside the truth the difference would be (11 + 7) mm * 0.7 / 2 * 2**level: over 10.
    np.testing.assert_allclose(coarse.array[inner], expected[inner], atol=1.5)
    sampled = full.array[:, :: 1 << level, :: 1 << level]
    np.testing.assert_allclose(coarse.array[inner], sampled[inner], atol=2)
    assert any(note.startswith(f"level {level}") for note in coarse.notes)
    assert coarse.units == full.units == "HU"


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
def test_lazy_eager_threads_and_processes_agree(tmp_path: Path, syntax: str) -> None:
    write_series(tmp_path, SeriesSpec(slices=5, rows=66, columns=49, transfer_syntax_uid=syntax, signed=True))
    eager = fastdicom.load_volume(tmp_path, level=1)
    lazy = fastdicom.open_volume(tmp_path, level=1, chunks=(2, -1, -1))
    assert lazy.shape == eager.shape == (5, 33, 25)
    np.testing.assert_array_equal(lazy.array.compute(), eager.array)
    np.testing.assert_array_equal(lazy.array[3, 5:9, ::2].compute(), eager.array[3, 5:9, ::2])
    np.testing.assert_array_equal(lazy.affine, eager.affine)
    for scheduler in ("synchronous", "processes"):
        np.testing.assert_array_equal(
            fastdicom.load_volume(tmp_path, level=1, scheduler=scheduler, workers=2).array, eager.array
        )
    full = fastdicom.load_volume(tmp_path)
    assert full.plan.fingerprint != eager.plan.fingerprint
    np.testing.assert_array_equal(fastdicom.load_volume(tmp_path, level=0).array, full.array)


def test_display_of_a_level(tmp_path: Path) -> None:
    write_series(tmp_path, SeriesSpec(slices=3, rows=64, columns=64, transfer_syntax_uid=HTJ2K))
    shown = fastdicom.load_volume(tmp_path, level=1, values="display", window=(0, 2000))
    hu = fastdicom.load_volume(tmp_path, level=1)
    assert shown.dtype == np.uint8
    order = np.argsort(hu.array.ravel(), kind="stable")
    assert (np.diff(shown.array.ravel()[order].astype(int)) >= 0).all()


def test_what_has_no_levels_says_so(tmp_path: Path) -> None:
    write_series(tmp_path / "native", SeriesSpec(slices=2))
    with pytest.raises(UnsupportedTransferSyntaxError, match=r"level=1 .*1\.2\.840\.10008\.1\.2\.1 has none.*level=0"):
        fastdicom.open_volume(tmp_path / "native", level=1)
    write_series(tmp_path / "j2k", SeriesSpec(slices=2, rows=64, columns=64, transfer_syntax_uid=J2K))
    with pytest.raises(ValuesError, match=r"level=9 cannot be decoded: .* has (\d) lower resolutions. Pass level=\1"):
        fastdicom.open_volume(tmp_path / "j2k", level=9)
    for decoder in ("pylibjpeg", "pydicom"):
        with pytest.raises(UnsupportedTransferSyntaxError, match=r"pillow\.jpeg2k-reduced would"):
            fastdicom.open_volume(tmp_path / "j2k", level=1, decoder=decoder)
    for level in (-1, 1.5, True, "1"):
        with pytest.raises(UsageError, match="number of resolutions"):
            fastdicom.load_volume(tmp_path / "j2k", level=level)
    with pytest.raises(UsageError, match="full resolution"):
        fastdicom.load_volume(tmp_path / "j2k", level=1).padding_mask()
    fastdicom.write_zarr(tmp_path / "j2k", tmp_path / "out.zarr")
    with pytest.raises(UsageError, match="store has its own levels"):
        fastdicom.open_volume(tmp_path / "out.zarr", level=1)


def test_palettes_are_not_averaged(tmp_path: Path) -> None:
    spec = SeriesSpec(
        modality="OT",
        slices=2,
        bits_allocated=8,
        photometric_interpretation="PALETTE COLOR",
        transfer_syntax_uid=J2K,
        slope=None,
    )
    write_series(tmp_path, spec)
    with pytest.raises(ValuesError, match="palette"):
        fastdicom.load_volume(tmp_path, level=1)


@pytest.mark.parametrize("syntax", [J2K, HTJ2K])
def test_entries_of_a_modality_table_are_not_averaged(tmp_path: Path, syntax: str) -> None:
    """The values between two entries are no values of the table; those as stored have averages."""
    spec = SeriesSpec(
        modality="OT", slices=2, rows=64, columns=64, transfer_syntax_uid=syntax, slope=None, intercept=None
    )

    def with_table(k: int, ds: Dataset) -> None:
        table = item(LUTDescriptor=[4096, 0, 16], ModalityLUTType="OD", LUTData=list(range(4096)))
        table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
        ds.ModalityLUTSequence = [table]

    with_edit(tmp_path, spec, with_table)
    for values in ("modality", "display"):
        for read in (fastdicom.load_volume, fastdicom.open_volume):
            with pytest.raises(ValuesError, match="level=1 would average numbers of entries of a Modality LUT"):
                read(tmp_path, level=1, values=values)
    stored = fastdicom.load_volume(tmp_path, values="stored")
    coarse = fastdicom.load_volume(tmp_path, level=1, values="stored")
    np.testing.assert_array_equal(coarse.array, [np.clip(half(image), 0, 4095) for image in stored.array])


@pytest.mark.realdata
def test_pictures_of_several_slices_are_not_mixed(data_root: Path) -> None:
    folder = data_root / "mosaic/mosaic-compressed"
    mosaics = [e for e in fastdicom.scan(folder) if e.transfer_syntax_uids == (J2K,)]
    assert mosaics
    with pytest.raises(ValuesError, match="pictures of several"):
        fastdicom.load_volume(mosaics[0], level=1)


@pytest.mark.realdata
@pytest.mark.parametrize(
    "folder",
    ["derived/ts-htj2k201-volume/transcoded", "derived/ts-htj2k201-signed/transcoded"],
)
def test_real_volumes(data_root: Path, folder: str) -> None:
    full = fastdicom.load_volume(data_root / folder, values="stored")
    coarse = fastdicom.load_volume(data_root / folder, values="stored", level=1)
    limits = np.iinfo(full.dtype)
    for k in range(len(full.array)):
        np.testing.assert_array_equal(coarse.array[k], np.clip(half(full.array[k]), limits.min, limits.max))


def test_a_damaged_frame_is_reported_and_the_rest_is_there(tmp_path: Path) -> None:
    written = write_series(tmp_path, SeriesSpec(slices=4, rows=64, columns=64, transfer_syntax_uid=J2K))
    whole = fastdicom.load_volume(tmp_path, level=1)
    path = Path(written.paths[2])
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\x4f\xff\x51")
    data[start + 8 : start + 16] = (4096).to_bytes(4, "big") * 2  # another size
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="2048 x 2048 pixels where the file header says 32 x 32"):
        fastdicom.load_volume(tmp_path, level=1)
    found = fastdicom.load_volume(tmp_path, level=1, errors="report")
    assert [failure.path for failure in found.failures] == [str(path)]
    np.testing.assert_array_equal(np.delete(found.array, 2, axis=0), np.delete(whole.array, 2, axis=0))


@pytest.mark.slow
@pytest.mark.parametrize(("syntax", "least"), [(J2K, 3.0), (HTJ2K, 2.0)])
def test_the_rest_is_not_decoded(syntax: str, least: float) -> None:
    """A level has a quarter of the pixels of the one above; processor time, so that other work does not matter."""
    rng = np.random.default_rng(0)
    image = rng.normal(2000, 60, (512, 512)).astype(np.uint16)
    data, fmt = encoded(syntax, image, 16 if syntax == HTJ2K else 12), format_of(syntax, image, 16)
    names = (choose_decoder(fmt), choose_decoder(fmt, level=2))
    spent = []
    for name, level in zip(names, (0, 2), strict=True):
        decode_frame(name, data, reduced_format(fmt, level), level=level)
        started = time.process_time()
        for _ in range(5):
            decode_frame(name, data, reduced_format(fmt, level), level=level)
        spent.append(time.process_time() - started)
    assert spent[0] > least * spent[1], spent
