"""What the dashboard begins with: a cluster whose service is not ready yet, and its options."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vizdash.config import Config
from vizdash.model import Snapshot

if TYPE_CHECKING:
    from vizdash.service.builds import ImageBuilder
    from vizdash.service.image_admin import ImageAdmin
    from vizdash.service.service import Service
    from vizdash.ui.controllers.desktops import OpenDesktops


@dataclass(frozen=True)
class PendingService:
    """A cluster's configuration, what an earlier dashboard saw of it, and what makes its service
    and the desktops that are open there; ``connect`` raises VizdashError.
    """

    config: Config
    saved_snapshot: Snapshot | None
    connect: Callable[[], Awaitable[tuple[Service, OpenDesktops]]]


@dataclass(frozen=True)
class ControllerOptions:
    """What the controllers use besides their service.

    ``reload`` gives the config when it has changed, and is called every two seconds. ``read_only``
    disables all that changes something, whatever the config says. The others are for tests.
    """

    reload: Callable[[], Config | None] = lambda: None
    read_only: bool = False
    image_admin: Callable[[], ImageAdmin] | None = None
    image_builder: ImageBuilder | None = None
