"""What became of a write: for the caller, and the part of it that is kept in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastdicom.blocks import Failure
from fastdicom.errors import FastDicomError

__all__ = ["StoreReport", "WriteReport", "known_failures", "listed", "note_of_failures"]


@dataclass(frozen=True)
class StoreReport:
    """What became of one volume."""

    index: int
    """Of the volume in the catalog."""
    store: str
    shape: tuple[int, ...] = ()
    shards_written: int = 0
    shards_kept: int = 0
    """Shards that an earlier, interrupted call had written."""
    failures: tuple[Failure, ...] = ()
    error: FastDicomError | None = None

    @property
    def ok(self) -> bool:
        return self.error is None and not self.failures


@dataclass(frozen=True)
class WriteReport:
    """What `write_zarr` did: one row a volume."""

    stores: tuple[StoreReport, ...]

    @property
    def ok(self) -> bool:
        """Everything asked for was done: every volume, every frame."""
        return all(report.ok for report in self.stores)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": self.ok,
            "stores": [
                {
                    "index": r.index,
                    "store": r.store,
                    "shape": list(r.shape),
                    "shards_written": r.shards_written,
                    "shards_kept": r.shards_kept,
                    "failures": [
                        {"index": list(f.index), "path": f.path, "frame": f.frame, "kind": f.kind, "message": f.message}
                        for f in r.failures
                    ],
                    "error": {"kind": type(r.error).__name__, "message": str(r.error)} if r.error else None,
                }
                for r in self.stores
            ],
        }


def listed(failures: tuple[Failure, ...]) -> list[dict[str, Any]]:
    """Which frame failed and how, as JSON; not its path, which may name a person."""
    return [{"index": list(f.index), "frame": f.frame, "kind": f.kind} for f in failures]


def known_failures(record: dict[str, Any] | None) -> tuple[Failure, ...]:
    """The frames that the record of an earlier call lists."""
    found = record["failures"] if record is not None else []
    return tuple(Failure(tuple(f["index"]), "", f["frame"], f["kind"], "") for f in found)


def note_of_failures(failures: Sequence[Failure]) -> tuple[str, ...]:
    """What a volume says about its frames that could not be read."""
    if not failures:
        return ()
    return (f"{len(failures)} frame{'s' if len(failures) > 1 else ''} could not be read and filled instead",)
