"""Stacks that lie between one another: together they look like one stack of half the spacing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.headers import HeaderTable
from fastdicom.series.candidates import complex_component
from fastdicom.series.grouping import Codes, codes_of

__all__ = ["alternating_kinds", "alternation_notes", "origin_notes"]

_KINDS = ("image_type", "convolution_kernel", "complex_image_component", "rescale_type")
"""Attributes that say what an image is: what differs in them alternately was made in two ways."""

_ACQUIRED = (
    "acquisition_number",
    "protocol_name",
    "series_description",
    "kvp",
    "repetition_time",
    "inversion_time",
    "flip_angle",
    "temporal_position_identifier",
    "temporal_position_index",
    "trigger_time",
    "nominal_cardiac_trigger_delay_time",
    "slice_thickness",
    "filter_type",
    "reconstruction_diameter",
    "rescale_intercept",
)
"""Attributes that say how a slice was acquired: all slices of a stack share them, but for blocks of a long one."""

_PACKAGES = frozenset(("acquisition_number",))
"""Attributes in which interleaved packages of one magnetic resonance stack may differ."""

_TIMES = frozenset(("t", "acquisition"))
"""Axes along which frames are expected to be of one origin."""


def alternating_kinds(table: HeaderTable, rows: NDArray[np.int64]) -> tuple[Codes, str, tuple[str, ...]] | None:
    """What tells apart stacks of images of different kinds that lie between one another.

    Parameters
    ----------
    table : HeaderTable
    rows : (..., Z) int64
        Row of each slice of a uniform volume.

    Returns
    -------
    (code of each of the Z slices, attribute, its values), or None where there are none: only where each kind has three
    slices or more, at equal distances, none of them neighbours, is each surely a stack of its own.
    """
    stacks = rows.reshape(-1, rows.shape[-1])
    for name in _KINDS:
        codes = _codes_along(table[name], stacks)
        if codes is not None and _steps(codes, least=3) is not None:
            first = np.unique(codes, return_index=True)[1]
            return codes, name, tuple(bytes(table[name][stacks[0, k]]).decode("ascii", "replace") for k in first)
    return None


def alternation_notes(
    table: HeaderTable, rows: NDArray[np.int64], spacing: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what is worth saying, what a caller must hear of) of attributes that alternate from slice to slice.

    Parameters
    ----------
    table : HeaderTable
    rows : (..., Z) int64
        Row of each slice of a uniform volume.
    spacing : float, mm
    """
    stacks = rows.reshape(-1, rows.shape[-1])
    names_of: dict[bytes, list[str]] = {}
    # Two reconstructions of computed tomography store their numbers differently; others scale every slice as they like.
    computed = bytes(table["modality"][stacks[0, 0]]) == b"CT"
    for name in _ACQUIRED if computed else _ACQUIRED[:-1]:
        codes = _codes_along(table[name], stacks)
        if codes is not None and _steps(codes, least=2) is not None:
            numbered = np.unique(codes, return_index=True)[1].argsort().argsort()[codes]  # by first slice
            names_of.setdefault(numbered.astype(np.int64).tobytes(), []).append(name)
    notes, warnings = [], []
    for key, names in names_of.items():
        codes = np.frombuffer(key, dtype=np.int64)
        counts, steps = np.bincount(codes), _steps(codes, least=2)
        apart = np.empty(0) if steps is None else steps * spacing
        verb = "alternates" if len(names) == 1 else "alternate"
        sentence = f"{', '.join(names)} {verb} from slice to slice: {len(counts)} values, "
        own = f"of {_listed(counts)} slices, {_listed(apart, '.3f')} mm apart"
        if _PACKAGES.issuperset(names) and bytes(table["modality"][stacks[0, 0]]) == b"MR":
            notes.append(
                f"{sentence}each a stack {own} (interleaved packages or acquisitions), joined at {spacing:.3f} mm"
            )
        else:
            warnings.append(f"{sentence}each a regular stack {own}: joined, they are one stack of {spacing:.3f} mm")
    return tuple(notes), tuple(warnings)


def origin_notes(
    table: HeaderTable, rows: NDArray[np.int64], axes: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(what is worth saying, what a caller must hear of) of acquired and computed images in one volume.

    Slices of one stack, and times, are expected to be of one origin; weightings, components and echoes may not be: a
    trace image is computed. Source: DICOM PS3.3 C.7.6.1.1.2 (Image Type, value 1).
    """
    flat = rows.ravel()
    parts = _part_warnings(table, rows)
    codes = codes_of(table["image_type"][flat])
    if not codes.any():
        return (), parts
    first = np.unique(codes, return_index=True)[1]
    types = [tuple(value.strip() for value in bytes(table["image_type"][flat[k]]).upper().split(b"\\")) for k in first]
    names = [values[0].decode("ascii", "replace") for values in types]
    distinct = sorted(set(names), key=lambda name: (name == "ORIGINAL", name == "", name))
    if len([name for name in distinct if name]) < 2:
        kind = np.array([sorted(set(types)).index(values) for values in types])[codes].reshape(-1, rows.shape[-1])
        mixed = bool((kind != kind[:, :1]).any())
        return ((f"slices of one stack differ in image_type ({len(set(types))} values)",) if mixed else ()), parts
    origin = np.array([distinct.index(name) for name in names])[codes].reshape(-1, rows.shape[-1])
    counts = np.bincount(origin.ravel())
    others = [f"{count} {name or 'unknown'}" for count, name in zip(counts[1:], distinct[1:], strict=True)]
    sentence = f"{counts[0]} of {len(flat)} slices are {distinct[0]}, {', '.join(others)} (Image Type)"
    mixed = bool((origin != origin[:, :1]).any()) or _TIMES.issuperset(axes)
    joined = f"{sentence}: acquired and computed images are in one volume"
    return ((), (joined, *parts)) if mixed else ((sentence,), parts)


def _part_warnings(table: HeaderTable, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """What a caller must hear of magnitude, phase, real and imaginary slices in one stack."""
    flat = rows.ravel()
    if not any((table[name][flat] != table[name][flat[0]]).any() for name in ("complex_image_component", "image_type")):
        return ()
    names = complex_component(table, flat)[1].reshape(-1, rows.shape[-1])
    if not ((names != names[:, :1]) & (names != "") & (names[:, :1] != "")).any():
        return ()
    found, counts = np.unique(names[names != ""], return_counts=True)
    parts = ", ".join(f"{count} {name}" for name, count in zip(found.tolist(), counts.tolist(), strict=True))
    return (
        f"slices of one stack show different parts of the complex image ({parts}): their numbers are no one quantity",
    )


def _listed(values: NDArray[Any], form: str = "d") -> str:
    texts = list(dict.fromkeys(format(value, form) for value in values.tolist()))
    return " and ".join(texts[:3]) + (" and so on" if len(texts) > 3 else "")


def _codes_along(column: NDArray[Any], stacks: NDArray[np.int64]) -> Codes | None:
    """(Z,) codes of a column along (stacks, Z) rows; None where they do not alternate, or not alike in all stacks."""
    # Where values alternate, no neighbours are equal: two of them tell nearly always, and cost next to nothing.
    if stacks.shape[1] < 4 or _same(column[stacks[0, 0]], column[stacks[0, 1]]):
        return None
    codes = codes_of(column[stacks].ravel()).reshape(stacks.shape)
    return codes[0] if (codes == codes[:1]).all() else None


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


def _steps(codes: Codes, least: int) -> NDArray[np.int64] | None:
    """(codes,) slices from one to the next of each code; None unless each has `least` or more, evenly, none of them
    neighbours."""
    count = int(codes.max()) + 1
    if count > len(codes) // least or np.bincount(codes).min() < least:
        return None
    order = np.argsort(codes, kind="stable")
    same = np.diff(codes[order]) == 0
    code, step = codes[order][1:][same], np.diff(order)[same]
    of_code = np.zeros(count, dtype=np.int64)
    of_code[code] = step
    return of_code if (step >= 2).all() and (step == of_code[code]).all() else None
