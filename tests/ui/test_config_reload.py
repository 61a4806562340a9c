"""Settings of the dashboard: the bell, keys, themes, and a configuration that changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.ui.fake import (
    APPS,
    app_on,
    busy,
    empty,
    ready,
    snapshot,
)
from tests.ui.pilot import begin, poll, press, sees, settled, toasts, until
from vizdash.config import Cluster, Config, UiSettings
from vizdash.errors import ConfigError
from vizdash.model import ImageRoot, SessionState
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard

HERE = Cluster("here")


def _config(**ui: object) -> Config:
    return Config(Cluster("viz", refresh_s=3600), {}, APPS, ui=UiSettings(**ui))  # type: ignore[arg-type]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(
        VizdashApp, "write_to_terminal", lambda self, sequence: sent.append(sequence)
    )
    return sent


@pytest.mark.parametrize("on", [True, False])
async def test_a_session_that_gets_ready_rings_unless_the_config_is_against_it(
    written: list[str], on: bool
) -> None:
    app, service = app_on(empty(), config=_config(bell=on, notify=on, title=on))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "enter")
        await until(pilot, lambda: service.started)
        service.become_ready()
        app.refresh_snapshot()
        await until(pilot, lambda: sees(pilot, "● ready"))
    rung = "".join(written)
    assert ("\a" in rung) is on
    assert ("]777;notify;vizdash;desktop is ready on viz-node002" in rung) is on
    assert ("]2;vizdash viz: 1 ready" in rung) is on


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("timed out", "desktop on viz-node002 reached its time limit"),
        ("failed", "desktop failed at step app: it crashed (press l for its log)"),
    ],
)
async def test_an_open_desktop_that_ends_rings(
    written: list[str], result: str, expected: str
) -> None:
    """Its viewer only goes dark: the reason is the end, not a lost tunnel."""
    lived = ready(1, node="viz-node002")
    app, service = app_on(snapshot(sessions=(lived,)), config=_config(bell=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "o")
        await until(pilot, lambda: service.browsed)
        app.clear_notifications()
        step, error = ("app", "it crashed") if result == "failed" else ("", "")
        ended = replace(lived, state=SessionState.ENDED, result=result, step=step, error=error)
        await poll(pilot, service, snapshot(sessions=(ended,)))
        await until(pilot, lambda: expected in toasts(pilot))
        assert not [note for note in toasts(pilot) if "tunnel" in note]
    assert "\a" in "".join(written)


async def test_a_changed_config_is_taken_over() -> None:
    changed: list[Config] = []
    app, service = app_on(busy(), reload=lambda: changed.pop() if changed else None)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        changed.append(_config(theme="contrast", keys={"stop": ("X",), "refresh": ("f5",)}))
        app.controllers.config.check()
        await until(pilot, lambda: "the changed config is active" in toasts(pilot))
        await settled(pilot)
        assert app.theme == "vizdash-contrast"
        assert service.config.ui.theme == "contrast"
        assert sees(pilot, "X Stop")
        await press(pilot, "x")
        assert isinstance(app.screen, Dashboard)
        asked = service.asked
        await press(pilot, "f5", "X")
        assert service.asked == asked + 1
        assert sees(pilot, "Stop this session?")


async def test_the_rights_to_images_are_those_of_the_changed_config() -> None:
    changed: list[Config] = []
    places = (ImageRoot("viz-node001"),)
    app, service = app_on(
        replace(busy(), image_roots=places), reload=lambda: changed.pop() if changed else None
    )
    service.stay = ("clusters.viz.host",)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert app.dashboard.image_rights == ""
        service.image_refusal = "anna may not write /new on the nodes"
        changed.append(_config())
        app.controllers.config.check()
        message = "the changed config is active, except clusters.viz.host (restart vizdash)"
        await until(pilot, lambda: message in toasts(pilot))
        await until(pilot, lambda: app.dashboard.image_rights == service.image_refusal)


async def test_a_wrong_config_is_reported_and_the_old_one_stays() -> None:
    def reload() -> Config | None:
        raise ConfigError("config.yaml:3: ui.theem", "no such key", "did you mean 'theme'?")

    app, _ = app_on(busy(), reload=reload)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app.controllers.config.check()
        message = "the previous config stays active: config.yaml:3: ui.theem: no such key"
        await until(pilot, lambda: any(note.startswith(message) for note in toasts(pilot)))
        assert sees(pilot, "● ready")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"stopp": ("x",)}, "ui.keys.stopp: no such action (did you mean 'stop'?)"),
        ({"stop": ("n",)}, "ui.keys.stop: n is already the key of start (see ui.keys.start)"),
        ({"stop": ("ctrl-x",)}, "no such key: ctrl-x (did you mean 'ctrl+x'?)"),
        ({"stop": ("control+x",)}, "no such key: control+x (did you mean 'ctrl'?)"),
        ({"stop": ("pageu",)}, "no such key: pageu (did you mean 'pageup'?)"),
        ({"stop": ("j",)}, "j is reserved: it moves the cursor in lists (choose another key)"),
    ],
)
def test_wrong_keys_are_named_with_their_place(keys: dict[str, Any], words: str) -> None:
    places = dict.fromkeys(keys, "config.yaml:7")
    with pytest.raises(ConfigError) as caught:
        app_on(busy(), config=_config(keys=keys, keys_from=places))
    assert caught.value.line.startswith("config.yaml:7: ui.keys.")
    assert caught.value.line.endswith(words)


async def test_two_actions_change_their_keys_and_a_sign_stands_for_itself() -> None:
    keys = {"stop": ("o",), "open": ("x",), "filter": ("%",)}
    app, _ = app_on(busy(), config=_config(keys=keys))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "percent_sign")
        assert app.dashboard.query_one("#filter").has_class("-shown")
        await press(pilot, "escape", "down", "down", "down", "o")
        assert isinstance(app.screen, ConfirmScreen)


async def test_the_cluster_has_the_name_that_the_user_gave_it() -> None:
    named = replace(_config(), cluster=Cluster("campus"))
    for config, shown in ((named, "campus  slurm"), (replace(named, cluster=HERE), "viz  slurm")):
        app, _ = app_on(busy(), config=config)
        async with app.run_test(size=(80, 24)) as pilot:
            await begin(pilot)
            assert sees(pilot, f"vizdash  {shown}")


async def test_every_theme_is_tried_and_comes_around() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        seen = []
        for _ in range(3):
            await press(pilot, "T")
            seen.append(app.theme)
            name = app.theme.removeprefix("vizdash-")
            assert f"theme {name} (to keep it: ui: {{theme: {name}}} in the config)" in toasts(
                pilot
            )
        assert seen == ["vizdash-light", "vizdash-contrast", "vizdash-dark"]
