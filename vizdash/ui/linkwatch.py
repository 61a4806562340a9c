"""Tells how the connection to the cluster stands, second by second, and has it made again."""

from __future__ import annotations

from collections.abc import Callable

from vizdash.errors import VizdashError
from vizdash.model.link import Link, LinkState
from vizdash.service import Service
from vizdash.units import duration_words


class LinkWatch:
    """``fail`` takes the line to show while there's no connection, ``back`` is told once there is
    one again: for how long it was away, and why. A cluster that this machine is a part of has
    none to watch.
    """

    def __init__(
        self,
        service: Service,
        clock: Callable[[], float],
        *,
        fail: Callable[[str], None],
        back: Callable[[str], None],
    ) -> None:
        self._remote = service.remote
        self._clock = clock
        self._fail = fail
        self._back = back
        #: When it was lost, in seconds since the epoch, and why.
        self._lost: tuple[float, str] | None = None
        self._silent = False
        if self._remote is not None:
            self._remote.watch(self._changed)

    @property
    def down(self) -> bool:
        """Whether there's no connection, so that failures of the cluster's are no news."""
        return self._remote is not None and self._remote.link.down

    @property
    def asks(self) -> bool:
        """Whether a person has to say when to try again."""
        states = {LinkState.ASKS, LinkState.REFUSED}
        return self._remote is not None and self._remote.link.state in states

    def tick(self) -> None:
        """A second went by: the countdown moves."""
        if self._remote is not None and self.down:
            self._tell(self._remote.link)

    async def log_in(self) -> str:
        """Try now, asking the person; returns what went wrong, or nothing."""
        if self._remote is None:
            return ""
        try:
            await self._remote.log_in()
        except VizdashError as e:
            return e.line
        return ""

    def _changed(self, link: Link) -> None:
        if link.state is LinkState.SILENT:
            self._silent = True
            self._tell(link)
        elif self._silent and link.state is LinkState.UP:
            self._silent = False
            self._back(f"{link.host} answers again")
        elif link.down:
            self._silent = False
            self._lost = self._lost or (self._clock(), link.cause)
            self._tell(link)
        elif link.state is LinkState.UP and self._lost:
            (at, cause), self._lost = self._lost, None
            away = max(0.0, self._clock() - at)
            words = f"{away:.1f} s" if away < 10 else duration_words(int(away))
            why = f" ({cause})" if cause else ""
            self._back(f"the connection to {link.host} is back after {words}{why}")

    def _tell(self, link: Link) -> None:
        words = link.words(self._clock())
        self._fail(f"{words} — press R to log in" if self.asks else words)
