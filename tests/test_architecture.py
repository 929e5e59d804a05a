"""A module imports only from those above it: the story of the code has one direction (docs/decisions.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "fastdicom"

ORDER = (
    # pure
    "errors", "types", "_quiet", "_arrays", "_numba_sources", "_numba_cache", "_machine_code", "_numba", "_posix",
    "_memory", "geometry",
    # read
    "sources", "scanner", "headers",
    # decide
    "series", "progress", "execution", "cache", "catalog", "scanning", "selection", "quantities", "planned_files",
    "plan", "resolve",
    # produce
    "kernels", "frames", "codecs", "levels", "luts", "certainty", "scaling", "first_frames", "planner", "display",
    "region", "stats", "runs", "slice_values", "kept_frames",
    "blocks", "prepare", "processes", "process_worker",
    # deliver
    "metadata", "volume", "exports", "regular", "nifti", "store", "loading",
    # show
    "verify", "preview", "profile", "cli", "__main__",
)  # fmt: skip
"""Rooms (modules and packages of src/fastdicom) from top to bottom; an import may only point up."""

MAY_POINT_DOWN = {
    ("volume", "exports"): "Volume.to_sitk() and friends are methods of what they export",
    ("volume", "loading"): "Volume.padding_mask() reads the files once more",
    ("volume", "store"): "Volume.to_zarr() is a method of what it writes",
    ("volume", "regular"): "Volume.regularize() gives a Volume",
    ("volume", "nifti"): "Volume.to_nifti() is a method of what it writes",
}
"""Imports inside functions that may point down, and why. Keep this small."""

TESTING_MAY_USE = {"errors", "types"}
MAY_USE_TESTING = {"cli"}  # the demo


def imports_of(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(room, line, inside a function) of everything of fastdicom that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: write imports out in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            root, *rest = name.split(".")
            if root == "fastdicom" and rest != ["__version__"]:
                yield (rest[0] if rest else "fastdicom"), node.lineno, id(node) in inside


def room_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_every_room_has_its_place() -> None:
    rooms = {room_of(path) for path in FILES} - {"testing"}
    assert rooms <= set(ORDER), f"Give {rooms - set(ORDER)} a place in ORDER here, and in docs/decisions.md"
    assert len(set(ORDER)) == len(ORDER)


def downward(path: Path) -> list[str]:
    room = room_of(path)
    found = []
    for target, line, inside in imports_of(path):
        where = f"{path.relative_to(SOURCE)}:{line}"
        if target == room:
            continue
        if room == "testing":
            if target not in TESTING_MAY_USE:
                found.append(f"{where}: testing stands apart and may not import {target}")
        elif target == "testing":
            if room not in MAY_USE_TESTING:
                found.append(f"{where}: {room} may not import testing")
        elif target not in ORDER:
            found.append(
                f"{where}: {target!r} has no place in ORDER (or is a name of the package root: import its module)"
            )
        elif ORDER.index(target) > ORDER.index(room) and not (inside and (room, target) in MAY_POINT_DOWN):
            found.append(f"{where}: {room} imports {target}, which is below it")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_up(path: Path) -> None:
    assert downward(path) == []


def test_a_wrong_edge_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    wrong = tmp_path / "headers" / "new.py"
    wrong.parent.mkdir()
    wrong.write_text(
        "from fastdicom.errors import UsageError\n"
        "from fastdicom import scan\n"
        "def late():\n    from fastdicom.volume import Volume\n    import fastdicom.testing\n"
    )
    assert len(downward(wrong)) == 3
