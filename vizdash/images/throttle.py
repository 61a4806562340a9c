"""Limits how many nodes are queried at once, and skips nodes that recently refused a login."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

#: Nodes queried at once, unless the configuration allows more (``deploy.at_once``).
_AT_ONCE = 16
#: File descriptors that a query of one node takes (three pipes and the process), and those that the
#: rest of vizdash has open.
_FILES_PER_NODE = 5
_OTHER_FILES = 96
#: Seconds for which nodes that refused a login are skipped.
REFUSED_S = 4 * 3600.0
#: Nodes that are queried first, and the ratio of refusals to answers above which the others are
#: assumed to refuse as well.
FIRST = 4
_REFUSALS_PER_ANSWER = 3


class Throttle:
    """Runs as many queries at once as there are file descriptors for (``ulimit -n``)."""

    def __init__(self, at_once: int = 0) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = (soft - _OTHER_FILES) // _FILES_PER_NODE if soft != resource.RLIM_INFINITY else 1024
        self.limit = max(1, min(max(_AT_ONCE, at_once), most))
        self._semaphore: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a free slot, and hold it."""
        loop = asyncio.get_running_loop()
        if self._semaphore is None or self._loop is not loop:
            self._semaphore, self._loop = asyncio.Semaphore(self.limit), loop
        async with self._semaphore:
            yield


class LoginRefusals:
    """Nodes whose sshd refused this user's login.

    Each attempt counts against the login host (PerSourcePenalties in sshd_config(5) can block it),
    so they are not tried again for hours; the inventory has to do meanwhile.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nodes: dict[str, tuple[str, float]] = {}
        self._all = ("", float("-inf"))

    def add(self, node: str, why: str) -> None:
        """Record that a node refused."""
        self._nodes[node] = (why, self._clock() + REFUSED_S)

    def add_all(self, node: str, why: str) -> None:
        """Record that so many nodes refused, this one last, that none is queried."""
        self._all = (
            f"not queried: {node} and others refuse the login: {why}",
            self._clock() + REFUSED_S,
        )

    def clear(self, node: str) -> None:
        """Record that a node answered."""
        self._nodes.pop(node, None)

    def clear_all(self) -> None:
        """Query all nodes again that never refused."""
        self._all = ("", float("-inf"))

    def reason_for(self, node: str) -> str:
        """Return why a node is skipped; empty when it is not."""
        for why, until in (self._nodes.get(node, ("", 0.0)), self._all):
            if why and self._clock() < until:
                return why
        return ""


class LoginCount:
    """Counts the answers and refusals of one survey."""

    def __init__(self, refusals: LoginRefusals) -> None:
        self._refusals = refusals
        self._answered = 0
        self._refused = 0
        self._last = ("", "")

    def answered(self, node: str) -> None:
        """Count an answer."""
        self._answered += 1
        self._refusals.clear(node)

    def refused(self, node: str, why: str) -> None:
        """Count a refusal."""
        self._refused += 1
        self._last = (node, why)
        self._refusals.add(node, why)

    @property
    def skip_reason(self) -> str:
        """Why the remaining nodes are skipped; empty while querying them may help."""
        if (
            self._refused < _REFUSALS_PER_ANSWER
            or self._refused <= _REFUSALS_PER_ANSWER * self._answered
        ):
            return ""
        node, why = self._last
        return f"not queried: {node} and others refuse the login: {why}"

    def remember(self) -> None:
        """Remember the result for the next survey."""
        if self.skip_reason:
            self._refusals.add_all(*self._last)
        elif self._answered:
            self._refusals.clear_all()
