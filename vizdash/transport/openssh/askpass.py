"""Questions that ssh(1) asks during a login, by SSH_ASKPASS (ssh(1)): received and parsed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import platformdirs

from vizdash.errors import VizdashError
from vizdash.model.connection_status import Field, Prompt
from vizdash.transport.openssh.master import Version
from vizdash.util.files import make_private

#: The first version that marks questions of a host.
_MARKS = (8, 5)
_HOST = re.compile(r"\(([^()]*)@([^()@]*)\) (.*)", re.DOTALL)
_PASSWORD = re.compile(r"(?:(.*)@(\S+)'s password|.*@(\S+)'s (?:old|new) password): ?", re.DOTALL)
_PASSPHRASE = re.compile(r"Enter passphrase for (?:key )?'?(.+?)'?: ?")
_PIN = re.compile(r"Enter PIN for (?:'(.+)'|(.+)): ?")
_KEY = re.compile(
    r"The authenticity of host '(.+?)' can't be established\.(.*)"
    r"Are you sure you want to continue connecting \(yes/no(?:/\[fingerprint\])?\)\? ?",
    re.DOTALL,
)
_PRINT = re.compile(r"^(\S+) key fingerprint is (?:(?:SHA256|MD5):)?\S+", re.MULTILINE)


class QuestionKind(Enum):
    """Who asks, and for what."""

    #: The host, for a secret of the login.
    HOST = auto()
    #: ssh on this computer: for a key's passphrase, a token's PIN, trust in a host key, yes or no;
    #: or it only shows a message.
    PASSPHRASE = auto()
    PIN = auto()
    HOST_KEY = auto()
    YES_OR_NO = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class ParsedQuestion:
    """A question of ssh, parsed. ``host`` asks it (empty: ssh on this computer), ``about`` is the
    key file, token or host key in question, and ``label`` stands beside the answer.
    """

    kind: QuestionKind
    label: str
    host: str = ""
    about: str = ""


def parse_question(question: SshQuestion, version: Version) -> ParsedQuestion:
    """Parse a question of this version of ssh."""
    text = question.text
    if question.kind == "none":
        return ParsedQuestion(QuestionKind.NOTHING, text.strip())
    if match := _HOST.fullmatch(text):
        return ParsedQuestion(QuestionKind.HOST, _label(match[3]), match[2])
    if match := _KEY.fullmatch(text):
        fingerprint = _PRINT.search(match[2])
        shown = (
            fingerprint[0].replace(" key fingerprint is ", " ").rstrip(".")
            if fingerprint
            else match[2].strip()
        )
        return ParsedQuestion(QuestionKind.HOST_KEY, match[1], about=shown)
    if match := _PASSWORD.fullmatch(text):
        return ParsedQuestion(
            QuestionKind.HOST, "password" if match[2] else _label(text), match[2] or match[3]
        )
    if question.kind == "confirm":
        return ParsedQuestion(QuestionKind.YES_OR_NO, text.strip())
    if version < _MARKS:
        return ParsedQuestion(QuestionKind.HOST, _label(text), "?")
    if match := _PASSPHRASE.fullmatch(text):
        return ParsedQuestion(QuestionKind.PASSPHRASE, f"passphrase of {match[1]}", about=match[1])
    if match := _PIN.fullmatch(text):
        token = match[1] or match[2]
        return ParsedQuestion(QuestionKind.PIN, f"PIN of {token}", about=token)
    return ParsedQuestion(QuestionKind.PIN, _label(text))


def make_prompt(parsed: ParsedQuestion, name: str, text: tuple[str, ...], *, again: bool) -> Prompt:
    """Make the prompt for a question. ``name`` is the host of the login and ``text`` its messages
    since the last prompt; ``again`` is whether the same question was asked just before.
    """
    if parsed.kind is QuestionKind.HOST_KEY:
        return _host_key(parsed)
    if parsed.kind in {QuestionKind.YES_OR_NO, QuestionKind.NOTHING}:
        return Prompt(f"Log in to {name}", (*text, _here(name), parsed.label), yes="yes")
    refused = ("Refused. Try again.",) * again
    if parsed.kind is QuestionKind.HOST:
        where = parsed.host if parsed.host != "?" else name
        lines = (*refused, *text, f"{where} asks:")
        return Prompt(f"Log in to {where}", lines, (Field(parsed.label),))
    if parsed.kind is QuestionKind.PIN and again:
        refused = (*refused, "A token locks itself after a few wrong PINs.")
    lines = (*refused, *text, _here(name))
    return Prompt(f"Log in to {name}", lines, (Field(parsed.label),))


def _here(name: str) -> str:
    return f"ssh on this computer asks for the login to {name}; the answer stays here:"


def _host_key(parsed: ParsedQuestion) -> Prompt:
    """The prompt of the built-in SSH."""
    host = parsed.label.partition(" (")[0]
    lines = (
        f"{parsed.label} shows this host key:",
        parsed.about,
        "Compare it with the one that its administrators publish.",
        "ssh will add it to known_hosts.",
    )
    by_hand = f"run `ssh {host}` once and compare the fingerprint"
    alone = (f"its key is not known: {parsed.about}", by_hand)
    return Prompt(f"{host} is unknown", lines, yes="trust it", alone=alone)


def _label(text: str) -> str:
    return " ".join(text.split()).rstrip(":") or "answer"


#: Bytes of a question; ssh's longest one is about a host key.
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
class SshQuestion:
    """A question of ssh. ``kind`` is its hint: "confirm" for yes or no, "none" for a message, else
    "".
    """

    text: str
    kind: str


#: Returns the answer, None for no or none; cancelled when ssh no longer waits.
AnswerQuestion = Callable[[SshQuestion], Awaitable[str | None]]


class Askpass:
    """Passes each question of ssh to ``answer``, one at a time, from ``start`` to ``close``.

    ``folder`` is private. ``modern`` is whether ssh supports SSH_ASKPASS_REQUIRE (8.4).
    """

    def __init__(self, folder: Path, answer: AnswerQuestion, *, modern: bool) -> None:
        self._folder = folder
        self._answer_question = answer
        self._modern = modern
        self._server: asyncio.Server | None = None
        self._program_folder: Path | None = None
        self._one = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> dict[str, str]:
        """Start to listen; return the variables to add to ssh's environment. Raises OSError."""
        self._program_folder = await asyncio.to_thread(self._write)
        path = self._folder / "a"
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_LONGEST)
        environ = {"SSH_ASKPASS": str(self._program_folder / "askpass")}
        if self._modern:
            environ["SSH_ASKPASS_REQUIRE"] = "force"
        elif not os.environ.get("DISPLAY"):
            environ["DISPLAY"] = "vizdash"  # never opened; ssh requires it for SSH_ASKPASS
        return environ

    async def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._program_folder is not None and self._program_folder != self._folder:
            shutil.rmtree(self._program_folder, ignore_errors=True)

    def _write(self) -> Path:
        """Write the program into the folder or, if that is mounted noexec, into the cache."""
        folder = self._folder
        if os.statvfs(folder).f_flag & os.ST_NOEXEC:
            cache = Path(platformdirs.user_cache_dir("vizdash"))
            make_private(cache)
            folder = Path(tempfile.mkdtemp(prefix="askpass-", dir=cache))
        code, program = folder / "askpass.py", folder / "askpass"
        code.write_text(_PROGRAM)
        words = (sys.executable, "-I", "-S", str(code), str(self._folder / "a"))
        program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        program.chmod(0o700)
        return folder

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Without this, asyncio's server logs a cancelled question as an error.
        with contextlib.suppress(asyncio.CancelledError, OSError, ValueError, KeyError):
            asked = json.loads(await reader.readline())
            question = SshQuestion(str(asked["text"]), str(asked["kind"]))
            answer = await self._answer(question, reader)
            if answer is not None:
                writer.write(b"+" + answer.encode("utf-8", "surrogateescape"))
        writer.close()

    async def _answer(self, question: SshQuestion, reader: asyncio.StreamReader) -> str | None:
        """Ask while the program runs: ssh stops it when the question is obsolete."""
        asking = asyncio.ensure_future(self._ask(question))
        gone = asyncio.ensure_future(reader.read())
        try:
            both: set[asyncio.Future[object]] = {asking, gone}  # type: ignore[arg-type]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        except VizdashError:
            return None  # the login reports it
        finally:
            for one in (asking, gone):
                one.cancel()
            await asyncio.gather(asking, gone, return_exceptions=True)

    async def _ask(self, question: SshQuestion) -> str | None:
        # A message ("touch the key") may be shown beside a question.
        if question.kind == "none":
            return await self._answer_question(question)
        async with self._one:
            return await self._answer_question(question)
