"""Finished machine code, called without Numba: the same answers, or Numba after all."""

from __future__ import annotations

import enum
import importlib
import os
import pkgutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdicom
from fastdicom import _machine_code, _numba
from fastdicom._numba_sources import source_digest
from fastdicom.testing import SeriesSpec, write_series

pytestmark = pytest.mark.skipif(not _machine_code.may_keep_machine_code(), reason="Linux, 64 bits, nothing for Numba")

SOURCE = """
    import math
    from fastdicom._numba import kernel
    import numpy as np

    TABLE = np.array([3, 1, 4])

    @kernel(["int64(const(uint8[::1]), int64)", "int64(const(uint16[:, ::1]), int64)"])
    def total(values, count):
        s = TABLE[0]
        for value in values.flat:
            if count > 0:
                s += value
            count -= 1
        return s

    @kernel("void(int64[::1], float64, uint8)")
    def fill(out, factor, shift):
        for i in range(out.size):
            out[i] = int(i * factor) + shift

    @kernel("boolean(const(float32[:, :, ::1]), intp, intp)")
    def has(values, plane, row):
        return values[plane, row, 0] != 0

    @kernel("UniTuple(int64, 2)(int64)")
    def both(value):
        return value + 1, value - 1

    @kernel("int64(int64)")
    def allocates(count):
        return np.zeros(count, np.int64).size

    @kernel("int64(float64)")
    def exponent(value):
        return math.frexp(value)[1]

    @kernel("int64(int64, int64)")
    def divide(a, b):
        return a // b

    LARGE = np.arange(200_000)

    @kernel("int64(int64)")
    def looks_up(i):
        return LARGE[i]
"""
CALLS = """
    import sys
    import numpy as np
    import NAME as m
    out = np.zeros(5, np.int64)
    m.fill(out, 1.5, np.uint8(3))
    image = np.zeros((2, 3, 4), np.float32)
    image[1, 2, 0] = -1
    print(
        m.total(np.frombuffer(b"abc", np.uint8), 2),
        m.total(np.frombuffer(b"xabcdef", np.uint8)[1:].view("<u2").reshape(1, 3), 3),
        out.tolist(), m.has(image, 1, 2), m.has(image, 0, True), m.both(np.int32(-5)), m.divide(-7, 2),
        file=sys.stderr,
    )
    print("numba" in sys.modules)
"""
EXPECTED = f"{3 + 97 + 98} {3 + sum(np.frombuffer(b'abcdef', '<u2').tolist())} [3, 4, 6, 7, 9] True False (-4, -6) -4\n"


@pytest.fixture
def name(tmp_path: Path) -> str:
    name = f"kernels_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(SOURCE))
    return name


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def kept(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.machine"))


def test_the_second_process_does_not_import_numba(tmp_path: Path, name: str) -> None:
    code = CALLS.replace("NAME", name)
    first, second = python(code, tmp_path), python(code, tmp_path)
    assert (first.stdout, first.stderr) == ("True\n", EXPECTED)
    assert (second.stdout, second.stderr) == ("False\n", EXPECTED)
    assert len(kept(tmp_path)) == 6


def test_a_warm_scan_does_not_import_numba(tmp_path: Path) -> None:
    write_series(tmp_path / "series", SeriesSpec(slices=3, rows=8, columns=8))
    code = """
        import sys, fastdicom
        found = fastdicom.scan("series")
        print(len(found), found[0].shape, "numba" in sys.modules)
    """
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, second = python(code, tmp_path, **environment), python(code, tmp_path, **environment)
    assert first.stdout == "1 (3, 8, 8) True\n", first.stderr
    assert second.stdout == "1 (3, 8, 8) False\n", second.stderr


def test_what_needs_numba_is_not_kept(tmp_path: Path, name: str) -> None:
    """The exponent of a number is taken by a function that Numba brings."""
    code = f"import sys, {name} as m; print(m.exponent(7.5), 'numba' in sys.modules)"
    for _ in range(2):
        done = python(code, tmp_path)
        assert done.stdout == "3 True\n", done.stderr
    assert kept(tmp_path) == []


def test_a_kernel_cannot_allocate(tmp_path: Path, name: str) -> None:
    done = python(f"import {name} as m; m.allocates(7)", tmp_path)
    assert done.returncode == 1
    assert "np.zeros(count, np.int64)" in done.stderr


def test_what_holds_an_address_of_its_process_is_not_kept(tmp_path: Path, name: str) -> None:
    """Numba compiles a reference to a large global array; the next process would read elsewhere."""
    code = f"import {name} as m; print(m.looks_up(199_999))"
    for _ in range(2):
        done = python(code, tmp_path)
        assert done.stdout == "199999\n", done.stderr
    assert kept(tmp_path) == []


def test_signatures_of_one_kernel_do_not_outdate_each_other(tmp_path: Path, name: str) -> None:
    first = f"import sys, numpy as np, {name} as m; print(m.total(np.ones(3, 'u1'), 3), 'numba' in sys.modules)"
    second = first.replace("np.ones(3, 'u1')", "np.ones((1, 3), 'u2')")
    assert python(first, tmp_path).stdout == "6 True\n"
    for old in kept(tmp_path):
        os.utime(old, (0, 0))
    assert python(second, tmp_path).stdout == "6 True\n"
    assert python(first, tmp_path).stdout == "6 False\n"


def test_a_function_that_fails_says_so(tmp_path: Path, name: str) -> None:
    code = f"""
        import {name} as m
        m.divide(4, 2)
        try:
            m.divide(4, 0)
        except (ZeroDivisionError, RuntimeError) as error:
            print(type(error).__name__)
    """
    assert [python(code, tmp_path).stdout for _ in range(2)] == ["ZeroDivisionError\n", "RuntimeError\n"]


@pytest.mark.fault
@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "garbage", "unreadable"])
def test_damaged_files_are_not_run(tmp_path: Path, name: str, damage: str) -> None:
    code = CALLS.replace("NAME", name)
    python(code, tmp_path)
    for path in kept(tmp_path):
        data = path.read_bytes()
        path.unlink()
        if damage == "unreadable":
            path.mkdir()
        else:
            changed = data[:300] + bytes([data[300] ^ 1]) + data[301:]
            contents = {"empty": b"", "cut": data[:-100], "changed": changed, "garbage": b"\x7fELF" * 300}
            path.write_bytes(contents[damage])
    done = python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", EXPECTED)


@pytest.mark.fault
def test_code_that_calls_what_is_not_there_is_not_linked(tmp_path: Path, name: str) -> None:
    """LLVM would end the process."""
    code = CALLS.replace("NAME", name)
    python(code, tmp_path)
    absent = "import fastdicom._machine_code as c\nc._undefined = lambda data: ['no_such_function']\n"
    absent += textwrap.dedent(code)
    done = python(absent, tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", EXPECTED)


def test_nothing_can_be_written(tmp_path: Path, name: str) -> None:
    code = (
        "import pathlib\ndef refuse(*a, **k): raise PermissionError('read-only')\npathlib.Path.write_bytes = refuse\n"
    )
    done = python(code + textwrap.dedent(CALLS.replace("NAME", name)), tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", EXPECTED)
    assert kept(tmp_path) == []


@pytest.mark.parametrize(("setting", "value"), [("NUMBA_CPU_NAME", "generic"), ("NUMBA_OPT", "1")])
def test_settings_for_numba_are_followed(tmp_path: Path, name: str, setting: str, value: str) -> None:
    done = python(CALLS.replace("NAME", name), tmp_path, **{setting: value})
    assert (done.stdout, done.stderr) == ("True\n", EXPECTED)
    assert kept(tmp_path) == []


def test_a_changed_source_has_other_code(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.py"
    code = f"import {name} as m; print(m.both(1))"
    assert python(code, tmp_path).stdout == "(2, 0)\n"
    path.write_text(path.read_text().replace("value + 1", "value + 10"))
    assert python(code, tmp_path).stdout == "(11, 0)\n"
    assert len(kept(tmp_path)) == 2
    for old in kept(tmp_path):
        os.utime(old, (0, 0))
    path.write_text(path.read_text().replace("value + 10", "value + 20"))
    assert python(code, tmp_path).stdout == "(21, 0)\n"
    assert len(kept(tmp_path)) == 1, "what older sources left goes after a week"


@pytest.mark.parametrize("keeps", ["machine code", "only Numba's cache"])
@pytest.mark.parametrize(
    ("file", "before", "after"),
    [("helpers", "value * 2", "value * 3"), ("deeper", "value + 1", "value + 5"), ("numbers_of", "7", "9")],
)
def test_what_a_kernel_has_from_other_files_counts(
    tmp_path: Path, file: str, before: str, after: str, keeps: str
) -> None:
    """Kernels that it calls, kernels that those call, and constants: code made with others of them is not used."""
    sources = {
        "numbers_of": "STEP = 7",
        "deeper": """
            from fastdicom._numba import kernel

            @kernel()
            def more(value):
                return value + 1
            """,
        "helpers": """
            from deeper import more
            from fastdicom._numba import kernel

            @kernel()
            def twice(value):
                return more(value * 2)
            """,
        "user": """
            from fastdicom._numba import kernel
            from helpers import twice
            from numbers_of import STEP

            @kernel("int64(int64)")
            def use(value):
                return twice(value) + STEP
            """,
    }
    for module, source in sources.items():
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
    setting = {} if keeps == "machine code" else {"NUMBA_OPT": "3"}
    code = "import user; print(user.use(10))"
    for _ in range(2):
        done = python(code, tmp_path, **setting)
        assert (done.stdout, done.stderr) == ("28\n", "")
    path = tmp_path / f"{file}.py"
    path.write_text(path.read_text().replace(before, after))
    done = python(code, tmp_path, **setting)
    assert (done.stdout, done.stderr) == ({"helpers": "38\n", "deeper": "32\n", "numbers_of": "30\n"}[file], "")
    assert len(kept(tmp_path)) == (2 if keeps == "machine code" else 0)


class Pair(NamedTuple):
    first: int
    second: int


class Number(enum.IntEnum):
    ONE = 1


PAIR, WORD, KERNELS, TIMES, DAY = Pair(1, 2), np.uint8, (_numba.kernel()(abs),), {"a": 1}, np.array(["NaT"], "M8[s]")


def closed_over(value: Any) -> Any:
    def inner(x: Any) -> Any:
        return x + value

    return inner


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + PAIR.first,
        lambda x: x + Number.ONE,
        lambda x: WORD(x),
        lambda x: KERNELS[0](x),
        lambda x: TIMES["a"] + x,
        lambda x: os.sep,
        lambda x: closed_over(x),
        lambda x: DAY[x],
        lambda x: [WORD(y) for y in x],
        lambda x, y=PAIR: x,
        lambda x, *, y=WORD: x,
        closed_over(1),
    ],
)
def test_constants_that_could_change_unseen_are_refused(function: Any) -> None:
    with pytest.raises(TypeError, match="stale"):
        source_digest(function)


def test_every_kernel_says_what_it_was_made_from() -> None:
    for module in pkgutil.walk_packages(fastdicom.__path__, "fastdicom."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    digests = [source_digest(kernel.python) for kernel in _numba._registry if kernel.__module__.startswith("fastdicom")]
    assert len(digests) > 70
    assert {len(digest) for digest in digests} == {64}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, dict[str, Any]]]:
    """A module whose kernels Numba compiled here, and their finished code."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "machine_code_kernels.py").write_text(textwrap.dedent(SOURCE))
    sys.path.insert(0, str(folder))
    before = list(_numba._registry)
    try:
        importlib.invalidate_caches()
        module = importlib.import_module("machine_code_kernels")
        codes = {}
        for kernel in (module.total, module.fill, module.has, module.both):
            assert kernel._prepare()  # Numba, whatever is kept
            kernel.load()
            for text in kernel.signatures:
                code = _machine_code.load_machine_code(kernel.python, text)
                assert code is not None
                codes.setdefault(kernel.__name__, []).append(code)
        yield module, codes
    finally:
        _numba._registry[:] = before
        sys.path.remove(str(folder))
        sys.modules.pop("machine_code_kernels", None)


VALUES = st.one_of(
    st.integers(-(1 << 70), 1 << 70),
    st.booleans(),
    st.floats(allow_nan=False, width=32),
    st.sampled_from([np.uint8(200), np.int64(-3), np.float32(1.5), None, "3"]),
)


@given(data=st.data())
def test_arguments_are_taken_and_refused_as_by_numba(
    loaded: tuple[ModuleType, dict[str, Any]], data: st.DataObject
) -> None:
    module, codes = loaded
    kernel = data.draw(st.sampled_from(["fill", "both"]))
    values = [data.draw(VALUES) for _ in range(2 if kernel == "fill" else 1)]
    ours, theirs = np.zeros(4, np.int64), np.zeros(4, np.int64)
    args = [(ours, *values), (theirs, *values)] if kernel == "fill" else [tuple(values), tuple(values)]
    code = codes[kernel][0]
    leaves = code.leaves_of(args[0])
    if leaves is None:  # Numba decides; but not of what is plainly right
        plain = all(type(value) is int and 0 <= value < 256 for value in values)
        assert not plain
        return
    result = code.call(leaves)
    assert result == getattr(module, kernel)(*args[1])
    np.testing.assert_array_equal(ours, theirs)


@given(data=st.data())
def test_arrays_give_what_they_give_with_numba(loaded: tuple[ModuleType, dict[str, Any]], data: st.DataObject) -> None:
    from numba.core.errors import NumbaError

    module, codes = loaded
    shape = tuple(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)))
    dtype = data.draw(st.sampled_from(["u1", "<u2", ">u2", "<i2"]))
    raw = np.frombuffer(data.draw(st.binary(min_size=300, max_size=300)), np.uint8)
    start = data.draw(st.integers(0, 1))
    array = raw[start : start + int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
    if data.draw(st.booleans()):
        array = array[..., ::-1]
    count = data.draw(st.integers(0, array.size))
    found = [(code, leaves) for code in codes["total"] if (leaves := code.leaves_of((array, count))) is not None]
    if not array.dtype.isnative:  # Numba tells unaligned arrays apart by all but this, and takes the first for the next
        assert found == []
        return
    try:
        expected = module.total(array, count)
    except (TypeError, NumbaError):
        assert found == []
        return
    assert [code.call(leaves) for code, leaves in found] == [expected]


def test_what_is_written_must_be_writable(loaded: tuple[ModuleType, dict[str, Any]]) -> None:
    _, codes = loaded
    fill = codes["fill"][0]
    assert fill.leaves_of((np.zeros(4, np.int64), 1.0, 1)) is not None
    assert fill.leaves_of((np.frombuffer(bytes(32), np.int64), 1.0, 1)) is None
    assert fill.leaves_of((np.zeros(33, np.uint8)[1:].view(np.int64), 1.0, 1)) is None, "unaligned"
    assert fill.leaves_of((np.zeros(8, np.int64)[::2], 1.0, 1)) is None
    assert fill.leaves_of((np.ma.zeros(4, np.int64), 1.0, 1)) is None
    assert fill.leaves_of((np.zeros(4, np.int64), 1.0)) is None
    assert fill.leaves_of((np.zeros(4, np.int64), 1.0, 256)) is None
    assert fill.leaves_of((np.zeros(4, np.int64), 1.0, -1)) is None


def test_threads_may_make_the_first_call_together(tmp_path: Path, name: str) -> None:
    python(CALLS.replace("NAME", name), tmp_path)
    code = f"""
        import sys, threading
        import numpy as np, {name} as m
        barrier, found = threading.Barrier(6), []
        def call(shape, dtype):
            barrier.wait()
            for _ in range(200):
                found.append(m.total(np.ones(shape, dtype), 5))
        kinds = [((5,), "u1"), ((1, 5), "u2")]
        threads = [threading.Thread(target=call, args=kinds[k % 2]) for k in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        print(set(found), len(found), "numba" in sys.modules)
    """
    done = python(code, tmp_path)
    assert done.stdout == "{8} 1200 False\n", done.stderr


def test_undefined_names_are_those_of_readelf(tmp_path: Path, name: str) -> None:
    """GNU binutils as the oracle, where they are installed."""
    import shutil

    if shutil.which("readelf") is None:
        pytest.skip("readelf is not installed")
    python(CALLS.replace("NAME", name), tmp_path)
    for path in kept(tmp_path):
        data = path.read_bytes().split(b"\n", 2)[2]
        data = data[data.index(b"\x7fELF") :]
        (tmp_path / "code.o").write_bytes(data)
        table = subprocess.run(
            ["readelf", "-sW", str(tmp_path / "code.o")], capture_output=True, text=True, check=True
        ).stdout
        rows = [line.split() for line in table.splitlines()]
        undefined = [row[7] for row in rows if len(row) == 8 and row[6] == "UND"]
        assert _machine_code._undefined(data) == undefined
    with pytest.raises(ValueError, match="ELF"):
        _machine_code._undefined(b"MZ" + bytes(100))


def test_kernels_keep_the_interpreter_free(tmp_path: Path, name: str) -> None:
    """The lock is released: another thread runs while the function does."""
    python(CALLS.replace("NAME", name), tmp_path)
    done = python(
        f"""
        import sys, threading, time
        import numpy as np, {name} as m
        out = np.zeros(40_000_000, np.int64)
        m.fill(out[:1], 1.0, 0)
        turns, stop = [0], threading.Event()
        def count():
            while not stop.is_set():
                turns[0] += 1
                time.sleep(0.001)
        thread = threading.Thread(target=count)
        thread.start()
        before = turns[0]
        for _ in range(3):
            m.fill(out, 1.0, 0)
        print(turns[0] - before > 3, "numba" in sys.modules)
        stop.set()
        thread.join()
        """,
        tmp_path,
    )
    assert done.stdout == "True False\n", done.stderr
