"""Heaps of DICOM files to correct volumes, fast: NumPy, lazy Dask and chunked Zarr.

    import fastdicom

    catalog = fastdicom.scan(source)                    # what is in there
    volume = fastdicom.load_volume(source)              # a NumPy array with its geometry
    volume = fastdicom.open_volume(source)              # the same, lazily, as a Dask array
    report = fastdicom.write_zarr(source, "out.zarr")   # out of core, chunked

Names are imported at first use, so that ``import fastdicom`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fastdicom.catalog import Catalog, CatalogEntry
    from fastdicom.loading import load_volume, open_volume
    from fastdicom.scanning import scan
    from fastdicom.store.writing import WriteReport, write_zarr
    from fastdicom.types import Geometry, GeometryPolicy
    from fastdicom.volume import Volume

_HOME = {
    "Catalog": "catalog",
    "CatalogEntry": "catalog",
    "Geometry": "types",
    "GeometryPolicy": "types",
    "Volume": "volume",
    "WriteReport": "store.writing",
    "load_volume": "loading",
    "open_volume": "loading",
    "scan": "scanning",
    "write_zarr": "store.writing",
}

__all__ = [
    "Catalog",
    "CatalogEntry",
    "Geometry",
    "GeometryPolicy",
    "Volume",
    "WriteReport",
    "__version__",
    "load_volume",
    "open_volume",
    "scan",
    "write_zarr",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"fastdicom.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in ("errors", "testing"):
        return importlib.import_module(f"fastdicom.{name}")
    raise AttributeError(f"module 'fastdicom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "errors", "testing"})
