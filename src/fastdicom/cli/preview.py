"""``fastdicom preview``: three planes of a volume as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fastdicom.cli.options import (
    level_option,
    parse_series,
    parse_window,
    path_argument,
    policy_of,
    policy_options,
    series_option,
    window_option,
)

if TYPE_CHECKING:
    from fastdicom.volume import Volume

__all__ = ["preview"]


@click.command(short_help="Draw three orthogonal planes of a volume as PNG.")
@path_argument
@click.argument("out", metavar="OUT.png", type=click.Path(dir_okay=False))
@series_option
@window_option
@policy_options
@level_option
@click.option("--decoder", default="auto", show_default=True, metavar="NAME", help="As in 'fastdicom convert'.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads. Default: one a core.")
@click.option("--size", type=click.IntRange(16, 8192), default=384, show_default=True, help="Pixels of a plane.")
@click.option("--labels/--no-labels", default=True, show_default=True, help="Letters for left, right, anterior, ...")
@click.option(
    "--errors",
    type=click.Choice(["raise", "report"]),
    default="raise",
    show_default=True,
    help="Frames that cannot be read: give up, or leave them empty.",
)
def preview(path: str, out: str, **options: Any) -> int:
    """Draw the axial, coronal and sagittal plane through the centre of a volume.

    PATH may also be a Zarr store that fastdicom wrote. No display is needed.

    \b
    Examples:
      fastdicom preview scans/ picture.png
      fastdicom preview scans/ lung.png --series 2 --window -600,1500
      fastdicom preview slides/ quick.png --level 2
    """
    from fastdicom.preview import preview as draw
    from fastdicom.preview import save_png

    if not out.lower().endswith(".png"):
        raise click.BadParameter(f"{out!r} does not end in .png, and a PNG is what is written.", param_hint="OUT.png")
    source = {
        "series": parse_series(options["series"]),
        "window": parse_window(options["window"]),
        "policy": policy_of(options["gaps"], options["duplicates"], options["tilt"]),
        "decoder": options["decoder"],
    }
    how = {"workers": options["workers"], "size": options["size"], "labels": options["labels"]}
    if options["level"]:
        image = draw(_at_level(path, options["level"], options["errors"], source), **how)
    else:
        image = draw(path, **source, errors=options["errors"], **how)
    save_png(image, out)
    click.echo(f"{out}: {image.shape[1]} x {image.shape[0]} pixels")
    return 0


def _at_level(path: str, level: int, errors: str, source: dict[str, Any]) -> Volume:
    """What is drawn of a volume at a lower resolution; only of one in memory it is known which frames failed."""
    from fastdicom.loading import load_volume, open_volume

    if errors == "report":
        return load_volume(path, values="display", level=level, errors=errors, **source)
    return open_volume(path, values="display", level=level, **source)
