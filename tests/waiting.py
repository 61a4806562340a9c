"""Waiting by polling, with a generous deadline."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(
    true: Callable[[], bool], what: str, seconds: float = 180, seen: Callable[[], str] = str
) -> None:
    """Poll until ``true``. Fails with ``what`` has not happened and what was ``seen`` last."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"no {what} after {seconds:g} s: {seen()}"
        time.sleep(0.1)
