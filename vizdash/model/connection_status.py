"""The connection to a cluster's login host: its status, and the prompts of a login."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class ConnectionState(StrEnum):
    """The state of a connection.

    SILENT: it is up, but probes get no answer. LOST: vizdash reconnects, now or at ``retry_at``.
    ASKS: a login needs a secret from the user. REFUSED: the user has to log in again.
    """

    IDLE = "idle"
    CONNECTING = "connecting"
    UP = "up"
    SILENT = "silent"
    LOST = "lost"
    ASKS = "asks"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection as the user sees it. ``retry_at`` is in seconds since the epoch; ``via`` is the
    SSH implementation and the reason for it.
    """

    host: str
    state: ConnectionState
    cause: str = ""
    retry_at: float | None = None
    via: str = ""

    @property
    def down(self) -> bool:
        """Whether it was lost or could not be made."""
        return self.state in {ConnectionState.LOST, ConnectionState.ASKS, ConnectionState.REFUSED}

    def describe(self, at: float) -> str:
        """One line on it at the time ``at`` (epoch seconds); empty while it is up or unused."""
        cause = f": {self.cause}" if self.cause else ""
        match self.state:
            case ConnectionState.CONNECTING:
                return f"connecting to {self.host} …"
            case ConnectionState.SILENT:
                return f"{self.host}{cause}"
            case ConnectionState.LOST if self.retry_at is not None:
                left = max(0, round(self.retry_at - at))
                return f"no connection to {self.host}{cause}, retrying in {left} s"
            case ConnectionState.LOST:
                return f"no connection to {self.host}{cause}, retrying …"
            case ConnectionState.ASKS:
                return f"no connection to {self.host}{cause}; you have to log in again"
            case ConnectionState.REFUSED:
                return f"no connection to {self.host}{cause}"
        return ""


@dataclass(frozen=True, slots=True)
class Field:
    """An input field. ``shown`` is whether the text is visible while it is typed."""

    label: str
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of a login. Without ``fields`` it is a question, with ``yes`` as the text of "yes".

    ``lines`` come from the remote host in part, and are shown with control characters escaped.
    """

    title: str
    lines: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    yes: str = field(default="")
    #: Reason and fix of the error where there is no terminal to ask on.
    alone: tuple[str, str] = ("", "")
