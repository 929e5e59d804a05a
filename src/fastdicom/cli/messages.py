"""What a command says: sentences on stderr, tables on stdout; plain columns in a pipe, fitted ones on a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from fastdicom.errors import FastDicomError

__all__ = ["as_options", "human_bytes", "human_numbers", "say_error", "show_table", "show_warning"]

_PYTHON_TO_OPTIONS = (
    (re.compile(r"\bfastdicom\.scan\(source\)\.skipped lists them all"), "'fastdicom scan --verbose' lists them all"),
    (re.compile(r"\bpolicy=GeometryPolicy\((\w+)=(['\"])([\w-]+)\2\)"), r"--\1 \3"),
    (re.compile(r"\b(duplicates|gaps|tilt|values|errors|decoder|identifiers)=(['\"])([\w-]+)\2"), r"--\1 \3"),
    (re.compile(r"\blevel=(\d+)\b"), r"--level \1"),
    (re.compile(r"\boverwrite=True\b"), "--overwrite"),
    (re.compile(r", a SeriesInstanceUID or a function\b"), " or a SeriesInstanceUID"),
    (
        re.compile(r"\b(series|values|window|dtype|chunks|shards|decoder|workers|scheduler|policy)=(?=[\s,.;)]|$)"),
        r"--\1",
    ),
    (re.compile(r"\bmax_memory\b=?"), "--max-memory"),
    (re.compile(r"--window \(center, width\)"), "--window CENTER,WIDTH"),
    (re.compile(r"\bThe same write_zarr again\b|\bthe same write_zarr again\b"), "the same command again"),
)


def as_options(message: str) -> str:
    """A message of the library in the words of the command line: ``--gaps fill`` for its Python argument."""
    for pattern, replacement in _PYTHON_TO_OPTIONS:
        message = pattern.sub(replacement, message)
    return message


def say_error(error: FastDicomError) -> None:
    """The sentence of an error on stderr."""
    click.echo(f"Error: {as_options(str(error))}", err=True)


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Stands in for `warnings.showwarning`: the sentence, without the line of code."""
    click.echo(f"Warning: {as_options(str(message))}", err=True)


def human_bytes(size: float) -> str:
    """``8 B``, ``1.5 KiB``, ``20.6 MiB``, ..."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def human_numbers(numbers: Sequence[float], digits: int = 4) -> str:
    """``5 x 0.7969 x 0.7969``."""
    return " x ".join(f"{number:.{digits}g}" for number in numbers)


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table.

    Parameters
    ----------
    header : names of the columns
    rows : texts of the cells
    right : columns that are aligned to the right

    On a terminal the columns are fitted to its width. In a pipe each row is one line, cut nowhere.
    """
    if not sys.stdout.isatty():
        _plain_table(header, rows, right)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    last = len(header) - 1
    for number, name in enumerate(header):
        # The last column holds sentences: it gives way first, and wraps.
        table.add_column(name, justify="right" if number in right else "left", no_wrap=number not in (2, last))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False).print(table)


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int]) -> None:
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    for row in (header, *rows):
        cells = [
            " ".join(cell.splitlines()).rjust(width) if k in right else " ".join(cell.splitlines()).ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())
