"""Fixtures that tests of several packages share."""

from __future__ import annotations

import pytest

from tests.unit.engines.slurm_replay import VERSIONS, Recording


@pytest.fixture(params=VERSIONS)
def recording(request: pytest.FixtureRequest) -> Recording:
    """The recorded answers of each version of Slurm in turn."""
    return Recording(request.param)
