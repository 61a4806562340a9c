"""An SSH server in this process that runs real commands, and a link that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncssh
import pytest


@dataclass
class Behaviour:
    """How the server treats its clients; the counters are what it saw."""

    keys: list[asyncssh.SSHKey] = field(default_factory=list)
    password: str = ""
    #: Rounds of keyboard-interactive: each (instructions, ((prompt, echo), ...), answers).
    rounds: list[tuple[str, tuple[tuple[str, bool], ...], tuple[str, ...]]] = field(
        default_factory=list
    )
    #: Seconds that each round of keyboard-interactive takes.
    push_s: float = 0
    both: bool = False
    banner: str = ""
    shell: Sequence[str] = ("/bin/sh", "-c")
    noise: str = ""
    max_sessions: int = 10
    #: Whether it hangs up without a word at a wrong answer.
    hangs_up: bool = False
    #: Whether it offers gssapi-with-mic, which no client can use.
    kerberos: bool = False
    sockets: bool = True
    open_now: int = 0
    most_open: int = 0
    logins: int = 0
    tried: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)
    #: Fingerprints of the keys that clients offered, in their order, certificates with "cert ".
    offered: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    #: What clients lent us: an X display, the path of an agent.
    lent: list[str] = field(default_factory=list)
    conns: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    commands: set[asyncio.Task[Any]] = field(default_factory=set)


class Server(asyncssh.SSHServer):
    def __init__(self, how: Behaviour) -> None:
        self.how = how
        self.round = 0
        self.partial = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn
        self.how.conns.append(conn)
        conn._gss_mic_auth = self.how.kerberos

    def begin_auth(self, username: str) -> bool:
        self.user = username
        self.how.users.append(username)
        if self.how.banner:
            self.conn.send_auth_banner(self.how.banner)
        return True

    def auth_completed(self) -> None:
        self.how.logins += 1

    def public_key_auth_supported(self) -> bool:
        return bool(self.how.keys)

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._offer(f"cert by {key.get_fingerprint()}")
        return False

    def _offer(self, text: str) -> None:
        # A key is seen twice where it is accepted: when it is offered, and when it has signed.
        if self.how.offered[-1:] != [text]:
            self.how.offered.append(text)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._offer(key.get_fingerprint())
        return key.public_data in {k.public_data for k in self.how.keys}

    def password_auth_supported(self) -> bool:
        return bool(self.how.password)

    def validate_password(self, username: str, password: str) -> bool:
        self.how.tried.append(password)
        return password == self.how.password

    def kbdint_auth_supported(self) -> bool:
        return bool(self.how.rounds)

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        self.round = 0
        return self._challenge()

    def _challenge(self) -> Any:
        instructions, prompts, _ = self.how.rounds[self.round]
        return "", instructions, "", list(prompts)

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> Any:
        self.how.tried.extend(responses)
        if tuple(responses) != self.how.rounds[self.round][2]:
            if self.how.hangs_up:
                self.conn.abort()
            return False
        self.round += 1
        if self.how.push_s:
            return self._push()
        return True if self.round == len(self.how.rounds) else self._challenge()

    def session_requested(self) -> Any:
        how = self.how
        if how.open_now >= how.max_sessions:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
        how.open_now += 1
        how.most_open = max(how.most_open, how.open_now)
        return asyncssh.SSHServerProcess(self._run, None, 3, False)

    def unix_connection_requested(self, dest_path: str) -> Any:
        return self.how.sockets

    def connection_requested(self, *place: Any) -> Any:
        return True

    async def _push(self) -> Any:
        """A push notification that takes a while to be answered."""
        await asyncio.sleep(self.how.push_s)
        return True if self.round == len(self.how.rounds) else self._challenge()

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run a command line by the user's login shell, as sshd does."""
        how = self.how
        line = process.command or ""
        how.ran.append(line)
        lent = (process.channel.get_x11_display(), process.channel.get_agent_path())
        how.lent += [what for what in lent if what]
        task = asyncio.current_task()
        assert task is not None
        how.commands.add(task)
        task.add_done_callback(how.commands.discard)
        try:
            if how.noise:
                process.stdout.write(how.noise.encode())
                process.stderr.write(how.noise.encode())
            child = await asyncio.create_subprocess_exec(
                *how.shell,
                line,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            feeding = asyncio.create_task(_copy(process.stdin, child.stdin, end=True))
            pumps = [
                asyncio.create_task(_pump(child.stdout, process.stdout)),
                asyncio.create_task(_pump(child.stderr, process.stderr)),
            ]
            closed = asyncio.create_task(process.wait_closed())
            ended = asyncio.create_task(child.wait())
            both: set[asyncio.Task[Any]] = {closed, ended}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, 15)
            code = await ended
            await asyncio.gather(*pumps)
            feeding.cancel()
            # Its stdin may be open still: a loop that ends meanwhile would warn of it.
            child._transport.close()  # type: ignore[attr-defined]
            with contextlib.suppress(asyncssh.Error, OSError):
                process.exit(code if code >= 0 else 128 - code)
        finally:
            how.open_now -= 1
        with contextlib.suppress(asyncssh.Error, OSError):
            await closed


async def _copy(source: Any, sink: Any, *, end: bool = False) -> None:
    with contextlib.suppress(asyncssh.Error, asyncssh.SignalReceived, OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    if end:
        sink.close()


async def _pump(source: asyncio.StreamReader | None, sink: Any) -> None:
    """Copy the output of a child, and drop it once the client has closed the channel: asyncio does
    not report the end of a child with a full pipe (gh-119710).
    """
    assert source is not None
    await _copy(source, sink)
    while await source.read(65536):
        pass


@dataclass
class Sshd:
    how: Behaviour
    port: int
    host_key: asyncssh.SSHKey
    server: asyncssh.SSHAcceptor
    address: str = "127.0.0.1"

    def known(self, home: Path, name: str = "", key: asyncssh.SSHKey | None = None) -> None:
        """Put the host key into known_hosts, with the port."""
        self.note(home, f"[{name or self.address}]:{self.port}", key)

    def note(self, home: Path, name: str, key: asyncssh.SSHKey | None = None) -> None:
        """Put the host key into known_hosts under just this name."""
        text = (key or self.host_key).export_public_key("openssh").decode().split()
        file = home / ".ssh/known_hosts"
        old = file.read_text() if file.exists() else ""
        file.write_text(f"{old}{name} {text[0]} {text[1]}\n")


@contextlib.asynccontextmanager
async def sshd(
    how: Behaviour,
    key: asyncssh.SSHKey | None = None,
    port: int = 0,
    host_keys: Sequence[Any] = (),
    address: str = "127.0.0.1",
    *,
    sock: socket.socket | None = None,
) -> AsyncIterator[Sshd]:
    """A server at this address and port (0: a free one), or on a socket that is bound to one."""
    host_key = key or asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        lambda: Server(how),
        "" if sock else address,
        0 if sock else port,
        sock=sock,
        server_host_keys=[*host_keys] or [host_key],
        encoding=None,
        x11_forwarding=True,
    )
    try:
        yield Sshd(how, server.get_port(), host_key, server, address)
    finally:
        server.close()
        for conn in how.conns:
            conn.abort()
        await server.wait_closed()
        # A loop that is closed before it has heard of its children's end warns of them.
        await asyncio.gather(*how.commands, return_exceptions=True)


class Wire:
    """A TCP relay that can swallow everything, or reset its connections."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.dark = asyncio.Event()
        self.light = asyncio.Event()
        self.light.set()
        self.made = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._socks: set[socket.socket] = set()

    async def __aenter__(self) -> Wire:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._socks:
            sock.close()

    def cut(self) -> None:
        """Drop everything in both directions from now on, silently."""
        self.light.clear()

    def fix(self) -> None:
        self.light.set()

    def reset(self) -> None:
        """Send a RST to both ends of every connection."""
        for sock in self._socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for task in tuple(self._serving):
            task.cancel()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            self.made += 1
            near.setblocking(False)
            task = self._spawn(self._serve(near))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        far = socket.socket()
        far.setblocking(False)
        self._socks |= {near, far}
        pumps: list[asyncio.Task[None]] = []
        try:
            await self.light.wait()
            with contextlib.suppress(OSError):
                await loop.sock_connect(far, ("127.0.0.1", self.target))
                pumps += [self._spawn(self._pump(*way)) for way in ((near, far), (far, near))]
                await asyncio.gather(*pumps)
        finally:
            # Nothing may wait for a closed socket: its number is soon another file's.
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._socks -= {near, far}
            near.close()
            far.close()

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, 65536):
            await self.light.wait()
            await loop.sock_sendall(sink, data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@dataclass
class ScriptedUser:
    """Answers from a list and remembers the questions; without an answer left, never answers."""

    answers: list[tuple[str, ...] | None] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    delay_s: float = 0
    shown: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    waits: int = 0
    gives_up: bool = False

    async def ask(self, prompt: Any) -> tuple[str, ...] | None:
        self.asked.append(prompt)
        await asyncio.sleep(self.delay_s)
        if not self.answers:
            await asyncio.Event().wait()
        return self.answers.pop(0)

    def show(self, title: str, lines: tuple[str, ...]) -> None:
        self.shown.append((title, lines))

    async def wait(self, title: str, lines: tuple[str, ...]) -> None:
        self.shown.append((title, lines))
        self.waits += 1
        if not self.gives_up:
            await asyncio.Event().wait()


@dataclass
class SlowUser(ScriptedUser):
    """Takes ten minutes for each answer, by the clock of the login timeout."""

    ahead_s: float = 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SimpleNamespace(monotonic=lambda: time.monotonic() + self.ahead_s)
        monkeypatch.setattr("vizdash.transport.ssh.client.time", clock)

    async def ask(self, prompt: Any) -> tuple[str, ...] | None:
        self.ahead_s += 600
        await asyncio.sleep(0.6)  # a login that times out checks a few times meanwhile
        return await super().ask(prompt)


@dataclass
class LateUser(ScriptedUser):
    """Types until the server, which is ``how``, has given up the login (sshd_config(5),
    LoginGraceTime).
    """

    how: Behaviour = field(default_factory=Behaviour)

    async def ask(self, prompt: Any) -> tuple[str, ...] | None:
        if not self.asked:
            self.how.conns[-1].abort()
            await self.how.conns[-1].wait_closed()
            await asyncio.sleep(1)
        return await super().ask(prompt)


def proxy_program(port: int) -> str:
    """A program in Python for ProxyCommand: copies stdin and stdout from and to a local port."""
    return (
        "import os, socket, threading\n"
        f"s = socket.create_connection(('127.0.0.1', {port}))\n"
        "def up():\n"
        "    while d := os.read(0, 65536): s.sendall(d)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while d := s.recv(65536): os.write(1, d)\n"
    )
