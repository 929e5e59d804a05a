"""What a scan found: the volumes, what each is and what is unusual about it, and the files that are in none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from fastdicom.errors import FastDicomError, GeometryError, PixelDataError
from fastdicom.headers import HeaderTable
from fastdicom.headers.problems import NOT_APART
from fastdicom.series import FoundVolume, spacing_tolerance
from fastdicom.types import GeometryPolicy, Skipped

__all__ = ["SYNTAX_NAMES", "Catalog", "CatalogEntry"]

SYNTAX_NAMES = {
    "1.2.840.10008.1.2": "Implicit LE",
    "1.2.840.10008.1.2.1": "Explicit LE",
    "1.2.840.10008.1.2.1.98": "Encapsulated LE",
    "1.2.840.10008.1.2.1.99": "Deflated",
    "1.2.840.10008.1.2.2": "Explicit BE",
    "1.2.840.10008.1.2.5": "RLE",
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.8.1": "Deflated frame",
}


@dataclass(frozen=True, eq=False)
class CatalogEntry:
    """One volume of a catalog: what it is, where it is, and what is unusual about it.

    An entry is a source: pass it to ``load_volume``, ``open_volume`` or ``write_zarr``.
    """

    index: int
    found: FoundVolume
    _table: HeaderTable = field(repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # Only the rows of this volume travel to other processes.
        rows = self.found.used_rows
        renumbered = self.found.rows.copy()
        renumbered[renumbered >= 0] = np.arange(len(rows))
        found = replace(self.found, rows=renumbered, dropped=())
        return {"index": self.index, "found": found, "_table": self._table.take(rows)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def headers(self) -> HeaderTable:
        """Header columns of the slices that exist, in volume order (C order of ``dims`` before y)."""
        return self._table.take(self.found.used_rows)

    def _text(self, name: str) -> str:
        return self._table.text(name, int(self.found.used_rows[0]))

    @property
    def modality(self) -> str:
        return self._text("modality")

    @property
    def description(self) -> str:
        """Series Description (0008,103E), or Protocol Name where it is absent."""
        return self._text("series_description") or self._text("protocol_name")

    @property
    def series_number(self) -> int | None:
        number = int(self._table["series_number"][self.found.used_rows[0]])
        return number if number > -(2**31) else None

    @property
    def series_instance_uid(self) -> str:
        return self._text("series_instance_uid")

    @property
    def study_instance_uid(self) -> str:
        return self._text("study_instance_uid")

    @property
    def frame_of_reference_uid(self) -> str:
        return self._text("frame_of_reference_uid")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array: extra dimensions, z, y, x, and c for colour; 0 for Rows or Columns that are absent."""
        row = int(self.found.used_rows[0])
        frame = (max(0, int(self._table[name][row])) for name in ("rows", "columns"))
        samples = int(self._table["samples_per_pixel"][row])
        return (*self.found.rows.shape, *frame, *((samples,) if samples > 1 else ()))

    @property
    def dims(self) -> tuple[str, ...]:
        return (*self.found.dims, "y", "x", *(("c",) if len(self.shape) > len(self.found.dims) + 2 else ()))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(z, y, x) mm."""
        return self.found.geometry.spacing

    @property
    def transfer_syntax_uids(self) -> tuple[str, ...]:
        values = np.unique(self._table["transfer_syntax_uid"][self.found.used_rows])
        return tuple(bytes(value).decode("ascii", "replace") for value in values)

    @property
    def paths(self) -> list[str]:
        """Files of the volume, each once, in order of first use."""
        return list(dict.fromkeys(str(path) for path in self._table["path"][self.found.used_rows]))

    @property
    def file_bytes(self) -> int:
        """Bytes of the files together."""
        rows = self.found.used_rows
        _, first = np.unique(self._table["path"][rows].astype(str), return_index=True)
        return int(self._table["file_size"][rows][first].sum())

    @property
    def error(self) -> FastDicomError | None:
        """Why this volume cannot be loaded under the policy of the scan, or None."""
        if self.found.error is not None:
            return self.found.error
        problems = self._table["problem"][self.found.used_rows]
        whole = [NOT_APART in problem for problem in problems]
        bad = np.flatnonzero(whole if any(whole) else problems != "")
        if not len(bad):
            return None
        row = int(self.found.used_rows[bad[0]])
        path = str(self._table["path"][row])
        details = {"path": path, "count": len(bad), "series_instance_uid": self.series_instance_uid}
        first = f"(first: {os.path.basename(path)}, {self._table['problem'][row]})"
        if any(whole):
            return GeometryError(
                f"{len(bad)} of {len(problems)} images of series {self.series_instance_uid} hold several slices whose "
                f"places are not known {first}. The private elements that tell them are missing or damaged, mostly "
                "since somebody removed them: get the original files.",
                **details,
            )
        return PixelDataError(
            f"{len(bad)} of {len(problems)} frames of series {self.series_instance_uid} have damaged pixel data "
            f"{first}. Copy the files again from their origin, or pass errors='report' to load the others.",
            **details,
        )

    @property
    def is_localizer(self) -> bool:
        """Whether Image Type says so of every frame (PS3.3 C.8.2.1.1.1)."""
        types = np.unique(self._table["image_type"][self.found.used_rows])
        return all(b"LOCALIZER" in bytes(value).upper().split(b"\\") for value in types)

    @property
    def unusual(self) -> list[str]:
        """Sentences on everything that is not a plain regular volume."""
        notes = [*self.found.notes, *(w for w in self.found.warnings if w not in self.found.notes)]
        if len(self.transfer_syntax_uids) > 1:
            notes.append(f"{len(self.transfer_syntax_uids)} transfer syntaxes")
        slopes = np.unique(self._table["rescale_slope"][self.found.used_rows])
        intercepts = np.unique(self._table["rescale_intercept"][self.found.used_rows])
        if max(np.isfinite(slopes).sum(), np.isfinite(intercepts).sum()) > 1:
            notes.append("rescale differs from slice to slice")
        error = self.error
        return [*notes, f"{type(error).__name__}: {error}"] if error is not None else notes

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}: {length}" for name, length in zip(self.dims, self.shape, strict=True))
        spacing = " x ".join(f"{value:.4g}" for value in self.spacing)
        number = "" if self.series_number is None else f" series {self.series_number}"
        state = f", {type(self.error).__name__}" if self.error is not None else ""
        return f"<[{self.index}] {self.modality}{number} {self.description!r} ({axes}), {spacing} mm{state}>"

    def to_dict(self) -> dict[str, Any]:
        """Everything known about the volume as plain JSON values."""
        geometry, policy, error = self.found.geometry, self.found.policy, self.error
        return {
            "index": self.index,
            "modality": self.modality,
            "series_number": self.series_number,
            "description": self.description,
            "series_instance_uid": self.series_instance_uid,
            "study_instance_uid": self.study_instance_uid,
            "frame_of_reference_uid": self.frame_of_reference_uid,
            "shape": list(self.shape),
            "dims": list(self.dims),
            "coordinates": {
                d.name: {"attribute": d.attribute, "units": d.units, "values": d.values.tolist()}
                | ({} if d.directions is None else {"directions": d.directions.tolist()})
                for d in self.found.dimensions
            },
            "transfer_syntax_uids": list(self.transfer_syntax_uids),
            "frames": int(self.found.used_rows.size),
            "files": self.paths,
            "file_bytes": self.file_bytes,
            "geometry": {
                "affine_lps": geometry.affine.tolist(),
                "spacing_mm": list(geometry.spacing),
                "origin_mm": list(geometry.origin),
                "slice_positions_mm": geometry.slice_positions.tolist(),
                "uniform": geometry.uniform,
                "tilt_deg": geometry.tilt_deg,
                "deviation_mm": geometry.deviation_mm,
                "tolerance_mm": spacing_tolerance(policy, geometry.spacing[0]),
                "spacing_source": geometry.spacing_source,
                "has_positions": geometry.has_positions,
            },
            "valid": (self.found.rows >= 0).tolist(),
            "policy": policy.to_dict(),
            "unusual": self.unusual,
            "warnings": list(self.found.warnings),
            "error": {"kind": type(error).__name__, "message": str(error)} if error is not None else None,
        }


_SHOWN = 20
"""Volumes in the repr of a catalog."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """What a scan found: the volumes, and every file that is in none, with the reason."""

    volumes: tuple[CatalogEntry, ...]
    skipped: tuple[Skipped, ...]
    table: HeaderTable
    """Header columns of every frame, one row a frame."""
    policy: GeometryPolicy
    n_files: int
    """Files looked at: those in volumes plus those skipped."""

    def __repr__(self) -> str:
        skipped = ", ".join(f"{count} {kind}" for kind, count in self.skipped_by_reason.items()) or "none"
        more = len(self) - _SHOWN
        lines = [repr(entry) for entry in self.volumes[:_SHOWN]] + ([f"... and {more} more"] if more > 0 else [])
        head = f"<fastdicom.Catalog of {self.n_files} files: {len(self)} volumes, skipped: {skipped}>"
        return "\n  ".join([head, *lines])

    def __len__(self) -> int:
        return len(self.volumes)

    def __iter__(self) -> Iterator[CatalogEntry]:
        return iter(self.volumes)

    def __getitem__(self, index: int) -> CatalogEntry:
        return self.volumes[index]

    @property
    def skipped_by_reason(self) -> dict[str, int]:
        """Number of skipped files by kind."""
        return dict(Counter(item.kind for item in self.skipped))

    def to_json(self, *, indent: int | None = 2) -> str:
        """The whole catalog as JSON text."""
        import json

        record = {
            "fastdicom": "catalog",
            "version": 1,
            "files": self.n_files,
            "policy": self.policy.to_dict(),
            "volumes": [entry.to_dict() for entry in self.volumes],
            "skipped": [{"path": s.path, "kind": s.kind, "reason": s.reason} for s in self.skipped],
        }
        return json.dumps(_finite(record), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN: null instead."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return None if isinstance(value, float) and not np.isfinite(value) else value
