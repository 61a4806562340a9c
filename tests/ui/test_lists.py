"""Working in the lists: filter, order, marks, own and all sessions, copying."""

from __future__ import annotations

from dataclasses import replace

from textual.widgets import Input

from tests.ui.fake import app_on, busy, snapshot, watched
from tests.ui.pilot import AnyPilot, begin, click_row, press, sees, settled, text, toasts, until
from vizdash.ui.app import VizdashApp
from vizdash.ui.screens.clipboard import ClipboardScreen
from vizdash.ui.screens.confirm import ConfirmScreen


def _jobs(app: VizdashApp) -> list[str]:
    return [s.job_id for s in app.dashboard.sessions.rows]


async def _filter(pilot: AnyPilot, words: str) -> None:
    await press(pilot, "slash")
    pilot.app.screen.query_one("#filter", Input).value = words
    await settled(pilot)


async def test_a_filter_works_as_it_is_typed_and_stays_over_polls() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "slash", "p", "a", "r", "a")
        assert _jobs(app) == ["1046", "1044", "1042"]
        assert sees(pilot, "2 Sessions 3 of 7", "/para")
        await press(pilot, "enter")
        assert app.focused is app.dashboard.sessions
        now = busy()
        service.now = replace(now, sessions=(*now.sessions, replace(now.sessions[2], job_id="99")))
        asked = service.asked
        await press(pilot, "R")
        await until(pilot, lambda: service.asked > asked)
        await until(pilot, lambda: _jobs(app) == ["1046", "1044", "1042", "99"])
        await press(pilot, "escape")
        assert len(_jobs(app)) == 8


async def test_fields_inverses_and_errors() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await _filter(pilot, "state:ready user:me")
        assert _jobs(app) == ["1044", "1041"]
        await press(pilot, "escape")
        await _filter(pilot, "!user:me")
        assert _jobs(app) == ["1043"]
        await press(pilot, "escape")
        await _filter(pilot, "stat:ready")
        assert sees(pilot, "no field 'stat': did you mean 'state'?")
        assert len(_jobs(app)) == 7
        await press(pilot, "escape")
        await _filter(pilot, "nowhere")
        assert sees(pilot, "No row matches. esc clears the filter.")


async def test_each_pane_has_its_own_filter() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "1")
        await _filter(pilot, "state:unusable")
        await press(pilot, "enter")
        assert [n.name for n in app.dashboard.nodes.rows] == ["viz-node004"]
        assert len(_jobs(app)) == 7
        await press(pilot, "3")
        await _filter(pilot, "version:2.0")
        await press(pilot, "enter")
        assert len(app.dashboard.images.rows) == 1
        assert len(app.dashboard.nodes.rows) == 1


async def test_going_to_another_pane_keeps_the_filter_and_closes_its_line() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await _filter(pilot, "para")
        bar = app.screen.query_one("#filter", Input)
        assert bar.has_class("-shown")
        await click_row(pilot, app.dashboard.nodes, 1)
        assert not bar.has_class("-shown")
        assert app.focused is app.dashboard.nodes
        assert _jobs(app) == ["1046", "1044", "1042"]
        await press(pilot, "slash")
        assert (bar.has_class("-shown"), bar.value) == (True, "")
        # What was typed before the pane changed is of the pane before.
        bar.value = "003"
        app.screen.set_focus(app.dashboard.sessions)
        await settled(pilot)
        assert [n.name for n in app.dashboard.nodes.rows] == ["viz-node003"]
        assert len(_jobs(app)) == 3
        assert not bar.has_class("-shown")


#: What sessions are sorted by, hidden columns too (IDLE is left out while it is unknown).
_BY = ("STATE", "APP", "NODE", "LEFT", "OWNER", "SIZE", "VERSION", "JOB", "NOTE")


async def test_order_by_key_and_by_clicks_on_a_title() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        table = app.dashboard.sessions
        came = _jobs(app)
        await press(pilot, "s", "s")
        assert table.sorted_by == "APP"
        assert sees(pilot, "APP▲")
        assert [s.app for s in table.rows] == sorted(s.app for s in table.rows)
        await press(pilot, "S")
        assert sees(pilot, "APP▼")
        spot = next(p for p in table._placed if p.column.title == "NODE")
        for order in ("▲", "▼", ""):
            await pilot.click(table, offset=(spot.x + 2, 1))
            await settled(pilot)
            assert sees(pilot, f"NODE{order}")
        assert _jobs(app) == came
        seen = [table.sorted_by]
        while table.sorted_by != "" or len(seen) == 1:
            await press(pilot, "s")
            seen.append(table.sorted_by)
        assert seen == ["", *_BY, ""]


async def test_a_hidden_column_can_be_sorted_by_and_is_named() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        table = app.dashboard.sessions
        while table.sorted_by != "JOB":
            await press(pilot, "s")
        assert "JOB" not in [p.column.title for p in table._placed]
        assert sees(pilot, "by job ▲")
        assert _jobs(app) == sorted(_jobs(app))
        await press(pilot, "S")
        assert sees(pilot, "by job ▼")


async def test_late_rows_have_the_width_that_they_need() -> None:
    """A pane that does not grow with its rows is not laid out again when they change."""
    app, _ = app_on(busy())
    async with app.run_test(size=(300, 100)) as pilot:
        await begin(pilot)
        assert sees(pilot, "viz-node001  ◑ mixed")


async def test_several_are_marked_and_stopped_at_once() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "space", "space", "space", "down", "space", "x")
        assert isinstance(app.screen, ConfirmScreen)
        # The fourth marked session is another user's: it is not among them.
        assert sees(pilot, "Stop these 3 sessions?", "paraview on viz-node001")
        await press(pilot, "y")
        await until(pilot, lambda: len(service.stopped) == 3)
        assert set(service.stopped) == {s.id for s in busy().sessions[:3]}  # all at once
        assert not app.dashboard.sessions.marked


async def test_marks_are_seen_counted_and_taken_away() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "space", "space")
        assert sees(pilot, "◆ 2 marked")
        assert text(pilot).count("◆○ pending") == 1
        await press(pilot, "up", "space")
        assert sees(pilot, "◆ 1 marked")
        await press(pilot, "escape")
        assert not sees(pilot, "◆")


async def test_a_row_shows_its_viewers_in_a_small_terminal_too() -> None:
    app, service = app_on(watched())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, "you      ◉ 1", "carla    12m", "björn     1d", "in 12 min: wai")
        # Without space for the column, the last column shows it, and still why a session waits.
        long = tuple(replace(s, app="paraview-server") for s in watched().sessions)
        service.now = replace(watched(), sessions=long)
        await press(pilot, "R")
        await until(pilot, lambda: sees(pilot, "carla  idle 12 min", "you    in use"))
        assert sees(pilot, "björn  idle 1 d", "in 12 min: wai")


async def test_mine_and_all() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "a")  # from another pane too
        assert sees(pilot, "2 Sessions 6 of 7", "mine")
        await press(pilot, "2")
        assert not sees(pilot, "björn")
        await press(pilot, "a")
        assert sees(pilot, "björn")


async def test_any_cell_is_copied() -> None:
    app, _ = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "1", "c")
        assert isinstance(app.screen, ClipboardScreen)
        await press(pilot, "enter")
        assert app.clipboard == "viz-node001"
        # Only the text: no sign, and no bar as wide as the column.
        await press(pilot, "c", "j", "enter")
        assert app.clipboard == "mixed"
        await press(pilot, "c", "j", "j", "enter")
        assert app.clipboard == "14/16"
        await click_row(pilot, app.dashboard.images, 1)
        await press(pilot, "c", "j", "enter")
        assert app.clipboard == "2.0"
        await press(pilot, "2", "c", "k", "enter")
        assert app.clipboard.startswith("waiting for free cores")
        assert toasts(pilot)[-1] == "note is copied, if your terminal allows it"


async def test_the_copied_version_is_the_version_alone() -> None:
    newer = replace(busy().sessions[3], newer_version="2.2")
    app, _ = app_on(snapshot(sessions=(newer,)))
    async with app.run_test(size=(160, 48)) as pilot:
        await begin(pilot)
        assert sees(pilot, "2.1 ↑")
        await press(pilot, "c", *"jjjjjj", "enter")
        assert toasts(pilot)[-1].startswith("version is copied")
        assert app.clipboard == "2.1"


async def test_the_address_of_an_opened_desktop_is_copied() -> None:
    app, service = app_on(busy())
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        await press(pilot, "down", "down", "down", "o")
        await until(pilot, lambda: service.browsed)
        await press(pilot, "c", "enter")
        assert app.clipboard == service.routes[0].url
        assert not [note for note in toasts(pilot) if "password" in note]


async def test_the_session_id_is_a_column_where_it_fits_and_can_be_copied() -> None:
    app, _service = app_on(busy())
    async with app.run_test(size=(300, 40)) as pilot:
        await begin(pilot)
        assert sees(pilot, "SESSION", "4f2a91c1")
        await press(pilot, "down", "down", "down", "c")
        assert sees(pilot, "SESSION", "4f2a91c1")
