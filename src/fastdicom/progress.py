"""Progress for people: a bar on a terminal, nothing in a pipe, or a callable of the user's own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ProgressArgument", "progress_bar"]

ProgressArgument = bool | Callable[[int, int], None]
"""True: a bar on a terminal. A callable: called with (done, total) after each step. False: nothing."""


@contextmanager
def progress_bar(progress: ProgressArgument, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A function that advances the progress by a number of steps; it may be called from any thread."""
    if callable(progress):
        done = 0
        lock = threading.Lock()

        def report(steps: int) -> None:
            nonlocal done
            with lock:
                done += steps
                now = done
            progress(now, total)

        yield report
    elif progress and total and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Speed(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:,.0f} {unit}/s" if task.speed else "")

        columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), Speed(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda steps: bar.update(task, advance=steps)
    else:
        yield lambda steps: None
