"""Deploying and rolling back images, and the screen of every image on every node."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from vizdash.actions import Context
from vizdash.errors import Refused, VizdashError
from vizdash.model import Matrix, Snapshot
from vizdash.service.service import Service
from vizdash.ui.action_screen import ScreenState
from vizdash.ui.controllers.interface import Handlers, Ui
from vizdash.ui.present.lines import Line, Span, line
from vizdash.ui.screens.confirm import ConfirmScreen, Question
from vizdash.util.nodesets import list_nodes
from vizdash.util.text import escape_control

if TYPE_CHECKING:
    from vizdash.images.progress import ChangeProgress, NodeProgress
    from vizdash.images.rollback import RollbackPlan
    from vizdash.service.image_admin import DeployPlan, ImageAdmin
    from vizdash.ui.screens.change_progress import RunningChange
    from vizdash.ui.screens.deploy import DeployRequest


class ImagesController:
    """Handles the actions on images, one change at a time.

    Each change has an image admin of its own, so that it ends with the config that it began with:
    one of ``service``, unless ``image_admin`` makes them. ``show_build_log`` shows the last build
    of an app.
    """

    def __init__(
        self,
        ui: Ui,
        service: Service,
        image_admin: Callable[[], ImageAdmin] | None,
        show_build_log: Callable[[str], None],
    ) -> None:
        self._ui = ui
        self._service = service
        self._given_image_admin = image_admin
        self._show_build_log = show_build_log
        self._preparing = False
        self._rights_of: frozenset[str] | None = None
        #: The change that runs, or ran last.
        self.change: RunningChange | None = None

    def _image_admin(self) -> ImageAdmin:
        if self._given_image_admin is not None:
            return self._given_image_admin()
        from vizdash.service.image_admin import ImageAdmin

        return ImageAdmin(self._service)

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {"deploy": self._deploy, "rollback": self._roll_back, "matrix": self._show_matrix}

    @property
    def busy(self) -> bool:
        """Whether a change runs."""
        return self.change is not None and not self.change.over

    # ------------------------------------------------------------------ rights

    def forget_rights(self) -> None:
        """Check the rights again with the next snapshot: the config has changed."""
        self._rights_of = None

    def check_rights(self, snapshot: Snapshot) -> None:
        """Check who may change images, once the nodes are known and whenever they change."""
        looked = snapshot.matrix.answered
        if not snapshot.image_roots or self._rights_of == looked:
            return
        self._rights_of = looked
        asking = self._query_rights(snapshot.matrix)
        self._ui.run_in_background(asking, name="image-rights", group="rights", exclusive=True)

    async def _query_rights(self, matrix: Matrix) -> None:
        try:
            reason = await self._image_admin().why_not_allowed(matrix)
        except VizdashError as e:
            reason = e.line
        self._ui.dashboard.image_rights = reason

    # ------------------------------------------------------------------ actions

    def _show_matrix(self, context: Context) -> None:
        from vizdash.ui.screens.image_matrix import ImageMatrixScreen

        dashboard = self._ui.dashboard

        def get_state() -> ScreenState:
            return ScreenState(dashboard.context(), self._ui.now(), dashboard.registry)

        def perform(action_id: str, context: Context) -> None:
            if action_id == "logs":
                self._show_build_log(context.app)
            else:
                self.handlers[action_id](context)

        self._ui.show_screen(ImageMatrixScreen(get_state, perform))

    def _refuse(self) -> bool:
        """Show the change that runs; whether there is one."""
        from vizdash.ui.screens.change_progress import ChangeProgressScreen

        if self.change is not None and self.busy:
            self._ui.show_screen(ChangeProgressScreen(self.change))
        elif self._preparing:
            self._ui.inform("a rollback is being prepared")
        else:
            return False
        return True

    def _deploy(self, context: Context) -> None:
        from vizdash.ui.screens.deploy import DeployScreen

        if self._refuse():
            return
        admin = self._image_admin()

        def chosen(request: DeployRequest | None) -> None:
            if request is not None:
                self._begin_deploy(request, admin)

        async def plan(app: str, version: str, nodes: str) -> DeployPlan:
            return await admin.plan_deploy(app, version=version, nodeset=nodes)

        apps = [a.name for a in admin.service.apps.all]
        self._ui.show_screen(DeployScreen(plan, apps, app=context.app), chosen)

    def _begin_deploy(self, request: DeployRequest, admin: ImageAdmin) -> None:
        source = request.plan.source
        run = _new_run(f"Deploying {source.app} {source.version}", request.plan.nodes)

        async def work() -> ChangeProgress:
            return await admin.deploy(
                request.plan,
                canary=request.canary,
                smoke_test=request.smoke,
                confirmed=True,  # the form shows the warning
                on_change=_recorder(run),
            )

        self._begin(run, work)

    def _roll_back(self, context: Context) -> None:
        if not self._refuse():
            self._preparing = True
            preparing = self._prepare_rollback(context.app)
            self._ui.run_in_background(preparing, name="rollback", group="writes")

    async def _prepare_rollback(self, app: str) -> None:
        admin = self._image_admin()
        try:
            view = await admin.overview()
            plan = await admin.plan_rollback(app, view.matrix)
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        finally:
            self._preparing = False

        def answered(yes: bool | None) -> None:
            if yes:
                nodes = (*plan.versions, *plan.refused)
                run = _new_run(f"Rolling {app} back to {plan.version}", nodes)

                async def work() -> ChangeProgress:
                    latest = await admin.plan_rollback(app, (await admin.overview()).matrix)
                    if (latest.undone, latest.versions) != (plan.undone, plan.versions):
                        why = "another image was made current meanwhile"
                        raise Refused(f"{app} was not rolled back", why, "repeat it")
                    return await admin.rollback(plan, _recorder(run))

                self._begin(run, work)

        self._ui.show_screen(ConfirmScreen(rolling_back(plan, view.matrix)), answered)

    # ------------------------------------------------------------------ a running change

    def _begin(self, run: RunningChange, work: Callable[[], Awaitable[ChangeProgress]]) -> None:
        from vizdash.ui.screens.change_progress import ChangeProgressScreen

        if self.change is not None and self.busy:
            self._ui.report_error(f"{run.title}: not started, {self.change.title} is still running")
            return
        self.change = run
        worker = self._ui.run_in_background(
            self._carry_out(run, work), name="images", group="writes"
        )
        run.cancel = worker.cancel
        self._ui.show_screen(ChangeProgressScreen(run))

    async def _carry_out(
        self, run: RunningChange, work: Callable[[], Awaitable[ChangeProgress]]
    ) -> None:
        try:
            progress = await work()
            failed = progress.failed
            if failed:
                nodes = list_nodes(tuple(row.node for row in failed))
                self._ui.report_error(f"{run.title} failed on {nodes}: {failed[0].note}")
            else:
                self._ui.inform(f"{run.title}: done on all nodes")
        except VizdashError as e:
            self._ui.report_error(e.line)
        except asyncio.CancelledError:
            self._ui.report_error(interrupted(run))
            raise
        finally:
            run.over = True
            self._ui.refresh_snapshot()


def _new_run(title: str, nodes: tuple[str, ...]) -> RunningChange:
    from vizdash.images.progress import ChangeProgress
    from vizdash.ui.screens.change_progress import RunningChange

    return RunningChange(title, ChangeProgress(nodes), cancel=lambda: None)


def _recorder(run: RunningChange) -> Callable[[NodeProgress], None]:
    def record(row: NodeProgress) -> None:
        run.progress.nodes[row.node] = row

    return record


def rolling_back(plan: RollbackPlan, matrix: Matrix) -> Question:
    """Name what a rollback would change, and the nodes where it would change nothing."""
    unreached = tuple(p for p in matrix.roots if p.failure)
    text: list[Line] = [
        line("Back to ", Span(f"{plan.app} {version}", "strong", bold=True), f" on {_where(nodes)}")
        for version, nodes in plan.groups
    ]
    if other := tuple(node for node in plan.staying if node):
        text.append(
            line(Span(f"Not on {list_nodes(other)}: {plan.undone} is not current", "muted"))
        )
    silent = {p.node for p in unreached}
    text += [
        line(Span(f"{node}: {escape_control(why)}", "warn"))
        for node, why in plan.refused.items()
        if node not in silent
    ]
    if unreached:
        why = escape_control(unreached[0].failure)
        silent_nodes = list_nodes(tuple(p.node for p in unreached))
        text.append(line(Span(f"{silent_nodes} did not answer: {why}", "warn")))
    keep = line(Span("Running sessions keep their image.", "muted"))
    return Question("Roll back?", (*text, (), keep), "Roll back", "Leave it")


def _where(nodes: tuple[str, ...]) -> str:
    return list_nodes(nodes) if any(nodes) else "the shared image root"


def interrupted(run: RunningChange) -> str:
    """What a cancelled change has done, what it has not, and how to finish it."""
    from vizdash.images.progress import Phase

    rows = run.progress.nodes.values()
    done = tuple(row.node for row in rows if row.phase is Phase.DONE)
    rest = tuple(row.node for row in rows if row.phase is not Phase.DONE)
    text = f"{run.title}: interrupted, done on {list_nodes(done) if done else 'no node'}"
    return f"{text}, not on {list_nodes(rest)} (repeat it to continue)" if rest else text
