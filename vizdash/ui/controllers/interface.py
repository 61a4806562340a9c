"""What controllers and the app know of each other: the Ui protocol, and handlers by action."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from textual.screen import Screen
from textual.worker import Worker

from vizdash.actions import Context
from vizdash.model import Session
from vizdash.ui.dashboard_state import DashboardState
from vizdash.ui.screens.confirm import ConfirmScreen, Question
from vizdash.ui.screens.dashboard import Dashboard
from vizdash.ui.widgets.columns import Now

_Result = TypeVar("_Result")

#: Does an action to what the context names.
Handler = Callable[[Context], None]
#: Handlers by the id of their action.
Handlers = Mapping[str, Handler]


class Ui(Protocol):
    """The app as controllers see it."""

    @property
    def state(self) -> DashboardState:
        """The last snapshot, and what was done since."""
        ...

    @property
    def dashboard(self) -> Dashboard:
        """The screen below all others."""
        ...

    @property
    def screen_stack(self) -> Sequence[Screen[Any]]:
        """The screens, the one on top last."""
        ...

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    def now(self) -> Now:
        """The time, and the age of the data."""
        ...

    def redraw(self) -> None:
        """Draw the dashboard from the current state."""
        ...

    def refresh_snapshot(self) -> None:
        """Query the cluster now."""
        ...

    def show_screen(
        self,
        screen: Screen[_Result],
        on_result: Callable[[_Result | None], None] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Show a screen, in place of the one on top with ``replace``."""
        ...

    def inform(self, text: str) -> None:
        """Show one line of news."""
        ...

    def warn(self, text: str) -> None:
        """Show one line that asks for attention."""
        ...

    def report_error(self, text: str) -> None:
        """Show one line that names an error, its cause and its fix."""
        ...

    def clear_notifications(self) -> None:
        """Dismiss the lines that are shown."""
        ...

    def copy_to_clipboard(self, text: str) -> None:
        """Copy by OSC 52, where the terminal allows it."""
        ...

    def run_in_background(
        self, work: Awaitable[_Result], *, name: str, group: str, exclusive: bool = False
    ) -> Worker[_Result]:
        """Run work in an async worker; ``exclusive`` cancels the others of its group.

        Work that writes is never exclusive.
        """
        ...

    def exit(self, result: str | None = None) -> None:
        """End the dashboard with a result, see VizdashApp."""
        ...


def ask_for_text(
    ui: Ui, screen: Screen[str | None], on_text: Callable[[str], Awaitable[None]]
) -> None:
    """Ask for a line of text, and run ``on_text`` with it unless the user cancels."""

    async def run(text: str) -> None:
        await on_text(text)

    def answered(text: str | None) -> None:
        if text is not None:
            ui.run_in_background(run(text), name="asked", group="writes")

    ui.show_screen(screen, answered)


def confirm(ui: Ui, look: Callable[[], Question], on_yes: Callable[[], Awaitable[None]]) -> None:
    """Ask, and run ``on_yes`` after a yes; ``look`` gives the question about the current state."""

    async def run() -> None:
        await on_yes()

    def answered(yes: bool | None) -> None:
        if yes:
            ui.run_in_background(run(), name="confirmed", group="writes")

    ui.show_screen(ConfirmScreen(look(), look), answered)


def for_session(handle: Callable[[Session], None]) -> Handler:
    """A handler that acts on the context's session; it does nothing where there is none."""

    def handler(context: Context) -> None:
        if context.session is not None:
            handle(context.session)

    return handler


def merge_handlers(*tables: Handlers) -> dict[str, Handler]:
    """All handlers in one table. Raises ValueError for an action that is handled twice."""
    merged: dict[str, Handler] = {}
    for table in tables:
        if twice := merged.keys() & table.keys():
            raise ValueError(f"handled twice: {', '.join(sorted(twice))}")
        merged.update(table)
    return merged
