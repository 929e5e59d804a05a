"""How near a load comes to its codec: all of `load_volume` against the codec alone, in turn, many times.

    python benchmarks/limits.py                                # HTJ2K, 100 rounds
    python benchmarks/limits.py --syntax jpeg-ls --rounds 10

The limit is the time that one core needs for all frames, divided by the cores: the codec called directly, from memory,
into one small array. Where the decoder is our own (RLE, lossless JPEG, HTJ2K), the codec is what others have
(pylibjpeg-rle, libjpeg-turbo, OpenJPH), and our own, called in the same way, is shown beside it. The limit supposes
that a core is as fast while the others are busy. On a shared machine it often is not; then the codec alone on all
cores, which each round measures too, does not come near the limit either, and medians tell of the neighbours. So the
least times of all rounds are compared, as `timeit` does, and the medians shown beside them. Neither does the limit know
that code streams have to be read, voxels written to memory and rescaled: "by hand" is a loop on all cores that does
this and nothing else with that decoder, into memory that is there, told beforehand where everything is.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from peers import CORES, SYNTAXES, Codec, add_series_arguments, codec_of, generate

import fastdicom

MOST = 1.15
"""What the project promises."""
INTERCEPT = -1024
"""Of the series that `generate` writes; its slope is 1."""


class ByHand:
    """Code streams in files of their own, in the order of the slices, to values in an array that is there."""

    def __init__(self, codec: Codec, folder: Path, together: int = 16) -> None:
        self.codec = codec
        self.together = together
        self.array = np.zeros((len(codec.streams), *codec.shape), np.int16)
        self.files = [str(folder / str(place)) for place in range(len(codec.streams))]
        for file, stream in zip(self.files, codec.streams, strict=True):
            Path(file).write_bytes(stream)

    def work(self, starts: Iterator[int]) -> None:
        memory = memoryview(bytearray(self.together * max(map(len, self.codec.streams))))
        for start in starts:
            values, streams, used = self.array[start : start + self.together], [], 0
            for file in self.files[start : start + self.together]:
                descriptor = os.open(file, os.O_RDONLY)
                nbytes = os.readv(descriptor, [memory[used:]])
                os.close(descriptor)
                streams.append(memory[used : used + nbytes])
                used += nbytes
            for stream, pixels in zip(streams, values.view(self.codec.dtype), strict=True):
                self.codec.call(stream, out=pixels)
            values += INTERCEPT

    def seconds(self) -> float:
        starts = iter(range(0, len(self.files), self.together))
        started = time.perf_counter()
        helpers = [threading.Thread(target=self.work, args=(starts,)) for _ in range(CORES - 1)]
        for helper in helpers:
            helper.start()
        self.work(starts)
        for helper in helpers:
            helper.join()
        return time.perf_counter() - started


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syntax", default="htj2k", choices=[name for name in SYNTAXES if name != "native"])
    add_series_arguments(parser, 300)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="limits-", dir=arguments.folder) as parent:
        folder, streams = Path(parent, "series"), Path(parent, "streams")
        streams.mkdir()
        generate(folder, SYNTAXES[arguments.syntax][1], arguments.slices, arguments.size)
        codec = codec_of(folder)
        by_hand = ByHand(codec, streams)

        def load() -> float:
            started = time.perf_counter()
            array = fastdicom.load_volume(folder).array
            seconds = time.perf_counter() - started
            del array  # the next load finds its memory
            return seconds

        load(), load(), codec.seconds(CORES), by_hand.seconds()
        if not np.array_equal(by_hand.array, fastdicom.load_volume(folder).array):
            raise SystemExit("By hand and by load_volume are not the same voxels.")
        measures: dict[str, Callable[[], float]] = {
            "limit": lambda: codec.seconds(1, by_library=True) / CORES,
            "codec alone on all cores": lambda: codec.seconds(CORES, by_library=True),
            "our decoder on one core / cores": lambda: codec.seconds(1) / CORES,
            "by hand": by_hand.seconds,
            "load": load,  # after work on all cores: one that idled takes 10 ms to be as fast again
        }
        if codec.library is None:
            del measures["our decoder on one core / cores"]
        times: dict[str, list[float]] = {name: [] for name in measures}
        for number in range(arguments.rounds):
            for name, measure in measures.items():
                times[name].append(measure() * 1e3)
            shown = ", ".join(f"{name} {found[-1]:.0f}" for name, found in times.items())
            print(f"round {number + 1}, ms: {shown}", flush=True)
    for what, of in (("least", min), ("median", statistics.median)):
        found = {name: of(each) for name, each in times.items()}
        shown = ", ".join(f"{name} {ms:.0f} ({ms / found['limit']:.3f})" for name, ms in found.items())
        print(f"{what} of {arguments.rounds}, ms (by limit): {shown}")
    kept = min(times["load"]) <= MOST * min(times["limit"])
    print(f"{MOST} times the limit is {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
