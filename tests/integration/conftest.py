"""This machine as a fixture: the local engine with nothing faked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.machine import Machine, probe

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("xvnc")


@pytest.fixture(scope="session")
def can_run() -> None:
    """Skip with the names of missing programs; fail instead where the tests are required."""
    problems = probe()
    required = os.environ.get("VIZDASH_REQUIRE_LAB") == "1" or os.environ.get("CI")
    if problems and required:
        pytest.fail(f"the local engine's tests are required, but: {'; '.join(problems)}")
    if problems:
        pytest.skip(f"no local engine here (make system): {'; '.join(problems)}")


@pytest.fixture
def machine(can_run: None) -> Iterator[Machine]:
    """An empty machine for one test; it and everything on it are removed afterwards."""
    machine = Machine()
    yield machine
    machine.stop()
