"""Peak memory of `load_volume`: the volume, 150 MiB, and two frames for each worker."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from fastdicom.testing import SeriesSpec, write_series

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc"),
]

MIB = 2**20
WORKERS = 2
SLICES, ROWS, COLUMNS = 120, 512, 512
FRAME = ROWS * COLUMNS * 2

LOADER = """
    import json, sys
    import fastdicom
    from fastdicom import processes
    from fastdicom._numba import warm_up

    def of(pid, name):
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith(name)), 0.0)

    options = json.loads(sys.argv[3])
    fastdicom.load_volume(sys.argv[1], **options)  # imports, compiled kernels, worker processes
    warm_up()  # those that only the larger series needs: Numba, where they are not compiled yet, is not counted here
    workers = [worker.process.pid for worker in processes._IDLE]
    before = [of("self", "VmRSS")] + [of(pid, "VmRSS") for pid in workers]
    for pid in ["self", *workers]:
        with open(f"/proc/{pid}/clear_refs", "w") as file:
            file.write("5")  # the peak starts anew
    volume = fastdicom.load_volume(sys.argv[2], **options)
    assert [worker.process.pid for worker in processes._IDLE] == workers
    # Workers have the shared pages in their own count: what they add is all that is not shared.
    grown = of("self", "VmHWM") - before[0]
    private = sum(max(0, of(pid, "VmHWM") - start) for pid, start in zip(workers, before[1:]))
    size = volume.array.nbytes / 2**20
    print(json.dumps({"grown": grown, "workers": private, "count": len(workers), "volume": size}))
"""


def measured(folder: Path, spec: SeriesSpec, **options: Any) -> dict[str, float]:
    """MiB by which loading a series raises the peak, once everything is imported."""
    write_series(folder / "small", replace(spec, slices=4, rows=64, columns=64))
    write_series(folder / "large", spec)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LOADER), folder / "small", folder / "large", json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("syntax", "changes", "options"),
    [
        ("1.2.840.10008.1.2.1", {}, {}),
        ("1.2.840.10008.1.2.1", {"slope": 0.5}, {}),
        ("1.2.840.10008.1.2.5", {}, {}),
        ("1.2.840.10008.1.2.4.70", {}, {}),
        ("1.2.840.10008.1.2.4.201", {}, {}),
        ("1.2.840.10008.1.2.4.110", {}, {}),
        ("1.2.840.10008.1.2.4.201", {"multi_frame": "enhanced", "modality": "MR"}, {}),
        ("1.2.840.10008.1.2.4.70", {}, {"values": "display"}),
    ],
)
def test_threads(tmp_path: Path, syntax: str, changes: dict[str, Any], options: dict[str, Any]) -> None:
    spec = replace(SeriesSpec(slices=SLICES, rows=ROWS, columns=COLUMNS, transfer_syntax_uid=syntax), **changes)
    found = measured(tmp_path, spec, workers=WORKERS, **options)
    # The project allows 150 MiB more for the libraries, which are loaded here before the measurement begins: what
    # the load itself takes beside the volume is far less.
    allowance = 40 + 2 * WORKERS * 2 * FRAME / MIB
    assert found["volume"] <= found["grown"] + 1
    assert found["grown"] <= found["volume"] + allowance, found


MAPPED = Dataset()
MAPPED.RealWorldValueFirstValueMapped, MAPPED.RealWorldValueLastValueMapped = 0, 4000
MAPPED.RealWorldValueSlope, MAPPED.RealWorldValueIntercept, MAPPED.LUTLabel = 0.5, 1.0, "x"
MAPPED.MeasurementUnitsCodeSequence = [Dataset()]
MAPPED.MeasurementUnitsCodeSequence[0].CodeValue = "g/ml"
WIDE: dict[str, Any] = {"bits_allocated": 32, "bits_stored": 32}
FLOAT: dict[str, Any] = {"pixel_keyword": "FloatPixelData", "bits_allocated": 32}


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"extra": {"RealWorldValueMappingSequence": [MAPPED]}}, {"values": "real_world"}),
        ({"slope": 0.5}, {"dtype": "int32"}),
        ({"slope": 0.5, **WIDE}, {"dtype": "int32"}),
        ({"slope": 0.5, **FLOAT}, {"dtype": "int32"}),
        (WIDE, {"values": "display"}),
        (FLOAT, {"values": "display"}),
        (FLOAT, {"values": "display", "window": "auto"}),
        (WIDE, {"values": "display", "window": "auto"}),
    ],
    ids=[
        "a mapped range",
        "fractions into integers",
        "32 bits into integers",
        "floats into integers",
        "32 bits shown",
        "floats shown",
        "floats in an automatic window",
        "32 bits in an automatic window",
    ],
)
def test_large_frames(tmp_path: Path, changes: dict[str, Any], options: dict[str, Any]) -> None:
    """Two frames for each worker: what takes more of each pixel than that is done some rows at a time."""
    spec = replace(SeriesSpec(slices=4, rows=2600, columns=2600), **changes)
    found = measured(tmp_path, spec, workers=WORKERS, **options)
    frame = 2600 * 2600 * 4 / MIB
    assert found["volume"] <= found["grown"] + 1
    assert found["grown"] <= found["volume"] + 40 + 2 * WORKERS * frame, found


def test_a_deflated_stream(tmp_path: Path) -> None:
    """Its frames cannot be gone to, and still the stream is not kept."""
    spec = SeriesSpec(
        slices=240, rows=512, columns=512, transfer_syntax_uid="1.2.840.10008.1.2.1.99", multi_frame="enhanced",
        modality="MR",
    )  # fmt: skip
    found = measured(tmp_path, spec, workers=WORKERS)
    assert found["grown"] <= found["volume"] + 40 + 2 * WORKERS * FRAME / MIB, found


def test_processes(tmp_path: Path) -> None:
    """The volume is counted once: it is shared."""
    spec = SeriesSpec(slices=SLICES, rows=ROWS, columns=COLUMNS, transfer_syntax_uid="1.2.840.10008.1.2.4.201")
    found = measured(tmp_path, spec, workers=WORKERS, scheduler="processes", decoder="pylibjpeg")
    assert found["count"] == WORKERS
    assert found["grown"] <= found["volume"] + 40, found
    # Each worker touches the part of the shared volume that it makes: together once.
    assert found["workers"] <= found["volume"] + 40 + 2 * WORKERS * 2 * FRAME / MIB, found


@pytest.mark.parametrize("options", [{}, {"scheduler": "processes", "decoder": "pylibjpeg"}])
def test_a_whole_program(tmp_path: Path, options: dict[str, Any]) -> None:
    """From an interpreter that has imported nothing to a volume: the number the project promises."""
    spec = SeriesSpec(slices=SLICES, rows=ROWS, columns=COLUMNS, transfer_syntax_uid="1.2.840.10008.1.2.4.201")
    write_series(tmp_path, spec)
    code = """
        import json, sys
        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
        before = peak()
        import fastdicom
        volume = fastdicom.load_volume(sys.argv[1], workers=2, **json.loads(sys.argv[2]))
        print(peak() - before - volume.array.nbytes / 2**20)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path, json.dumps(options)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 150 + 2 * WORKERS * FRAME / MIB
