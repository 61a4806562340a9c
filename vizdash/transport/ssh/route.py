"""The hosts on the way to one (ssh_config(5), ProxyJump)."""

from __future__ import annotations

from vizdash.errors import Refused
from vizdash.transport.ssh.settings import HostSettings, Target, read_settings

#: Hosts on the way to one: a ProxyJump may lead in a circle.
_MAX_JUMPS = 16


async def read_route(target: Target) -> tuple[HostSettings, ...]:
    """The settings of a host and of the hosts on the way to it, from the last to the first.

    Raises Refused, for a circle too.
    """
    seen: list[Target] = []
    route: list[HostSettings] = []
    while True:
        check_circle(target, tuple(seen))
        seen.append(target)
        settings = await read_settings(target)
        route.append(settings)
        if not settings.jumps:
            return tuple(route)
        target = Target.last_of(settings.jumps)


def check_circle(target: Target, behind: tuple[Target, ...]) -> None:
    """Raise Refused if a host is on the way to itself. ``behind`` lie beyond it."""
    if target in behind or len(behind) > _MAX_JUMPS:
        names = " → ".join(one.host for one in (*behind, target))
        why = f"its jump hosts lead in a circle: {names}"
        raise Refused(behind[0].host, why, "check ProxyJump in ~/.ssh/config")
