"""Asking a person on the terminal that controls us, whatever stdin and stdout are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections.abc import Iterator

from vizdash.errors import Unreachable
from vizdash.model.link import Prompt
from vizdash.output import printable


class Terminal:
    """See Prompter: on /dev/tty, as ssh does, without echo for secrets."""

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """See Prompter.ask. Ctrl-C is Ctrl-C; an empty line to a question is no."""
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError as e:
            wants = prompt.fields[0].label if prompt.fields else prompt.title
            why, fix = prompt.alone
            why = f"{why or f'it asks ({wants})'}, and there is no terminal to ask you on"
            raise Unreachable(prompt.title, why, fix or "use a key that ssh-agent holds") from e
        try:
            for line in (prompt.title, *prompt.lines):
                _say(tty, f"{printable(line)}\n")
            if not prompt.fields:
                _say(tty, f"Type yes to {prompt.yes or 'go on'}: ")
                yes = (await _line(tty)).strip().lower() == "yes"
                return () if yes else None
            answers = []
            for field in prompt.fields:
                _say(tty, f"{printable(field.label)}: ")
                with contextlib.nullcontext() if field.shown else _quiet(tty):
                    answers.append(await _line(tty))
                if not field.shown:
                    _say(tty, "\n")
            return tuple(answers)
        except EOFError:
            return None
        finally:
            os.close(tty)

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        """See Prompter.show."""
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return
        try:
            for line in (title, *lines):
                _say(tty, f"{printable(line)}\n")
        finally:
            os.close(tty)

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        """See Prompter.wait. Ctrl-C is Ctrl-C."""
        self.show(title, lines)
        await asyncio.Event().wait()


def _say(tty: int, text: str) -> None:
    os.write(tty, text.encode(errors="replace"))


@contextlib.contextmanager
def _quiet(tty: int) -> Iterator[None]:
    """No echo until it's over."""
    before = termios.tcgetattr(tty)
    after = [*before]
    after[3] &= ~termios.ECHO
    termios.tcsetattr(tty, termios.TCSAFLUSH, after)
    try:
        yield
    finally:
        termios.tcsetattr(tty, termios.TCSAFLUSH, before)


async def _line(tty: int) -> str:
    """A line, as the terminal edits it. Raises EOFError at Ctrl-D. It can be cancelled."""
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
