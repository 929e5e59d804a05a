"""``fastdicom convert``: DICOM to Zarr stores, or to NIfTI."""

from __future__ import annotations

import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastdicom.cli.messages import as_options, human_bytes, show_warning
from fastdicom.cli.options import (
    parse_scheduler,
    parse_series,
    parse_sizes,
    parse_window,
    path_argument,
    pixel_options,
    policy_of,
    policy_options,
    running_options,
    series_option,
)
from fastdicom.cli.scan import FAILED_KINDS

if TYPE_CHECKING:
    from fastdicom.catalog import CatalogEntry
    from fastdicom.store.writing import StoreReport

__all__ = ["convert"]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
FOREIGN_SUFFIXES = (".nrrd", ".mha", ".mhd", ".npy", ".npz", ".png", ".dcm", ".h5", ".hdf5", ".tif", ".tiff", ".hdr")
"""Names that promise a format which is not written here."""
LISTED_FAILURES = 10


@click.command(short_help="Write volumes as Zarr stores, or one as NIfTI.")
@path_argument
@click.argument("out", metavar="OUT")
@series_option
@policy_options
@pixel_options
@running_options
@click.option("--chunks", metavar="Z,Y,X", help="What a reader reads at once. Default: 32,256,256.")
@click.option("--shards", metavar="Z,Y,X", help="What one task writes. Default: whole slices, about 64 MiB.")
@click.option("--max-memory", metavar="SIZE", help="Upper bound of all tasks together, such as '4 GB'.")
@click.option(
    "--identifiers",
    type=click.Choice(["remove", "keep"]),
    default="remove",
    show_default=True,
    help="Attributes (and names) that may identify a person.",
)
@click.option(
    "--overwrite", is_flag=True, help="Replace stores written from other files or with other settings, or a NIfTI file."
)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON.")
def convert(path: str, out: str, as_json: bool, **options: Any) -> int:
    """Write the volumes in PATH to OUT.zarr, or one of them to OUT.nii.gz.

    One volume becomes the store OUT.zarr itself. Several become one store each below OUT.zarr, named by series
    number, modality, orientation and shape. The same command again continues what was interrupted.

    \b
    Examples:
      fastdicom convert scans/ volumes.zarr
      fastdicom convert scans/ head.nii.gz --series 2 --gaps fill
      fastdicom convert scans/ half.nii.gz --level 1
    """
    if out.lower().endswith(NIFTI_SUFFIXES):
        return _to_nifti(path, out, as_json, options)
    if out.lower().endswith(FOREIGN_SUFFIXES):
        raise click.BadParameter(f"{out!r}: name it .zarr (or a folder), .nii or .nii.gz.", param_hint="OUT")
    return _to_zarr(path, out, as_json, options)


def _to_zarr(path: str, out: str, as_json: bool, options: dict[str, Any]) -> int:
    from fastdicom.errors import FastDicomError, UsageError
    from fastdicom.scanning import scan
    from fastdicom.selection import no_images, select, warn_of_skipped, with_note_of_skipped
    from fastdicom.store.names import store_names
    from fastdicom.store.target import refuse_inside_a_store, target_of
    from fastdicom.store.writing import (
        StoreReport,
        WriteReport,
        refuse_store_as_source,
        write_zarr,
    )

    policy = policy_of(options["gaps"], options["duplicates"], options["tilt"])
    running = {
        "scheduler": parse_scheduler(options["scheduler"]), "workers": options["workers"], "progress": not as_json
    }  # fmt: skip
    settings = running | {
        "values": options["values"] or "modality",
        "window": parse_window(options["window"]),
        "dtype": _dtype(options["dtype"]),
        "decoder": options["decoder"],
        "level": options["level"],
        "chunks": parse_sizes(options["chunks"], "--chunks"),
        "shards": parse_sizes(options["shards"], "--shards"),
        "identifiers": options["identifiers"],
        "max_memory": options["max_memory"],
        "errors": options["errors"],
        "overwrite": options["overwrite"],
    }
    refuse_store_as_source(path)
    catalog = scan(path, policy=policy, **running)
    if not catalog.volumes:
        raise no_images(path, catalog)
    warn_of_skipped(catalog.skipped)
    wanted = parse_series(options["series"])
    entries = list(catalog.volumes) if wanted is None else [select(catalog, wanted)]
    entries = with_note_of_skipped(entries, catalog.skipped)
    targets = [out]
    if len(entries) > 1:
        refuse_inside_a_store(target_of(out), itself=True)
        names = store_names(entries, keep_identifiers=options["identifiers"] == "keep")
        targets = [f"{out.rstrip('/')}/{name}" for name in names]
    reports: list[StoreReport] = []
    for entry, target in zip(entries, targets, strict=True):
        begun = time.perf_counter()
        try:
            reports += write_zarr(entry, target, **settings).stores
        except UsageError:
            raise
        except FastDicomError as error:
            reports.append(StoreReport(entry.index, target, entry.shape, error=error))
        if not as_json:
            _tell(entry, reports[-1], time.perf_counter() - begun)
    report = WriteReport(tuple(reports))
    failed_files = [item for item in catalog.skipped if item.kind in FAILED_KINDS]
    ok = report.ok and not failed_files
    if as_json:
        skipped = [{"path": item.path, "kind": item.kind, "reason": item.reason} for item in failed_files]
        click.echo(json.dumps(report.to_dict() | {"ok": ok, "skipped": skipped}, indent=2))
    elif len(entries) > 1:
        written = sum(item.error is None for item in reports)
        click.echo(f"{written} of {len(reports)} volumes are below {out}.")
    return 0 if ok else 1


def _dtype(name: str | None) -> Any:
    if name is None:
        return None
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:
        raise click.BadParameter(f"{name!r} is no dtype. Use int16, float32, ...", param_hint="--dtype") from None


def _tell(entry: CatalogEntry, report: StoreReport, seconds: float) -> None:
    what = f"[{entry.index}] {entry.modality or 'unknown modality'} {'x'.join(map(str, entry.shape))}"
    if report.error is not None:
        click.echo(f"{what}: not written. {type(report.error).__name__}: {as_options(str(report.error))}", err=True)
        return
    already = f", {report.shards_kept} of its shards were there already" if report.shards_kept else ""
    size = human_bytes(entry.file_bytes)
    click.echo(f"{what} -> {report.store}  ({size} of DICOM in {seconds:.2f} s{already})")
    for failure in report.failures[:LISTED_FAILURES]:
        place = f"slice {', '.join(map(str, failure.index))}"
        click.echo(f"  {place} is filled: {failure.path or 'see the first report'}: {failure.message}", err=True)
    if len(report.failures) > LISTED_FAILURES:
        click.echo(f"  and {len(report.failures) - LISTED_FAILURES} more slices (--json lists them)", err=True)


def _to_nifti(path: str, out: str, as_json: bool, options: dict[str, Any]) -> int:
    from fastdicom.errors import FastDicomError, FastDicomWarning, SkippedFilesWarning, SourceError, UsageError
    from fastdicom.loading import load_volume, open_volume
    from fastdicom.nifti import write_nifti

    if Path(out).exists() and not options["overwrite"]:
        raise UsageError(f"{out} exists. Pass overwrite=True to replace it, or choose another name.")
    begun = time.perf_counter()
    how = {
        "series": parse_series(options["series"]),
        "policy": policy_of(options["gaps"], options["duplicates"], options["tilt"]),
        "values": options["values"] or "modality",
        "window": parse_window(options["window"]),
        "dtype": _dtype(options["dtype"]),
        "decoder": options["decoder"],
        "level": options["level"],
        "scheduler": parse_scheduler(options["scheduler"]),
        "workers": options["workers"],
        "progress": not as_json,
    }
    # Lazily, so that a volume of any size needs little memory; what failed is only known of one that is loaded.
    report = options["errors"] == "report"
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always", FastDicomWarning)
        volume = load_volume(path, errors="report", **how) if report else open_volume(path, **how)
    for warning in noticed:
        show_warning(warning.message)
    complete = not volume.failures and not any(issubclass(w.category, SkippedFilesWarning) for w in noticed)
    try:
        write_nifti(volume, out, progress=not as_json)
    except OSError as error:
        if isinstance(error, FastDicomError):
            raise
        raise SourceError(f"{out} cannot be written: {error.strerror or error}.", path=out) from error
    record = {"ok": complete, "file": out, "shape": list(volume.shape), "dtype": volume.dtype.name}
    if as_json:
        click.echo(json.dumps(record, indent=2))
    else:
        what = f"{volume.modality} {'x'.join(map(str, volume.shape))}"
        click.echo(f"{what} -> {out}  ({time.perf_counter() - begun:.2f} s)")
    for failure in volume.failures[:LISTED_FAILURES]:
        place = f"slice {', '.join(map(str, failure.index))}"
        click.echo(f"  {place} is filled: {failure.path}: {failure.message}", err=True)
    return 0 if complete else 1
