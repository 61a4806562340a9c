"""The two seams to the outside: running a command, and reaching a socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vizdash.errors import CommandFailed

#: Characters of a followed command's output that are kept.
KEPT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """A command as argv. ``input`` goes to its stdin (and is left out of ``repr``).

    ``timeout_s`` is in seconds; a command that takes longer is ended.
    """

    argv: tuple[str, ...]
    input: str | None = None
    timeout_s: float = 30.0

    def __repr__(self) -> str:
        return f"Command({self.argv!r})"


@dataclass(frozen=True, slots=True)
class Result:
    """What a command said, decoded as UTF-8 with bad bytes kept as surrogate escapes."""

    code: int
    stdout: str
    stderr: str

    def check(self, argv0: str) -> Result:
        """Return self, or raise CommandFailed when the exit code isn't 0."""
        if self.code != 0:
            raise CommandFailed(argv0, self.code, self.stderr)
        return self


class CommandRunner(Protocol):
    """Runs commands where the engine's tools are: on this machine, or over SSH."""

    async def run(self, command: Command) -> Result:
        """Run to the end and return what it said, whatever its exit code.

        Raises Unreachable when it can't be started (no such program, no connection) and
        TimedOut when it took longer than its time.
        """
        ...

    def has(self, program: str) -> bool:
        """Whether ``program`` is to be found, as far as can be told without asking far."""
        ...


@runtime_checkable
class Follower(Protocol):
    """A CommandRunner that can tell a command's output while it runs."""

    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """Like CommandRunner.run, telling what comes on stdout and stderr as it comes, in pieces
        that may end anywhere. The result holds the end of each, up to KEPT characters.
        """
        ...


async def follow(
    runner: CommandRunner, command: Command, on_output: Callable[[str], None]
) -> Result:
    """Follower.follow where the runner can, else run and tell all at the end."""
    if isinstance(runner, Follower):
        return await runner.follow(command, on_output)
    result = await runner.run(command)
    on_output(result.stdout + result.stderr)
    return result


class Forward(Protocol):
    """A live way to a socket; close it to end it."""

    @property
    def path(self) -> str:
        """A Unix socket on this machine that leads to the far one."""
        ...

    async def wait_lost(self) -> str:
        """Return, with the cause, once the way is gone."""
        ...

    async def close(self) -> None:
        """End it and remove what it left."""
        ...


class PortForwarder(Protocol):
    """Makes a Unix socket of a node reachable on this machine."""

    async def open(self, node: str, socket: str) -> Forward:
        """Lead a local Unix socket to ``socket`` on ``node``.

        Raises Unreachable, with ssh's own words, when the node can't be reached.
        """
        ...


def join(argv: Sequence[str]) -> str:
    """The command line as a person would type it, for messages."""
    import shlex

    return shlex.join(argv)
