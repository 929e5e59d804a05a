"""Run by test_numba.py in processes of its own: waits for a moment, then calls compiled functions and checks them."""

from __future__ import annotations

import sys
import time


def main(start_at: float) -> None:
    import numpy as np

    from fastdicom import kernels

    while time.time() < start_at:
        time.sleep(0.0005)
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    for dtype, intercept in (("i2", -1024), ("f4", -0.5)):
        out = np.empty(stored.shape, dtype)
        kernels.rescale(stored, 12, 11, False, 1, intercept, out)
        if not (out == stored.astype(float) + intercept).all():
            raise SystemExit(f"wrong {dtype}")
    mask = np.empty(stored.shape, np.bool_)
    kernels.padding_mask(stored, 10, 20, mask)
    if mask.sum() != 11:
        raise SystemExit("wrong mask")
    shown = np.empty(stored.shape, np.uint8)
    kernels.window(stored, 2048, 4096, "LINEAR", shown)
    if not (shown == np.rint(kernels.window_at(stored, 2048, 4096, "LINEAR"))).all():
        raise SystemExit("wrong window")


if __name__ == "__main__":
    main(float(sys.argv[1]))
