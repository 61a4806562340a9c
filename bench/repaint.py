"""What the dashboard writes to a terminal of 80x24: while nothing happens but the time, while a
session starts, and when one row changes, against a whole screen.

The program draws through Textual's own driver onto a pseudo-terminal; the snapshots are those of
the tests (five sessions, three of them with a countdown). Bytes are counted, not timed: a link's
delay changes when they arrive, not how many there are, and at 300 bytes/s a line of 2,400 bit/s
would keep up.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from dataclasses import replace
from pathlib import Path

COLUMNS, LINES = 80, 24
#: Bytes per second that an idle dashboard may write.
BUDGET = 300
_ROOT = Path(__file__).resolve().parent.parent


class PtyProgram:
    """The program in a pseudo-terminal, with an empty home."""

    def __init__(self, *words: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="vizdash-bench-")
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            env = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
            env |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "HOME": self._home.name}
            os.chdir(_ROOT)
            os.execve(sys.executable, [sys.executable, "-m", "bench.repaint", *words], env)
        size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, size)

    def written(self, seconds: float) -> bytes:
        """What it writes in the next ``seconds``."""
        end, output = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            if select.select([self._fd], [], [], left)[0]:
                output += os.read(self._fd, 65536)
        return output

    def close(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)
        self._home.cleanup()


def run(seconds: int = 30) -> None:
    """Idle, one that starts, a whole screen, and a refresh in which one row changed."""
    screen = PtyProgram()
    try:
        screen.written(6)
        idle = len(screen.written(seconds)) / seconds
        os.kill(screen.pid, signal.SIGUSR2)  # every line drawn again
        whole = len(screen.written(2)) - 2 * idle
        rows = []
        for _ in range(5):
            os.kill(screen.pid, signal.SIGUSR1)  # a refresh with one changed row
            rows.append(len(screen.written(2)) - 2 * idle)
    finally:
        screen.close()
    screen = PtyProgram("starting")
    try:
        screen.written(6)
        starting = len(screen.written(seconds)) / seconds
    finally:
        screen.close()
    row = sorted(rows)[len(rows) // 2]
    print(f"  idle, countdowns and age moving       {idle:7.0f} bytes/s  {_verdict(idle)}")
    print(f"  one starts, polled every other second {starting:7.0f} bytes/s  {_verdict(starting)}")
    print(f"  a whole screen                        {whole:7.0f} bytes")
    print(f"  a refresh with one changed row        {row:7.0f} bytes    x {row / whole:5.2f}")


def _verdict(rate: float) -> str:
    return f"{'within' if rate < BUDGET else 'OVER'} {BUDGET}"


def _program(*, starting: bool) -> None:
    """The dashboard, with a clock that goes; signals stand for what the cluster does."""
    from tests.ui.fake import AT, app_on, busy
    from vizdash.model import Session, Snapshot

    began = time.monotonic()
    # Those on their way are asked for every other second.
    away = {"pending"} if starting else {"starting", "pending"}
    still = replace(busy(), sessions=tuple(s for s in busy().sessions if s.state not in away))
    app, service = app_on(still, clock=lambda: AT + time.monotonic() - began)
    turn = 0

    def later() -> Snapshot:
        now = AT + time.monotonic() - began

        def aged(session: Session) -> Session:
            left = session.time_left_s
            if session.state == "ended" and session.result == "failed" and turn:
                result = ("failed", "timed out", "cancelled")[turn % 3]
                return replace(session, result=result, error=f"the error number {turn}")
            return replace(session, time_left_s=None if left is None else left - int(now - AT))

        return replace(still, sessions=tuple(aged(s) for s in still.sessions), taken_at=now)

    async def snapshot(
        *, all_users: bool = True, images: bool = True, nodes_max_age_s: float = 0.0
    ) -> Snapshot:
        return later()

    def change(*_: object) -> None:
        nonlocal turn
        turn += 1
        service.now = later()
        app.refresh_snapshot()

    def paint() -> None:
        # What Textual does when the whole screen is laid out anew.
        app._display(app.screen, app.screen._compositor.render_full_update())  # noqa: SLF001

    if starting:
        service.snapshot = snapshot  # type: ignore[method-assign]
    signal.signal(signal.SIGUSR1, change)
    signal.signal(signal.SIGUSR2, lambda *_: app.call_later(paint))
    app.run()


if __name__ == "__main__":
    _program(starting="starting" in sys.argv)
