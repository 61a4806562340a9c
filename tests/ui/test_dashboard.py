"""The dashboard follows the cluster: rows, ages, failures, toasts, the mouse and foreign names."""

from __future__ import annotations

import asyncio
import unicodedata
from dataclasses import replace

import pytest
from textual import events

from tests.fakes import FakeEngine
from tests.ui.fake import (
    AT,
    app_on,
    broken,
    busy,
    empty,
    many,
    node,
    ready,
    session,
    snapshot,
)
from tests.ui.pilot import (
    begin,
    click_row,
    poll,
    press,
    sees,
    settled,
    text,
    toasts,
    together,
    until,
)
from vizdash.errors import Refused, Unreachable
from vizdash.model.image import ImageRoot
from vizdash.model.session import SessionState
from vizdash.ui.screens.confirm import ConfirmScreen
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.handoff import HandoffScreen
from vizdash.ui.screens.help import HelpScreen

SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 48)], ids=["80x24", "160x48"])


async def test_a_first_answer_that_comes_at_once_is_shown() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, "viz-node001", "paraview", "● ready", "3 s ago")


@pytest.mark.parametrize("size", [(60, 16), (80, 24), (160, 48)])
async def test_the_first_screen_is_styled_once(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once by Textual when it comes to the top, not for its size and the focused pane."""
    styled: list[frozenset[str]] = []
    monkeypatch.setattr(
        Dashboard, "update_node_styles", lambda self, animate=True: styled.append(self.classes)
    )
    app, _ = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        assert len(styled) == 1
        assert len(app.dashboard.classes) == 3


async def test_a_first_answer_that_takes_its_time() -> None:
    app, service = app_on(busy(), gate=asyncio.Event(), slow=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: sees(pilot, "querying the cluster"))
        await press(pilot, "down", "x", "o", "1", "2")
        assert service.gate is not None
        service.gate.set()
        await begin(pilot)
        assert sees(pilot, "viz-node001")


@SIZES
async def test_states_move_by_themselves_and_the_cursor_stays_on_its_row(
    size: tuple[int, int],
) -> None:
    app, service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down")
        chosen = app.dashboard.sessions.row
        assert chosen is not None
        now = busy()
        moved = (ready(9, node="viz-node003"), *reversed(now.sessions))
        await poll(pilot, service, replace(now, sessions=moved))
        after = app.dashboard.sessions.row
        assert after is not None
        assert after.job_id == chosen.job_id
        assert app.dashboard.sessions.cursor == 4


@SIZES
async def test_columns_widen_for_new_rows(size: tuple[int, int]) -> None:
    app, service = app_on(replace(busy(), nodes=(), sessions=()))
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        await poll(pilot, service, replace(busy(), nodes=(node(1, name="gpu-viz-node001"),)))
        assert sees(pilot, "gpu-viz-node001", "paraview  viz-node001")


async def test_a_row_that_goes_leaves_the_cursor_on_its_neighbour() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "end")
        await poll(pilot, service, replace(busy(), sessions=busy().sessions[:2]))
        assert app.dashboard.sessions.cursor == 1
        await poll(pilot, service, replace(busy(), sessions=()))
        assert app.dashboard.context().session is None
        assert sees(pilot, "No sessions yet")


@SIZES
async def test_a_cluster_that_stops_answering_keeps_what_was_seen(size: tuple[int, int]) -> None:
    clock = [AT]
    app, service = app_on(busy(), clock=lambda: clock[0])
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        service.failure = Unreachable("slurm", "slurmctld does not answer", "is it running?")
        clock[0] += 117
        await poll(pilot, service)
        assert sees(pilot, "slurmctld does not answer (is it running?)", "2 min", "viz-node001")
        service.failure = None
        await poll(pilot, service, replace(busy(), taken_at=clock[0]))
        assert sees(pilot, "0 s ago")
        assert not sees(pilot, "slurmctld")


async def test_a_cluster_that_never_answered_is_reported() -> None:
    app, _service = app_on(busy(), failure=Unreachable("slurm", "no answer", "see vizdash doctor"))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: sees(pilot, "slurm: no answer (see vizdash doctor)"))
        assert sees(pilot, "no answer yet", "querying the cluster")


async def test_time_left_counts_down_between_polls() -> None:
    clock = [AT]
    app, service = app_on(busy(), clock=lambda: clock[0])
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        assert sees(pilot, "1:12:06")
        clock[0] += 61
        app.tick()
        await settled(pilot)
        assert sees(pilot, "1:11:05", "1 min ago")
        assert service.asked == 1


async def test_a_session_started_here_appears_at_once_and_is_announced_when_ready() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "enter")
        await until(pilot, lambda: sees(pilot, "○ pending"))
        assert app.focused is app.dashboard.sessions
        service.become_ready()
        await poll(pilot, service)
        assert "desktop is ready on viz-node002 — press o to open it" in toasts(pilot)


async def test_a_failed_session_is_reported_with_its_step_and_last_line() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "enter")
        await until(pilot, lambda: service.started)
        failed = session(101, SessionState.ENDED, result="failed", step="xvnc", error="no Xvnc")
        await poll(pilot, service, replace(empty(), sessions=(failed,)))
        assert "desktop failed at step xvnc: no Xvnc (press l for its log)" in toasts(pilot)


async def test_a_stopped_session_ends_at_once_on_the_screen() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "x", "y")
        assert sees(pilot, "◌ ending")
        assert service.stopped == [busy().sessions[3].id]


async def test_a_refused_stop_is_reported() -> None:
    refusal = Refused("session 1", "the controller says no")
    app, _service = app_on(busy(), engine=FakeEngine(refusals={"cancel": refusal}))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "x", "y")
        assert toasts(pilot) == ["session 1: the controller says no"]


async def test_opening_is_refused_with_its_cause_and_can_be_tried_again() -> None:
    app, service = app_on(busy(), open_refusal=Unreachable("ssh viz-node002", "no route"))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o")
        assert toasts(pilot)[-1] == "ssh viz-node002: no route"
        service.open_refusal = None
        await press(pilot, "o")
        await until(pilot, lambda: service.browsed == 1)


async def test_a_slow_tunnel_is_opened_once() -> None:
    app, service = app_on(busy(), gate=asyncio.Event())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o", "o")
        assert "desktop on viz-node002 is already being opened" in toasts(pilot)
        assert service.gate is not None
        service.gate.set()
        await until(pilot, lambda: service.browsed == 1)
        assert len(service.routes) == 1
        await press(pilot, "o")  # again: the tunnel exists
        await until(pilot, lambda: service.browsed == 2)
        assert len(service.routes) == 1


async def test_a_lost_tunnel_is_reported_while_its_session_runs() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o")
        await until(pilot, lambda: service.browsed == 1)
        service.routes[0].gone.set()
        message = "the tunnel to desktop on viz-node002 was lost: ssh to viz-node002 ended"
        await until(pilot, lambda: f"{message} (press o to open it again)" in toasts(pilot))
        assert service.routes[0].closed
        await press(pilot, "o")
        await until(pilot, lambda: len(service.routes) == 2)


async def test_quitting_asks_while_a_desktop_would_go_dark() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o")
        await until(pilot, lambda: service.browsed == 1)
        await press(pilot, "q")
        assert sees(pilot, "Quit vizdash?", "1 desktop is open through vizdash")
        await press(pilot, "n")
        assert not app._exit
        await press(pilot, "ctrl+q")
        await pilot.press("y")
        await until(pilot, lambda: app._exit)
    assert service.routes[0].closed


async def test_without_a_browser_the_address_is_shown_and_copied() -> None:
    app, service = app_on(busy(), browser=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o")
        await until(pilot, lambda: isinstance(app.screen, HandoffScreen))
        await until(pilot, lambda: sees(pilot, "http://127.0.0.1:21345/", "ssh -N -L 21345:"))
        assert toasts(pilot) == []  # nothing lies over the line to copy
        await press(pilot, "l")
        assert app.clipboard == service.routes[0].url
        await press(pilot, "c")
        assert app.clipboard.startswith("ssh -N -L 21345:/tmp/vizdash-x7k2m9qd/s anna@login2.")
        await press(pilot, "p")
        await until(pilot, lambda: sees(pilot, "http://127.0.0.1:21346/", "ssh -N -L 21346:"))
        await press(pilot, "escape")
        assert app.screen is app.dashboard
        assert not service.routes[0].closed


@pytest.mark.parametrize(
    ("viewers", "since", "words"),
    [(0, None, "idle"), (0, 300, "idle 5 min"), (2, None, "2 browsers")],
)
async def test_the_details_show_the_viewers(viewers: int, since: int | None, words: str) -> None:
    idle = int(AT) - since if since is not None else None
    app, _service = app_on(snapshot(sessions=(ready(1, viewers=viewers, idle_since=idle),)))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await until(pilot, lambda: sees(pilot, "viewers", words))


async def test_keys_and_wheel_move_through_a_long_list() -> None:
    app, _service = app_on(many(200))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        table = app.dashboard.sessions
        page = table.size.height - 1
        await press(pilot, "end")
        assert table.cursor == 99
        await press(pilot, "pageup")
        assert table.cursor == 99 - page
        await press(pilot, "home", "j", "j", "k", "G", "g")
        assert table.cursor == 0
        await pilot._post_mouse_events([events.MouseScrollDown], table, button=0)
        await until(pilot, lambda: table.scroll_offset.y > 0)


@SIZES
async def test_tab_goes_round_the_panes(size: tuple[int, int]) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        seen = []
        for _ in range(3):
            await press(pilot, "tab")
            assert app.focused is not None
            seen.append(app.focused.id)
        assert sorted(map(str, seen)) == ["images", "nodes", "sessions"]


async def test_clicks_choose_rows_and_show_their_details() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await click_row(pilot, app.dashboard.nodes, 3)
        assert sees(pilot, "fan 2 failed", "drained")
        node = app.dashboard.context().node
        assert node is not None
        assert node.name == "viz-node004"
        await click_row(pilot, app.dashboard.images, 2)
        assert sees(pilot, "paraview-5.13.1.sif", "not on")
        await click_row(pilot, app.dashboard.sessions, 5)
        assert sees(pilot, "libGLU.so.1")


@SIZES
async def test_nothing_that_people_write_acts_on_the_terminal(size: tuple[int, int]) -> None:
    app, _service = app_on(broken())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        for keys in (("1",), ("down",), ("2",), ("down",), ("down",), ("3",), ("colon",)):
            await press(pilot, *keys)
            odd = {c for c in text(pilot) if unicodedata.category(c) in {"Cc", "Cf"} and c != "\n"}
            assert not odd
            assert sees(pilot, r"\x1b[2J") or app.screen is not app.dashboard


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (20, 5), (1, 1)])
async def test_too_small_a_terminal_gets_one_clear_line(size: tuple[int, int]) -> None:
    app, service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: service.asked)
        await settled(pilot)
        assert "vizdash needs" in text(pilot) or size[0] < 20
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: sees(pilot, "viz-node001", "● ready"))


async def test_a_moment_of_too_small_keeps_the_focus_and_does_nothing_unseen() -> None:
    """A tmux pane made small and large again: no key acts on a row that is not shown."""
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down")
        chosen = app.dashboard.sessions.row
        for size in ((40, 8), (1, 1)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda: app.dashboard.has_class("-too-small"))
            await settled(pilot)
            await press(pilot, "x", "n", "o")
            assert app.screen is app.dashboard
            assert not toasts(pilot)
            assert not service.routes
            await pilot.resize_terminal(80, 24)
            await until(pilot, lambda: app.focused is app.dashboard.sessions, "the focus")
            assert app.dashboard.sessions.row == chosen
        await press(pilot, "down", "x")
        assert isinstance(app.screen, ConfirmScreen)
        assert sees(pilot, "job 1041")


@pytest.mark.parametrize("size", [(60, 16), (60, 19), (79, 16), (149, 17), (60, 50)])
async def test_a_small_terminal_has_all_panes_and_the_one_in_use_has_most_rows(
    size: tuple[int, int],
) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        board = app.dashboard
        for key, name in (("1", "nodes"), ("3", "images"), ("2", "sessions"), ("tab", "images")):
            await press(pilot, key)
            assert app.focused is board.query_one(f"#{name}")
            assert sees(pilot, "1 Nodes 4", "2 Sessions 7", "3 Images 3", "? Help", "▌")
            lines = text(pilot).splitlines()
            assert len(lines) <= size[1]
            assert max(map(len, lines)) <= size[0]
            if size[1] < 20:
                tallest = max(board.tables, key=lambda table: table.size.height)
                assert tallest is app.focused


@pytest.mark.parametrize(
    "size", [(80, 23), (80, 24), (100, 30), (120, 40), (149, 35), (150, 36), (220, 50), (300, 100)]
)
async def test_every_size_shows_all_three_panes_and_the_keys(size: tuple[int, int]) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        assert sees(pilot, "1 Nodes 4", "2 Sessions 7", "3 Images 3", "n New session", "? Help")
        assert max(map(len, text(pilot).splitlines())) <= size[0]


@SIZES
async def test_drift_of_images_is_a_badge_at_every_size(size: tuple[int, int]) -> None:
    app, service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        assert not sees(pilot, "drift")
        places = tuple(ImageRoot(f"viz-node00{n}") for n in (1, 2, 3))
        await poll(pilot, service, replace(busy(), image_roots=places))
        assert sees(pilot, "≠ 1 drift: M", "GPU")  # viz-node003 has no image of paraview
        await poll(pilot, service, replace(busy(), image_roots=places[:2]))
        assert not sees(pilot, "drift")


async def test_a_second_that_goes_by_while_it_ends_is_let_go() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
    assert not app.screen_stack
    app.tick()


@SIZES
async def test_keys_that_arrive_together_reach_the_screen_they_were_typed_for(
    size: tuple[int, int],
) -> None:
    app, service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        together(app, "1", *"/oxy1", "enter", "2", *"/viewer:idle", "enter")
        await until(pilot, lambda: sees(pilot, "/viewer:idle"))
        await settled(pilot)
        assert app.screen is app.dashboard
        assert sees(pilot, "/oxy1")
        together(app, "escape", "n", "enter")
        await until(pilot, lambda: service.started)
        assert (service.stopped, service.browsed) == ([], 0)


async def test_a_key_is_not_kept_for_ever_by_what_never_rests() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app._is_busy = lambda: True  # type: ignore[method-assign]
        together(app, "question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("timed out", "desktop on viz-node002 reached its time limit: drained tonight"),
        ("cancelled", "desktop on viz-node002 was cancelled: drained tonight"),
        ("failed", "desktop failed at step app: it crashed (press l for its log)"),
        ("finished", ""),
    ],
)
async def test_an_end_that_was_not_requested_here_is_reported(result: str, expected: str) -> None:
    """Of one that was ready before this dashboard began, too."""
    lived = ready(1, node="viz-node002")
    app, service = app_on(snapshot(sessions=(lived,)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        ended = replace(lived, state=SessionState.ENDED, result=result, note="drained tonight")
        if result == "failed":
            ended = replace(ended, step="app", error="it crashed")
        await poll(pilot, service, snapshot(sessions=(ended,)))
        await poll(pilot, service)
        assert toasts(pilot) == ([expected] if expected else [])


async def test_an_end_that_was_requested_here_is_no_news() -> None:
    lived = ready(1, node="viz-node002")
    at = AT
    app, service = app_on(snapshot(sessions=(lived,)), clock=lambda: at)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "x", "y")
        await until(pilot, lambda: service.stopped)
        app.clear_notifications()
        at += 60  # it takes longer than a stopped session is shown as ending
        await poll(pilot, service)
        ended = replace(lived, state=SessionState.ENDED, result="cancelled")
        await poll(pilot, service, snapshot(sessions=(ended,)))
        assert not [note for note in toasts(pilot) if "was cancelled" in note]
