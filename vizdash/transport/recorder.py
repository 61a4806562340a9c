"""A CommandRunner that records each command and its outcome, for the screen of commands."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from typing_extensions import override

from vizdash.errors import Unreachable, VizdashError, last_line
from vizdash.model import CommandRun
from vizdash.transport import base
from vizdash.transport.base import Command, CommandRunner, Follower, Pipe, PipeRunner, Result
from vizdash.util import command_log

#: Commands that are kept, and characters of a message.
_KEPT = 500
_MESSAGE = 300


class Recorder(PipeRunner, Follower):
    """A CommandRunner that records what another one runs: argv, time and outcome. No secret is ever
    in an argv; stdin and stdout are not recorded.
    """

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._runs: deque[CommandRun] = deque(maxlen=_KEPT)
        self._count = 0

    @property
    def runs(self) -> tuple[CommandRun, ...]:
        """The last commands, newest first."""
        return tuple(reversed(self._runs))

    @override
    async def run(self, command: Command) -> Result:
        return await self._recorded(command, self._runner.run(command))

    @override
    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        return await self._recorded(command, base.follow(self._runner, command, on_output))

    @override
    async def pipe(self, argv: Sequence[str]) -> Pipe:
        """Start a command. Raises Unreachable where the other runner cannot leave one running."""
        if not isinstance(self._runner, PipeRunner):
            raise Unreachable(argv[0], "it cannot be left running there")
        command_log.record(argv, "started")
        return await self._runner.pipe(argv)

    @override
    def has(self, program: str) -> bool:
        return self._runner.has(program)

    async def _recorded(self, command: Command, running: Awaitable[Result]) -> Result:
        at, began = time.time(), time.monotonic()
        code: int | None = None
        message = "cancelled"
        try:
            result = await running
        except VizdashError as e:
            message = e.line
            raise
        else:
            code, message = result.code, last_line(result.stderr)
            return result
        finally:
            self._count += 1
            took = time.monotonic() - began
            run = CommandRun(self._count, at, command.argv, took, code, message[:_MESSAGE])
            self._runs.append(run)
            outcome = message if code is None else f"exit {code}"
            command_log.record(run.brief, f"{outcome} ({message})" if code else outcome, took)
