"""A session as an SSH host: what this machine keeps for it, and how its node is prepared.

On the node, assets/nodes/session_sshd.py has the job start an sshd(8) for each connection to a Unix
socket in the session's runtime folder. This machine keeps a key of the session's own and the host
key that the node reported, in a folder that only the user can enter.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import platformdirs

from vizdash.errors import Refused, Unreachable, last_line
from vizdash.model import Session, SessionState
from vizdash.sessions.folder import Connection, folder_of, sessions_root
from vizdash.transport.base import Command, CommandRunner, Forward, PortForwarder
from vizdash.transport.forwarders import LocalForward, check_desktop
from vizdash.transport.local import LocalRunner
from vizdash.util.assets import EXEC_PYTHON, node_script
from vizdash.util.files import (
    check_private,
    locked,
    make_private,
    read_own,
    run_briefly,
    write_whole,
)

#: Seconds that the node has, with a slow start of a job step.
_SET_UP_S = 120.0
#: Types of the client's key, in order of preference; FIPS mode refuses the first.
_KEY_TYPES = ("ed25519", "ecdsa", "rsa")
#: Runs the program of its first argument, which gets its own text too.
_RUN = 'set -- "$1" "$@"; ' + EXEC_PYTHON + 'echo "refused the node has no python3"'

#: A command on a session's node: gets job id, node and command line.
NodeCommand = Callable[[str, str, Sequence[str]], tuple[str, ...]]


def command_here(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
    """A command on the node of a local session: this machine."""
    return tuple(argv)


@dataclass(frozen=True, slots=True)
class SshHost:
    """A session as ssh(1) on this machine knows it. ``folder`` holds its key and its host key."""

    session_id: str
    user: str
    folder: Path

    @property
    def alias(self) -> str:
        """Its name as a host."""
        return f"vizdash-{self.session_id}"

    def entry(self, proxy: str, *more: str) -> str:
        """Its entry for ssh_config(5); ``proxy`` is the ProxyCommand, ``more`` are more lines."""
        lines = (
            f"HostName {self.alias}",
            f"User {self.user}",
            f"ProxyCommand {_percent(proxy)}",
            f"HostKeyAlias {self.alias}",
            f"IdentityFile {_quoted(self.folder / 'key')}",
            f"UserKnownHostsFile {_quoted(self.folder / 'known_hosts')}",
            "GlobalKnownHostsFile /dev/null",
            "IdentitiesOnly yes",
            "PreferredAuthentications publickey",
            "StrictHostKeyChecking yes",
            "UpdateHostKeys no",
            "CheckHostIP no",
            "ForwardX11 no",
            "ServerAliveInterval 30",
            *more,
        )
        return f"Host {self.alias}\n" + "".join(f"    {line}\n" for line in lines)


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(path: Path) -> str:
    return _percent(f'"{path}"')


class SshHosts:
    """Sessions as SSH hosts. Methods raise VizdashError.

    ``runner`` runs commands where the engine's tools are, and ``node_command`` makes one of them
    run inside a session's job. ``remote`` is whether that is another machine, whose session folders
    are not here.
    """

    def __init__(
        self,
        state_dir: str,
        runner: CommandRunner,
        forwarder: PortForwarder,
        connection_of: Callable[[Session], Awaitable[Connection]],
        node_command: NodeCommand,
        *,
        remote: bool,
    ) -> None:
        self._state_dir = state_dir
        self._runner = runner
        self._forwarder = forwarder
        self._connection_of = connection_of
        self._node_command = node_command
        self._remote = remote
        self._here = LocalRunner()

    def find_folder(self, session_id: str) -> Path:
        """The folder of its keys: in the session folder, or in this user's own state."""
        if self._remote:
            return Path(platformdirs.user_state_dir("vizdash")) / "ssh" / session_id
        return folder_of(session_id, sessions_root(self._state_dir)) / "ssh"

    async def prepare(self, session: Session) -> SshHost:
        """Make the session's key on this machine; the node is not asked. Raises Refused."""
        if not session.mine:
            raise Refused(f"session {session.id}", f"only {session.user} can log in to it")
        if session.state is not SessionState.READY:
            why = f"it is {session.state}" + (f": {session.reason}" if session.reason else "")
            raise Refused(f"session {session.id} takes no logins", why)
        if session.legacy:
            raise Refused(f"session {session.id} takes no logins", "it has a legacy job script")
        if not self._here.has("ssh-keygen"):
            why = "there is no ssh-keygen on this machine"
            raise Refused(f"session {session.id}", why, "install OpenSSH's client")
        host = SshHost(session.id, session.user, self.find_folder(session.id))
        try:
            await asyncio.to_thread(_make_folder, host.folder)
            if read_own(host.folder / "key.pub") is None:
                await self._make_key(host)
        except OSError as e:
            raise Refused(f"can't write {host.folder}", e.strerror or str(e)) from e
        return host

    async def _make_key(self, host: SshHost) -> None:
        """Make the client's key, once for all calls at the same time."""
        with locked(host.folder / "lock", needed=False):
            if read_own(host.folder / "key.pub") is not None:
                return
            new = host.folder / "key.new"
            why = ""
            for kind in _KEY_TYPES:
                new.unlink(missing_ok=True)
                argv = ("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", host.alias, "-f", str(new))
                result = await self._here.run(Command(argv))
                if result.code == 0:
                    new.replace(host.folder / "key")
                    Path(f"{new}.pub").replace(host.folder / "key.pub")
                    return
                why = last_line(result.stderr or result.stdout)
            raise Refused(f"no key can be made for session {host.session_id}", why)

    async def connect(self, session: Session) -> tuple[SshHost, Forward]:
        """Open a route to the session's sshd. The node is prepared first if it is not.

        Raises Refused with the reason where the node or the job can't do it.
        """
        host = await self.prepare(session)
        connection = await self._connection_of(session)
        if not connection.runtime_dir:
            raise Refused(f"session {session.id} takes no logins", "its runtime folder is unknown")
        run = f"{connection.job_id} {connection.runtime_dir}\n"
        if read_own(host.folder / "ready") == run:
            with contextlib.suppress(Unreachable):
                return host, await self._open(connection)
        key = await self._set_up(session, connection, host)
        try:
            await asyncio.to_thread(_write_known, host, key, run)
        except OSError as e:
            raise Refused(f"can't write {host.folder}", e.strerror or str(e)) from e
        return host, await self._open(connection)

    async def _open(self, connection: Connection) -> Forward:
        socket = f"{connection.runtime_dir}/ssh/s"
        forward = await self._forwarder.open(connection.node, socket, job_id=connection.job_id)
        if isinstance(forward, LocalForward):
            await check_desktop(forward, connection.node)
        return forward

    async def _set_up(self, session: Session, connection: Connection, host: SshHost) -> str:
        """Prepare the node. Returns the public host key: its type and the key."""
        text = node_script("session_sshd.py").read_text(encoding="utf-8")
        public = (read_own(host.folder / "key.pub") or "").strip()
        argv = ("sh", "-c", _RUN, "sh", text, connection.runtime_dir, session.id, public)
        words = self._node_command(connection.job_id, connection.node, argv)
        result = await self._runner.run(Command(words, timeout_s=_SET_UP_S))
        what = f"session {session.id} takes no logins"
        for line in result.stdout.splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "refused":
                raise Refused(what, rest)
            if kind == "key" and _is_key(rest):
                return rest
        raise Refused(what, last_line(result.stderr) or f"{words[0]} ended with {result.code}")

    async def forget(self, session_id: str) -> None:
        """Remove what this machine keeps for a session that has ended."""
        try:
            folder = self.find_folder(session_id)
        except ValueError:  # only the job is known
            return
        await run_briefly(partial(shutil.rmtree, folder, ignore_errors=True))

    async def sweep(self, live: Sequence[str]) -> None:
        """Remove what this machine keeps for sessions that are not ``live``, where jobs can't."""
        if self._remote:
            parent = self.find_folder("none").parent
            kept = [p.name for p in parent.iterdir()] if parent.is_dir() else []
            for session_id in kept:
                if session_id not in live:
                    await self.forget(session_id)


def _make_folder(folder: Path) -> None:
    make_private(folder)
    check_private(folder)
    folder.chmod(0o700)


def _write_known(host: SshHost, key: str, run: str) -> None:
    """Write the known host key, and for which run of the job it is."""
    (host.folder / "ready").unlink(missing_ok=True)
    write_whole(host.folder / "known_hosts", f"{host.alias} {key}\n")
    write_whole(host.folder / "ready", run)


def _is_key(text: str) -> bool:
    words = text.split(" ")
    return len(words) == 2 and all(word.isascii() and word.isprintable() for word in words)


def proxy_words(program: Sequence[str], options: Sequence[str], session_id: str) -> str:
    """The ProxyCommand that reaches a session from any ssh(1) of this machine."""
    return shlex.join((*program, *options, "proxy", session_id))
