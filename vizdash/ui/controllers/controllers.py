"""All controllers of the dashboard, each made when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vizdash.model import Snapshot
from vizdash.service.service import Service
from vizdash.ui.controllers.desktops import OpenDesktops
from vizdash.ui.controllers.interface import Handler, Ui, merge_handlers
from vizdash.ui.pending_service import ControllerOptions

if TYPE_CHECKING:
    from vizdash.ui.controllers.builds import BuildsController
    from vizdash.ui.controllers.config import ConfigController
    from vizdash.ui.controllers.connection import ConnectionController
    from vizdash.ui.controllers.desktops import DesktopsController
    from vizdash.ui.controllers.images import ImagesController
    from vizdash.ui.controllers.information import InformationController
    from vizdash.ui.controllers.nodes import NodesController
    from vizdash.ui.controllers.quit import QuitController
    from vizdash.ui.controllers.sessions import SessionsController
    from vizdash.ui.controllers.shares import SharesController
    from vizdash.ui.screens.confirm import PendingWork


@dataclass(eq=False)
class Controllers:
    """The controllers of one service. ``ring`` rings the terminal's bell."""

    ui: Ui
    service: Service
    open_desktops: OpenDesktops
    options: ControllerOptions
    ring: Callable[[str], None]
    set_theme: Callable[[str], None]

    @cached_property
    def builds(self) -> BuildsController:
        """Building images."""
        from vizdash.ui.controllers.builds import BuildsController

        return BuildsController(self.ui, self.service, self.options.image_builder)

    @cached_property
    def images(self) -> ImagesController:
        """Deploying images."""
        from vizdash.ui.controllers.images import ImagesController

        return ImagesController(
            self.ui, self.service, self.options.image_admin, self.builds.show_log
        )

    @cached_property
    def sessions(self) -> SessionsController:
        """Starting and stopping sessions."""
        from vizdash.ui.controllers.sessions import SessionsController

        return SessionsController(
            self.ui, self.service, self.open_desktops, self.builds.show_log, self.ring
        )

    @cached_property
    def nodes(self) -> NodesController:
        """Draining and resuming nodes."""
        from vizdash.ui.controllers.nodes import NodesController

        return NodesController(self.ui, self.service)

    @cached_property
    def shares(self) -> SharesController:
        """Sharing desktops, and joining those of others."""
        from vizdash.ui.controllers.shares import SharesController

        return SharesController(self.ui, self.service)

    @cached_property
    def desktops(self) -> DesktopsController:
        """Opening desktops."""
        from vizdash.ui.controllers.desktops import DesktopsController

        return DesktopsController(self.ui, self.service, self.open_desktops)

    @cached_property
    def connection(self) -> ConnectionController:
        """The connection to the cluster."""
        from vizdash.ui.controllers.connection import ConnectionController

        return ConnectionController(self.ui, self.service)

    @cached_property
    def config(self) -> ConfigController:
        """Reloading the config."""
        from vizdash.ui.controllers.config import ConfigController

        return ConfigController(
            self.ui,
            self.service,
            reload=self.options.reload,
            set_theme=self.set_theme,
            on_change=self.use_config,
            force_read_only=self.options.read_only,
        )

    @cached_property
    def quit(self) -> QuitController:
        """Quitting, and switching to another cluster."""
        from vizdash.ui.controllers.quit import QuitController

        return QuitController(self.ui, self.service, self.open_desktops, self._pending_work)

    @cached_property
    def information(self) -> InformationController:
        """Help and the like."""
        from vizdash.ui.controllers.information import InformationController

        return InformationController(self.ui, self.service, self.open_desktops)

    @cached_property
    def handlers(self) -> dict[str, Handler]:
        """The controllers' handlers of actions."""
        from vizdash.ui.controllers.ssh import SshController

        return merge_handlers(
            self.sessions.handlers,
            self.nodes.handlers,
            self.images.handlers,
            self.builds.handlers,
            self.desktops.handlers,
            SshController(self.ui, self.service).handlers,
            self.shares.handlers,
            self.connection.handlers,
            self.config.handlers,
            self.quit.handlers,
            self.information.handlers,
        )

    def follow(self, snapshot: Snapshot) -> None:
        """Do what a new snapshot asks for: rights, and tunnels and shares of ended sessions."""
        self.images.check_rights(snapshot)
        self.desktops.watch_tunnels(snapshot)
        if "shares" in self.__dict__:  # without it, nothing has been shared here
            self.shares.prune(snapshot)

    def use_config(self) -> None:
        """Heed a changed config."""
        self.images.forget_rights()
        self.sessions.use_last_size()

    def _pending_work(self) -> PendingWork:
        from vizdash.ui.screens.confirm import PendingWork

        return PendingWork(self.images.busy, self.builds.running_names)
