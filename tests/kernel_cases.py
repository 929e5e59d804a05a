"""Inputs that the tests of the kernels share: containers with every bit random, in every layout."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

examples = settings(deadline=None, max_examples=60)  # no deadline: the first example of a dtype compiles its loop

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4"]
OUTPUTS = [*INTEGERS, "u8", "i8"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_bits(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Every bit random, with the extremes in: also rubbish above High Bit."""
    size = np.dtype(dtype).itemsize
    bits = rng(seed).integers(0, 256, (*shape[:-1], shape[-1] * size), np.uint8).view(f"u{size}")
    flat = bits.reshape(-1)
    for i, value in enumerate((0, -1, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1)[: flat.size]):
        flat[i] = np.array(value % (1 << 8 * size), f"u{size}")
    return bits.view(dtype)


@st.composite
def containers(draw: st.DrawFn, dtypes: list[str]) -> tuple[np.ndarray, int, int, bool]:
    dtype = draw(st.sampled_from(dtypes))
    width = 8 * np.dtype(dtype).itemsize
    high_bit = draw(st.integers(0, width - 1) | st.just(width - 1))
    bits_stored = draw(st.integers(1, high_bit + 1) | st.just(high_bit + 1))
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 40)))
    stored = random_bits(dtype, shape, draw(st.integers(0, 1000)))
    if draw(st.booleans()):  # rows of a wider image
        wide = np.zeros((shape[0], shape[1] + 3), dtype)
        wide[:, : shape[1]] = stored
        stored = wide[:, : shape[1]]
    if draw(st.booleans()):
        stored = stored.astype(stored.dtype.newbyteorder(">"))
    if draw(st.booleans()):
        stored.flags.writeable = False
    return stored, bits_stored, high_bit, draw(st.booleans())
