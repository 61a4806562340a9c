"""How long a login may let us wait, and what a person sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vizdash.errors import Refused
from vizdash.transport.base import Prompter
from vizdash.transport.ssh.client import Silence
from vizdash.transport.ssh.words import in_words

#: Seconds without a byte after which a host is given up before it begins to authenticate.
PATIENCE_S = 20.0
#: Seconds for the server to accept a login: its own LoginGraceTime (sshd_config(5)) is 120 s, and
#: a push on a phone has its time in it. A little more, so that the server's word comes first.
GRACE_S = 125.0
#: Seconds without a byte after which a person sees what is awaited.
SAY_AFTER_S = 2.0
#: Seconds between our probes where ServerAliveInterval is 0, and after how many without an answer
#: a connection is lost: by keys it comes back at once, but one for which a code was typed is held
#: for a minute.
KEEPALIVE_S = 2.0
PROBES, PROBES_TYPED = 2, 29


class Patience:
    """Watches one login. ``silence`` counts the seconds without a byte; ``quiet`` shows nothing."""

    def __init__(self, prompter: Prompter, *, quiet: bool) -> None:
        self.silence = Silence()
        self._prompter = prompter
        self._quiet = quiet
        #: A person sees what is awaited, and may give up on it.
        self._waiting: asyncio.Task[None] | None = None

    def watch(
        self,
        name: str,
        *,
        authenticating: bool,
        connect_timeout_s: int,
        take_text: Callable[[], list[str]],
    ) -> None:
        """Say what is awaited, or give up. To be called again and again.

        ``authenticating`` is whether the host now decides on the person, ``take_text`` gives what
        it has said and nobody has seen. Raises TimedOut, and Refused when the person gives up.
        """
        silent_s = self.silence.seconds()
        limit_s = GRACE_S if authenticating else connect_timeout_s or PATIENCE_S
        if silent_s > limit_s:
            raise in_words(TimeoutError(), name)
        if not authenticating:
            return
        if silent_s <= SAY_AFTER_S:
            self.stop()
        elif self._waiting is None and not self._quiet:
            awaited = f"Waiting for {name} to accept the login (is there a request on your phone?)"
            waiting = self._prompter.wait(f"Log in to {name}", (*take_text(), awaited))
            self._waiting = asyncio.ensure_future(waiting)
        elif self._waiting is not None and self._waiting.done():
            raise Refused(f"login to {name}", "it was cancelled")

    def stop(self) -> None:
        """Take what is awaited off the screen."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
