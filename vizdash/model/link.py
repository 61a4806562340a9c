"""The connection to a cluster's login host, and what it may have to ask a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class LinkState(StrEnum):
    """Where a connection stands.

    ``silent`` is up, but probes get no answer.
    ``lost`` mends itself (an attempt is under way, or one comes at ``retry_at``), ``asks`` waits
    until a person is there to give a secret, ``refused`` until a person tries again.
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
class Link:
    """A connection as a person sees it. ``retry_at`` is in seconds since the epoch; ``via`` is
    which SSH makes it, and why.
    """

    host: str
    state: LinkState
    cause: str = ""
    retry_at: float | None = None
    via: str = ""

    @property
    def down(self) -> bool:
        """Whether something that was there, or was tried, is not there now."""
        return self.state in {LinkState.LOST, LinkState.ASKS, LinkState.REFUSED}

    def words(self, at: float) -> str:
        """One line at the moment ``at``; empty while there's nothing to tell."""
        cause = f": {self.cause}" if self.cause else ""
        match self.state:
            case LinkState.CONNECTING:
                return f"connecting to {self.host} …"
            case LinkState.SILENT:
                return f"{self.host}{cause}"
            case LinkState.LOST if self.retry_at is not None:
                left = max(0, round(self.retry_at - at))
                return f"no connection to {self.host}{cause}, trying again in {left} s"
            case LinkState.LOST:
                return f"no connection to {self.host}{cause}, trying again …"
            case LinkState.ASKS:
                return f"no connection to {self.host}{cause}, which asks you to log in again"
            case LinkState.REFUSED:
                return f"no connection to {self.host}{cause}"
        return ""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to type. ``shown`` is whether it may be seen while it's typed."""

    label: str
    shown: bool = False


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked. Without ``fields`` it is a question to be answered by ``yes`` or not.

    ``lines`` come from the other end in part: they are shown, with control characters escaped.
    """

    title: str
    lines: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    yes: str = field(default="")
    #: Why it is asked and what to do, for an error where there is nobody to ask.
    alone: tuple[str, str] = ("", "")
