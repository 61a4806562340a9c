"""The command that opens a shell in a session, for the clipboard."""

from __future__ import annotations

import shlex

from vizdash.model import Session
from vizdash.service.service import Service
from vizdash.ui.controllers.interface import Handlers, Ui, for_session


class SshController:
    """Handles copying the SSH command of a session."""

    def __init__(self, ui: Ui, service: Service) -> None:
        self._ui = ui
        self._service = service

    @property
    def handlers(self) -> Handlers:
        """The actions that it handles."""
        return {"ssh": for_session(self._copy)}

    def _copy(self, session: Session) -> None:
        config = self._service.config
        words = ["vizdash"]
        if len(config.clusters) > 1:
            words += ["--cluster", config.cluster.name]
        elif config.cluster.host:
            words += ["--host", config.cluster.host]
        command = shlex.join([*words, "ssh", session.id])
        self._ui.copy_to_clipboard(command)
        self._ui.inform(f"copied, if your terminal allows it: {command}")
