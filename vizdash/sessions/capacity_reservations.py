"""Whether a user may request reservations by name (sbatch(1), "--reservation")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vizdash.config.readers import nearest
from vizdash.model import Reservation


@dataclass(frozen=True, slots=True)
class ReservationRefusal:
    """Why the request is refused, the fix, and whether a name is not that of a reservation."""

    why: str
    fix: str
    unknown_name: bool = False


def check_reservations(
    names: Sequence[str], known: Sequence[Reservation], user: str, now: float, *, complete: bool
) -> ReservationRefusal | None:
    """Check a request by ``user`` (empty: unknown) for reservations of these ``names``; None for
    one that is not known to be refused. ``complete`` is whether ``known`` are all that there are.
    """
    for name in names:
        named = [r for r in known if r.name == name]
        if named and all(_excludes(r, user) for r in named):
            why = f"reservation {name!r} is not for you: {named[0].describe(now)}"
            return ReservationRefusal(why, "leave out --reservation, or ask its owner")
        if not named and complete:
            others = tuple({r.name for r in known})
            fix = nearest(name, others) if others else "leave out --reservation"
            return ReservationRefusal(f"there is no reservation {name!r}", fix, unknown_name=True)
    return None


def _excludes(reservation: Reservation, user: str) -> bool:
    """Whether the reservation is for others. Which accounts and groups a user may use is left to
    the engine; root may use every reservation.
    """
    users = reservation.users
    if reservation.accounts or reservation.groups or user in {"", "root"}:
        return False
    allowed = [name for name in users if not name.startswith("-")]
    return f"-{user}" in users or (bool(allowed) and user not in allowed)
