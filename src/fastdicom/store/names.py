"""Names of the stores of an archive: a person recognises them, no two collide, nobody is identified."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from fastdicom.catalog import CatalogEntry

__all__ = ["store_names"]


def store_names(entries: Sequence[CatalogEntry], *, keep_identifiers: bool = False, suffix: str = ".zarr") -> list[str]:
    """One name for each volume, such as ``003_CT_axial_300x512x512.zarr``.

    Series number, modality, orientation and shape; with `keep_identifiers` also the series description, which the
    basic profile of PS3.15 counts among what may identify a person. Equal names get a number.
    """
    stems = [_stem(entry, keep_identifiers) for entry in entries]
    names: list[str] = []
    taken: set[str] = set()
    for stem in stems:
        name, number = stem, 1
        while name.lower() in taken:  # some file systems do not tell case apart
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names.append(name + suffix)
    return names


def _stem(entry: CatalogEntry, keep_identifiers: bool) -> str:
    number = f"{entry.series_number:03d}" if entry.series_number is not None and entry.series_number >= 0 else "000"
    parts = [number, entry.modality or "OT"]
    if keep_identifiers and entry.description:
        parts.append(entry.description)
    parts += [_orientation(entry), "x".join(map(str, entry.shape))]
    return "_".join(re.sub(r"[^A-Za-z0-9.+-]+", "-", part).strip("-.") or "x" for part in parts)


def _orientation(entry: CatalogEntry) -> str:
    """axial, coronal, sagittal (or oblique), by the patient axis that the slice normal is closest to."""
    geometry = entry.found.geometry
    if not geometry.has_positions:
        return "frames"
    normal = np.cross(geometry.direction[:, 2], geometry.direction[:, 1])
    axis = int(np.argmax(np.abs(normal)))
    name = ("sagittal", "coronal", "axial")[axis]
    return name if abs(normal[axis]) > 0.9 else f"oblique-{name}"
