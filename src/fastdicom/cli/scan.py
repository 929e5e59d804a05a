"""``fastdicom scan``: what is in a heap of files."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import click

from fastdicom.cli.messages import as_options, human_bytes, human_numbers, show_table
from fastdicom.cli.options import parse_scheduler, path_argument, policy_of, policy_options, running_options

if TYPE_CHECKING:
    from fastdicom.catalog import Catalog, CatalogEntry

__all__ = ["FAILED_KINDS", "scan"]

FAILED_KINDS = frozenset({"damaged", "unreadable", "missing", "unsupported"})
"""Kinds of skipped files that are failures; the others (no DICOM, no pixels, copies) have no place in a volume."""
EXAMPLES = 3
SHORT_NOTE = 60


@click.command(short_help="List the volumes in PATH, and the files in none.")
@path_argument
@policy_options
@running_options
@click.option("--cache", type=click.Path(dir_okay=False), help="Keep the headers in this file for the next scan.")
@click.option("--verbose", "-v", is_flag=True, help="List every skipped file.")
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, as JSON.")
def scan(path: str, as_json: bool, verbose: bool, cache: str | None, **options: Any) -> int:
    """List the volumes in PATH, one line each, and the files that are in none.

    \b
    Examples:
      fastdicom scan scans/
      fastdicom scan study.zip --json | jq '.volumes[].shape'
    """
    from fastdicom.scanning import scan as scan_source
    from fastdicom.selection import no_images

    catalog = scan_source(
        path,
        policy=policy_of(options["gaps"], options["duplicates"], options["tilt"]),
        scheduler=parse_scheduler(options["scheduler"]),
        workers=options["workers"],
        progress=not as_json,
        cache=cache,
    )
    if as_json:
        click.echo(catalog.to_json())
    elif catalog.volumes:
        show_table(
            ("#", "modality", "description", "shape", "spacing (mm)", "syntax", "files", "size", "unusual"),
            [_row(entry) for entry in catalog.volumes],
            right=(0, 6, 7),
        )
    if not as_json:
        _tell_rest(catalog, verbose)
    if not catalog.volumes:
        raise no_images(path, catalog)
    failed = any(entry.error is not None for entry in catalog.volumes)
    return int(failed or any(item.kind in FAILED_KINDS for item in catalog.skipped))


def _row(entry: CatalogEntry) -> tuple[str, ...]:
    from fastdicom.catalog import SYNTAX_NAMES

    syntaxes = [SYNTAX_NAMES.get(uid, uid) for uid in entry.transfer_syntax_uids]
    return (
        str(entry.index),
        entry.modality,
        " ".join(entry.description.split()),
        "x".join(map(str, entry.shape)),
        human_numbers(entry.spacing),
        " + ".join(syntaxes) if len(syntaxes) < 3 else f"{len(syntaxes)} syntaxes",
        str(len(entry.paths)),
        human_bytes(entry.file_bytes),
        "; ".join(_short_notes(entry)),
    )


def _notes(entry: CatalogEntry) -> list[str]:
    """All that is unusual but the error."""
    error = entry.error
    shown = f"{type(error).__name__}: {error}"
    return [note for note in entry.unusual if note != shown]


def _short_notes(entry: CatalogEntry) -> list[str]:
    short = [note for note in _notes(entry) if len(note) <= SHORT_NOTE]
    long = len(_notes(entry)) - len(short)
    return [
        *([type(entry.error).__name__] if entry.error is not None else []),
        *short,
        *([f"{long} more below"] if long else []),
    ]


def _tell_rest(catalog: Catalog, verbose: bool) -> None:
    if catalog.volumes:
        used = catalog.n_files - len({item.path for item in catalog.skipped})
        click.echo(
            f"\n{_count(len(catalog.volumes), 'volume')} in {_count(used, 'file')}"
            + (f"; {_count(catalog.n_files - used, 'file')} skipped." if used < catalog.n_files else ".")
        )
    failed = [entry for entry in catalog.volumes if entry.error is not None]
    if failed:
        click.echo("\nCannot be loaded without a choice of yours:")
        for entry in failed:
            click.echo(f"  [{entry.index}] {type(entry.error).__name__}: {as_options(str(entry.error))}")
    long = [(entry.index, note) for entry in catalog.volumes for note in _notes(entry) if len(note) > SHORT_NOTE]
    if long:
        click.echo("\nUnusual:")
        for index, note in long:
            click.echo(f"  [{index}] {as_options(note)}")
    by_kind = defaultdict(list)
    for item in catalog.skipped:
        by_kind[item.kind].append(item)
    if by_kind:
        click.echo("\nSkipped files:")
    for kind, items in sorted(by_kind.items(), key=lambda pair: -len(pair[1])):
        click.echo(f"  {len(items)} {kind}")
        for item in items if verbose else items[:EXAMPLES]:
            click.echo(f"    {item.path}: {item.reason}")
        if not verbose and len(items) > EXAMPLES:
            click.echo(f"    and {len(items) - EXAMPLES} more (--verbose lists them)")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
