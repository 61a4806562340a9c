"""The image matrix and the keys that change images, with and without rights."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.ui.fake import APPS, FakeImageAdmin, app_on, busy, node
from tests.ui.pilot import AnyPilot, begin, click_key, press, sees, settled, text, toasts, until
from vizdash.config import Cluster, Config, UiSettings
from vizdash.images.copy import SourceImage
from vizdash.images.drift import ImageState
from vizdash.images.progress import ChangeProgress
from vizdash.model import ImageRoot, Snapshot
from vizdash.service.image_admin import DeployPlan, ImageOverview
from vizdash.ui.app import VizdashApp
from vizdash.ui.present.image_matrix import MatrixRow
from vizdash.ui.screens.change_progress import RunningChange
from vizdash.ui.screens.deploy import DeployRequest, DeployScreen
from vizdash.ui.widgets.table import Table
from vizdash.util.nodesets import list_nodes

WHY = "anna may not write /opt/apptainers/apps on the nodes"


def looked_at() -> Snapshot:
    """The nodes' image folders have been surveyed, so that rights are known."""
    day = busy()
    return replace(day, image_roots=tuple(ImageRoot(n.name) for n in day.nodes))


def last_line(pilot: AnyPilot) -> str:
    return text(pilot).splitlines()[-1]


def on_top(app: VizdashApp) -> str:
    return type(app.screen).__name__


async def test_who_may_not_deploy_is_reported_before_anything_is_tried() -> None:
    app, _ = app_on(looked_at(), image_refusal=WHY)
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "3")
        assert "M Images by node" in last_line(pilot)
        assert "Deploy" not in last_line(pilot) and "Roll back" not in last_line(pilot)
        await press(pilot, "d", "r")
        assert toasts(pilot) == [f"Deploy: {WHY}", f"Roll back: {WHY}"]
        assert on_top(app) == "Dashboard"
        await press(pilot, "ctrl+p", *"Deploy")
        assert sees(pilot, f"unavailable: {WHY}")
        await press(pilot, "escape", "M")
        assert on_top(app) == "ImageMatrixScreen"
        assert "Deploy" not in last_line(pilot) and "Roll back" not in last_line(pilot)
        await press(pilot, "d")
        assert on_top(app) == "ImageMatrixScreen" and toasts(pilot)[-1] == f"Deploy: {WHY}"


async def test_who_may_has_the_keys_where_images_are() -> None:
    app, _ = app_on(looked_at())
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "2")
        assert "d Deploy" not in last_line(pilot)
        await press(pilot, "3")
        assert "d Deploy  r Roll back  M Images by node" in last_line(pilot)
        await press(pilot, "M")
        assert "l Build log  d Deploy  r Roll back" in last_line(pilot)


async def test_rights_are_checked_again_when_other_nodes_answer() -> None:
    day = looked_at()
    away = tuple(replace(p, failure="No route to host") for p in day.image_roots)
    app, service = app_on(replace(day, image_roots=away))
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "3", "d")
        assert toasts(pilot) == ["Deploy: no node can be reached: No route to host"]
        asked = []
        for places in (away, day.image_roots, day.image_roots, (*away[:1], *day.image_roots[1:])):
            app.take_snapshot(replace(day, image_roots=places))
            await settled(pilot)
            asked.append((service.rights_asked, app.dashboard.image_rights == ""))
        assert asked == [(1, False), (2, True), (2, True), (3, True)]
        await press(pilot, "d")
        assert on_top(app) == "DeployScreen"


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_nodes_that_could_not_be_checked_are_not_taken_for_empty(
    size: tuple[int, int],
) -> None:
    why = "Permission denied (publickey)."
    away = tuple(ImageRoot(n.name, failure=why) for n in busy().nodes)
    app, _ = app_on(replace(busy(), images=(), image_roots=away))
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        await press(pilot, "3")
        message = f"4 of 4 nodes not checked: {why}"
        fix = "check that ssh viz-node001 works without a password"
        assert sees(pilot, "3 Images  not checked", message, fix)
        assert not sees(pilot, "No images found")
        await press(pilot, "M")
        assert sees(pilot, "no data from any node   4 nodes not checked", message, fix)
        assert not sees(pilot, "no drift")
        # Of some of them it is known that they have none.
        roots = (*away[:3], ImageRoot("viz-node004"))
        app.take_snapshot(replace(busy(), images=(), image_roots=roots))
        await press(pilot, "escape", "3")
        assert sees(pilot, "3 Images 0", "No images found", f"3 of 4 nodes not checked: {why}")
        await press(pilot, "M")
        assert sees(pilot, "no drift   3 nodes not checked", "No images found on any")


@pytest.mark.parametrize(
    ("failure", "engine", "state"),
    [("the node is down", "slurm 24.11.5", "DOWN"), ("the answer is incomplete", "local", "IDLE")],
)
async def test_ssh_is_checked_where_nodes_are_reached_by_ssh(
    failure: str, engine: str, state: str
) -> None:
    day = replace(busy(), engine=engine, nodes=(node(1, state=state),), images=())
    app, _ = app_on(replace(day, image_roots=(ImageRoot("viz-node001", failure=failure),)))
    async with app.run_test(size=(80, 24)) as pilot:
        await begin(pilot)
        assert sees(pilot, f"1 of 1 node not checked: {failure}")
        assert not sees(pilot, "check that ssh")


async def test_where_there_is_no_image_one_can_only_be_deployed() -> None:
    app, _ = app_on(replace(looked_at(), images=(), image_roots=(ImageRoot("viz-node001"),)))
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await until(pilot, lambda: app.dashboard.image_rights == "")
        await press(pilot, "M")
        assert "d Deploy" in last_line(pilot)
        assert "Build log" not in last_line(pilot) and "Roll back" not in last_line(pilot)
        await press(pilot, "r", "l")
        messages = ["Roll back: no image is selected", "Build log: no image is selected"]
        assert toasts(pilot) == messages
        assert on_top(app) == "ImageMatrixScreen"


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_the_matrix_says_all_of_a_row_at_every_size(size: tuple[int, int]) -> None:
    day = looked_at()
    image = next(i for i in day.images if i.current)
    other = replace(image, node="viz-node001", digest="cd" * 32)
    places = (*day.image_roots[:-1], replace(day.image_roots[-1], failure="No route to host"))
    images = (other, *(replace(image, node=p.node, digest="ab" * 32) for p in places[1:]))
    app, _ = app_on(replace(day, images=images, image_roots=places))
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        await press(pilot, "M")
        assert sees(pilot, "≠ another digest", "1 node not checked")
        while "≠" not in next(line for line in text(pilot).splitlines() if "▌" in line):
            await press(pilot, "down")
        assert sees(pilot, "other nodes have different content under this version", image.path)


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
async def test_on_many_nodes_what_needs_action_comes_first(size: tuple[int, int]) -> None:
    """Sixteen nodes with two versions each, and one node that starts the older one."""
    day = looked_at()
    old = replace(next(i for i in day.images if i.current), version="1.0", digest="")
    new = replace(old, version="1.1")
    nodes = [f"viz-node{n:03}" for n in range(1, 17)]
    images = [
        replace(image, node=node, current=current, path=f"{image.path}-{image.version}")
        for node in nodes
        for image, current in ((old, node == nodes[11]), (new, node != nodes[11]))
    ]
    app, _ = app_on(replace(day, images=tuple(images), image_roots=tuple(map(ImageRoot, nodes))))
    async with app.run_test(size=size) as pilot:
        await begin(pilot)
        assert sees(pilot, "drift")
        await press(pilot, "M")
        table: Table[MatrixRow] = app.screen.query_one(Table)
        # One row for each app, version and state.
        assert [(r.group.first.state, len(r.findings)) for r in table.rows] == [
            (ImageState.OLDER, 1),
            (ImageState.CURRENT, 15),
            (ImageState.KEPT, 1),
            (ImageState.KEPT, 15),
        ]
        assert table.row is table.rows[0] and table.rows[0].group.nodes == nodes[11]
        assert sees(pilot, "! 1 need attention", "should be 1.1")
        assert sees(pilot, "▸ 15 viz-node[001-011,")
        await press(pilot, "down")
        assert sees(pilot, "15 nodes: viz-node[001-011,013-016]")
        await press(pilot, "s", "s")
        assert table.sorted_by == "VERSION"
        assert [r.group.first.version for r in table.rows] == ["1.0", "1.0", "1.1", "1.1"]
        await press(pilot, "S")
        assert table.rows[0].group.first.version == "1.1"


async def test_enter_unfolds_a_row_of_the_matrix_and_folds_it_again() -> None:
    day = looked_at()
    image = replace(next(i for i in day.images if i.current), digest="")
    nodes = [f"viz-node{n:03}" for n in range(1, 13)]
    images = [replace(image, node=node, modified_at=1000 + n) for n, node in enumerate(nodes)]
    app, _ = app_on(replace(day, images=tuple(images), image_roots=tuple(map(ImageRoot, nodes))))
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "M")
        table: Table[MatrixRow] = app.screen.query_one(Table)
        assert len(table.rows) == 1 and "⏎ Unfold" in last_line(pilot)
        await press(pilot, "enter")
        assert [row.only and row.only.node for row in table.rows] == [None, *nodes]
        assert sees(pilot, "▾ 12 viz-node[001-012]", "  viz-node012")
        # Sorted any way, they stay below their row.
        await press(pilot, "s", "s", "s", "S")
        assert table.sorted_by == "NODES"
        assert [row.only and row.only.node for row in table.rows] == [None, *nodes]
        await press(pilot, "down", "down", "enter")
        assert len(table.rows) == 1 and table.cursor == 0
        await press(pilot, "enter", "down")
        assert len(table.rows) == 13
        # What has changed meanwhile stays unfolded.
        fewer = tuple(map(ImageRoot, nodes[1:]))
        app.take_snapshot(replace(day, images=tuple(images[1:]), image_roots=fewer))
        await until(pilot, lambda: len(table.rows) == 12)


async def test_the_matrix_has_its_help_and_its_keys_by_mouse() -> None:
    mine = UiSettings(keys={"sort": ("z",)})
    app, _ = app_on(looked_at(), config=Config(Cluster("viz", refresh_s=3600), {}, APPS, ui=mine))
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await press(pilot, "M")
        table: Table[MatrixRow] = app.screen.query_one(Table)
        await press(pilot, "s")
        assert table.sorted_by == ""
        await click_key(pilot, "sort")
        assert table.sorted_by == "APP"
        await press(pilot, "question_mark")
        assert sees(pilot, "Images by node", "Go back to the lists.", "Sort by the next column.")
        await press(pilot, "escape", "M")
        assert on_top(app) == "Dashboard"


async def test_a_rollback_promises_no_node_that_did_not_answer() -> None:
    day = looked_at()
    gone = replace(day.image_roots[-1], failure="No route to host")
    app, _ = app_on(replace(day, image_roots=(*day.image_roots[:-1], gone)))
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await until(pilot, lambda: app.dashboard.image_rights == "")
        await press(pilot, "3", "r")
        there = f"Back to desktop 2.0 on {list_nodes(tuple(p.node for p in day.image_roots[:-1]))}"
        assert sees(pilot, "Roll back?", there, f"{gone.node} did not answer: No route to host")


async def test_while_a_rollback_is_prepared_no_deploy_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, _ = app_on(looked_at())
    seen = asyncio.Event()
    view = FakeImageAdmin.overview

    async def slow(self: FakeImageAdmin) -> ImageOverview:
        await seen.wait()
        return await view(self)

    monkeypatch.setattr(FakeImageAdmin, "overview", slow)
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await until(pilot, lambda: app.dashboard.image_rights == "")
        await pilot.press("3", "r", "d")
        await until(pilot, lambda: "a rollback is being prepared" in toasts(pilot))
        assert on_top(app) == "Dashboard"
        seen.set()
        await until(pilot, lambda: on_top(app) == "ConfirmScreen")
        await press(pilot, "escape", "d")
        assert on_top(app) == "DeployScreen"


async def test_typing_during_a_check_discards_its_result() -> None:
    app, _ = app_on(looked_at())
    asked: list[str] = []
    begun: list[DeployRequest | None] = []
    seen = asyncio.Event()

    async def plan(app: str, version: str, nodes: str) -> DeployPlan:
        asked.append(nodes)
        await seen.wait()
        where = (nodes,) if nodes else tuple(n.name for n in looked_at().nodes)
        cargo = SourceImage("gedit", "7.1", "ab" * 32, 5, "/srv/gedit-7.1.sif")
        return DeployPlan(cargo, where, all_nodes=not nodes)

    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await app.push_screen(DeployScreen(plan, ["gedit"]), begun.append)
        await pilot.press("enter")
        await until(pilot, lambda: asked == [""] and sees(pilot, "checking the nodes"))
        await pilot.press("tab", "tab", *"viz-node002")
        await until(pilot, lambda: sees(pilot, "enter checks the image and the nodes"))
        seen.set()
        await settled(pilot)
        assert sees(pilot, "enter checks the image and the nodes") and not sees(pilot, "to 4 nodes")
        await press(pilot, "enter")
        assert not begun and sees(pilot, "to 1 node: viz-node002")
        await press(pilot, "enter")
    assert asked == ["", "viz-node002"]
    assert [wish and wish.plan.nodes for wish in begun] == [("viz-node002",)]


async def test_leaving_names_the_deploy_that_it_would_interrupt() -> None:
    clusters = {name: Cluster(name, refresh_s=3600) for name in ("viz", "far")}
    app, _ = app_on(looked_at(), config=Config(clusters["viz"], clusters, APPS, ui=UiSettings()))
    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        assert app.controllers.images is not None
        app.controllers.images.change = RunningChange(
            "Deploying gedit 7.1", ChangeProgress(["viz-node001"]), lambda: None
        )
        await press(pilot, "q")
        assert sees(
            pilot, "Quit vizdash?", "Images on the nodes are being", "Quitting interrupts this"
        )
        await press(pilot, "n", "at", "down", "enter")
        assert sees(pilot, "Switch to far?", "Images on the nodes", "Switching interrupts this")
        await press(pilot, "n")
        assert on_top(app) == "Dashboard" and not app._exit
        app.controllers.images.change.over = True
        await press(pilot, "at", "down", "enter")
    assert app.return_value == "cluster:far"


@pytest.mark.parametrize(
    ("nodes", "asks"), [("", "all 4 nodes"), ("viz-node001,viz-node002", "2 nodes")]
)
async def test_a_second_enter_does_not_deploy_to_many_nodes_unasked(nodes: str, asks: str) -> None:
    begun: list[DeployRequest | None] = []
    app, _ = app_on(looked_at())

    async def plan(app: str, version: str, chosen: str) -> DeployPlan:
        where = tuple(chosen.split(",")) if chosen else tuple(n.name for n in looked_at().nodes)
        cargo = SourceImage("gedit", "7.1", "ab" * 32, 5, "/srv/gedit-7.1.sif")
        return DeployPlan(cargo, where, all_nodes=not chosen)

    async with app.run_test(size=(120, 30)) as pilot:
        await begin(pilot)
        await app.push_screen(DeployScreen(plan, ["gedit"]), begun.append)
        await press(pilot, "tab", "tab", *nodes, "enter", "enter")
        assert sees(pilot, f"Deploy to {asks}?", "gedit 7.1")
        await press(pilot, "enter")  # the usual answer is no
        assert on_top(app) == "DeployScreen" and not begun
        await press(pilot, "enter", "y")
        await until(pilot, lambda: begun)
        assert on_top(app) == "Dashboard"
    assert [wish and wish.plan.source.version for wish in begun] == ["7.1"]
