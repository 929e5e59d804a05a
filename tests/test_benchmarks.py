"""What the benchmarks compare does the same: times of two ways that disagree would mean nothing."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
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


@pytest.mark.parametrize("syntax", ["rle", "jpeg-lossless", "jpeg-ls", "htj2k", "jpeg2000"])
def test_limits_compares_equal_voxels(tmp_path: Path, syntax: str) -> None:
    """It ends before the first round where its loop by hand and `load_volume` differ."""
    script = REPOSITORY / "benchmarks" / "limits.py"
    options = ["--syntax", syntax, "--slices", "20", "--size", "64", "--rounds", "2", "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split(",")[0] for line in lines[:-1]] == ["round 1", "round 2", "least of 2", "median of 2"]
    kept = "NOT" not in lines[-1]
    assert done.returncode == (0 if kept else 1)  # so small a series need not keep it
    load, limit = (float(lines[2].split(f"{name} ")[1].split(" ")[0]) for name in ("load", "limit"))
    assert kept or load >= limit
