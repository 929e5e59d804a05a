"""Load one CT series with fastdicom and with its peers, in one run, and write the table and the plot.

    python benchmarks/peers.py                       # 300 slices of 512 x 512, every syntax, 5 runs
    python benchmarks/peers.py --slices 50 --runs 2 --syntax native --syntax rle --no-write

Every library loads the same files in a process of its own, the libraries in turn, run after run, so that a machine
whose speed drifts is unfair to all alike. A process loads twice; the second load counts: page cache, compiled code and
memory are warm for all. Every voxel is compared with pydicom's: a peer that is fast and wrong is marked as wrong.

The peers are called as their documentation shows. "dicomsdl by hand" is what somebody writes who knows that these files
fit int16: the same library, but each slice is rescaled where it lies, without arrays in between. It is shown and is not
counted as a peer: it gives wrong values for other files.

Limits are measured in the same run: reading the bytes of all files from several threads into one new array; the decoder
alone, called directly: the time of one core over all frames divided by the cores, and of all cores at once, because two
cores that share memory and caches do not do twice the work of one. Where the decoder is ours, a library's codec, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SYNTAXES = {
    "native": ("Uncompressed", "1.2.840.10008.1.2.1"),
    "rle": ("RLE", "1.2.840.10008.1.2.5"),
    "jpeg-lossless": ("JPEG lossless", "1.2.840.10008.1.2.4.70"),
    "jpeg-ls": ("JPEG-LS", "1.2.840.10008.1.2.4.80"),
    "htj2k": ("HTJ2K", "1.2.840.10008.1.2.4.201"),
    "jpeg2000": ("JPEG 2000", "1.2.840.10008.1.2.4.90"),
}
# Ratio of medians that the project promises on two cores: (against SimpleITK, against the fastest correct peer).
TARGETS = {
    "native": (12, 6),
    "rle": (60, 5),
    "jpeg-lossless": (4.5, 2.8),
    "jpeg-ls": (2.8, 2.4),
    "htj2k": (6, 5.5),
    "jpeg2000": (1.25, 1.25),
}
LIMITS = (
    ("of a library's codec or of bare reads", "ratio_library"),
    ("of our decoder alone", "ratio_limit"),
    ("of it on all cores", "ratio_together"),
)
"""Columns: the time to load as a multiple of a limit."""
ROOT = Path(__file__).resolve().parent.parent
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Loader = Callable[[Path], np.ndarray]


def load_fastdicom(folder: Path) -> np.ndarray:
    import fastdicom

    return fastdicom.load_volume(folder).array


def _sorted_datasets(folder: Path, *, pixels: bool = True) -> list[Any]:
    import pydicom

    datasets = [pydicom.dcmread(path, stop_before_pixels=not pixels) for path in folder.iterdir()]
    return sorted(datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))


def load_pydicom(folder: Path) -> np.ndarray:
    datasets = _sorted_datasets(folder)
    first = datasets[0]
    volume = np.empty((len(datasets), first.Rows, first.Columns), np.int16)
    for place, dataset in enumerate(datasets):
        slope, intercept = int(dataset.RescaleSlope), int(dataset.RescaleIntercept)
        volume[place] = dataset.pixel_array.astype(np.int32) * slope + intercept
    return volume


def load_simpleitk(folder: Path) -> np.ndarray:
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


def _sorted_by_dicomsdl(folder: Path) -> tuple[list[Any], np.ndarray]:
    """The opened files in order, and the volume to fill."""
    import dicomsdl

    files = [dicomsdl.open(str(path)) for path in folder.iterdir()]
    files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
    return files, np.empty((len(files), files[0].Rows, files[0].Columns), np.int16)


def load_dicomsdl(folder: Path) -> np.ndarray:
    files, volume = _sorted_by_dicomsdl(folder)
    for place, file in enumerate(files):
        stored = file.pixelData(storedvalue=True).astype(np.int32)
        volume[place] = stored * int(file.RescaleSlope) + int(file.RescaleIntercept)
    return volume


def load_dicomsdl_by_hand(folder: Path) -> np.ndarray:
    files, volume = _sorted_by_dicomsdl(folder)
    for place, file in enumerate(files):
        stored = file.pixelData(storedvalue=True)
        np.multiply(stored, np.int16(file.RescaleSlope), out=volume[place], casting="unsafe")
        volume[place] += np.int16(file.RescaleIntercept)
    return volume


def load_highdicom(folder: Path) -> np.ndarray:
    import highdicom

    datasets = _sorted_datasets(folder)
    volume = highdicom.get_volume_from_series(datasets, dtype=np.float32)
    array = np.asarray(volume.array)
    # highdicom's slices may descend along the patient axis that the others ascend.
    return array if volume.affine[2, 0] > 0 else array[::-1]


def load_dicom_numpy(folder: Path) -> np.ndarray:
    import dicom_numpy

    voxels, _ = dicom_numpy.combine_slices(_sorted_datasets(folder), c_order_axes=True)
    return voxels


def load_monai(folder: Path) -> np.ndarray:
    from monai.data import PydicomReader

    reader = PydicomReader(affine_lps_to_ras=False)
    array, _ = reader.get_data(reader.read(str(folder)))
    return np.transpose(array, (2, 1, 0))


PEERS: dict[str, tuple[str, Loader]] = {
    "fastdicom": ("fastdicom-volume", load_fastdicom),
    "SimpleITK": ("SimpleITK", load_simpleitk),
    "dicomsdl": ("dicomsdl", load_dicomsdl),
    "dicomsdl by hand": ("dicomsdl", load_dicomsdl_by_hand),
    "pydicom": ("pydicom", load_pydicom),
    "highdicom": ("highdicom", load_highdicom),
    "dicom-numpy": ("dicom-numpy", load_dicom_numpy),
    "MONAI": ("monai", load_monai),
}
NO_PEERS = ("fastdicom", "dicomsdl by hand")
_MODULES = {"fastdicom-volume": "fastdicom", "dicom-numpy": "dicom_numpy"}


def installed(distribution: str) -> bool:
    return util.find_spec(_MODULES.get(distribution, distribution)) is not None


def limit_read(folder: Path) -> float:
    """Seconds to read the pixel data of all files from several threads into one new array: native files only."""
    import fastdicom

    table = fastdicom.scan(folder).table
    paths, offsets, lengths = (table[name].tolist() for name in ("path", "pixel_offset", "pixel_length"))

    def run() -> float:
        started = time.perf_counter()
        out = np.empty(sum(lengths), np.uint8)
        view = memoryview(out)

        def one(place: int) -> None:
            descriptor = os.open(paths[place], os.O_RDONLY)
            try:
                start = place * lengths[place]
                os.preadv(descriptor, [view[start : start + lengths[place]]], offsets[place])
            finally:
                os.close(descriptor)

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(one, range(len(paths)), chunksize=8))
        return time.perf_counter() - started

    run()
    return run()


class Codec(NamedTuple):
    """A decoder alone: called directly, into one small array a thread that stays in the cache."""

    call: Callable[..., Any]
    """(code stream, out=array)"""
    library: Callable[..., Any] | None
    """Where the decoder is our own, what others have: pylibjpeg-rle, libjpeg-turbo (lossless JPEG), OpenJPH (HTJ2K)."""
    streams: list[bytes]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def decode(self, streams: Iterable[bytes], *, by_library: bool = False) -> None:
        call, out = self.library if by_library and self.library else self.call, np.empty(self.shape, self.dtype)
        for stream in streams:
            call(stream, out=out)

    def seconds(self, threads: int, *, by_library: bool = False) -> float:
        """Of all frames, by threads that take the next one as soon as they are done with one."""
        self.decode(self.streams[:1], by_library=by_library)
        shared = iter(self.streams)
        work = partial(self.decode, shared, by_library=by_library)
        started = time.perf_counter()
        helpers = [threading.Thread(target=work) for _ in range(threads - 1)]
        for helper in helpers:
            helper.start()
        work()
        for helper in helpers:
            helper.join()
        return time.perf_counter() - started


def codec_of(folder: Path) -> Codec:
    """What decodes the files of a folder, and their code streams."""
    import fastdicom
    from fastdicom.codecs import decode_frame
    from fastdicom.frames import index_frames, read_encapsulated
    from fastdicom.planner import PlanOptions
    from fastdicom.prepare import make_plan
    from fastdicom.sources import open_reader

    plan = make_plan(fastdicom.scan(folder)[0], PlanOptions(values="stored"))
    fmt, name = plan.formats[0], plan.decoders[0]
    streams = []
    for planned in plan.files:
        with open_reader(planned.locator) as reader:
            streams.append(bytes(read_encapsulated(reader, index_frames(reader, planned.location, fmt), 0)))

    def of_imagecodecs(codec: str) -> Callable[..., Any]:
        import imagecodecs

        options = {"numthreads": 1} if codec == "jpeg2k" else {}
        return partial(getattr(imagecodecs, f"{codec}_decode"), **options)

    def of_pylibjpeg(stream: bytes, out: np.ndarray) -> None:
        from rle.rle import decode_frame

        decode_frame(stream, out.size, 8 * out.itemsize, "<")

    def own(stream: bytes, out: np.ndarray) -> None:
        decode_frame(name, stream, fmt, out)

    libraries = {
        "fastdicom.jpeg": of_imagecodecs("jpeg8"),
        "fastdicom.rle": of_pylibjpeg,
        "fastdicom.htj2k": of_imagecodecs("htj2k"),
    }
    call = own if name in libraries else of_imagecodecs(name.removeprefix("imagecodecs."))
    return Codec(call, libraries.get(name), streams, fmt.frame_shape, fmt.stored_dtype)


def limit_codec(folder: Path) -> dict[str, float]:
    """Seconds of the decoder for all frames: on one core, divided by the cores; on all cores at once; and of a library,
    where the decoder is our own.
    """
    codec = codec_of(folder)
    codec.seconds(CORES)  # the second time counts, as with those that load
    one = codec.seconds(1) / CORES
    library = codec.seconds(1, by_library=True) / CORES if codec.library else one
    return {"seconds": one, "together": codec.seconds(CORES), "library": library}


def worker(name: str, folder: Path) -> None:
    """Body of a process: load twice, report the second load."""
    if name == "limit-read":
        print(json.dumps({"seconds": limit_read(folder)}))
        return
    if name == "limit-codec":
        print(json.dumps(limit_codec(folder)))
        return
    load = PEERS[name][1]
    load(folder)
    started = time.perf_counter()
    array = load(folder)
    seconds = time.perf_counter() - started
    record = {
        "seconds": seconds,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "digest": digest(array),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(record))


def digest(array: np.ndarray) -> str:
    """SHA-256 of the values as int32; of something else where they are no integers."""
    found = hashlib.sha256(str(array.shape).encode())
    for part in array:
        whole = np.rint(part).astype(np.int32)
        found.update(np.ascontiguousarray(whole).tobytes() if (np.abs(part - whole) < 1e-3).all() else b"fractions")
    return found.hexdigest()


def measure(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--worker", name, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def add_series_arguments(parser: argparse.ArgumentParser, slices: int) -> None:
    """Options for the series that a benchmark generates."""
    parser.add_argument("--slices", type=int, default=slices)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--folder", default=None, help="where series are generated (default: the temporary folder)")


def generate(folder: Path, syntax_uid: str, slices: int, size: int) -> None:
    from fastdicom.testing import SeriesSpec, write_series

    write_series(
        folder,
        SeriesSpec(slices=slices, rows=size, columns=size, bits_stored=12, transfer_syntax_uid=syntax_uid),
    )


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    names = [name for name, (distribution, _) in PEERS.items() if installed(distribution)]
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="peers-", dir=arguments.folder) as base:
        for key in arguments.syntax or list(SYNTAXES):
            label, uid = SYNTAXES[key]
            folder = Path(base) / key
            generate(folder, uid, arguments.slices, arguments.size)
            limit = "limit-read" if key == "native" else "limit-codec"
            records: dict[str, list[dict[str, Any]]] = {name: [] for name in [*names, limit]}
            for number in range(arguments.runs):
                for name in records:
                    if records[name] and "error" in records[name][-1]:
                        continue
                    records[name].append(measure(name, folder))
                    shown = records[name][-1].get("seconds")
                    print(
                        f"{label:14} run {number + 1} {name:12} {f'{shown * 1e3:9.1f} ms' if shown else 'failed'}",
                        flush=True,
                    )
            results[key] = summarise(key, records)
            for path in folder.iterdir():
                path.unlink()
    return {
        "machine": machine(),
        "slices": arguments.slices,
        "size": arguments.size,
        "runs": arguments.runs,
        "syntaxes": results,
    }


def summarise(key: str, records: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    limit = next(name for name in records if name.startswith("limit"))
    truth = next((r for r in records["pydicom"] if "seconds" in r), None)
    rows: dict[str, Any] = {}
    for name, measured in records.items():
        if name == limit:
            continue
        good = [r for r in measured if "seconds" in r]
        if not good:
            rows[name] = {"error": measured[-1]["error"]}
            continue
        correct = truth is not None and all(r["digest"] == truth["digest"] for r in good)
        rows[name] = {
            "median_ms": statistics.median(r["seconds"] for r in good) * 1e3,
            "all_ms": [round(r["seconds"] * 1e3, 1) for r in good],
            "peak_mib": max(r["peak_mib"] for r in good),
            "correct": bool(correct),
            "dtype": good[-1]["dtype"],
        }
    limits = [r["seconds"] * 1e3 for r in records[limit] if "seconds" in r]
    together, library = ([r[k] * 1e3 for r in records[limit] if k in r] for k in ("together", "library"))
    ours = rows["fastdicom"].get("median_ms")
    peers = {n: r["median_ms"] for n, r in rows.items() if n not in NO_PEERS and r.get("correct")}
    fastest = min(peers, key=peers.__getitem__) if peers else None
    return {
        "label": SYNTAXES[key][0],
        "rows": rows,
        "limit": limit,
        "limit_ms": statistics.median(limits) if limits else None,
        "together_ms": statistics.median(together) if together else None,
        "library_ms": statistics.median(library) if library else None,
        "fastest_peer": fastest,
        "ratio_simpleitk": rows.get("SimpleITK", {}).get("median_ms", float("nan")) / ours if ours else None,
        "ratio_fastest": peers[fastest] / ours if ours and fastest else None,
        "ratio_limit": ours / statistics.median(limits) if ours and limits and library else None,
        "ratio_together": ours / statistics.median(together) if ours and together else None,
        "ratio_library": ours / statistics.median(library or limits) if ours and (library or limits) else None,
        "target": TARGETS[key],
    }


def machine() -> dict[str, Any]:
    versions = {}
    for name in [distribution for distribution, _ in PEERS.values()] + ["imagecodecs", "numpy", "numba"]:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"cores": CORES, "processor": processor(), "python": platform.python_version(), "versions": versions}


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(report: dict[str, Any]) -> str:
    """Markdown: milliseconds of each library for each syntax, and the ratios."""
    names = [name for name in PEERS if any(name in s["rows"] for s in report["syntaxes"].values())]
    lines = [
        "| ms, median | "
        + " | ".join(names)
        + " | faster than SimpleITK | faster than the fastest correct peer | "
        + " | ".join(heading for heading, _ in LIMITS)
        + " |",
        "| --- | " + " | ".join("---:" for _ in names) + " | ---: | ---: |" + " ---: |" * len(LIMITS),
    ]
    for summary in report["syntaxes"].values():
        cells = []
        for name in names:
            row = summary["rows"].get(name, {})
            if "median_ms" not in row:
                cells.append("cannot")
            else:
                cells.append(f"{row['median_ms']:,.0f}" + ("" if row["correct"] else " (wrong values)"))
        ratios = [
            f"{summary[k]:.{digits}f} x" if summary[k] else ""
            for k, digits in (("ratio_simpleitk", 1), ("ratio_fastest", 1), *((key, 2) for _, key in LIMITS))
        ]
        if summary["fastest_peer"]:
            ratios[1] += f" ({summary['fastest_peer']})"
        lines.append(f"| {summary['label']} | " + " | ".join(cells + ratios) + " |")
    return "\n".join(lines)


def brief_table(report: dict[str, Any]) -> str:
    """Markdown for the README: milliseconds of the libraries."""
    names = [name for name in PEERS if name not in NO_PEERS[1:]]
    names = [name for name in names if any(name in s["rows"] for s in report["syntaxes"].values())]
    lines = ["| ms to load | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for summary in report["syntaxes"].values():
        cells = []
        for name in names:
            row = summary["rows"].get(name, {})
            good = "median_ms" in row and row["correct"]
            cells.append(f"{row['median_ms']:,.0f}" if good else "wrong values" if "median_ms" in row else "cannot")
        lines.append(f"| {summary['label']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def notes(report: dict[str, Any]) -> str:
    about = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{report['slices']} slices of {report['size']} x {report['size']}, 16 bits, {about['cores']} cores "
        f"({about['processor']}), Python {about['python']}; median of {report['runs']} runs, second load of each "
        f"process. {versions}. Limit: bare multi-threaded reads of the same bytes into a new array, or the codec's own "
        "time on one core divided by the cores, and the same codec alone on all cores at once; for RLE, lossless JPEG "
        "and HTJ2K, which are decoded here, pylibjpeg-rle, libjpeg-turbo and OpenJPH are the library. "
        "`benchmarks/limits.py` compares the least times of many rounds with the limit, which medians on a machine "
        "with neighbours do not show."
    )


def write_outputs(report: dict[str, Any], docs: Path, readme: Path) -> None:
    (docs / "benchmarks.json").write_text(json.dumps(report, indent=1) + "\n")
    text = f"# Benchmarks\n\nWritten by `python benchmarks/peers.py`.\n\n{table(report)}\n\n{notes(report)}\n\n"
    (docs / "benchmarks.md").write_text(text + "![Time to load](images/benchmarks.png)\n")
    plot(report, docs / "images" / "benchmarks.png")
    begin, end = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
    page = readme.read_text()
    if begin in page and end in page:
        head, rest = page.split(begin, 1)
        about = (
            f"{report['slices']} CT slices of {report['size']} x {report['size']}, {report['machine']['cores']} cores; "
            f"median of {report['runs']} runs, second load of each\nprocess. [How it was measured, with the limits]"
            "(docs/benchmarks.md); `python benchmarks/peers.py` measures your machine."
        )
        readme.write_text(f"{head}{begin}\n{brief_table(report)}\n\n{about}\n{end}{rest.split(end, 1)[1]}")


def plot(report: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for s in report["syntaxes"].values() for name in s["rows"]))
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        heights = [s["rows"].get(name, {}).get("median_ms", np.nan) for s in report["syntaxes"].values()]
        where = np.arange(len(heights)) + (place - (len(names) - 1) / 2) * width
        axes.bar(where, heights, width, label=name, zorder=3, color="#d1495b" if name == "fastdicom" else None)
    axes.set_yscale("log")
    axes.set_xticks(range(len(report["syntaxes"])), [s["label"] for s in report["syntaxes"].values()])
    axes.set_ylabel("ms to load (log)")
    axes.set_title(
        f"{report['slices']} CT slices of {report['size']} x {report['size']}, {report['machine']['cores']} cores"
    )
    axes.grid(axis="y", alpha=0.3, zorder=0)
    axes.legend(ncols=len(names), fontsize="small", frameon=False, loc="upper left")
    axes.margins(y=0.15)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_series_arguments(parser, 300)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--syntax", action="append", choices=list(SYNTAXES))
    parser.add_argument("--json", type=Path, help="also write the report to this file")
    parser.add_argument("--no-write", action="store_true", help="leave README and docs as they are")
    parser.add_argument("--worker", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(arguments.worker[0], Path(arguments.worker[1]))
        return 0
    report = run(arguments)
    print(table(report))
    print(notes(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if not arguments.no_write:
        write_outputs(report, ROOT / "docs", ROOT / "README.md")
    missed = [
        f"{s['label']}: {s[f'ratio_{what}']:.2f} where {goal} is promised ({what})"
        for s in report["syntaxes"].values()
        for what, goal in zip(("simpleitk", "fastest"), s["target"], strict=True)
        if s[f"ratio_{what}"] is not None and s[f"ratio_{what}"] < goal
    ]
    print("\n".join(missed) if missed else "every promise is kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
