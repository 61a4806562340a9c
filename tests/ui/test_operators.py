"""What a Slurm operator may do in the dashboard, and what others are refused."""

from __future__ import annotations

from tests.fakes import FakeEngine
from tests.ui.fake import (
    app_on,
    busy,
    ending,
)
from tests.ui.pilot import begin, press, sees, settled, toasts, until
from vizdash.errors import Refused, Unreachable


async def test_an_operator_extends_messages_drains_and_resumes() -> None:
    app, service = app_on(ending(), admin=True, node_admin=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "e", "e")
        await press(pilot, "m", *"save", "enter")
        await press(pilot, "1", "D", "enter", *"fan", "enter")
        await press(pilot, "down", "down", "down", "U", "y")
        await until(pilot, lambda: toasts(pilot)[-1] == "viz-node004 accepts jobs again")
        assert sorted(service.fake_engine.changes) == [
            ("drain", "viz-node001", "fan"),
            ("resume", "viz-node004"),
            ("send_message", "1044", "save"),
            ("set_time_limit", "1044", "14400"),
        ]


async def test_rights_are_known_once_the_cluster_answers() -> None:
    app, service = app_on(ending(), admin=True)
    service.failure = Unreachable("login", "it does not answer")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: sees(pilot, "it does not answer"))
        service.failure = None
        app.refresh_snapshot()
        await until(pilot, lambda: sees(pilot, "ends in 4:07"))
        await settled(pilot)
        await press(pilot, "w")
        assert sees(pilot, "e  Extend it by 2 h")


async def test_what_slurm_refuses_is_reported() -> None:
    refusal = Refused("node viz-node001 was not changed", "no rights")
    engine = FakeEngine(refusals={"drain": refusal})
    app, _ = app_on(busy(), admin=True, node_admin=True, engine=engine)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "D", *"x", "enter")
        assert toasts(pilot)[-1] == "node viz-node001 was not changed: no rights"


async def test_others_are_refused_with_the_reason() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "D", "U")
        assert toasts(pilot) == [
            "Drain: only Slurm administrators can do this",
            "Resume: only Slurm administrators can do this",
        ]
        assert not service.fake_engine.changes
