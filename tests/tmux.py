"""tmux(1) with a private server, without the tester's settings, sockets and sessions."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Variables of the tester's environment that would affect the server and its programs.
_NOT_OURS = ("TMUX", "TMUX_PANE", "TMUX_TMPDIR", "LC_ALL", "LANG")


class Tmux:
    """A tmux server, started by its first command. ``folder`` is for the test's files."""

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(prefix="vizdash-tmux-")
        self.folder = Path(self._place.name)
        self._argv = ["tmux", "-u", "-S", f"{self.folder}/s", "-f", "/dev/null"]
        self._env = {key: text for key, text in os.environ.items() if key not in _NOT_OURS}
        self._env["LC_ALL"] = "C.UTF-8"

    def __call__(self, *words: str) -> str:
        """Run a tmux command; its stdout. Raises AssertionError with all of tmux's output."""
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
            timeout=180,
        )

    @contextlib.contextmanager
    def attach(self, width: int, height: int) -> Iterator[subprocess.Popen[bytes]]:
        """Attach a client of this size, in control mode (it needs no terminal), and detach it."""
        with subprocess.Popen(
            [*self._argv, "-C", "attach-session", "-f", "no-output"],
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            # A command that comes before the client has its session is lost.
            while line := client.stdout.readline():
                if line.startswith(b"%session-changed"):
                    break
            client.stdin.write(f"refresh-client -C {width}x{height}\n".encode())
            client.stdin.flush()
            yield client
            client.stdin.close()  # detaches it
            client.wait(timeout=180)

    def close(self) -> None:
        """End the server and every program in it."""
        self._run("kill-server")
        self._place.cleanup()
