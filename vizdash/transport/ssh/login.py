"""A login by asyncssh with the settings of ssh(1): jump hosts, host keys, keys and questions.

asyncssh gets every option and reads no file. Like ssh(1), the login asks for a passphrase only when
the server accepts the key, treats jump hosts by the same rules, and stops its time limit while the
user types.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.model.connection_status import Field, Prompt
from vizdash.transport.base import Prompter
from vizdash.transport.ssh import login_timeout
from vizdash.transport.ssh.client import Client
from vizdash.transport.ssh.host_keys import HostKeyCheck
from vizdash.transport.ssh.identities import Identities, add_to_agent
from vizdash.transport.ssh.known_hosts import find_known_host
from vizdash.transport.ssh.login_timeout import LoginTimeout
from vizdash.transport.ssh.messages import explain_batch, login_error
from vizdash.transport.ssh.proxy import Proxy, check_circle
from vizdash.transport.ssh.settings import HostSettings, Target, read_settings
from vizdash.transport.ssh.transport_choice import (
    NeedsOpenSsh,
    has_kerberos_ticket,
    refuse_revoked_keys_file,
)

_TRIES = 6
#: Seconds between attempts to connect (ConnectionAttempts).
_PAUSE_S = 1.0
#: Errors of a connection whose ProxyCommand has ended.
_BROKEN = (OSError, asyncssh.ConnectionLost, asyncssh.ProtocolError)

logging.getLogger("asyncssh").addHandler(logging.NullHandler())


class SecretNeeded(Unreachable):
    """The login needs a secret, and the user is not to be asked now."""


@dataclass(slots=True)
class Secrets:
    """Secrets that the user has typed and that may be used again: passphrases, by key file.

    A password or a code is sent once. One that could not be sent, since the server closed the
    connection meanwhile, is kept for the next question, if that has the same text.
    """

    passphrases: dict[str, str] = field(default_factory=dict, repr=False)
    unsent: tuple[tuple[Field, ...], tuple[str, ...]] | None = field(default=None, repr=False)
    #: Accepted host keys that could not be written to a file, by the name in known_hosts.
    trusted: dict[str, list[asyncssh.SSHKey]] = field(default_factory=dict)


class Login:
    """One attempt to log in to a host, through its jump hosts; ``quiet`` asks the user nothing.

    With ``yields`` it raises NeedsOpenSsh where the server takes the user's Kerberos ticket, and
    where asyncssh has no algorithm in common with it.
    """

    def __init__(
        self,
        prompter: Prompter,
        secrets: Secrets,
        *,
        quiet: bool = False,
        forward_agent: bool = False,
        yields: bool = False,
    ) -> None:
        self._prompter = prompter
        self._secrets = secrets
        self.quiet = quiet
        self._forward_agent = forward_agent
        self._yields = yields
        #: Whether the user had to be asked and was not; whether the user has typed a secret.
        self.blocked = False
        self.typed = False
        self._timeout = LoginTimeout(prompter, quiet=quiet)
        self.silence = self._timeout.silence
        self.settings: HostSettings | None = None
        self._client: Client | None = None
        self._made: list[tuple[asyncssh.SSHClientConnection, HostSettings]] = []
        self._asking: tuple[Prompt, asyncio.Task[tuple[str, ...] | None]] | None = None
        #: The ProxyCommands that were started; the owner of the connection waits for their end.
        self.proxies: list[Proxy] = []

    async def open(
        self,
        target: Target,
        lost: Callable[[Exception | None], None],
        via: asyncssh.SSHClientConnection | None = None,
        settings: HostSettings | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in, through ``via`` if given. ``lost`` is called when the connection ends.
        ``settings`` replace those that ssh has for the host.

        Raises VizdashError; SecretNeeded when ``quiet`` and a secret is needed.
        """
        task = asyncio.create_task(self._open(target, via, lost, settings=settings))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=0.25)
                if not task.done():
                    self._check_time(target)
            conn = task.result()
            for made, its in self._made:
                made.set_keepalive(*self._keepalive(its))
            return conn
        finally:
            self._timeout.hide_wait()
            left = [task, *([self._asking[1]] if self._asking else [])]
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    @property
    def heard_at(self) -> float:
        """Time of the last byte from the host (time.monotonic)."""
        return self._client.heard_at if self._client else 0.0

    @property
    def probe_s(self) -> float:
        """Seconds within which a reachable host sends something."""
        return (self.settings.alive_interval_s if self.settings else 0) or login_timeout.KEEPALIVE_S

    def _keepalive(self, settings: HostSettings) -> tuple[float, int]:
        """Seconds between probes, and how many may stay without an answer."""
        if settings.alive_interval_s:
            return settings.alive_interval_s, max(1, settings.alive_count)
        probes = login_timeout.PROBES_TYPED if self.typed else login_timeout.PROBES
        return login_timeout.KEEPALIVE_S, probes

    def _check_time(self, target: Target) -> None:
        """Show what the login waits for, or fail. Raises TimedOut."""
        client, settings = self._client, self.settings
        self._timeout.check(
            settings.name if settings else target.host,
            authenticating=client is not None and client.authenticating,
            connect_timeout_s=settings.connect_timeout_s if settings else 0,
            take_text=client.take_text if client else list,
        )

    # ------------------------------------------------------------------ questions

    def show(self, title: str, lines: Sequence[str]) -> None:
        """Show text that needs no answer."""
        self._prompter.show(title, tuple(lines))

    async def ask_secret(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Ask for a secret. The question stays on screen if the server closes the connection."""
        self.typed = True
        unsent, self._secrets.unsent = self._secrets.unsent, None
        if unsent and unsent[0] == prompt.fields:
            return unsent[1]
        task = asyncio.ensure_future(self.ask(prompt))
        self._asking = (prompt, task)
        answer = await asyncio.shield(task)
        self._asking = None
        return answer

    async def ask(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Ask the user, without a time limit."""
        self._timeout.hide_wait()
        with self.silence:
            return await self._prompter.ask(prompt)

    async def _answered_late(self) -> bool:
        """Whether the user was typing when the server closed the connection; keeps the answer."""
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
        behind: tuple[Target, ...] = (),
        settings: HostSettings | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in to a host, and to its jump hosts first. ``behind`` are the hosts beyond it."""
        check_circle(target, behind)
        with self.silence:
            settings = settings or await read_settings(target)
        jump: asyncssh.SSHClientConnection | None = None
        if via is None and settings.jumps:
            before = Target.last_of(settings.jumps)
            jump = await self._open(before, None, lambda exc: None, (*behind, target))
        try:
            last = self._forward_agent and not behind
            conn = await self._connect(settings, via or jump, lost, forward_agent=last)
        except BaseException:
            if jump is not None:
                jump.close()
            raise
        if jump is not None:
            conn.set_tunnel(jump)  # closing one closes what it goes through
        return conn

    async def _connect(
        self,
        settings: HostSettings,
        via: asyncssh.SSHClientConnection | None,
        lost: Callable[[Exception | None], None],
        *,
        forward_agent: bool,
    ) -> asyncssh.SSHClientConnection:
        self.settings = settings
        refuse_revoked_keys_file(settings)
        ticket = self._yields and settings.gssapi and await has_kerberos_ticket()
        host_key_check = HostKeyCheck(settings, self._secrets.trusted, self)
        for _ in range(_TRIES):
            with self.silence:
                known = await find_known_host(settings)
            identities = Identities(settings, self._passphrase)
            keys = identities.pairs()
            client = Client(
                self,
                settings,
                known=known,
                trusted=host_key_check.trusted,
                keys=keys,
                silence=self.silence,
                kerberos=ticket,
            )
            self._client = client
            try:
                options = host_key_check.options(known)
                if forward_agent and settings.agent and not host_key_check.unsafe:
                    options["agent_forwarding"] = settings.agent
                conn = await self._once(settings, client, via, options)
            except asyncssh.HostKeyNotVerifiable as e:
                await host_key_check.handle_refusal(client, known, e)
                continue
            except (OSError, asyncssh.Error, ValueError) as e:
                if await self._answered_late():
                    continue
                raise self._failure(e, settings, identities) from e
            finally:
                with contextlib.suppress(RuntimeError):  # it waits for a passphrase
                    await keys.aclose()
                identities.close()
            client.unshown.clear()
            self._made.append((conn, settings))
            client.lost = lost
            return conn
        raise Refused(settings.name, "too many attempts", "try again")

    def _failure(
        self, error: Exception, settings: HostSettings, identities: Identities
    ) -> VizdashError:
        """Return the error for a failed login."""
        if self._yields and isinstance(error, asyncssh.KeyExchangeFailed):
            return NeedsOpenSsh(settings.name, f"no common algorithm: {error.reason}")
        if self.blocked:
            return SecretNeeded(settings.name, "it asks for a secret")
        failure = login_error(error, settings.name, typed=self.typed)
        if identities.exposed and isinstance(error, asyncssh.PermissionDenied):
            file = identities.exposed[0]
            why = f"{failure.why}; {file} is not used: others may read it"
            return Refused(failure.what, why, f"chmod 600 {file}")
        if identities.short_rsa_bits and isinstance(error, asyncssh.PermissionDenied):
            bits, needed = identities.short_rsa_bits, settings.min_rsa_bits
            why = (
                f"{failure.why}; an RSA key of {bits} bits is not used: RequiredRSASize is {needed}"
            )
            return Refused(failure.what, why, failure.fix)
        if isinstance(error, asyncssh.PermissionDenied) and settings.batch:
            return explain_batch(Refused(failure.what, failure.why), settings.name)
        if isinstance(error, asyncssh.PermissionDenied) and self._wants_ticket(settings):
            return Refused(
                failure.what, failure.why, "it takes Kerberos too: run `kinit` for a ticket"
            )
        return failure

    def _wants_ticket(self, settings: HostSettings) -> bool:
        """Whether a Kerberos ticket could have sufficed."""
        takes = self._client is not None and self._client.takes_tickets
        return takes and settings.gssapi and not self.typed

    async def _once(
        self,
        settings: HostSettings,
        client: Client,
        via: asyncssh.SSHClientConnection | None,
        options: dict[str, Any],
    ) -> asyncssh.SSHClientConnection:
        """Connect once: through ``via``, by a ProxyCommand, or directly."""
        proxy: Proxy | None = None
        if via is None and settings.proxy_command:
            proxy = await Proxy.start(settings.proxy_command)
            self.proxies.append(proxy)
            options["sock"] = proxy.sock
        direct = via is None and proxy is None
        try:
            conn = await self._dial(settings, client, via, options, settings.attempts * direct)
        except BaseException as e:
            word = await proxy.last_line() if proxy and isinstance(e, _BROKEN) else ""
            if proxy is not None:
                await proxy.close()
            if word:
                raise Unreachable(settings.name, f"its ProxyCommand has ended: {word}") from e
            raise
        if proxy is not None:
            proxy.end_with(conn)
        return conn

    async def _dial(
        self,
        settings: HostSettings,
        client: Client,
        via: asyncssh.SSHClientConnection | None,
        options: dict[str, Any],
        attempts: int,
    ) -> asyncssh.SSHClientConnection:
        """Connect, as often as ConnectionAttempts allows, once a second as ssh does."""
        while True:
            try:
                return await asyncssh.connect(
                    settings.host, client_factory=lambda: client, tunnel=via, **options
                )
            except OSError as e:
                attempts -= 1
                if attempts <= 0 or isinstance(e, socket.gaierror):
                    raise
                await asyncio.sleep(_PAUSE_S)
                self.silence.reset()

    # ------------------------------------------------------------------ keys

    async def _passphrase(self, file: str) -> str:
        """Return the passphrase of a key that the server accepts. Raises ValueError to skip the
        key.
        """
        if file in self._secrets.passphrases:
            return self._secrets.passphrases[file]
        settings = self.settings
        if settings and settings.batch:
            raise ValueError(file)
        if self.quiet:
            self.blocked = True
            raise ValueError(file)
        name = settings.name if settings else ""
        note: tuple[str, ...] = ()
        for _ in range(settings.prompts if settings else 1):
            prompt = Prompt(f"Log in to {name}", note, (Field(f"passphrase of {file}"),))
            answer = await self.ask(prompt)
            if answer is None or not answer[0]:
                break
            try:
                with self.silence:
                    key = await asyncio.to_thread(asyncssh.read_private_key, file, answer[0])
            except (ValueError, OSError):
                note = ("Wrong passphrase. Try again.",)
                continue
            self._secrets.passphrases[file] = answer[0]
            if settings and await self._may_add(settings, file):
                with self.silence:
                    await add_to_agent(settings, key)
            return answer[0]
        raise ValueError(file)

    async def _may_add(self, settings: HostSettings, file: str) -> bool:
        """Whether a key may be added to the agent, if there is one (AddKeysToAgent)."""
        if settings.add_to_agent != "ask" or not settings.agent:
            return True
        prompt = Prompt(f"Log in to {settings.name}", (f"Add {file} to ssh-agent?",), yes="add it")
        return await self.ask(prompt) is not None
