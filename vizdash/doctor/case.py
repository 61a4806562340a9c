"""What the checks of one examination share: who asks for what, and what is known by now."""

from __future__ import annotations

from dataclasses import dataclass, field

from vizdash.config import App
from vizdash.errors import Unknown
from vizdash.model import Node, Partition, SessionRequest
from vizdash.service import Service


@dataclass(slots=True)
class Case:
    """``request`` is what would be started; ``node`` the node that was asked for or chosen;
    ``config_path`` the configuration that was named, if any; ``jobs`` whether a short job may be
    run. ``facts`` is what doctor.sh said of the node, by name; ``folder`` the session folder that
    it was shown; ``unknown`` the error for a node of a name that nothing has.
    """

    service: Service
    request: SessionRequest
    node: str = ""
    config_path: str = ""
    jobs: bool = True
    nodes: tuple[Node, ...] = ()
    partition: Partition | None = None
    facts: dict[str, str] = field(default_factory=dict)
    session_id: str = ""
    folder: str = ""
    unknown: Unknown | None = None

    @property
    def app(self) -> App:
        """The app that would be started."""
        return self.service.app(self.request.app)

    @property
    def remote(self) -> str:
        """The login host's name where it is reached by SSH; empty on the cluster itself."""
        return self.service.remote.link.host if self.service.remote is not None else ""
