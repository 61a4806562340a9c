"""One host's side of a login: its questions, its host key, and the end of its connection."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import asyncssh

from vizdash.errors import Refused
from vizdash.model.link import Field, Prompt
from vizdash.transport.ssh.known_hosts import KnownHost, KnownLine, Verdict
from vizdash.transport.ssh.needs import NeedsOpenSsh
from vizdash.transport.ssh.settings import HostSettings


class Asking(Protocol):
    """What a client needs of its login: a person to ask, unless it is quiet."""

    quiet: bool
    blocked: bool

    async def ask_secret(self, prompt: Prompt) -> tuple[str, ...] | None:
        """What a person typed; None: never mind."""
        ...

    def show(self, title: str, lines: Sequence[str]) -> None:
        """Show text that needs no answer."""
        ...


class Silence:
    """Counts the seconds in which the other end sent nothing and nobody was typing."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._typing = 0

    def seconds(self) -> float:
        """Seconds without a byte; 0 while a person types."""
        return 0.0 if self._typing else time.monotonic() - self._since

    def broken(self) -> None:
        """A byte came, or something new was begun."""
        self._since = time.monotonic()

    def __enter__(self) -> None:
        """A person types, or we work."""
        self._typing += 1

    def __exit__(self, *exc: object) -> None:
        self._typing -= 1
        self.broken()


class Client(asyncssh.SSHClient):
    """Answers one host's questions during a login, and says when its connection is lost.

    With ``kerberos`` there is a ticket, and a host that takes one is left to ssh(1).
    """

    def __init__(
        self,
        login: Asking,
        settings: HostSettings,
        *,
        known: KnownHost,
        trusted: Sequence[asyncssh.SSHKey],
        keys: AsyncIterator[asyncssh.SSHKeyPair],
        silence: Silence,
        kerberos: bool = False,
    ) -> None:
        self._kerberos = kerberos
        self._login = login
        self._settings = settings
        self._known = known
        self._trusted = trusted
        self._keys = keys
        self._silence = silence
        self._conn: asyncssh.SSHClientConnection | None = None
        self._attempts: dict[str, int] = {}
        self._refused = False
        #: Text of the server that no question has shown yet.
        self.unshown: list[str] = []
        #: The host key that was not good, what is known of it, and whether it was a certificate
        #: that nobody here vouches for.
        self.key: asyncssh.SSHKey | None = None
        self.verdict: tuple[Verdict, KnownLine | None] = (Verdict.UNKNOWN, None)
        self.certified = False
        #: Whether the server lets people in who have a Kerberos ticket.
        self.takes_tickets = False
        #: When its last byte came (time.monotonic).
        self.heard_at = time.monotonic()
        self.lost: Callable[[Exception | None], None] | None = None

    # ------------------------------------------------------------------ the connection

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Listen for each byte: asyncssh itself does not say when the last one came."""
        self._conn = conn
        received = conn.data_received

        def data_received(data: bytes, datatype: Any = None) -> None:
            self._silence.broken()
            self.heard_at = time.monotonic()
            received(data, datatype)

        conn.data_received = data_received  # type: ignore[method-assign]
        conn.gss_mic_auth_requested = self._kerberos_offered  # type: ignore[method-assign]

    def _kerberos_offered(self) -> bool:
        """The server takes Kerberos tickets, which asyncssh has no way to use here."""
        self.takes_tickets = True
        if self._kerberos:
            why = "it takes your Kerberos ticket (GSSAPIAuthentication)"
            raise NeedsOpenSsh(self._settings.name, why)
        return False

    @property
    def authenticating(self) -> bool:
        """Whether keys have been exchanged, so that the server now decides on the person."""
        return self._conn is not None and bool(self._conn.get_extra_info("recv_cipher"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        if self.lost is not None:
            self.lost(exc)

    # ------------------------------------------------------------------ its key

    def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        """Whether known_hosts has the key; a person is asked between two connections."""
        if key in self._trusted:
            return True
        if self._settings.trusts_localhost and not self._settings.alias and _is_loopback(addr):
            return True
        verdict = self._known.judge(key)
        if verdict[0] is Verdict.GOOD:
            return True
        self.key, self.verdict = key, verdict
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        """An unknown authority: the host's plain key decides."""
        self.certified = True
        return False

    # ------------------------------------------------------------------ its questions

    async def public_key_auth_requested(self) -> Any:
        """The next key."""
        try:
            return [await anext(self._keys)]
        except StopAsyncIteration:
            return None

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """Shown with the next question, or when the server lets us wait."""
        self.unshown += text_lines(msg)

    async def password_auth_requested(self) -> str | None:
        """One password per request."""
        if not self._may_ask("password"):
            return None
        return (await self._ask("", (Field("password"),)))[0]

    def kbdint_auth_requested(self) -> str | None:
        """Begin an attempt, which may be several rounds of questions."""
        return "" if self._may_ask("kbdint") else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """A round may ask nothing (then its text is shown), one thing or several."""
        note = f"{name}\n{instructions}"
        if not prompts:
            self.unshown += text_lines(note)
            self.show_rest()
            return []
        fields = tuple(
            Field(text.strip().rstrip(":") or "answer", shown) for text, shown in prompts
        )
        return list(await self._ask(note, fields))

    def take_text(self) -> list[str]:
        """What the server said and nothing has shown; it counts as shown now."""
        lines, self.unshown = self.unshown, []
        return lines

    def show_rest(self) -> None:
        """Show what the server said and no question has shown."""
        lines = self.take_text()
        if lines and not self._login.quiet:
            self._login.show(f"{self._settings.name} says", lines)

    def _may_ask(self, method: str) -> bool:
        """Whether a person may be asked (once more)."""
        if self._login.quiet:
            self._login.blocked = True
            return False
        tried = self._attempts.get(method, 0)
        self._attempts[method] = tried + 1
        self._refused = tried > 0
        return tried < self._settings.prompts

    async def _ask(self, note: str, fields: tuple[Field, ...]) -> tuple[str, ...]:
        again = ["That was refused: try again."] if self._refused else []
        lines = [*again, *self.unshown, *text_lines(note)]
        self.unshown, self._refused = [], False
        name = self._settings.name
        answer = await self._login.ask_secret(Prompt(f"Log in to {name}", tuple(lines), fields))
        if answer is None:
            raise Refused(f"login to {name}", "it was cancelled")
        return answer


def text_lines(text: str) -> list[str]:
    """The lines of a server's text that say something."""
    return [line for line in text.splitlines() if line.strip()]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
