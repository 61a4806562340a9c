"""What the dashboard shows of a node: its capacity, its load, and who runs what on it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.ui.fake import G, app_on, busy, node
from tests.ui.pilot import begin, poll, press, sees, text
from vizdash.model import Job, Resources, SessionRequest
from vizdash.model.job import JobState
from vizdash.sessions import last_request


@pytest.mark.parametrize("size", [(100, 30), (120, 40), (140, 40), (160, 48), (300, 100)])
async def test_where_a_session_fits_is_shown_at_every_usual_size(size: tuple[int, int]) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        assert sees(pilot, "FITS", "GPU", "NOTE", "SIZE")


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_a_row_has_bars_and_load_beside_what_is_given(size: tuple[int, int]) -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        shown = text(pilot).splitlines()
        assert sees(pilot, "CORES", "MEM GiB", "GPU", "FITS", "LOAD")
        for name, cores, memory in (
            ("viz-node001", "14/16", "56/64"),
            ("viz-node002", "6/16", "24/64"),
        ):
            row = next(row for row in shown if name in row and "/16" in row)
            for figure in (cores, memory):
                assert re.search(rf"{figure} [━╸]+", row), row


async def test_a_full_row_of_figures_stands_in_line() -> None:
    many = (
        node(1, cores=4, memory_mib=3584, memory_alloc_mib=1536),
        node(2, 96, cores=128, memory_mib=1509 * G, memory_alloc_mib=97 * G + 512),
    )
    app, _service = app_on(replace(busy(), nodes=many))
    async with app.run_test(size=(120, 40)) as pilot:
        await begin(pilot)
        assert sees(pilot, "    0/4 ──", "1.5/3.5 ━", " 96/128 ━", "97.5/1509 ╸")


def _job(number: str, user: str, **changes: object) -> Job:
    made = Job(
        number, user, "solve", JobState.RUNNING, node="viz-node001", cores=4, memory_mib=8 * G
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def test_a_node_says_in_one_line_who_runs_what() -> None:
    jobs = (_job("1044", "anna"), _job("77", "carla"))
    app, _service = app_on(replace(busy(), jobs=jobs))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1")
        who = "runs desktop (you), paraview (you), desktop (björn), solve (carla)"
        assert sees(pilot, f"◑ mixed  {who}")
        await press(pilot, "down", "down")
        assert sees(pilot, "○ idle  free: 16 cores, 64.0 GiB, 2 GPU; 8 more desktop fit")


async def test_a_node_says_who_runs_what_and_how_many_more_fit() -> None:
    jobs = (_job("1044", "anna"), _job("77", "carla"), _job("78", "dora", node="viz-node002"))
    app, service = app_on(replace(busy(), jobs=jobs))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "1")
        # The first app's default is 2 cores and 2 GiB; free are 2, 10 and 16 cores.
        assert sees(pilot, "14 more desktop fit", "1 more   of desktop, 2 cores · 2.0 GiB")
        assert sees(pilot, "6.3 load average, 14 cores allocated")
        assert sees(pilot, "other jobs solve  carla  4 cores, 8.0 GiB  job 77")
        assert not sees(pilot, "job 1044", "dora")
        last_request.save("viz", SessionRequest("paraview", Resources(8, 16 * G, 1, 3600)))
        app.controllers.sessions.use_last_size()
        await poll(pilot, service)
        # A GPU each: two on viz-node003, and viz-node002 has one left.
        assert sees(pilot, "3 more paraview fit", "none   of paraview, 8 cores · 16.0 GiB · 1 GPU")
