"""Remembers the last commands that were run, for the screen that lists them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from vizdash import commandlog
from vizdash.errors import Unreachable, VizdashError, last_line
from vizdash.model import Ran
from vizdash.transport import base
from vizdash.transport.base import Command, CommandRunner, Pipe, PipeRunner, Result

#: Commands that are remembered, and characters of what one said.
_KEPT = 500
_SAID = 300


class Recorder:
    """A CommandRunner in front of another. Only argv, time and outcome are kept: secrets are
    never in argv, and stdin and stdout are left out.
    """

    def __init__(self, runner: CommandRunner) -> None:
        self._runner = runner
        self._ran: deque[Ran] = deque(maxlen=_KEPT)
        self._count = 0

    @property
    def ran(self) -> tuple[Ran, ...]:
        """The last commands, newest first."""
        return tuple(reversed(self._ran))

    async def run(self, command: Command) -> Result:
        """See CommandRunner.run."""
        return await self._recorded(command, self._runner.run(command))

    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        """See Follower.follow."""
        return await self._recorded(command, base.follow(self._runner, command, on_output))

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        """See PipeRunner.pipe. Raises Unreachable where the other runner leaves nothing running."""
        if not isinstance(self._runner, PipeRunner):
            raise Unreachable(argv[0], "it can't be left running there")
        commandlog.record(argv, "started")
        return await self._runner.pipe(argv)

    def has(self, program: str) -> bool:
        """See CommandRunner.has."""
        return self._runner.has(program)

    async def _recorded(self, command: Command, running: Awaitable[Result]) -> Result:
        at, began = time.time(), time.monotonic()
        code: int | None = None
        said = "given up"
        try:
            result = await running
        except VizdashError as e:
            said = e.line
            raise
        else:
            code, said = result.code, last_line(result.stderr)
            return result
        finally:
            self._count += 1
            took = time.monotonic() - began
            ran = Ran(self._count, at, command.argv, took, code, said[:_SAID])
            self._ran.append(ran)
            outcome = said if code is None else f"exit {code}"
            commandlog.record(ran.brief, f"{outcome} ({said})" if code else outcome, took)
