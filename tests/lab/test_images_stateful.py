"""Any order of changes and accidents, on real nodes and with real verbs."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.images.image_site import ImageSite
from tests.integration.images.images_machine import NODES, Images, machine_settings
from tests.lab import Lab
from tests.lab.image_site import LabSite

#: More by VIZDASH_STATES.
RUNS = int(os.environ.get("VIZDASH_STATES", "2"))


@pytest.fixture(scope="module")
def lab(can_lab: None) -> Iterator[Lab]:
    with Lab.start() as started:
        yield started


@pytest.mark.timeout(3600)
def test_any_order_of_changes_and_accidents(lab: Lab) -> None:
    class LabImages(Images):
        @staticmethod
        def open_site() -> ImageSite:
            return LabSite(lab, NODES)

    run_state_machine_as_test(LabImages, settings=machine_settings(examples=RUNS))
