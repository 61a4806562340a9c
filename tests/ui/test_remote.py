"""The dashboard of a cluster reached by SSH: prompts, losses, tunnels, several clusters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from tests.fakes import FakeRemote
from tests.ui.fake import AT, app_on, busy
from tests.ui.pilot import begin, press, toasts
from vizdash.config import Cluster, Config
from vizdash.errors import Refused, TimedOut
from vizdash.model.connection_status import ConnectionState, Field, Prompt
from vizdash.sessions.tunnel_records import TunnelRecord
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.login_prompt import LoginPrompter, LoginPromptScreen, LoginWaitScreen
from vizdash.ui.screens.quit import QuitScreen
from vizdash.ui.screens.tunnels import Tunnel, TunnelsScreen


def warning(app: VizdashApp) -> str:
    return str(app.screen.query_one("#warning", Static).content)


async def until(pilot: Pilot[Any], true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await pilot.pause(0.02)


async def test_a_lost_connection_is_shown_with_its_countdown() -> None:
    now = [AT]
    remote = FakeRemote()
    app, _ = app_on(remote=remote, clock=lambda: now[0])
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        remote.become(ConnectionState.LOST, "it no longer answers", AT + 8)
        lost = "no connection to login: it no longer answers, retrying in 8 s"
        await until(pilot, lambda: lost in warning(app))
        now[0] += 5
        app.tick()
        assert "retrying in 3 s" in warning(app)
        # What the cluster's queries say meanwhile is no news.
        app.controllers.connection.take_failure(
            "squeue: the connection to login broke while it ran"
        )
        assert "retrying in 3 s" in warning(app)
        remote.become(ConnectionState.UP)
        await until(pilot, lambda: not app.screen.query_one("#warning").has_class("-shown"))
        # What was over before it could be read is reported too.
        message = "the connection to login is back after 5.0 s (it no longer answers)"
        await until(pilot, lambda: message in [n.message for n in app._notifications])


async def test_a_login_that_asks_questions_waits_for_the_key() -> None:
    remote = FakeRemote(refusal=Refused("login to login", "the password or code was refused"))
    app, _ = app_on(remote=remote)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        remote.become(ConnectionState.ASKS, "the connection broke")
        again = "have to log in again — press R to log in"
        await until(pilot, lambda: again in warning(app))
        assert remote.tried == 0
        await pilot.press("R")
        await until(pilot, lambda: remote.tried == 1)
        await until(pilot, lambda: any("refused" in n.message for n in app._notifications))


async def test_a_prompt_waits_for_every_field() -> None:
    app, _ = app_on()
    asker = LoginPrompter()
    asker.app = app
    fields = (Field("Password"), Field("Verification code", shown=True))
    prompt = Prompt("Log in to login", ("Only for\x1b[2J members",), fields)
    async with app.run_test(size=(80, 24)) as pilot:
        asking = asyncio.create_task(asker.ask(prompt))
        await until(pilot, lambda: isinstance(app.screen, LoginPromptScreen))
        inputs = list(app.screen.query(Input))
        assert [i.password for i in inputs] == [True, False]
        await pilot.press("s", "e", "c", "enter", "4", "2", "enter")
        assert await asking == ("sec", "42")
        assert "sec" not in repr(prompt)
        assert not isinstance(app.screen, LoginPromptScreen)


async def test_a_question_has_no_as_its_usual_answer() -> None:
    app, _ = app_on()
    asker = LoginPrompter()
    asker.app = app
    prompt = Prompt("login is unknown", ("ED25519 SHA256:abc",), yes="trust it")
    async with app.run_test(size=(80, 24)) as pilot:
        for keys, answer in ((["enter"], None), (["tab", "enter"], ()), (["escape"], None)):
            asking = asyncio.create_task(asker.ask(prompt))
            await until(pilot, lambda: isinstance(app.screen, LoginPromptScreen))
            await pilot.press(*keys)
            assert await asking == answer


async def test_a_prompt_closes_when_its_login_has_ended() -> None:
    app, _ = app_on()
    asker = LoginPrompter()
    asker.app = app
    async with app.run_test(size=(80, 24)) as pilot:
        asking = asyncio.create_task(asker.ask(Prompt("Log in", (), (Field("password"),))))
        await until(pilot, lambda: isinstance(app.screen, LoginPromptScreen))
        asking.cancel()
        await until(pilot, lambda: not isinstance(app.screen, LoginPromptScreen))


async def test_quitting_may_keep_the_tunnels() -> None:
    for key, value, closed in (("y", None, True), ("k", "hold", False)):
        app, service = app_on(busy())
        async with app.run_test(size=(80, 24)) as pilot:
            await _open_first(pilot, app)
            await pilot.press("q")
            await until(pilot, lambda app=app: isinstance(app.screen, QuitScreen))  # type: ignore[misc]
            await pilot.press("n")
            await pilot.press("q")
            await until(pilot, lambda app=app: isinstance(app.screen, QuitScreen))  # type: ignore[misc]
            await pilot.press(key)
            await until(pilot, lambda app=app: app._exit)  # type: ignore[misc]
        assert app.return_value == value
        assert service.routes[0].closed is closed


async def test_tunnels_are_listed_and_can_be_closed() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t")
        shown = await _options(pilot, app)
        assert "You have no open tunnels" in str(shown.get_option_at_index(0).prompt)
        assert _offers(app) == "esc goes back"
        await pilot.press("enter", "x", "escape")
        await until(pilot, lambda: app.screen is app.dashboard)
        await _open_first(pilot, app)
        await pilot.press("t")
        shown = await _options(pilot, app)
        text = str(shown.get_option_at_index(0).prompt)
        assert "127.0.0.1:40123" in text
        assert "password" not in text
        assert _offers(app) == "enter opens it · x closes it · esc goes back"
        await pilot.press("x")
        await until(pilot, lambda: service.routes[0].closed)
        assert _offers(app) == "esc goes back"
        # Who closed it knows that it is gone.
        watching = [w for w in app.workers if w.name == "open"]
        await until(pilot, lambda: not any(w.is_running for w in watching))
        assert not [output for output in toasts(pilot) if "was lost" in output]


def _other(number: int, **changes: object) -> TunnelRecord:
    """One that another process holds."""
    at = f"http://127.0.0.1:{38000 + number}"
    made = TunnelRecord(
        id=f"r{number}", session=f"5e55104{number}", job_id=str(900 + number), app="gedit",
        node="viz-node003", cluster="viz", address=at, port=38000 + number, holder="background",
        pid=4242, started="77", opened_at=1_799_999_000, machine="", host="", pid_space="", boot="",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


async def test_tunnels_of_other_processes_are_listed_and_can_be_closed() -> None:
    app, service = app_on(busy())
    service.tunnels.others = [_other(1), _other(2, cluster="far")]
    async with app.run_test(size=(120, 24)) as pilot:
        await _open_first(pilot, app)
        await pilot.press("t")
        shown = await _options(pilot, app)
        await until(pilot, lambda: shown.option_count == 3)
        lines = [str(shown.get_option_at_index(n).prompt) for n in range(3)]
        assert "127.0.0.1:40123" in lines[0]
        assert lines[1].endswith("http://127.0.0.1:38001   background, pid 4242")
        assert "gedit on viz-node003 of far (job 902)" in lines[2]
        # One of another cluster can't be shown from here.
        await press(pilot, "end", "enter")
        assert isinstance(app.screen, TunnelsScreen)
        await press(pilot, "x")
        await until(pilot, lambda: service.tunnels.closed == ["r2"])
        service.tunnels.refusal = TimedOut("tunnel to session 5e551041", "it is stopped")
        await press(pilot, "x")
        await until(pilot, lambda: "tunnel to session 5e551041: it is stopped" in toasts(pilot))
        assert not service.routes[0].closed


async def test_one_tunnel_after_the_other_is_closed() -> None:
    closed: list[str] = []
    tunnels = [Tunnel(str(n), "desktop", "viz-node002", f"127.0.0.1:{n}") for n in (1, 2, 3)]
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await app.push_screen(TunnelsScreen(tunnels, lambda tunnel: closed.append(tunnel.job_id)))
        await press(pilot, "down", "x", "x")
        assert closed == ["2", "3"]
        assert _offers(app) == "enter opens it · x closes it · esc goes back"
        await press(pilot, "x")
        assert closed == ["2", "3", "1"]
        assert _offers(app) == "esc goes back"


def _offers(app: VizdashApp) -> str:
    return str(app.screen.query_one(".dialog").border_subtitle)


async def test_the_tunnel_of_a_session_that_is_over_is_closed() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await _open_first(pilot, app)
        assert service.now is not None
        gone = tuple(s for s in service.now.sessions if not s.live)
        from dataclasses import replace

        app.take_snapshot(replace(service.now, sessions=gone))
        await until(pilot, lambda: service.routes[0].closed)


async def test_a_key_goes_to_another_cluster() -> None:
    clusters = {"viz": Cluster("viz", refresh_s=3600), "far": Cluster("far", host="me@far")}
    app, service = app_on()
    service.use(Config(clusters["viz"], clusters, service.catalogue))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("at")
        shown = await _options(pilot, app)
        assert "me@far" in str(shown.get_option_at_index(1).prompt)
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.return_value is not None)
    assert app.return_value == "cluster:far"


@pytest.mark.parametrize("lost", ["there", "here"])
async def test_a_tunnel_is_watched_after_going_to_another_cluster_and_back(lost: str) -> None:
    first, service = app_on(busy())
    async with first.run_test(size=(80, 24)) as pilot:
        await _open_first(pilot, first)
        first.exit("cluster:far")
    (route,) = service.routes
    assert not route.closed
    if lost == "there":
        route.gone.set()
    app = VizdashApp(service, desktops=first.open_desktops, clock=lambda: AT)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        if lost == "here":
            assert app.open_desktops.tunnel_count == 1
            route.gone.set()
        message = "was lost: ssh to viz-node002 ended"
        await until(pilot, lambda: any(message in n.message for n in app._notifications))
        await until(pilot, lambda: route.closed)
        assert app.open_desktops.tunnel_count == 0


async def test_of_one_cluster_there_is_none_to_go_to() -> None:
    app, _service = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("at")
        await _options(pilot, app)
        assert _offers(app) == "esc closes"


async def _options(pilot: Pilot[Any], app: VizdashApp) -> OptionList:
    await until(pilot, lambda: bool(app.screen.query(OptionList)))
    return app.screen.query_one(OptionList)


async def _open_first(pilot: Pilot[Any], app: VizdashApp) -> None:
    """Open the first ready session."""
    await until(pilot, lambda: bool(app.dashboard.sessions.rows))
    assert app.state.snapshot is not None
    ready = next(s for s in app.state.snapshot.sessions if s.state == "ready" and s.mine)
    app.dashboard.point_at(ready)
    await until(pilot, lambda: app.dashboard.context().session == ready)
    await pilot.press("o")
    await until(pilot, lambda: app.open_desktops.tunnel_count == 1)


async def test_what_a_login_waits_for_is_shown_and_escape_gives_up() -> None:
    app, _ = app_on()
    asker = LoginPrompter()
    asker.app = app
    async with app.run_test(size=(80, 24)) as pilot:
        waiting = asyncio.create_task(asker.wait("Log in to login", ("Pushed to\x1b[2J phone",)))
        await until(pilot, lambda: isinstance(app.screen, LoginWaitScreen))
        text = "\n".join(str(s.render()) for s in app.screen.query(Static))
        assert "Pushed to\\x1b[2J phone" in text
        await pilot.press("escape")
        await asyncio.wait_for(waiting, 10)
        # It closes when the host answers.
        waiting = asyncio.create_task(asker.wait("Log in to login", ()))
        await until(pilot, lambda: isinstance(app.screen, LoginWaitScreen))
        waiting.cancel()
        await until(pilot, lambda: not isinstance(app.screen, LoginWaitScreen))


async def test_text_of_a_server_is_news() -> None:
    app, _ = app_on()
    asker = LoginPrompter()
    asker.show("too early", ("nothing happens",))
    asker.app = app
    async with app.run_test(size=(80, 24)) as pilot:
        asker.show("Message from login", ("[bold]Success[/]",))
        await until(pilot, lambda: bool(app._notifications))
        (notice,) = app._notifications
        assert (notice.title, notice.message) == ("Message from login", "[bold]Success[/]")


async def test_a_connection_without_an_answer_is_shown() -> None:
    remote = FakeRemote()
    app, _ = app_on(remote=remote)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        remote.become(ConnectionState.SILENT, "no answer for 8 s")
        await until(pilot, lambda: "login: no answer for 8 s" in warning(app))
        remote.become(ConnectionState.UP)
        await until(pilot, lambda: not app.screen.query_one("#warning").has_class("-shown"))
