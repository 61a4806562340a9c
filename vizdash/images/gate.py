"""How many nodes are asked at once, and which are not asked again for a while."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

#: Nodes asked at once, unless the configuration serves more (``deploy.at_once``).
_AT_ONCE = 16
#: File descriptors that asking one node takes: three pipes and the process; and those that
#: everything else of vizdash has open.
_EACH = 5
_OTHERS = 96
#: Seconds for which nodes that refuse a login are not asked.
REFUSED_S = 4 * 3600.0
#: Nodes that are asked before the others, and refusals for each answer from which on it is taken
#: for granted that the rest refuses, too.
FIRST = 4
_SHARE = 3


class Gate:
    """Lets as many through at once as there are file descriptors for (``ulimit -n``)."""

    def __init__(self, at_once: int = 0) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = (soft - _OTHERS) // _EACH if soft != resource.RLIM_INFINITY else 1024
        self.places = max(1, min(max(_AT_ONCE, at_once), most))
        self._semaphore: asyncio.Semaphore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        loop = asyncio.get_running_loop()
        if self._semaphore is None or self._loop is not loop:
            self._semaphore, self._loop = asyncio.Semaphore(self.places), loop
        async with self._semaphore:
            yield


class Refusals:
    """Nodes whose sshd let this person not in. Each attempt counts there (PerSourcePenalties in
    sshd_config(5) locks a whole login host out), so who has no rights does not try again for
    hours: what the inventory knows has to do.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._nodes: dict[str, tuple[str, float]] = {}
        self._all = ("", float("-inf"))

    def add(self, node: str, why: str) -> None:
        """A node refused."""
        self._nodes[node] = (why, self._clock() + REFUSED_S)

    def add_all(self, node: str, why: str) -> None:
        """So many refused, this one last, that the others need not be asked."""
        self._all = (f"not asked, since {node} and others refuse: {why}", self._clock() + REFUSED_S)

    def clear(self, node: str) -> None:
        """A node answered."""
        self._nodes.pop(node, None)

    def open_all(self) -> None:
        """A look came through: nodes that never refused are asked again."""
        self._all = ("", float("-inf"))

    def why(self, node: str) -> str:
        """Why a node is not asked; empty when it may be."""
        for why, until in (self._nodes.get(node, ("", 0.0)), self._all):
            if why and self._clock() < until:
                return why
        return ""


class Attempts:
    """One look at many nodes: counts who answers and who refuses."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._answered = 0
        self._refused = 0
        self._last = ("", "")

    def answered(self, node: str) -> None:
        """This one did."""
        self._answered += 1
        self._refusals.clear(node)

    def refused(self, node: str, why: str) -> None:
        """This one let nobody in."""
        self._refused += 1
        self._last = (node, why)
        self._refusals.add(node, why)

    @property
    def hopeless(self) -> str:
        """Why the rest is not asked; empty while that may be worth it."""
        if self._refused < _SHARE or self._refused <= _SHARE * self._answered:
            return ""
        node, why = self._last
        return f"not asked, since {node} and others refuse: {why}"

    def settle(self) -> None:
        """Remember it for the next look, if hardly any node let the person in."""
        if self.hopeless:
            self._refusals.add_all(*self._last)
        elif self._answered:
            self._refusals.open_all()
