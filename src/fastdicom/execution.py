"""Run independent tasks on whatever scheduler the caller named; Dask is the engine.

A task is one picklable call that returns little; tasks are few and large (a batch of headers, a shard), because Dask
costs about half a millisecond a task, and importing it 60 ms: a handful of tasks that no scheduler was named for run in
threads without it.
"""

from __future__ import annotations

import _thread
import operator
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from fastdicom.errors import UsageError, WorkerError
from fastdicom.sources import OBJECT_SCHEME

__all__ = [
    "available_cores",
    "check_reachable",
    "check_scheduler",
    "check_workers",
    "is_client",
    "run_in_threads",
    "run_tasks",
]

Item = TypeVar("Item")
Result = TypeVar("Result")
OnResult = Callable[[int], None]

FEW_TASKS = 4
"""Tasks a worker for which importing Dask is not worth its while."""


def available_cores() -> int:
    """Cores that this process may use (its CPU affinity, where the system tells), at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def is_client(scheduler: Any) -> bool:
    """Whether `scheduler` is a ``distributed.Client`` (without importing distributed)."""
    return hasattr(scheduler, "submit") and hasattr(scheduler, "gather") and hasattr(scheduler, "scheduler_info")


def check_scheduler(scheduler: Any) -> Any:
    """`scheduler` if it is one of those that DESIGN names, else a UsageError."""
    named = isinstance(scheduler, str) and scheduler in ("threads", "processes", "synchronous")
    if scheduler is None or named or is_client(scheduler):
        return scheduler
    raise UsageError(
        f"scheduler={scheduler!r} is not known. Use None, 'threads', 'processes', 'synchronous' or a "
        "distributed.Client.",
        argument="scheduler",
    )


def check_reachable(locators: Iterable[str], scheduler: Any) -> None:
    """Refuse file objects of this process where others are to read them."""
    if check_scheduler(scheduler) != "processes" and not is_client(scheduler):
        return
    among = list(locators)
    objects = [locator for locator in among if locator.startswith(OBJECT_SCHEME)]
    if objects:
        raise UsageError(
            f"{len(objects)} of {len(among)} files are file objects, which only this process can read, not "
            f"scheduler={scheduler!r}. Use scheduler='threads', or write them to files.",
            argument="scheduler",
        )


def check_workers(workers: Any) -> int:
    """Number of workers: as asked, or one a core."""
    if workers is None:
        return available_cores()
    try:
        count = 0 if isinstance(workers, bool) else operator.index(workers)
    except TypeError:
        count = 0
    if count < 1:
        raise UsageError(f"workers={workers!r} is not a number of workers. Use 1 or more.", argument="workers")
    return count


def run_tasks(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    scheduler: Any = None,
    workers: int | None = None,
    on_result: OnResult | None = None,
) -> list[Result]:
    """Call `function` on every item.

    Parameters
    ----------
    function : callable
        Picklable for ``"processes"`` and for a Client.
    items : sequence
        Picklable likewise.
    scheduler : None, "threads", "processes", "synchronous" or distributed.Client
        None: threads, without Dask where each gets but a few tasks.
    workers : int, optional
        Threads or processes; None: one a core. A Client has its own.
    on_result : callable (index of the item), optional
        Called in this process after each task, in order of completion.

    Returns
    -------
    list of results, in the order of `items`

    Raises
    ------
    Whatever `function` raises; the other tasks are given up.
    """
    check_scheduler(scheduler)
    count = check_workers(workers)
    if is_client(scheduler):
        return _run_on_client(function, items, scheduler, on_result)
    if scheduler == "synchronous" or len(items) <= 1 or (count == 1 and scheduler != "processes"):
        return _run_here(function, items, on_result)
    if scheduler is None and len(items) <= FEW_TASKS * count:
        return run_in_threads(function, items, min(count, len(items)), on_result)
    return _run_local(function, items, scheduler or "threads", min(count, len(items)), on_result)


def run_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, on_result: OnResult | None = None
) -> list[Result]:
    """`run_tasks` in threads, without a scheduler. The calling thread is one of them.

    A caller that only waits wakes up after every task, and takes the interpreter lock from those who work.
    """
    if workers <= 1:
        return _run_here(function, items, on_result)
    results: list[Any] = [None] * len(items)
    failed: list[BaseException] = []
    waiting = deque(range(len(items)))
    ended: SimpleQueue[int] = SimpleQueue()

    def run_next() -> bool:
        try:
            index = waiting.popleft()
        except IndexError:
            return False
        try:
            results[index] = function(items[index])
        except BaseException as error:  # the caller raises it
            failed.append(error)
            waiting.clear()
        ended.put(index)
        return True

    def help_with(lock: Any) -> None:
        with lock:
            while run_next():
                pass

    locks = [_thread.allocate_lock() for _ in range(1, workers)]
    try:
        for lock in locks:
            try:
                # Not Thread, whose start() waits for a condition: Ctrl-C in there breaks it.
                _thread.start_new_thread(help_with, (lock,))
            except RuntimeError:  # the system has no more threads: those that there are do it
                break
        for _ in items:
            if ended.empty():
                run_next()
            index = ended.get()  # of the caller's own task, or, where no task was left to begin, of another's
            if failed:
                failed.sort(key=lambda error: isinstance(error, Exception))  # Ctrl-C before what went wrong beside it
                raise failed.pop(0)
            if on_result is not None:
                on_result(index)
        return results
    finally:
        # After an error or Ctrl-C nothing that has not begun is begun any more, and what has begun ends: a thread holds
        # its lock from before it begins a task, so one that does not hold it yet finds none.
        waiting.clear()
        for lock in locks:
            with lock:
                pass
        failed.clear()  # an error refers to this frame, and this frame to it


def _run_here(function: Callable[[Item], Result], items: Sequence[Item], on_result: OnResult | None) -> list[Result]:
    results = []
    for index, item in enumerate(items):
        results.append(function(item))
        if on_result is not None:
            on_result(index)
    return results


def _run_local(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    scheduler: str,
    workers: int,
    on_result: OnResult | None,
) -> list[Result]:
    from contextlib import nullcontext

    from dask.callbacks import Callback

    if scheduler == "processes":
        from dask.multiprocessing import get

        from fastdicom._numba import warm_up

        warm_up()  # workers then find compiled code instead of waiting for one another
    else:
        from dask.threaded import get

    # Each item travels inside a partial: Dask neither walks into it nor hashes it.
    graph: dict[Any, Any] = {("task", index): (partial(function, item),) for index, item in enumerate(items)}

    def finished(key: Any, *_: Any) -> None:
        if on_result is not None and isinstance(key, tuple) and key[0] == "task":
            on_result(key[1])

    with Callback(posttask=finished) if on_result is not None else nullcontext():
        try:
            return list(get(graph, [("task", index) for index in range(len(items))], num_workers=workers))
        except BrokenExecutor as error:
            raise WorkerError(
                "The worker processes of Dask ended before their work did. They import the program that started them: "
                "in a script, put the call below `if __name__ == '__main__':`. Or pass scheduler='threads'."
            ) from error


def _run_on_client(
    function: Callable[[Item], Result], items: Sequence[Item], client: Any, on_result: OnResult | None
) -> list[Result]:
    if not items:
        return []
    futures = client.map(function, list(items), pure=False)
    try:
        if on_result is not None:
            from distributed import as_completed

            places = {future.key: index for index, future in enumerate(futures)}
            for future in as_completed(futures):
                if future.status == "error":
                    break
                on_result(places[future.key])
        return list(client.gather(futures))
    except BaseException:
        client.cancel(futures, force=True)
        raise
