"""The connection to the cluster: its state, logging in, and refreshing the data."""

from __future__ import annotations

from vizdash.errors import VizdashError
from vizdash.model.connection_status import ConnectionState, ConnectionStatus
from vizdash.service.service import Service
from vizdash.ui.controllers.interface import Handlers, Ui
from vizdash.util.units import format_duration


class ConnectionController:
    """Shows the state of the connection, second by second, and has it made again.

    A cluster that this machine belongs to has no connection to lose.
    """

    def __init__(self, ui: Ui, service: Service) -> None:
        self._ui = ui
        self._service = service
        self._remote = service.remote
        #: When the connection was lost, in seconds since the epoch, and why.
        self._lost: tuple[float, str] | None = None
        self._silent = False
        if self._remote is not None:
            self._remote.watch(self._link_changed)

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {"refresh": lambda context: self._refresh()}

    @property
    def down(self) -> bool:
        """Whether there is no connection, which explains every failure of a command."""
        return self._remote is not None and self._remote.status.down

    @property
    def _needs_login(self) -> bool:
        """Whether the user has to say when to try again."""
        states = {ConnectionState.ASKS, ConnectionState.REFUSED}
        return self._remote is not None and self._remote.status.state in states

    def tick(self) -> None:
        """Update the countdown to the next attempt; called every second."""
        if self._remote is not None and self.down:
            self._show_link(self._remote.status)

    def show_failure(self, line: str) -> None:
        """Show why there is no new data; the last snapshot stays."""
        self._ui.state.fail(line)
        self._ui.redraw()

    def take_failure(self, line: str) -> None:
        """Show why the cluster gave no snapshot; a lost connection is shown instead."""
        if not self.down:
            self.show_failure(line)

    async def query_rights(self) -> None:
        """Query what Slurm lets the user do beyond their own sessions."""
        try:
            info = await self._service.info()
        except VizdashError:  # the next snapshot fails with the same reason
            return
        self._ui.dashboard.admin = info.admin
        self._ui.dashboard.node_admin = info.node_admin

    def _refresh(self) -> None:
        if self._needs_login:
            self._ui.run_in_background(self._log_in(), name="login", group="login")
        self._ui.refresh_snapshot()

    async def _log_in(self) -> None:
        if self._remote is None:
            return
        try:
            await self._remote.log_in()
        except VizdashError as e:
            self._ui.report_error(e.line)

    def _link_changed(self, status: ConnectionStatus) -> None:
        if status.state is ConnectionState.SILENT:
            self._silent = True
            self._show_link(status)
        elif self._silent and status.state is ConnectionState.UP:
            self._silent = False
            self.resume(f"{status.host} answers again")
        elif status.down:
            self._silent = False
            self._lost = self._lost or (self._ui.time(), status.cause)
            self._show_link(status)
        elif status.state is ConnectionState.UP and self._lost:
            (lost_at, cause), self._lost = self._lost, None
            seconds = max(0.0, self._ui.time() - lost_at)
            words = f"{seconds:.1f} s" if seconds < 10 else format_duration(int(seconds))
            why = f" ({cause})" if cause else ""
            self.resume(f"the connection to {status.host} is back after {words}{why}")

    def _show_link(self, status: ConnectionStatus) -> None:
        words = status.describe(self._ui.time())
        self.show_failure(f"{words} — press R to log in" if self._needs_login else words)

    def resume(self, words: str) -> None:
        """Report that the connection is back, refresh the data, and resume previews."""
        from vizdash.ui.screens.session_details import SessionDetailsScreen

        self._ui.inform(words)
        self._ui.refresh_snapshot()
        details = [
            screen for screen in self._ui.screen_stack if isinstance(screen, SessionDetailsScreen)
        ]
        for screen in details:
            screen.call_later(screen.resume_preview)
        if not details:  # the dashboard resumes its own when the screen is closed
            self._ui.dashboard.resume_preview()
