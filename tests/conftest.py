"""The order of test files, and hooks and fixtures for all of them."""

from __future__ import annotations

import gc
import subprocess
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import processes

# Times mean little on a busy machine, and each run should find the same.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tests")

#: The slowest files: they start first, so that none runs alone at the end.
_FIRST = (
    "test_deploy.py",
    "test_laptop_dashboard.py",
    "test_accounting.py",
    "test_handoff.py",
    "test_laptop.py",
    "test_build.py",
    "test_session_ends.py",
    "test_many_sessions.py",
    "test_session.py",
    "test_actions.py",
    "test_pictures.py",
    "test_variants.py",
    "test_terminals.py",
    "test_idle.py",
    "test_picture_quality.py",
    "test_pvserver.py",
    "test_services.py",
    "test_native_viewer.py",
)
#: Slow files with independent tests: each test goes to any worker.
_APART = ("tests/lab/test_variants.py",)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.name
        small = {"unit", "images"} & set(item.path.parts)
        return _FIRST.index(name) if name in _FIRST and not small else len(_FIRST)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, one worker runs all tests of a file, except files in _APART."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(_APART) else super()._split_scope(nodeid)

    return ByFile(config, log)


def pytest_collection_finish() -> None:
    """Exempt modules and tests from garbage collection, which took a fifth of the CPU time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 50)


processes.watch()
_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = report.failed or item.stash.get(_FAILED, False)
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
        # Its own message names the command and the code alone.
        for name, text in (("stdout", error.stdout), ("stderr", error.stderr)):
            shown = text.decode(errors="replace") if isinstance(text, bytes) else text
            report.sections.append((f"The program's {name}", shown or "(nothing)"))
    return report


@pytest.fixture(autouse=True)
def waited_for(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a program running that it started."""
    processes.forget()
    yield
    left = processes.end()
    if left and not request.node.stash.get(_FAILED, False):
        pytest.fail(f"started, and not waited for: {left}")


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """UTC as the local time zone."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()
