"""What importing costs: people type ``import fastdicom`` and ``fastdicom --help`` all day."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numba", "dask", "zarr", "pydicom", "imagecodecs", "distributed", "rich")
REPORT = "; import sys, time; print(time.process_time(), *sorted(m for m in sys.modules if '.' not in m))"
IMPORT = "import fastdicom"
HELP = "from fastdicom.cli import run; status = run(['--help']); print()"


def measured(code: str, runs: int = 5) -> tuple[float, set[str]]:
    """Least CPU seconds of a fresh interpreter that runs `code`, and the packages it imported.

    CPU time and the best of several runs: what else the machine is doing must not decide.
    """
    best, modules = float("inf"), set()
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=True)
        seconds, *names = done.stdout.splitlines()[-1].split()
        best, modules = min(best, float(seconds)), set(names)
    return best, modules


@pytest.mark.parametrize("code", [IMPORT, "import numpy; import fastdicom", HELP])
def test_nothing_heavy_is_imported(code: str) -> None:
    _, modules = measured(code, runs=1)
    assert "fastdicom" in modules
    assert not modules & set(HEAVY)


def test_import_costs_less_than_a_tenth_of_a_second_more_than_numpy() -> None:
    with_numpy, _ = measured("import numpy")
    with_both, _ = measured("import numpy; import fastdicom")
    assert with_both - with_numpy < 0.1


def test_help_takes_less_than_a_third_of_a_second() -> None:
    seconds, _ = measured(HELP)
    assert seconds < 0.3


def test_every_public_name_can_be_imported() -> None:
    import fastdicom

    missing = [name for name in fastdicom.__all__ if getattr(fastdicom, name, None) is None]
    assert missing == []
    assert set(fastdicom.__all__) <= set(dir(fastdicom))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fastdicom.nonsense


def test_threads_may_all_be_the_first_to_need_pydicom(tmp_path: Path) -> None:
    """Its modules import one another in circles: entered at two places at once, one thread got an unfinished module."""
    import pydicom

    from fastdicom.testing import SeriesSpec, write_series

    # The first batch enters pydicom to look up what a report is, the second to read big endian images.
    report = pydicom.Dataset()
    report.SOPClassUID, report.SOPInstanceUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3", "SR"
    report.file_meta = pydicom.dataset.FileMetaDataset()
    report.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    for number in range(150):
        pydicom.dcmwrite(tmp_path / f"0 {number:03}", report, enforce_file_format=True)
    write_series(tmp_path / "1", SeriesSpec(slices=150, rows=4, columns=4, transfer_syntax_uid="1.2.840.10008.1.2.2"))
    code = f"""
import fastdicom
catalog = fastdicom.scan({str(tmp_path)!r}, workers=2)
print(len(catalog.volumes), len(catalog.skipped), catalog.skipped[0].kind)
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["1", "150", "no-pixels"]
