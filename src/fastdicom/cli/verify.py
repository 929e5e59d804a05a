"""``fastdicom verify``: whether a store is whole, and holds what the DICOM files say."""

from __future__ import annotations

import json
from typing import Any

import click

from fastdicom.cli.messages import as_options
from fastdicom.cli.options import parse_series, parse_window, series_option, window_option

__all__ = ["verify"]


@click.command(short_help="Check a Zarr store, alone or against its DICOM files.")
@click.argument("store", metavar="STORE")
@click.argument("source", metavar="[PATH]", required=False)
@series_option
@window_option
@click.option("--workers", type=click.IntRange(min=1), help="Threads. Default: one a core.")
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def verify(store: str, source: str | None, as_json: bool, **options: Any) -> int:
    """Read every shard of a Zarr store; with PATH, compare every voxel with the DICOM files there.

    STORE may be a folder of stores; then only their wholeness is checked.

    \b
    Examples:
      fastdicom verify volumes.zarr
      fastdicom verify head.zarr scans/ --series 2
    """
    from fastdicom.errors import FastDicomError
    from fastdicom.verify import VerifyReport, find_stores, verify_store

    stores = find_stores(store)
    if source is not None and len(stores) > 1:
        raise click.UsageError(f"{store} holds {len(stores)} stores. Name one of them to compare it with {source}.")
    reports = []
    for each in stores:
        try:
            report = verify_store(
                each,
                source,
                series=parse_series(options["series"]),
                window=parse_window(options["window"]),
                workers=options["workers"],
                progress=not as_json,
            )
        except FastDicomError as error:
            if len(stores) == 1:
                raise
            report = VerifyReport(each, (), 0, False, (str(error),))
        reports.append(report)
        if not as_json:
            _tell(report)
    if as_json:
        click.echo(json.dumps([report.to_dict() for report in reports], indent=2))
    return 0 if all(report.ok for report in reports) else 1


def _tell(report: Any) -> None:
    if report.ok:
        what = (
            "equal to the DICOM files, voxel for voxel" if report.compared else "complete, and every shard can be read"
        )
        click.echo(f"{report.store}: {what} ({'x'.join(map(str, report.shape))}, {report.shards} shards)")
        return
    click.echo(f"{report.store}: {len(report.problems)} problems")
    for problem in report.problems:
        click.echo(f"  {as_options(problem)}")
