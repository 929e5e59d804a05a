"""``fastdicom info``: all about one volume, without reading its voxels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fastdicom.cli.messages import as_options, human_bytes, human_numbers
from fastdicom.cli.options import parse_series, path_argument, policy_of, policy_options, series_option

if TYPE_CHECKING:
    from fastdicom.volume import Volume

__all__ = ["info"]


@click.command(short_help="Geometry and attributes of one volume.")
@path_argument
@series_option
@policy_options
@click.option(
    "--identifiers",
    type=click.Choice(["remove", "keep"]),
    default="remove",
    show_default=True,
    help="Attributes that may identify a person: leave them out, or show them.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
def info(path: str, as_json: bool, **options: Any) -> int:
    """Show the geometry and the attributes of one volume.

    PATH may also be a Zarr store that fastdicom wrote.

    \b
    Examples:
      fastdicom info scans/ --series 2
      fastdicom info volumes.zarr --json
    """
    from fastdicom.loading import open_volume

    volume = open_volume(
        path,
        series=parse_series(options["series"]),
        policy=policy_of(options["gaps"], options["duplicates"], options["tilt"]),
    )
    facts = _facts(volume, keep=options["identifiers"] == "keep")
    if as_json:
        click.echo(json.dumps(facts, indent=2, allow_nan=False))
    else:
        _show(volume, facts)
    return 0


def _facts(volume: Volume, *, keep: bool) -> dict[str, Any]:
    """Plain JSON values."""
    from fastdicom.catalog import SYNTAX_NAMES
    from fastdicom.metadata import IDENTIFYING

    geometry = volume.geometry
    uids = [uid for uid in volume.transfer_syntax_uid.split("\\") if uid]
    facts: dict[str, Any] = {
        "modality": volume.modality,
        "dims": list(volume.dims),
        "shape": list(volume.shape),
        "dtype": volume.dtype.name,
        "bytes": int(volume.dtype.itemsize * _product(volume.shape)),
        "values": volume.values,
        "units": volume.units,
        "geometry": {
            "affine_lps": geometry.affine.tolist(),
            "spacing_mm": list(geometry.spacing),
            "origin_mm": list(geometry.origin),
            "direction": geometry.direction.tolist(),
            "slice_positions_mm": _finite(geometry.slice_positions.tolist()),
            "uniform": geometry.uniform,
            "tilt_deg": geometry.tilt_deg,
            "deviation_mm": geometry.deviation_mm,
            "spacing_source": geometry.spacing_source,
            "has_positions": geometry.has_positions,
        },
        "coordinates": {
            name: {"values": values.tolist(), "units": volume.coordinate_units.get(name, "")}
            for name, values in volume.coordinates.items()
        },
        "transfer_syntaxes": [{"uid": uid, "name": SYNTAX_NAMES.get(uid, uid)} for uid in uids],
        "absent_slices": int((~volume.slices["valid"]).sum()) if "valid" in volume.slices else 0,
        "notes": list(volume.notes),
        "attributes": {k: _finite(v) for k, v in volume.attrs.items() if keep or k not in IDENTIFYING},
    }
    if keep:
        facts["series_instance_uid"] = volume.series_instance_uid
    return facts


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _show(volume: Volume, facts: Mapping[str, Any]) -> None:
    geometry = volume.geometry
    axes = ", ".join(f"{name} {length}" for name, length in zip(volume.dims, volume.shape, strict=True))
    spacing = f"{human_numbers(geometry.spacing, 6)} mm"
    if geometry.spacing_source != "positions":
        spacing += f" (z from {geometry.spacing_source})"
    rows: list[tuple[str, str]] = [
        ("volume", f"{volume.modality}: {axes}; {volume.dtype.name}, {human_bytes(facts['bytes'])}"),
        ("values", volume.values + (f" [{volume.units}]" if volume.units else "")),
        ("spacing", f"{spacing} along z, y, x"),
    ]
    if geometry.has_positions:
        first, last = float(geometry.slice_positions[0]), float(geometry.slice_positions[-1])
        rows += [
            ("origin", "(" + ", ".join(f"{number:.4f}" for number in geometry.origin) + ") mm, LPS"),
            *((f"{name} axis", _vector(geometry.direction[:, k])) for k, name in enumerate("zyx")),
            ("positions", f"{first:.3f} to {last:.3f} mm along the normal"),
            ("regular", _regularity(volume)),
        ]
    else:
        rows.append(("positions", "none in the files: ordered by Instance Number or name"))
    for name, values in volume.coordinates.items():
        units = volume.coordinate_units.get(name, "")
        rows.append((name, f"{_some(values)} {units}".rstrip()))
    rows.append(("syntax", ", ".join(item["name"] for item in facts["transfer_syntaxes"])))
    if facts["absent_slices"]:
        rows.append(("absent", f"{facts['absent_slices']} slices are filled"))
    rows += [("note", as_options(note)) for note in facts["notes"]]
    _columns(rows)
    if facts["attributes"]:
        click.echo("\nattributes")
        _columns([(name, _plain(value)) for name, value in facts["attributes"].items()])


def _some(values: Any, most: int = 8) -> str:
    texts = [f"{value:g}" if values.dtype.kind in "iuf" else str(value) for value in values[:most]]
    return ", ".join([*texts, *(["..."] if len(values) > most else [])])


def _vector(vector: Any) -> str:
    return "(" + ", ".join(f"{number:+.5f}" for number in vector) + ")"


def _regularity(volume: Volume) -> str:
    geometry = volume.geometry
    text = "yes" if geometry.uniform else "no, the gaps between slices are uneven"
    if geometry.uniform and geometry.deviation_mm >= 0.0005:
        text += f", within {geometry.deviation_mm:.3g} mm"
    return text + (f"; tilted {geometry.tilt_deg:.2f} degrees" if geometry.tilt_deg else "")


def _plain(value: Any) -> str:
    return "\\".join(map(str, value)) if isinstance(value, list) else str(value)


def _columns(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"  {name.ljust(width)}  {text}")
