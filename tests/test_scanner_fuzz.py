"""Hostile bytes: the compiled reader must end, stay within its memory, and say what pydicom says.

The default run is a sample. ``FASTDICOM_FUZZ=full`` runs all of it: every prefix of 50 files and 100,000 mutations.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import struct
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fastdicom.headers import READER_WALK, HeaderTable, read_headers
from fastdicom.types import FileRef
from test_scanner import EXPLICIT, IMPLICIT, data_set, encoded

pytestmark = pytest.mark.fuzz

FULL = os.environ.get("FASTDICOM_FUZZ") == "full"
DATA = Path(os.environ.get("FASTDICOM_DATA", Path(__file__).parents[2] / "shared" / "data"))
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
N_FILES = 50
BATCH = 500
MEMORY = 2 << 30
"""Address space beyond what the process has when a test begins; a length field may claim 4 GiB."""
SECONDS_A_BATCH = 120


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"a batch of {BATCH} small files took longer than {SECONDS_A_BATCH} s")


@contextmanager
def limits() -> Iterator[None]:
    """Memory and time run out loudly."""
    if sys.platform != "linux":
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    handler = signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(SECONDS_A_BATCH)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def header_of(path: str) -> bytes:
    """An image file up to a little behind the begin of its pixel data: what a mutation can break."""
    content = Path(path).read_bytes()
    table = read_headers([FileRef(path, len(content))])
    return content[: int(table["pixel_offset"][0]) + 64] if len(table) else b""


@lru_cache(maxsize=1)
def seeds() -> list[bytes]:
    """Headers of 50 different real files: as many kinds as there are, pydicom's own where there is no other data."""
    files = [str(path) for path in sorted(PYDICOM_FILES.rglob("*")) if path.is_file()]
    if DATA.is_dir():
        folders = sorted(path for path in DATA.glob("*/*/dicom") if path.parent.parent.name != "bad")
        files = [str(next(f for f in sorted(folder.rglob("*")) if f.is_file())) for folder in folders] + files
    found: dict[bytes, None] = {}
    for path in files:
        header = header_of(path)
        if 400 < len(header) < 16 << 10:
            found.setdefault(header)
    assert len(found) >= N_FILES
    return [list(found)[len(found) * k // N_FILES] for k in range(N_FILES)]


def read_both(folder: Path, contents: list[bytes]) -> tuple[HeaderTable, HeaderTable]:
    files = []
    for number, content in enumerate(contents):
        path = folder / f"{number:04d}"
        path.write_bytes(content)
        files.append(FileRef(str(path), len(content)))
    with limits():
        return read_headers(files), read_headers(files, compiled=False)


def assert_same(compiled: HeaderTable, plain: HeaderTable, contents: list[bytes]) -> None:
    """Each file ends in the same place, with the same values and the same reason."""
    assert compiled.skipped == plain.skipped
    assert list(compiled["path"]) == list(plain["path"])
    for name in plain:
        if name == "reader":
            continue
        a, b = compiled[name], plain[name]
        assert a.dtype.kind == b.dtype.kind, name
        same = (a == b) | ((a != a) & (b != b))
        if not same.all():
            row = int(np.argwhere(~same)[0][0])
            raise AssertionError(f"{name}: walk {a[row]!r}, pydicom {b[row]!r} ({plain['path'][row]})")
    accounted = {*map(str, plain["path"]), *(item.path for item in plain.skipped)}
    assert len(accounted) == len(contents)
    assert all(item.reason for item in plain.skipped)


def run(folder: Path, contents: list[bytes]) -> Counter[str]:
    compiled, plain = read_both(folder, contents)
    assert_same(compiled, plain, contents)
    readers = Counter({"walk": int((compiled["reader"] == READER_WALK).sum())})
    return readers + Counter(item.kind for item in compiled.skipped)


def batches(contents: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for content in contents:
        batch.append(content)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def prefixes() -> Iterator[bytes]:
    step = 1 if FULL else 97
    for number, seed in enumerate(seeds()):
        for end in range(number % step, len(seed), step):
            yield seed[:end]


LENGTHS = (0, 1, 7, 0xFFFE, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)
TAGS = (0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD, 0x7FE0_0010, 0x0002_0010, 0x0008_0005, 0x5200_9230, 0x0019_0010)
VRS = (
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV zz".split()
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Between one and four random kinds of damage."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(128, max(len(data), 130))
        kind = rng.randrange(8)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at : at + 1] = bytes([(data[at] if at < len(data) else 0) ^ (1 << rng.randrange(8))])
        elif kind == 2:
            data[at : at + 4] = struct.pack("<I", rng.choice(LENGTHS))
        elif kind == 3:
            tag = rng.choice(TAGS)
            data[at : at + 4] = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        elif kind == 4:
            data[at : at + 2] = rng.choice(VRS)
        elif kind == 5:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 6:
            start = rng.randrange(0, len(data))
            data[at:at] = data[start : start + rng.randrange(1, 200)]
        else:
            data[at : at + 2] = struct.pack("<H", rng.choice(LENGTHS) & 0xFFFF)
    return bytes(data)


def mutations(count: int) -> Iterator[bytes]:
    rng = random.Random(20240607)
    contents = seeds()
    for _ in range(count):
        yield mutated(rng.choice(contents), rng)


def test_every_prefix_of_real_headers(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for batch in batches(prefixes()):
        seen += run(tmp_path, batch)
    print(seen)
    assert seen["damaged"] > 0


def test_random_mutations(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for batch in batches(mutations(100_000 if FULL else 1_500)):
        seen += run(tmp_path, batch)
    print(seen)
    assert seen["walk"] > 0
    assert seen["damaged"] > 0


@pytest.mark.parametrize("depth", [1, 10, 100, 500, 10_000])
@pytest.mark.parametrize("closed", [False, True])
def test_nesting(depth: int, closed: bool, tmp_path: Path) -> None:
    opened = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" if closed else b""
    for syntax in (EXPLICIT, IMPLICIT):
        content = encoded(data_set(), syntax)
        start = opened if syntax == EXPLICIT else opened.replace(b"SQ\0\0", b"")
        at = content.index(b"\x20\0\x13\0")
        seen = run(tmp_path, [content[:at] + start * depth + end * depth + content[at:]])
        assert seen["walk"] == (closed and depth == 1)  # deeper ones are pydicom's, as far as Python can recurse
        assert closed or seen["damaged"] + seen["no-pixels"] == 1


def test_huge_lengths_allocate_nothing(tmp_path: Path) -> None:
    """0xFFFFFFFE in the place of every four bytes of a header, one after the other."""
    for syntax in (EXPLICIT, IMPLICIT):
        content = encoded(data_set(), syntax)
        huge = [content[:at] + b"\xfe\xff\xff\xff" + content[at + 4 :] for at in range(132, len(content) - 4)]
        run(tmp_path, huge[:10])  # imports and compiled code are not what is measured
        tracemalloc.start()
        run(tmp_path, huge)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32 << 20
