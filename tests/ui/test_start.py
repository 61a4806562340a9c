"""The start form: what is typed, what fits, and one submission for one request."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest
from textual.widgets import Input, Static

from tests.fakes import FakeEngine
from tests.ui.fake import APPS, AT, G, app_on, busy, empty, node, snapshot
from tests.ui.pilot import (
    DEADLINE_S,
    AnyPilot,
    begin,
    press,
    sees,
    settled,
    toasts,
    together,
    until,
)
from vizdash.config import Cluster, Config, UiSettings
from vizdash.config.lifetime import Idle
from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.model import Resources, SessionRequest
from vizdash.sessions.capacity import CapacityVerdict
from vizdash.sessions.start_plan import StartPlan
from vizdash.ui.present.start_form import StartForm
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.widgets.chips import Chips


async def _typed(pilot: AnyPilot, field: str, value: str) -> None:
    """Type ``value`` over the text of a field."""
    box = pilot.app.screen.query_one(f"#{field}", Input)
    box.focus()
    await settled(pilot)
    box.value = ""
    await pilot.press(*value)
    await settled(pilot)


def _verdict(pilot: AnyPilot) -> str:
    """What the form says, however its lines are broken."""
    return str(pilot.app.screen.query_one("#verdict", Static).content)


async def test_the_defaults_are_the_apps_and_enter_starts_them() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "● desktop", "● medium", "✓ 2 sessions of this size fit now")
        await press(pilot, "enter")
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        (request,) = service.started
        assert request == SessionRequest(
            "desktop", Resources(2, 2 * G, 0, 7200), geometry="1280x720"
        )


async def test_the_last_choice_is_the_default() -> None:
    last = SessionRequest(
        "paraview",
        Resources(8, 16 * G, 1, 28800),
        geometry="1600x900",
        account="lab",
        image="5.12.0",
    )
    app, service = app_on(empty(), last=last)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "● paraview", "● large", "lab")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started == [last]


_PINNED = SessionRequest(
    "paraview",
    Resources(8, 16 * G, 1, 28800),
    geometry="1600x900",
    image="5.11",
    extra=("--exclusive",),
)


@pytest.mark.parametrize("clears", ["key", "line", "border"])
async def test_what_has_no_field_is_shown_and_can_be_cleared(clears: str) -> None:
    app, service = app_on(empty(), last=_PINNED)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "image 5.11 · sbatch: --exclusive", "· ^l clears · esc cancels")
        await pilot.click("#also-what")  # says it, and clears nothing
        await settled(pilot)
        assert sees(pilot, "image 5.11 · sbatch: --exclusive")
        if clears == "key":
            app.screen.query_one("#cores").focus()
            await press(pilot, "ctrl+l")
        elif clears == "line":
            await pilot.click("#also-key")
        else:
            dialog = app.screen.query_one(".dialog").region
            output = str(app.screen.query_one(".dialog").border_subtitle)
            x = dialog.right - 3 - len(output) + output.index("^l clears")
            await pilot.click(offset=(x + 1, dialog.bottom - 1))
        await until(pilot, lambda: not sees(pilot, "^l clears"))
        assert not sees(pilot, "sbatch:")
        assert not app.screen.query_one("#also").display
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started == [replace(_PINNED, image="", extra=())]
        assert service.judged[-1] == service.started[0]


async def test_what_has_no_field_goes_with_another_app_or_size() -> None:
    app, service = app_on(empty(), last=_PINNED)
    service.user_data.presets.save("mine", replace(_PINNED, image="5.10", extra=("--nice", "a b")))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "● large", "image 5.11 · sbatch: --exclusive")  # and not ★ mine
        await press(pilot, "tab", "left", "left")
        assert sees(
            pilot, "● ★ mine", "image 5.10 · sbatch: --nice 'a b'", "^d deletes · ^l clears"
        )
        await press(pilot, "ctrl+l")
        assert sees(pilot, "● large")
        assert not sees(pilot, "^d deletes")
        await press(pilot, "left", "left", "shift+tab", "left")
        assert sees(pilot, "● gedit")
        assert not sees(pilot, "image 5")


async def test_a_last_app_that_is_gone_is_no_default() -> None:
    app, _service = app_on(empty(), last=SessionRequest("gone"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "● desktop")


async def test_keys_that_arrive_together_reach_the_screen_they_were_typed_for() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "tab", "tab")
        together(app, "3", "tab", "5", "G", "tab", "tab", "9", "0", "m", "shift+tab", "1")
        await until(pilot, lambda: sees(pilot, "90m"))
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].resources == Resources(3, 5 * G, 1, 5400)


async def test_every_field_by_keyboard() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "right", "right")
        assert sees(pilot, "● paraview")
        for field, value in (
            ("cores", "3"),
            ("memory", "5G"),
            ("gpus", "2"),
            ("time", "90m"),
            ("node", "viz-node002"),
            ("geometry", "1920x1200"),
        ):
            await _typed(pilot, field, value)
        assert sees(pilot, "● custom")
        app.screen.query_one("#more-title").focus()
        await press(pilot, "enter")
        for field in ("account", "qos", "partition", "reservation", "constraint"):
            await _typed(pilot, field, f"my-{field}")
        await _typed(pilot, "scale", "2")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started == [
            SessionRequest(
                "paraview",
                Resources(3, 5 * G, 2, 5400),
                node="viz-node002",
                geometry="1920x1200",
                account="my-account",
                qos="my-qos",
                partition="my-partition",
                reservation="my-reservation",
                constraint="my-constraint",
                scale=2,
            )
        ]
        assert service.judged[-1] == service.started[-1]


async def test_by_mouse() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await pilot.click("#app", offset=(14, 0))
        await until(pilot, lambda: sees(pilot, "● gedit"))
        await pilot.click("#app", offset=(2, 0))
        await until(pilot, lambda: sees(pilot, "● desktop"))
        await pilot.click("#size", offset=(2, 0))
        await until(pilot, lambda: sees(pilot, "● small"))
        await pilot.click("#more-title")
        await until(pilot, lambda: sees(pilot, "Reservation"))
        await pilot.click("#cores")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].resources == Resources(1, 1 * G, 0, 3600)


async def test_arrows_go_from_field_to_field() -> None:
    app, _service = app_on(empty())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "down", "down")
        assert app.focused is not None
        assert app.focused.id == "cores"
        await press(pilot, "up", "up")
        assert app.focused.id == "app"


async def test_a_node_under_the_cursor_is_requested() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "down", "n", "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].node == "viz-node002"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cores", "two", "cores: 'two' is not a whole number, 1 or more"),
        ("cores", "0", "cores: '0' is not a whole number, 1 or more"),
        ("memory", "lots", "memory: 'lots' is not an amount of memory (write e.g. 4G or 512M)"),
        ("gpus", "-1", "gpus: '-1' is not a whole number"),
        ("time", "soon", "time: 'soon' is not a length of time"),
        ("geometry", "big", "desktop: 'big' is not a size (write e.g. 1280x720)"),
    ],
)
async def test_wrong_input_is_reported_as_it_is_typed_and_never_started(
    field: str, value: str, words: str
) -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await _typed(pilot, field, value)
        assert sees(pilot, words)
        assert app.screen.query_one(f"#{field}").has_class("-wrong")
        await press(pilot, "enter")
        assert not service.started
        assert isinstance(app.screen, StartScreen)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (
            CapacityVerdict(fits_now=(("viz-node003", 1),), candidates=("viz-node003",)),
            "✓ 1 session of this size fits now",
        ),
        (
            CapacityVerdict(candidates=("viz-node001",)),
            "○ nothing free now: it waits for viz-node001",
        ),
        (
            CapacityVerdict(reserved="maintenance from 16:26 to 18:26; up to 58 min starts now"),
            "○ maintenance from 16:26 to 18:26; up to 58 min starts now",
        ),
        (
            CapacityVerdict(refusal="64 cores requested, but viz-node001 has 16"),
            "✗ 64 cores requested",
        ),
        (CapacityVerdict(fits_now=(("n1", 1),), gpu_note="a MIG slice"), "now: n1; a MIG slice"),
    ],
)
async def test_what_fits_is_shown(verdict: CapacityVerdict, words: str) -> None:
    app, _service = app_on(empty(), verdict=verdict)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: sees(pilot, words))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (int(AT) + 35 * 60, "(in 35 min), on viz-node001 or viz-node002"),
        (None, "○ nothing free now: it waits for viz-node001, viz-node002"),
        (Refused("desktop", "the QOS allows less"), "expected start unknown: the QOS allows less"),
    ],
)
async def test_when_it_would_start_is_shown(
    expected: int | VizdashError | None, words: str
) -> None:
    full = CapacityVerdict(candidates=("viz-node001", "viz-node002"))
    app, service = app_on(empty(), verdict=full, expected=expected)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: words in _verdict(pilot))
        if isinstance(expected, int):
            clock = time.strftime("%H:%M", time.localtime(expected))
            assert f"○ nothing is free now: starts about {clock} (in 35 min)" in _verdict(pilot)
        assert service.foreseen == service.judged[-1:]  # once, and nothing is handed in
        assert not service.started
        await _typed(pilot, "cores", "3")  # of another size it is another time
        await until(pilot, lambda: [r.resources.cores for r in service.foreseen] == [2, 3])


@pytest.mark.parametrize(
    "verdict",
    [
        CapacityVerdict(fits_now=(("viz-node003", 1),), candidates=("viz-node003",)),
        CapacityVerdict(candidates=("viz-node001",), unavailable="viz-node001 is drained"),
        CapacityVerdict(
            candidates=("viz-node001",), reserved="viz-node001 is reserved for bob until 17:46"
        ),
        CapacityVerdict(refusal="64 cores requested, but viz-node001 has 16"),
    ],
)
async def test_the_scheduler_is_not_asked_about_what_needs_no_waiting(
    verdict: CapacityVerdict,
) -> None:
    app, service = app_on(empty(), verdict=verdict)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: sees(pilot, verdict.text))
        await settled(pilot)
        assert not service.foreseen


async def test_what_fits_is_not_known() -> None:
    app, _service = app_on(empty(), fit_failure=Unreachable("slurm", "no answer"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: sees(pilot, "? what fits is unknown: slurm: no answer"))


async def test_a_refusal_stays_in_the_form_and_can_be_fixed() -> None:
    app, service = app_on(empty(), refusal=Refused("desktop was not started", "too much", "less"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "enter")
        await until(pilot, lambda: sees(pilot, "✗ desktop was not started: too much (less)"))
        service.refusal = None
        await press(pilot, "enter")
        await until(pilot, lambda: len(service.started) == 1)


async def test_enter_twice_starts_once() -> None:
    app, service = app_on(empty(), gate=asyncio.Event())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await pilot.press("enter", "enter", "enter")
        await until(pilot, lambda: sees(pilot, "starting desktop"))
        assert service.gate is not None
        service.gate.set()
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        assert len(service.started) == 1


async def test_leaving_while_it_starts_cuts_nothing_in_half() -> None:
    refusal = Refused("desktop was not started", "too much")
    app, service = app_on(empty(), gate=asyncio.Event(), refusal=refusal)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await pilot.press("enter")
        await until(pilot, lambda: sees(pilot, "starting desktop"))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, Dashboard))
        assert service.gate is not None
        service.gate.set()
        await until(pilot, lambda: toasts(pilot) == ["desktop was not started: too much"])


async def test_a_catalogue_without_apps_says_what_to_do() -> None:
    app, _service = app_on(empty(), catalogue={})
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "No apps are configured: add one under apps: in the configuration.")
        await press(pilot, "enter", "escape")
        assert isinstance(app.screen, Dashboard)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
@pytest.mark.parametrize("why", ["untracked", "none"])
async def test_memory_that_is_not_requested_has_no_field(why: str, size: tuple[int, int]) -> None:
    """It is not tracked, or the site gives what it gives."""
    nodes = [node(1), node(2)]
    if why == "untracked":
        nodes = [replace(n, memory_tracked=False, memory_mib=1) for n in nodes]
    how = "none" if why == "none" else "mem"
    cluster = Cluster("viz", refresh_s=3600, memory_request=how)
    config = Config(cluster, {}, APPS, ui=UiSettings(preview=False))
    app, service = app_on(snapshot(nodes=tuple(nodes)), config=config)
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        assert sees(pilot, "untracked") == (why == "untracked")
        await press(pilot, "n")
        await until(pilot, lambda: "2 sessions" in _verdict(pilot))
        assert not app.screen.query("#memory")
        assert not sees(pilot, "Memory")
        await _typed(pilot, "cores", "3")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        (request,) = service.started
        assert request.resources == Resources(3, 2 * G, 0, 7200)


async def test_a_node_that_was_chosen_once_is_not_silently_requested_again() -> None:
    last = SessionRequest("desktop", Resources(2, 2 * G, 0, 7200), node="viz-node002")
    app, service = app_on(busy(), last=last)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].node == ""
        assert service.started[0].resources == last.resources


async def test_a_machine_without_a_queue_promises_no_waiting() -> None:
    later = CapacityVerdict(candidates=("here",))
    app, service = app_on(busy(), verdict=later, engine=FakeEngine(name="local"))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: sees(pilot, "✗ nothing fits now", "no queue"))
        assert not sees(pilot, "waits for")
        assert not service.foreseen


async def test_a_wrong_value_keeps_its_error_when_an_earlier_answer_comes() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        await until(pilot, lambda: sees(pilot, "✓ 2 sessions"))
        gate, judged = asyncio.Event(), asyncio.Event()

        plan = service.plan

        async def slow(request: SessionRequest) -> StartPlan:
            judged.set()
            await gate.wait()
            return await plan(request)

        service.plan = slow  # type: ignore[method-assign]
        app.screen.query_one("#cores", Input).value = "4"
        await until(pilot, judged.is_set)
        app.screen.query_one("#cores", Input).value = "many"
        verdict = app.screen.query_one("#verdict", Static)
        await until(pilot, lambda: str(verdict.content).startswith("✗"))
        gate.set()
        await settled(pilot)
        assert str(verdict.content).startswith("✗")


async def test_a_lock_that_another_holds_stops_nothing_but_the_saving() -> None:
    app, service = app_on(busy())
    gate, saved, real = threading.Event(), threading.Event(), service.user_data.presets.save

    def slow(name: str, request: SessionRequest) -> None:
        assert gate.wait(DEADLINE_S)
        real(name, request)
        saved.set()

    service.user_data.presets.save = slow  # type: ignore[method-assign]
    async with app.run_test(size=(80, 24)) as pilot:
        try:
            await begin(pilot)
            await press(pilot, "n", "ctrl+s", *"mine")
            await pilot.press("enter", "escape")
            await until(pilot, lambda: isinstance(app.screen, Dashboard))
            assert not saved.is_set()
        finally:
            gate.set()
        await until(pilot, saved.is_set)
        assert "mine" in service.user_data.presets.of("desktop")


async def test_the_form_says_that_a_node_was_chosen_and_one_key_frees_it() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "down", "n")
        assert sees(pilot, "only on viz-node002", "^l clears")
        await press(pilot, "ctrl+l")
        assert not sees(pilot, "only on")
        assert app.screen.query_one("#node", Input).value == ""
        await press(pilot, "enter")
    assert [request.node for request in service.started] == [""]


async def test_an_idle_session_is_kept_where_the_site_allows_it() -> None:
    cluster = Cluster("viz", idle=Idle(after_s=1800, keep=True))
    config = Config(cluster, {}, APPS, ui=UiSettings(preview=False))
    app, service = app_on(empty(), config=config)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "When idle", "● end", "○ keep running")
        app.screen.query_one("#idle", Chips).focus()
        await press(pilot, "right")
        assert sees(pilot, "● keep running")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].keep
        again = StartForm.of_request(APPS["desktop"], service.started[0])
        assert again.request() == service.started[0]


async def test_where_the_site_does_not_allow_it_there_is_no_such_choice() -> None:
    config = Config(Cluster("viz", idle=Idle(after_s=1800)), {}, APPS, ui=UiSettings(preview=False))
    app, _ = app_on(empty(), config=config)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "Time limit")
        assert not app.screen.query("#idle")


async def test_a_session_that_would_end_at_logout_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    app, service = app_on(empty())

    async def warning() -> str:
        return "logind ends it when you log out"

    monkeypatch.setattr(service, "query_logout_warning", warning)
    async with app.run_test(size=(120, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "enter")
        await until(pilot, lambda: any("logind ends it when" in text for text in toasts(pilot)))
        assert len(service.started) == 1
        await settled(pilot)
