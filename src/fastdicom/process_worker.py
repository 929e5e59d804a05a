"""A worker process: reads orders from standard input, makes blocks in shared memory. See `fastdicom.processes`."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Serve until the input ends."""
    # Decoders in C print where they please: their standard output is the parent's pipe no more.
    answers = os.fdopen(os.dup(1), "wb")
    orders = os.fdopen(os.dup(0), "rb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = sys.stderr

    from fastdicom.processes import receive, send

    state: dict[str, Any] = {}
    while True:
        try:
            order = receive(orders)
        except EOFError:
            return
        try:
            answer = _serve(state, *order)
        except BaseException as error:  # the parent raises it
            answer = error
        try:
            send(answers, answer)
        except BrokenPipeError:
            return


def _serve(state: dict[str, Any], order: str, *arguments: Any) -> Any:
    from fastdicom.blocks import Failure, read_block
    from fastdicom.processes import map_shared

    if order == "open":
        plan, path, report = arguments
        state.update(plan=plan, out=map_shared(path, plan.shape, plan.dtype), report=report)
    elif order == "block":
        failures: list[Failure] | None = [] if state["report"] else None
        read_block(state["plan"], arguments[0], state["out"][arguments[0]], failures=failures)
        return failures or []
    elif order == "close":
        state.clear()
    return None


if __name__ == "__main__":
    main()
