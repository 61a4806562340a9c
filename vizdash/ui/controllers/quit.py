"""Quitting, and switching to another cluster: first confirming what either would interrupt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from vizdash.service.service import Service
from vizdash.ui.controllers.desktops import OpenDesktops
from vizdash.ui.controllers.interface import Handlers, Ui
from vizdash.ui.screens.confirm import (
    ConfirmScreen,
    PendingWork,
    Question,
    quit_question,
    switch_cluster_question,
)

if TYPE_CHECKING:
    from vizdash.ui.screens.quit import QuitAnswer


class QuitController:
    """Handles what ends the dashboard; ``pending_work`` gives what would be interrupted."""

    def __init__(
        self,
        ui: Ui,
        service: Service,
        desktops: OpenDesktops,
        pending_work: Callable[[], PendingWork],
    ) -> None:
        self._ui = ui
        self._service = service
        self._desktops = desktops
        self._pending_work = pending_work

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {
            "clusters": lambda context: self._choose_cluster(),
            "quit": lambda context: self.quit(),
        }

    def quit(self) -> None:
        """Quit, after a confirmation where work would be interrupted or tunnels are open."""
        if self._pending_work():
            self._confirm_quit()
        elif self._desktops.tunnel_count:
            self._ask_about_tunnels()
        else:
            self._ui.exit()

    def _confirm_quit(self) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self._ui.exit()

        if not isinstance(self._ui.screen_stack[-1], ConfirmScreen):

            def question() -> Question:
                return quit_question(self._desktops.tunnel_count, self._pending_work())

            self._ui.show_screen(ConfirmScreen(question(), question), answered)

    def _ask_about_tunnels(self) -> None:
        """Ask whether to close the tunnels or to keep them in the background."""
        from vizdash.ui.screens.quit import QuitScreen

        def answered(answer: QuitAnswer | None) -> None:
            if answer == "hold":
                self._ui.exit("hold")
            elif answer == "close":
                self._ui.exit()

        if not isinstance(self._ui.screen_stack[-1], QuitScreen):
            may_hold = sys.platform != "darwin"  # a fork loses its kqueue
            screen = QuitScreen(self._desktops.tunnel_count, may_hold=may_hold)
            self._ui.show_screen(screen, answered)

    def _choose_cluster(self) -> None:
        from vizdash.ui.screens.clusters import ClustersScreen

        def chosen(name: str | None) -> None:
            if not name or name == current:
                return
            if name in self._service.config.clusters:
                self._switch_to(name)
            else:
                self._ui.report_error(f"the config has no cluster {name} any more")

        config = self._service.config
        current = config.cluster.name
        clusters = {**config.clusters, current: config.cluster}
        self._ui.show_screen(ClustersScreen(clusters.values(), current), chosen)

    def _switch_to(self, cluster: str) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self._ui.exit(f"cluster:{cluster}")

        def question() -> Question:
            return switch_cluster_question(cluster, self._pending_work())

        if self._pending_work():
            self._ui.show_screen(ConfirmScreen(question(), question), answered)
        else:
            answered(True)
