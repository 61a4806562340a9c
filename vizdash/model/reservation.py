"""Reservations: nodes, or some of their cores, kept for somebody or for maintenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vizdash.units import clock_words, duration_words

#: Seconds before a reservation's start at which a job that would end there is no longer promised:
#: it has to be submitted and started first.
_MARGIN_S = 5


@dataclass(frozen=True, slots=True)
class Reservation:
    """One reservation (scontrol(1), "RESERVATIONS"). Times are seconds since the epoch.

    ``cores`` names nodes of which it holds some cores only, with how many; of the other ``nodes``
    it holds everything. ``flags`` are Slurm's (``MAINT``, ``DAILY``, ...). ``users``, ``accounts``
    and ``groups`` may use it; a name that begins with ``-`` may not.
    """

    name: str
    start_at: int
    end_at: int
    nodes: tuple[str, ...] = ()
    cores: tuple[tuple[str, int], ...] = ()
    flags: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def maintenance(self) -> bool:
        """Whether nobody's jobs are meant to run then."""
        return "MAINT" in self.flags

    @property
    def attracts(self) -> bool:
        """Whether jobs that do not name it may run in it, too."""
        return "MAGNETIC" in self.flags

    def blocks(self, now: float, time_s: int) -> bool:
        """Whether a job of ``time_s`` seconds that starts ``now`` would run into it. Slurm counts
        a job's time in whole minutes.
        """
        end = now + -(-time_s // 60) * 60 + _MARGIN_S
        return now < self.end_at and end > self.start_at

    def longest_s(self, now: float) -> int:
        """The longest job that can start ``now`` and end before it, in seconds (whole minutes)."""
        return max(0, int(self.start_at - now - _MARGIN_S) // 60 * 60)

    def cores_on(self, node: str) -> int | None:
        """How many of a node's cores it holds; None for the whole node."""
        return dict(self.cores).get(node)

    @property
    def whom(self) -> str:
        """For whom it is: ``bob, carla``, ``account science``; empty when Slurm does not say."""
        for names, one, several in (
            (self.users, "", ""),
            (self.accounts, "account ", "accounts "),
            (self.groups, "group ", "groups "),
        ):
            wanted = [name for name in names if not name.startswith("-")]
            if wanted:
                more = f" and {len(wanted) - 3} more" if len(wanted) > 3 else ""
                return (several if len(wanted) > 1 else one) + ", ".join(wanted[:3]) + more
        return ""

    def words(self, now: float) -> str:
        """``maintenance from 16:26 to 18:26``, ``reserved for bob until 17:46``."""
        end = clock_words(self.end_at, now)
        kind = "maintenance" if self.maintenance else f"reserved for {self.whom or self.name}"
        if self.start_at <= now:
            return f"{kind} until {end}"
        if clock_words(self.end_at, self.start_at) == end[-5:]:
            end = end[-5:]  # the same day as the start
        return f"{kind} from {clock_words(self.start_at, now)} to {end}"

    def words_with_rest(self, now: float) -> str:
        """``words``, and how long a job may be that starts before it."""
        longest = self.longest_s(now)
        if self.start_at <= now or not longest:
            return self.words(now)
        return f"{self.words(now)}; up to {duration_words(longest)} starts now"


def on_node(reservations: Iterable[Reservation], node: str, now: float) -> tuple[Reservation, ...]:
    """Those of a node that have not ended, the next one first."""
    found = [r for r in reservations if node in r.nodes and now < r.end_at]
    return tuple(sorted(found, key=lambda r: (r.start_at, r.name)))
