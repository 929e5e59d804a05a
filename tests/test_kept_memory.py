"""Memory that one volume gives up and the next takes over: never while anybody can reach it."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import fastdicom
from fastdicom import _memory
from fastdicom.testing import SeriesSpec, write_series

MIB = 1 << 20
pytestmark = pytest.mark.skipif(not _memory._CAN_KEEP, reason="nothing is kept on this system")


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    gc.collect()
    _memory.release()
    yield
    gc.collect()
    _memory.release()


def address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "LEAST_NBYTES", 1)


def test_the_next_array_has_the_memory_of_the_last() -> None:
    first = _memory.empty((40, MIB), np.uint8)
    first[:] = 7
    at = address(first)
    del first
    assert [len(block) for block in _memory._kept] == [40 * MIB]
    second = _memory.empty((20, MIB), np.uint16)
    assert address(second) == at
    assert (second == 0x0707).all() or (second == 0).all() or set(np.unique(second)) == {0, 0x0707}
    assert _memory._kept == []
    del second
    smaller = _memory.empty((33, MIB), np.int8)
    assert address(smaller) == at
    del smaller
    assert [len(block) for block in _memory._kept] == [33 * MIB]


def test_an_array_is_like_one_of_numpy() -> None:
    array = _memory.empty((33, 1024, 1024), np.float32)
    assert (array.shape, array.dtype) == ((33, 1024, 1024), np.dtype(np.float32))
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned
    array[5] = 2.5
    assert array[5].sum() == 2.5 * MIB


HOLDERS = {
    "slice": lambda array: array[1:2],
    "transposed": lambda array: array.T,
    "other dtype": lambda array: array.view(np.int8),
    "memoryview": memoryview,
    "reshaped": lambda array: array.reshape(-1),
    "base": lambda array: array.base,
    "memoryview of base": lambda array: memoryview(array.base),
    "DLPack": lambda array: np.from_dlpack(array),
    "subclass": lambda array: array.view(np.matrix),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
@pytest.mark.parametrize("holder", HOLDERS)
def test_whoever_holds_it_keeps_it(holder: str) -> None:
    array = _memory.empty((33, MIB), np.uint8)
    array[:] = 7
    at = address(array)
    held = HOLDERS[holder](array)  # type: ignore[operator]
    del array
    gc.collect()
    assert _memory._kept == []
    other = _memory.empty((33, MIB), np.uint8)
    other[:] = 9
    assert address(other) != at
    seen = np.frombuffer(held, np.uint8) if "base" in holder or holder == "memoryview" else np.asarray(held)
    assert (seen.view(np.uint8) == 7).all()


def test_an_object_that_comes_back_to_life_keeps_it() -> None:
    """The weak reference of an object in a cycle is called before `__del__` is."""
    saved = []

    class Phoenix:
        def __init__(self, base: Any) -> None:
            self.base, self.me = base, self

        def __del__(self) -> None:
            saved.append(self.base)

    array = _memory.empty((33, MIB), np.uint8)
    array[:] = 7
    Phoenix(array.base)
    del array
    gc.collect()
    other = _memory.empty((33, MIB), np.uint8)
    other[:] = 9
    assert (np.frombuffer(saved[0], np.uint8) == 7).all()


@given(data=st.data())
@settings(max_examples=60)
def test_no_two_arrays_in_use_share_memory(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        small(monkeypatch)
        held: list[tuple[NDArray[Any], int]] = []
        for number in range(data.draw(st.integers(1, 25))):
            if held and data.draw(st.booleans()):
                held.pop(data.draw(st.integers(0, len(held) - 1)))
            else:
                array = _memory.empty((data.draw(st.integers(1, 40_000)),), np.uint8)
                array[:] = number
                held.append((array, number))
            assert len(_memory._kept) <= 1
            for array, value in held:
                assert (array == value).all()


def test_threads_take_and_give_up_memory_of_different_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    interval, errors, stop = sys.getswitchinterval(), [], threading.Event()

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            while not stop.is_set():
                array = _memory.empty((int(rng.integers(5000, 60_000)),), np.uint8)
                array[:] = number
                assert (array == number).all()
        except BaseException as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        stop.wait(3)
        stop.set()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []


@pytest.mark.parametrize("nbytes", [31 * MIB, 1025 * MIB])
def test_other_memory_is_taken_only_when_nothing_is_kept(nbytes: int) -> None:
    del [_memory.empty((40, MIB), np.uint8)][0]
    assert len(_memory._kept) == 1
    array = _memory.empty((nbytes,), np.uint8)
    assert _memory._kept == []
    assert array.flags.owndata


def test_a_size_that_cannot_be_had_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "MOST_NBYTES", 1 << 62)
    with pytest.raises(MemoryError):
        _memory.empty((1 << 60,), np.uint8)


def test_kept_memory_is_the_systems_to_take() -> None:
    """Linux counts it as LazyFree (proc(5))."""
    code = f"""
import numpy as np
from fastdicom import _memory
array = _memory.empty((64 << 20,), np.uint8)
array[:] = 1
at = array.__array_interface__["data"][0]
del array
inside, found = False, 0
for line in open("/proc/self/smaps"):
    first = line.split()[0]
    if "-" in first and not first.endswith(":"):
        low, high = (int(part, 16) for part in first.split("-"))
        inside = low <= at < high
    elif inside and first == "LazyFree:":
        found = int(line.split()[1])
print(found >= {60 << 10})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "True\n", done.stderr


def test_a_volume_never_shows_what_was_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    series = write_series(tmp_path, SeriesSpec(slices=6, rows=64, columns=64, intercept=0))
    expected = fastdicom.load_volume(tmp_path).array.copy()
    Path(str(series.paths[2])).write_bytes(Path(str(series.paths[2])).read_bytes()[:-1000])
    for poison in (0x00, 0xAB):
        array = _memory.empty((expected.nbytes,), np.uint8)
        array[:] = poison
        del array
        assert len(_memory._kept) == 1
        volume = fastdicom.load_volume(tmp_path, errors="report")
        lost = ~volume.slices["valid"]
        assert lost.sum() == 1
        assert (volume.array[lost] == volume.fill_value).all()
        assert np.array_equal(volume.array[~lost], expected[~lost])
        del volume
