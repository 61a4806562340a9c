"""What ssh(1) asks a person, brought to us: its SSH_ASKPASS program (ssh(1), ENVIRONMENT).

The program is two small files of ours in a folder that only we can enter. It hands the question
over by a Unix socket there and prints the answer for ssh: no secret is in an argv or environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from vizdash.errors import VizdashError
from vizdash.files import make_private

#: Bytes of a question; ssh's own longest is that for a host key.
_LONGEST = 1 << 16
_PROGRAM = """
import json, os, socket, sys

sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
question = {"text": " ".join(sys.argv[2:]), "kind": os.environ.get("SSH_ASKPASS_PROMPT", "")}
sock.sendall(json.dumps(question).encode() + b"\\n")
answer = b""
while data := sock.recv(4096):
    answer += data
if not answer.startswith(b"+"):
    sys.exit(1)
sys.stdout.buffer.write(answer[1:] + b"\\n")
"""


@dataclass(frozen=True, slots=True)
class Question:
    """``kind`` is ssh's hint: "confirm" for yes or no, "none" for what it only shows, else ""."""

    text: str
    kind: str


#: Gives the answer; None is no, or nothing. It is cancelled when ssh does not wait any more.
Answering = Callable[[Question], Awaitable[str | None]]


class Askpass:
    """``answering`` gets each question that ssh asks, one at a time, from ``start`` to ``close``.
    ``folder`` is private. ``modern`` is whether that ssh knows SSH_ASKPASS_REQUIRE (8.4).
    """

    def __init__(self, folder: Path, answering: Answering, *, modern: bool) -> None:
        self._folder = folder
        self._answering = answering
        self._modern = modern
        self._server: asyncio.Server | None = None
        self._place: Path | None = None
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> dict[str, str]:
        """Begin to listen. What ssh's environment must say beside our own. Raises OSError."""
        self._place = await asyncio.to_thread(self._write)
        path = self._folder / "a"
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_LONGEST)
        environ = {"SSH_ASKPASS": str(self._place / "askpass")}
        if self._modern:
            environ["SSH_ASKPASS_REQUIRE"] = "force"
        elif not os.environ.get("DISPLAY"):
            environ["DISPLAY"] = "vizdash"  # never opened: it is ssh's condition for asking so
        return environ

    async def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._place is not None and self._place != self._folder:
            shutil.rmtree(self._place, ignore_errors=True)

    def _write(self) -> Path:
        """The program, in the folder or, where nothing may be run from there, in the cache."""
        place = self._folder
        if os.statvfs(place).f_flag & os.ST_NOEXEC:
            cache = Path(platformdirs.user_cache_dir("vizdash"))
            make_private(cache)
            place = Path(tempfile.mkdtemp(prefix="askpass-", dir=cache))
        code, program = place / "askpass.py", place / "askpass"
        code.write_text(_PROGRAM)
        words = (sys.executable, "-I", "-S", str(code), str(self._folder / "a"))
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o700)
        return place

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A cancelled question ends quietly: the server would report it as an error otherwise.
        with contextlib.suppress(asyncio.CancelledError, OSError, ValueError, KeyError):
            asked = json.loads(await reader.readline())
            question = Question(str(asked["text"]), str(asked["kind"]))
            answer = await self._answer(question, reader)
            if answer is not None:
                writer.write(b"+" + answer.encode("utf-8", "surrogateescape"))
        writer.close()

    async def _answer(self, question: Question, reader: asyncio.StreamReader) -> str | None:
        """Ask, for as long as the program is there: ssh ends it when nothing is to be said."""
        asking = asyncio.ensure_future(self._ask(question))
        gone = asyncio.ensure_future(reader.read())
        try:
            both: set[asyncio.Future[object]] = {asking, gone}  # type: ignore[arg-type]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        except VizdashError:
            return None  # whoever answers has kept it
        finally:
            for one in (asking, gone):
                one.cancel()
            await asyncio.gather(asking, gone, return_exceptions=True)

    async def _ask(self, question: Question) -> str | None:
        # What is only shown (touch the key) may be beside a question.
        if question.kind == "none":
            return await self._answering(question)
        async with self._one:
            return await self._answering(question)
