"""The difference of a node's clock, which munge and so Slurm's daemons do not forgive."""

from __future__ import annotations

from vizdash.errors import VizdashError
from vizdash.service.doctor.checks import Case
from vizdash.transport.base import Command
from vizdash.util.units import format_duration

#: Seconds of tolerated difference, and of the difference that munge refuses (munge(7)).
_CLOCKS_S = 30
_MUNGE_S = 300


async def login_time(case: Case) -> int:
    """The clock of the host that Slurm's commands run on, in seconds since the epoch."""
    result = await case.service.images.shell.runner.run(Command(("date", "+%s")))
    return int(result.check("date").stdout)


def difference(there: int, before: int, after: int) -> int:
    """The least difference of a node's clock in seconds, negative if it is behind. ``there`` is its
    time, asked for between ``before`` and ``after`` by the login host's clock.
    """
    return max(0, there - after) or -max(0, before - there)


def clock_error(node: str, off: int) -> VizdashError | None:
    """The error for a clock that is ``off`` seconds off; None if that is tolerated."""
    if abs(off) <= _CLOCKS_S:
        return None
    words = f"{format_duration(abs(off))} {'ahead' if off > 0 else 'behind'}"
    why = f"munge refuses a difference of {format_duration(_MUNGE_S)}"
    fix = "synchronise both hosts by NTP (chronyd)"
    return VizdashError(f"the clock of {node} is {words}", why, fix)


async def clock_error_by_ssh(case: Case, node: str) -> VizdashError | None:
    """The error for the clock of a node that Slurm cannot use, asked by SSH. None if the clock is
    not the cause, or SSH does not reach the node.
    """
    shell = case.service.images.shell
    try:
        if shell.hosts:
            await shell.hosts.find(node)
        before = await login_time(case)
        command = Command(shell.argv(node, ("date", "+%s")), timeout_s=60)
        there = int((await shell.runner.run(command)).check("date").stdout)
        return clock_error(node, difference(there, before, await login_time(case)))
    except (VizdashError, ValueError):
        return None
