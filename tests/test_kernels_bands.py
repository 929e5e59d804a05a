"""What is computed a band of rows at a time equals what is computed at once, and takes little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdicom import kernels
from fastdicom.codecs import native
from fastdicom.kernels import _layout
from fastdicom.types import PixelFormat
from kernel_cases import rng


@given(st.lists(st.integers(0, 50), min_size=1, max_size=3), st.integers(1, 200))
def test_bands_cover_every_row_once(shape: list[int], pixels: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_layout, "_BAND_PIXELS", pixels)
        bands = list(kernels.row_bands(tuple(shape)))
    rows = np.arange(shape[0])
    np.testing.assert_array_equal(np.concatenate([rows[:0], *(rows[band] for band in bands)]), rows)
    columns = int(np.prod(shape[1:]))
    assert all((band.stop - band.start) * columns <= max(pixels, columns) for band in bands)


def stored(dtype: str, rows: int = 37, columns: int = 11) -> np.ndarray:
    if dtype[0] == "f":
        values = rng().normal(0, 3e4, (rows, columns)).astype(dtype)
        values[0, :3] = np.nan, np.inf, -np.inf
        return values
    return rng().integers(0, 256, rows * columns * int(dtype[1]), dtype=np.uint8).view(dtype).reshape(rows, columns)


def into(out: str, work: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[np.ndarray], tuple[Any, np.ndarray]]:
    def run(values: np.ndarray) -> tuple[Any, np.ndarray]:
        result = np.zeros(values.shape, out)
        return work(values, result), result

    return run


CASES = {
    "float to integer": ("f4", into("i2", lambda v, o: kernels.rescale(v, 0, 0, False, 0.5, 1.0, o))),
    "double to integer": ("f8", into("i4", lambda v, o: kernels.rescale(v, 0, 0, False, 2.0, 0.0, o))),
    "fraction into integer": ("u2", into("i4", lambda v, o: kernels.rescale(v, 12, 11, True, 0.5, -3.0, o))),
    "32 bits into integer": ("u4", into("i4", lambda v, o: kernels.rescale(v, 32, 31, False, 0.5, 0.0, o))),
    "unsigned 64 bits": ("u8", into("u8", lambda v, o: kernels.rescale(v, 64, 63, False, 1.0, 0.0, o))),
    "unsigned 64 bits to float": ("u8", into("f4", lambda v, o: kernels.rescale(v, 60, 59, False, 0.5, 2.0, o))),
    "wide window": ("i4", into("u1", lambda v, o: kernels.window(v, 0.0, 1e9, "LINEAR", o))),
    "sigmoid": ("f4", into("u1", lambda v, o: kernels.window(v, 10.0, 1e4, "SIGMOID", o))),
    "wide table": ("i4", into("u2", lambda v, o: kernels.apply_lut(v, -5, np.arange(9, dtype="u2"), o))),
    "auto window of floats": ("f4", lambda v: (kernels.auto_window(v, padding=(0, 5)), v)),
    "auto window of 32 bits": ("u4", lambda v: (kernels.auto_window(v), v)),
}


@pytest.mark.parametrize("case", CASES)
def test_bands_change_no_bit(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype, work = CASES[case]
    values = stored(dtype)
    monkeypatch.setattr(_layout, "_BAND_PIXELS", 1 << 30)
    count, expected = work(values)
    for pixels in (1, 25, 11 * 37 - 1):
        monkeypatch.setattr(_layout, "_BAND_PIXELS", pixels)
        found, result = work(values)
        assert found == count
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("case", CASES)
def test_large_frames_take_little_memory(case: str) -> None:
    dtype, work = CASES[case]
    values = stored(dtype, 1500, 1000)
    work(values[:100])  # compiles
    result = work(values)[1]
    tracemalloc.start()
    try:
        work(values)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (result.nbytes if result is not values else 0) + 8e6  # one frame of float64 has 12 MB


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "f4", "f8"])
def test_auto_window_of_several_arrays_is_that_of_all(dtype: str) -> None:
    parts = [(stored(dtype).view(f"u{dtype[1]}") >> k).view(dtype) for k in range(3)]
    assert kernels.auto_window(parts) == kernels.auto_window(np.stack(parts))
    assert kernels.auto_window(parts, padding=(0, 9)) == kernels.auto_window(np.stack(parts), padding=(0, 9))


@pytest.mark.parametrize(
    ("kernel", "fmt", "nbytes"),
    [
        ("interleave", PixelFormat("1.2.840.10008.1.2.1", 4, 6, 3, "RGB", 1, 8, 8, 7), 72),
        ("ybr_full_422_to_rgb", PixelFormat("1.2.840.10008.1.2.1", 4, 6, 3, "YBR_FULL_422", 0, 8, 8, 7), 48),
        ("unpack_bits", PixelFormat("1.2.840.10008.1.2.1", 4, 6, 1, "MONOCHROME2", 0, 1, 1, 0), 3),
    ],
)
def test_native_frames_go_through_the_kernels(
    kernel: str, fmt: PixelFormat, nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    real = getattr(kernels, kernel)
    monkeypatch.setattr(native, kernel, lambda *args: calls.append(1) or real(*args))
    native.decode_native(bytes(range(nbytes)), fmt)
    assert calls
