"""How far the cores carry: one load with one worker against the same with one worker a core, in turn.

    python benchmarks/scaling.py                            # JPEG 2000 by pylibjpeg: processes, it holds the lock
    python benchmarks/scaling.py --decoder auto             # by the default decoder: threads
    python benchmarks/scaling.py --syntax rle --decoder pylibjpeg

One process does all loads. The first of each kind is not counted: worker processes start then. Without --scheduler,
less than 20 million pixels stay in this process, whatever the decoder.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

from peers import CORES, SYNTAXES, add_series_arguments, generate

import fastdicom


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syntax", default="jpeg2000", choices=list(SYNTAXES))
    parser.add_argument("--decoder", default="pylibjpeg")
    parser.add_argument("--scheduler", default=None, choices=["threads", "processes"])
    add_series_arguments(parser, 150)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scaling-", dir=arguments.folder) as folder:
        generate(Path(folder), SYNTAXES[arguments.syntax][1], arguments.slices, arguments.size)
        times: dict[int, list[float]] = {1: [], CORES: []}
        for number in range(arguments.runs + 1):
            for workers, found in times.items():
                started = time.perf_counter()
                fastdicom.load_volume(folder, decoder=arguments.decoder, scheduler=arguments.scheduler, workers=workers)
                if number:
                    found.append(time.perf_counter() - started)
                    print(f"run {number}, {workers} workers: {found[-1] * 1e3:9.1f} ms", flush=True)
    one, all_ = (statistics.median(found) * 1e3 for found in times.values())
    what = f"{SYNTAXES[arguments.syntax][0]}, {arguments.decoder}"
    print(f"{what}: {one:.0f} ms with one worker, {all_:.0f} ms with {CORES}: {one / all_:.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
