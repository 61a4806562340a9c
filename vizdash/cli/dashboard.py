"""The dashboard on this terminal: its first screen, one cluster after another, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vizdash.cli import garbage
from vizdash.cli.exit import (
    TerminalSettings,
    on_close_requests,
    on_signals,
    require_terminal,
    use_daemon_threads,
)
from vizdash.cli.options import Options
from vizdash.config import Config
from vizdash.config.load import ConfigWatch, config_files
from vizdash.service.user_data import UserData
from vizdash.ui.pending_service import ControllerOptions, PendingService

if TYPE_CHECKING:
    from vizdash.service.service import Service
    from vizdash.sessions.routes import Route
    from vizdash.ui.app import VizdashApp
    from vizdash.ui.controllers.desktops import OpenDesktops
    from vizdash.ui.screens.login_prompt import LoginPrompter

#: Seconds until a dashboard has shown something, and some more.
_FIRST_SCREEN_S = 3.0


def show_dashboard(options: Options) -> None:
    """Show the dashboard until the user quits. Raises UsageError without a terminal."""
    require_terminal()
    _follow_terminal_size()
    config, _ = options.load()
    garbage.pause()
    if asyncio.run(_screens(options, config)):
        sys.exit(1)


def _follow_terminal_size() -> None:
    """Forget COLUMNS and LINES, which a shell or readline(3) may have exported: Textual and Rich
    would keep that size whatever the terminal's is. A terminal without a size keeps them.
    """
    with contextlib.suppress(OSError):
        if all(os.get_terminal_size(sys.stdout.fileno())):
            for name in ("COLUMNS", "LINES"):
                os.environ.pop(name, None)


def _config(options: Options) -> Config:
    return options.load()[0]


class _Clusters:
    """The clusters that were shown: their services and open desktops, by name."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.desktops: dict[str, OpenDesktops] = {}
        self._app: VizdashApp | None = None
        self._prompter: LoginPrompter | None = None

    def show(self, app: VizdashApp) -> None:
        """Have logins ask in the dialogs of ``app``."""
        self._app = app
        if self._prompter is not None:
            self._prompter.app = app

    async def prepare(self, config: Config) -> PendingService:
        """The chosen cluster, to be connected once its first screen is drawn."""
        user_data = UserData(config)
        await user_data.load_snapshot()
        return PendingService(
            config, user_data.saved_snapshot, partial(self._connect, config, user_data)
        )

    async def _connect(self, config: Config, user_data: UserData) -> tuple[Service, OpenDesktops]:
        from vizdash.service.factory import connect
        from vizdash.ui.controllers.desktops import OpenDesktops
        from vizdash.ui.screens.login_prompt import LoginPrompter

        if self._prompter is None:
            self._prompter = LoginPrompter()
            self._prompter.app = self._app
        service = await connect(config, self._prompter, user_data=user_data)
        name = config.cluster.name
        self.services[name], self.desktops[name] = service, OpenDesktops(service)
        service.desktops.tunnels.holder = "dashboard"
        await user_data.load()
        return service, self.desktops[name]

    async def close(self) -> None:
        """Close the routes, then what they run over."""
        await asyncio.gather(*(d.close() for d in self.desktops.values()))
        await asyncio.gather(*(s.close() for s in self.services.values()))


async def _screens(options: Options, config: Config) -> bool:
    """Run a dashboard for each cluster that the user switches to. Tunnels and logins stay open.
    Returns whether the last dashboard crashed.
    """
    from vizdash.ui.app import VizdashApp

    use_daemon_threads()
    asyncio.get_running_loop().call_later(_FIRST_SCREEN_S, garbage.resume)
    clusters, name, terminal = _Clusters(), config.cluster.name, TerminalSettings()
    watch = ConfigWatch(partial(_config, options), config_files(options.config))
    controllers = ControllerOptions(reload=watch.changed)
    on_close_requests(clusters.services.values())
    try:
        while True:
            if (service := clusters.services.get(name)) is not None:
                app = VizdashApp(
                    service,
                    desktops=clusters.desktops[name],
                    options=controllers,
                    stay=service.use(config),  # changed meanwhile, maybe
                )
            else:
                chosen = replace(config, cluster=config.clusters[name])
                app = VizdashApp(await clusters.prepare(chosen), options=controllers)
            clusters.show(app)
            on_signals(app.exit, terminal.restore)
            end = await app.run_async()
            if app.failure is not None:
                raise app.failure
            if not end or not end.startswith("cluster:"):
                break
            config = clusters.services[name].config
            wanted = end.removeprefix("cluster:")
            name = wanted if wanted in config.clusters else name
        if end == "hold":
            routes = {clusters.services[n]: d.routes for n, d in clusters.desktops.items()}
            await _keep_tunnels(routes)
        return bool(app.return_code)  # Textual has printed the traceback
    finally:
        garbage.resume()
        await clusters.close()


async def _keep_tunnels(held: Mapping[Service, Mapping[str, Route]]) -> None:
    """Keep tunnels open in the background until their sessions end or a signal arrives."""
    from vizdash.cli.hold_tunnels import detach, hold
    from vizdash.sessions.logout import logout_warning
    from vizdash.transport.local import LocalRunner

    report = detach(held)
    task = asyncio.current_task()
    assert task is not None
    on_signals(task.cancel)
    for service in held:
        service.desktops.tunnels.take_over("background")
        service.shares.held.take_over()
    count = sum(route.kind != "direct" for routes in held.values() for route in routes.values())
    tunnels = "1 tunnel" if count == 1 else f"{count} tunnels"
    kept = f"process {os.getpid()} keeps {tunnels} open: vizdash tunnels shows and closes them"
    warning = await logout_warning(LocalRunner())
    report("\n".join(line for line in (kept, warning) if line))
    await asyncio.gather(*(hold(service, routes) for service, routes in held.items()))
