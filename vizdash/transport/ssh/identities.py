"""The keys that a login offers, in ssh's order (sshconnect2.c, pubkey_prepare).

Certificates of CertificateFile; the agent's keys that an IdentityFile names; its other keys; the
remaining files, each key followed by its ``-cert.pub``. The order matters: a server disconnects
after a few (sshd_config(5), MaxAuthTries).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import stat
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from vizdash.transport.ssh.settings import HostSettings

_CERT = "-cert-v01@openssh.com"

#: Returns the passphrase of a key file, or raises ValueError to skip the key.
Passphrase = Callable[[str], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class _Identity:
    """A key or certificate in a file. ``file`` is the private key's; ``public`` is None where it is
    known only after decryption.
    """

    file: Path | None
    public: asyncssh.SSHKey | asyncssh.SSHCertificate | None
    certificate: Path | None = None

    @property
    def data(self) -> bytes | None:
        return self.public.public_data if self.public else None


class Identities:
    """The keys for one login. It holds a connection to the agent until ``close``."""

    def __init__(self, settings: HostSettings, passphrase: Passphrase) -> None:
        self._settings = settings
        self._passphrase = passphrase
        self._agent: asyncssh.SSHAgentClient | None = None
        #: Key files that ssh ignores because other users may read them.
        self.exposed: list[Path] = []
        #: The size of an RSA key that was not offered, being too short (0: none was).
        self.short_rsa_bits = 0

    async def pairs(self) -> AsyncGenerator[asyncssh.SSHKeyPair, None]:
        """Yield each key; it is loaded when its turn comes."""
        settings = self._settings
        files, certificates = await asyncio.to_thread(self._on_disk)
        agent = await self._in_agent()
        for certificate in certificates:
            pair = await self._certified(certificate, files, agent)
            if pair and self._long_enough(pair):
                yield pair
        named = {identity.data for identity in files if identity.data}
        held = {pair.public_data for pair in agent}
        for pair in agent:
            if pair.public_data in named and self._accepted(pair):
                yield pair
        for pair in agent:
            only = settings.identities_only
            if pair.public_data not in named and not only and self._accepted(pair):
                yield pair
        for identity in files:
            if identity.data in held:
                continue
            if identity.certificate:
                pair_or_none = await self._certified(identity, files, agent)
            else:
                pair_or_none = await self._load(identity.file)
            if pair_or_none and self._accepted(pair_or_none):
                yield pair_or_none

    def close(self) -> None:
        """Close the connection to the agent."""
        if self._agent is not None:
            self._agent.close()

    # ------------------------------------------------------------------ sources

    def _on_disk(self) -> tuple[list[_Identity], list[_Identity]]:
        """The key files with their certificates, and the certificates of CertificateFile."""
        files = []
        for file in self._settings.identity_files:
            files.append(_Identity(file, read_public(file)))
            if self._settings.certificate_files:
                continue
            beside = file.with_name(f"{file.name}-cert.pub")
            if certificate := _read_certificate(beside):
                files.append(_Identity(file, certificate, beside))
        listed = [
            _Identity(None, certificate, file)
            for file in self._settings.certificate_files
            if (certificate := _read_certificate(file))
        ]
        return files, listed

    async def _in_agent(self) -> list[asyncssh.SSHKeyPair]:
        if not self._settings.agent:
            return []
        try:
            self._agent = await asyncssh.connect_agent(self._settings.agent)
            return list(await self._agent.get_keys())
        except (OSError, ValueError, asyncssh.Error):
            return []  # ssh continues without it

    async def _certified(
        self, identity: _Identity, files: list[_Identity], agent: list[asyncssh.SSHKeyPair]
    ) -> asyncssh.SSHKeyPair | None:
        """A certificate with its private key, from the agent or a file."""
        certificate = identity.public
        assert isinstance(certificate, asyncssh.SSHCertificate)
        wanted = certificate.key.public_data
        for number, pair in enumerate(agent):
            if pair.public_data == wanted and self._agent is not None:
                fresh = (await self._agent.get_keys())[number]
                fresh.set_certificate(certificate)
                return fresh
        owners = [one.file for one in files if one.data == wanted and not one.certificate]
        file = owners[0] if owners else identity.file
        return await self._load(file, identity.certificate)

    # ------------------------------------------------------------------ files

    async def _load(
        self, file: Path | None, certificate: Path | None = None
    ) -> asyncssh.SSHKeyPair | None:
        """Load a key file; its passphrase is asked for when the server accepts the key."""
        if file is None or not await asyncio.to_thread(self._usable, file):
            return None
        loop = asyncio.get_running_loop()

        def load(key: Any) -> asyncssh.SSHKeyPair:
            # In a pair, the second is None: then no certificate is looked for beside the key.
            with_certificate: Any = (key, str(certificate) if certificate else None)
            return asyncssh.load_keypairs(
                with_certificate,
                self._passphrase,  # type: ignore[arg-type]
                loop=loop,
            )[0]

        try:
            if await asyncio.to_thread(_needs_passphrase_first, file):
                phrase = await self._passphrase(str(file))
                key = await asyncio.to_thread(asyncssh.read_private_key, str(file), phrase)
                return await asyncio.to_thread(load, key)
            return await asyncio.to_thread(load, str(file))
        except (OSError, ValueError, TypeError):
            return None  # no private key: ssh skips it, too

    def _usable(self, file: Path) -> bool:
        """Whether ssh would read it: a regular file that other users may not read."""
        try:
            about = file.stat()
        except OSError:
            return False
        if about.st_uid == os.getuid() and about.st_mode & 0o077:
            self.exposed.append(file)
            return False
        return stat.S_ISREG(about.st_mode)

    def _long_enough(self, pair: asyncssh.SSHKeyPair) -> bool:
        """Whether RequiredRSASize allows the key."""
        bits = rsa_bits(pair.public_data)
        if 0 < bits < self._settings.min_rsa_bits:
            self.short_rsa_bits = bits
            return False
        return True

    def _accepted(self, pair: asyncssh.SSHKeyPair) -> bool:
        """Whether RequiredRSASize and PubkeyAcceptedAlgorithms allow the key."""
        if not self._long_enough(pair):
            return False
        accepted = self._settings.algorithms.get("pubkeyacceptedalgorithms")
        if not accepted:
            return True
        algorithm = pair.algorithm.decode()
        names = {algorithm}
        if algorithm.removesuffix(_CERT) == "ssh-rsa":
            suffix = algorithm.removeprefix("ssh-rsa")
            names |= {f"rsa-sha2-256{suffix}", f"rsa-sha2-512{suffix}"}
        return bool(names & set(accepted))


async def add_to_agent(settings: HostSettings, key: asyncssh.SSHKey) -> None:
    """Add a decrypted key to the agent as AddKeysToAgent says (ssh_config(5)); like ssh, nothing is
    reported where there is no agent or where it refuses.
    """
    words = settings.add_to_agent.split()
    if words == ["no"] or not settings.agent:
        return
    lifetime_s = int(words[-1]) if words[-1].isdecimal() else None
    with contextlib.suppress(OSError, ValueError, asyncssh.Error):
        agent = await asyncssh.connect_agent(settings.agent)
        try:
            await agent.add_keys([key], lifetime=lifetime_s, confirm=words[0] == "confirm")
        finally:
            agent.close()


def read_public(file: Path) -> asyncssh.SSHKey | None:
    """Read the public key of an identity file: from itself, ``.pub``, or the private key."""
    for name in (file, file.with_name(f"{file.name}.pub")):
        try:
            return asyncssh.read_public_key(str(name))
        except (OSError, ValueError):
            continue
    try:
        private = asyncssh.read_private_key(str(file))
        return private.convert_to_public()
    except (OSError, ValueError):
        return None


def rsa_bits(data: bytes) -> int:
    """The size of an RSA key, given it or its certificate as in RFC 4253, section 6.6; 0 for a key
    of another type.
    """
    algorithm = data[4 : 4 + int.from_bytes(data[:4])].decode("ascii", "replace")
    if algorithm.removesuffix(_CERT) != "ssh-rsa":
        return 0
    text = f"{algorithm} {base64.b64encode(data).decode()}"
    try:
        if algorithm.endswith(_CERT):
            key = asyncssh.import_certificate(text).key
        else:
            key = asyncssh.import_public_key(text)
    except ValueError:
        return 0
    public: Any = key.pyca_key
    return int(public.key_size)


def _read_certificate(file: Path) -> asyncssh.SSHCertificate | None:
    try:
        return asyncssh.read_certificate(str(file))
    except (OSError, ValueError):
        return None


def _needs_passphrase_first(file: Path) -> bool:
    """Whether the public key is known only with the passphrase (encrypted PEM)."""
    if read_public(file) is not None:
        return False
    try:
        asyncssh.read_private_key(str(file))
    except asyncssh.KeyEncryptionError:
        return True
    except (OSError, ValueError) as e:
        return "passphrase" in str(e).lower()
    return False
