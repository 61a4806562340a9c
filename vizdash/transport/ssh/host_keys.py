"""A host key that is not known to be good: what ssh would do, decided between two connections.

After OpenSSH's sshconnect.c, check_host_key, with one difference: a revoked key is never taken,
whatever StrictHostKeyChecking is.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import asyncssh

from vizdash.errors import Refused
from vizdash.model.link import Prompt
from vizdash.transport.ssh.client import Client
from vizdash.transport.ssh.known_hosts import (
    KnownHost,
    KnownLine,
    Verdict,
    add_key,
    fingerprint,
    place_for_new,
)
from vizdash.transport.ssh.options import connection_options
from vizdash.transport.ssh.settings import HostSettings

_CERT = "-cert-v01@openssh.com"
_ADMINS = "ask the host's administrators"


class Asker(Protocol):
    """Where to ask a person."""

    quiet: bool

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """See Prompter.ask."""
        ...


class Introduction:
    """How one host is got to know during a login.

    ``trusted`` holds the keys that no file could take, by the host's name in known_hosts; it is
    added to.
    """

    def __init__(
        self, settings: HostSettings, trusted: dict[str, list[asyncssh.SSHKey]], asker: Asker
    ) -> None:
        self._settings = settings
        self._asker = asker
        self._plain_only = False
        self._invalid = ""
        #: Connected in spite of a changed key: nothing that a person types is sent, and no agent.
        self.unsafe = False
        self.trusted = trusted.setdefault(settings.known_as, [])

    def options(self, known: KnownHost) -> dict[str, Any]:
        """What asyncssh is to connect with, given what is known."""
        algorithms = known.order(self._settings.algorithms.get("hostkeyalgorithms", ()))
        if self._plain_only:
            plain = [name for name in algorithms if not name.endswith(_CERT)]
            algorithms = plain or algorithms
        options = connection_options(self._settings, algorithms)
        authorities, revoked = known.keys("CA"), known.keys("REVOKED")
        options["known_hosts"] = lambda host, address, port: ([], authorities, revoked)
        if self.unsafe:
            options |= {"password_auth": False, "kbdint_auth": False}
        return options

    async def after(
        self, client: Client, known: KnownHost, error: asyncssh.HostKeyNotVerifiable
    ) -> None:
        """After a connection that ended at the host's key: return when it is worth another one.

        Raises Refused.
        """
        name = self._settings.name
        if "revoked" in error.reason:
            raise self._revoked(known.first_revoked)
        if client.key is None:
            if self._plain_only:
                raise Refused(f"host key of {name}", error.reason, _ADMINS)
            # A certificate by an unknown authority, or one that is not valid (expired, another
            # host's): its plain key decides.
            self._invalid = "" if client.certified else error.reason.partition(" for host ")[0]
            self._plain_only = True
            return
        verdict, line = client.verdict
        match verdict:
            case Verdict.REVOKED:
                raise self._revoked(line)
            case Verdict.CHANGED:
                self._changed(client.key, line)
            case _:
                await self._unknown(client.key)

    def _revoked(self, line: KnownLine | None) -> Refused:
        where = f" in {line}" if line else ""
        return Refused(f"host key of {self._settings.name}", f"it is revoked{where}", _ADMINS)

    def _changed(self, key: asyncssh.SSHKey, line: KnownLine | None) -> None:
        settings = self._settings
        if settings.strict == "no":
            # As ssh: by keys alone, since what is typed could be overheard.
            self.unsafe = True
            self.trusted.append(key)
            return
        why = f"it shows {self._print(key)}, not the one in {line}"
        fix = f"{_ADMINS}; if it is right, remove that line"
        raise Refused(f"the host key of {settings.name} has changed", why, fix)

    async def _unknown(self, key: asyncssh.SSHKey) -> None:
        settings = self._settings
        what, shows = f"host key of {settings.name}", f"it shows {self._print(key)}"
        place = await asyncio.to_thread(place_for_new, settings)
        by_hand = f"run `ssh {settings.name}` once and compare the fingerprint"
        if settings.strict == "yes":
            why = f"it is not known, and StrictHostKeyChecking is yes; {shows}"
            fix = f"compare it, then add the key to {place or 'known_hosts'}"
            raise Refused(what, why, fix)
        if settings.strict not in {"accept-new", "no"}:
            if self._asker.quiet:
                raise Refused(what, f"it is not known; {shows}", by_hand)
            if await self._asker.ask(self._question(key, place, by_hand)) is None:
                raise Refused(what, "it was not trusted")
        if place is None or not await asyncio.to_thread(add_key, settings, key):
            self.trusted.append(key)

    def _question(self, key: asyncssh.SSHKey, place: object, by_hand: str) -> Prompt:
        settings = self._settings
        where = f" ({settings.host})" if settings.host != settings.name.lower() else ""
        kept = f"It will be added to {place}." if place else "It will be trusted for this run only."
        lines = (
            f"{settings.name}{where}, port {settings.port}, shows this host key:",
            self._print(key),
            *([f"It has a certificate that is not valid: {self._invalid}."] * bool(self._invalid)),
            "Compare it with the one that its administrators publish.",
            kept,
        )
        return Prompt(
            f"{settings.name} is not known yet",
            lines,
            yes="trust it",
            alone=(f"its key is not known: {self._print(key)}", by_hand),
        )

    def _print(self, key: asyncssh.SSHKey) -> str:
        return fingerprint(key, self._settings.fingerprint_hash)
