"""The apps that can be started, and what each runs from."""

from __future__ import annotations

from pathlib import Path

from vizdash.config import App, Config
from vizdash.config.fields import nearest
from vizdash.engines import Engine
from vizdash.errors import Unknown
from vizdash.model import RUNTIMES, SessionRequest
from vizdash.sessions import submit
from vizdash.transport.base import CommandRunner


class Catalogue:
    """The configuration's apps, as the engine runs them."""

    config: Config
    engine: Engine
    _runner: CommandRunner

    def apps(self) -> tuple[App, ...]:
        """The catalogue."""
        return tuple(self.config.apps.values())

    def app(self, name: str) -> App:
        """One entry. Raises Unknown naming the nearest."""
        if name not in self.config.apps:
            hint = nearest(name, tuple(self.config.apps))
            raise Unknown(f"app {name!r}", "not in the catalogue", hint)
        return self.config.apps[name]

    def image_of(self, request: SessionRequest) -> tuple[str, str]:
        """How ``request`` would run: its runtime (``apptainer`` or ``host``), and its image's path,
        empty where it has none.
        """
        app = self.app(request.app)
        runtime = self._runtime(app, request)
        image = submit.image_path(app, self.config.cluster, request.image)
        return runtime, image if runtime == "apptainer" else ""

    def _runtime(self, app: App, request: SessionRequest) -> str:
        if app.kind == "legacy":
            return "host"  # its script starts what it starts
        if app.runtime != "auto":
            return app.runtime
        if self.engine.name != "local":
            return "apptainer"
        image = Path(submit.image_path(app, self.config.cluster, request.image))
        here = any(map(self._runner.has, RUNTIMES)) and image.exists()
        return "apptainer" if here or request.image else "host"
