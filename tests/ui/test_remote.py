"""The dashboard of a cluster that is reached by SSH: prompts, losses, tunnels, several clusters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from tests.ui.drive import begin, press, toasts
from tests.ui.fake import AT, app_on, busy
from vizdash.config import Cluster, Config
from vizdash.errors import Refused, TimedOut
from vizdash.model.link import Field, Link, LinkState, Prompt
from vizdash.service import Service
from vizdash.sessions.tunnel_records import TunnelRecord
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.leave import LeaveScreen
from vizdash.ui.screens.prompt import Asker, PromptScreen, WaitScreen
from vizdash.ui.screens.tunnels import Tunnel, TunnelsScreen


@dataclass
class FakeRemote:
    link: Link = Link("login", LinkState.UP)
    watchers: list[Callable[[Link], None]] = field(default_factory=list)
    tried: int = 0
    refusal: Refused | None = None

    def watch(self, watcher: Callable[[Link], None]) -> None:
        self.watchers.append(watcher)

    def become(self, state: LinkState, cause: str = "", retry_at: float | None = None) -> None:
        self.link = Link("login", state, cause, retry_at)
        for watcher in self.watchers:
            watcher(self.link)

    async def log_in(self) -> None:
        self.tried += 1
        if self.refusal is not None:
            raise self.refusal


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
        remote.become(LinkState.LOST, "it does not answer any more", AT + 8)
        lost = "no connection to login: it does not answer any more, trying again in 8 s"
        await until(pilot, lambda: lost in warning(app))
        now[0] += 5
        app.tick()
        assert "trying again in 3 s" in warning(app)
        # What the cluster's queries say meanwhile is no news.
        app._on_failure("squeue: the connection to login broke while it ran")
        assert "trying again in 3 s" in warning(app)
        remote.become(LinkState.UP)
        await until(pilot, lambda: not app.screen.query_one("#warning").has_class("-shown"))
        # What was over before anybody could read of it is told as well.
        told = "the connection to login is back after 5.0 s (it does not answer any more)"
        await until(pilot, lambda: told in [n.message for n in app._notifications])


async def test_a_login_that_needs_a_person_waits_for_the_key() -> None:
    remote = FakeRemote(refusal=Refused("login to login", "the password or code was refused"))
    app, _ = app_on(remote=remote)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        remote.become(LinkState.ASKS, "the connection broke")
        again = "asks you to log in again — press R to log in"
        await until(pilot, lambda: again in warning(app))
        assert remote.tried == 0
        await pilot.press("R")
        await until(pilot, lambda: remote.tried == 1)
        await until(pilot, lambda: any("refused" in n.message for n in app._notifications))


async def test_a_prompt_waits_for_every_field() -> None:
    app, _ = app_on()
    asker = Asker()
    asker.app = app
    fields = (Field("Password"), Field("Verification code", shown=True))
    prompt = Prompt("Log in to login", ("Only for\x1b[2J members",), fields)
    async with app.run_test(size=(80, 24)) as pilot:
        asking = asyncio.create_task(asker.ask(prompt))
        await until(pilot, lambda: isinstance(app.screen, PromptScreen))
        inputs = list(app.screen.query(Input))
        assert [i.password for i in inputs] == [True, False]
        await pilot.press("s", "e", "c", "enter", "4", "2", "enter")
        assert await asking == ("sec", "42")
        assert "sec" not in repr(prompt)
        assert not isinstance(app.screen, PromptScreen)


async def test_a_question_has_no_as_its_usual_answer() -> None:
    app, _ = app_on()
    asker = Asker()
    asker.app = app
    prompt = Prompt("login is not known yet", ("ED25519 SHA256:abc",), yes="trust it")
    async with app.run_test(size=(80, 24)) as pilot:
        for keys, answer in ((["enter"], None), (["tab", "enter"], ()), (["escape"], None)):
            asking = asyncio.create_task(asker.ask(prompt))
            await until(pilot, lambda: isinstance(app.screen, PromptScreen))
            await pilot.press(*keys)
            assert await asking == answer


async def test_a_prompt_goes_when_nobody_waits_for_it() -> None:
    app, _ = app_on()
    asker = Asker()
    asker.app = app
    async with app.run_test(size=(80, 24)) as pilot:
        asking = asyncio.create_task(asker.ask(Prompt("Log in", (), (Field("password"),))))
        await until(pilot, lambda: isinstance(app.screen, PromptScreen))
        asking.cancel()
        await until(pilot, lambda: not isinstance(app.screen, PromptScreen))


async def test_quitting_may_keep_the_tunnels() -> None:
    for key, value, closed in (("y", None, True), ("k", "hold", False)):
        app, service = app_on(busy())
        async with app.run_test(size=(80, 24)) as pilot:
            await _open_first(pilot, app)
            await pilot.press("q")
            await until(pilot, lambda app=app: isinstance(app.screen, LeaveScreen))  # type: ignore[misc]
            await pilot.press("n")
            await pilot.press("q", key)
        assert app.return_value == value
        assert service.routes[0].closed is closed


async def test_tunnels_are_listed_and_can_be_closed() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("t")
        shown = await _options(pilot, app)
        assert "No tunnel of yours is open" in str(shown.get_option_at_index(0).prompt)
        assert _offers(app) == "esc goes back"
        await pilot.press("enter", "x", "escape")
        await until(pilot, lambda: app.screen is app._dashboard)
        await _open_first(pilot, app)
        await pilot.press("t")
        shown = await _options(pilot, app)
        text = str(shown.get_option_at_index(0).prompt)
        assert "127.0.0.1:40123" in text
        assert "password" not in text
        assert _offers(app) == "enter shows it · x closes it · esc goes back"
        await pilot.press("x")
        await until(pilot, lambda: service.routes[0].closed)
        assert _offers(app) == "esc goes back"
        # Who closed it knows that it is gone.
        watching = [w for w in app.workers if w.name == "open"]
        await until(pilot, lambda: not any(w.is_running for w in watching))
        assert not [told for told in toasts(pilot) if "is gone" in told]


def _other(number: int, **changes: object) -> TunnelRecord:
    """One that another process holds."""
    at = f"http://127.0.0.1:{38000 + number}"
    made = TunnelRecord(
        f"r{number}", f"5e55104{number}", str(900 + number), "gedit", "viz-node003", "viz", at,
        38000 + number, "background", 4242, "77", 1_799_999_000, "", "", "", "",
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
        assert _offers(app) == "enter shows it · x closes it · esc goes back"
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

        app._on_snapshot(replace(service.now, sessions=gone))
        await until(pilot, lambda: service.routes[0].closed)


async def test_a_key_goes_to_another_cluster() -> None:
    clusters = {"viz": Cluster("viz", refresh_s=3600), "far": Cluster("far", host="me@far")}
    app, service = app_on()
    service.config = Config(clusters["viz"], clusters, service.catalogue)
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
    app = VizdashApp(cast("Service", service), desktops=first._desktops, clock=lambda: AT)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        if lost == "here":
            assert app._desktops.held == 1
            route.gone.set()
        told = "is gone: ssh to viz-node002 ended"
        await until(pilot, lambda: any(told in n.message for n in app._notifications))
        await until(pilot, lambda: route.closed)
        assert app._desktops.held == 0


async def test_of_one_cluster_there_is_none_to_go_to() -> None:
    app, _service = app_on()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("at")
        await _options(pilot, app)
        assert _offers(app) == "esc stays"


async def _options(pilot: Pilot[Any], app: VizdashApp) -> OptionList:
    await until(pilot, lambda: bool(app.screen.query(OptionList)))
    return app.screen.query_one(OptionList)


async def _open_first(pilot: Pilot[Any], app: VizdashApp) -> None:
    """Open the first ready session."""
    await until(pilot, lambda: bool(app._dashboard.sessions.rows))
    assert app._board.snapshot is not None
    ready = next(s for s in app._board.snapshot.sessions if s.state == "ready" and s.mine)
    app._dashboard.point_at(ready)
    await until(pilot, lambda: app._dashboard.context().session == ready)
    await pilot.press("o")
    await until(pilot, lambda: app._desktops.held == 1)


async def test_what_a_login_waits_for_is_shown_and_escape_gives_up() -> None:
    app, _ = app_on()
    asker = Asker()
    asker.app = app
    async with app.run_test(size=(80, 24)) as pilot:
        waiting = asyncio.create_task(asker.wait("Log in to login", ("Pushed to\x1b[2J phone",)))
        await until(pilot, lambda: isinstance(app.screen, WaitScreen))
        text = "\n".join(str(s.render()) for s in app.screen.query(Static))
        assert "Pushed to\\x1b[2J phone" in text
        await pilot.press("escape")
        await asyncio.wait_for(waiting, 10)
        # It goes by itself when the host answers.
        waiting = asyncio.create_task(asker.wait("Log in to login", ()))
        await until(pilot, lambda: isinstance(app.screen, WaitScreen))
        waiting.cancel()
        await until(pilot, lambda: not isinstance(app.screen, WaitScreen))


async def test_text_of_a_server_is_news() -> None:
    app, _ = app_on()
    asker = Asker()
    asker.show("too early", ("nothing happens",))
    asker.app = app
    async with app.run_test(size=(80, 24)) as pilot:
        asker.show("login says", ("[bold]Success[/]",))
        await until(pilot, lambda: bool(app._notifications))
        (notice,) = app._notifications
        assert (notice.title, notice.message) == ("login says", "[bold]Success[/]")


async def test_a_connection_without_an_answer_is_shown() -> None:
    remote = FakeRemote()
    app, _ = app_on(remote=remote)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        remote.become(LinkState.SILENT, "no answer for 8 s")
        await until(pilot, lambda: "login: no answer for 8 s" in warning(app))
        remote.become(LinkState.UP)
        await until(pilot, lambda: not app.screen.query_one("#warning").has_class("-shown"))
