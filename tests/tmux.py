"""tmux(1) with a server of a test's own: no settings, sockets or sessions of anybody else's."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

#: Of the tester's environment, what would reach the server or the programs in it.
_NOT_OURS = ("TMUX", "TMUX_PANE", "TMUX_TMPDIR", "LC_ALL", "LANG")


class Tmux:
    """A server, started by the first command that needs it. ``folder`` is for the test's files."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="vizdash-tmux-")
        self.folder = Path(self._place.name)
        self._argv = ["tmux", "-u", "-S", f"{self.folder}/s", "-f", "/dev/null"]
        self._env = {key: text for key, text in os.environ.items() if key not in _NOT_OURS}
        self._env["LC_ALL"] = "C.UTF-8"

    def __call__(self, *words: str) -> str:
        """Run a command of tmux's; its stdout. Raises AssertionError with all that tmux said."""
        done = self._run(*words)
        if done.returncode != 0:
            there = "answers" if self._run("list-sessions").returncode == 0 else "is gone"
            raise AssertionError(
                f"tmux {words} ended with {done.returncode}, its server {there}\n"
                f"stdout: {done.stdout}\nstderr: {done.stderr}"
            )
        return done.stdout

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._argv, *words],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def close(self) -> None:
        """End the server, if it still runs, and all in it."""
        self._run("kill-server")
        self._place.cleanup()
