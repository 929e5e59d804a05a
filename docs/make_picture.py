"""Make docs/preview.png: a generated CT series, drawn by `fastdicom.preview`. No real patient is in it.

python docs/make_picture.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastdicom.preview import preview, save_png
from fastdicom.testing import SeriesSpec, write_series

PICTURE = Path(__file__).with_name("preview.png")
SPEC = SeriesSpec(
    slices=100,
    rows=256,
    columns=256,
    pixel_spacing=(1.4, 1.4),
    slice_step=2.5,
    padding=0,
    window=(1400.0, 3200.0),
)


def make(path: Path = PICTURE) -> Path:
    """Write the picture and return its path."""
    with tempfile.TemporaryDirectory() as folder:
        write_series(folder, SPEC)
        return save_png(preview(folder, size=256), path)


if __name__ == "__main__":
    make()
