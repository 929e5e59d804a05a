"""`run_in_threads`: what every load and every scan runs on."""

from __future__ import annotations

import _thread
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdicom.execution import run_in_threads


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = _thread._count()
    yield
    until = time.monotonic() + 10
    while _thread._count() > before and time.monotonic() < until:
        time.sleep(0.001)  # a thread that has nothing to do any more may still have to find that out
    assert _thread._count() == before


@given(count=st.integers(0, 60), workers=st.integers(1, 9))
def test_every_item_runs_once_and_is_reported_once(count: int, workers: int) -> None:
    seen: list[int] = []
    reported: list[tuple[int, bool]] = []
    here = threading.get_ident()

    def task(item: int) -> int:
        seen.append(item)
        return item * item

    def on_result(index: int) -> None:
        assert threading.get_ident() == here
        reported.append((index, index in seen))

    assert run_in_threads(task, range(count), workers, on_result) == [k * k for k in range(count)]
    assert sorted(seen) == list(range(count))
    assert sorted(reported) == [(k, True) for k in range(count)]


def test_the_calling_thread_works_too() -> None:
    """And as many threads as asked for are at work at once: each task waits until all of them have begun."""
    barrier = threading.Barrier(3, timeout=30)

    def task(_: int) -> int:
        barrier.wait()
        return threading.get_ident()

    found = run_in_threads(task, range(3), 3)
    assert len(set(found)) == 3
    assert threading.get_ident() in found


@pytest.mark.parametrize("by_caller", [True, False])
def test_the_first_error_ends_it(by_caller: bool) -> None:
    here = threading.get_ident()
    failed = threading.Event()
    begun: list[int] = []

    def task(item: int) -> None:
        begun.append(item)
        if (threading.get_ident() == here) is by_caller and not failed.is_set():
            failed.set()
            raise LookupError(f"item {item}")
        assert failed.wait(30)
        time.sleep(0.01)  # the caller hears of it meanwhile

    with pytest.raises(LookupError, match="item"):
        run_in_threads(task, range(1000), 2)
    assert len(begun) < 10, "nothing that has not begun is begun after an error"


@pytest.mark.parametrize("failing", [1, 2])
def test_an_error_keeps_nothing_alive(failing: int) -> None:
    """The arrays of a load that failed are freed with its error, not by a later garbage collection."""

    class Large:
        pass

    def load() -> weakref.ref[Large]:
        large = Large()
        barrier = threading.Barrier(2, timeout=30)

        def task(item: int) -> None:
            barrier.wait()
            if item < failing:
                raise LookupError(large)

        try:
            run_in_threads(task, range(2), 2)
        except LookupError:
            pass
        else:
            pytest.fail("no error")
        return weakref.ref(large)

    gc.disable()
    try:
        assert load()() is None
    finally:
        gc.enable()


posix = pytest.mark.skipif(os.name == "nt", reason="signals of another kind")


def interrupt_after(event: threading.Event, then: Callable[[], object] = lambda: None) -> threading.Thread:
    """Presses Ctrl-C a moment after something has happened, and then does something else a moment after that."""

    def press() -> None:
        assert event.wait(30)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        then()

    thread = threading.Thread(target=press)
    thread.start()
    return thread


@posix
def test_ctrl_c_while_the_caller_waits() -> None:
    """What another thread has begun ends before the call does."""
    here = threading.get_ident()
    helping, release, done = threading.Event(), threading.Event(), []

    def task(item: int) -> None:
        if threading.get_ident() == here:
            assert helping.wait(30)
        else:
            helping.set()
            assert release.wait(30)
            time.sleep(0.05)
        done.append(item)

    other = interrupt_after(helping, release.set)
    with pytest.raises(KeyboardInterrupt):
        run_in_threads(task, range(2), 2)
    assert len(done) == 2
    other.join()


@posix
@pytest.mark.parametrize("failing", [True, False])
def test_ctrl_c_while_the_caller_works(failing: bool) -> None:
    """Nothing is begun any more, and it is not lost where a task of another thread fails at the same time."""
    here = threading.get_ident()
    helping, release, done = threading.Event(), threading.Event(), []

    def task(item: int) -> None:
        if threading.get_ident() == here:
            assert helping.wait(30)
            while not release.is_set():
                time.sleep(0.001)
            return
        helping.set()
        if failing:
            raise LookupError
        time.sleep(0.02)
        done.append(item)

    other = interrupt_after(helping, release.set)
    with pytest.raises(KeyboardInterrupt):
        run_in_threads(task, range(1000), 2)
    assert len(done) < 100
    other.join()


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_system_without_more_threads(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """Those that there are do all of it; the calling thread is there in any case."""
    really, started = _thread.start_new_thread, []

    def start(*args: Any) -> int:
        if len(started) >= allowed:
            raise RuntimeError("can't start new thread")
        started.append(really(*args))
        return started[-1]

    monkeypatch.setattr(_thread, "start_new_thread", start)
    assert run_in_threads(lambda item: item + 1, range(50), 4) == list(range(1, 51))
    assert len(started) == allowed
