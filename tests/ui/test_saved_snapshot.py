"""What an earlier dashboard saw is shown at once, with its age, and never acted on."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from tests.ui.fake import AT, FakeService, app_on, busy, session
from tests.ui.pilot import press, sees, settled, text, toasts, until
from vizdash.errors import Unreachable
from vizdash.model import SessionState, Snapshot
from vizdash.model.image import ImageRoot
from vizdash.ui.app import VizdashApp

SAVED = replace(busy(), taken_at=AT - 720, saved=True)


def saved_on(now: Snapshot | None = None, **changes: object) -> tuple[VizdashApp, FakeService]:
    """The program after an earlier dashboard saved SAVED."""
    app, service = app_on(now, lambda: AT, lambda: None, **changes)
    service.user_data.saved_snapshot = SAVED
    return app, service


async def test_it_is_shown_with_its_age_until_the_cluster_answers() -> None:
    app, service = saved_on(slow=True, gate=asyncio.Event())
    assert service.gate is not None
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "saved 12 min ago", "viz-node002"))
        rows = {s.app for s in SAVED.sessions if s.mine}
        assert all(name in text(pilot) for name in rows)
        await pilot.press("x")
        await until(pilot, lambda: toasts(pilot))
        assert toasts(pilot) == ["Stop: the cluster has not answered yet"]
        assert service.stopped == []
        service.gate.set()
        await until(pilot, lambda: not sees(pilot, "saved 12 min ago"))
        await settled(pilot)
        await press(pilot, "x")
        assert sees(pilot, "Stop")


async def test_what_fitted_then_is_not_promised_now() -> None:
    app, service = saved_on(slow=True, gate=asyncio.Event())
    assert service.gate is not None
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "saved 12 min ago", "viz-node002"))
        assert not re.search(r"\d+ more \w+ fits?\b", text(pilot))
        service.gate.set()
        await until(pilot, lambda: re.search(r"\d+ more \w+ fits?\b", text(pilot)))


async def test_what_ended_since_is_no_news() -> None:
    ended = tuple(replace(s, state=SessionState.ENDED, result="timed out") for s in SAVED.sessions)
    app, _ = saved_on(replace(busy(), sessions=ended))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: app.state.answered)
        await settled(pilot)
        assert toasts(pilot) == []


async def test_a_cluster_that_does_not_answer_leaves_it_there() -> None:
    app, _ = saved_on(failure=Unreachable("slurm", "no answer", "is it up?"))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: sees(pilot, "no answer"))
        assert sees(pilot, "12 min", "viz-node002")


async def test_images_stay_until_the_nodes_have_been_surveyed() -> None:
    now = replace(busy(), images=(), image_roots=())
    app, service = saved_on(now)
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: app.state.answered)
        assert app.state.snapshot is not None
        assert app.state.snapshot.images == SAVED.images
        service.now = replace(busy(), images=(), image_roots=(ImageRoot("viz-node001"),))
        app.refresh_snapshot()
        await until(pilot, lambda: app.state.snapshot and not app.state.snapshot.images)


async def test_the_cursor_is_on_the_first_row_of_the_answer_unless_it_was_moved() -> None:
    new = session(9, SessionState.PENDING)
    for keys in ((), ("down",)):
        now = replace(busy(), sessions=(new, *busy().sessions))
        app, service = saved_on(now, slow=True, gate=asyncio.Event())
        assert service.gate is not None
        async with app.run_test(size=(160, 48)) as pilot:
            await until(pilot, lambda: sees(pilot, "saved 12 min ago"))
            await press(pilot, *keys)
            before = app.dashboard.sessions.row
            service.gate.set()
            await until(pilot, lambda app=app: app.state.answered)  # type: ignore[misc]
            await settled(pilot)
            after = app.dashboard.sessions.row
            assert before is not None and after is not None
            assert after.id == (before.id if keys else app.dashboard.sessions.all_rows[0].id)
