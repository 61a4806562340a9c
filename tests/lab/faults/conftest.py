"""Which faults are tested: the short ones, or all with VIZDASH_FAULTS=all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab.faults.fault import Fault

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("VIZDASH_FAULTS") == "all":
        return
    left_out = [item for item in items if _HERE in item.path.parents and not _is_short(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _is_short(item: pytest.Item) -> bool:
    fault = item.callspec.params.get("fault") if hasattr(item, "callspec") else None
    return not isinstance(fault, Fault) or fault.short
