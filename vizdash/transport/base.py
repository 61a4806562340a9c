"""The protocols CommandRunner (run a command) and PortForwarder (reach a socket)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vizdash.errors import CommandFailed
from vizdash.model.connection_status import ConnectionStatus, Prompt

#: Characters of a followed command's output that its result holds.
KEPT = 64 * 1024
#: Seconds for which a command may keep retrying (see Command.retries).
RETRY_S = 3.0


#: Bytes of a command's answer, stderr included: squeue's about 100,000 jobs are a third of it.
ANSWER_LIMIT = 128 << 20
#: Bytes of a node's answer: thousands of images, a hundred nodes at a time.
NODE_ANSWER_LIMIT = 4 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run. ``input`` is its standard input, and no part of ``repr``.

    A command that takes longer than ``timeout_s`` seconds is stopped. One that prints any text of
    ``retries`` on stderr is repeating something that is unlikely to work: it is stopped
    ``RETRY_S`` seconds later. An answer of more than ``limit_bytes`` bytes, stderr included, is
    refused: one node that sends no end of data costs no more memory than that.
    """

    argv: tuple[str, ...]
    input: str | None = None
    timeout_s: float = 30.0
    retries: tuple[str, ...] = ()
    limit_bytes: int = ANSWER_LIMIT

    def __repr__(self) -> str:
        return f"Command({self.argv!r})"


@dataclass(frozen=True, slots=True)
class Result:
    """A command's exit code and output: UTF-8, with other bytes kept as surrogate escapes."""

    code: int
    stdout: str
    stderr: str

    def check(self, argv0: str) -> Result:
        """Return self, or raise CommandFailed when the exit code is not 0."""
        if self.code != 0:
            raise CommandFailed(argv0, self.code, self.stderr)
        return self


class CommandRunner(Protocol):
    """Runs commands where the engine's tools are: on this machine, or over SSH."""

    async def run(self, command: Command) -> Result:
        """Run a command to its end and return its output, whatever its exit code.

        Raises Unreachable when it cannot be started (no such program, no connection) and
        TimedOut when it takes too long.
        """
        ...

    def has(self, program: str) -> bool:
        """Whether ``program`` is installed, as far as is known without running a command."""
        ...


@runtime_checkable
class Follower(Protocol):
    """A CommandRunner that reports a command's output while the command runs."""

    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """Run a command as CommandRunner.run does, and pass each piece of stdout and stderr to
        ``on_output`` as it arrives; a piece may end anywhere. The result holds the last KEPT
        characters of each.
        """
        ...


async def follow(
    runner: CommandRunner, command: Command, on_output: Callable[[str], None]
) -> Result:
    """Follow a command where the runner can, else run it and report its output at the end."""
    if isinstance(runner, Follower):
        return await runner.follow(command, on_output)
    result = await runner.run(command)
    on_output(result.stdout + result.stderr)
    return result


class Reader(Protocol):
    """The reading end of a byte stream, as asyncio.StreamReader has it."""

    async def read(self, n: int = -1, /) -> bytes:
        """Return at most ``n`` bytes as soon as there are any; none at the end. Raises OSError."""
        ...


class Writer(Protocol):
    """The writing end of a byte stream, as asyncio.StreamWriter has it."""

    def write(self, data: bytes, /) -> None:
        """Queue ``data`` for sending."""
        ...

    async def drain(self) -> None:
        """Wait until more can be queued. Raises OSError."""
        ...

    def can_write_eof(self) -> bool:
        """Whether this direction can be closed alone."""
        ...

    def write_eof(self) -> None:
        """Close this direction; the other stays open."""
        ...

    def close(self) -> None:
        """Close both directions."""
        ...


class Pipe(Protocol):
    """A running command with byte streams as its standard input and output."""

    @property
    def reader(self) -> Reader:
        """Its standard output."""
        ...

    @property
    def writer(self) -> Writer:
        """Its standard input."""
        ...

    async def wait(self) -> str:
        """Wait until it has ended, and return its last line on stderr."""
        ...

    async def close(self) -> None:
        """Stop it."""
        ...


@runtime_checkable
class PipeRunner(CommandRunner, Protocol):
    """A CommandRunner that can start a command and leave it running."""

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        """Start a command. Raises Unreachable when it cannot be started."""
        ...


class Prompter(Protocol):
    """Asks the user during a login."""

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Return the text of each field (no text for a yes-or-no question), or None for "no" and
        for "cancel".

        There is no time limit. Raises Unreachable where there is no terminal to ask on.
        """
        ...

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        """Show text of the login that needs no answer. ``lines`` come from the remote host.

        Does nothing where there is no terminal.
        """
        ...

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        """Show what the login waits for until this call is cancelled; return when the user
        cancels the login. ``lines`` come from the remote host in part.
        """
        ...


class Forward(Protocol):
    """An open route to a socket, until it is closed."""

    async def dial(self) -> tuple[Reader, Writer]:
        """Connect to the remote socket. Raises OSError or Unreachable."""
        ...

    async def wait_lost(self) -> str:
        """Wait until the route is lost, and return the cause."""
        ...

    async def close(self) -> None:
        """Close the route and remove its files."""
        ...


class PortForwarder(Protocol):
    """Makes a Unix socket of a node reachable on this machine."""

    async def open(self, node: str, socket: str, *, job_id: str = "") -> Forward:
        """Open a route to ``socket``, which job ``job_id`` made on ``node``.

        Raises Unreachable, with ssh's own message, when the node cannot be reached.
        """
        ...


class Remote(Protocol):
    """The SSH connection to a cluster that this machine does not belong to."""

    @property
    def status(self) -> ConnectionStatus:
        """The state of the connection now."""
        ...

    def watch(self, watcher: Callable[[ConnectionStatus], None]) -> None:
        """Call ``watcher`` at every change of the status."""
        ...

    async def log_in(self) -> None:
        """Log in now, and ask the user for what the login needs. Raises VizdashError."""
        ...

    async def open_port(self, host: str, port: int) -> Forward:
        """Open a route to a TCP port that the login host can reach."""
        ...

    async def open_socket(self, path: str) -> Forward:
        """Open a route to a Unix socket of the login host."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...
