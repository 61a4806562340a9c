"""An exception in a message handler ends neither the widget that it came from nor the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual import events
from textual._context import active_app
from textual.app import App
from textual.message import Message
from textual.message_pump import MessagePump

_dispatch = MessagePump._dispatch_message  # noqa: SLF001
#: An app that could not do these has no screen to show an error on.
_FIRST = (events.Load, events.Compose, events.Mount)


async def _dispatch_safely(pump: MessagePump, message: Message) -> None:
    try:
        await _dispatch(pump, message)
    except Exception as error:
        app: Any = active_app.get(None)
        survive: Callable[[Exception], bool] | None = getattr(app, "survive", None)
        first = isinstance(pump, App) and isinstance(message, _FIRST)
        if first or survive is None or not survive(error):
            raise


def install() -> None:
    """Textual (8.2) ends the message loop whose handler raised, and the app: its own hook,
    App._handle_exception, comes too late to keep either. An app with ``survive``, which reports an
    exception and returns whether it was enough, keeps both.
    """
    MessagePump._dispatch_message = _dispatch_safely  # type: ignore  # noqa: SLF001, PGH003
