"""Each compiled kernel against its NumPy twin, on one CT slice and on a block of 64 slices.

    pytest benchmarks/bench_kernels.py                        # times, and how often the twin's time each kernel takes
    pytest benchmarks/bench_kernels.py --benchmark-disable    # one run each, as a test that both agree
    WITHOUT_NUMBA=1 pytest benchmarks/bench_kernels.py        # the code that was kept, called without Numba

Numba calls compiled code in a microsecond. A process that never imports it, since all it needs was kept by an earlier
one, needs about ten: little for a block of slices, as much as NumPy takes for half of the work on a single slice.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pydicom.pixels.processing import convert_color_space

import kernel_twins as twins
from fastdicom import kernels

if not os.environ.get("WITHOUT_NUMBA"):
    importlib.import_module("numba")

SHAPES = {"slice": (1, 512, 512), "block": (64, 512, 512)}


@dataclass
class Case:
    """Two ways to fill one output; both must fill it with the same, within `tolerance`."""

    kernel: Callable[[np.ndarray], Any]
    twin: Callable[[np.ndarray], Any]
    out: np.ndarray
    tolerance: float = 0.0


def ct(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, shape).astype(np.uint16)


def rescale_int16(shape: tuple[int, ...]) -> Case:
    stored = ct(shape)
    return Case(
        lambda out: kernels.rescale(stored, 12, 11, False, 1, -1024, out),
        lambda out: twins.rescale_fast(stored, 12, 1, -1024, out),
        np.empty(shape, np.int16),
    )


def rescale_in_place(shape: tuple[int, ...]) -> Case:
    stored = ct(shape)

    def restored(run: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
        def filled(out: np.ndarray) -> None:
            np.copyto(out, stored, casting="unsafe")  # both pay it
            run(out)

        return filled

    return Case(
        restored(lambda out: kernels.rescale(out.view(np.uint16), 12, 11, False, 1, -1024, out)),
        restored(lambda out: twins.rescale_fast(out.view(np.uint16), 12, 1, -1024, out)),
        np.empty(shape, np.int16),
    )


def rescale_clipped(shape: tuple[int, ...]) -> Case:
    """Results beyond the output, to be counted and set to the nearest that fits."""
    stored = ct(shape)
    return Case(
        lambda out: kernels.rescale(stored, 12, 11, True, 20, -1024, out),
        lambda out: twins.rescale_clipped(stored, 12, 20, -1024, out),
        np.empty(shape, np.int16),
    )


def rescale_int32_clipped(shape: tuple[int, ...]) -> Case:
    """Results that need 64 bits on the way."""
    stored = ct(shape).astype(np.uint32)
    return Case(
        lambda out: kernels.rescale(stored, 32, 31, True, 1 << 20, -1024, out),
        lambda out: twins.rescale_clipped(stored, 32, 1 << 20, -1024, out),
        np.empty(shape, np.int32),
    )


def rescale_float32(shape: tuple[int, ...]) -> Case:
    stored = ct(shape)
    return Case(
        lambda out: kernels.rescale(stored, 12, 11, False, 0.37, -1.5, out),
        lambda out: twins.rescale_float(stored & np.uint16(4095), 0.37, -1.5, out),
        np.empty(shape, np.float32),
    )


def rescale_float32_of_32_bits(shape: tuple[int, ...]) -> Case:
    stored = ct(shape).astype(np.uint32)
    return Case(
        lambda out: kernels.rescale(stored, 32, 31, False, 0.37, -1.5, out),
        lambda out: twins.rescale_float(stored, 0.37, -1.5, out),
        np.empty(shape, np.float32),
    )


def rescale_float_pixels(shape: tuple[int, ...]) -> Case:
    stored = ct(shape).astype(np.float32)
    return Case(
        lambda out: kernels.rescale(stored, 32, 31, False, 0.37, -1.5, out),
        lambda out: twins.rescale_float(stored, 0.37, -1.5, out),
        np.empty(shape, np.float32),
    )


def modality_lut(shape: tuple[int, ...]) -> Case:
    stored, lut = ct(shape), np.arange(3000, 0, -1).astype(np.uint16)

    def twin(out: np.ndarray) -> None:
        np.copyto(out, twins.lut(stored, 100, lut))

    return Case(lambda out: kernels.apply_lut(stored, 100, lut, out), twin, np.empty(shape, np.uint16))


def display_table(shape: tuple[int, ...]) -> Case:
    stored, table = ct(shape), (np.arange(65536) % 251).astype(np.uint8)
    return Case(
        lambda out: kernels.apply_table(stored, table, out),
        lambda out: twins.table_lookup(stored, table, out),
        np.empty(shape, np.uint8),
    )


def palette_table(shape: tuple[int, ...]) -> Case:
    stored = ct(shape)
    table = np.random.default_rng(1).integers(0, 256, (65536, 3)).astype(np.uint8)
    return Case(
        lambda out: kernels.apply_table(stored, table, out),
        lambda out: twins.table_lookup(stored, table, out),
        np.empty((*shape, 3), np.uint8),
    )


def window_linear_int16(shape: tuple[int, ...]) -> Case:
    values = ct(shape).astype(np.int16) - np.int16(1024)
    return Case(
        lambda out: kernels.window(values, 40, 400, "LINEAR", out),
        lambda out: twins.window_linear(values, 40, 400, out),
        np.empty(shape, np.uint8),
    )


def window_linear_float32(shape: tuple[int, ...]) -> Case:
    values = ct(shape).astype(np.float32) - 1024
    return Case(
        lambda out: kernels.window(values, 40, 400, "LINEAR", out),
        lambda out: twins.window_linear(values, 40, 400, out),
        np.empty(shape, np.uint8),
    )


def window_linear_exact_int16(shape: tuple[int, ...]) -> Case:
    values = ct(shape).astype(np.int16) - np.int16(1024)
    return Case(
        lambda out: kernels.window(values, 40, 400, "LINEAR_EXACT", out),
        lambda out: twins.window_linear_exact(values, 40, 400, out),
        np.empty(shape, np.uint8),
    )


def window_sigmoid_int16(shape: tuple[int, ...]) -> Case:
    values = ct(shape).astype(np.int16) - np.int16(1024)
    return Case(
        lambda out: kernels.window(values, 40, 400, "SIGMOID", out),
        lambda out: twins.window_sigmoid(values, 40, 400, out),
        np.empty(shape, np.uint8),
    )


def auto_window_histogram(shape: tuple[int, ...]) -> Case:
    values = ct(shape)

    def kernel(out: np.ndarray) -> None:
        out[:] = kernels.windows._histogram(values, None)[1]

    def twin(out: np.ndarray) -> None:
        out[:] = twins.histogram(values)

    return Case(kernel, twin, np.empty(65536, np.int64))


def without_exact_halves(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> None:
    """Move the 28 colours whose green pydicom's float32 rounds down or up, as the machine multiplies and adds."""
    cb[(cb == 78) & (cr == 178) & (y >= 19) & (y <= 46)] = 79


def ybr_full(shape: tuple[int, ...]) -> Case:
    pixels = np.random.default_rng(2).integers(0, 256, (*shape, 3)).astype(np.uint8)
    without_exact_halves(pixels[..., 0], pixels[..., 1], pixels[..., 2])

    def twin(out: np.ndarray) -> None:
        np.copyto(out, convert_color_space(pixels, "YBR_FULL", "RGB"))

    return Case(lambda out: kernels.ybr_full_to_rgb(pixels, out), twin, np.empty(pixels.shape, np.uint8))


def ybr_full_422(shape: tuple[int, ...]) -> Case:
    rows, columns = shape[0] * shape[1], shape[2]
    data = np.random.default_rng(3).integers(0, 256, 2 * rows * columns).astype(np.uint8)
    for luminance in (data[0::4], data[1::4]):
        without_exact_halves(luminance, data[2::4], data[3::4])

    def twin(out: np.ndarray) -> None:
        np.copyto(out, convert_color_space(twins.expand_422(data, rows, columns), "YBR_FULL", "RGB"))

    return Case(lambda out: kernels.ybr_full_422_to_rgb(data, out), twin, np.empty((rows, columns, 3), np.uint8))


def ybr_rct(shape: tuple[int, ...]) -> Case:
    ybr = np.random.default_rng(4).integers(-255, 256, (*shape, 3)).astype(np.int32)

    def twin(out: np.ndarray) -> None:
        np.copyto(out, twins.rct_to_rgb(ybr, 8), casting="unsafe")

    return Case(lambda out: kernels.ybr_rct_to_rgb(ybr, out, bits=8), twin, np.empty(ybr.shape, np.uint8))


def ybr_ict(shape: tuple[int, ...]) -> Case:
    ybr = np.random.default_rng(4).integers(-128, 128, (*shape, 3)).astype(np.int32)

    def twin(out: np.ndarray) -> None:
        np.copyto(out, twins.ict_to_rgb(ybr, 8), casting="unsafe")

    return Case(lambda out: kernels.ybr_ict_to_rgb(ybr, out, bits=8), twin, np.empty(ybr.shape, np.uint8))


def interleave(shape: tuple[int, ...]) -> Case:
    planes = np.random.default_rng(5).integers(0, 256, (3, shape[0] * shape[1], shape[2])).astype(np.uint8)
    return Case(
        lambda out: kernels.interleave(planes, out),
        lambda out: twins.interleave(planes, out),
        np.empty((*planes.shape[1:], 3), np.uint8),
    )


def padding_mask(shape: tuple[int, ...]) -> Case:
    values = ct(shape)

    def twin(out: np.ndarray) -> None:
        np.copyto(out, twins.padding(values, 0, 100))

    return Case(lambda out: kernels.padding_mask(values, 0, 100, out), twin, np.empty(shape, np.bool_))


def fill_padding(shape: tuple[int, ...]) -> Case:
    stored = ct(shape)
    return Case(
        lambda out: kernels.fill_padding(stored, 0, 100, -1024, out),
        lambda out: twins.fill_padding(stored, 0, 100, -1024, out),
        np.zeros(shape, np.int16),
    )


def downsample_int16(shape: tuple[int, ...]) -> Case:
    block = ct((max(2, shape[0]), *shape[1:])).astype(np.int16)
    return Case(
        lambda out: kernels.downsample(block, (2, 2, 2), out),
        lambda out: twins.downsample_fast(block, out),
        np.empty(kernels.downsampled_shape(block.shape, (2, 2, 2)), np.int16),
    )


def downsample_float32(shape: tuple[int, ...]) -> Case:
    block = ct((max(2, shape[0]), *shape[1:])).astype(np.float32)
    return Case(
        lambda out: kernels.downsample(block, (2, 2, 2), out),
        lambda out: twins.downsample(block, (2, 2, 2), out),
        np.empty(kernels.downsampled_shape(block.shape, (2, 2, 2)), np.float32),
        tolerance=1e-6,
    )


CASES = [
    rescale_int16,
    rescale_in_place,
    rescale_clipped,
    rescale_int32_clipped,
    rescale_float32,
    rescale_float32_of_32_bits,
    rescale_float_pixels,
    modality_lut,
    display_table,
    palette_table,
    window_linear_int16,
    window_linear_float32,
    window_linear_exact_int16,
    window_sigmoid_int16,
    auto_window_histogram,
    ybr_full,
    ybr_full_422,
    ybr_rct,
    ybr_ict,
    interleave,
    padding_mask,
    fill_padding,
    downsample_int16,
    downsample_float32,
]


def check(case: Case) -> None:
    """That the kernel fills the output with the twin's values, and counts as many that did not fit."""
    misfits = case.twin(case.out) or 0
    expected = case.out.copy()
    case.out.fill(0)
    assert (case.kernel(case.out) or 0) == misfits
    np.testing.assert_allclose(case.out, expected, rtol=case.tolerance, atol=0)


@pytest.fixture(scope="module")
def medians(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], float]]:
    """Seconds by group and way; the table is written at the end."""
    found: dict[tuple[str, str], float] = {}
    yield found
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print()
        for group in dict.fromkeys(group for group, _ in found):
            kernel, twin = found.get((group, "kernel"), 0), found.get((group, "twin"), 0)
            line = f"{group:36} {kernel * 1e3:9.3f} ms, twin {twin * 1e3:9.3f} ms: {twin / (kernel or 1):6.2f} x"
            print(line + ("" if twin > kernel else "  SLOWER"))


@pytest.mark.parametrize("way", ["kernel", "twin"])
@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_kernel(
    benchmark: Any,
    medians: dict[tuple[str, str], float],
    make: Callable[[tuple[int, ...]], Case],
    size: str,
    way: str,
) -> None:
    case = make(SHAPES[size])
    benchmark.group = f"{make.__name__} {size}"
    check(case)  # compiled, and correct, before the clock starts
    rounds, iterations = (7, 1) if size == "block" else (20, 5)
    benchmark.pedantic(getattr(case, way), (case.out,), rounds=rounds, iterations=iterations, warmup_rounds=1)
    if benchmark.stats is not None:
        medians[benchmark.group, way] = benchmark.stats.stats.median
