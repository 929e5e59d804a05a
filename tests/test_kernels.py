"""Rescale, padding, 1-bit images and downsampling against NumPy twins, pydicom and scikit-image."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.dataset import Dataset
from pydicom.pixels import processing

import kernel_twins as twins
from fastdicom import kernels
from fastdicom.errors import UsageError, ValuesError
from kernel_cases import INTEGERS, OUTPUTS, containers, examples, random_bits, rng

slopes = st.sampled_from([1, 0, -1, 2, -3, 1000, -32768, 65535, 1 << 20, (1 << 31) - 1])
intercepts = st.sampled_from([0, -1024, 1024, -32768, 32767, 65535, -(1 << 31), (1 << 31) - 1, 1 << 40])


class TestRescale:
    @examples
    @given(containers([*INTEGERS, "u8", "i8"]), slopes, intercepts, st.sampled_from(OUTPUTS))
    @example((np.array([[-32768]], "i2"), 16, 15, True), -1, 0, "i2")  # 32768 does not fit
    @example((np.array([[65535]], "u2"), 16, 15, False), 1, -1024, "i2")
    @example((np.array([[-32768]], "i2"), 16, 15, False), 1, 0, "u2")  # an unsigned value in a signed container
    @example((np.array([[0x0FFF]], "u2"), 12, 11, True), 1, 0, "i2")  # a signed value in an unsigned container
    @example((np.array([[(1 << 62) + 1, -(1 << 63)]], "i8"), 64, 63, True), 1, -1024, "i8")  # more than 64 bits
    @example((np.array([[(1 << 64) - 1, 5]], "u8"), 64, 63, False), -3, 7, "i4")
    def test_integers_are_exact(
        self, container: tuple[np.ndarray, int, int, bool], slope: int, intercept: int, dtype: str
    ) -> None:
        stored, bits_stored, high_bit, signed = container
        native = stored.astype(stored.dtype.newbyteorder("="))
        expected, misfits = twins.rescale_exact(
            native, bits_stored, high_bit, signed, slope, intercept, np.dtype(dtype)
        )
        out = np.empty(stored.shape, dtype)
        assert kernels.rescale(stored, bits_stored, high_bit, signed, slope, intercept, out) == misfits
        np.testing.assert_array_equal(out, expected)

    @examples
    @given(containers(INTEGERS), slopes, intercepts, st.data())
    def test_in_place_equals_out_of_place(
        self, container: tuple[np.ndarray, int, int, bool], slope: int, intercept: int, data: st.DataObject
    ) -> None:
        stored, bits_stored, high_bit, signed = container
        stored = stored.astype(stored.dtype.newbyteorder("="))
        size = stored.itemsize
        dtype = data.draw(st.sampled_from([f"u{size}", f"i{size}"] + (["f4"] if size == 4 else [])))
        expected = np.empty(stored.shape, dtype)
        misfits = kernels.rescale(stored, bits_stored, high_bit, signed, slope, intercept, expected)
        out = stored.copy().view(dtype)
        assert kernels.rescale(out.view(stored.dtype), bits_stored, high_bit, signed, slope, intercept, out) == misfits
        np.testing.assert_array_equal(out, expected)

    @examples
    @given(
        containers(INTEGERS),
        st.floats(-1e6, 1e6).map(lambda x: round(x, 6)) | st.sampled_from([1.0, 0.0, -1.0, 0.1, 1 / 3]),
        st.floats(-1e6, 1e6).map(lambda x: round(x, 6)) | st.sampled_from([0.0, -1024.0, 0.5]),
        st.sampled_from(["f4", "f8"]),
    )
    def test_floats_equal_pydicom(
        self, container: tuple[np.ndarray, int, int, bool], slope: float, intercept: float, dtype: str
    ) -> None:
        stored, bits_stored, high_bit, signed = container
        native = stored.astype(stored.dtype.newbyteorder("="))
        ds = Dataset()
        ds.RescaleSlope, ds.RescaleIntercept = f"{slope:.8g}", f"{intercept:.8g}"  # at most 16 characters
        expected = processing.apply_modality_lut(twins.stored_values(native, bits_stored, high_bit, signed), ds)
        out = np.empty(stored.shape, dtype)
        slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
        assert kernels.rescale(stored, bits_stored, high_bit, signed, slope, intercept, out) == 0
        np.testing.assert_array_equal(out, expected.astype(dtype))

    @examples
    @given(containers(INTEGERS), st.floats(-100, 100), st.floats(-1e5, 1e5), st.sampled_from(["u1", "i2", "u2", "i4"]))
    def test_fractions_into_integers_round_half_to_even(
        self, container: tuple[np.ndarray, int, int, bool], slope: float, intercept: float, dtype: str
    ) -> None:
        stored, bits_stored, high_bit, signed = container
        native = stored.astype(stored.dtype.newbyteorder("="))
        limits = np.iinfo(dtype)
        values = twins.stored_values(native, bits_stored, high_bit, signed).astype(np.float64) * slope + intercept
        exact = np.rint(values)
        out = np.empty(stored.shape, dtype)
        misfits = kernels.rescale(stored, bits_stored, high_bit, signed, slope, intercept, out)
        assert misfits == np.count_nonzero((exact < limits.min) | (exact > limits.max))
        np.testing.assert_array_equal(out, np.clip(exact, limits.min, limits.max).astype(dtype))

    @examples
    @given(
        hnp.arrays(
            st.sampled_from([np.float32, np.float64]),
            st.tuples(st.integers(1, 4), st.integers(1, 30)),
            elements=st.floats(width=32, allow_nan=True),
        ),
        st.sampled_from([1.0, 0.5, -2.25]),
        st.sampled_from([0.0, 10.5]),
        st.sampled_from(["f4", "f8", "i2"]),
    )
    def test_float_pixel_data(self, stored: np.ndarray, slope: float, intercept: float, dtype: str) -> None:
        with np.errstate(all="ignore"):
            values = stored.astype(np.float64) * slope + intercept
            out = np.empty(stored.shape, dtype)
            misfits = kernels.rescale(stored, 1, 0, False, slope, intercept, out)
            if out.dtype.kind == "f":
                np.testing.assert_array_equal(out, values.astype(dtype))
                assert misfits == 0
                return
        rounded = np.rint(values)
        fits = (rounded >= -32768) & (rounded <= 32767)
        assert misfits == np.count_nonzero(~fits)
        np.testing.assert_array_equal(out[fits], rounded[fits].astype("i2"))
        assert (out[np.isnan(values)] == 0).all()

    def test_strided_output_leaves_its_neighbours(self) -> None:
        volume = np.full((3, 7, 20), 99, np.int16)
        stored = rng().integers(0, 4096, (7, 11)).astype(np.uint16)
        kernels.rescale(stored, 12, 11, False, 1, -1024, volume[1, :, 4:15])
        np.testing.assert_array_equal(volume[1, :, 4:15], stored.astype(int) - 1024)
        volume[1, :, 4:15] = 99
        assert (volume == 99).all()

    @pytest.mark.parametrize("view", [np.s_[:, ::2], np.s_[::-1], np.s_[::-1, ::-1]])
    def test_any_strides(self, view: Any) -> None:
        base = random_bits("u2", (8, 12), 3)
        stored = base[view]
        memory = np.zeros((8, 12), np.int32)
        out = memory[view]
        assert kernels.rescale(stored, 16, 15, False, 3, 1, out) == 0
        np.testing.assert_array_equal(out, stored.astype(int) * 3 + 1)

    def test_overlapping_memory_that_is_not_in_place(self) -> None:
        memory = np.arange(64, dtype=np.uint16)
        expected = memory[:32].astype(int) * 2
        kernels.rescale(memory[:32].reshape(4, 8), 16, 15, False, 2, 0, memory[8:40].reshape(4, 8))
        np.testing.assert_array_equal(memory[8:40], expected)

    @pytest.mark.parametrize(("bits", "high"), [(0, 15), (17, 16), (12, 10), (13, 16), (-1, 3)])
    def test_impossible_bits(self, bits: int, high: int) -> None:
        with pytest.raises(ValuesError, match=r"Bits Stored .* High Bit"):
            kernels.rescale(np.zeros((1, 1), "u2"), bits, high, False, 1, 0, np.zeros((1, 1), "i2"))

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(ValuesError, match="one shape"):
            kernels.rescale(np.zeros((2, 1), "u2"), 16, 15, False, 1, 0, np.zeros((1, 2), "i2"))

    def test_empty(self) -> None:
        assert kernels.rescale(np.zeros((0, 4), "u2"), 16, 15, False, 1, 0, np.zeros((0, 4), "i2")) == 0


class TestMasks:
    @examples
    @given(
        st.sampled_from([*INTEGERS, "f4", "f8"]),
        st.integers(-40000, 70000),
        st.none() | st.integers(-40000, 70000),
        st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
        st.booleans(),
    )
    def test_equals_twin(self, dtype: str, value: int, limit: int | None, out_dtype: str, strided: bool) -> None:
        values = np.nan_to_num(random_bits(dtype, (6, 9), 5)) if dtype[0] != "f" else rng().normal(0, 5e4, (6, 9))
        values = values.astype(dtype)
        if value % 2 == 0:
            values[2, 3:5] = np.array(value).astype(dtype)
        if strided:
            values = np.repeat(values, 2, axis=1)[:, ::2] if limit else values[:, 2:7]
        mask = np.empty(values.shape, np.bool_)
        kernels.padding_mask(values, value, limit, mask)
        np.testing.assert_array_equal(mask, twins.padding(values, value, limit))
        out = rng(3).integers(0, 100, values.shape).astype(out_dtype)
        expected = out.copy()
        twins.fill_padding(values, value, limit, 7, expected)
        kernels.fill_padding(values, value, limit, 7, out)
        np.testing.assert_array_equal(out, expected)

    def test_fill_in_place(self) -> None:
        values = np.array([[-2000, -1000, 0, 5]], np.int16)
        kernels.fill_padding(values, -2000, -1000, -1024, values)
        assert values.tolist() == [[-1024, -1024, 0, 5]]

    @examples
    @given(st.integers(1, 9), st.integers(1, 13), st.integers(1, 4))
    def test_unpack_equals_pydicom(self, rows: int, columns: int, frames: int) -> None:
        from pydicom.pixels.utils import pack_bits

        volume = rng(rows).integers(0, 2, (frames, rows, columns)).astype(np.uint8)
        data = pack_bits(volume.reshape(-1))
        for frame in range(frames):
            out = np.empty((rows, columns), np.uint8)
            kernels.unpack_bits(data, frame * rows * columns, out)
            np.testing.assert_array_equal(out, volume[frame])

    def test_unpack_beyond_the_data(self) -> None:
        with pytest.raises(ValuesError, match="needs 3 bytes; there are 2"):
            kernels.unpack_bits(bytes(2), 8, np.empty((3, 3), np.uint8))


class TestDownsample:
    @examples
    @given(
        st.sampled_from([*INTEGERS, "f4", "f8"]),
        st.tuples(*[st.integers(1, 9)] * 3),
        st.tuples(*[st.sampled_from([1, 2])] * 3),
        st.integers(0, 99),
    )
    def test_equals_twin(
        self, dtype: str, shape: tuple[int, int, int], factors: tuple[int, int, int], seed: int
    ) -> None:
        block = random_bits(dtype, shape, seed) if dtype[0] != "f" else rng(seed).normal(0, 100, shape).astype(dtype)
        if dtype[0] == "f" and seed % 2:
            block[rng(seed).random(shape) < 0.3] = np.nan
        out = np.empty(kernels.downsampled_shape(shape, factors), dtype)
        expected = np.empty_like(out)
        kernels.downsample(block, factors, out)
        twins.downsample(block, factors, expected)
        if dtype[0] == "f":
            np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-5)  # another order of the sum
        else:
            np.testing.assert_array_equal(out, expected)

    @pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (2, 1, 2)])
    def test_even_blocks_equal_scikit_image(self, factors: tuple[int, int, int]) -> None:
        from skimage.transform import downscale_local_mean

        block = rng().integers(-32768, 32768, (6, 8, 10)).astype(np.int16)
        out = np.empty(kernels.downsampled_shape(block.shape, factors), np.int16)
        kernels.downsample(block, factors, out)
        np.testing.assert_array_equal(out, np.rint(downscale_local_mean(block.astype(float), factors)))

    def test_strided_blocks_and_big_endian(self) -> None:
        block = rng().integers(0, 65536, (5, 8, 12)).astype(">u2")[:, ::2, 1:8]
        out = np.zeros((3, 2, 6), np.uint16)[:, :, :4]
        target = np.zeros((3, 2, 4), ">u2")
        expected = np.empty((3, 2, 4), np.uint16)
        twins.downsample(block.astype(np.uint16), (2, 2, 2), expected)
        kernels.downsample(block.astype(np.uint16)[:, :, :], (2, 2, 2), out)
        kernels.downsample(block, (2, 2, 2), target)
        np.testing.assert_array_equal(out, expected)
        np.testing.assert_array_equal(target, expected)

    def test_wrong_use(self) -> None:
        block = np.zeros((4, 4, 4), np.int16)
        with pytest.raises(UsageError, match="factors"):
            kernels.downsample(block, (3, 1, 1), block)
        with pytest.raises(UsageError, match="gives"):
            kernels.downsample(block, (2, 1, 1), block)


def test_importing_the_kernels_does_not_import_numba() -> None:
    code = "import sys, fastdicom.kernels; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
