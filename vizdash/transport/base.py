"""The two seams to the outside: running a command, and reaching a socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vizdash.errors import CommandFailed
from vizdash.model.link import Link, Prompt

#: Characters of a followed command's output that are kept.
KEPT = 64 * 1024
#: Seconds that a command may go on retrying (see Command.retries).
RETRY_S = 3.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command as argv. ``input`` goes to its stdin (and is left out of ``repr``).

    ``timeout_s`` is in seconds; a command that takes longer is ended. One that prints any of
    ``retries`` on stderr is retrying something that is unlikely to work: it is ended
    ``RETRY_S`` seconds later.
    """

    argv: tuple[str, ...]
    input: str | None = None
    timeout_s: float = 30.0
    retries: tuple[str, ...] = ()

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


class Reader(Protocol):
    """The reading end of a byte stream."""

    async def read(self, n: int = -1, /) -> bytes:
        """At most ``n`` bytes, as soon as there are any; none at the end. Raises OSError."""
        ...


class Writer(Protocol):
    """The writing end of a byte stream."""

    def write(self, data: bytes, /) -> None:
        """Take ``data``."""
        ...

    async def drain(self) -> None:
        """Wait until there's room for more. Raises OSError."""
        ...

    def can_write_eof(self) -> bool:
        """Whether the end can be told alone."""
        ...

    def write_eof(self) -> None:
        """Tell the end; reading goes on."""
        ...

    def close(self) -> None:
        """End both directions."""
        ...


class Pipe(Protocol):
    """A running command whose input and output are byte streams."""

    @property
    def reader(self) -> Reader:
        """Its standard output."""
        ...

    @property
    def writer(self) -> Writer:
        """Its standard input."""
        ...

    async def wait(self) -> str:
        """Return, with its last word on stderr, once it has ended."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


@runtime_checkable
class PipeRunner(CommandRunner, Protocol):
    """A CommandRunner that can leave a command running."""

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        """Start it. Raises Unreachable when it can't be started."""
        ...


class Prompter(Protocol):
    """Asks a person."""

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """What was typed into each field (nothing, for a question); None: no, or never mind.

        There's no time limit. Raises Unreachable where there's nobody to ask.
        """
        ...

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        """Show text of the login that needs no answer. ``lines`` come from the other end.

        Nothing happens where there is nobody to show it to.
        """
        ...

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        """Show what is awaited, until this is cancelled; returns when the person gives up.

        ``lines`` come from the other end in part.
        """
        ...


class Forward(Protocol):
    """A live way to a socket; close it to end it."""

    async def dial(self) -> tuple[Reader, Writer]:
        """A new connection to the far socket. Raises OSError or Unreachable."""
        ...

    async def wait_lost(self) -> str:
        """Return, with the cause, once the way is gone."""
        ...

    async def close(self) -> None:
        """End it and remove what it left."""
        ...


class PortForwarder(Protocol):
    """Makes a Unix socket of a node reachable on this machine."""

    async def open(self, node: str, socket: str, *, job_id: str = "") -> Forward:
        """A way to ``socket`` on ``node``, made by job ``job_id``.

        Raises Unreachable, with ssh's own words, when the node can't be reached.
        """
        ...


class Remote(Protocol):
    """The connection to a cluster that this machine is not a part of."""

    @property
    def link(self) -> Link:
        """How it stands."""
        ...

    def watch(self, watcher: Callable[[Link], None]) -> None:
        """Call ``watcher`` at every change of it."""
        ...

    async def log_in(self) -> None:
        """Try to come back now, asking a person what has to be asked. Raises VizdashError."""
        ...

    async def open_port(self, host: str, port: int) -> Forward:
        """A way to a TCP port that the login host reaches."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


def join(argv: Sequence[str]) -> str:
    """The command line as a person would type it, for messages."""
    import shlex

    return shlex.join(argv)
