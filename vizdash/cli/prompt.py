"""Questions of a login, asked on the controlling terminal, whatever stdin and stdout are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Iterator

from typing_extensions import override

from vizdash.errors import Unreachable
from vizdash.model.connection_status import Prompt
from vizdash.transport.base import Prompter
from vizdash.util.text import escape_control


class TerminalPrompter(Prompter):
    """A Prompter on /dev/tty, as ssh(1) asks: without echo for secrets, Ctrl-C interrupts."""

    @override
    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError as e:
            question = prompt.fields[0].label if prompt.fields else prompt.title
            why, fix = prompt.alone
            why = f"{why or f'it asks ({question})'}, and there is no terminal to ask you on"
            raise Unreachable(prompt.title, why, fix or "load a key into ssh-agent") from e
        try:
            for line in (prompt.title, *prompt.lines):
                _write(tty, f"{escape_control(line)}\n")
            if not prompt.fields:
                _write(tty, f"Type yes to {prompt.yes or 'continue'}: ")
                yes = (await _read_line(tty)).strip().lower() == "yes"
                return () if yes else None
            answers = []
            for field in prompt.fields:
                # Echo is off before the question is shown: turning it off discards what was typed.
                with contextlib.nullcontext() if field.shown else _without_echo(tty):
                    _write(tty, f"{escape_control(field.label)}: ")
                    answers.append(await _read_line(tty))
                if not field.shown:
                    _write(tty, "\n")
            return tuple(answers)
        except EOFError:
            return None
        finally:
            os.close(tty)

    @override
    def show(self, title: str, lines: tuple[str, ...]) -> None:
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return
        try:
            for line in (title, *lines):
                _write(tty, f"{escape_control(line)}\n")
        finally:
            os.close(tty)

    @override
    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        self.show(title, lines)
        await asyncio.Event().wait()


def _write(tty: int, text: str) -> None:
    os.write(tty, text.encode(errors="replace"))


@contextlib.contextmanager
def _without_echo(tty: int) -> Iterator[None]:
    """Turn the terminal's echo off."""
    before = termios.tcgetattr(tty)
    after = [*before]
    after[3] &= ~termios.ECHO
    termios.tcsetattr(tty, termios.TCSAFLUSH, after)
    try:
        yield
    finally:
        termios.tcsetattr(tty, termios.TCSAFLUSH, before)


async def _read_line(tty: int) -> str:
    """Read a line, edited by the terminal. Raises EOFError for Ctrl-D. Can be cancelled."""
    loop = asyncio.get_running_loop()
    got: asyncio.Future[bytes] = loop.create_future()

    def read() -> None:
        if not got.done():
            got.set_result(os.read(tty, 65536))

    loop.add_reader(tty, read)
    try:
        data = await got
    finally:
        loop.remove_reader(tty)
    if not data:
        raise EOFError
    return data.decode(errors="surrogateescape").rstrip("\r\n")
