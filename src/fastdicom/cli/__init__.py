"""The command line: thin commands over the functions of the library.

Exit status: 0 only when everything asked for was done; 1 where some volumes or files failed, and are listed; 2 for
wrong usage; 130 after Ctrl-C. Nothing heavy is imported before a command begins its work, so ``--help`` is instant.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from fastdicom import __version__
from fastdicom.cli.convert import convert
from fastdicom.cli.demo import demo
from fastdicom.cli.info import info
from fastdicom.cli.messages import say_error, show_warning
from fastdicom.cli.preview import preview
from fastdicom.cli.scan import scan
from fastdicom.cli.verify import verify
from fastdicom.errors import FastDicomError, FastDicomWarning, SeriesSelectionError, SourceNotFoundError, UsageError

__all__ = ["INTERRUPTED", "main", "run"]

INTERRUPTED = 130
WRONG_USAGE = (UsageError, SourceNotFoundError, SeriesSelectionError)
"""What the caller of a command can put right by calling it otherwise."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", prog_name="fastdicom")
def fastdicom() -> None:
    """Heaps of DICOM files to correct volumes, fast.

    \b
    Look what is in a folder, then turn it into Zarr:
      fastdicom scan scans/
      fastdicom convert scans/ volumes.zarr

    PATH is a folder (with its sub-folders), a file, a zip archive, a DICOMDIR or any fsspec URL.

    \b
    Exit status: 0 everything was done; 1 some volumes or files failed and are listed; 2 wrong usage.
    """


for _command in (scan, convert, info, preview, verify, demo):
    fastdicom.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        None: those of the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other libraries' warnings are for programmers
        warnings.simplefilter("always", FastDicomWarning)
        warnings.showwarning = show_warning
        try:
            status: Any = fastdicom.main(args=arguments, prog_name="fastdicom", standalone_mode=False)
        except click.Abort:
            click.echo("Interrupted. What was not finished is not there, or says that it is not complete.", err=True)
            return INTERRUPTED
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except FastDicomError as error:
            say_error(error)
            return 2 if isinstance(error, WRONG_USAGE) else 1
        except OSError as error:  # a full disk, a folder that may not be written
            click.echo(f"Error: {error.filename or 'the output'}: {error.strerror or error}.", err=True)
            return 1
    return status if isinstance(status, int) else 0


def main() -> None:
    """Entry point of the ``fastdicom`` command."""
    status = run()
    if status == INTERRUPTED:
        # Threads of Zarr's event loop are in the middle of something: an orderly end would make them complain.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
