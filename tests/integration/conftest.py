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
    """Skip, naming what is missing; fail instead where it is required."""
    problems = probe()
    required = os.environ.get("VIZDASH_REQUIRE_LAB") == "1" or os.environ.get("CI")
    if problems and required:
        pytest.fail(f"the local engine's tests are required, but: {'; '.join(problems)}")
    if problems:
        pytest.skip(f"no local engine here (make system): {'; '.join(problems)}")


@pytest.fixture
def machine(can_run: None) -> Iterator[Machine]:
    """A machine of the test's own, with nothing on it; gone afterwards, whatever was left."""
    machine = Machine()
    yield machine
    machine.stop()
