"""Where ``b`` leads: a build that runs is shown, else the form asks what to build."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from vizdash.building import Building
from vizdash.errors import VizdashError
from vizdash.images.build import BuildRequest
from vizdash.ui.builds import Build, Builds
from vizdash.ui.screens.build import BuildForm, BuildLogScreen, BuildScreen

if TYPE_CHECKING:
    from vizdash.ui.app import VizdashApp


class BuildDesk:
    """The dashboard's builds and their screens."""

    def __init__(self, app: VizdashApp, building: Building) -> None:
        self._app = app
        self._building = building
        self.builds = Builds(building, self._ended)

    def want(self, chosen: str = "") -> None:
        """Show the build that runs, or ask for one (of the app ``chosen``)."""
        names = list(self._building.service.config.apps)
        if not names:
            self._app.trouble("there is no app to build: add one under apps: in the config")
            return
        running = self.builds.latest_running()
        if running is not None:
            self._show(running)
            return
        usual = self._building.cluster.build.where
        places = list(dict.fromkeys((usual, "here", "job")))
        form = BuildForm(names, places, self._begin, self._show, self.want_log, app=chosen)
        self._app.push_screen(form)

    async def _begin(self, request: BuildRequest) -> Build:
        return await self.builds.begin(request)

    def _show(self, build: Build) -> None:
        screen = BuildScreen(build, self.builds.cancel)
        if isinstance(self._app.screen, BuildForm):
            self._app.switch_screen(screen)
        else:
            self._app.push_screen(screen)

    def want_log(self, app: str) -> None:
        """The log of the app's last build, or why there's none."""
        self._app.run_worker(self._log(app), name="build-log", group="reads")

    async def _log(self, app: str) -> None:
        try:
            run = await asyncio.to_thread(self._building.latest, app)
            run, text, _ = await asyncio.to_thread(self._building.log_from, run, 0)
        except VizdashError as e:
            self._app.trouble(e.line)
            return
        outcome = f"{run.outcome}: {run.why}" if run.why else run.outcome
        self._app.push_screen(BuildLogScreen(f"{run.app} {run.version}", outcome, text))

    def _ended(self, build: Build) -> None:
        """Told where the build itself is not on the screen."""
        screen = self._app.screen
        if isinstance(screen, BuildScreen) and screen.build is build:
            return
        what = f"{build.plan.app} {build.plan.version}"
        if build.built is not None:
            self._app.news(f"{what} is built (vizdash deploy {build.plan.app} brings it out)")
        elif build.error is not None:
            self._app.trouble(f"{build.error.line} (press b, then ctrl+l for its log)")

    async def close(self) -> None:
        """End what runs."""
        await self.builds.close()
