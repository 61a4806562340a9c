"""Every private name of Textual that vizdash calls, replaces or overrides: in no other module.

Textual (8.2) has no public way for these. ``PRIVATE_NAMES`` lists them with the reason; a test
names the one that a newer Textual no longer has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from textual import events
from textual._compositor import ChopsUpdate
from textual._context import active_app
from textual._styles_cache import StylesCache
from textual.app import App
from textual.color import Color
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message
from textual.message_pump import MessagePump
from textual.notifications import Notifications
from textual.style import Style

__all__ = [
    "PRIVATE_NAMES",
    "ChopsUpdate",
    "PrivateName",
    "forget_removed_widgets",
    "has_pending_message",
    "survive_handler_errors",
    "terminal_driver",
    "use_notifications",
    "write_to_terminal",
]


@dataclass(frozen=True, slots=True)
class PrivateName:
    """An attribute that a class of Textual, or its instances, must have."""

    owner: type
    name: str
    reason: str


PRIVATE_NAMES = (
    PrivateName(MessagePump, "_dispatch_message", "a handler's exception must not end its pump"),
    PrivateName(MessagePump, "_pending_message", "a key waits for the message peeked at before it"),
    PrivateName(App, "_handle_exception", "a worker's exception must not end the app"),
    PrivateName(App, "_notifications", "only the latest notifications are kept"),
    PrivateName(App, "_refresh_notifications", "no notification may cover a dialog"),
    PrivateName(App, "_display", "an update writes only the cells that changed"),
    PrivateName(App, "_driver", "the bell and the title are written past the screen"),
    PrivateName(Notifications, "_reap", "notifications held back don't expire"),
    PrivateName(Notifications, "_notifications", "notifications held back start their time later"),
    PrivateName(StylesCache, "get_inner_outer", "its cache keeps all that removed widgets drew"),
    PrivateName(LinuxDriver, "_get_terminal_size", "a terminal may report no size"),
)


def has_pending_message(pump: MessagePump) -> bool:
    """Whether ``pump`` has a message that it peeked at and has not handled yet."""
    return pump._pending_message is not None  # noqa: SLF001


def use_notifications(app: App[Any], notifications: Notifications) -> None:
    """Replace the app's collection of notifications."""
    app._notifications = notifications  # noqa: SLF001


def held_notifications(notifications: Notifications) -> Iterable[Any]:
    """All notifications of a collection, without dropping the expired ones."""
    return notifications._notifications.values()  # noqa: SLF001


def terminal_driver(app: App[Any]) -> Driver | None:
    """The driver of the app's terminal; None while it has none."""
    return app._driver  # noqa: SLF001


def write_to_terminal(app: App[Any], sequence: str) -> None:
    """Write a control sequence past the screen; nothing happens while the app has no terminal."""
    driver = terminal_driver(app)
    if sequence and driver is not None:
        driver.write(sequence)


_dispatch_message = MessagePump._dispatch_message  # noqa: SLF001
#: An app that fails on one of these has no screen to show the error on.
_START_EVENTS = (events.Load, events.Compose, events.Mount)


async def _dispatch_safely(pump: MessagePump, message: Message) -> None:
    try:
        await _dispatch_message(pump, message)
    except Exception as error:
        app: Any = active_app.get(None)
        survive: Callable[[Exception], bool] | None = getattr(app, "survive", None)
        starting = isinstance(pump, App) and isinstance(message, _START_EVENTS)
        if starting or survive is None or not survive(error):
            raise


def survive_handler_errors() -> None:
    """Keep widgets and app running after an exception in a message handler.

    Textual ends the message loop whose handler raised, and the app: its own hook,
    ``App._handle_exception``, comes too late to keep either. An app with a method ``survive``,
    which reports the exception and returns whether that is enough, keeps both.
    """
    MessagePump._dispatch_message = _dispatch_safely  # type: ignore  # noqa: SLF001, PGH003


@lru_cache(1024)
def _inner_outer(base: Color, background: Color) -> tuple[Style, Style]:
    return Style(background=base + background), Style(background=base)


def _get_inner_outer(_: StylesCache, base: Color, background: Color) -> tuple[Style, Style]:
    return _inner_outer(base, background)


def forget_removed_widgets() -> None:
    """Free what widgets have drawn once they are removed.

    Textual caches this method per widget, in a cache of 1024 entries that refer to all that each
    widget has drawn: some 50 MiB after two hundred dialogs.
    """
    StylesCache.get_inner_outer = _get_inner_outer  # type: ignore  # noqa: PGH003
