"""What the benchmarks compare does the same: times of two ways that disagree would mean nothing."""

from __future__ import annotations

import os
import runpy
from typing import Any
from unittest.mock import patch

import pytest

from conftest import REPOSITORY

with patch.dict(os.environ, WITHOUT_NUMBA="1"):
    _KERNELS = runpy.run_path(str(REPOSITORY / "benchmarks" / "bench_kernels.py"))


@pytest.mark.parametrize("shape", [(1, 46, 34), (4, 64, 70)], ids=["slice", "block"])
@pytest.mark.parametrize("make", _KERNELS["CASES"], ids=lambda make: make.__name__)
def test_kernel_and_twin_agree(make: Any, shape: tuple[int, ...]) -> None:
    _KERNELS["check"](make(shape))
