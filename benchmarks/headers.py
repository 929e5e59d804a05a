"""How fast headers are read: fastdicom against pydicom, dicomsdl and GDCM (through SimpleITK), in one run.

    python benchmarks/headers.py                       # 2,000 CT slices of 512 x 512 and growth to 20,000 small files
    python benchmarks/headers.py --files 500 --json headers.json

One thread, warm page cache, compiled code loaded; the best of several rounds, with the readers taking turns, so that a
noisy machine is noisy to all of them. Each reader reads the same generated files (200 elements each, private ones and
sequences among them); what each of them delivers is said in the table.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastdicom.headers import HeaderTable, read_headers
from fastdicom.headers.columns import COLUMNS
from fastdicom.sources import discover
from fastdicom.testing import SeriesSpec, write_series
from fastdicom.types import FileRef

Reader = Callable[[Sequence[FileRef]], Any]
BATCH = 256
BLOCK = 16 << 10
GROWTH = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000)


def bare(files: Sequence[FileRef]) -> None:
    for ref in files:
        descriptor = os.open(ref.locator, os.O_RDONLY)
        os.read(descriptor, BLOCK)
        os.close(descriptor)


def bare_open(files: Sequence[FileRef]) -> None:
    for ref in files:
        with open(ref.locator, "rb") as file:
            file.read(BLOCK)


def fastdicom(files: Sequence[FileRef]) -> HeaderTable:
    return HeaderTable.concatenate(read_headers(files[k : k + BATCH]) for k in range(0, len(files), BATCH))


def pydicom_all(files: Sequence[FileRef]) -> None:
    from pydicom import dcmread

    for ref in files:
        dcmread(ref.locator, stop_before_pixels=True)


def pydicom_some(files: Sequence[FileRef]) -> None:
    from pydicom import dcmread

    tags = [column.tag for column in COLUMNS]
    for ref in files:
        dcmread(ref.locator, stop_before_pixels=True, specific_tags=tags)


def dicomsdl_open(files: Sequence[FileRef]) -> None:
    import dicomsdl

    for ref in files:
        dicomsdl.open(ref.locator)


def dicomsdl_until(files: Sequence[FileRef]) -> None:
    import dicomsdl

    for ref in files:
        dicomsdl.open(ref.locator, load_until=0x7FE0_0000)


KEYWORDS = (
    "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality", "ImageType",
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "AcquisitionNumber", "ContentTime",
)  # fmt: skip


def dicomsdl_values(files: Sequence[FileRef]) -> None:
    import dicomsdl

    for ref in files:
        dataset = dicomsdl.open(ref.locator, load_until=0x7FE0_0000)
        for keyword in KEYWORDS:
            getattr(dataset, keyword)


def gdcm(files: Sequence[FileRef]) -> None:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.LoadPrivateTagsOn()
    for ref in files:
        reader.SetFileName(ref.locator)
        reader.ReadImageInformation()


READERS: dict[str, tuple[Reader, str, str]] = {
    "open + read + close": (bare, "", "os.open, 16 KiB, os.close: the floor"),
    "open(): read()": (bare_open, "", "the same through Python's file object"),
    "fastdicom": (fastdicom, "", f"{len(COLUMNS)} elements as columns"),
    "dicomsdl, to pixels": (dicomsdl_until, "dicomsdl", "index of the elements, nothing converted"),
    "dicomsdl": (dicomsdl_open, "dicomsdl", "the whole file is mapped and indexed"),
    "dicomsdl, 25 values": (dicomsdl_values, "dicomsdl", "to pixels, 25 elements converted"),
    "pydicom": (pydicom_all, "pydicom", "stop_before_pixels, nothing converted"),
    "pydicom, specific_tags": (pydicom_some, "pydicom", f"stop_before_pixels and {len(COLUMNS)} tags"),
    "GDCM (SimpleITK)": (gdcm, "SimpleITK", "ReadImageInformation, private tags too"),
}
SLOW = ("pydicom", "pydicom, specific_tags", "GDCM (SimpleITK)")


def installed(package: str) -> str | None:
    try:
        return version(package) if package else ""
    except PackageNotFoundError:
        return None


def seconds(reader: Reader, files: Sequence[FileRef]) -> float:
    gc.collect()
    begin = time.perf_counter()
    reader(files)
    return time.perf_counter() - begin


def compare(files: Sequence[FileRef], rounds: int) -> dict[str, float]:
    """Microseconds a file of each reader: the best round."""
    names = [name for name, (_, package, _) in READERS.items() if installed(package) is not None]
    best = dict.fromkeys(names, float("inf"))
    for k in range(rounds):
        for name in names:
            if name not in SLOW or k < 3:
                best[name] = min(best[name], seconds(READERS[name][0], files))
    return {name: value / len(files) * 1e6 for name, value in best.items()}


def growth(files: Sequence[FileRef], rounds: int) -> dict[int, float]:
    """Microseconds a file for more and more files."""
    sizes = [n for n in GROWTH if n <= len(files)]
    best = dict.fromkeys(sizes, float("inf"))
    for _ in range(rounds):
        for n in sizes:
            # Small numbers are read several times: a single read of 100 files is too short to time.
            again = max(1, 2000 // n)
            best[n] = min(
                best[n], seconds(lambda part, k=again: [fastdicom(part) for _ in range(k)], files[:n]) / again
            )
    return {n: value / n * 1e6 for n, value in best.items()}


# What a scan adds to a program that has NumPy: modules, Numba, compiled code, ten files. Numba imports the measuring
# tool `coverage` where it finds it, which is in the environment of the tests, not in that of a user.
START = """
import sys, time, numpy
from pathlib import Path
sys.modules["coverage"] = None
files = sorted(Path({folder!r}).iterdir())[:10]
begin = time.perf_counter()
import fastdicom
fastdicom.scan(files)
print(time.perf_counter() - begin)
"""


def starts(folder: Path) -> dict[str, float]:
    """Seconds from the import to the end of a first scan: with an empty cache of compiled code, and with a full one."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else Python compiles its own sources at every start
        command = [sys.executable, "-c", START.format(folder=str(folder))]
        found = [
            float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(10)
        ]
    return {"cold": found[0], "warm": statistics.median(found[1:]), "warm_least": min(found[1:])}


def report(found: dict[str, Any]) -> None:
    times, most = found["microseconds_a_file"], found["growth_microseconds_a_file"]
    own = times["fastdicom"]
    print(f"\n{found['files']} files, {found['elements']} elements each, one thread, warm page cache\n")
    print(f"{'reader':<24} {'us/file':>9} {'files/s':>9} {'fastdicom is':>13}   what it delivers")
    for name, value in times.items():
        print(f"{name:<24} {value:9.1f} {1e6 / value:9.0f} {value / own:12.1f}x   {READERS[name][2]}")
    print("\nfiles  " + "".join(f"{n:>9}" for n in most))
    print("us/file" + "".join(f"{value:9.1f}" for value in most.values()))
    start = found["start"]
    warm = f"{start['warm']:.2f} s warm (least {start['warm_least']:.2f})"
    print(f"\nfirst scan of a process: {start['cold']:.2f} s cold, {warm}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="CT slices of 512 x 512 (0.5 MB each)")
    parser.add_argument("--most", type=int, default=20_000, help="small files for the growth")
    parser.add_argument("--elements", type=int, default=200)
    parser.add_argument("--size", type=int, default=512, help="rows and columns")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to write the files (default: a temporary folder)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        found = measure(folder, options)
    finally:
        shutil.rmtree(folder)
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    common = {"elements": options.elements, "slice_step": 0.5, "names": "sequential"}
    spec = SeriesSpec(slices=options.files, rows=options.size, columns=options.size, **common)
    files, _ = discover(write_series(folder / "series", spec).folder)
    table = fastdicom(files)
    if len(table) != options.files or table["reader"].any():
        raise SystemExit(f"{len(table)} of {options.files} files were read by the walk; nothing was measured")
    times = compare(files, options.rounds)
    start = starts(folder / "series")
    shutil.rmtree(folder / "series")
    small, _ = discover(
        write_series(folder / "small", SeriesSpec(slices=options.most, rows=16, columns=16, **common)).folder
    )
    packages = {p: installed(p) for p in ("fastdicom-volume", "pydicom", "dicomsdl", "SimpleITK", "numba", "numpy")}
    return {
        "files": options.files,
        "elements": options.elements,
        "microseconds_a_file": times,
        "growth_microseconds_a_file": growth(small, options.rounds),
        "start": start,
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "packages": packages,
    }


if __name__ == "__main__":
    main()
