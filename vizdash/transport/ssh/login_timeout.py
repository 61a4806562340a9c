"""Time limits of a login, and what the user sees while it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from vizdash.errors import Refused
from vizdash.transport.base import Prompter
from vizdash.transport.ssh.messages import login_error

#: Seconds without a byte after which a login fails that has not reached authentication.
SILENT_LIMIT_S = 20.0
#: Seconds for the server to accept a login, a push to a phone included. A little more than its own
#: LoginGraceTime of 120 s (sshd_config(5)), so that its message comes first.
GRACE_S = 125.0
#: Seconds without a byte after which the user sees what the login waits for.
SHOW_WAIT_AFTER_S = 2.0
#: Seconds between probes where ServerAliveInterval is 0, and the probes without an answer after
#: which a connection counts as lost. With keys, a new one is made at once; a connection for which a
#: code was typed gets a minute.
KEEPALIVE_S = 2.0
PROBES, PROBES_TYPED = 2, 29


class SilenceTimer:
    """Counts the seconds since the last byte from the host, except while the user types."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._typing = 0

    def seconds(self) -> float:
        """Seconds without a byte; 0 while the user types."""
        return 0.0 if self._typing else time.monotonic() - self._since

    def reset(self) -> None:
        """Start at 0: a byte has arrived, or a new step has begun."""
        self._since = time.monotonic()

    def __enter__(self) -> None:
        """Pause the timer: the user types, or vizdash works."""
        self._typing += 1

    def __exit__(self, *exc: object) -> None:
        self._typing -= 1
        self.reset()


class LoginTimeout:
    """The time limits of one login. ``silence`` is its timer; with ``quiet``, nothing is shown."""

    def __init__(self, prompter: Prompter, *, quiet: bool) -> None:
        self.silence = SilenceTimer()
        self._prompter = prompter
        self._quiet = quiet
        #: Shows what the login waits for; done when the user cancels it.
        self._waiting: asyncio.Task[None] | None = None

    def check(
        self,
        name: str,
        *,
        authenticating: bool,
        connect_timeout_s: int,
        take_text: Callable[[], list[str]],
    ) -> None:
        """Show what the login waits for, or fail. To be called several times a second.

        ``authenticating`` is whether the host is authenticating the user; ``take_text`` returns the
        host's text that was not shown yet. Raises TimedOut, and Refused when the user cancels.
        """
        silent_s = self.silence.seconds()
        limit_s = GRACE_S if authenticating else connect_timeout_s or SILENT_LIMIT_S
        if silent_s > limit_s:
            raise login_error(TimeoutError(), name)
        if not authenticating:
            return
        if silent_s <= SHOW_WAIT_AFTER_S:
            self.hide_wait()
        elif self._waiting is None and not self._quiet:
            awaited = f"Waiting for {name} to accept the login (is there a request on your phone?)"
            waiting = self._prompter.wait(f"Log in to {name}", (*take_text(), awaited))
            self._waiting = asyncio.ensure_future(waiting)
        elif self._waiting is not None and self._waiting.done():
            raise Refused(f"login to {name}", "it was cancelled")

    def hide_wait(self) -> None:
        """Remove what the login waits for from the screen."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
