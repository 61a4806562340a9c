"""The login to one host by asyncssh: its options, its questions and its host key."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import asyncssh
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_certificate_algs, get_public_key_algs

from vizdash.errors import Refused
from vizdash.model.connection_status import Field, Prompt
from vizdash.transport.ssh.identities import rsa_bits
from vizdash.transport.ssh.known_hosts import KeyVerdict, KnownHost, KnownLine
from vizdash.transport.ssh.login_timeout import SilenceTimer
from vizdash.transport.ssh.settings import HostSettings
from vizdash.transport.ssh.transport_choice import GSSAPI, NeedsOpenSsh

_FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}

#: Options that asyncssh would otherwise take from a file or its defaults.
_FIXED: dict[str, Any] = {
    "config": None,
    "host_based_auth": False,
    "gss_host": None,
    "gss_kex": False,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": [],
    "client_keys": None,
    "agent_path": None,
    "pkcs11_provider": None,
    "x11_forwarding": False,
    "agent_forwarding": False,
    "command": None,
    "env": None,
    "send_env": None,
    "request_pty": False,
    "login_timeout": 0,
    "connect_timeout": None,
}


def connection_options(
    settings: HostSettings, host_key_algorithms: Sequence[str]
) -> dict[str, Any]:
    """Return keyword arguments of ``asyncssh.connect`` except for keys, known hosts and proxies.

    X11 and the agent are not forwarded, whatever the user's file says. Raises NeedsOpenSsh where
    the settings leave no algorithm that asyncssh has.
    """
    options: dict[str, Any] = _FIXED | {
        "username": settings.user,
        "port": settings.port,
        "host_key_alias": settings.alias or None,
        "family": _FAMILIES.get(settings.address_family, socket.AF_UNSPEC),
        "local_addr": (settings.bind_address, 0) if settings.bind_address else None,
        "tcp_keepalive": settings.tcp_keepalive,
        "canonicalize_hostname": False,
        "compression_algs": ["zlib@openssh.com", "none"] if settings.compression else ["none"],
        # Only to learn whether the server takes Kerberos tickets; ssh(1) tries it first, too.
        "preferred_auth": [*[GSSAPI] * settings.gssapi, *settings.methods] or ["none"],
        "public_key_auth": "publickey" in settings.methods,
        "kbdint_auth": "keyboard-interactive" in settings.methods,
        "password_auth": "password" in settings.methods,
    }
    lists: tuple[tuple[str, str, Callable[[], list[bytes]]], ...] = (
        ("kex_algs", "kexalgorithms", get_kex_algs),
        ("encryption_algs", "ciphers", get_encryption_algs),
        ("mac_algs", "macs", get_mac_algs),
        ("signature_algs", "pubkeyacceptedalgorithms", get_public_key_algs),
    )
    for option, keyword, supported in lists:
        if keyword in settings.algorithms:
            options[option] = _known(settings, keyword, settings.algorithms[keyword], supported())
    if host_key_algorithms:
        known = [*get_public_key_algs(), *get_certificate_algs()]
        options["server_host_key_algs"] = _known(
            settings, "hostkeyalgorithms", host_key_algorithms, known
        )
    return options


def _known(
    settings: HostSettings, keyword: str, wanted: Sequence[str], supported: Sequence[bytes]
) -> list[str]:
    """The algorithms that asyncssh has; it refuses unknown ones."""
    names = {algorithm.decode() for algorithm in supported}
    left = [algorithm for algorithm in wanted if algorithm in names]
    if not left:
        why = f"{keyword} leaves none that vizdash has: {','.join(wanted)}"
        raise NeedsOpenSsh(settings.name, why)
    return left


class LoginDialog(Protocol):
    """How a login asks the user. ``quiet`` asks nothing; ``blocked`` notes that it had to."""

    quiet: bool
    blocked: bool

    async def ask_secret(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Return the text of each field; None if the user cancels."""
        ...

    def show(self, title: str, lines: Sequence[str]) -> None:
        """Show text that needs no answer."""
        ...


class Client(asyncssh.SSHClient):
    """Answers one host's questions during a login, and reports the loss of its connection.

    With ``kerberos`` there is a ticket, and a host that takes one is left to ssh(1).
    """

    def __init__(
        self,
        login: LoginDialog,
        settings: HostSettings,
        *,
        known: KnownHost,
        trusted: Sequence[asyncssh.SSHKey],
        keys: AsyncIterator[asyncssh.SSHKeyPair],
        silence: SilenceTimer,
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
        #: Text of the server that was not shown yet.
        self.unshown: list[str] = []
        #: The host key that was refused, what known_hosts says of it, and whether it came with a
        #: certificate of an unknown authority.
        self.key: asyncssh.SSHKey | None = None
        self.verdict: tuple[KeyVerdict, KnownLine | None] = (KeyVerdict.UNKNOWN, None)
        self.certified = False
        #: Whether the server takes Kerberos tickets.
        self.takes_tickets = False
        #: Time of the last byte from the host (time.monotonic).
        self.heard_at = time.monotonic()
        self.lost: Callable[[Exception | None], None] | None = None

    # ------------------------------------------------------------------ the connection

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Note the time of each byte, which asyncssh does not report."""
        self._conn = conn
        received = conn.data_received

        def data_received(data: bytes, datatype: Any = None) -> None:
            self._silence.reset()
            self.heard_at = time.monotonic()
            received(data, datatype)

        conn.data_received = data_received  # type: ignore[method-assign]
        conn.gss_mic_auth_requested = self._kerberos_offered  # type: ignore[method-assign]
        validate = conn.validate_server_host_key

        def validate_server_host_key(key_data: bytes) -> asyncssh.SSHKey:
            self._check_size(key_data)
            return validate(key_data)

        # In a certificate, too, where asyncssh asks its client only about the authority.
        conn.validate_server_host_key = validate_server_host_key  # type: ignore[method-assign]

    def _check_size(self, key_data: bytes) -> None:
        """Refuse an RSA host key that is too short, whether it is known or not (sshconnect2.c,
        verify_host_key_callback).
        """
        bits, needed = rsa_bits(key_data), self._settings.min_rsa_bits
        if 0 < bits < needed:
            name = self._settings.name
            why = f"its RSA key has {bits} bits, and RequiredRSASize is {needed}"
            raise Refused(f"host key of {name}", why, "ask the host's administrators")

    def _kerberos_offered(self) -> bool:
        """Note that the server takes Kerberos tickets, which asyncssh cannot use here."""
        self.takes_tickets = True
        if self._kerberos:
            why = "it takes your Kerberos ticket (GSSAPIAuthentication)"
            raise NeedsOpenSsh(self._settings.name, why)
        return False

    @property
    def authenticating(self) -> bool:
        """Whether keys have been exchanged, so that the server is authenticating the user."""
        return self._conn is not None and bool(self._conn.get_extra_info("recv_cipher"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the loss."""
        if self.lost is not None:
            self.lost(exc)

    # ------------------------------------------------------------------ its key

    def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        """Whether known_hosts has the key. The user is asked later, between two connections."""
        if key in self._trusted:
            return True
        if self._settings.trusts_localhost and not self._settings.alias and _is_loopback(addr):
            return True
        verdict = self._known.judge(key)
        if verdict[0] is KeyVerdict.GOOD:
            return True
        self.key, self.verdict = key, verdict
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        """Refuse an unknown authority: the host's plain key decides."""
        self.certified = True
        return False

    # ------------------------------------------------------------------ its questions

    async def public_key_auth_requested(self) -> Any:
        """Return the next key to offer."""
        try:
            return [await anext(self._keys)]
        except StopAsyncIteration:
            return None

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """Keep the text for the next question, or for the wait screen."""
        self.unshown += text_lines(msg)

    async def password_auth_requested(self) -> str | None:
        """Ask for a password."""
        if not self._may_ask("password"):
            return None
        return (await self._ask("", (Field("password"),)))[0]

    def kbdint_auth_requested(self) -> str | None:
        """Begin an attempt of one or more rounds of questions."""
        return "" if self._may_ask("kbdint") else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """Ask the questions of a round. A round without questions only shows its text."""
        note = f"{name}\n{instructions}"
        if not prompts:
            self.unshown += text_lines(note)
            self.show_text()
            return []
        fields = tuple(
            Field(text.strip().rstrip(":") or "answer", shown) for text, shown in prompts
        )
        return list(await self._ask(note, fields))

    def take_text(self) -> list[str]:
        """Return the text of the server that was not shown yet; it counts as shown now."""
        lines, self.unshown = self.unshown, []
        return lines

    def show_text(self) -> None:
        """Show the text of the server that was not shown yet."""
        lines = self.take_text()
        if lines and not self._login.quiet:
            self._login.show(f"Message from {self._settings.name}", lines)

    def _may_ask(self, method: str) -> bool:
        """Whether the user may be asked; counts the attempts."""
        if self._login.quiet:
            self._login.blocked = True
            return False
        tried = self._attempts.get(method, 0)
        self._attempts[method] = tried + 1
        self._refused = tried > 0
        return tried < self._settings.prompts

    async def _ask(self, note: str, fields: tuple[Field, ...]) -> tuple[str, ...]:
        again = ["Refused. Try again."] if self._refused else []
        lines = [*again, *self.unshown, *text_lines(note)]
        self.unshown, self._refused = [], False
        name = self._settings.name
        answer = await self._login.ask_secret(Prompt(f"Log in to {name}", tuple(lines), fields))
        if answer is None:
            raise Refused(f"login to {name}", "it was cancelled")
        return answer


def text_lines(text: str) -> list[str]:
    """The lines of a text that are not blank."""
    return [line for line in text.splitlines() if line.strip()]


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
