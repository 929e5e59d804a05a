"""`run_in_threads`: what every load and every scan runs on."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdicom.execution import run_in_threads


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


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


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
@pytest.mark.parametrize("waiting", [True, False], ids=["caller waits", "caller works"])
def test_ctrl_c(waiting: bool) -> None:
    here = threading.get_ident()
    release, begun = threading.Event(), threading.Event()
    done: list[int] = []

    def task(item: int) -> None:
        is_caller = threading.get_ident() == here
        begun.set()
        if is_caller is waiting:
            assert begun.wait(30)
            while not waiting and not release.is_set():
                time.sleep(0.001)
        elif waiting:
            release.wait(30)
        else:
            time.sleep(0.02)
        done.append(item)

    def interrupt() -> None:
        assert begun.wait(30)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        release.set()

    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run_in_threads(task, range(2 if waiting else 1000), 2)
    finally:
        release.set()
        other.join()
    assert len(done) == 2 if waiting else len(done) < 100
