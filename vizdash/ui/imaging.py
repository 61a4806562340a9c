"""What the dashboard does with images: deploys and rollbacks that go on while it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from textual.app import App
from textual.worker import Worker

from vizdash.actions import Context
from vizdash.errors import VizdashError
from vizdash.images.progress import NodeProgress, Phase, Progress
from vizdash.images.rollback import Rollback
from vizdash.imaging import Imaging, Plan
from vizdash.model import Matrix
from vizdash.ui.format import escape_control, names
from vizdash.ui.screens.confirm import Confirm, Question
from vizdash.ui.screens.deploy import DeployScreen, Wish
from vizdash.ui.screens.matrix import Around, MatrixScreen
from vizdash.ui.screens.progress import ProgressScreen, Run
from vizdash.ui.theme import Line, Span, line


class Teller(Protocol):
    """What the desk needs of the app."""

    def news(self, text: str) -> None:
        """One line that goes away by itself."""

    def trouble(self, text: str) -> None:
        """One line that names cause and mend."""

    def build_log(self, app: str) -> None:
        """Show the log of an app's last build."""


class ImageDesk:
    """One change at a time, each by an ``imaging`` of its own: what a change begins by one config
    it ends by the same. ``refresh`` asks for a new snapshot.
    """

    def __init__(
        self,
        app: App[str],
        teller: Teller,
        imaging: Callable[[], Imaging],
        refresh: Callable[[], None],
    ) -> None:
        self._app = app
        self._teller = teller
        self._imaging = imaging
        self._refresh = refresh
        self._run: Run | None = None
        self._checking = False

    @property
    def busy(self) -> bool:
        """Whether a change goes on."""
        return self._run is not None and not self._run.over

    async def rights(self, matrix: Matrix) -> str:
        """Why images can't be changed from here; empty when they can."""
        try:
            return await self._imaging().rights(matrix)
        except VizdashError as e:
            return e.line

    def want(self, action_id: str, context: Context, look: Callable[[], Around]) -> None:
        """Do an action of images that can be done; while a change goes on, show that one."""
        match action_id:
            case "matrix":
                self._app.push_screen(MatrixScreen(look, partial(self.want, look=look)))
            case "logs":
                self._teller.build_log(context.app)
            case _ if self._run is not None and self.busy:
                self._app.push_screen(ProgressScreen(self._run))
            case _ if self._checking:
                self._teller.news("a rollback is being prepared")
            case "deploy":
                self._deploy(context.app)
            case _:
                self._checking = True
                self._app.run_worker(self._rollback(context.app), name="rollback", group="writes")

    # ------------------------------------------------------------------ deploy

    def _deploy(self, app: str) -> None:
        imaging = self._imaging()

        def chosen(wish: Wish | None) -> None:
            if wish is not None:
                self._begin(wish, imaging)

        async def plan(app: str, version: str, nodes: str) -> Plan:
            return await imaging.plan(app, version=version, nodeset=nodes)

        apps = [a.name for a in imaging.service.apps()]
        self._app.push_screen(DeployScreen(plan, apps, app=app), chosen)

    def _begin(self, wish: Wish, imaging: Imaging) -> None:
        cargo = wish.plan.cargo
        run = self._new_run(f"Deploying {cargo.app} {cargo.version}", wish.plan.nodes)

        async def work() -> Progress:
            return await imaging.deploy(
                wish.plan,
                canary=wish.canary,
                smoke_test=wish.smoke,
                agreed=True,  # the form shows the warning
                tell=self._taker(run),
            )

        self._start(run, work)

    async def _rollback(self, app: str) -> None:
        imaging = self._imaging()
        try:
            view = await imaging.view()
            plan = await imaging.rollback_plan(app, view.matrix)
        except VizdashError as e:
            self._teller.trouble(e.line)
            return
        finally:
            self._checking = False
        question = Question("Roll back?", _question(plan, view.matrix), "Roll back", "Leave it")

        def answered(yes: bool | None) -> None:
            if yes:
                nodes = (*plan.versions, *plan.refused)
                run = self._new_run(f"Rolling {app} back to {plan.version}", nodes)

                async def work() -> Progress:
                    return await imaging.rollback(plan, self._taker(run))

                self._start(run, work)

        self._app.push_screen(Confirm(question), answered)

    # ------------------------------------------------------------------ a change that goes on

    def _new_run(self, title: str, nodes: tuple[str, ...]) -> Run:
        return Run(title, Progress(nodes), cancel=lambda: None)

    def _taker(self, run: Run) -> Callable[[NodeProgress], None]:
        def take(row: NodeProgress) -> None:
            run.progress.nodes[row.node] = row

        return take

    def _start(self, run: Run, work: Callable[[], Awaitable[Progress]]) -> None:
        if self._run is not None and self.busy:
            self._teller.trouble(f"{run.title}: not begun, {self._run.title} is under way")
            return
        self._run = run
        worker: Worker[None] = self._app.run_worker(
            self._carry_out(run, work), name="images", group="writes"
        )
        run.cancel = worker.cancel
        self._app.push_screen(ProgressScreen(run))

    async def _carry_out(self, run: Run, work: Callable[[], Awaitable[Progress]]) -> None:
        try:
            progress = await work()
            failed = progress.failed
            if failed:
                nodes = names(tuple(row.node for row in failed))
                self._teller.trouble(f"{run.title} failed on {nodes}: {failed[0].note}")
            else:
                self._teller.news(f"{run.title}: done on all nodes")
        except VizdashError as e:
            self._teller.trouble(e.line)
        except asyncio.CancelledError:
            self._teller.trouble(broken_off(run))
            raise
        finally:
            run.over = True
            self._refresh()


def _question(plan: Rollback, matrix: Matrix) -> tuple[Line, ...]:
    """What a rollback would do, and where it would do nothing."""
    away = tuple(p for p in matrix.places if p.failure)
    told: list[Line] = [
        line(Span(f"{plan.app} {version}", "strong", bold=True), f" again on {_there(nodes)}")
        for version, nodes in plan.groups
    ]
    if other := tuple(node for node in plan.staying if node):
        told.append(line(Span(f"Not on {names(other)}: {plan.undone} is not current", "muted")))
    silent = {p.node for p in away}
    told += [
        line(Span(f"{node}: {escape_control(why)}", "warn"))
        for node, why in plan.refused.items()
        if node not in silent
    ]
    if away:
        why = escape_control(away[0].failure)
        text = f"{names(tuple(p.node for p in away))} did not answer: {why}"
        told.append(line(Span(text, "warn")))
    keep = line(Span("Running sessions keep the image that they run from.", "muted"))
    return (*told, (), keep)


def _there(nodes: tuple[str, ...]) -> str:
    return names(nodes) if any(nodes) else "the shared image root"


def broken_off(run: Run) -> str:
    """What a cancelled change has done, what it has not, and how it goes on."""
    rows = run.progress.nodes.values()
    done = tuple(row.node for row in rows if row.phase is Phase.DONE)
    half = tuple(row.node for row in rows if row.phase is not Phase.DONE)
    told = f"{run.title}: broken off, done on {names(done) if done else 'no node'}"
    return f"{told}, not on {names(half)} (the same again goes on from there)" if half else told
