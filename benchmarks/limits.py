"""How near a load comes to its codec: all of `load_volume` against the codec alone, in turn, many times.

    python benchmarks/limits.py                                # HTJ2K, 40 rounds
    python benchmarks/limits.py --syntax jpeg-ls --rounds 10

The limit is the time that one core needs for all frames, divided by the cores: the codec called directly, from memory,
into one small array. It supposes that a core is as fast while the others are busy. On shared machines it often is not,
and then the codec alone does not come near the limit either. So each round measures, in one process and in turn,

    the codec on one core, on all cores, the load, the codec on all cores, on one core

and those rounds are shown by themselves in which the machine was as fast as it ever was: each of the four times of the
codec alone was within 5 % of the least limit of all rounds. In the others it did not have what the limit supposes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from peers import CORES, SYNTAXES, codec_of, generate

import fastdicom

QUIET = 1.05
MOST = 1.15
"""What the project promises."""


class Round(NamedTuple):
    """Seconds."""

    load: float
    one: tuple[float, float]
    """The codec on one core, before and after the load, divided by the cores."""
    together: tuple[float, float]
    """The codec on all cores, likewise."""

    @property
    def limit(self) -> float:
        return statistics.mean(self.one)


def show(what: str, rounds: Sequence[Round]) -> None:
    def ms(seconds: Iterable[float]) -> str:
        found = [each * 1e3 for each in seconds]
        return f"{statistics.median(found):.0f} (least {min(found):.0f})"

    of_limit = statistics.median(each.load / each.limit for each in rounds)
    of_together = statistics.median(each.load / statistics.mean(each.together) for each in rounds)
    print(
        f"{what}: {len(rounds)}\n"
        f"  ms: load {ms(each.load for each in rounds)}, limit {ms(each.limit for each in rounds)}, "
        f"codec alone on all cores {ms(statistics.mean(each.together) for each in rounds)}\n"
        f"  median of load / limit: {of_limit:.3f}; of load / codec alone on all cores: {of_together:.3f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syntax", default="htj2k", choices=[name for name in SYNTAXES if name != "native"])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--folder", default=None, help="where the series is generated (default: the temporary folder)")
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
        rounds = []
        for number in range(arguments.rounds):
            before, together, loaded = codec.seconds(1) / CORES, codec.seconds(CORES), load()
            again, after = codec.seconds(CORES), codec.seconds(1) / CORES
            rounds.append(Round(loaded, (before, after), (together, again)))
            print(
                f"round {number + 1}: "
                + ", ".join(f"{each * 1e3:.0f}" for each in (before, together, loaded, again, after)),
                flush=True,
            )
    least = min(min(each.one) for each in rounds)
    quiet = [each for each in rounds if max(*each.one, *each.together) <= QUIET * least]
    show("all rounds", rounds)
    if not quiet:
        print("no round was quiet: measure again, on a machine that has less to do")
        return 1
    show("quiet rounds", quiet)
    kept = statistics.median(each.load / each.limit for each in quiet) <= MOST
    print(f"{MOST} times the limit is {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
