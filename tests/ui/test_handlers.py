"""Every action of the registry has one handler: in a controller, or in the dashboard's screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import pytest

from tests.ui.fake import app_on
from vizdash.actions import REGISTRY, Context
from vizdash.ui.controllers.interface import merge_handlers


def faults(*tables: Collection[str]) -> list[str]:
    """Actions without a handler, with two of them, and handlers without an action."""
    handled = Counter(name for table in tables for name in table)
    known = {action.id for action in REGISTRY}
    return [
        *(f"{name}: no handler" for name in sorted(known - handled.keys())),
        *(f"{name}: no such action" for name in sorted(handled.keys() - known)),
        *(f"{name}: handled {n} times" for name, n in handled.items() if n > 1),
    ]


async def test_every_action_has_one_handler() -> None:
    app, _ = app_on()
    async with app.run_test():
        assert faults(app.controllers.handlers, app.dashboard.handlers) == []


async def test_a_missing_a_second_and_an_unknown_one_are_found() -> None:
    app, _ = app_on()
    async with app.run_test():
        fewer = app.controllers.handlers.keys() - {"open"} | {"sort", "fly"}
        assert faults(fewer, app.dashboard.handlers) == [
            "open: no handler",
            "fly: no such action",
            "sort: handled 2 times",
        ]


def test_two_controllers_cannot_handle_one_action() -> None:
    def handler(context: Context) -> None: ...

    with pytest.raises(ValueError, match=r"^handled twice: open$"):
        merge_handlers({"open": handler, "stop": handler}, {"quit": handler, "open": handler})
