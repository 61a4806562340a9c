"""Reservations: nodes, or some of their cores, held for users or for maintenance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vizdash.util.units import format_clock, format_duration

#: Seconds before a reservation's start by which a job has to end: it has to be submitted and
#: started first.
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
        """Whether it is for maintenance, so that no jobs are meant to run."""
        return "MAINT" in self.flags

    @property
    def attracts(self) -> bool:
        """Whether jobs that do not name it may also run in it (MAGNETIC)."""
        return "MAGNETIC" in self.flags

    def blocks(self, now: float, time_s: int) -> bool:
        """Whether a job of ``time_s`` seconds that starts ``now`` would overlap it. Slurm counts a
        job's time in whole minutes.
        """
        end = now + -(-time_s // 60) * 60 + _MARGIN_S
        return now < self.end_at and end > self.start_at

    def longest_s(self, now: float) -> int:
        """The longest job that can start ``now`` and end before it, in seconds (whole minutes)."""
        return max(0, int(self.start_at - now - _MARGIN_S) // 60 * 60)

    def cores_on(self, node: str) -> int | None:
        """The cores of a node that it holds; None for the whole node."""
        return dict(self.cores).get(node)

    @property
    def owners(self) -> str:
        """Who may use it: ``bob, carla``, ``account science``; empty where Slurm reports none."""
        for names, one, several in (
            (self.users, "", ""),
            (self.accounts, "account ", "accounts "),
            (self.groups, "group ", "groups "),
        ):
            allowed = [name for name in names if not name.startswith("-")]
            if allowed:
                more = f" and {len(allowed) - 3} more" if len(allowed) > 3 else ""
                return (several if len(allowed) > 1 else one) + ", ".join(allowed[:3]) + more
        return ""

    def describe(self, now: float) -> str:
        """``maintenance from 16:26 to 18:26``, ``reserved for bob until 17:46``."""
        end = format_clock(self.end_at, now)
        kind = "maintenance" if self.maintenance else f"reserved for {self.owners or self.name}"
        if self.start_at <= now:
            return f"{kind} until {end}"
        if format_clock(self.end_at, self.start_at) == end[-5:]:
            end = end[-5:]  # the same day as the start
        return f"{kind} from {format_clock(self.start_at, now)} to {end}"

    def describe_with_time_left(self, now: float) -> str:
        """``describe``, and the longest job that can start before it."""
        longest = self.longest_s(now)
        if self.start_at <= now or not longest:
            return self.describe(now)
        return f"{self.describe(now)}; up to {format_duration(longest)} starts now"


def reservations_of_node(
    reservations: Iterable[Reservation], node: str, now: float
) -> tuple[Reservation, ...]:
    """The reservations of a node that have not ended, the next one first."""
    coming = [r for r in reservations if node in r.nodes and now < r.end_at]
    return tuple(sorted(coming, key=lambda r: (r.start_at, r.name)))
