"""Building images, and the logs of builds."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from vizdash.actions import Context
from vizdash.errors import VizdashError
from vizdash.service.service import Service
from vizdash.ui.controllers.interface import Handlers, Ui

if TYPE_CHECKING:
    from vizdash.service.builds import ImageBuilder
    from vizdash.ui.background_builds import BackgroundBuild, BackgroundBuilds


class BuildsController:
    """Handles building, and keeps the builds that run in the background.

    What builds is imported when it is first needed: an ImageBuilder of ``service``, unless another
    one is given.
    """

    def __init__(self, ui: Ui, service: Service, builder: ImageBuilder | None = None) -> None:
        self._ui = ui
        self._service = service
        self._given_builder = builder

    @cached_property
    def _builder(self) -> ImageBuilder:
        from vizdash.service.builds import ImageBuilder

        return self._given_builder or ImageBuilder(self._service)

    @cached_property
    def builds(self) -> BackgroundBuilds:
        """The builds of this dashboard."""
        from vizdash.ui.background_builds import BackgroundBuilds

        return BackgroundBuilds(self._builder, self._report_end)

    @property
    def running_names(self) -> tuple[str, ...]:
        """What is being built, as ``desktop 2.1``."""
        return self.builds.running_names if "builds" in self.__dict__ else ()

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {"build": self._show_form}

    def _show_form(self, context: Context) -> None:
        """Ask what to build; a build that runs is shown instead."""
        from vizdash.ui.screens.build import BuildForm

        names = list(self._builder.service.config.apps)
        if not names:
            self._ui.report_error("there is no app to build: add one under apps: in the config")
            return
        running = self.builds.latest_running()
        if running is not None:
            self._show(running)
            return
        usual = self._builder.cluster.build.where
        hosts = list(dict.fromkeys((usual, "here", "job")))
        app = context.session.app if context.session else context.app
        form = BuildForm(names, hosts, self.builds.begin, self._show, self.show_log, app=app)
        self._ui.show_screen(form)

    def _show(self, build: BackgroundBuild) -> None:
        from vizdash.ui.screens.build import BuildForm, BuildScreen

        on_form = isinstance(self._ui.screen_stack[-1], BuildForm)
        self._ui.show_screen(BuildScreen(build, self.builds.cancel), replace=on_form)

    def show_log(self, app: str) -> None:
        """Show the log of the app's last build, or why there is none."""
        self._ui.run_in_background(self._read_log(app), name="build-log", group="reads")

    async def _read_log(self, app: str) -> None:
        from vizdash.ui.screens.build import BuildLogScreen

        try:
            run = await asyncio.to_thread(self._builder.latest_run, app)
            run, text, _ = await asyncio.to_thread(self._builder.read_log, run, 0)
        except VizdashError as e:
            self._ui.report_error(e.line)
            return
        outcome = f"{run.outcome}: {run.why}" if run.why else run.outcome
        self._ui.show_screen(BuildLogScreen(f"{run.app} {run.version}", outcome, text))

    def _report_end(self, build: BackgroundBuild) -> None:
        """Report the outcome, unless the build's own screen shows it."""
        from vizdash.ui.screens.build import BuildScreen

        screen = self._ui.screen_stack[-1] if self._ui.screen_stack else None
        if isinstance(screen, BuildScreen) and screen.build is build:
            return
        what = f"{build.plan.app} {build.plan.version}"
        if build.built is not None:
            self._ui.inform(f"{what} is built (deploy it: vizdash deploy {build.plan.app})")
        elif build.error is not None:
            self._ui.report_error(f"{build.error.line} (press b, then ctrl+l for its log)")

    async def close(self) -> None:
        """Cancel the builds that run."""
        if "builds" in self.__dict__:
            await self.builds.close()
