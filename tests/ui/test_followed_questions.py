"""What a question names changes while it is open: it shows this, and acts on what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.ui.fake import FakeImageAdmin, app_on, busy
from tests.ui.pilot import begin, poll, press, sees, settled, toasts, until
from vizdash.images.rollback import RollbackPlan
from vizdash.model import ImageRoot, Matrix, Node, Snapshot
from vizdash.ui.screens.confirm import ConfirmScreen, PendingWork
from vizdash.ui.screens.text_prompt import TextPromptScreen


def _with_node(now: Snapshot, name: str, **changes: object) -> Snapshot:
    """The snapshot with another state of a node; without it where there are no changes."""
    nodes: list[Node] = []
    for node in now.nodes:
        if node.name != name:
            nodes.append(node)
        elif changes:
            nodes.append(replace(node, **changes))  # type: ignore[arg-type]
    return replace(now, nodes=tuple(nodes))


@pytest.mark.parametrize(
    ("changes", "shown", "reported"),
    [
        (
            {"state": "IDLE", "flags": (), "reason": ""},
            "there is nothing to resume",
            "it is in service",
        ),
        ({}, "it is no longer in the partition", "it is no longer in the partition"),
    ],
    ids=["resumed", "removed"],
)
async def test_a_node_that_another_operator_resumes_or_removes(
    changes: Mapping[str, object], shown: str, reported: str
) -> None:
    app, service = app_on(busy(), node_admin=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "down", "down", "down", "U")
        assert sees(pilot, "Resume this node?", "Jobs may start on it again")
        question = app.screen
        assert isinstance(question, ConfirmScreen)
        await poll(pilot, service, _with_node(busy(), "viz-node004", **changes))
        question.follow()
        await settled(pilot)
        assert sees(pilot, shown)
        await press(pilot, "y")
        assert toasts(pilot)[-1] == f"viz-node004 was not resumed: {reported}"
        assert not service.fake_engine.changes


async def test_a_reason_that_is_replaced_while_it_is_typed() -> None:
    app, service = app_on(busy(), node_admin=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "D", *"fan")
        question = app.screen
        assert isinstance(question, TextPromptScreen)
        drained = _with_node(busy(), "viz-node001", flags=("DRAIN",), reason="new GPU")
        await poll(pilot, service, drained)
        question.follow()
        await settled(pilot)
        assert sees(pilot, "already", "new GPU")
        await poll(pilot, service, _with_node(busy(), "viz-node001"))
        question.follow()
        await settled(pilot)
        assert sees(pilot, "viz-node001: it is no longer in the partition")
        await press(pilot, "enter")
        assert toasts(pilot)[-1].startswith("viz-node001 was not drained: it is no longer")
        assert not service.fake_engine.changes


@pytest.mark.parametrize("keys", [("x",), ("space", "x")], ids=["one", "marked"])
async def test_a_session_that_is_gone_from_the_list_is_not_stopped(keys: tuple[str, ...]) -> None:
    """Another user's ended session is not listed any more."""
    other = next(s for s in busy().sessions if not s.mine and s.live)
    app, service = app_on(replace(busy(), sessions=(other,)), admin=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await begin(pilot)
        await press(pilot, *keys)
        question = app.screen
        assert isinstance(question, ConfirmScreen)
        await poll(pilot, service, replace(busy(), sessions=()))
        question.follow()
        await settled(pilot)
        assert sees(pilot, "It has already ended")
        await press(pilot, "y")
        assert toasts(pilot)[-1] == "nothing to stop: it has already ended"
        assert not service.stopped


async def test_images_that_were_deployed_meanwhile_are_not_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = replace(busy(), image_roots=tuple(ImageRoot(n.name) for n in busy().nodes))
    app, _ = app_on(now)
    plan = FakeImageAdmin.plan_rollback
    planned = 0

    async def another(
        self: FakeImageAdmin, app: str, matrix: Matrix, version: str = ""
    ) -> RollbackPlan:
        nonlocal planned
        planned += 1
        return replace(await plan(self, app, matrix, version), undone=f"1.{planned}")

    monkeypatch.setattr(FakeImageAdmin, "plan_rollback", another)
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await until(pilot, lambda: app.dashboard.image_rights == "")
        await press(pilot, "3", "r")
        await until(pilot, lambda: sees(pilot, "Roll back?"))
        await press(pilot, "y")
        assert planned == 2
        shown = toasts(pilot)[-1]
        assert "was not rolled back: another image was made current meanwhile" in shown


async def test_work_that_is_done_does_not_keep_a_user_from_quitting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(100, 30)) as pilot:
        await begin(pilot)
        work = PendingWork(builds=("gedit 1.3",))
        monkeypatch.setattr(app.controllers.quit, "_pending_work", lambda: work)
        await press(pilot, "q")
        assert sees(pilot, "Quit vizdash?", "gedit 1.3 is being built")
        question = app.screen
        assert isinstance(question, ConfirmScreen)
        work = PendingWork()
        question.follow()
        await settled(pilot)
        assert not sees(pilot, "gedit 1.3")
        await press(pilot, "y")
    assert app.return_code == 0
