"""A login by ssh(1), with its questions in vizdash's dialogs and its errors in one line."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import asyncssh

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError
from vizdash.model.connection_status import Field, Prompt
from vizdash.transport.base import Prompter
from vizdash.transport.openssh import control
from vizdash.transport.openssh.askpass import (
    Askpass,
    ParsedQuestion,
    QuestionKind,
    SshQuestion,
    make_prompt,
    parse_question,
)
from vizdash.transport.openssh.control import LossListener, MasterConnection, find_master
from vizdash.transport.openssh.master import Master, Version, command_line, read_version
from vizdash.transport.openssh.messages import is_authenticating, is_verbose, login_failure
from vizdash.transport.ssh import login_timeout
from vizdash.transport.ssh.login import SecretNeeded, Secrets
from vizdash.transport.ssh.login_timeout import LoginTimeout
from vizdash.transport.ssh.messages import explain_batch
from vizdash.transport.ssh.settings import HostSettings, Target, read_settings

#: The first version with SSH_ASKPASS_REQUIRE.
_REQUIRE = (8, 4)
#: Seconds between checks whether the login is done.
_POLL_S = 0.05
#: Lines of ssh's output that are kept for its error, and bytes of one.
_KEPT, _LONGEST = 200, 1000
#: Lines of ssh -v after which a host has decided on an answer.
_DECIDED = ("debug1: Authentications that can continue: ", "Authenticated ")
#: Seconds from an answer to the end of ssh in which the host cannot have checked it.
_LATE_S = 10.0
#: Seconds of typing that no server cuts short.
_SLOW_S = 20.0
#: Probes without an answer after which a connection of the user counts as lost.
_PROBES_SHARED = 29


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer to a host, its time (time.monotonic), and the seconds of typing."""

    fields: tuple[Field, ...]
    answer: tuple[str, ...] = dataclass_field(repr=False)
    at: float
    took_s: float


class MasterLogin:
    """One attempt to log in to a host by ssh(1); ``quiet`` asks the user nothing. ``shared`` is the
    control socket of a connection of the user, which needs no login.
    """

    def __init__(
        self,
        prompter: Prompter,
        secrets: Secrets,
        *,
        quiet: bool = False,
        forward_agent: bool = False,
        shared: str = "",
    ) -> None:
        self._prompter = prompter
        self._secrets = secrets
        self._quiet = quiet
        self._forward_agent = forward_agent
        self._shared = shared
        self.typed = False
        self.settings: HostSettings | None = None
        self._version: Version = (0, 0)
        self._conn: MasterConnection | None = None
        #: The ssh that was started; the owner of the connection waits for its end.
        self.master: Master | None = None
        self._lines: list[str] = []
        #: Text that was not shown yet.
        self._unshown: list[str] = []
        self._authenticating = False
        self._timeout = LoginTimeout(prompter, quiet=quiet)
        self._error: VizdashError | None = None
        self._asked: dict[str, int] = {}
        #: The last answer, until the host has decided on it.
        self._last_answer: _Answer | None = None
        self._probing: asyncio.Task[None] | None = None

    @property
    def heard_at(self) -> float:
        """Time of the last byte from the host (time.monotonic)."""
        return self._conn.heard_at if self._conn else 0.0

    @property
    def probe_s(self) -> float:
        """Seconds within which a reachable host sends something."""
        return (self.settings.alive_interval_s if self.settings else 0) or login_timeout.KEEPALIVE_S

    async def open(
        self, target: Target, lost: Callable[[Exception | None], None]
    ) -> asyncssh.SSHClientConnection:
        """Log in. ``lost`` is called when the connection ends.

        Raises VizdashError; SecretNeeded when ``quiet`` and a secret is needed.
        """
        self.settings = settings = await read_settings(target)
        if self._shared:
            return await self._connect(self._shared, settings, lost)
        ssh = shutil.which("ssh")
        if ssh is None:
            raise Refused("ssh", "there is none on this machine", "install OpenSSH's client")
        self._version = await read_version(ssh)
        while True:
            try:
                return await self._start(ssh, target, settings, lost)
            except Unreachable:
                if not self._answered_late():
                    raise
                self._authenticating = False
                self._lines, self._unshown, self._asked = [], [], {}

    async def _start(
        self,
        ssh: str,
        target: Target,
        settings: HostSettings,
        lost: Callable[[Exception | None], None],
    ) -> MasterConnection:
        """Start one ssh and wait for its login. Raises VizdashError."""
        self.master = master = Master(self._take_line)
        modern = self._version >= _REQUIRE
        askpass = Askpass(master.folder, self._answer, modern=modern)
        try:
            environ = await askpass.start()
            await master.start(self._argv(ssh, target, settings, master), environ)
            await self._wait_ready(master, settings)
            return await self._connect(str(master.path), settings, lost)
        except OSError as e:
            raise Unreachable(settings.name, e.strerror or str(e)) from e
        except BaseException:
            await asyncio.shield(master.wait_closed())
            raise
        finally:
            self._timeout.hide_wait()
            await askpass.close()

    def _argv(self, ssh: str, target: Target, settings: HostSettings, master: Master) -> list[str]:
        # A connection through other hosts also waits for their logins, and for the user's typing.
        direct = not settings.jumps and not settings.proxy_command
        return command_line(
            ssh, target, settings, master.path,
            version=self._version,
            alive=(round(login_timeout.KEEPALIVE_S) or 1, login_timeout.PROBES_TYPED),
            connect_s=round(login_timeout.SILENT_LIMIT_S) if direct else 0,
            forward_agent=self._forward_agent,
        )  # fmt: skip

    # ------------------------------------------------------------------ progress

    async def _wait_ready(self, master: Master, settings: HostSettings) -> None:
        """Wait until the control socket answers. Raises VizdashError."""
        while not master.ended:
            if self._error is not None:
                raise self._error
            if master.path.exists() and await find_master(str(master.path)):
                return
            self._timeout.check(
                settings.name,
                authenticating=self._authenticating,
                connect_timeout_s=settings.connect_timeout_s,
                take_text=self._take_text,
            )
            await asyncio.sleep(_POLL_S)
        code = await master.wait()
        if self._error is not None:
            raise self._error
        lines = self._lines
        if all(is_verbose(line) for line in lines):
            lines = [*lines, f"ssh ended with code {code}"]
        error = login_failure(lines, settings.name, typed=self.typed)
        if settings.batch and isinstance(error, Refused):
            raise explain_batch(error, settings.name)
        raise error

    def _take_line(self, line: str) -> None:
        """Handle a line of stderr, from ssh or from one of its jump hosts."""
        line = line[:_LONGEST]
        self._timeout.silence.reset()
        self._authenticating = is_authenticating(line, self._authenticating)
        self._lines = [*self._lines[-_KEPT:], line]
        if line.startswith(_DECIDED):
            self._last_answer = None
        if line.strip() and not is_verbose(line):
            self._unshown.append(line)
            if "REVOKED HOST KEY" in line and self.master is not None:
                name = self.settings.name if self.settings else ""
                self._fail(login_failure([line], name, typed=False))

    def _take_text(self) -> list[str]:
        lines, self._unshown = self._unshown, []
        return lines

    # ------------------------------------------------------------------ questions

    async def _answer(self, question: SshQuestion) -> str | None:
        """Answer a question of ssh."""
        parsed = parse_question(question, self._version)
        name = self.settings.name if self.settings else ""
        count = self._asked.get(question.text, 0)
        self._asked[question.text] = count + 1
        if parsed.kind is QuestionKind.PASSPHRASE:
            if count == 0 and (known := self._secrets.passphrases.get(parsed.about)) is not None:
                return known
            self._secrets.passphrases.pop(parsed.about, None)
        if self._quiet:
            await self._blocked(parsed, name)
            return None
        prompt = make_prompt(parsed, name, tuple(self._take_text()), again=count > 0)
        unsent, self._secrets.unsent = self._secrets.unsent, None
        if parsed.kind is QuestionKind.HOST and unsent and unsent[0] == prompt.fields:
            return unsent[1][0]
        began = time.monotonic()
        try:
            answer = await self._ask(parsed, prompt)
        except VizdashError as e:
            await self._give_up(e)
            return None
        if answer is None:
            return await self._declined(parsed, name)
        if parsed.kind in {QuestionKind.HOST_KEY, QuestionKind.YES_OR_NO}:
            return "yes"
        if parsed.kind is QuestionKind.PASSPHRASE:
            self._secrets.passphrases[parsed.about] = answer[0]
            return answer[0]
        self.typed = True
        if parsed.kind is QuestionKind.HOST:
            now = time.monotonic()
            self._last_answer = _Answer(prompt.fields, answer, now, now - began)
        return answer[0]

    async def _ask(self, parsed: ParsedQuestion, prompt: Prompt) -> tuple[str, ...] | None:
        with self._timeout.silence:
            self._timeout.hide_wait()
            if parsed.kind is not QuestionKind.NOTHING:
                return await self._prompter.ask(prompt)
            await self._prompter.wait(prompt.title, prompt.lines)
            return None

    async def _declined(self, parsed: ParsedQuestion, name: str) -> str | None:
        """Answer ssh when the user declines or cancels."""
        if parsed.kind is QuestionKind.HOST_KEY:
            await self._give_up(Refused(f"host key of {name}", "it was not trusted"))
            return None
        if parsed.kind is QuestionKind.YES_OR_NO:
            return "no"
        await self._give_up(Refused(f"login to {name}", "it was cancelled"))
        return None

    def _answered_late(self) -> bool:
        """Whether ssh ended at an answer because the host had closed the connection during typing
        (LoginGraceTime), which ssh notices only then. Keeps the answer for the next question with
        the same text, which comes at once.
        """
        last, self._last_answer = self._last_answer, None
        if last is None or last.took_s < _SLOW_S or time.monotonic() - last.at > _LATE_S:
            return False
        self._secrets.unsent = (last.fields, last.answer)
        return True

    async def _blocked(self, parsed: ParsedQuestion, name: str) -> None:
        if parsed.kind is QuestionKind.HOST_KEY:
            by_hand = f"run `ssh {name}` once and compare the fingerprint"
            why = f"it is not known; it shows {parsed.about}"
            await self._give_up(Refused(f"host key of {name}", why, by_hand))
        else:
            await self._give_up(SecretNeeded(name, "it asks for a secret"))

    async def _give_up(self, error: VizdashError) -> None:
        """Stop ssh, and wait for its end: no answer would be sent as an empty one."""
        self._fail(error)
        if self.master is not None:
            await self.master.wait_closed()

    def _fail(self, error: VizdashError) -> None:
        self._error = self._error or error
        if self.master is not None:
            self.master.close()

    # ------------------------------------------------------------------ the connection

    async def _connect(
        self, path: str, settings: HostSettings, lost: Callable[[Exception | None], None]
    ) -> MasterConnection:
        agent = settings.agent if self._forward_agent else ""
        ending = LossListener(lambda exc: self._report_end(exc, lost))
        conn = await control.connect_to_master(path, settings.name, ending, agent=agent)
        try:
            if self._shared:
                # It may have lost its host without knowing it.
                async with asyncio.timeout(login_timeout.SILENT_LIMIT_S):
                    await conn.probe()
        except (TimeoutError, OSError, asyncssh.Error) as e:
            conn.abort()
            why = f"your own connection to it ({path}) does not answer"
            raise TimedOut(settings.name, why, f"end it: ssh -O exit {settings.name}") from e
        except BaseException:
            conn.abort()
            raise
        self._conn = conn
        if self.master is not None:
            conn.hold(self.master)
        self._lines, self._unshown = [], []
        self._probing = asyncio.create_task(self._probe(conn, settings))
        return conn

    def _report_end(self, exc: Exception | None, lost: Callable[[Exception | None], None]) -> None:
        """Report the end of the connection, with ssh's reason if it printed one."""
        if self._probing is not None:
            self._probing.cancel()
        if self.master is not None:
            self.master.close()
        if isinstance(exc, asyncssh.ConnectionLost) and _timed_out(self._lines):
            exc = asyncssh.ConnectionLost("keepalive timeout")
        lost(exc)

    async def _probe(self, conn: MasterConnection, settings: HostSettings) -> None:
        """Probe a silent host, and close the connection without an answer. With a
        ServerAliveInterval of the user, ssh closes it.
        """
        typed = self.typed or bool(self._shared)
        probes = _PROBES_SHARED if typed else login_timeout.PROBES
        limit_s = 0.0 if settings.alive_interval_s else login_timeout.KEEPALIVE_S * (probes + 1)
        asking: asyncio.Task[None] | None = None
        silent_s, heard_at = 0.0, conn.heard_at
        try:
            while True:
                await asyncio.sleep(self.probe_s / 2)
                # By these pauses, not by the clock: a vizdash that was stopped (Ctrl-Z) did not
                # listen meanwhile.
                silent_s = silent_s + self.probe_s / 2 if conn.heard_at == heard_at else 0.0
                heard_at = conn.heard_at
                if limit_s and silent_s > limit_s:
                    conn.connection_lost(asyncssh.ConnectionLost("keepalive timeout"))
                    return
                if silent_s > self.probe_s and (asking is None or asking.done()):
                    asking = asyncio.create_task(_quietly(conn))
        finally:
            if asking is not None:
                asking.cancel()


async def _quietly(conn: MasterConnection) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        await conn.probe()


def _timed_out(lines: Sequence[str]) -> bool:
    return any(line.startswith("Timeout, server") for line in lines)
