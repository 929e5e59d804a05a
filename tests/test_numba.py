"""The compile helper: laziness, signatures, the cache on disk, many processes at once."""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastdicom import _numba, _numba_cache

HERE = Path(__file__).parent
WITH_NUMBA = {"NUMBA_OPT": "3"}
"""A setting, if only its default: finished code is not called without Numba then (tests/test_machine_code.py)."""

SOURCE = """
    from fastdicom._numba import kernel

    @kernel()
    def _twice(values, i):
        return values[i] * FACTOR

    @kernel(["int64(const(uint8[::1]), int64)", "int64(const(uint16[::1]), int64)"], warm=1)
    def total(values, count):
        "Sum of twice the values."
        s = 0
        for i in range(count):
            s += _twice(values, i)
        return s

    @kernel("void(int64[::1])")
    def fill(out):
        for i in range(out.size):
            out[i] = i
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from make_module(tmp_path, monkeypatch)


def make_module(folder: Path, monkeypatch: pytest.MonkeyPatch, factor: int = 2) -> Iterator[ModuleType]:
    name = f"kernels_of_{folder.name}".replace("-", "_")
    text = textwrap.dedent(SOURCE).replace("FACTOR", str(factor))
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    before = list(_numba._registry)
    importlib.invalidate_caches()
    yield importlib.import_module(name)
    _numba._registry[:] = before
    sys.modules.pop(name, None)


def python(code: str, *, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def caches(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*.nb?"))


class TestKernel:
    def test_signatures_are_compiled_when_arguments_need_them(self, module: ModuleType) -> None:
        assert module.total._dispatcher is None
        assert module.total(np.frombuffer(b"abc", np.uint8), 3) == 2 * (97 + 98 + 99)
        assert len(module.total._dispatcher.signatures) == 1
        unaligned = np.frombuffer(b"xabcd", np.uint8)[1:].view("<u2")
        assert not unaligned.flags.aligned
        assert module.total(unaligned, 2) == 2 * int(unaligned.astype(int).sum())
        assert len(module.total._dispatcher.signatures) == 2

    def test_undeclared_arguments_are_refused_before_and_after(self, module: ModuleType) -> None:
        for _ in range(2):
            with pytest.raises(TypeError, match=r"kernel .*total|No matching definition"):
                module.total(np.zeros(3, np.float32), 3)
            assert module.total(np.ones(3, np.uint8), 3) == 6
        with pytest.raises(TypeError):
            module.fill(np.frombuffer(bytes(16), np.int64))  # read-only, and not declared const

    def test_a_kernel_is_documented_and_pickled_as_the_function_it_is(self, module: ModuleType) -> None:
        assert module.total.__doc__ == "Sum of twice the values."
        assert module.total.python(np.array([1, 2]), 2) == 6
        assert pickle.loads(pickle.dumps(module.total)) is module.total
        assert "total" in repr(module.total)

    def test_threads_may_make_the_first_call_together(self, module: ModuleType) -> None:
        results: list[int] = []
        barrier = threading.Barrier(6)

        def call(dtype: str) -> None:
            barrier.wait()
            results.append(module.total(np.ones(5, dtype), 5))

        threads = [threading.Thread(target=call, args=(("u1", "u2")[i % 2],)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [10] * 6

    def test_warm_up(self, module: ModuleType) -> None:
        assert _numba.warm_up(module.__name__) == 2  # the first signature of `total`, the only one of `fill`
        assert len(module.total._dispatcher.signatures) == 1
        assert module.total.load() == 2
        assert _numba.warm_up("no.such.module") == 0

    def test_without_compilation(self, module: ModuleType, tmp_path: Path) -> None:
        code = f"""
            import numpy as np, {module.__name__} as m
            assert m.total(np.array([1, 2], np.int64), 2) == 6  # not even a declared dtype
            out = np.zeros(3, np.int64)
            m.fill(out)
            assert out.tolist() == [0, 1, 2]
        """
        done = python(code, cwd=tmp_path, NUMBA_DISABLE_JIT="1")
        assert done.returncode == 0, done.stderr

    def test_numba_itself_works_after_a_lean_load(self, module: ModuleType, tmp_path: Path) -> None:
        code = f"""
            import numpy as np, {module.__name__} as m
            assert m.total(np.ones(4, np.uint8), 4) == 8
            assert "numba" in __import__("sys").modules
            import numba
            @numba.njit
            def norm(a):
                return np.sort(a)[0] + (a * a).sum() + len([str(x) for x in range(3)])
            assert norm(np.array([3.0, 4.0])) == 31.0
        """
        for _ in range(2):  # compiled, then loaded
            done = python(code, cwd=tmp_path, **WITH_NUMBA)
            assert done.returncode == 0, done.stderr


class TestCache:
    def test_second_process_compiles_nothing(self, module: ModuleType, tmp_path: Path) -> None:
        code = f"""
            import numpy as np, {module.__name__} as m, sys
            m.total(np.ones(4, np.uint8), 4)
            d = m.total._dispatcher
            print(sum(d._cache_hits.values()), sum(d._cache_misses.values()), "numba.np.linalg" in sys.modules)
        """
        first, second = (python(code, cwd=tmp_path, **WITH_NUMBA) for _ in range(2))
        assert first.stdout.split()[:2] == ["0", "1"], first.stderr
        assert second.stdout.split() == ["1", "0", "False"], second.stderr
        assert len(caches(tmp_path)) == 2

    def test_a_changed_source_is_compiled_anew(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for factor in (2, 5, 2):
            made = make_module(tmp_path, monkeypatch, factor)
            changed = next(made)
            assert changed.total(np.ones(3, np.uint8), 3) == 3 * factor
            made.close()
            for compiled in tmp_path.rglob("*.pyc"):  # Python compares times to the second only
                compiled.unlink()
            sys.modules.pop(changed.__name__, None)

    def test_outdated_files_go_after_a_week(self, module: ModuleType, tmp_path: Path) -> None:
        folder = tmp_path / "__pycache__"
        folder.mkdir(exist_ok=True)
        python_tag = f"py{sys.version_info[0]}{sys.version_info[1]}"
        old = [f"{module.__name__}.total-0123456789-{n}.{python_tag}.{end}" for n, end in ((7, "nbi"), (9, "1.nbc"))]
        kept = [
            f"{module.__name__}.total-ffffffffff-7.{python_tag}.nbi",  # young
            f"{module.__name__}.total-0123456789-7.py27.nbi",  # of another Python
            f"{module.__name__}.totals-0123456789-7.{python_tag}.nbi",  # of another function
        ]
        for name in old + kept:
            (folder / name).write_bytes(b"")
            if name != kept[0]:
                os.utime(folder / name, (0, 0))
        module.total(np.ones(3, np.uint8), 3)
        names = os.listdir(folder)
        assert not set(old) & set(names)
        assert set(kept) <= set(names)

    @pytest.mark.fault
    @pytest.mark.parametrize(("suffix", "damage"), [(".nbi", "garbage"), (".nbc", "empty"), (".nbc", "absent")])
    def test_damaged_files_are_replaced(self, module: ModuleType, tmp_path: Path, suffix: str, damage: str) -> None:
        code = f"import numpy as np, {module.__name__} as m; print(m.total(np.ones(4, np.uint8), 4))"
        assert python(code, cwd=tmp_path, **WITH_NUMBA).stdout == "8\n"
        for path in tmp_path.rglob(f"*{suffix}"):
            path.unlink() if damage == "absent" else path.write_bytes(b"" if damage == "empty" else b"\x80garbage")
        assert python(code, cwd=tmp_path, **WITH_NUMBA).stdout == "8\n"
        hits = f"{code}; assert sum(m.total._dispatcher._cache_hits.values()) == 1"
        done = python(hits, cwd=tmp_path, **WITH_NUMBA)
        assert done.returncode == 0, done.stderr

    @pytest.mark.fault
    def test_nothing_can_be_written(self, module: ModuleType, tmp_path: Path) -> None:
        # As for a read-only install without a home: no locator of Numba finds a folder.
        code = f"""
            import numba.core.caching as caching
            def refuse(self):
                raise PermissionError("read-only")
            caching._CacheLocator.ensure_cache_path = refuse
            import numpy as np, {module.__name__} as m
            print(m.total(np.ones(4, np.uint8), 4))
        """
        done = python(code, cwd=tmp_path)
        assert done.stdout == "8\n", done.stderr
        assert caches(tmp_path) == []

    @pytest.mark.fault
    @pytest.mark.parametrize("failure", ["_acquire", "save"])
    def test_locks_and_full_disks(self, module: ModuleType, tmp_path: Path, failure: str) -> None:
        code = f"""
            import numpy as np, {module.__name__} as m, fastdicom._numba_cache as helper
            import numba.core.caching as caching
            def refuse(*args, **kwargs):
                raise OSError(28, "no space, or no locks")
            if {failure!r} == "save":
                caching.IndexDataCacheFile.save = refuse
            else:
                helper._acquire = refuse
            print(m.total(np.ones(4, np.uint8), 4), m.total(np.ones(4, np.uint16), 4))
        """
        done = python(code, cwd=tmp_path)
        assert done.stdout == "8 8\n", done.stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="flock")
    def test_a_lock_that_never_comes_free(
        self, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_numba_cache, "LOCK_TIMEOUT_S", 0.2)
        folder = tmp_path / "__pycache__"
        folder.mkdir(exist_ok=True)
        held = _numba_cache._acquire(str(folder / _numba_cache.LOCK_NAME), exclusive=True)
        try:
            assert module.total(np.ones(4, np.uint8), 4) == 8
        finally:
            _numba_cache._release(held)
        assert caches(tmp_path) == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_fork_does_not_keep_the_lock(self, tmp_path: Path) -> None:
        path = str(tmp_path / "lock")
        held = _numba_cache._acquire(path, exclusive=True)
        child = os.fork()
        if child == 0:
            time.sleep(5)
            os._exit(0)
        try:
            _numba_cache._release(held)
            started = time.monotonic()
            _numba_cache._release(_numba_cache._acquire(path, exclusive=True))
            assert time.monotonic() - started < 2
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


def start_together(count: int, cache: Path) -> list[Any]:
    start_at = time.time() + 3.0  # all have imported by then
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, str(HERE / "numba_worker.py"), repr(start_at)]
    workers = [
        subprocess.Popen([*command, str(i)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for i in range(count)
    ]
    return [(worker.communicate(timeout=180)[0], worker.returncode) for worker in workers]


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.parametrize("repetition", range(int(os.environ.get("FASTDICOM_COLD_STARTS", "2"))))
def test_eight_processes_start_on_an_empty_cache(tmp_path: Path, repetition: int) -> None:
    """FASTDICOM_COLD_STARTS=20 runs it as often as the promise says."""
    for output, status in start_together(8, tmp_path):
        assert status == 0, output.decode()
    # Whatever they left behind is sound: one process loads all of it and compiles nothing.
    assert start_together(1, tmp_path) == [(b"", 0)]
    assert not list(tmp_path.rglob("*.tmp.*"))
