"""Which SSH implementation logs in, vizdash's own (asyncssh) or ssh(1), and why."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass

import asyncssh

from vizdash.errors import Refused
from vizdash.transport.openssh.control import find_master
from vizdash.transport.ssh.identities import read_public
from vizdash.transport.ssh.proxy import read_route
from vizdash.transport.ssh.settings import HostSettings, Target

#: The method of RFC 4462 that both ends need for a Kerberos ticket.
GSSAPI = "gssapi-with-mic"


class NeedsOpenSsh(Refused):
    """A login that needs ssh(1); ``why`` is the reason."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"login to {host}", why, "`ssh: openssh` in the config has ssh do it")


async def find_openssh_need(settings: HostSettings) -> str:
    """Return what in a host's settings and keys needs ssh(1); empty for nothing.

    A Kerberos ticket does not count here, since the server may not take it.
    """
    if settings.only_ssh:
        return f"{settings.only_ssh[0]} in the settings of {settings.name}"
    tokens = await asyncio.to_thread(_token_keys, settings)
    if tokens:
        held = await _agent_keys(settings.agent)
        for file, data in tokens:
            if data not in held:
                return f"{file} is a FIDO key, and no agent holds it"
    return ""


def refuse_revoked_keys_file(settings: HostSettings) -> None:
    """Raise NeedsOpenSsh where the settings name a file of revoked host keys.

    Without another feature of ssh(1), the built-in SSH asks more or fails; without this one it
    would accept a revoked key.
    """
    for setting in settings.only_ssh:
        if setting.startswith("RevokedHostKeys "):
            raise NeedsOpenSsh(settings.name, f"{setting} in the settings of {settings.name}")


async def has_kerberos_ticket() -> bool:
    """Whether there is a Kerberos ticket that has not expired (klist(1), -s)."""
    klist = shutil.which("klist")
    if klist is None:
        return False
    nothing = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        klist, "-s", stdin=nothing, stdout=nothing, stderr=nothing
    )
    return await process.wait() == 0


def _token_keys(settings: HostSettings) -> list[tuple[str, bytes]]:
    keys = []
    for file in settings.identity_files:
        public = read_public(file)
        if public is not None and public.get_algorithm().startswith("sk-"):
            keys.append((str(file), public.public_data))
    return keys


async def _agent_keys(agent: str) -> set[bytes]:
    """The public keys that the agent holds."""
    if not agent:
        return set()
    try:
        client = await asyncssh.connect_agent(agent)
        try:
            return {pair.public_data for pair in await client.get_keys()}
        finally:
            client.close()
    except (OSError, ValueError, asyncssh.Error):
        return set()


@dataclass(frozen=True, slots=True)
class TransportChoice:
    """The SSH that logs in: ssh(1) if ``openssh``, else the built-in one; ``why`` is the reason.

    ``shared`` is the control socket of an existing connection of the user (empty: none).
    """

    openssh: bool
    why: str
    shared: str = ""

    @property
    def description(self) -> str:
        """The choice and its reason in one line."""
        return f"by {'OpenSSH' if self.openssh else 'the built-in SSH'}: {self.why}"


async def choose_transport(target: Target, wanted: str) -> TransportChoice:
    """Choose the SSH for a host. ``wanted`` is the configuration's ``ssh``: ``auto``, ``openssh``
    or ``builtin``.

    Raises Refused where ssh(1) refuses the settings, and where the jump hosts lead in a circle, in
    which ssh would start itself without end.
    """
    if wanted == "builtin":
        return TransportChoice(openssh=False, why="`ssh: builtin` in the config")
    route = await read_route(target)
    path = route[0].control_path
    if path and await find_master(path):
        return TransportChoice(
            openssh=True, why=f"your own connection at {path} is shared", shared=path
        )
    if wanted == "openssh":
        return TransportChoice(openssh=True, why="`ssh: openssh` in the config")
    for settings in route:
        if need := await find_openssh_need(settings):
            return TransportChoice(openssh=True, why=need)
    return TransportChoice(openssh=False, why="nothing in your ssh settings needs OpenSSH")
