"""What all tests share: where the real data lie, how hypothesis draws, and a memory limit for hostile input."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent
DATA_ROOT = Path(os.environ.get("FASTDICOM_DATA") or REPOSITORY.parent / "shared" / "data")
FUZZ_EXTRA_BYTES = 4 * 2**30
"""Address space that one test of hostile input may take on top of what the process has already."""

# Warnings from libraries depend on timing (first import wins), so a deadline would fail at random on a loaded machine.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", derandomize=True, print_blob=True, max_examples=50, **_common)
settings.register_profile("explore", max_examples=500, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all that they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses real data is marked so, and skipped with a reason where there is none."""
    absent = not (DATA_ROOT / "series.json").is_file()
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("realdata")
        if absent and item.get_closest_marker("realdata"):
            item.add_marker(pytest.mark.skip(reason=f"no real data at {DATA_ROOT}: set FASTDICOM_DATA to their folder"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real DICOM data; a test that asks for it is skipped where it is absent."""
    return DATA_ROOT


@pytest.fixture(autouse=True)
def _limited_memory(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked ``fuzz`` gets a MemoryError where it would take far more than it should."""
    if request.node.get_closest_marker("fuzz") is None or not Path("/proc/self/statm").exists():
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = used + FUZZ_EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
