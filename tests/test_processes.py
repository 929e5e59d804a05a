"""Worker processes: the same voxels, every error, nothing left behind, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import fastdicom
from fastdicom import processes
from fastdicom.errors import DecodeError, SourceError
from fastdicom.testing import SeriesSpec, write_series

J2K = "1.2.840.10008.1.2.4.90"
SPEC = SeriesSpec(slices=12, rows=48, columns=40, transfer_syntax_uid=J2K)
TIMEOUT = 60


@pytest.fixture(autouse=True, scope="module")
def _no_workers_left() -> Iterator[None]:
    yield
    processes.stop_workers()


@pytest.fixture
def alone() -> Iterator[None]:
    """For tests that count processes; the others use those of the test before, as programs do."""
    processes.stop_workers()
    yield
    processes.stop_workers()


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own in place of the shared memory, so that what is left in it can be seen."""
    folder = tmp_path / "memory"
    folder.mkdir()
    monkeypatch.setattr(processes, "SHARED_FOLDER", str(folder))
    return folder


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", SPEC)
    return tmp_path / "series"


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {"decoder": "pylibjpeg"}),
        ({}, {"values": "display", "window": (0, 1000)}),
        ({"transfer_syntax_uid": "1.2.840.10008.1.2.1", "signed": True}, {}),
        ({"slope": 0.37}, {"dtype": np.float64}),
        ({"dimensions": {"echo": 3}, "slices": 4, "modality": "MR"}, {"values": "stored"}),
        ({"missing": (5,)}, {"policy": fastdicom.GeometryPolicy(gaps="fill")}),
        (
            {"modality": "US", "bits_allocated": 8, "photometric_interpretation": "RGB", "slope": None},
            {"decoder": "pylibjpeg"},
        ),
    ],
)
def test_processes_give_what_threads_give(
    tmp_path: Path, memory: Path, changes: dict[str, Any], options: dict[str, Any]
) -> None:
    write_series(tmp_path / "series", replace(SPEC, **changes))
    expected = fastdicom.load_volume(tmp_path / "series", scheduler="synchronous", **options)
    seen: list[tuple[int, int]] = []
    found = fastdicom.load_volume(
        tmp_path / "series",
        scheduler="processes",
        workers=2,
        progress=lambda done, total: seen.append((done, total)),
        **options,
    )
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.dtype == expected.dtype
    assert seen[-1][0] == seen[-1][1]
    assert list(memory.iterdir()) == []
    found.array[...] = 1  # the memory is the caller's to write


@pytest.mark.usefixtures("alone")
def test_workers_stay_for_the_next_load(series: Path) -> None:
    first = fastdicom.load_volume(series, scheduler="processes", workers=2)
    workers = children()
    assert len(workers) == processes.running_workers() == 2
    second = fastdicom.load_volume(series, scheduler="processes", workers=2)
    assert children() == workers
    np.testing.assert_array_equal(first.array, second.array)
    assert not np.shares_memory(first.array, second.array)
    processes.stop_workers()
    assert children() == []


@pytest.mark.usefixtures("alone")
def test_a_decoder_that_holds_the_lock_gets_processes(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdicom import loading

    monkeypatch.setattr(loading, "PIXELS_WORTH_A_PROCESS", 0)
    fastdicom.load_volume(series, decoder="pylibjpeg", workers=1)
    fastdicom.load_volume(series, decoder="pylibjpeg", workers=2, scheduler="threads")
    fastdicom.load_volume(series, decoder="imagecodecs", workers=2)
    assert children() == []
    fastdicom.load_volume(series, decoder="pylibjpeg", workers=2)
    assert len(children()) == 2


@pytest.mark.usefixtures("alone")
def test_a_worker_that_dies_is_an_error_and_the_next_load_works(
    series: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = processes._WorkerProcess.call
    blocks = threading.Semaphore(3)

    def shot(self: Any, *message: Any) -> Any:
        if message[0] == "block" and not blocks.acquire(blocking=False):
            os.kill(self.process.pid, signal.SIGKILL)
        return call(self, *message)

    with monkeypatch.context() as patch:
        patch.setattr(processes._WorkerProcess, "call", shot)
        with pytest.raises(
            DecodeError, match=r"status -9 while decoding .* pylibjpeg\.openjpeg.*synchronous"
        ) as caught:
            fastdicom.load_volume(series, scheduler="processes", workers=2, decoder="pylibjpeg")
    assert caught.value.status == -9
    assert children() == []
    assert list(memory.iterdir()) == []
    expected = fastdicom.load_volume(series).array
    np.testing.assert_array_equal(fastdicom.load_volume(series, scheduler="processes", workers=2).array, expected)


@pytest.mark.usefixtures("alone")
def test_a_worker_that_dies_in_the_middle_of_a_block(
    series: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed from outside after it was given its order: what the out-of-memory killer does."""
    send = processes.send

    def shot(stream: Any, message: Any) -> None:
        (worker,) = children()
        if message[0] == "block":
            os.kill(worker, signal.SIGSTOP)
        send(stream, message)
        if message[0] == "block":
            os.kill(worker, signal.SIGKILL)

    monkeypatch.setattr(processes, "send", shot)
    with pytest.raises(DecodeError, match="status -9"):
        fastdicom.load_volume(series, scheduler="processes", workers=1)
    assert children() == []
    assert list(memory.iterdir()) == []


@pytest.mark.usefixtures("alone")
def test_errors_and_failures_come_back(tmp_path: Path, memory: Path) -> None:
    written = write_series(tmp_path / "series", SPEC)
    whole = fastdicom.load_volume(tmp_path / "series").array
    bad = [written.paths[k] for k in (3, 8)]
    for path in bad:
        data = bytearray(Path(path).read_bytes())
        start = data.index(b"\xff\x4f\xff\x51")
        data[start + 8 : start + 12] = (4711).to_bytes(4, "big")
        Path(path).write_bytes(data)
    entry = fastdicom.scan(tmp_path / "series").volumes[0]
    options: dict[str, Any] = {"scheduler": "processes", "workers": 2, "decoder": "pylibjpeg"}
    with pytest.raises(DecodeError, match=r"4711 pixels") as caught:
        fastdicom.load_volume(entry, **options)
    assert caught.value.path in bad
    assert caught.value.frame == 0
    assert children() == []
    found = fastdicom.load_volume(entry, errors="report", **options)
    assert [failure.path for failure in found.failures] == bad
    assert [failure.index for failure in found.failures] == [(3,), (8,)]
    assert {failure.kind for failure in found.failures} == {"DecodeError"}
    keep = found.slices["valid"]
    np.testing.assert_array_equal(np.flatnonzero(~keep), [3, 8])
    np.testing.assert_array_equal(found.array[keep], whole[keep])
    assert list(memory.iterdir()) == []


@pytest.mark.usefixtures("alone")
def test_a_progress_that_raises_ends_the_load(series: Path, memory: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > 1 and threading.current_thread() is not threading.main_thread():
            raise StopError

    with pytest.raises(StopError):
        fastdicom.load_volume(series, scheduler="processes", workers=2, progress=stop)
    assert children() == []
    assert list(memory.iterdir()) == []


# ------------------------------------------------------------------------------------------------------ shared memory


def refuse_first(monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """The file system of the shared memory is full, `count` times."""
    asked: list[int] = []
    reserve = os.posix_fallocate

    def full(descriptor: int, offset: int, length: int) -> None:
        asked.append(length)
        if len(asked) <= count:
            raise OSError(28, "No space left on device")
        reserve(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    return asked


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
def test_full_shared_memory_falls_back_to_a_file(series: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fastdicom.load_volume(series).array
    asked = refuse_first(monkeypatch, 1)
    found = fastdicom.load_volume(series, scheduler="processes", workers=2)
    assert asked == [expected.nbytes] * 2
    np.testing.assert_array_equal(found.array, expected)
    assert list(memory.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system reserves no space")
@pytest.mark.usefixtures("alone")
def test_no_space_at_all_falls_back_to_threads(series: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdicom import loading

    monkeypatch.setattr(loading, "PIXELS_WORTH_A_PROCESS", 0)
    expected = fastdicom.load_volume(series).array
    refuse_first(monkeypatch, 10**9)
    found = fastdicom.load_volume(series, decoder="pylibjpeg", workers=2)
    np.testing.assert_array_equal(found.array, expected)
    with pytest.raises(SourceError, match=r"shared memory .* cannot be had .*scheduler='threads'"):
        fastdicom.load_volume(series, scheduler="processes", workers=2)
    assert list(memory.iterdir()) == []
    assert children() == []


def test_a_small_file_system_is_an_error_before_the_first_write(tmp_path: Path) -> None:
    """A sparse file in full memory would be a crash (SIGBUS) at the first write."""
    with pytest.raises(SourceError, match="cannot be had"):
        processes.shared_array((1 << 46,), np.dtype(np.uint8))


@pytest.mark.usefixtures("alone")
def test_programs_that_cannot_start_workers_use_threads(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastdicom import loading

    monkeypatch.setattr(loading, "PIXELS_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(sys, "executable", "")
    expected = fastdicom.load_volume(series, decoder="imagecodecs").array
    np.testing.assert_array_equal(fastdicom.load_volume(series, decoder="pylibjpeg", workers=2).array, expected)


# ------------------------------------------------------------------------------------------------------- whole programs


def run(script: str, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        **options,
    )


def test_a_script_without_a_main_guard(series: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, fastdicom\n"
        "print('begin')\n"
        "volume = fastdicom.load_volume(sys.argv[1], scheduler='processes', workers=2, decoder='pylibjpeg')\n"
        "print(volume.shape)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(series)], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "begin\n(12, 48, 40)\n", "")


def test_a_fork_has_workers_of_its_own(series: Path) -> None:
    done = run(
        """
        import os, sys, numpy, fastdicom
        def load():
            return fastdicom.load_volume(sys.argv[1], scheduler="processes", workers=2)
        first = load()
        child = os.fork()
        if child == 0:
            same = numpy.array_equal(load().array, first.array)
            os._exit(0 if same else 1)
        status = os.waitpid(child, 0)[1]
        again = load()
        print(status, numpy.array_equal(again.array, first.array))
        """,
        series,
    )
    assert done.stdout == "0 True\n", done.stderr


def wait_for(check: Any) -> bool:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_ended_leaves_nothing(tmp_path: Path, memory: Path, blow: signal.Signals) -> None:
    """Ctrl-C, and what cannot be caught: no worker process and no shared file remains."""
    big = replace(SPEC, slices=60, rows=512, columns=512)
    write_series(tmp_path / "series", big)
    program = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import sys, fastdicom
                from fastdicom import processes
                processes.SHARED_FOLDER = sys.argv[2]
                entry = fastdicom.scan(sys.argv[1]).volumes[0]
                def progress(done, total):
                    print(done, flush=True)
                while True:
                    fastdicom.load_volume(
                        entry, scheduler="processes", workers=2, decoder="pylibjpeg", progress=progress
                    )
                """
            ),
            str(tmp_path / "series"),
            str(memory),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    while program.stdout.readline() not in (b"5\n", b"6\n", b"7\n", b"8\n", b"9\n", b"12\n", b""):
        pass
    workers = [psutil.Process(child.pid) for child in psutil.Process(program.pid).children()]
    assert len(workers) == 2
    started = time.monotonic()
    program.send_signal(blow)
    program.communicate(timeout=TIMEOUT)
    assert program.returncode != 0
    assert wait_for(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers))
    assert time.monotonic() - started < 20
    assert list(memory.iterdir()) == []


def test_codecs_do_not_take_more_cores_than_workers(tmp_path: Path) -> None:
    """One thread a worker: processor time cannot exceed the time on the clock, whatever else the machine does."""
    for number in (90, 201, 80, 70, 110):
        write_series(
            tmp_path / str(number),
            replace(SPEC, rows=256, columns=256, slices=16, transfer_syntax_uid=f"1.2.840.10008.1.2.4.{number}"),
        )
        entry = fastdicom.scan(tmp_path / str(number)).volumes[0]
        fastdicom.load_volume(entry, scheduler="synchronous")
        wall, processor = time.perf_counter(), time.process_time()
        fastdicom.load_volume(entry, scheduler="synchronous")
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        assert processor < 1.15 * wall + 0.02, number
