"""What ssh_config(5) says of a host, read by asyncssh, and the files that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import asyncssh

from vizdash.errors import Refused
from vizdash.transport.ssh.hosts import KnownHosts

_CONFIGS = ("~/.ssh/config", "/etc/ssh/ssh_config")
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")


@dataclass(frozen=True, slots=True)
class Target:
    """``[user@]host[:port]``; what is left out comes from ssh_config(5)."""

    host: str
    user: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Target:
        """``user@host:port`` or ``ssh://user@host:port``; IPv6 addresses in brackets."""
        text = text.removeprefix("ssh://").rstrip("/")
        user, _, rest = text.rpartition("@")
        if rest.startswith("["):
            host, _, port = rest[1:].partition("]")
            port = port.removeprefix(":")
        elif rest.count(":") == 1:
            host, _, port = rest.partition(":")
        else:
            host, port = rest, ""
        return cls(host, user, int(port) if port.isdecimal() else 0)


async def settings(target: Target) -> asyncssh.SSHClientConnectionOptions:
    """What the files say of this host; no key is read. Raises Refused for a file with errors."""
    try:
        found: asyncssh.SSHClientConnectionOptions
        found = await asyncssh.SSHClientConnectionOptions.construct(
            host=target.host,
            config=config_files(),
            client_keys=None,
            known_hosts=None,
            **named(target),
        )
        return found
    except (asyncssh.ConfigParseError, ValueError, OSError) as e:
        raise Refused("~/.ssh/config", " ".join(str(e).split()), "mend it") from e


def config_files() -> list[str]:
    """The user's file, then the system's: the first that says something wins."""
    files = [Path(name).expanduser() for name in _CONFIGS]
    return [str(file) for file in files if file.is_file()]


def named(target: Target) -> dict[str, Any]:
    """Only what was named: the rest is ssh_config's."""
    found: dict[str, Any] = {}
    if target.user:
        found["username"] = target.user
    if target.port:
        found["port"] = target.port
    return found


def known_hosts(about: asyncssh.SSHClientConnectionOptions) -> KnownHosts:
    """The known_hosts files that count for this host."""
    user, system = (about.config.get(k) for k in ("UserKnownHostsFile", "GlobalKnownHostsFile"))
    return KnownHosts(cast("list[str] | None", user), cast("list[str] | None", system))


def identity_files(about: asyncssh.SSHClientConnectionOptions) -> list[Path]:
    """The identity files of this host, there or not."""
    files = cast("Sequence[str]", about.config.get("IdentityFile", ()))
    if files:
        return [Path(file).expanduser() for file in files]
    return [Path("~/.ssh").expanduser() / key for key in _DEFAULT_KEYS]


def agent_identities(
    about: asyncssh.SSHClientConnectionOptions, files: Sequence[Path]
) -> list[asyncssh.SSHKey] | None:
    """Which of the agent's keys may be offered: all (None), or those of the identity files."""
    if not about.config.get("IdentitiesOnly"):
        return None
    found = []
    for file in files:
        for name in (file, file.with_name(f"{file.name}.pub")):
            try:
                found.append(asyncssh.read_public_key(str(name)))
            except (OSError, ValueError):
                continue
            break
    return found
