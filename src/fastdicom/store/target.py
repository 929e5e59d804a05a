"""Where a store goes: what may be there already, what may not, and how it is replaced.

A store is never without its ``zarr.json``, and that says what state the store is in before anything is deleted: a kill
at any moment leaves something that is refused by readers and that the same call recovers.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastdicom.errors import InvalidStoreError, PlanMismatchError, UsageError
from fastdicom.execution import is_client
from fastdicom.store.layout import CLEARING

__all__ = ["Target", "open_target", "refuse_inside_a_store", "stored_record", "target_of"]

METADATA = "zarr.json"
LEFT_BY_A_KILL = re.compile(r"zarr\.[0-9a-f]{32}\.partial")
"""What Zarr leaves of a ``zarr.json`` whose writing was killed."""


@dataclass(frozen=True)
class Target:
    """A checked `store=` argument."""

    location: Any
    """What Zarr opens, here and on any worker: an absolute path, a URL, a StorePath."""
    shown: str
    """As the caller called it."""
    path: Path | None
    """Of a folder of the local file system, links followed."""


def target_of(store: Any, scheduler: Any = None) -> Target:
    """Check a `store=` argument.

    Raises
    ------
    UsageError
        It is no path, URL or Zarr store, or one that the workers of `scheduler` cannot write to.
    """
    import zarr
    from zarr.abc.store import Store
    from zarr.storage import LocalStore, StorePath

    shown = str(store)
    if isinstance(store, (str, os.PathLike)) and isinstance(os.fspath(store), str):
        text = os.fspath(store)
        if text.startswith("file://"):
            text = text.removeprefix("file://")
        if not text or "\0" in text:
            raise UsageError(f"store={store!r} is no path. Name the folder to write.", argument="store")
        if "://" not in text:
            # Absolute: workers may have another current folder.
            path = Path(os.path.realpath(Path(text).expanduser()))
            return Target(str(path), shown, path)
        location: Any = text
    elif isinstance(store, zarr.Group):
        location = store.store_path
    elif isinstance(store, StorePath):
        location = store
    elif isinstance(store, Store):
        location = StorePath(store)
    else:
        raise UsageError(
            f"store={store!r} is no path, URL or Zarr store. Name the folder to write, such as 'out.zarr'.",
            argument="store",
        )
    if isinstance(location, StorePath) and type(location.store) is LocalStore:
        path = Path(os.path.realpath(location.store.root / location.path))
        return Target(str(path), shown, path)
    if (scheduler == "processes" or is_client(scheduler)) and _in_this_process(location):
        raise UsageError(
            f"{shown} is in the memory of this process, and the workers are other processes. Write to a path or URL, "
            "or use scheduler='threads'.",
            argument="store",
        )
    return Target(location, shown, None)


def _in_this_process(location: Any) -> bool:
    if isinstance(location, str):
        return "memory" in location.partition("://")[0].split("::")
    return _place(location).startswith("memory:")


def _place(where: Any) -> str:
    """What tells a StorePath from others: equal for two ways to the same bytes."""
    from zarr.storage import LocalStore, MemoryStore, WrapperStore

    store = where.store
    while isinstance(store, WrapperStore):
        store = store._store
    if isinstance(store, LocalStore):
        return f"local:{os.path.realpath(store.root / where.path)}"
    if isinstance(store, MemoryStore):  # read-only copies share the dict
        return f"memory:{id(store._store_dict)}/{where.path}".rstrip("/")
    if hasattr(store, "fs"):
        files = getattr(store.fs, "sync_fs", store.fs)
        protocol = files.protocol if isinstance(files.protocol, str) else files.protocol[0]
        return f"{protocol}:{store.path.strip('/')}/{where.path}".rstrip("/")
    return f"{store}/{where.path}".rstrip("/")


def open_target(
    target: Target, record: dict[str, Any], overwrite: bool, array: Any
) -> tuple[Any, dict[str, Any] | None]:
    """The group to write into, and the record of an earlier call that this one continues.

    Parameters
    ----------
    record : dict
        ``attributes["fastdicom"]`` of the store to be, its fingerprint among them.
    array : any
        What the voxels come from: a store is not replaced by what is read from it.

    Raises
    ------
    PlanMismatchError
        A store of other content is there, and `overwrite` is False.
    InvalidStoreError
        Something that fastdicom did not write is there, or around it.
    UsageError
        `array` reads from the store that is to be replaced.
    """
    import zarr

    refuse_inside_a_store(target)
    try:
        if target.path is not None and target.path.is_file():
            _refuse_foreign(target.path, target.shown)
        group = zarr.open_group(target.location, mode="r+")
    except FileNotFoundError:
        if target.path is not None:
            _refuse_foreign(target.path, target.shown)
        return zarr.create_group(target.location, zarr_format=3, attributes={"fastdicom": record}), None
    except ValueError as error:  # an array, or metadata that are no JSON
        raise InvalidStoreError(
            f"{target.shown} is no Zarr group that fastdicom wrote ({error}). Choose another path.", path=target.shown
        ) from error
    earlier = group.attrs.get("fastdicom")
    if not isinstance(earlier, dict):
        raise InvalidStoreError(
            f"{target.shown} is a Zarr group that fastdicom did not write. Choose another path.", path=target.shown
        )
    same = earlier.get("fingerprint") == record["fingerprint"]
    if same and earlier.get("status") != CLEARING:
        return group, earlier
    if not same and not overwrite:
        raise PlanMismatchError(
            f"{target.shown} ({earlier.get('status')}) was written from other files or with other settings. Pass "
            "overwrite=True to replace it, or choose another path.",
            path=target.shown,
            status=earlier.get("status"),
        )
    if _reads_from(array, group.store_path):
        raise UsageError(
            f"The voxels of this volume are read from {target.shown}, which overwrite=True would delete first. Write "
            "to another path, or load the volume into memory with compute() before.",
            argument="store",
        )
    _clear(group, record)
    return group, None


def _clear(group: Any, record: dict[str, Any]) -> None:
    """Delete all but the group itself. From the first moment on it is the new store, and says that it is none yet."""
    from zarr.core.sync import sync

    group.attrs.put({"fastdicom": record | {"status": CLEARING}})
    where = group.store_path

    async def clear() -> None:
        for name in [name async for name in where.store.list_dir(where.path)]:
            if name and name != METADATA:
                await _delete(where / name)

    sync(clear())
    group.attrs.put({"fastdicom": record})


async def _delete(where: Any) -> None:
    try:
        await where.delete_dir()
    except ValueError:  # a file; only the local store tells them apart
        await where.delete()


def _reads_from(array: Any, where: Any) -> bool:
    """Whether an array, of whatever kind, is lazily read from a group: whether it holds a way to it, however deep.

    A pickler goes through everything that the array is made of (task graphs, closures, wrappers of wrappers).
    """
    import io

    import cloudpickle  # type: ignore[import-untyped]
    from zarr.storage import StorePath

    target, found = _place(where), False

    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            return len(data)

    class Search(cloudpickle.Pickler):  # type: ignore[misc]
        def persistent_id(self, item: Any) -> str | None:
            nonlocal found
            if isinstance(item, StorePath):
                found = found or f"{_place(item)}/".startswith(f"{target}/")
                return "store"
            return "array" if isinstance(item, np.ndarray) and item.dtype.kind != "O" else None

        def reducer_override(self, item: Any) -> Any:
            how = super().reducer_override(item)
            if how is NotImplemented and not isinstance(item, type) and type(item) not in self.dispatch_table:
                try:
                    item.__reduce_ex__(4)
                except Exception:  # cannot be pickled (a lock, an open file): left out
                    return dict, ()
            return how

    try:
        Search(Nowhere()).dump(getattr(array, "dask", array))
    except Exception:  # what cannot be looked through may be read from anywhere
        return True
    return found


def _refuse_foreign(path: Path, shown: str) -> None:
    if path.is_file() or (path.is_dir() and any(not LEFT_BY_A_KILL.fullmatch(item.name) for item in path.iterdir())):
        raise InvalidStoreError(
            f"{shown} exists and is not a Zarr store. Choose another path; nothing was written.", path=shown
        )


def refuse_inside_a_store(target: Target, *, itself: bool = False) -> None:
    """Refuse to write below a store of fastdicom or an array, or with `itself` below `target` if that is one.

    Raises
    ------
    InvalidStoreError
    """
    for name, metadata in _enclosing(target, itself):
        node: Any = None
        with suppress(ValueError):
            node = json.loads(metadata)
        if not isinstance(node, dict):
            continue
        attributes = node.get("attributes")
        ours = isinstance(attributes, dict) and "fastdicom" in attributes
        if ours or node.get("node_type") == "array":
            raise InvalidStoreError(
                f"{name} is a Zarr {'store of one volume' if ours else 'array'}; no other store can be written below "
                "it. Choose another path; nothing was written.",
                path=name,
            )


def _enclosing(target: Target, itself: bool) -> Iterator[tuple[str, bytes]]:
    """Name and metadata of every Zarr node that a target lies in, as far as they can be read."""
    from zarr.core.sync import sync
    from zarr.storage import StorePath
    from zarr.storage._common import make_store_path

    if target.path is not None:
        for folder in (*((target.path,) if itself else ()), *target.path.parents):
            with suppress(OSError):
                yield str(folder), (folder / METADATA).read_bytes()
        return
    if isinstance(target.location, StorePath):
        parts = target.location.path.split("/") if target.location.path else []
        ends = range(len(parts) + 1 if itself else len(parts))
        nodes = [StorePath(target.location.store, "/".join(parts[:end])) for end in ends]
    else:
        parent = target.location.rstrip("/").rpartition("/")[0]
        urls = [*([target.location] if itself else []), *([parent] if "://" in parent else [])]
        nodes = []
        for url in urls:
            with suppress(OSError, ValueError):
                nodes.append(sync(make_store_path(url, mode="r")))
    for node in nodes:
        with suppress(OSError):
            found = sync((node / METADATA).get())
            if found is not None:
                yield str(node), found.to_bytes()


def stored_record(where: Any) -> dict[str, Any] | None:
    """``attributes["fastdicom"]`` of the group at a StorePath, as it is stored now; None: there is none."""
    from zarr.core.sync import sync

    found = sync((where / METADATA).get())
    if found is None:
        return None
    try:
        record = json.loads(found.to_bytes())["attributes"]["fastdicom"]
    except (ValueError, KeyError, TypeError):
        return None
    return record if isinstance(record, dict) else None
