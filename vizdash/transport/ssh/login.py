"""Logging in: keys, agent, passwords, codes and host keys, with a person to ask.

What asyncssh 2.24 needs to be told, since it differs from ssh(1): which identity files are there,
that a passphrase is asked for only when the server wants the key, that jump hosts are logged in
to by the same rules, and that no time-out runs while a person types.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncssh

from vizdash.errors import Refused, Unreachable
from vizdash.model.link import Field, Prompt
from vizdash.transport.base import Prompter
from vizdash.transport.ssh.hosts import KnownHosts, fingerprint
from vizdash.transport.ssh.settings import (
    Target,
    agent_identities,
    config_files,
    identity_files,
    known_hosts,
    named,
    settings,
)
from vizdash.transport.ssh.words import in_words

#: Seconds without an answer after which a login is given up; those of a person don't count.
_PATIENCE_S = 20.0
#: A lost connection is noticed after about three times this many seconds.
KEEPALIVE_S = 2.0
_TRIES = 3
_PLAIN_HOST_KEYS = (
    "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
    "rsa-sha2-512", "rsa-sha2-256",
)  # fmt: skip

logging.getLogger("asyncssh").addHandler(logging.NullHandler())


T = TypeVar("T")


class AsksPerson(Unreachable):
    """The login needs a secret, and nobody is to be asked now."""


@dataclass(slots=True)
class Secrets:
    """What a person has typed, as far as it may be used again: passphrases of keys, by file.

    A password or a code is sent once. One that could not be sent (the server hung up while it
    was typed) is kept for the very next question of the same words, and then it's gone.
    """

    passphrases: dict[str, str] = field(default_factory=dict, repr=False)
    unsent: tuple[tuple[Field, ...], tuple[str, ...]] | None = field(default=None, repr=False)
    #: Host keys (name, port, key) that a person trusts and that no file could take.
    trusted: list[tuple[str, int, asyncssh.SSHKey]] = field(default_factory=list)


class Clock:
    """Counts the seconds of a login in which nobody was typing."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._typing_since: float | None = None
        self._typed = 0.0

    def waiting_s(self) -> float:
        """Seconds spent waiting for the other end."""
        now = time.monotonic()
        typing = now - self._typing_since if self._typing_since is not None else 0.0
        return now - self._began - self._typed - typing

    async def typing(self, answer: Awaitable[T]) -> T:
        """Wait for a person, or for work of our own."""
        self._typing_since = time.monotonic()
        try:
            return await answer
        finally:
            self._typed += time.monotonic() - self._typing_since
            self._typing_since = None


class Client(asyncssh.SSHClient):
    """Answers one host's questions during a login, and tells when its connection is lost."""

    def __init__(self, login: Login, name: str) -> None:
        self._login = login
        self._name = name
        self._banner = ""
        self._attempts: dict[str, int] = {}
        self._refused = False
        self.key: asyncssh.SSHKey | None = None
        self.certified = False
        self.lost: Callable[[Exception | None], None] | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        if self.lost is not None:
            self.lost(exc)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        """Remember an unknown key; a person is asked between two connections."""
        self.key = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        """An unknown authority: the host's plain key is looked at instead."""
        self.certified = True
        return False

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """Shown with the next question."""
        self._banner = msg

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
        """A round may ask nothing, one thing or several."""
        if not prompts:
            return []
        fields = tuple(
            Field(text.strip().rstrip(":") or "answer", shown) for text, shown in prompts
        )
        return list(await self._ask(f"{name}\n{instructions}", fields))

    def _may_ask(self, method: str) -> bool:
        """Whether a person may be asked (once more)."""
        if self._login.quiet:
            self._login.blocked = True
            return False
        tried = self._attempts.get(method, 0)
        self._attempts[method] = tried + 1
        self._refused = tried > 0
        return tried < _TRIES

    async def _ask(self, note: str, fields: tuple[Field, ...]) -> tuple[str, ...]:
        again = "That was refused: try again." if self._refused else ""
        said = (again, self._banner, note)
        lines = [line for text in said for line in text.splitlines() if line.strip()]
        self._banner, self._refused = "", False
        prompt = Prompt(f"Log in to {self._name}", tuple(lines), fields)
        answer = await self._login.ask_secret(prompt)
        if answer is None:
            raise Refused(f"login to {self._name}", "it was cancelled")
        return answer


class Login:
    """One attempt to reach a host, through its jump hosts. ``quiet`` asks nobody anything."""

    def __init__(self, prompter: Prompter, secrets: Secrets, *, quiet: bool = False) -> None:
        self._prompter = prompter
        self._secrets = secrets
        self.quiet = quiet
        #: Whether a person was needed and could not be asked; whether one gave a secret.
        self.blocked = False
        self.typed = False
        self._clock = Clock()
        self._asking: tuple[Prompt, asyncio.Task[tuple[str, ...] | None]] | None = None

    async def open(
        self,
        target: Target,
        lost: Callable[[Exception | None], None],
        via: asyncssh.SSHClientConnection | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in, ``via`` a host where we are already. ``lost`` is called when it is over.

        Raises VizdashError in words; AsksPerson when ``quiet`` and a secret is due.
        """
        task = asyncio.create_task(self._open(target, via, lost))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=0.5)
                if self._clock.waiting_s() > _PATIENCE_S and not task.done():
                    raise in_words(TimeoutError(), target.host)
            return task.result()
        finally:
            left = [task, *([self._asking[1]] if self._asking else [])]
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def ask_secret(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Ask a person. The question stays on the screen when the server hangs up meanwhile."""
        self.typed = True
        unsent, self._secrets.unsent = self._secrets.unsent, None
        if unsent and unsent[0] == prompt.fields:
            return unsent[1]
        task = asyncio.ensure_future(self._clock.typing(self._prompter.ask(prompt)))
        self._asking = (prompt, task)
        answer = await asyncio.shield(task)
        self._asking = None
        return answer

    async def _answered_late(self) -> bool:
        """Whether a person was typing when the server hung up: then what they typed is kept."""
        if self._asking is None:
            return False
        (prompt, task), self._asking = self._asking, None
        answer = await task
        if answer is None:
            raise Refused("login", "it was cancelled")
        self._secrets.unsent = (prompt.fields, answer)
        return True

    # ------------------------------------------------------------------ connections

    async def _open(
        self,
        target: Target,
        via: asyncssh.SSHClientConnection | None,
        lost: Callable[[Exception | None], None],
    ) -> asyncssh.SSHClientConnection:
        about = await settings(target)
        jumps: list[asyncssh.SSHClientConnection] = []
        try:
            if via is None and isinstance(about.tunnel, str):
                for hop in about.tunnel.split(","):
                    via = await self._open(Target.parse(hop), via, lambda exc: None)
                    jumps.append(via)
            conn = await self._connect(target, about, via, lost)
        except BaseException:
            for jump in reversed(jumps):
                jump.close()
            raise
        # Closing one closes what it goes through.
        for inner, outer in zip([*jumps[1:], conn], jumps, strict=False):
            inner.set_tunnel(outer)
        return conn

    async def _connect(
        self,
        target: Target,
        about: asyncssh.SSHClientConnectionOptions,
        via: asyncssh.SSHClientConnection | None,
        lost: Callable[[Exception | None], None],
    ) -> asyncssh.SSHClientConnection:
        extra: dict[str, Any] = {}
        for _ in range(2 * _TRIES):
            client = Client(self, target.host)
            known = await asyncio.to_thread(known_hosts, about)
            for name, port, key in self._secrets.trusted:
                known.trust(name, port, key)
            try:
                conn = await self._once(
                    target, about, client, via, known_hosts=known.match, **extra
                )
            except asyncssh.HostKeyNotVerifiable as e:
                if client.certified and "server_host_key_algs" not in extra:
                    extra["server_host_key_algs"] = _PLAIN_HOST_KEYS
                else:
                    await self._introduce(known, about, client.key, e)
                continue
            except (OSError, asyncssh.Error, ValueError) as e:
                if await self._answered_late():
                    continue
                if self.blocked:
                    raise AsksPerson(target.host, "it asks for a secret") from e
                raise in_words(e, target.host, typed=self.typed) from e
            client.lost = lost
            return conn
        raise Refused(target.host, "the login does not come to an end", "try again")

    async def _once(
        self,
        target: Target,
        about: asyncssh.SSHClientConnectionOptions,
        client: Client,
        via: asyncssh.SSHClientConnection | None,
        **extra: Any,
    ) -> asyncssh.SSHClientConnection:
        files = identity_files(about)
        return await asyncssh.connect(
            target.host,
            client_factory=lambda: client,
            config=config_files(),
            tunnel=via,
            client_keys=await self._keys(about, files, target.host),
            agent_identities=await asyncio.to_thread(agent_identities, about, files),
            login_timeout=0,
            connect_timeout=None,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=2,
            request_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            command=None,
            **named(target),
            **extra,
        )

    async def _introduce(
        self,
        known: KnownHosts,
        about: asyncssh.SSHClientConnectionOptions,
        key: asyncssh.SSHKey | None,
        error: asyncssh.HostKeyNotVerifiable,
    ) -> None:
        """A key that no file has: refuse it where the host has another, else ask."""
        name, port = about.host_key_alias or about.host, about.port
        places = await asyncio.to_thread(known.places, name, port)
        if places or key is None:
            why = f"{error.reason}" if key is None else f"it shows {fingerprint(key)}"
            where = f", not the one in {places[0]}" if places else ""
            mend = "ask the host's administrators; if it's right, remove that line"
            raise Refused(f"the host key of {name} has changed", f"{why}{where}", mend)
        if self.quiet:
            raise Refused(f"host key of {name}", f"it is not known: {fingerprint(key)}")
        prompt = Prompt(
            f"{name} is not known yet",
            (
                f"{name}, port {port}, shows this host key:",
                fingerprint(key),
                "Compare it with the one that its administrators tell.",
            ),
            yes="trust it",
        )
        if await self._clock.typing(self._prompter.ask(prompt)) is None:
            raise Refused(f"host key of {name}", "it was not trusted")
        if not await asyncio.to_thread(known.add, name, port, key):
            self._secrets.trusted.append((name, port, key))

    # ------------------------------------------------------------------ keys

    async def _keys(
        self, about: asyncssh.SSHClientConnectionOptions, files: Sequence[Path], name: str
    ) -> list[asyncssh.SSHKeyPair]:
        """The keys that are there; a passphrase is asked for once the server wants its key."""
        certificates = [
            str(path)
            for text in cast("Sequence[str]", about.config.get("CertificateFile", ()))
            if (path := Path(text).expanduser()).is_file()
        ]
        loop = asyncio.get_running_loop()

        async def passphrase(file: str) -> str:
            return await self._passphrase(file, name)

        def load() -> list[asyncssh.SSHKeyPair]:
            found: list[asyncssh.SSHKeyPair] = []
            for file in files:
                try:
                    found += asyncssh.load_keypairs(
                        [str(file)],
                        passphrase,  # type: ignore[arg-type]
                        certificates,
                        loop=loop,
                    )
                except (OSError, ValueError, TypeError):
                    continue  # not there, or no private key: ssh passes over it too
            return found

        return await asyncio.to_thread(load)

    async def _passphrase(self, file: str, name: str) -> str:
        """The passphrase of a key that the server has accepted. ValueError: without this key."""
        if file in self._secrets.passphrases:
            return self._secrets.passphrases[file]
        if self.quiet:
            self.blocked = True
            raise ValueError(file)
        note: tuple[str, ...] = ()
        for _ in range(_TRIES):
            prompt = Prompt(f"Log in to {name}", note, (Field(f"passphrase of {file}"),))
            answer = await self._clock.typing(self._prompter.ask(prompt))
            if answer is None or not answer[0]:
                break
            try:
                opened = asyncio.to_thread(asyncssh.read_private_key, file, answer[0])
                await self._clock.typing(opened)
            except (ValueError, OSError):
                note = ("That does not open it: try again.",)
                continue
            self._secrets.passphrases[file] = answer[0]
            return answer[0]
        raise ValueError(file)
