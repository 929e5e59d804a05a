"""What takes the place of Rescale Slope and Intercept where other values are asked for.

PET SUV, Philips' floating point values and Real World Values are linear in the stored values (or in the modality
values) of each slice, so they become the slope and intercept of the slice in the plan. Their attributes lie in
sequences and private elements that no header column holds: they are read with pydicom, from few files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom._quiet import quiet_pydicom
from fastdicom.errors import ValuesError
from fastdicom.headers import HeaderTable
from fastdicom.luts import read_dataset
from fastdicom.planned_files import PlannedFile
from fastdicom.quantities import RealWorldValues, philips_scaling, real_world_values, suv_basis, suv_factor
from fastdicom.resolve import stored_limits
from fastdicom.types import PixelFormat

__all__ = ["Scaling", "scaling_for"]

PHILIPS_ENHANCED = (0x2005, "Philips MR Imaging DD 005", 0x0F)
"""Private sequence of a frame's functional groups that holds the elements of the classic image."""
PHILIPS_CLASSIC = (0x2005, "Philips MR Imaging DD 001")


@dataclass
class Scaling:
    """Slope and intercept of each slice that exists, from stored values to the values asked for."""

    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    mapping: NDArray[np.int64]
    """Index into `mappings` of those slices for which slope and intercept do not say it all, else -1."""
    units: str = ""
    mappings: list[RealWorldValues] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, slope: NDArray[np.float64], intercept: NDArray[np.float64]) -> Scaling:
        return cls(slope, intercept, np.full(len(slope), -1))


def scaling_for(
    values: str,
    kept: NDArray[Any],
    headers: HeaderTable,
    formats: Sequence[PixelFormat],
    files: Sequence[PlannedFile],
) -> Scaling | None:
    """Scaling of the values asked for; None where it is the Modality transform of the header.

    Parameters
    ----------
    values : str
    kept : (N,) of SLICE_DTYPE
        The slices that exist, with the slope and intercept of the Modality transform.
    headers : HeaderTable of N rows
    formats, files
        What ``kept["format"]`` and ``kept["file"]`` index.

    Raises
    ------
    ValuesError
        An attribute that the values need is absent or contradicts another; the message names it and the file.
    """
    kind, _, label = values.partition(":")
    if kind not in ("suv", "philips", "real_world"):
        return None
    if any(fmt.samples_per_pixel > 1 or fmt.photometric_interpretation == "PALETTE COLOR" for fmt in formats):
        raise ValuesError(f"values={values!r} means a number for each voxel; this volume is in colour. Load 'stored'.")
    if kind == "suv":
        return _suv(kept, headers, files)
    if kind == "philips":
        return _philips(kept, headers, files)
    return _real_world(kept, formats, files, label)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Adds the file to the message of a ValuesError."""
    try:
        yield
    except ValuesError as error:
        raise ValuesError(f"{error.message} [{path}]", **{**error.__dict__, "path": path}) from error


# --------------------------------------------------------------------------------------------------------------- SUV


def _suv(kept: NDArray[Any], headers: HeaderTable, files: Sequence[PlannedFile]) -> Scaling:
    """The factor of each slice. Weight, dose and half life are attributes of the patient study and of the series
    (PS3.3 A.21.3), so a file in which they differ belongs to another patient or was changed."""
    if (kept["modality_lut"] >= 0).any():
        raise ValuesError("SUV is defined for slope and intercept; this series has a Modality LUT. Load 'modality'.")
    factors = np.empty(len(kept))
    notes: dict[str, None] = {}
    known: dict[str, tuple[str, str]] = {}
    for number, rows in _by_file(kept, np.arange(len(kept))):
        path = files[number].locator
        dataset = read_dataset(path)
        with _naming(path), quiet_pydicom():
            factors[rows], description = suv_factor(dataset)
            for name, value in suv_basis(dataset).items():
                expected, of = known.setdefault(name, (value, path))
                if value != expected:
                    raise _contradiction(name, value or "absent", expected or "absent", of)
        notes[f"SUVbw: {description}"] = None
    scaling = Scaling.of(kept["slope"] * factors, kept["intercept"] * factors)
    scaling.units, scaling.notes = "g/ml", list(notes)[:1]
    return scaling


def _contradiction(name: str, value: str, expected: str, path: str) -> ValuesError:
    return ValuesError(
        f"SUV cannot be computed: {name} is {value}, but {expected} in {path} of the same series. Correct or leave out "
        "the file that is wrong, or load values='modality'.",
        reason=f"{name} differs within the series",
    )


# ----------------------------------------------------------------------------------------------------------- Philips


def _philips(kept: NDArray[Any], headers: HeaderTable, files: Sequence[PlannedFile]) -> Scaling:
    slopes, intercepts = headers["philips_scale_slope"].copy(), headers["philips_scale_intercept"].copy()
    enhanced = np.flatnonzero(np.isnan(slopes) & headers["per_frame_functional_groups"])
    for number, rows in _by_file(kept, enhanced):
        groups = read_dataset(files[number].locator).PerFrameFunctionalGroupsSequence
        for row in rows:
            slopes[row], intercepts[row] = _philips_of_frame(groups[int(kept["frame"][row])])
    scaling = Scaling.of(kept["slope"].copy(), kept["intercept"].copy())
    for row in range(len(kept)):
        path = files[int(kept["file"][row])].locator
        with _naming(path):
            if np.isnan(slopes[row]):
                raise ValuesError("Philips' scale slope (2005,100E) is absent. Load values='modality'.")
            offset = 0.0 if np.isnan(intercepts[row]) else float(intercepts[row])
            scaling.slope[row], scaling.intercept[row] = philips_scaling(float(slopes[row]), offset)
    return scaling


def _philips_of_frame(group: Any) -> tuple[float, float]:
    """(scale slope, scale intercept) of one frame of an enhanced image; NaN where they are absent."""
    try:
        sequence, creator, element = PHILIPS_ENHANCED
        item = group.private_block(sequence, creator)[element].value[0]
        block = item.private_block(*PHILIPS_CLASSIC)
        return float(block[0x0E].value), float(block[0x0D].value)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return np.nan, np.nan


# -------------------------------------------------------------------------------------------------- real world values


def _real_world(
    kept: NDArray[Any], formats: Sequence[PixelFormat], files: Sequence[PlannedFile], label: str
) -> Scaling:
    scaling = Scaling.of(np.ones(len(kept)), np.zeros(len(kept)))
    found: set[str] = set()
    for number, rows in _by_file(kept, np.arange(len(kept))):
        path = files[number].locator
        with _naming(path), quiet_pydicom():
            of_frame = _mappings_of(read_dataset(path))
            for row in rows:
                chosen = _choose(of_frame(int(kept["frame"][row])), label)
                found.add(chosen.units)
                _enter(scaling, row, chosen, formats[int(kept["format"][row])])
    if len(found) > 1:
        raise ValuesError(
            f"The slices of this volume are mapped to different units ({', '.join(sorted(found))}). Load 'modality'."
        )
    scaling.units = found.pop()
    return scaling


def _mappings_of(dataset: Any) -> Callable[[int], tuple[RealWorldValues, ...]]:
    """The mappings of a frame: of its own functional groups, else of the shared ones, else of the image."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    general = (real_world_values(shared[0]) if len(shared) else ()) or real_world_values(dataset)
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    return lambda frame: (real_world_values(groups[frame]) if frame < len(groups) else ()) or general


def _choose(mappings: Sequence[RealWorldValues], label: str) -> RealWorldValues:
    """The mapping that `label` (its LUT Label or its unit) names, or the only one there is."""
    wanted = [one for one in mappings if not label or label in (one.label, one.units)]
    if len(set(wanted)) == 1:
        return wanted[0]
    if not mappings:
        raise ValuesError("There is no Real World Value Mapping Sequence (0040,9096). Load values='modality'.")
    names = ", ".join(sorted({f"{one.label!r} [{one.units}]" for one in mappings}))
    raise ValuesError(
        f"values='real_world{':' if label else ''}{label}' names {len(set(wanted))} of the mappings {names}. "
        "Pass values='real_world:' with the label or the unit of one."
    )


def _enter(scaling: Scaling, row: int, mapping: RealWorldValues, fmt: PixelFormat) -> None:
    integers = fmt.stored_dtype.kind != "f"
    low, high = stored_limits(fmt) if integers else (-np.inf, np.inf)
    if not mapping.table and mapping.first <= low and high <= mapping.last:
        scaling.slope[row], scaling.intercept[row] = mapping.slope, mapping.intercept
        return
    if mapping not in scaling.mappings:
        scaling.mappings.append(mapping)
    scaling.mapping[row] = scaling.mappings.index(mapping)


def _by_file(kept: NDArray[Any], rows: NDArray[np.int64]) -> list[tuple[int, list[int]]]:
    groups: dict[int, list[int]] = {}
    for row in rows.tolist():
        groups.setdefault(int(kept["file"][row]), []).append(row)
    return list(groups.items())
