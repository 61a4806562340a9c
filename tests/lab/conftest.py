"""The lab as a fixture: one cluster for the whole run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, probe, recipe
from tests.lab.browser import keep_browsers
from tests.lab.faults.fault import PROPERTY, Measured
from tests.lab.faults.page import update
from tests.lab.faults.table import render
from tests.lab.outside import OutsideNetwork, outside_network

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("lab")


@pytest.fixture(scope="session")
def can_lab() -> None:
    """Skip with the reasons; fail instead where the lab is required."""
    problems = probe()
    if problems and os.environ.get("VIZDASH_REQUIRE_LAB") == "1":
        pytest.fail(f"the lab is required, but: {'; '.join(problems)}")
    if problems:
        pytest.skip(f"no lab here: {'; '.join(problems)}")


@pytest.fixture(scope="session")
def running_lab(can_lab: None) -> Iterator[Lab]:
    with Lab.start() as lab:
        yield lab


@pytest.fixture(scope="module", autouse=True)
def browsers() -> Iterator[None]:
    """Keep browsers running for all tests of a module."""
    with keep_browsers():
        yield


@pytest.fixture(scope="module")
def running_outside(running_lab: Lab) -> Iterator[OutsideNetwork]:
    with outside_network(running_lab) as found:
        yield found


@pytest.fixture
def outside(running_outside: OutsideNetwork) -> OutsideNetwork:
    """A laptop and its network; its user has no settings but login's host key."""
    running_outside.reset_user()
    return running_outside


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """The cluster, idle; what a test leaves running is ended afterwards."""
    yield running_lab
    running_lab.settle()
    running_lab.remove_leftovers()


@pytest.fixture(scope="module")
def running_accounts(can_lab: None) -> Iterator[Lab]:
    with Lab.start(accounts=True) as lab:
        yield lab


@pytest.fixture
def accounts(running_accounts: Lab) -> Iterator[Lab]:
    """A cluster with accounting (tests/lab/files/accounts), otherwise like ``lab``."""
    yield running_accounts
    running_accounts.settle()
    running_accounts.remove_leftovers()


@pytest.fixture
def site(lab: Lab) -> Iterator[None]:
    """A site's configuration and job folder, for one test."""
    with site_files(lab):
        yield


@pytest.fixture
def accounts_site(accounts: Lab) -> Iterator[None]:
    """A site's configuration and job folder on the cluster with accounting, for one test."""
    with site_files(accounts):
        yield


@contextlib.contextmanager
def site_files(lab: Lab) -> Iterator[None]:
    place = lab.login.root / "etc/vizdash"
    (place / "jobs").mkdir(parents=True)
    shutil.copy(recipe.FILES / "site.yaml", place / "config.yaml")
    shutil.copy(recipe.FILES / "gedit_vnc_job.sh", place / "jobs")
    yield
    shutil.rmtree(place)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of the faults that were made; VIZDASH_FAULTS_PAGE is a page to update."""
    reports = [r for reports in terminalreporter.stats.values() for r in reports]
    measured = [
        Measured(**json.loads(str(value)))
        for report in reports
        if getattr(report, "when", "") == "call" and report.passed
        for name, value in report.user_properties
        if name == PROPERTY
    ]
    if measured:
        terminalreporter.section("faults")
        terminalreporter.write(render(measured, only_measured=True))
        if page := os.environ.get("VIZDASH_FAULTS_PAGE"):
            update(Path(page), measured)
