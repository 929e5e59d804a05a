"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = [
    "level_option",
    "parse_scheduler",
    "parse_series",
    "parse_sizes",
    "parse_window",
    "path_argument",
    "pixel_options",
    "policy_of",
    "policy_options",
    "running_options",
    "series_option",
    "window_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


path_argument = click.argument("path", metavar="PATH")

series_option = click.option(
    "--series", metavar="UID|INDEX", help="Which volume: its number in 'fastdicom scan', or a SeriesInstanceUID."
)

window_option = click.option(
    "--window",
    metavar="C,W[,FUNCTION]|INDEX|auto",
    help="Center and width, an index into the windows of the header, or from the voxels.",
)

level_option = click.option(
    "--level",
    type=click.IntRange(0, 32),
    default=0,
    show_default=True,
    metavar="N",
    help="1, 2, ...: half, quarter, ... of the rows and columns, from JPEG 2000 and HTJ2K files.",
)

policy_options = _together(
    click.option("--gaps", type=click.Choice(["raise", "keep", "fill"]), help="Uneven gaps: refuse, keep, or fill."),
    click.option(
        "--duplicates",
        type=click.Choice(["raise", "first", "split"]),
        help="Several frames at one position: refuse, take the first, or one volume each.",
    ),
    click.option("--tilt", type=click.Choice(["keep", "raise"]), help="Gantry tilt: keep it in the affine, or refuse."),
)

running_options = _together(
    click.option("--workers", type=click.IntRange(min=1), help="Threads or processes. Default: one a core."),
    click.option(
        "--scheduler",
        metavar="NAME",
        help="threads, processes, synchronous, or the address of a Dask cluster (tcp://host:8786).",
    ),
)

pixel_options = _together(
    click.option(
        "--values",
        metavar="NAME",
        default=None,
        help="modality (default: after rescale), stored (as decoded), display (8 bit after the window), suv, "
        "real_world[:LABEL], philips.",
    ),
    window_option,
    click.option(
        "--dtype", metavar="NAME", help="Of the voxels (int16, float32, ...). Default: the smallest that fits."
    ),
    click.option(
        "--decoder", default="auto", show_default=True, metavar="NAME", help="auto, imagecodecs, pylibjpeg, pydicom."
    ),
    level_option,
    click.option(
        "--errors",
        type=click.Choice(["raise", "report"]),
        default="raise",
        show_default=True,
        help="Frames that cannot be read: give the volume up, or fill them and list them (exit status 1).",
    ),
)


def policy_of(gaps: str | None, duplicates: str | None, tilt: str | None) -> Any:
    """The GeometryPolicy that the options name; None where they name none."""
    from fastdicom.types import GeometryPolicy

    chosen: dict[str, Any] = {"gaps": gaps, "duplicates": duplicates, "tilt": tilt}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    return GeometryPolicy(**chosen) if chosen else None


def parse_series(text: str | None) -> Any:
    """An index where the text is a whole number, else a UID."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return text


def parse_window(text: str | None) -> Any:
    """``40,400``, ``40,400,SIGMOID``, ``1`` or ``auto``, as the library takes them."""
    if text is None or text == "auto":
        return text
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 1:
        try:
            return int(text)
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is none of CENTER,WIDTH, an index, and auto.", param_hint="--window"
            ) from None
    return tuple(parts)


def parse_sizes(text: str | None, name: str) -> tuple[int, ...] | None:
    """``32,256,256`` as numbers."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of sizes like 32,256,256.", param_hint=name) from None


def parse_scheduler(text: str | None) -> Any:
    """A name of a scheduler, or a client of the cluster whose address it is."""
    if text is None or "://" not in text:
        return text
    from fastdicom.errors import MissingDependencyError, SourceError

    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError(
            "A Dask cluster needs the package distributed. Install it: pip install 'fastdicom-volume[cluster]'."
        ) from None
    try:
        return Client(text, timeout="10s")
    except (OSError, ValueError) as error:
        raise SourceError(f"No Dask scheduler answers at {text} ({error}). Check the address.") from None
