"""The documentation is true: its code runs, its commands parse, its links lead somewhere, its picture is ours."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from fastdicom.cli import fastdicom as group

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")), REPOSITORY / "CHANGELOG.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line, text) of the code blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    return [(text[: m.start()].count("\n") + 2, m[2]) for m in BLOCK.finditer(text) if m[1] == language]


def named(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=named)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page in order, in one namespace, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    if page.name == "README.md":
        from fastdicom.testing import write_series

        write_series("scans")
    namespace: dict[str, object] = {"__name__": "__main__"}
    for line, code in blocks(page, "python"):
        padded = "\n" * (line - 1) + code  # so that a traceback names the line of the page
        exec(compile(padded, str(page), "exec"), namespace)


def test_readme_shows_what_is_printed(tmp_path: Path) -> None:
    import fastdicom
    from fastdicom.testing import write_series

    write_series(tmp_path)
    assert repr(fastdicom.load_volume(tmp_path)) in (REPOSITORY / "README.md").read_text()


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for line, text in blocks(page, "bash"):
            for number, command in enumerate(text.splitlines(), line):
                if command.startswith("fastdicom "):
                    found.append((f"{named(page)}:{number}", command))
    return found


@pytest.mark.parametrize(("where", "command"), commands())
def test_commands_parse(where: str, command: str) -> None:
    name, *arguments = shlex.split(command, comments=True)[1:]
    assert group.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_is_linked() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text()
    for page in sorted((REPOSITORY / "docs").rglob("*.md")):
        generated = page.name in ("index.md", "benchmarks.md")
        assert generated or f"({page.relative_to(REPOSITORY / 'docs')})" in index, page.name
    assert "docs/index.md" in (REPOSITORY / "README.md").read_text()


def test_the_benchmarks_find_their_place() -> None:
    page = (REPOSITORY / "README.md").read_text()
    assert page.index("<!-- benchmarks:begin -->") < page.index("<!-- benchmarks:end -->")


def test_the_picture_is_made_by_its_script(tmp_path: Path) -> None:
    from matplotlib.image import imread

    script = REPOSITORY / "docs" / "make_picture.py"
    spec = importlib.util.spec_from_file_location("make_picture", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = imread(module.make(tmp_path / "preview.png"))
    committed = imread(REPOSITORY / "docs" / "preview.png")
    assert made.shape == committed.shape
    assert np.abs(made - committed).max() <= 1 / 255  # rounding of another machine
    assert (REPOSITORY / "docs" / "preview.png").stat().st_size < 200_000
