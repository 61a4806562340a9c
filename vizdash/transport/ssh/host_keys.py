"""The decision on a host key that known_hosts does not confirm, made between two connections.

It follows OpenSSH's sshconnect.c, check_host_key, with one difference: a revoked key is never
accepted, whatever StrictHostKeyChecking is.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import asyncssh

from vizdash.errors import Refused
from vizdash.model.connection_status import Prompt
from vizdash.transport.ssh.client import Client, connection_options
from vizdash.transport.ssh.known_hosts import (
    KeyVerdict,
    KnownHost,
    KnownLine,
    add_key,
    file_for_new_key,
    fingerprint,
)
from vizdash.transport.ssh.messages import explain_batch
from vizdash.transport.ssh.settings import HostSettings

_CERT = "-cert-v01@openssh.com"
_ADMINS = "ask the host's administrators"


class KeyDialog(Protocol):
    """Asks the user, unless it is ``quiet``."""

    quiet: bool

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Return the answer, None for "no"."""
        ...


class HostKeyCheck:
    """The check of one host's key during a login.

    ``trusted`` holds accepted keys that could not be written to a file, by the host's name in
    known_hosts; this adds to it.
    """

    def __init__(
        self, settings: HostSettings, trusted: dict[str, list[asyncssh.SSHKey]], dialog: KeyDialog
    ) -> None:
        self._settings = settings
        self._dialog = dialog
        self._plain_only = False
        self._invalid = ""
        #: Connected despite a changed key: no password is sent, and no agent forwarded.
        self.unsafe = False
        self.trusted = trusted.setdefault(settings.known_as, [])

    def options(self, known: KnownHost) -> dict[str, Any]:
        """Return the options of ``asyncssh.connect``, given what is known of the host."""
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

    async def handle_refusal(
        self, client: Client, known: KnownHost, error: asyncssh.HostKeyNotVerifiable
    ) -> None:
        """Decide after a connection that failed at the host's key; return to connect again.

        Raises Refused.
        """
        name = self._settings.name
        if "revoked" in error.reason:
            raise self._revoked(known.first_revoked)
        if client.key is None:
            if self._plain_only:
                raise Refused(f"host key of {name}", error.reason, _ADMINS)
            # A certificate of an unknown authority, or one that is not valid (expired, of another
            # host): the plain key decides.
            self._invalid = "" if client.certified else error.reason.partition(" for host ")[0]
            self._plain_only = True
            return
        verdict, line = client.verdict
        match verdict:
            case KeyVerdict.REVOKED:
                raise self._revoked(line)
            case KeyVerdict.CHANGED:
                self._changed(client.key, line)
            case _:
                await self._unknown(client.key)

    def _revoked(self, line: KnownLine | None) -> Refused:
        where = f" in {line}" if line else ""
        return Refused(f"host key of {self._settings.name}", f"it is revoked{where}", _ADMINS)

    def _changed(self, key: asyncssh.SSHKey, line: KnownLine | None) -> None:
        settings = self._settings
        if settings.strict == "no":
            # As ssh does: by keys alone, since a typed password could be intercepted.
            self.unsafe = True
            self.trusted.append(key)
            return
        why = f"it shows {self._print(key)}, not the one in {line}"
        fix = f"{_ADMINS}; if the new key is right, remove that line"
        raise Refused(f"the host key of {settings.name} has changed", why, fix)

    async def _unknown(self, key: asyncssh.SSHKey) -> None:
        settings = self._settings
        what, shows = f"host key of {settings.name}", f"it shows {self._print(key)}"
        place = await asyncio.to_thread(file_for_new_key, settings)
        by_hand = f"run `ssh {settings.name}` once and compare the fingerprint"
        if settings.strict == "yes":
            why = f"it is not known, and StrictHostKeyChecking is yes; {shows}"
            fix = f"compare it, then add the key to {place or 'known_hosts'}"
            raise Refused(what, why, fix)
        if settings.strict not in {"accept-new", "no"}:
            if settings.batch:
                raise explain_batch(Refused(what, f"it is not known; {shows}"), settings.name)
            if self._dialog.quiet:
                raise Refused(what, f"it is not known; {shows}", by_hand)
            if await self._dialog.ask(self._question(key, place, by_hand)) is None:
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
            f"{settings.name} is unknown",
            lines,
            yes="trust it",
            alone=(f"its key is not known: {self._print(key)}", by_hand),
        )

    def _print(self, key: asyncssh.SSHKey) -> str:
        return fingerprint(key, self._settings.fingerprint_hash)
