"""The build: its form, its phases, in the background, cancelled, failed."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Log, Static

from tests.ui.fake import APPS, FakeService, busy, node, ready, snapshot
from tests.ui.pilot import press, toasts
from tests.unit.images.recorded_images import build_output
from vizdash.actions import REGISTRY, Context
from vizdash.config import Build as BuildConfig
from vizdash.config import Cluster, Config
from vizdash.images import build_history
from vizdash.images.build_history import BuildRunLog
from vizdash.service.builds import ImageBuilder
from vizdash.ui.app import VizdashApp
from vizdash.ui.pending_service import ControllerOptions
from vizdash.ui.screens.build import BuildForm, BuildLogScreen, BuildScreen
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.widgets.chips import Chips


class ScriptedStream:
    """Prints what the test gives it, when the test gives it."""

    def __init__(self) -> None:
        self.texts: asyncio.Queue[str | None] = asyncio.Queue()
        self.finished = 0

    def say(self, *lines: str | None) -> None:
        for line in lines:
            self.texts.put_nowait(line)

    async def lines(self) -> AsyncIterator[str]:
        while (line := await self.texts.get()) is not None:
            yield line

    async def finish(self) -> int:
        self.finished += 1
        return 255


class ScriptedStreamer:
    def __init__(self) -> None:
        self.stream = ScriptedStream()
        self.argv: Sequence[str] = ()

    async def open(self, argv: Sequence[str], script: str) -> ScriptedStream:
        self.argv = argv
        return self.stream


@pytest.fixture
def streamer() -> ScriptedStreamer:
    return ScriptedStreamer()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streamer: ScriptedStreamer) -> VizdashApp:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    build = BuildConfig(where="builder", definitions="")
    cluster = Cluster("viz", refresh_s=3600, image_store=str(tmp_path / "store"), build=build,
                      audit_log=str(tmp_path / "audit.jsonl"))  # fmt: skip
    service = FakeService(busy(), config=Config(cluster, {}, APPS))
    return VizdashApp(
        service, options=ControllerOptions(image_builder=ImageBuilder(service, streamer))
    )


def text(app: VizdashApp, name: str) -> str:
    return str(app.screen.query_one(name, Static).content)


def logged(app: VizdashApp) -> Sequence[str]:
    return app.screen.query_one(Log).lines


async def until(pilot: Any, what: Any) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if what():
            await pilot.pause()  # a screen that is there may not have its parts yet
            return
        await pilot.pause(0.05)
    lines = [str(n.message) for n in pilot.app._notifications]
    raise AssertionError((pilot.app.screen, lines))


def shows_form(app: Any) -> bool:
    """Whether the form for a build is there with its fields."""
    return isinstance(app.screen, BuildForm) and bool(app.screen.query("#version"))


async def begin(pilot: Any, streamer: ScriptedStreamer, app: str = "gedit") -> None:
    await pilot.pause()
    await pilot.press("b")
    await until(pilot, lambda: shows_form(pilot.app))
    pilot.app.screen.query_one("#app", Chips).pick(app)
    pilot.app.screen.query_one("#version", Input).value = "7.1"
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, BuildScreen) and streamer.argv)


async def test_a_build_shows_its_phases_and_continues_in_the_background(
    app: VizdashApp, streamer: ScriptedStreamer
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot, streamer)
        assert streamer.argv[-2] == "builder"
        streamer.stream.say("INFO:    Starting build...", "INFO:    Running post scriptlet", "+ x")
        await until(pilot, lambda: "● post" in text(app, "#build-phases"))
        assert "✓ bootstrap" in text(app, "#build-phases")
        assert "building for" in text(app, "#build-state")
        assert list(app.screen.query_one(Log).lines)[:3] == [
            "INFO:    Starting build...", "INFO:    Running post scriptlet", "+ x"
        ]  # fmt: skip
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, BuildScreen))
        assert app.controllers.builds.builds.running == 1
        await pilot.press("b")
        await until(pilot, lambda: isinstance(app.screen, BuildScreen))


async def test_leaving_names_the_build_that_it_would_interrupt(
    app: VizdashApp, streamer: ScriptedStreamer
) -> None:
    config = app.service.config
    far = replace(config.cluster, name="far")
    app.service.config = replace(config, clusters={"viz": config.cluster, "far": far})
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot, streamer)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        for keys, title, doing in (
            (("q",), "Quit vizdash?", "Quitting"),
            (("ctrl+c",), "Quit vizdash?", "Quitting"),
            (("at", "down", "enter"), "Switch to far?", "Switching"),
        ):
            await press(pilot, *keys)
            assert isinstance(app.screen, ConfirmScreen) and not app._exit
            assert app.screen.query_one(".dialog").border_title == title
            assert "gedit 7.1 is being built." in text(app, "#question")
            assert f"{doing} cancels this" in text(app, "#question")
            await press(pilot, "n")
            assert isinstance(app.screen, Dashboard)
        assert app.controllers.builds.builds.running == 1
        await press(pilot, "at", "down", "enter", "y")
    assert app.return_value == "cluster:far"
    assert streamer.stream.finished == 1


async def test_a_failure_names_the_command_and_its_log_is_found_again(
    app: VizdashApp, streamer: ScriptedStreamer
) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await begin(pilot, streamer, "desktop")
        streamer.stream.say(*build_output("failing").splitlines(), None)
        await until(pilot, lambda: "✗ post" in text(app, "#build-phases"))
        assert "%post failed at: cat /no/such/file" in text(app, "#build-state")
        assert app.controllers.builds.builds.running == 0
        await pilot.press("escape")
        await pilot.press("b")
        await until(pilot, lambda: shows_form(app))
        app.screen.query_one("#app", Chips).pick("desktop")
        await pilot.press("ctrl+l")
        await until(pilot, lambda: isinstance(app.screen, BuildLogScreen))
        await until(pilot, lambda: any("cat: /no/such/file" in line for line in logged(app)))
        await pilot.press("escape", "escape")
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        await pilot.press("3")  # and from the image's own row
        await pilot.press("home", "l")
        await until(pilot, lambda: isinstance(app.screen, BuildLogScreen))
        await until(pilot, lambda: any("cat: /no/such/file" in line for line in logged(app)))


async def test_a_home_that_is_full_ends_the_build_and_another_can_begin(
    app: VizdashApp, streamer: ScriptedStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(log: BuildRunLog, line: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(BuildRunLog, "write", full)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot, streamer)
        streamer.stream.say("INFO:    Starting build...")
        await until(pilot, lambda: "✗" in text(app, "#build-state"))
        why = (
            "gedit 7.1 was not built: No space left on device (check free space and permissions of "
        )
        assert why in text(app, "#build-state")
        assert app.controllers.builds.builds.running == 0
        assert streamer.stream.finished == 1
        await press(pilot, "escape", "b")
        assert isinstance(app.screen, BuildForm)
    (noted,) = (await ImageBuilder(app.service).read_history("gedit")).events
    assert (noted.outcome, noted.detail) == ("failed", "No space left on device")
    assert build_history.find_run("gedit").outcome == "failed"


async def test_however_a_build_ends_it_is_over(
    app: VizdashApp, streamer: ScriptedStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(log: BuildRunLog, line: str) -> None:
        raise RuntimeError("nobody thought of that")

    monkeypatch.setattr(BuildRunLog, "write", wrong)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot, streamer)
        streamer.stream.say("INFO:    Starting build...")
        await until(pilot, lambda: not app.controllers.builds.builds.running)
        await press(pilot, "escape", "b")
        assert isinstance(app.screen, BuildForm)


async def test_an_image_that_was_not_built_here_has_no_log(app: VizdashApp) -> None:
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        await pilot.press("3", "home", "l")
        await until(pilot, lambda: toasts(pilot))
        assert toasts(pilot) == ["build of desktop: you have not run any (vizdash build desktop)"]


async def test_cancelling_asks_and_waits_for_the_end(
    app: VizdashApp, streamer: ScriptedStreamer
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot, streamer)
        streamer.stream.say("INFO:    Running post scriptlet")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("y")
        await until(
            pilot,
            lambda: (
                isinstance(app.screen, BuildScreen)
                and "all its processes have ended" in text(app, "#build-state")
            ),
        )
        assert streamer.stream.finished == 1


async def test_why_a_build_cannot_start_is_shown_in_the_form(
    app: VizdashApp, streamer: ScriptedStreamer
) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("b")
        await until(pilot, lambda: shows_form(app))
        app.screen.query_one("#arguments", Input).value = "nonsense"
        await pilot.press("tab", "tab", "enter")
        await until(pilot, lambda: "write NAME=VALUE" in text(app, "#verdict"))
        app.screen.query_one("#arguments", Input).value = ""
        app.screen.query_one("#version", Input).value = "a/b"
        await pilot.press("enter")
        await until(pilot, lambda: "a version consists of" in text(app, "#verdict"))


async def test_read_only_builds_nothing(app: VizdashApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        app.dashboard.read_only = True
        await pilot.pause()
        await pilot.press("b")
        await pilot.pause()
        assert not isinstance(app.screen, BuildForm)


async def test_a_newer_image_is_shown_and_one_key_starts_on_it() -> None:
    old = ready(1, newer_version="2.2", image_digest="ab" * 32)
    current = ready(2)
    service = FakeService(now=snapshot(sessions=(old, current), nodes=(node(1),)))
    app = VizdashApp(service)
    async with app.run_test(size=(150, 45)) as pilot:
        await pilot.pause()
        await pilot.press("R")
        await until_shown(pilot, app, "2.2 is available — N starts a session on it")
        assert "abababababab" in text(app, "#detail-text")
        await pilot.press("N")
        await until_started(pilot, service)
        (request,) = service.started
        assert (request.app, request.image, request.resources) == ("desktop", "", old.resources)
    renew = REGISTRY.by_id("upgrade")
    assert renew.reason(Context(session=old)) == ""
    assert renew.reason(Context(session=current)) == "there is no newer image"
    assert renew.reason(Context(session=replace(old, mine=False))) == "it belongs to anna"
    assert renew.reason(Context(session=old, read_only=True)) == "vizdash is read-only"


async def until_shown(pilot: Any, app: VizdashApp, words: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        await pilot.pause(0.05)
        if words in text(app, "#detail-text"):
            return
    raise AssertionError(text(app, "#detail-text"))


async def until_started(pilot: Any, service: Any) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        await pilot.pause(0.05)
        if service.started:
            return
    raise AssertionError([str(n.message) for n in pilot.app._notifications])
