"""Time limits, news to the terminal, config taken over, themes, history, commands, saved sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from textual.geometry import Region

from tests.ui.drive import begin, offered, press, sees, settled, text, toasts, until
from tests.ui.fake import (
    APPS,
    AT,
    RAN,
    G,
    app_on,
    busy,
    day,
    empty,
    ending,
    node,
    ready,
    snapshot,
)
from vizdash.actions import REGISTRY, Action
from vizdash.cli import cli
from vizdash.config import Cluster, Config, Ui
from vizdash.errors import ConfigError, Refused, Unreachable, VizdashError
from vizdash.history import History
from vizdash.model import Place, Ran, Resources, SessionRequest
from vizdash.operations import extension_request
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.confirm import Confirm
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.screens.deadline import DeadlineScreen
from vizdash.ui.screens.start import StartScreen
from vizdash.ui.widgets.rows import Rows

HERE = Cluster("here")


def _config(**ui: object) -> Config:
    return Config(Cluster("viz", refresh_s=3600), {}, APPS, ui=Ui(**ui))  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the time limit


async def test_a_limit_that_is_near_is_told_and_counts_down() -> None:
    clock = [AT]
    app, _ = app_on(ending(), clock=lambda: clock[0])
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, "◷ desktop on viz-node002 ends in 4:07 — press w for the choices")
        told = "desktop on viz-node002 reaches its time limit soon"
        assert f"{told} — press w on its row for the choices" in toasts(pilot)
        clock[0] += 10
        app.tick()
        await settled(pilot)
        assert sees(pilot, "ends in 3:57")


async def test_the_same_is_started_again() -> None:
    app, service = app_on(ending())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w", "a")
        assert isinstance(app.screen, StartScreen)
        assert sees(pilot, "● desktop", "4G")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].resources == Resources(2, 4 * G, 0, 7200)


async def test_more_time_is_asked_for() -> None:
    app, _ = app_on(ending())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w")
        assert sees(pilot, "Time limit", "4:07 left")
        await press(pilot, "down", "enter")
        assert app.clipboard == extension_request(ending().sessions[0], 7200)
        assert "scontrol update JobId=1044 TimeLimit=240" in app.clipboard


async def test_the_time_left_goes_on_where_one_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [AT]
    app, service = app_on(ending(), clock=lambda: clock[0])
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w")
        assert sees(pilot, "desktop on viz-node002   4:07 left; then it ends, saved or not")
        screen = app.screen
        assert isinstance(screen, DeadlineScreen)
        drawn: list[tuple[str | None, tuple[Region, ...]]] = []
        question = screen.query_one("#question", Rows)
        real = Rows.refresh

        def noted(rows: Rows, *regions: Region, **how: Any) -> Rows:
            drawn.append((rows.id, regions or rows._only))
            return real(rows, *regions, **how)

        monkeypatch.setattr(Rows, "refresh", noted)
        screen.tick()
        assert drawn == []
        clock[0] += 1
        screen.tick()
        assert drawn == [("question", (Region(0, 0, question.size.width, 1),))]
        await settled(pilot)
        assert sees(pilot, "4:06 left")
        # A poll tells it anew: the dialog goes by that.
        extended = replace(ending().sessions[0], time_left_s=7450)
        service.now = replace(ending(), sessions=(extended,), taken_at=clock[0])
        app.look_again()
        await until(pilot, lambda: app._board.find(extended.job_id) == extended)
        screen.tick()
        await settled(pilot)
        assert sees(pilot, "2:04:10 left")
        service.now = replace(ending(), sessions=())
        app.look_again()
        await until(pilot, lambda: app._board.find(extended.job_id) is None)
        screen.tick()
        await settled(pilot)
        assert sees(pilot, "desktop on viz-node002   it has ended")


async def test_it_is_let_be() -> None:
    app, _ = app_on(ending())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w")
        assert sees(pilot, "a  Start the same", "r  Copy a request", "d  Let it be")
        await press(pilot, "d")
        assert not sees(pilot, "press w for the choices")
        await press(pilot, "w")  # of the chosen session one can still ask
        assert sees(pilot, "Time limit")


@pytest.mark.parametrize("way", ["key", "mouse"])
async def test_a_key_acts_on_the_row_and_a_click_on_what_the_warning_names(way: str) -> None:
    warning = "◷ desktop on viz-node002 ends in 4:07"
    first, *others = ending().sessions
    app, _ = app_on(replace(ending(), sessions=(*others, first)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert app._dashboard.context().session == others[0]
        assert sees(pilot, "press w on its row for the choices")
        if way == "key":
            await press(pilot, "w")
            assert sees(pilot, "1:12:06 left")
            await press(pilot, "escape", "end", "w")
        else:
            y = next(i for i, one in enumerate(text(pilot).split("\n")) if warning in one)
            await pilot.click(offset=(4, y))
            await settled(pilot)
        assert sees(pilot, "4:07 left")
        await press(pilot, "a", "escape")
        assert sees(pilot, warning)  # nothing came of it
        await press(pilot, "w", "d")
        assert not sees(pilot, warning)
        await press(pilot, "home", "w")
        assert sees(pilot, "1:12:06 left")


async def test_a_limit_that_was_moved_is_told_again_when_it_is_near() -> None:
    warning = "press w for the choices"
    app, service = app_on(near := ending(), admin=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "w", "e")
        assert service.operations.done == [("extend", "1044", "7200")]
        first, *others = near.sessions
        moved = replace(first, time_left_s=7440, resources=replace(first.resources, time_s=14400))
        service.now = replace(near, sessions=(moved, *others))
        app.look_again()
        await until(pilot, lambda: sees(pilot, "2:03:57"))
        assert not sees(pilot, warning)
        app.clear_notifications()
        service.now = near
        app.look_again()
        await until(pilot, lambda: toasts(pilot))
        assert "press w on its row for the choices" in toasts(pilot)[-1]


# ---------------------------------------------------------------------- operators


async def test_an_operator_extends_tells_drains_and_resumes() -> None:
    app, service = app_on(ending(), admin=True, node_admin=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "e", "e")
        await press(pilot, "m", *"save", "enter")
        await press(pilot, "1", "D", "enter", *"fan", "enter")
        await press(pilot, "down", "down", "down", "U", "y")
        assert service.operations.done == [
            ("extend", "1044", "7200"),
            ("message", "1044", "save"),
            ("drain", "viz-node001", "fan"),
            ("resume", "viz-node004", ""),
        ]
        assert toasts(pilot)[-1] == "viz-node004 takes jobs again"


async def test_rights_are_known_once_the_cluster_answers() -> None:
    app, service = app_on(ending(), admin=True)
    service.failure = Unreachable("login", "it does not answer")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: sees(pilot, "it does not answer"))
        service.failure = None
        app.look_again()
        await until(pilot, lambda: sees(pilot, "ends in 4:07"))
        await settled(pilot)
        await press(pilot, "w")
        assert sees(pilot, "e  Extend it by 2 h")


async def test_what_slurm_will_not_have_is_told() -> None:
    app, service = app_on(busy(), admin=True, node_admin=True)
    service.operations.refusal = Refused("node viz-node001 was not changed", "no rights")
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "D", *"x", "enter")
        assert toasts(pilot)[-1] == "node viz-node001 was not changed: no rights"


async def test_others_may_not_and_are_told_why() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "D", "U")
        assert toasts(pilot) == [
            "Drain: only Slurm's administrators may",
            "Resume: only Slurm's administrators may",
        ]
        assert not service.operations.done


# ---------------------------------------------------------------------- the terminal


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(VizdashApp, "_write", lambda self, sequence: sent.append(sequence))
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
        app._poller.refresh()
        await until(pilot, lambda: sees(pilot, "● ready"))
    rung = "".join(written)
    assert ("\a" in rung) is on
    assert ("]777;notify;vizdash;desktop is ready on viz-node002" in rung) is on
    assert ("]2;vizdash viz: 1 ready" in rung) is on


# ---------------------------------------------------------------------- the config


async def test_a_changed_config_is_taken_over() -> None:
    changed: list[Config] = []
    app, service = app_on(busy(), reload=lambda: changed.pop() if changed else None)
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        changed.append(_config(theme="contrast", keys={"stop": ("X",), "refresh": ("f5",)}))
        app._look_at_config()
        await until(pilot, lambda: "the changed config is in force" in toasts(pilot))
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
    places = (Place("viz-node001"),)
    app, service = app_on(
        replace(busy(), places=places), reload=lambda: changed.pop() if changed else None
    )
    service.stay = ("clusters.viz.host",)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert app._dashboard.image_rights == ""
        service.image_refusal = "anna may not write /new on the nodes"
        changed.append(_config())
        app._look_at_config()
        told = "the changed config is in force, but for clusters.viz.host (start vizdash anew)"
        await until(pilot, lambda: told in toasts(pilot))
        await until(pilot, lambda: app._dashboard.image_rights == service.image_refusal)


async def test_a_wrong_config_is_told_and_the_old_one_stays() -> None:
    def reload() -> Config | None:
        raise ConfigError("config.yaml:3: ui.theem", "no such key", "did you mean 'theme'?")

    app, _ = app_on(busy(), reload=reload)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        app._look_at_config()
        told = "the config stays as it was: config.yaml:3: ui.theem: no such key"
        await until(pilot, lambda: any(note.startswith(told) for note in toasts(pilot)))
        assert sees(pilot, "● ready")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"stopp": ("x",)}, "ui.keys.stopp: no such action (did you mean 'stop'?)"),
        ({"stop": ("n",)}, "ui.keys.stop: n is the key of start already (see ui.keys.start)"),
        ({"stop": ("ctrl-x",)}, "no such key: ctrl-x (did you mean 'ctrl+x'?)"),
        ({"stop": ("control+x",)}, "no such key: control+x (did you mean 'ctrl'?)"),
        ({"stop": ("pageu",)}, "no such key: pageu (did you mean 'pageup'?)"),
        ({"stop": ("j",)}, "j can't be had: it moves about in the lists (choose another one)"),
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
        assert app._dashboard.query_one("#filter").has_class("-shown")
        await press(pilot, "escape", "down", "down", "down", "o")
        assert isinstance(app.screen, Confirm)


async def test_the_cluster_has_the_name_that_the_person_gave_it() -> None:
    named = replace(_config(), cluster=Cluster("campus"))
    for config, shown in ((named, "campus  slurm"), (replace(named, cluster=HERE), "viz  slurm")):
        app, _ = app_on(busy(), config=config)
        async with app.run_test(size=(80, 24)) as pilot:
            await begin(pilot)
            assert sees(pilot, f"vizdash  {shown}")


async def test_every_theme_is_tried_and_comes_round() -> None:
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


# ---------------------------------------------------------------------- one registry


@contextmanager
def _added(action: Action) -> Iterator[None]:
    REGISTRY.add(action)
    try:
        yield
    finally:
        REGISTRY.remove(action.id)


async def test_a_new_action_is_in_footer_palette_help_and_cli() -> None:
    wave = Action("wave", "Wave", "Wave at the cluster.", ("f9",), verb="stop-waving", footer=1)
    with _added(wave):
        app, _ = app_on(busy())
        async with app.run_test(size=(160, 48)) as pilot:
            await begin(pilot)
            assert sees(pilot, "f9 Wave")
            await press(pilot, "question_mark")
            assert sees(pilot, "f9", "Wave at the cluster.")
            await press(pilot, "escape", "ctrl+p")
            assert "Wave" in offered(pilot)
        said = CliRunner().invoke(cli, ["--help"])
        assert "Wave at the cluster." in said.output
    assert "Wave" not in CliRunner().invoke(cli, ["--help"]).output


async def test_an_action_that_can_t_be_done_now_says_why_wherever_it_is_met() -> None:
    wave = Action(
        "wave", "Wave", "Wave at the cluster.", ("f9",), footer=1,
        disabled_reason=lambda context: "" if context.node else "no [node] to wave at",
    )  # fmt: skip
    with _added(wave):
        app, _ = app_on(busy())
        async with app.run_test(size=(160, 48)) as pilot:
            await begin(pilot)
            assert not sees(pilot, "f9 Wave")  # the footer has what can be done
            await press(pilot, "f9")
            assert toasts(pilot) == ["Wave: no [node] to wave at"]
            await press(pilot, "question_mark")
            assert sees(pilot, "Wave at the cluster.", "not now: no [node] to wave at")
            await press(pilot, "escape", "ctrl+p", *"wave")
            await until(pilot, lambda: offered(pilot)[:1] == ["Wave"])
            await until(pilot, lambda: sees(pilot, "not now: no [node] to wave at"))
            await press(pilot, "escape", "1")
            assert sees(pilot, "f9 Wave")
            await press(pilot, "question_mark")
            assert sees(pilot, "Wave at the cluster.")
            assert not sees(pilot, "to wave at")


@pytest.mark.parametrize("action", [a for a in REGISTRY if a.verb], ids=lambda a: a.verb)
def test_a_verb_s_help_is_its_action_s(action: Action) -> None:
    said = CliRunner().invoke(cli, [action.verb, "--help"])
    assert " ".join(action.help.split()) in " ".join(said.output.split())


# ---------------------------------------------------------------------- history, commands


async def test_the_history_in_the_header_and_in_full() -> None:
    app, _ = app_on(busy(), history=day())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        assert sees(pilot, "▁▁▁▁")
        await press(pilot, "h")
        assert sees(pilot, "the last hour", "cores   2 of 48", "sessions   1, 1 of them")
        await press(pilot, "2")
        assert sees(pilot, "the last 6 hours")
        await press(pilot, "right")
        assert sees(pilot, "the last day")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_a_history_that_is_empty_says_so() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        service.history = History(None)
        await press(pilot, "h")
        assert sees(pilot, "nothing is known yet")


async def test_the_commands_their_times_and_outcomes() -> None:
    app, service = app_on(busy(), ran=RAN)
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "C")
        assert sees(pilot, "16 ms", "✓ done", "✗ exit 1", "30.0 s", "✗ no answer")
        await press(pilot, "down")
        assert sees(pilot, "Invalid job id specified")
        await press(pilot, "c")
        assert app.clipboard == "scancel 1040"
        await press(pilot, "f")
        assert not sees(pilot, "squeue")
        service.ran = (Ran(4, AT, ("false",), 0.001, 1), *RAN)
        await press(pilot, "r")
        assert sees(pilot, "Commands 3 failed")
        assert sees(pilot, "f All")
        await press(pilot, "f")
        # What is done comes first, not how its environment was cleared.
        argv = ("env", "-u", "SQUEUE_SORT", "LC_ALL=C", "squeue", "--all")
        service.ran = (Ran(5, AT, argv, 0.001, 0),)
        await press(pilot, "r")
        assert sees(pilot, "✓ done       squeue --all", "run: env -u SQUEUE_SORT LC_ALL=C squeue")
        await press(pilot, "c")
        assert app.clipboard == "env -u SQUEUE_SORT LC_ALL=C squeue --all"
        await press(pilot, "s", "s")
        assert sees(pilot, "esc Back   r Reload   s Sort   f Failed only   c Copy")
        await press(pilot, "escape")
        assert isinstance(app.screen, Dashboard)


async def test_where_there_are_no_commands_none_is_sorted_or_copied() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "C")
        assert sees(pilot, "esc Back   r Reload")
        assert not sees(pilot, "s Sort")
        assert not sees(pilot, "c Copy")


# ---------------------------------------------------------------------- saved sizes


async def test_a_size_is_saved_chosen_and_forgotten() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "tab", "tab", "7")
        assert sees(pilot, "● own size")
        await press(pilot, "ctrl+s", *"mine", "enter")
        assert sees(pilot, "✓ saved as ★ mine", "● ★ mine")
        await press(pilot, "escape", "n", "tab", "left", "left")
        await press(pilot, *["left"] * 2)
        for _ in range(5):
            if sees(pilot, "● ★ mine"):
                break
            await press(pilot, "right")
        assert sees(pilot, "● ★ mine", "^d forgets")
        await press(pilot, "enter")
        await until(pilot, lambda: service.started)
        assert service.started[0].resources.cores == 7
        await press(pilot, "n", "ctrl+d")
        assert "★ mine is forgotten" in text(pilot) or "only sizes" in text(pilot)


async def test_a_size_that_cannot_be_forgotten_is_told() -> None:
    app, service = app_on(empty())
    service.last = SessionRequest("desktop", Resources(7, 7 * G, 0, 7200))
    service.presets.save("mine", service.last)
    service.presets.refusal = VizdashError("presets-viz.json", "Disk quota exceeded")
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n")
        assert sees(pilot, "● ★ mine")
        await press(pilot, "ctrl+d")
        assert sees(pilot, "✗ presets-viz.json: Disk quota exceeded", "● ★ mine")


async def test_nothing_is_saved_without_a_name() -> None:
    app, service = app_on(empty())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "n", "ctrl+s", "escape")
        assert isinstance(app.screen, StartScreen)
        assert not service.presets.kept
        await press(pilot, "ctrl+d")
        assert sees(pilot, "only sizes that you saved can be forgotten")


async def test_the_chosen_session_is_started_again_with_its_size() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "A", "enter")
        await until(pilot, lambda: service.started)
        assert service.started == [
            SessionRequest(
                "paraview", Resources(8, 32 * G, 1, 14400), geometry="1920x1080", partition="viz"
            )
        ]


@pytest.mark.parametrize("mine", [True, False])
async def test_the_same_is_charged_to_the_same_account_if_it_is_ones_own(mine: bool) -> None:
    one = ready(1, account="chem", qos="long", mine=mine, user="anna" if mine else "björn")
    app, service = app_on(snapshot(sessions=(one,), nodes=(node(1),)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "A", "enter")
        await until(pilot, lambda: service.started)
        (request,) = service.started
        assert (request.account, request.qos) == (("chem", "long") if mine else ("", ""))


async def test_on_the_newer_image_it_is_charged_to_the_same_account() -> None:
    one = ready(1, account="chem", qos="long", newer_version="2.2")
    app, service = app_on(snapshot(sessions=(one,), nodes=(node(1),)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "N")
        await until(pilot, lambda: service.started)
        assert service.started == [
            SessionRequest("desktop", one.resources, account="chem", qos="long", partition="viz")
        ]
