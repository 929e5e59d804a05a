"""Run by test_numba.py in processes of its own: waits for a moment, then calls compiled functions and checks them.

Each process calls them in another order, so that all write machine code of one function for different dtypes at once,
and the moments in which Numba's index names files that are not written yet are stretched at random: a crash that comes
once in thousands of starts then comes every few, unless something keeps the writers apart.
"""

from __future__ import annotations

import random
import sys
import time

DTYPES = ["u2", "u1", "i4", "i2", "u4"]


def stretch_the_race() -> None:
    from numba.core.caching import IndexDataCacheFile

    load, save = IndexDataCacheFile._load_index, IndexDataCacheFile._save_data

    def slow_load(self: object) -> object:
        found = load(self)
        time.sleep(0.05 * random.random())
        return found

    def slow_save(self: object, name: str, data: object) -> None:
        time.sleep(0.3 * random.random())
        save(self, name, data)

    IndexDataCacheFile._load_index, IndexDataCacheFile._save_data = slow_load, slow_save


def main(start_at: float, process: int) -> None:
    import numpy as np

    from fastdicom import kernels

    stretch_the_race()
    while time.time() < start_at:
        time.sleep(0.0005)
    turn = process % len(DTYPES)
    for dtype in DTYPES[turn:] + DTYPES[:turn]:
        values = np.arange(120, dtype=dtype).reshape(8, 15)
        values[0, 0] = 115 - 2 * process
        mask = np.empty(values.shape, np.bool_)
        kernels.padding_mask(values, 10, 20, mask)
        if not (mask == ((values >= 10) & (values <= 20))).all():
            raise SystemExit(f"wrong mask of {dtype}")


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
