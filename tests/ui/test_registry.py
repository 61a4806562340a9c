"""Footer, palette, help and verbs come from the registry of actions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner

from tests.ui.fake import (
    app_on,
    busy,
)
from tests.ui.pilot import begin, offered, press, sees, toasts, until
from vizdash.actions import REGISTRY, Action
from vizdash.cli.common import cli


@contextmanager
def _added(action: Action) -> Iterator[None]:
    REGISTRY.add(action)
    try:
        yield
    finally:
        REGISTRY.remove(action.id)


async def test_a_new_action_is_in_footer_palette_help_and_cli() -> None:
    wave = Action("wave", "Wave", "Wave at the cluster.", ("f9",), verb="stop-waving", footer=1)
    with _added(wave):
        app, _ = app_on(busy())
        async with app.run_test(size=(160, 60)) as pilot:
            await begin(pilot)
            assert sees(pilot, "f9 Wave")
            await press(pilot, "question_mark")
            assert sees(pilot, "f9", "Wave at the cluster.")
            await press(pilot, "escape", "ctrl+p")
            assert "Wave" in offered(pilot)
        result = CliRunner().invoke(cli, ["--help"])
        assert "Wave at the cluster." in result.output
    assert "Wave" not in CliRunner().invoke(cli, ["--help"]).output


async def test_an_action_that_cannot_be_done_now_gives_the_reason_wherever_it_is_met() -> None:
    wave = Action(
        "wave", "Wave", "Wave at the cluster.", ("f9",), footer=1,
        disabled_reason=lambda context: "" if context.node else "no [node] to wave at",
    )  # fmt: skip
    with _added(wave):
        app, _ = app_on(busy())
        async with app.run_test(size=(160, 60)) as pilot:
            await begin(pilot)
            assert not sees(pilot, "f9 Wave")  # the footer has what can be done
            await press(pilot, "f9")
            assert toasts(pilot) == ["Wave: no [node] to wave at"]
            await press(pilot, "question_mark")
            assert sees(pilot, "Wave at the cluster.", "unavailable: no [node] to wave at")
            await press(pilot, "escape", "ctrl+p", *"wave")
            await until(pilot, lambda: offered(pilot)[:1] == ["Wave"])
            await until(pilot, lambda: sees(pilot, "unavailable: no [node] to wave at"))
            await press(pilot, "escape", "1")
            assert sees(pilot, "f9 Wave")
            await press(pilot, "question_mark")
            assert sees(pilot, "Wave at the cluster.")
            assert not sees(pilot, "to wave at")


@pytest.mark.parametrize("action", [a for a in REGISTRY if a.verb], ids=lambda a: a.verb)
def test_a_verbs_help_comes_from_the_registry(action: Action) -> None:
    result = CliRunner().invoke(cli, [action.verb, "--help"])
    assert " ".join(REGISTRY.verb_help(action.verb).split()) in " ".join(result.output.split())
