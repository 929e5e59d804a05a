"""How near a load comes to its codec: all of `load_volume` against the codec alone, in turn, many times.

    python benchmarks/limits.py                                # HTJ2K, 100 rounds
    python benchmarks/limits.py --syntax jpeg-ls --rounds 10

The limit is the time that one core needs for all frames, divided by the cores: the codec called directly, from memory,
into one small array. It supposes that a core is as fast while the others are busy. On a shared machine it often is not;
then the codec alone on all cores, which each round measures too, does not come near the limit either, and medians tell
of the neighbours. So the least times of all rounds are compared, as `timeit` does, and the medians shown beside them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from peers import CORES, SYNTAXES, add_series_arguments, codec_of, generate

import fastdicom

MOST = 1.15
"""What the project promises."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syntax", default="htj2k", choices=[name for name in SYNTAXES if name != "native"])
    add_series_arguments(parser, 300)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="limits-", dir=arguments.folder) as folder:
        generate(Path(folder), SYNTAXES[arguments.syntax][1], arguments.slices, arguments.size)
        codec = codec_of(Path(folder))

        def load() -> float:
            started = time.perf_counter()
            array = fastdicom.load_volume(folder).array
            seconds = time.perf_counter() - started
            del array  # the next load finds its memory
            return seconds

        load(), load(), codec.seconds(CORES)
        measures: dict[str, Callable[[], float]] = {
            "limit": lambda: codec.seconds(1) / CORES,
            "codec alone on all cores": lambda: codec.seconds(CORES),
            "load": load,  # after work on all cores: one that idled takes 10 ms to be as fast again
        }
        times: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(arguments.rounds):
            for name, measure in measures.items():
                times[name].append(measure() * 1e3)
            shown = ", ".join(f"{name} {found[-1]:.0f}" for name, found in times.items())
            print(f"round {number + 1}, ms: {shown}", flush=True)
    for what, of in (("least", min), ("median", statistics.median)):
        loaded, limit, together = (of(times[name]) for name in ("load", "limit", "codec alone on all cores"))
        print(
            f"{what} of {arguments.rounds}, ms: load {loaded:.0f}, limit {limit:.0f}, codec alone on all cores "
            f"{together:.0f}; load / limit {loaded / limit:.3f}, load / codec alone {loaded / together:.3f}"
        )
    kept = min(times["load"]) <= MOST * min(times["limit"])
    print(f"{MOST} times the limit is {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
