"""A login by ssh(1): its questions in our dialog, its waiting on our screen, its end in words."""

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
from vizdash.model.link import Field, Prompt
from vizdash.transport.base import Prompter
from vizdash.transport.openssh import control
from vizdash.transport.openssh.askpass import Askpass, Question
from vizdash.transport.openssh.control import Ending, MasterConnection, find_master
from vizdash.transport.openssh.master import Master, Version, command_line, read_version
from vizdash.transport.openssh.questions import Asks, Read, as_prompt, read_question
from vizdash.transport.openssh.words import authenticates, is_verbose, login_failure
from vizdash.transport.ssh import patience
from vizdash.transport.ssh.login import AsksPerson, Secrets
from vizdash.transport.ssh.patience import Patience
from vizdash.transport.ssh.settings import HostSettings, Target, read_settings

#: OpenSSH knows SSH_ASKPASS_REQUIRE since.
_REQUIRE = (8, 4)
#: Seconds between looks at whether the login is done.
_LOOK_S = 0.05
#: Lines of ssh's that are kept for the reason of its end, and Bytes of one that are.
_KEPT, _LONGEST = 200, 1000
#: How ssh's -v begins when a host has decided on an answer.
_DECIDED = ("debug1: Authentications that can continue: ", "Authenticated ")
#: Seconds between an answer and the end of ssh in which the host can't have weighed it.
_LATE_S = 10.0
#: Seconds of typing in which no server gives up a login.
_SLOW_S = 20.0
#: Probes without an answer after which a connection of the person's own counts as lost.
_PROBES_THEIRS = 29


@dataclass(frozen=True, slots=True)
class _Given:
    """An answer to a host: when it was given (time.monotonic), and how long it took to type."""

    fields: tuple[Field, ...]
    answer: tuple[str, ...] = dataclass_field(repr=False)
    at: float
    took_s: float


class MasterLogin:
    """One attempt to reach a host by ssh(1). ``quiet`` asks nobody anything. ``shared`` is the
    control socket of a connection of the person's own: then there is no login at all.
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
        #: The ssh that was started: whoever ends the connection waits for its end.
        self.master: Master | None = None
        self._lines: list[str] = []
        #: Text that no question has shown yet.
        self._unshown: list[str] = []
        self._authenticating = False
        self._patience = Patience(prompter, quiet=quiet)
        self._error: VizdashError | None = None
        self._asked: dict[str, int] = {}
        #: What a person typed last, until the host has decided on it.
        self._given: _Given | None = None
        self._probing: asyncio.Task[None] | None = None

    @property
    def heard_at(self) -> float:
        """When the host's last byte came (time.monotonic)."""
        return self._conn.heard_at if self._conn else 0.0

    @property
    def probe_s(self) -> float:
        """Seconds after which a host that is well has been heard of."""
        return (self.settings.alive_interval_s if self.settings else 0) or patience.KEEPALIVE_S

    async def open(
        self, target: Target, lost: Callable[[Exception | None], None]
    ) -> asyncssh.SSHClientConnection:
        """Log in. ``lost`` is called when the connection is over.

        Raises VizdashError in words; AsksPerson when ``quiet`` and a secret is due.
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
        """One ssh. Raises VizdashError."""
        self.master = master = Master(self._heard)
        modern = self._version >= _REQUIRE
        askpass = Askpass(master.folder, self._answer, modern=modern)
        try:
            environ = await askpass.start()
            await master.start(self._argv(ssh, target, settings, master), environ)
            await self._ready(master, settings)
            return await self._connect(str(master.path), settings, lost)
        except OSError as e:
            raise Unreachable(settings.name, e.strerror or str(e)) from e
        except BaseException:
            await asyncio.shield(master.wait_closed())
            raise
        finally:
            self._patience.stop()
            await askpass.close()

    def _argv(self, ssh: str, target: Target, settings: HostSettings, master: Master) -> list[str]:
        # What leads through others waits for their logins too, in which a person may be typing.
        direct = not settings.jumps and not settings.proxy_command
        return command_line(
            ssh, target, settings, master.path,
            version=self._version,
            alive=(round(patience.KEEPALIVE_S) or 1, patience.PROBES_TYPED),
            connect_s=round(patience.PATIENCE_S) if direct else 0,
            forward_agent=self._forward_agent,
        )  # fmt: skip

    # ------------------------------------------------------------------ how far it is

    async def _ready(self, master: Master, settings: HostSettings) -> None:
        """Wait until others are taken along. Raises VizdashError."""
        while not master.ended:
            if self._error is not None:
                raise self._error
            if master.path.exists() and await find_master(str(master.path)):
                return
            self._patience.watch(
                settings.name,
                authenticating=self._authenticating,
                connect_timeout_s=settings.connect_timeout_s,
                take_text=self._take_text,
            )
            await asyncio.sleep(_LOOK_S)
        code = await master.wait()
        if self._error is not None:
            raise self._error
        words = [line for line in self._lines if not is_verbose(line)]
        if not words:
            words = [f"ssh ended with code {code}"]
        raise login_failure(words, settings.name, typed=self.typed)

    def _heard(self, line: str) -> None:
        """A line that ssh, or one of those that lead to the host, prints."""
        line = line[:_LONGEST]
        self._patience.silence.broken()
        self._authenticating = authenticates(line, self._authenticating)
        self._lines = [*self._lines[-_KEPT:], line]
        if line.startswith(_DECIDED):
            self._given = None
        if line.strip() and not is_verbose(line):
            self._unshown.append(line)
            if "REVOKED HOST KEY" in line and self.master is not None:
                name = self.settings.name if self.settings else ""
                self._fail(login_failure([line], name, typed=False))

    def _take_text(self) -> list[str]:
        lines, self._unshown = self._unshown, []
        return lines

    # ------------------------------------------------------------------ a person

    async def _answer(self, question: Question) -> str | None:
        """Answer ssh; see askpass.Answering."""
        read = read_question(question, self._version)
        name = self.settings.name if self.settings else ""
        count = self._asked.get(question.text, 0)
        self._asked[question.text] = count + 1
        if read.asks is Asks.PASSPHRASE:
            if count == 0 and (known := self._secrets.passphrases.get(read.about)) is not None:
                return known
            self._secrets.passphrases.pop(read.about, None)
        if self._quiet:
            await self._blocked(read, name)
            return None
        prompt = as_prompt(read, name, tuple(self._take_text()), again=count > 0)
        unsent, self._secrets.unsent = self._secrets.unsent, None
        if read.asks is Asks.HOST and unsent and unsent[0] == prompt.fields:
            return unsent[1][0]
        began = time.monotonic()
        try:
            answer = await self._ask(read, prompt)
        except VizdashError as e:
            await self._give_up(e)
            return None
        if answer is None:
            return await self._declined(read, name)
        if read.asks in {Asks.HOST_KEY, Asks.YES_OR_NO}:
            return "yes"
        if read.asks is Asks.PASSPHRASE:
            self._secrets.passphrases[read.about] = answer[0]
            return answer[0]
        self.typed = True
        if read.asks is Asks.HOST:
            now = time.monotonic()
            self._given = _Given(prompt.fields, answer, now, now - began)
        return answer[0]

    async def _ask(self, read: Read, prompt: Prompt) -> tuple[str, ...] | None:
        with self._patience.silence:
            self._patience.stop()
            if read.asks is not Asks.NOTHING:
                return await self._prompter.ask(prompt)
            await self._prompter.wait(prompt.title, prompt.lines)
            return None

    async def _declined(self, read: Read, name: str) -> str | None:
        """Answer ssh where the person says no, or nothing."""
        if read.asks is Asks.HOST_KEY:
            await self._give_up(Refused(f"host key of {name}", "it was not trusted"))
            return None
        if read.asks is Asks.YES_OR_NO:
            return "no"
        await self._give_up(Refused(f"login to {name}", "it was cancelled"))
        return None

    def _answered_late(self) -> bool:
        """Whether ssh ended at an answer because the host had hung up while it was typed
        (LoginGraceTime): ssh learns that only then. What was typed is kept for the next question
        of the same words, which comes at once.
        """
        given, self._given = self._given, None
        if given is None or given.took_s < _SLOW_S or time.monotonic() - given.at > _LATE_S:
            return False
        self._secrets.unsent = (given.fields, given.answer)
        return True

    async def _blocked(self, read: Read, name: str) -> None:
        if read.asks is Asks.HOST_KEY:
            by_hand = f"run `ssh {name}` once and compare the fingerprint"
            why = f"it is not known; it shows {read.about}"
            await self._give_up(Refused(f"host key of {name}", why, by_hand))
        else:
            await self._give_up(AsksPerson(name, "it asks for a secret"))

    async def _give_up(self, error: VizdashError) -> None:
        """Return once ssh has ended: an answer that is none would be sent as an empty one."""
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
        ending = Ending(lambda exc: self._over(exc, lost))
        conn = await control.connect_to_master(path, settings.name, ending, agent=agent)
        try:
            if self._shared:
                # It may have lost its host without knowing it.
                async with asyncio.timeout(patience.PATIENCE_S):
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

    def _over(self, exc: Exception | None, lost: Callable[[Exception | None], None]) -> None:
        """The connection has ended; ssh may have said why."""
        if self._probing is not None:
            self._probing.cancel()
        if self.master is not None:
            self.master.close()
        if isinstance(exc, asyncssh.ConnectionLost) and _timed_out(self._lines):
            exc = asyncssh.ConnectionLost("keepalive timeout")
        lost(exc)

    async def _probe(self, conn: MasterConnection, settings: HostSettings) -> None:
        """Ask for a sign of life where none came, and give up on it. Where the person's own
        settings probe, ssh gives up.
        """
        typed = self.typed or bool(self._shared)
        probes = _PROBES_THEIRS if typed else patience.PROBES
        limit_s = 0.0 if settings.alive_interval_s else patience.KEEPALIVE_S * (probes + 1)
        asking: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(self.probe_s / 2)
                silent_s = time.monotonic() - conn.heard_at
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
