"""Blocks made by other processes, straight into memory shared with this one.

For decoders that hold the interpreter lock, where threads would queue. The workers are plain child processes running
`fastdicom.process_worker`: nothing of the caller's program is imported again, so scripts need no main guard. They
stay for the next load and end with this process, whatever way it ends, because their input then does.
"""

from __future__ import annotations

import atexit
import mmap
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdicom.blocks import Failure
from fastdicom.errors import DecodeError, SourceError
from fastdicom.plan import VolumePlan

__all__ = ["NoWorkersError", "fill_from_processes", "receive", "send", "shared_array", "stop_workers"]

SHARED_FOLDER = "/dev/shm"
"""Where files are memory, on Linux; elsewhere the folder for temporary files serves."""


class NoWorkersError(SourceError):
    """Worker processes, or the memory to share with them, cannot be had here."""


def shared_array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], str]:
    """An array over a memory-mapped file that other processes can map too, and the file's path.

    The space is reserved at once: a full file system is an error here, not a crash at the first write. The caller
    removes the file when the others have mapped it; the memory lives as long as the array.

    Raises
    ------
    NoWorkersError
        Neither shared memory nor the temporary folder has the space.
    """
    nbytes = max(1, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
    problem: OSError | None = None
    for folder in dict.fromkeys((SHARED_FOLDER, tempfile.gettempdir())):
        try:
            descriptor, path = tempfile.mkstemp(prefix="fastdicom-", dir=folder)
        except OSError as error:
            problem = error
            continue
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, nbytes)
            else:
                os.truncate(descriptor, nbytes)
            mapped = mmap.mmap(descriptor, nbytes)
        except OSError as error:
            problem = error
            Path(path).unlink()
            continue
        finally:
            os.close(descriptor)
        return np.frombuffer(mapped, dtype=dtype, count=int(np.prod(shape, dtype=np.int64))).reshape(shape), path
    raise NoWorkersError(
        f"{nbytes >> 20} MiB of shared memory for worker processes cannot be had ({problem}). Pass "
        "scheduler='threads', or free space in the temporary folder."
    )


def map_shared(path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array of `shared_array`, in another process."""
    with open(path, "r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    return np.frombuffer(mapped, dtype=dtype, count=int(np.prod(shape, dtype=np.int64))).reshape(shape)


def send(stream: Any, message: Any) -> None:
    """Write one message: eight bytes of length, then a pickle."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def receive(stream: Any) -> Any:
    """Read one message; EOFError where the other side has ended."""
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    (length,) = struct.unpack("<Q", head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


class _WorkerProcess:
    """One child process and the pipe to it; used by one thread at a time."""

    def __init__(self) -> None:
        # The child must find this package, however this process found it; its standard output is the pipe.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if not sys.executable:
            raise NoWorkersError("This Python does not know its own program, so it cannot start worker processes.")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fastdicom.process_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the parent, which then ends them
            )
        except OSError as error:
            raise NoWorkersError(f"No worker process can be started ({error}). Pass scheduler='threads'.") from error

    def call(self, *message: Any) -> Any:
        try:
            send(self.process.stdin, message)
            return receive(self.process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise _WorkerDiedError(self.process.wait()) from error

    def kill(self) -> None:
        """End it now, whatever it does."""
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _WorkerDiedError(Exception):
    """A worker process ended in the middle of a block."""


_IDLE: list[_WorkerProcess] = []
_IDLE_LOCK = threading.Lock()
_OWNER = os.getpid()


def _take(count: int, team: list[_WorkerProcess]) -> None:
    """Put idle workers into `team`, and new ones up to `count`."""
    global _OWNER
    with _IDLE_LOCK:
        if os.getpid() != _OWNER:  # after a fork the workers belong to the parent
            _IDLE.clear()
            _OWNER = os.getpid()
        alive = [worker for worker in _IDLE if worker.process.poll() is None]
        team += alive[:count]
        _IDLE[:] = alive[count:]
    while len(team) < count:
        team.append(_WorkerProcess())


def _give_back(workers: Sequence[_WorkerProcess]) -> None:
    with _IDLE_LOCK:
        _IDLE.extend(worker for worker in workers if worker.process.poll() is None)


def running_workers() -> int:
    """Worker processes that wait for work: a load that finds some need not start them."""
    with _IDLE_LOCK:
        return sum(worker.process.poll() is None for worker in _IDLE) if os.getpid() == _OWNER else 0


def stop_workers() -> None:
    """End the idle worker processes."""
    with _IDLE_LOCK:
        idle, _IDLE[:] = list(_IDLE), []
    if os.getpid() == _OWNER:
        for worker in idle:
            worker.stop()


atexit.register(stop_workers)


def fill_from_processes(
    plan: VolumePlan,
    blocks: Sequence[tuple[Any, ...]],
    workers: int,
    on_result: Callable[[int], None],
    failures: list[Failure] | None = None,
) -> NDArray[Any]:
    """Make every block of a plan in worker processes, into one shared array.

    Parameters
    ----------
    blocks : sequence of basic indices
        They must not overlap.
    workers : int
        Number of processes.
    on_result : callable (number of the block)
    failures : list, optional
        As in `read_block`.

    Raises
    ------
    DecodeError
        A worker process died (a decoder crashed, or the system was out of memory).
    NoWorkersError
        Nothing was begun: threads can do the same.
    And what `read_block` raises.
    """
    out, path = shared_array(plan.shape, plan.dtype)
    team: list[_WorkerProcess] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fastdicom")
    queue: SimpleQueue[int] = SimpleQueue()
    for number in range(len(blocks)):
        queue.put(number)
    stopped = threading.Event()
    found: list[Failure] = []

    def begin(worker: _WorkerProcess) -> None:
        _ask(worker, plan, "open", plan, path, failures is not None)

    def drive(worker: _WorkerProcess) -> None:
        try:
            while not stopped.is_set():
                number = queue.get_nowait()
                found.extend(_ask(worker, plan, "block", blocks[number]))
                on_result(number)
        except Empty:
            return
        except BaseException:
            stopped.set()
            raise

    try:
        try:
            _take(min(workers, len(blocks)), team)
            list(pool.map(begin, team))
        finally:
            Path(path).unlink()  # the mappings stay; nothing is left behind, whatever ends this process from here on
        for future in [pool.submit(drive, worker) for worker in team]:
            future.result()
    except BaseException:
        # A worker in the middle of a block would answer the next load with this one's result; and the threads that
        # wait for it come back at once.
        stopped.set()
        for worker in team:
            worker.kill()
        raise
    finally:
        pool.shutdown()
    for worker in team:
        worker.call("close")
    _give_back(team)
    if failures is not None:
        failures += sorted(found, key=lambda failure: failure.index)
    return out


def _ask(worker: _WorkerProcess, plan: VolumePlan, *message: Any) -> Any:
    """The answer of a worker; its error is raised here."""
    try:
        answer = worker.call(*message)
    except _WorkerDiedError as error:
        raise DecodeError(
            f"A worker process ended with status {error.args[0]} while decoding {plan.files[0].locator} and "
            f"{len(plan.files) - 1} other files with {', '.join(plan.decoders)}. Pass scheduler='synchronous' to "
            "find the file, or another decoder=.",
            path=plan.files[0].locator,
            status=error.args[0],
        ) from error
    if isinstance(answer, BaseException):
        raise answer
    return answer
