"""What a login needs that asyncssh does not have here, so that ssh(1) itself has to do it."""

from __future__ import annotations

import asyncio
import shutil

import asyncssh

from vizdash.errors import Refused
from vizdash.transport.ssh.identities import read_public
from vizdash.transport.ssh.settings import HostSettings

#: The method of RFC 4462 that both ends need for a Kerberos ticket.
GSSAPI = "gssapi-with-mic"


class NeedsOpenSsh(Refused):
    """A login that vizdash's own SSH can't do. ``why`` says what for."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"login to {host}", why, "`ssh: openssh` in the config has ssh do it")


async def find_need(settings: HostSettings) -> str:
    """What a host's settings and keys need of ssh(1), in words; "" for nothing. A Kerberos ticket
    is another matter: the server has to want it.
    """
    if settings.only_ssh:
        return f"{settings.only_ssh[0]} in the settings of {settings.name}"
    tokens = await asyncio.to_thread(_token_keys, settings)
    if tokens:
        held = await _held(settings.agent)
        for file, data in tokens:
            if data not in held:
                return f"{file} is a FIDO key, and no agent holds it"
    return ""


def check_revoking(settings: HostSettings) -> None:
    """Raise NeedsOpenSsh where a file of revoked host keys is named. Whatever else vizdash's own
    SSH can't do makes it ask more, or fail; to do without this would let in too many.
    """
    for setting in settings.only_ssh:
        if setting.startswith("RevokedHostKeys "):
            raise NeedsOpenSsh(settings.name, f"{setting} in the settings of {settings.name}")


async def has_ticket() -> bool:
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
    found = []
    for file in settings.identity_files:
        public = read_public(file)
        if public is not None and public.get_algorithm().startswith("sk-"):
            found.append((str(file), public.public_data))
    return found


async def _held(agent: str) -> set[bytes]:
    """The keys of the agent."""
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
