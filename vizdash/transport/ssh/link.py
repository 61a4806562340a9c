"""The one connection: made when first needed, watched, and made again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

import asyncssh

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError
from vizdash.model.link import Link, LinkState
from vizdash.transport.base import Prompter
from vizdash.transport.openssh.choice import Choice, choose
from vizdash.transport.openssh.login import MasterLogin
from vizdash.transport.openssh.master import Master
from vizdash.transport.ssh.login import AsksPerson, Login, Secrets
from vizdash.transport.ssh.needs import NeedsOpenSsh
from vizdash.transport.ssh.node_settings import read_node_settings
from vizdash.transport.ssh.proxy import Proxy
from vizdash.transport.ssh.settings import Target
from vizdash.transport.ssh.words import lost_words

#: Seconds between attempts to come back.
_PAUSES = (0.5, 1, 2, 4, 8, 15, 30, 60)
#: Seconds that an answer to a probe may take before it is said that none comes.
_SILENT_S = 4.0
#: Seconds for the end of a connection: that of ssh(1) is a process.
_CLOSE_S = 10.0


class SshLink:
    """Holds one connection to ``host`` (``[user@]host[:port]``).

    A lost connection is made again without asking anybody anything, with growing pauses. Where
    that needs a secret, or is refused, nothing more is tried until a person wants it (``log_in``):
    a password is never asked for in a loop, and a failed login never repeated by itself.
    ``forward_agent`` lends the agent to the commands of that host, not to hosts on the way.
    ``ssh`` is which SSH makes it: ``builtin`` (asyncssh), ``openssh``, or ``auto``.
    """

    def __init__(
        self,
        host: str,
        prompter: Prompter,
        *,
        forward_agent: bool = False,
        ssh: Literal["auto", "openssh", "builtin"] = "builtin",
    ) -> None:
        self.host = host
        self._target = Target.parse(host)
        self._prompter = prompter
        self._forward_agent = forward_agent
        self._ssh = ssh
        #: Why ssh(1) has to make it, once that was found out.
        self._need = ""
        self._via = ""
        self._secrets = Secrets()
        self._conn: asyncssh.SSHClientConnection | None = None
        self._proxies: list[Proxy] = []
        self._masters: list[Master] = []
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._typed = False
        self._error: VizdashError | None = None
        self.watchers: list[Callable[[Link], None]] = []
        self.link = Link(self._target.host, LinkState.IDLE)

    @property
    def current(self) -> asyncssh.SSHClientConnection | None:
        """The connection that is up, if any."""
        return self._conn

    async def connection(self, wait_s: float) -> asyncssh.SSHClientConnection:
        """The connection, made now if there was none yet, or once it is back.

        Raises Unreachable, in words, when it isn't there after ``wait_s`` seconds (those of a
        first login, in which a person may have to type, don't count).
        """
        if self.link.state is LinkState.IDLE:
            self._set(LinkState.CONNECTING)
            self._start(self._first())
        deadline = time.monotonic() + wait_s
        tried = False
        while True:
            if self._conn is not None:
                return self._conn
            state = self.link.state
            if tried or state in {LinkState.ASKS, LinkState.REFUSED, LinkState.CLOSED}:
                raise self._why()
            changed = self._changed
            if state in {LinkState.IDLE, LinkState.CONNECTING}:
                await changed.wait()
                tried = self.link.state is not LinkState.CONNECTING
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._why()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left)

    async def log_in(self) -> None:
        """Try now, asking a person what has to be asked. Raises VizdashError."""
        done = {LinkState.UP, LinkState.SILENT, LinkState.CONNECTING, LinkState.CLOSED}
        if self.link.state in done:
            return
        self._set(LinkState.CONNECTING)
        self._start(self._first())
        await self.connection(0)

    async def hop(
        self, node: str, address: str = "", names: Sequence[str] = ()
    ) -> asyncssh.SSHClientConnection:
        """A connection to a host behind this one, by keys alone; see ``read_node_settings``.
        Raises VizdashError.
        """
        login = Login(self._prompter, self._secrets, quiet=True)
        target = Target.parse(node)
        settings = await read_node_settings(target, address, names)
        via = await self.connection(10)
        return await login.open(target, lambda exc: None, via, settings)

    async def close(self) -> None:
        """End it for good."""
        conn, self._conn = self._conn, None
        self._set(LinkState.CLOSED)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if conn is not None:
            conn.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                await asyncio.wait_for(conn.wait_closed(), _CLOSE_S)
        await asyncio.gather(
            *(proxy.close() for proxy in self._proxies),
            *(master.wait_closed() for master in self._masters),
        )

    # ------------------------------------------------------------------ attempts

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """An attempt that failed for a reason nobody thought of leaves nobody waiting."""
        if task is self._task and not task.cancelled() and (error := task.exception()):
            self._error = Unreachable(self._target.host, f"{type(error).__name__}: {error}")
            self._set(LinkState.REFUSED, self._error.why)

    async def _first(self) -> None:
        """A login at which a person may be asked."""
        try:
            await self._attempt(quiet=False)
        except (TimedOut, Unreachable) as e:
            self._error = e
            await self._mend(e.why)
        except VizdashError as e:
            self._error = e
            self._set(LinkState.REFUSED, e.why or e.what)

    async def _mend(self, cause: str) -> None:
        """Come back by keys alone, for as long as it takes."""
        if self._typed:
            self._set(LinkState.ASKS, cause)
            return
        for attempt in range(1 << 30):
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            self._set(LinkState.LOST, cause, retry_at=time.time() + pause)
            await asyncio.sleep(pause)
            self._set(LinkState.LOST, cause)
            try:
                await self._attempt(quiet=True)
                return
            except AsksPerson:
                self._set(LinkState.ASKS, cause)
                return
            except (TimedOut, Unreachable) as e:
                cause = e.why or cause
            except VizdashError as e:
                self._error = e
                self._set(LinkState.REFUSED, e.why or e.what)
                return

    async def _attempt(self, *, quiet: bool) -> None:
        choice = await self._choose()
        try:
            await self._log_in(choice, quiet=quiet)
        except NeedsOpenSsh as e:
            if self._ssh != "auto" or choice.openssh:
                raise
            self._need = e.why
            await self._log_in(await self._choose(), quiet=quiet)

    async def _choose(self) -> Choice:
        if self._ssh != "builtin" and shutil.which("ssh"):
            choice = await choose(self._target, self._ssh)
            return choice if choice.openssh or not self._need else Choice(True, self._need)
        if self._ssh == "openssh":
            raise Refused("ssh", "there is none on this machine", "install OpenSSH's client")
        why = "`ssh: builtin` in the config" if self._ssh == "builtin" else "there is no ssh here"
        return Choice(openssh=False, why=why)

    async def _log_in(self, choice: Choice, *, quiet: bool) -> None:
        self._via = choice.words
        login: Login | MasterLogin
        shared: dict[str, bool] = {"quiet": quiet, "forward_agent": self._forward_agent}
        if choice.openssh:
            login = MasterLogin(self._prompter, self._secrets, shared=choice.shared, **shared)
        else:
            yields = self._ssh == "auto" and shutil.which("ssh") is not None
            login = Login(self._prompter, self._secrets, yields=yields, **shared)
        conn: asyncssh.SSHClientConnection | None = None
        try:
            conn = await login.open(self._target, lambda exc: self._lost(conn, exc))
        finally:
            if isinstance(login, Login):
                running = [proxy for proxy in self._proxies if not proxy.ended]
                self._proxies = [*running, *login.proxies]
            elif login.master is not None:
                self._masters = [*(m for m in self._masters if not m.gone), login.master]
        self._conn = conn
        self._typed = login.typed
        self._error = None
        self._set(LinkState.UP)
        self._listen(conn, login)

    def _listen(self, conn: asyncssh.SSHClientConnection, login: Login | MasterLogin) -> None:
        """Say it when the host does not answer our probes, long before it is given up."""

        def check() -> None:
            if conn is not self._conn:
                return
            silent_s = time.monotonic() - login.heard_at
            if silent_s > login.probe_s + _SILENT_S:
                self._set(LinkState.SILENT, f"no answer for {silent_s:.0f} s")
            elif self.link.state is LinkState.SILENT:
                self._set(LinkState.UP)
            asyncio.get_running_loop().call_later(1, check)

        check()

    def _lost(self, conn: asyncssh.SSHClientConnection | None, exc: Exception | None) -> None:
        if conn is None or conn is not self._conn or self.link.state is LinkState.CLOSED:
            return
        self._conn = None
        cause = lost_words(exc)
        self._error = Unreachable(self._target.host, f"the connection is lost: {cause}")
        self._start(self._mend(cause))

    def _set(self, state: LinkState, cause: str = "", retry_at: float | None = None) -> None:
        self.link = Link(self._target.host, state, cause, retry_at, self._via)
        self._changed.set()
        self._changed = asyncio.Event()
        for watcher in self.watchers:
            watcher(self.link)

    def _why(self) -> VizdashError:
        """Why there's no connection."""
        link = self.link
        if link.state is LinkState.ASKS:
            why = f"the connection is lost ({link.cause}), and it asks you to log in again"
            return AsksPerson(link.host, why)
        if link.state is LinkState.CLOSED:
            return Unreachable(link.host, "the connection was closed")
        return self._error or Refused(link.host, link.cause)
