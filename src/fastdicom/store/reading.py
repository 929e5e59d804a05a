"""Open a store that fastdicom wrote as a `Volume`."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastdicom.errors import InvalidStoreError
from fastdicom.metadata import SeriesRecord
from fastdicom.planner import AIR_HU
from fastdicom.store.layout import COMPLETE, SCHEMA_VERSION
from fastdicom.store.reports import known_failures, note_of_failures
from fastdicom.store.shards import ARRAY, missing_shards
from fastdicom.types import Geometry, GeometryPolicy
from fastdicom.volume import Volume

__all__ = ["is_store", "open_store"]


def is_store(source: Any) -> bool:
    """Whether a source is a Zarr store: a folder with a ``zarr.json``, a URL ending in .zarr, a zarr Group or Store."""
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if "://" in path:
            return path.rstrip("/").endswith(".zarr")
        return (Path(path) / "zarr.json").is_file()
    return type(source).__module__.split(".")[0] == "zarr"


def open_store(source: Any, *, check_shards: bool = True) -> Volume:
    """The volume of a complete store, its array lazy.

    Parameters
    ----------
    check_shards : bool
        Look whether every shard is there (one listing): Zarr reads one that is not as zeros.

    Raises
    ------
    InvalidStoreError
        Not written by fastdicom, by a newer version of it, not complete, or parts of it are missing.
    """
    import dask.array as da
    import zarr

    shown = str(source)
    try:
        group = source if isinstance(source, zarr.Group) else zarr.open_group(source, mode="r")
        record: dict[str, Any] = cast("dict[str, Any]", group.attrs["fastdicom"])
    except (FileNotFoundError, KeyError, ValueError, TypeError, json.JSONDecodeError) as error:
        raise InvalidStoreError(
            f"{shown} is not a store that fastdicom wrote ({type(error).__name__}). Open it with zarr.open instead.",
            path=shown,
        ) from error
    if record.get("schema") != SCHEMA_VERSION:
        raise InvalidStoreError(
            f"{shown} has schema {record.get('schema')}; this version reads {SCHEMA_VERSION}. Update fastdicom.",
            path=shown,
        )
    if record.get("status") != COMPLETE:
        raise InvalidStoreError(
            f"{shown} is not complete (status {record.get('status')!r}): its conversion was interrupted. Run the same "
            "write_zarr again to finish it.",
            path=shown,
        )
    array = _checked_array(group, shown, check_shards)
    failures = known_failures(record)
    notes = dict.fromkeys((*record["notes"], *note_of_failures(failures)))
    slices: dict[str, Any] = {}
    if "slices" in group:
        slices = {name: np.asarray(array[...]) for name, array in cast("zarr.Group", group["slices"]).arrays()}
    slices |= {name: np.array(values) for name, values in record.get("slice_texts", {}).items()}
    geometry = record["geometry"]
    positions = [[np.nan if v is None else v for v in row] for row in geometry["image_positions"]]
    coordinates = record["coordinates"]
    return Volume(
        array=da.from_zarr(array),
        dims=tuple(record["dims"]),
        geometry=Geometry(
            affine=np.array(geometry["affine"], dtype=np.float64),
            slice_positions=np.array(geometry["slice_positions"], dtype=np.float64),
            image_positions=np.array(positions, dtype=np.float64).reshape(-1, 3),
            uniform=geometry["uniform"],
            tilt_deg=geometry["tilt_deg"],
            spacing_source=geometry["spacing_source"],
            deviation_mm=geometry["deviation_mm"],
            has_positions=geometry["has_positions"],
        ),
        series=SeriesRecord(
            modality=record["modality"],
            series_instance_uid=record.get("series_instance_uid", ""),
            study_instance_uid=record.get("study_instance_uid", ""),
            frame_of_reference_uid=record.get("frame_of_reference_uid", ""),
            transfer_syntax_uids=tuple(record["transfer_syntax_uids"]),
            series_number=record.get("series_number"),
            stored_attributes=record["attributes"],
        ),
        values=record["values"],
        units=record["units"],
        coordinates={name: np.array(item["values"]) for name, item in coordinates.items()},
        coordinate_units={name: item["units"] for name, item in coordinates.items() if item["units"]},
        slices=slices,
        failures=failures,
        notes=tuple(notes),
        policy=_policy_of(record),
        fill_value=_fill_value_of(record),
    )


def _policy_of(record: dict[str, Any]) -> GeometryPolicy | None:
    stored = record.get("policy")
    if stored is None:  # of a volume that had none
        return None
    known = {item.name for item in fields(GeometryPolicy)}
    return GeometryPolicy(**{name: value for name, value in stored.items() if name in known})


def _fill_value_of(record: dict[str, Any]) -> float:
    value = record.get("fill_value")
    if value is None:  # earlier versions knew it only of volumes read from DICOM files
        return AIR_HU if record["units"] == "HU" else 0.0
    return float(value)  # a number, or the name of one that JSON has not


def _checked_array(group: Any, shown: str, check_shards: bool) -> Any:
    remedy = "Run the same write_zarr again to write what is missing, or copy the store again."
    if ARRAY not in group:
        raise InvalidStoreError(f"{shown} has no array {ARRAY!r}, which holds the voxels. {remedy}", path=shown)
    array = group[ARRAY]
    if check_shards:
        sizes = array.shards or array.chunks
        places = list(np.ndindex(*(-(-n // size) for n, size in zip(array.shape, sizes, strict=True))))
        missing = missing_shards(array, places)
        if missing:
            raise InvalidStoreError(
                f"{len(missing)} of {len(places)} shards of {shown} are missing (first: {missing[0]}), though it says "
                f"that it is complete. {remedy}",
                path=shown,
                missing=len(missing),
            )
    return array
