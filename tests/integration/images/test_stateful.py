"""Any order of changes and accidents, on folders as nodes (images_machine.py)."""

from __future__ import annotations

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.images.images_machine import Images, machine_settings


@pytest.mark.timeout(3600)
def test_any_order_of_changes_and_accidents() -> None:
    run_state_machine_as_test(Images, settings=machine_settings(examples=12))
