"""Which volume of a source is meant: `series=`, or the only one there is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastdicom.catalog import Catalog, CatalogEntry
from fastdicom.errors import (
    GeometryWarning,
    MixedSeriesError,
    NoDicomError,
    SeriesSelectionError,
    SkippedFilesWarning,
    UsageError,
)
from fastdicom.progress import ProgressArgument
from fastdicom.scanning import check_policy, scan
from fastdicom.series import find_volumes
from fastdicom.types import GeometryPolicy, Skipped

__all__ = [
    "SeriesArgument",
    "entry_of",
    "no_images",
    "note_of_skipped",
    "select",
    "warn_of_geometry",
    "warn_of_skipped",
    "with_note_of_skipped",
    "with_policy",
]

DAMAGED_KINDS = ("damaged", "unreadable", "missing")
"""Kinds of skipped files that a slice may be lost with; the others are no images."""

SeriesArgument = str | int | Callable[[CatalogEntry], bool] | None
"""A SeriesInstanceUID, an index into ``catalog.volumes``, or a predicate over its entries."""


def entry_of(
    source: Any,
    *,
    series: SeriesArgument = None,
    policy: GeometryPolicy | None = None,
    scheduler: Any = None,
    workers: int | None = None,
    progress: ProgressArgument = False,
) -> CatalogEntry:
    """The one volume that a call means.

    Raises
    ------
    NoDicomError
        The source holds no image.
    SeriesSelectionError, MixedSeriesError
        It holds several volumes and `series` does not name one.
    """
    check_policy(policy)
    if isinstance(source, CatalogEntry):
        if series is not None:
            raise UsageError(
                f"series={series!r} chooses among volumes, and the source is one already. Leave it out, or pass the "
                "catalog.",
                argument="series",
            )
        entry = source if policy is None else _with_policy(source, policy)
    elif isinstance(source, Catalog):
        judged = with_policy(source, policy)
        (entry,) = with_note_of_skipped([select(judged, series)], judged.skipped)
    else:
        catalog = scan(source, policy=policy, scheduler=scheduler, workers=workers, progress=progress)
        if not catalog.volumes:
            raise no_images(source, catalog)
        (entry,) = with_note_of_skipped([select(catalog, series)], catalog.skipped)
        warn_of_skipped(catalog.skipped)
    warn_of_geometry([entry])
    return entry


def with_note_of_skipped(entries: Sequence[CatalogEntry], skipped: Sequence[Skipped]) -> list[CatalogEntry]:
    """Each volume with a note of the damaged files beside it: a slice of it may have been among them."""
    note = note_of_skipped(skipped)
    return [replace(entry, found=replace(entry.found, notes=(*entry.found.notes, *note))) for entry in entries]


def note_of_skipped(skipped: Sequence[Skipped]) -> tuple[str, ...]:
    """What a volume says about damaged files beside it; no path, which may name a person."""
    count = sum(item.kind in DAMAGED_KINDS for item in skipped)
    if not count:
        return ()
    return (f"{count} file{'s' if count > 1 else ''} of the source could not be read and went into no volume",)


def warn_of_skipped(skipped: Sequence[Skipped]) -> None:
    """Warn of DICOM files that are in no volume because they are damaged: a slice of this one may be among them."""
    damaged = [item for item in skipped if item.kind in DAMAGED_KINDS]
    if damaged:
        first = damaged[0]
        warnings.warn(
            f"{len(damaged)} file{'s' if len(damaged) > 1 else ''} could not be read and went into no volume "
            f"(first: {first.path}: {first.reason}). "
            "fastdicom.scan(source).skipped lists them all.",
            SkippedFilesWarning,
            stacklevel=4,
        )


def warn_of_geometry(entries: Sequence[CatalogEntry]) -> None:
    """Warn of volumes whose geometry rests on less than positions; the volume's notes say the same."""
    for entry in entries:
        if entry.found.warnings and entry.found.error is None:
            warnings.warn(
                f"Volume [{entry.index}] ({_describe(entry)}): {'; '.join(entry.found.warnings)}. "
                "Check it before you measure in it.",
                GeometryWarning,
                stacklevel=4,
            )


def select(catalog: Catalog, series: SeriesArgument) -> CatalogEntry:
    """Apply `series=` to a catalog."""
    volumes = list(catalog.volumes)
    if series is None:
        return _only(volumes)
    if isinstance(series, bool):
        raise UsageError(
            f"series={series!r} is not a UID, an index or a function. Pass one of these.", argument="series"
        )
    if isinstance(series, (int, np.integer)):
        if not -len(volumes) <= series < len(volumes):
            raise SeriesSelectionError(
                f"series={series} is out of range: the source holds {len(volumes)} volumes, 0 to {len(volumes) - 1}. "
                f"{_listing(volumes)}",
                count=len(volumes),
            )
        return volumes[series]
    if isinstance(series, str):
        chosen = [entry for entry in volumes if entry.series_instance_uid == series]
    elif callable(series):
        chosen = [entry for entry in volumes if series(entry)]
    else:
        raise UsageError(
            f"series={series!r} is not a UID, an index or a function. Pass one of these.", argument="series"
        )
    if not chosen:
        raise SeriesSelectionError(f"series={series!r} matches none of {len(volumes)} volumes. {_listing(volumes)}")
    return _only(chosen)


def _only(volumes: list[CatalogEntry]) -> CatalogEntry:
    if len(volumes) == 1:
        return volumes[0]
    # Image Type says LOCALIZER: the one volume beside the scouts is what a caller who names none can mean.
    images = [entry for entry in volumes if not entry.is_localizer]
    if len(images) == 1:
        note = f"{len(volumes) - 1} localizer volumes of the source were not chosen"
        main = images[0]
        return replace(main, found=replace(main.found, notes=(*main.found.notes, note)))
    one_series = len({(entry.study_instance_uid, entry.series_instance_uid) for entry in volumes}) == 1
    if one_series:
        largest = max(volumes, key=lambda entry: entry.found.rows.size)
        odd = next(entry for entry in volumes if entry is not largest)
        names = ", ".join(os.path.basename(path) for path in odd.paths[:3])
        raise MixedSeriesError(
            f"Series ...{largest.series_instance_uid[-8:]} holds {len(volumes)} volumes that one array cannot hold: "
            f"{_describe(largest)}, beside {_describe(odd)} ({names}){' and others' if len(volumes) > 2 else ''}. "
            f"Pass series= an index to choose one: {_listing(volumes)}",
            series_instance_uid=largest.series_instance_uid,
            count=len(volumes),
            path=odd.paths[0],
            paths=odd.paths,
        )
    raise SeriesSelectionError(
        f"The source holds {len(volumes)} volumes. Pass series= an index, a SeriesInstanceUID or a function to choose "
        f"one: {_listing(volumes)}",
        count=len(volumes),
    )


def _describe(entry: CatalogEntry) -> str:
    return f"{entry.modality} {' x '.join(map(str, entry.shape))}"


def _listing(volumes: Sequence[CatalogEntry], most: int = 8) -> str:
    lines = [f"[{entry.index}] {_describe(entry)} (...{entry.series_instance_uid[-8:]})" for entry in volumes[:most]]
    more = f" and {len(volumes) - most} more" if len(volumes) > most else ""
    return "; ".join(lines) + more + "."


def no_images(source: Any, catalog: Catalog) -> NoDicomError:
    """The error for a source without a single image."""
    shown = str(source) if isinstance(source, (str, os.PathLike)) else "the source"
    if not catalog.n_files:
        return NoDicomError(f"{shown} holds no files. Check the path.", path=shown, files=0)
    reasons = ", ".join(f"{count} {kind}" for kind, count in catalog.skipped_by_reason.items())
    first = catalog.skipped[0]
    return NoDicomError(
        f"None of the {catalog.n_files} files in {shown} is a DICOM image ({reasons}; {first.path}: {first.reason}). "
        "fastdicom.scan(source).skipped lists them all.",
        path=first.path,
        files=catalog.n_files,
    )


def with_policy(catalog: Catalog, policy: GeometryPolicy | None) -> Catalog:
    """The catalog's frames judged again under another policy; None: as they are."""
    if policy is None or policy == catalog.policy:
        return catalog
    found, dropped = find_volumes(catalog.table, policy)
    entries = tuple(CatalogEntry(index, volume, catalog.table) for index, volume in enumerate(found))
    placed = {str(path) for path in catalog.table["path"]}  # what the old policy dropped is judged again
    skipped = (*(item for item in catalog.skipped if item.path not in placed), *dropped)
    return replace(catalog, volumes=entries, policy=policy, skipped=skipped)


def _with_policy(entry: CatalogEntry, policy: GeometryPolicy) -> CatalogEntry:
    """The entry's frames judged again under another policy."""
    if policy == entry.found.policy:
        return entry
    rows = np.unique(np.concatenate([entry.found.used_rows, np.array(entry.found.dropped, dtype=np.int64)]))
    table = entry._table.take(rows)
    found, _ = find_volumes(table, policy)
    if len(found) == 1:
        return CatalogEntry(entry.index, found[0], table)
    raise MixedSeriesError(
        f"Under this policy the frames of volume [{entry.index}] form {len(found)} volumes. "
        "Scan the source with the same policy= and choose one of them.",
        count=len(found),
    )
