"""Hypothesis strategies that draw small series of every kind.

>>> from hypothesis import given
>>> from fastdicom.testing import make_series, strategies
>>> @given(strategies.series_specs(multi_frame=False))
... def test_reader(spec):
...     assert len(make_series(spec)) >= 1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastdicom.errors import MissingDependencyError, UsageError
from fastdicom.testing.codestreams import CODECS, NATIVE, check_encodable, encodable_syntaxes
from fastdicom.testing.spec import SeriesSpec

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise MissingDependencyError(
        "fastdicom.testing.strategies needs hypothesis. Install it: pip install hypothesis."
    ) from error

__all__ = ["orientations", "series_specs"]

Range = tuple[int, int]


@st.composite
def orientations(draw: st.DrawFn, /) -> tuple[float, ...]:
    """Row and column cosines of a plane: axial, coronal, sagittal, or any rotation."""
    standard = ((1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0))
    if draw(st.booleans()):
        return tuple(float(v) for v in draw(st.sampled_from(standard)))
    # A uniform unit quaternion is a uniform rotation (Shoemake 1992).
    part, first, second = (draw(st.floats(0, 1, exclude_max=True, width=32)) for _ in range(3))
    a, b = math.sqrt(1 - part), math.sqrt(part)
    x, y = a * math.sin(2 * math.pi * first), a * math.cos(2 * math.pi * first)
    z, w = b * math.sin(2 * math.pi * second), b * math.cos(2 * math.pi * second)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    return tuple(round(float(v), 10) for v in (*rotation[:, 0], *rotation[:, 1]))


@st.composite
def series_specs(
    draw: st.DrawFn,
    /,
    *,
    slices: Range = (1, 8),
    rows: Range = (1, 12),
    columns: Range = (1, 12),
    syntaxes: Sequence[str] | None = None,
    lossy: bool = False,
    photometric: Sequence[str] = ("MONOCHROME1", "MONOCHROME2"),
    bits_allocated: int | Sequence[int] = (8, 16),
    modalities: Sequence[str] = ("CT", "MR", "PT"),
    tilt: bool = True,
    gaps: bool = False,
    dimensions: bool = False,
    **fixed: Any,
) -> SeriesSpec:
    """Draw a recipe that can be written here.

    Parameters
    ----------
    slices, rows, columns : (fewest, most)
    syntaxes : UIDs, optional
        Default: all that are encodable here.
    lossy : bool
        Draw lossy syntaxes too.
    photometric, bits_allocated, modalities : what to draw from
        A number of bits fixes it. Fields given in `fixed` (``bits_stored=12``, ``modality="MR"``) are not drawn.
    tilt, gaps, dimensions : bool
        Draw gantry tilt up to 30 degrees, missing inner slices, one extra dimension.
    **fixed
        Fields of the recipe: values, or strategies to draw them from.
    """
    chosen: dict[str, Any] = {
        "slices": draw(st.integers(*slices)),
        "rows": draw(st.integers(*rows)),
        "columns": draw(st.integers(*columns)),
        "modality": draw(st.sampled_from(list(modalities))),
        "orientation": draw(orientations()),
        "origin": tuple(draw(st.floats(-500, 500, width=32)) for _ in range(3)),
        "pixel_spacing": tuple(round(draw(st.floats(0.1, 5)), 4) for _ in range(2)),
        "slice_step": round(draw(st.floats(0.3, 10)), 3),
        "tilt_deg": draw(st.sampled_from([0.0, 12.5]) | st.floats(-30, 30, width=32)) if tilt else 0.0,
        "names": draw(st.sampled_from(["shuffled", "sequential", "dcm"])),
        "instance_numbers": draw(st.sampled_from(["slice", "reversed", "shuffled", None])),
        "seed": draw(st.integers(0, 1000)),
        "undefined_length": draw(st.booleans()),
    }
    fixed = {k: draw(v) if isinstance(v, st.SearchStrategy) else v for k, v in fixed.items()}
    chosen |= fixed
    n = chosen["slices"]
    if gaps and n > 2:
        chosen.setdefault("missing", tuple(sorted(draw(st.sets(st.integers(1, n - 2), max_size=n - 2)))))
    if dimensions:
        names = st.sampled_from(["temporal_position", "echo", "b_value", "trigger_time", "acquisition_number"])
        chosen.setdefault("dimensions", {draw(names): draw(st.integers(2, 3))})
    allocated = [bits_allocated] if isinstance(bits_allocated, int) else list(bits_allocated)
    chosen = _draw_pixels(draw, chosen, syntaxes, lossy, photometric, allocated)
    chosen = _draw_rescale(draw, chosen) | fixed
    return SeriesSpec(**chosen)


def _draw_pixels(
    draw: st.DrawFn,
    chosen: dict[str, Any],
    syntaxes: Sequence[str] | None,
    lossy: bool,
    photometric: Sequence[str],
    bits_allocated: Sequence[int],
) -> dict[str, Any]:
    """A pixel format, then one of the syntaxes that can hold it."""
    drawn: dict[str, Any] = {
        "photometric_interpretation": draw(st.sampled_from(list(photometric))),
        "bits_allocated": draw(st.sampled_from(list(bits_allocated))),
    }
    drawn |= {k: v for k, v in chosen.items() if k in drawn}
    allocated = drawn["bits_allocated"]
    if drawn["photometric_interpretation"] not in ("MONOCHROME1", "MONOCHROME2"):
        drawn |= {"bits_allocated": 8, "bits_stored": 8, "signed": False}
    elif allocated > 1:
        drawn["bits_stored"] = draw(st.integers(2, allocated) | st.just(allocated))
        drawn["signed"] = draw(st.booleans())
    drawn["unused_bits"] = draw(st.sampled_from(["extend", "zero", "noise"]))
    drawn = chosen | drawn | {k: v for k, v in chosen.items() if k in drawn}
    if drawn["photometric_interpretation"] == "YBR_FULL_422":
        drawn["columns"] += drawn["columns"] % 2
    candidates = (drawn["transfer_syntax_uid"],) if "transfer_syntax_uid" in drawn else syntaxes or encodable_syntaxes()
    possible = [uid for uid in candidates if _fits(drawn | {"transfer_syntax_uid": uid}, lossy)]
    if not possible:
        # Every one of them refused the drawn bits or sign: plain 8-bit pixels fit into most.
        drawn |= {"bits_allocated": 8, "bits_stored": 8, "signed": False}
        possible = [uid for uid in candidates if _fits(drawn | {"transfer_syntax_uid": uid}, lossy)]
    if not possible:
        drawn |= {"bits_allocated": 16, "bits_stored": 12, "signed": False}
        possible = list(candidates)
    drawn["transfer_syntax_uid"] = draw(st.sampled_from(possible))
    if drawn["transfer_syntax_uid"] not in NATIVE:
        drawn.setdefault("offset_table", draw(st.sampled_from(["basic", "empty", "extended"])))
        if drawn["offset_table"] != "extended":
            drawn.setdefault("fragments_per_frame", draw(st.integers(1, 3)))
    return drawn


def _fits(fields: dict[str, Any], lossy: bool) -> bool:
    codec = CODECS.get(fields["transfer_syntax_uid"])
    if codec is not None and codec.decode is not None and not lossy:
        return False
    try:
        check_encodable(SeriesSpec(**{k: v for k, v in fields.items() if k not in ("slope", "intercept")}))
    except (UsageError, MissingDependencyError):
        return False
    return True


def _draw_rescale(draw: st.DrawFn, chosen: dict[str, Any]) -> dict[str, Any]:
    """No rescale, the usual one, or a slope for each slice as PET has it."""
    n = chosen["slices"]
    kind = draw(st.sampled_from(["none", "integers", "fractions", "per slice"]))
    if kind == "none":
        return chosen | {"slope": None, "intercept": None}
    if kind == "integers":
        return chosen | {"slope": float(draw(st.integers(1, 4))), "intercept": float(draw(st.integers(-1024, 10)))}
    fractions = st.floats(1e-3, 10).map(lambda v: float(f"{v:.6g}"))
    if kind == "fractions" or chosen.get("multi_frame") is True:
        return chosen | {"slope": draw(fractions), "intercept": 0.0}
    return chosen | {"slope": tuple(draw(fractions) for _ in range(n)), "intercept": 0.0}
