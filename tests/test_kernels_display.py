"""Lookup tables, palettes, windows and colour against NumPy twins and pydicom."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import processing
from pydicom.pixels.utils import expand_ybr422
from pydicom.uid import ExplicitVRLittleEndian

import kernel_twins as twins
from fastdicom import kernels
from fastdicom.errors import ValuesError
from kernel_cases import containers, examples, random_bits, rng


def lut_dataset(keyword: str, first: int, lut: np.ndarray, bits: int, signed: bool) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(lut) % 65536, first, bits])
    item.add_new("LUTData", "US", [int(v) for v in lut])
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    setattr(ds, keyword, [item])
    return ds


class TestTables:
    @examples
    @given(containers(["u1", "i1", "u2", "i2"]), st.sampled_from(["u1", "u2", "i2", "f4", "f8"]))
    def test_a_table_of_the_stored_values_reads_the_stored_values(
        self, container: tuple[np.ndarray, int, int, bool], dtype: str
    ) -> None:
        stored, bits_stored, high_bit, signed = container
        domain = kernels.container_values(stored.dtype, bits_stored, high_bit, signed)
        table = domain.astype(dtype)
        out = np.empty(stored.shape, dtype)
        kernels.apply_table(stored, table, out)
        native = stored.astype(stored.dtype.newbyteorder("="))
        np.testing.assert_array_equal(out, twins.stored_values(native, bits_stored, high_bit, signed).astype(dtype))

    @examples
    @given(
        st.sampled_from(["u1", "u2", "i2", "i4"]),
        st.sampled_from([8, 16]),
        st.integers(2, 300),
        st.integers(-200, 300),
        st.integers(0, 99),
    )
    def test_modality_lut_equals_pydicom(self, dtype: str, bits: int, entries: int, first: int, seed: int) -> None:
        signed = dtype[0] == "i"
        first = first if signed else abs(first)
        limits = np.iinfo(dtype)
        values = rng(seed).integers(max(limits.min, -500), min(limits.max, 700), (9, 13)).astype(dtype)
        if dtype == "u1" and first > 255:
            first = 255  # pydicom cannot compare beyond the dtype
        lut = rng(seed + 1).integers(0, 1 << bits, entries).astype(f"u{bits // 8}")
        entries_fit = entries - 1 <= limits.max
        out = np.empty(values.shape, lut.dtype)
        kernels.apply_lut(values, first, lut, out)
        np.testing.assert_array_equal(out, twins.lut(values, first, lut))
        if entries_fit:
            ds = lut_dataset("ModalityLUTSequence", first, lut, bits, signed)
            np.testing.assert_array_equal(out, processing.apply_modality_lut(values, ds))

    @pytest.mark.parametrize("bits", [8, 10, 12, 16])
    @pytest.mark.parametrize(("dtype", "first"), [("u2", 0), ("u2", 1000), ("i2", -1024)])
    def test_voi_lut_equals_pydicom(self, bits: int, dtype: str, first: int) -> None:
        values = rng(bits).integers(-2000 if dtype == "i2" else 0, 4096, (20, 30)).astype(dtype)
        lut = rng(bits + 1).integers(0, 1 << bits, 3000 if bits > 8 else 200).astype("u1" if bits == 8 else "u2")
        out = np.empty(values.shape, lut.dtype)
        kernels.apply_lut(values, first, lut, out)
        ds = lut_dataset("VOILUTSequence", first, lut, bits, dtype == "i2")
        # pydicom counts the index in the dtype of the output, so a value 256 entries beyond an 8 bit table wraps
        clipped = np.clip(values, first - 10, first + len(lut) - 1)
        np.testing.assert_array_equal(out, processing.apply_voi_lut(clipped, ds))

    def test_lut_shown_in_8_bits(self) -> None:
        shown = kernels.lut_to_display(np.array([0, 2048, 4095, 5000], np.uint16), 12)
        assert shown.tolist() == [0, 128, 255, 255]
        assert kernels.lut_to_display(np.array([0, 2048, 4095], np.uint16), 12, inverted=True).tolist() == [255, 127, 0]
        assert kernels.lut_to_display(np.arange(256, dtype=np.uint8), 8).tolist() == list(range(256))

    def test_an_empty_table_is_refused(self) -> None:
        with pytest.raises(ValuesError, match="no entries"):
            kernels.apply_lut(np.zeros((2, 2), "u2"), 0, np.zeros(0, "u2"), np.zeros((2, 2), "u2"))

    @pytest.mark.parametrize("dtype", ["u4", "u2"])
    def test_a_table_of_another_size_is_refused(self, dtype: str) -> None:
        with pytest.raises(ValuesError, match="entries"):
            kernels.apply_table(np.zeros((2, 2), dtype), np.zeros(256, "u1"), np.zeros((2, 2), "u1"))


def palette_dataset(first: int, channels: list[np.ndarray], bits: int) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name, channel in zip(("Red", "Green", "Blue"), channels, strict=True):
        ds.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [len(channel) % 65536, first, bits])
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", channel.tobytes())
    return ds


class TestPalettes:
    @examples
    @given(
        st.sampled_from(["u1", "u2"]),
        st.sampled_from([8, 16]),
        st.integers(1, 120).map(lambda n: 2 * n),
        st.integers(0, 30),
        st.integers(0, 99),
    )
    def test_equals_pydicom(self, dtype: str, bits: int, entries: int, first: int, seed: int) -> None:
        random = rng(seed)
        channels = [random.integers(0, 1 << bits, entries).astype(f"u{bits // 8}") for _ in range(3)]
        values = random.integers(0, 256, (8, 9)).astype(dtype)
        expected = processing.apply_color_lut(values, palette_dataset(first, channels, bits))
        expected = (expected >> 8 if bits == 16 else expected).astype(np.uint8)
        table = kernels.palette_rgb(channels, bits)
        width = 8 * values.itemsize
        domain = kernels.container_values(values.dtype, width, width - 1, False)
        out = np.empty((*values.shape, 3), np.uint8)
        kernels.apply_table(values, kernels.lut_at(domain, first, table), out)
        np.testing.assert_array_equal(out, expected)

    def test_8_bit_entries_in_16_bit_words_are_not_cut(self) -> None:
        words = [np.array([0, 7, 255], np.uint16)] * 3
        assert kernels.palette_rgb(words, 8)[:, 0].tolist() == [0, 7, 255]
        assert kernels.palette_rgb([w << 8 for w in words], 16)[:, 0].tolist() == [0, 7, 255]

    @examples
    @given(
        st.lists(
            st.tuples(st.just(0), st.lists(st.integers(0, 255), min_size=1, max_size=9))
            | st.tuples(st.just(1), st.tuples(st.integers(1, 40), st.integers(0, 255))),
            min_size=1,
            max_size=8,
        ),
        st.sampled_from(["u1", "u2"]),
    )
    def test_segments_equal_pydicom(self, segments: list[tuple[int, Any]], dtype: str) -> None:
        words = [0, 1, 17]
        for opcode, content in segments:
            words += [0, len(content), *content] if opcode == 0 else [1, *content]
        data = np.array(words, dtype)
        expected = processing._expand_segmented_lut(tuple(words), "<B" if dtype == "u1" else "<H")
        np.testing.assert_array_equal(kernels.expand_segmented_palette(data), expected)

    def test_indirect_segments_equal_pydicom_in_8_bits(self) -> None:
        words = [0, 2, 5, 9, 1, 4, 21, 2, 2, 0, 0, 0, 0]  # again both segments, from byte 0 on
        expected = processing._expand_segmented_lut(tuple(words), "<B")
        assert kernels.expand_segmented_palette(np.array(words, "u1")).tolist() == expected

    def test_indirect_offsets_of_16_bit_palettes_count_bytes(self) -> None:
        # PS3.3 C.7.9.2.3: "the byte offset"; pydicom 3.0 takes it for a count of words
        words = [0, 2, 5, 9, 1, 4, 21, 2, 1, 8, 0]  # byte 8 is word 4: the linear segment
        expected = [5, 9, 12, 15, 18, 21, 21, 21, 21, 21]
        assert kernels.expand_segmented_palette(np.array(words, "u2")).tolist() == expected

    @pytest.mark.fuzz
    @pytest.mark.parametrize(
        "words",
        [
            [3, 1, 0],  # no such opcode
            [1, 4, 9],  # linear, but from where
            [0, 9, 1, 2],  # shorter than it says
            [0, 1, 5, 1, 0, 9],  # a line of no length
            [0, 1, 5, 2, 1, 3, 0, 0, 0],  # an indirect segment that points at itself
            [0, 1, 5, 2, 255, 200, 0, 0, 0],  # beyond the data
            [0, 0, 0, 1, 7, 2, 255, 0, 0, 0, 0],  # a nested segment of nothing, 255 times
        ],
    )
    def test_hostile_segments(self, words: list[int]) -> None:
        with pytest.raises(ValuesError, match="Segmented palette"):
            kernels.expand_segmented_palette(np.array(words, "u1"))

    @pytest.mark.fuzz
    def test_a_palette_cannot_grow_beyond_its_descriptor(self) -> None:
        data = np.array([0, 1, 5] + [1, 65535, 9] * 100_000, "u2")
        with pytest.raises(ValuesError, match="65536 entries"):
            kernels.expand_segmented_palette(data)

    def test_channels_must_be_equally_long(self) -> None:
        with pytest.raises(ValuesError, match="equal length"):
            kernels.palette_rgb([np.zeros(2, "u1"), np.zeros(2, "u1"), np.zeros(3, "u1")], 8)


def window_dataset(center: float, width: float, function: str) -> Dataset:
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsStored, ds.PixelRepresentation = 8, 0  # so that pydicom's output range is 0..255
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = f"{center:.8g}", f"{width:.8g}", function
    return ds


class TestWindows:
    @examples
    @given(
        st.sampled_from(["u1", "i1", "u2", "i2", "i4", "f4", "f8"]),
        st.floats(-3000, 3000),
        st.floats(1, 5000) | st.sampled_from([1.0, 2.0, 0.5, 400.0]),
        st.sampled_from(kernels.windows.FUNCTIONS),
        st.booleans(),
    )
    def test_equals_pydicom_rounded_half_to_even(
        self, dtype: str, center: float, width: float, function: str, inverted: bool
    ) -> None:
        ds = window_dataset(center, width, function)
        center, width = float(ds.WindowCenter), float(ds.WindowWidth)
        if dtype[0] == "f":
            values = rng(1).normal(center, width, (40, 30)).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            values = rng(1).integers(max(limits.min, -5000), min(limits.max, 8000), (40, 30)).astype(dtype)
        out = np.empty(values.shape, np.uint8)
        if function == "LINEAR" and width < 1:
            with pytest.raises(ValuesError, match="width"):
                kernels.window(values, center, width, function, out)
            return
        with np.errstate(over="ignore"):
            expected = np.rint(processing.apply_windowing(values, ds)).astype(np.uint8)
        kernels.window(values, center, width, function, out, inverted=inverted)
        np.testing.assert_array_equal(out, 255 - expected if inverted else expected)

    def test_the_example_of_the_standard(self) -> None:
        # PS3.3 C.11.2.1.2.1, note 4: center 2048, width 4096 is 0 at 0, 255 at 4095; width 1 is a threshold
        values = np.array([[0.0, 4095.0, 2047.5]])
        out = np.empty(values.shape, np.uint8)
        kernels.window(values, 2048, 4096, "LINEAR", out)
        assert out.tolist() == [[0, 255, 128]]
        kernels.window(values - 2000, 0.5, 1, "LINEAR", out)
        assert out.tolist() == [[0, 255, 255]]

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    @pytest.mark.parametrize("function", kernels.windows.FUNCTIONS)
    def test_nan_and_infinities(self, dtype: str, function: str) -> None:
        values = np.array([[np.nan, np.inf, -np.inf, 0]], dtype)
        out = np.empty(values.shape, np.uint8)
        kernels.window(values, 0, 100, function, out)
        assert out[0, :3].tolist() == [0, 255, 0]

    @pytest.mark.parametrize("bad", [(0.0, 0.5, "LINEAR"), (0.0, 0.0, "SIGMOID"), (0.0, -1.0, "LINEAR_EXACT")])
    def test_undefined_windows(self, bad: tuple[float, float, str]) -> None:
        with pytest.raises(ValuesError, match="not defined"):
            kernels.window(np.zeros((1, 1), "f4"), *bad, np.zeros((1, 1), np.uint8))

    @pytest.mark.parametrize("center", [np.nan, np.inf])
    def test_infinite_windows(self, center: float) -> None:
        with pytest.raises(ValuesError, match="not defined"):
            kernels.check_window(center, 10, "LINEAR")

    def test_unknown_function(self) -> None:
        with pytest.raises(ValuesError, match="LINEAR_EXACT"):
            kernels.window(np.zeros((1, 1), "u2"), 0, 10, "CUBIC", np.zeros((1, 1), np.uint8))

    def test_strided_rows(self) -> None:
        values = rng().normal(0, 100, (9, 20)).astype("f4")
        for view in (values[:, 3:11], values[:, ::2]):
            out = np.zeros((9, 40), np.uint8)
            target = out[:, 2 : 2 + view.shape[1]]
            kernels.window(view, 0, 300, "LINEAR", target)
            np.testing.assert_array_equal(target, np.rint(kernels.window_at(view, 0, 300, "LINEAR")))
            assert (out[:, :2] == 0).all()

    @examples
    @given(
        hnp.arrays(st.sampled_from([np.uint8, np.int16, np.uint16]), st.integers(1, 400)),
        st.none() | st.tuples(st.integers(-100, 0), st.integers(0, 100)),
    )
    def test_auto_spans_the_percentiles(self, values: np.ndarray, padding: tuple[int, int] | None) -> None:
        kept = values if padding is None else values[(values < padding[0]) | (values > padding[1])]
        if kept.size == 0:
            with pytest.raises(ValuesError, match="padding"):
                kernels.auto_window(values, padding=padding)
            return
        center, width = kernels.auto_window(values, padding=padding)
        low, high = np.percentile(kept.astype(float), [1, 99], method="inverted_cdf")
        if high > low:
            assert (center - width / 2, center + width / 2) == (low, high)
        else:
            assert (center, width) == (low, 1.0)

    @pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
    def test_auto_of_other_dtypes(self, dtype: str) -> None:
        values = (rng().normal(0, 1, (30, 40)) * (100 if dtype == "i4" else 0.01)).astype(dtype)
        spoiled = values.copy()
        if dtype != "i4":
            spoiled[0, :3] = np.nan, np.inf, -np.inf
        center, width = kernels.auto_window(spoiled)
        low, high = np.percentile(spoiled[np.isfinite(spoiled)], [1, 99], method="inverted_cdf")
        bin_width = float(np.ptp(values)) / 65536
        assert center - width / 2 == pytest.approx(float(low), abs=2 * bin_width)
        assert center + width / 2 == pytest.approx(float(high), abs=2 * bin_width)

    def test_auto_without_values(self) -> None:
        with pytest.raises(ValuesError, match="NaN"):
            kernels.auto_window(np.full((3, 3), np.nan))
        assert kernels.auto_window(np.full((3, 3), 7.0)) == (7.0, 1.0)


@pytest.fixture(scope="module")
def cube() -> np.ndarray:
    """Every 8 bit colour once: (y, cb, cr) at [y, cb, cr]."""
    cube = np.empty((256, 256, 256, 3), np.uint8)
    cube[..., 0] = np.arange(256)[:, None, None]
    cube[..., 1:] = np.stack(np.meshgrid(np.arange(256), np.arange(256), indexing="ij"), -1)
    return cube


class TestColour:
    def test_ybr_full_equals_pydicom(self, cube: np.ndarray) -> None:
        out = np.empty_like(cube)
        kernels.ybr_full_to_rgb(cube, out)
        differing = 0
        for y in range(256):
            expected = processing.convert_color_space(cube[y], "YBR_FULL", "RGB")
            where = np.argwhere(out[y] != expected)
            differing += len(where)
            for cb, cr, component in where:
                assert component == 1
                assert abs(int(out[y, cb, cr, 1]) - int(expected[cb, cr, 1])) == 1
        assert differing <= 28  # without fused multiply-adds pydicom decides these exact halves the other way
        np.testing.assert_array_equal(out[19:47, 78, 178, 1], np.arange(28))  # with them, on any machine

    def test_ybr_full_is_exact(self, cube: np.ndarray) -> None:
        y, half = 120, Fraction(1, 2)
        out = np.empty_like(cube[y])
        kernels.ybr_full_to_rgb(cube[y], out)
        red, blue = Fraction(1402, 1000), Fraction(1772, 1000)
        green_cb, green_cr = Fraction(114 * 1772, 587_000), Fraction(299 * 1402, 587_000)
        for cb in range(0, 256, 3):
            for cr in range(cb % 5, 256, 5):
                b, r = cb - 128, cr - 128
                exact = (y + red * r, y - green_cb * b - green_cr * r, y + blue * b)
                expected = [min(max((value + half).__floor__(), 0), 255) for value in exact]
                assert out[cb, cr].tolist() == expected

    def test_ybr_full_in_place_and_strided(self, cube: np.ndarray) -> None:
        pixels = cube[100:102, ::7, ::11].copy()
        expected = np.empty_like(pixels)
        kernels.ybr_full_to_rgb(pixels, expected)
        in_place = pixels.copy()
        kernels.ybr_full_to_rgb(in_place, in_place)
        np.testing.assert_array_equal(in_place, expected)
        wide = np.zeros((*pixels.shape[:2], pixels.shape[2] + 2, 3), np.uint8)
        kernels.ybr_full_to_rgb(cube[100:102, ::7, ::11], wide[:, :, 1:-1])
        np.testing.assert_array_equal(wide[:, :, 1:-1], expected)
        assert not wide[:, :, [0, -1]].any()

    def test_ybr_full_422_equals_pydicom(self) -> None:
        data = rng().integers(0, 256, 2 * 6 * 8).astype(np.uint8)
        full = np.frombuffer(expand_ybr422(data.tobytes(), 8), np.uint8).reshape(6, 8, 3)
        np.testing.assert_array_equal(twins.expand_422(data, 6, 8), full)
        expected = processing.convert_color_space(full, "YBR_FULL", "RGB")
        out = np.empty((6, 8, 3), np.uint8)
        kernels.ybr_full_422_to_rgb(data, out)
        np.testing.assert_array_equal(out, expected)
        wide = np.zeros((6, 10, 3), np.uint8)
        kernels.ybr_full_422_to_rgb(data, wide[:, 1:9])
        np.testing.assert_array_equal(wide[:, 1:9], expected)

    @pytest.mark.parametrize(("shape", "size"), [((6, 8, 3), 95), ((6, 7, 3), 84), ((6, 8, 4), 96)])
    def test_ybr_full_422_of_another_size(self, shape: tuple[int, ...], size: int) -> None:
        with pytest.raises(ValuesError):
            kernels.ybr_full_422_to_rgb(np.zeros(size, np.uint8), np.zeros(shape, np.uint8))

    @examples
    @given(st.sampled_from([8, 12, 16]), st.integers(0, 999))
    def test_rct_undoes_the_forward_transform(self, bits: int, seed: int) -> None:
        rgb = rng(seed).integers(0, 1 << bits, (5, 6, 3))
        red, green, blue = np.moveaxis(rgb, -1, 0)
        ybr = np.stack([(red + 2 * green + blue) >> 2, blue - green, red - green], -1).astype(np.int32)
        out = np.empty(rgb.shape, np.uint8 if bits == 8 else np.uint16)
        kernels.ybr_rct_to_rgb(ybr, out, bits=bits)
        np.testing.assert_array_equal(out, rgb)
        ybr[0] += 50 << (bits - 8)  # out of range: clipped
        kernels.ybr_rct_to_rgb(ybr, out, bits=bits)
        np.testing.assert_array_equal(out, twins.rct_to_rgb(ybr, bits))

    @examples
    @given(st.sampled_from([8, 12, 16]), st.integers(0, 999))
    def test_ict_undoes_the_forward_transform_within_its_rounding(self, bits: int, seed: int) -> None:
        rgb = rng(seed).integers(0, 1 << bits, (5, 6, 3))
        forward = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        ybr = np.rint(rgb @ forward.T).astype(np.int16 if bits < 16 else np.int32)
        out = np.empty(rgb.shape, np.uint8 if bits == 8 else np.uint16)
        kernels.ybr_ict_to_rgb(ybr, out, bits=bits)
        assert abs(out.astype(int) - rgb).max() <= 2
        np.testing.assert_array_equal(out, twins.ict_to_rgb(ybr, bits))

    @pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "u4", "f4"])
    @pytest.mark.parametrize("samples", [1, 3, 4])
    def test_interleave(self, dtype: str, samples: int) -> None:
        planes = random_bits("u1", (samples, 5, 7 * np.dtype(dtype).itemsize), 1).view(dtype)
        planes = np.nan_to_num(planes)
        out = np.empty((5, 7, samples), dtype)
        kernels.interleave(planes, out)
        np.testing.assert_array_equal(out, np.moveaxis(planes, 0, -1))

    def test_interleave_within_one_buffer(self) -> None:
        memory = np.arange(60, dtype=np.uint8)
        planes = memory.reshape(3, 4, 5)
        expected = np.moveaxis(planes, 0, -1).copy()
        kernels.interleave(planes, memory.reshape(4, 5, 3))
        np.testing.assert_array_equal(memory.reshape(4, 5, 3), expected)

    def test_other_depths_are_refused(self) -> None:
        with pytest.raises(ValuesError, match="uint8"):
            kernels.ybr_full_to_rgb(np.zeros((2, 2, 3), np.uint16), np.zeros((2, 2, 3), np.uint16))  # type: ignore[arg-type]
        with pytest.raises(ValuesError, match="12 bits"):
            kernels.ybr_rct_to_rgb(np.zeros((2, 2, 3), np.int16), np.zeros((2, 2, 3), np.uint8), bits=12)
        with pytest.raises(ValuesError, match="interleave"):
            kernels.interleave(np.zeros((3, 2, 2), "u1"), np.zeros((3, 2, 2), "u1"))
