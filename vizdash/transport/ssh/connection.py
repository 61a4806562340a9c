"""The SSH connection to the login host: made when first needed, and again when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

import asyncssh

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError
from vizdash.model.connection_status import ConnectionState, ConnectionStatus
from vizdash.transport.base import Prompter
from vizdash.transport.openssh.login import MasterLogin
from vizdash.transport.openssh.master import Master
from vizdash.transport.ssh.login import Login, SecretNeeded, Secrets
from vizdash.transport.ssh.messages import describe_loss
from vizdash.transport.ssh.proxy import Proxy, read_node_settings
from vizdash.transport.ssh.settings import Target
from vizdash.transport.ssh.transport_choice import NeedsOpenSsh, TransportChoice, choose_transport

#: Seconds between attempts to reconnect.
_PAUSES = (0.5, 1, 2, 4, 8, 15, 30, 60)
#: Seconds for the answer to a probe, after which the connection counts as silent.
_SILENT_S = 4.0
#: Seconds for closing a connection; with ssh(1), a process has to end.
_CLOSE_S = 10.0


class SshConnection:
    """The connection to ``host`` (``[user@]host[:port]``).

    A lost connection is made again without any question, with growing pauses. Where that needs a
    secret, or is refused, vizdash waits until the user logs in (``log_in``): it never asks for a
    password in a loop, and never repeats a failed login by itself. ``forward_agent`` forwards the
    agent to commands on that host, not to jump hosts. ``ssh`` is the implementation: ``builtin``
    (asyncssh), ``openssh``, or ``auto``.
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
        #: Why ssh(1) has to log in, once a login has shown it.
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
        self.watchers: list[Callable[[ConnectionStatus], None]] = []
        self.status = ConnectionStatus(self._target.host, ConnectionState.IDLE)

    @property
    def current(self) -> asyncssh.SSHClientConnection | None:
        """The connection if it is up."""
        return self._conn

    async def connect(self, wait_s: float) -> asyncssh.SSHClientConnection:
        """Return the connection: log in if there was none yet, or wait until it is back.

        Raises Unreachable when it is not up after ``wait_s`` seconds; those of a first login, in
        which the user may have to type, do not count.
        """
        if self.status.state is ConnectionState.IDLE:
            self._set(ConnectionState.CONNECTING)
            self._start(self._log_in_first())
        deadline = time.monotonic() + wait_s
        tried = False
        while True:
            if self._conn is not None:
                return self._conn
            state = self.status.state
            if tried or state in {
                ConnectionState.ASKS,
                ConnectionState.REFUSED,
                ConnectionState.CLOSED,
            }:
                raise self._why()
            changed = self._changed
            if state in {ConnectionState.IDLE, ConnectionState.CONNECTING}:
                await changed.wait()
                tried = self.status.state is not ConnectionState.CONNECTING
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._why()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), left)

    async def log_in(self) -> None:
        """Log in now, and ask the user what the login needs. Raises VizdashError."""
        done = {
            ConnectionState.UP,
            ConnectionState.SILENT,
            ConnectionState.CONNECTING,
            ConnectionState.CLOSED,
        }
        if self.status.state in done:
            return
        self._set(ConnectionState.CONNECTING)
        self._start(self._log_in_first())
        await self.connect(0)

    async def connect_to_node(
        self, node: str, address: str = "", names: Sequence[str] = ()
    ) -> asyncssh.SSHClientConnection:
        """Connect to a node through this connection, by keys alone. ``address`` and ``names`` are
        those of ``read_node_settings``. Raises VizdashError.
        """
        login = Login(self._prompter, self._secrets, quiet=True)
        target = Target.parse(node)
        settings = await read_node_settings(target, address, names)
        via = await self.connect(10)
        return await login.open(target, lambda exc: None, via, settings)

    async def close(self) -> None:
        """Close the connection; it is not made again."""
        conn, self._conn = self._conn, None
        self._set(ConnectionState.CLOSED)
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
        """Report an unexpected error of an attempt, so that no caller waits for it."""
        if task is self._task and not task.cancelled() and (error := task.exception()):
            self._error = Unreachable(self._target.host, f"{type(error).__name__}: {error}")
            self._set(ConnectionState.REFUSED, self._error.why)

    async def _log_in_first(self) -> None:
        """Log in; the user may be asked."""
        try:
            await self._attempt(quiet=False)
        except (TimedOut, Unreachable) as e:
            self._error = e
            await self._reconnect(e.why)
        except VizdashError as e:
            self._error = e
            self._set(ConnectionState.REFUSED, e.why or e.what)

    async def _reconnect(self, cause: str) -> None:
        """Reconnect by keys alone, for as long as it takes."""
        if self._typed:
            self._set(ConnectionState.ASKS, cause)
            return
        for attempt in range(1 << 30):
            pause = _PAUSES[min(attempt, len(_PAUSES) - 1)]
            self._set(ConnectionState.LOST, cause, retry_at=time.time() + pause)
            await asyncio.sleep(pause)
            self._set(ConnectionState.LOST, cause)
            try:
                await self._attempt(quiet=True)
                return
            except SecretNeeded:
                self._set(ConnectionState.ASKS, cause)
                return
            except (TimedOut, Unreachable) as e:
                cause = e.why or cause
            except VizdashError as e:
                self._error = e
                self._set(ConnectionState.REFUSED, e.why or e.what)
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

    async def _choose(self) -> TransportChoice:
        if self._ssh != "builtin" and shutil.which("ssh"):
            choice = await choose_transport(self._target, self._ssh)
            return choice if choice.openssh or not self._need else TransportChoice(True, self._need)
        if self._ssh == "openssh":
            raise Refused("ssh", "there is none on this machine", "install OpenSSH's client")
        why = "`ssh: builtin` in the config" if self._ssh == "builtin" else "there is no ssh here"
        return TransportChoice(openssh=False, why=why)

    async def _log_in(self, choice: TransportChoice, *, quiet: bool) -> None:
        self._via = choice.description
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
        self._set(ConnectionState.UP)
        self._listen(conn, login)

    def _listen(self, conn: asyncssh.SSHClientConnection, login: Login | MasterLogin) -> None:
        """Report a host that does not answer probes, long before the connection counts as lost."""

        def check() -> None:
            if conn is not self._conn:
                return
            silent_s = time.monotonic() - login.heard_at
            if silent_s > login.probe_s + _SILENT_S:
                self._set(ConnectionState.SILENT, f"no answer for {silent_s:.0f} s")
            elif self.status.state is ConnectionState.SILENT:
                self._set(ConnectionState.UP)
            asyncio.get_running_loop().call_later(1, check)

        check()

    def _lost(self, conn: asyncssh.SSHClientConnection | None, exc: Exception | None) -> None:
        if conn is None or conn is not self._conn or self.status.state is ConnectionState.CLOSED:
            return
        self._conn = None
        cause = describe_loss(exc)
        self._error = Unreachable(self._target.host, f"the connection is lost: {cause}")
        self._start(self._reconnect(cause))

    def _set(self, state: ConnectionState, cause: str = "", retry_at: float | None = None) -> None:
        self.status = ConnectionStatus(self._target.host, state, cause, retry_at, self._via)
        self._changed.set()
        self._changed = asyncio.Event()
        for watcher in self.watchers:
            watcher(self.status)

    def _why(self) -> VizdashError:
        """The reason why there is no connection."""
        status = self.status
        if status.state is ConnectionState.ASKS:
            why = f"the connection is lost ({status.cause}); you have to log in again"
            return SecretNeeded(status.host, why)
        if status.state is ConnectionState.CLOSED:
            return Unreachable(status.host, "the connection was closed")
        return self._error or Refused(status.host, status.cause)
