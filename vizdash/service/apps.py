"""The apps that can be started: their configuration, their runtimes, their images."""

from __future__ import annotations

from pathlib import Path

from vizdash.config import App, Config
from vizdash.config.readers import nearest
from vizdash.engines import Engine
from vizdash.errors import UnknownName, UsageError
from vizdash.model import RUNTIMES, SessionRequest
from vizdash.sessions.submit import image_path
from vizdash.transport.base import CommandRunner


class Apps:
    """The apps of ``config``, as ``engine`` runs them; ``runner`` finds programs where it does."""

    def __init__(self, config: Config, engine: Engine, runner: CommandRunner) -> None:
        self.config = config
        self._engine = engine
        self._runner = runner

    @property
    def all(self) -> tuple[App, ...]:
        """Every app, in the order of the configuration."""
        return tuple(self.config.apps.values())

    def find(self, name: str) -> App:
        """The app called ``name``. Raises UnknownName, suggesting the nearest name."""
        if name not in self.config.apps:
            hint = nearest(name, tuple(self.config.apps))
            raise UnknownName(f"app {name!r}", "not in the catalogue", hint)
        return self.config.apps[name]

    def runtime_and_image(self, request: SessionRequest) -> tuple[str, str]:
        """How ``request`` would run: its runtime (``apptainer`` or ``host``) and the path of its
        image, empty on the host.

        Raises UnknownName as ``find`` does, UsageError for an image that is neither a version nor
        an absolute path, or of an app that runs on the host.
        """
        app = self.find(request.app)
        image = image_path(app, self.config.cluster, request.image)
        runtime = self._runtime(app, image, chosen=request.image != "")
        if request.image and runtime == "host":
            why = f"{app.name} runs on the host, without an image"
            raise UsageError(f"--image {request.image}", why, "leave it out")
        return runtime, image if runtime == "apptainer" else ""

    def _runtime(self, app: App, image: str, *, chosen: bool) -> str:
        """The runtime of ``app`` from ``image``; ``chosen`` is whether the request names it."""
        if app.kind == "legacy":
            return "host"  # its script starts what it starts
        if app.runtime != "auto":
            return app.runtime
        if self._engine.name != "local":
            return "apptainer"
        here = any(map(self._runner.has, RUNTIMES)) and Path(image).exists()
        return "apptainer" if here or chosen else "host"
