"""Logging in as the person's own ssh does: settings, jump hosts, host keys, keys and questions.

asyncssh is told everything and reads no file. What ssh(1) does and asyncssh leaves to its caller:
a passphrase is asked for only when the server wants the key, jump hosts are logged in to by the
same rules, and no time-out runs while a person types.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.model.link import Field, Prompt
from vizdash.transport.base import Prompter
from vizdash.transport.ssh import patience
from vizdash.transport.ssh.client import Client
from vizdash.transport.ssh.host_keys import Introduction
from vizdash.transport.ssh.identities import Identities
from vizdash.transport.ssh.known_hosts import find_host
from vizdash.transport.ssh.needs import NeedsOpenSsh, check_revoking, has_ticket
from vizdash.transport.ssh.patience import Patience
from vizdash.transport.ssh.proxy import Proxy
from vizdash.transport.ssh.route import check_circle
from vizdash.transport.ssh.settings import HostSettings, Target, read_settings
from vizdash.transport.ssh.words import in_words

_TRIES = 6
#: How a connection ends when its ProxyCommand does.
_BROKEN = (OSError, asyncssh.ConnectionLost, asyncssh.ProtocolError)

logging.getLogger("asyncssh").addHandler(logging.NullHandler())


class AsksPerson(Unreachable):
    """The login needs a secret, and nobody is to be asked now."""


@dataclass(slots=True)
class Secrets:
    """What a person has given, as far as it may be used again: passphrases of keys, by file.

    A password or a code is sent once. One that could not be sent (the server hung up while it
    was typed) is kept for the very next question of the same words, and then it's gone.
    """

    passphrases: dict[str, str] = field(default_factory=dict, repr=False)
    unsent: tuple[tuple[Field, ...], tuple[str, ...]] | None = field(default=None, repr=False)
    #: Host keys that a person trusts, by the name in known_hosts, and that no file could take.
    trusted: dict[str, list[asyncssh.SSHKey]] = field(default_factory=dict)


class Login:
    """One attempt to reach a host, through its jump hosts. ``quiet`` asks nobody anything.

    With ``yields`` it raises NeedsOpenSsh where the person has a Kerberos ticket that a server
    takes, and where the two have no algorithm in common that asyncssh has.
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
        #: Whether a person was needed and could not be asked; whether one gave a secret.
        self.blocked = False
        self.typed = False
        self._patience = Patience(prompter, quiet=quiet)
        self.silence = self._patience.silence
        self.settings: HostSettings | None = None
        self._client: Client | None = None
        self._made: list[tuple[asyncssh.SSHClientConnection, HostSettings]] = []
        self._asking: tuple[Prompt, asyncio.Task[tuple[str, ...] | None]] | None = None
        #: The ProxyCommands that were started: whoever ends the connection waits for their end.
        self.proxies: list[Proxy] = []

    async def open(
        self,
        target: Target,
        lost: Callable[[Exception | None], None],
        via: asyncssh.SSHClientConnection | None = None,
        settings: HostSettings | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in, ``via`` a host where we are already. ``lost`` is called when it is over.
        ``settings`` are the host's, where they are not just those that ssh has for it.

        Raises VizdashError in words; AsksPerson when ``quiet`` and a secret is due.
        """
        task = asyncio.create_task(self._open(target, via, lost, settings=settings))
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=0.25)
                if not task.done():
                    self._watch(target)
            conn = task.result()
            for made, its in self._made:
                made.set_keepalive(*self._keepalive(its))
            return conn
        finally:
            self._patience.stop()
            left = [task, *([self._asking[1]] if self._asking else [])]
            for one in left:
                one.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    @property
    def heard_at(self) -> float:
        """When the host's last byte came (time.monotonic)."""
        return self._client.heard_at if self._client else 0.0

    @property
    def probe_s(self) -> float:
        """Seconds after which a host that is well has been heard of."""
        return (self.settings.alive_interval_s if self.settings else 0) or patience.KEEPALIVE_S

    def _keepalive(self, settings: HostSettings) -> tuple[float, int]:
        """Seconds between probes, and how many may stay without an answer."""
        if settings.alive_interval_s:
            return settings.alive_interval_s, max(1, settings.alive_count)
        probes = patience.PROBES_TYPED if self.typed else patience.PROBES
        return patience.KEEPALIVE_S, probes

    def _watch(self, target: Target) -> None:
        """Say what is awaited, or give up. Raises TimedOut."""
        client, settings = self._client, self.settings
        self._patience.watch(
            settings.name if settings else target.host,
            authenticating=client is not None and client.authenticating,
            connect_timeout_s=settings.connect_timeout_s if settings else 0,
            take_text=client.take_text if client else list,
        )

    # ------------------------------------------------------------------ a person

    def show(self, title: str, lines: Sequence[str]) -> None:
        """Show text that needs no answer."""
        self._prompter.show(title, tuple(lines))

    async def ask_secret(self, prompt: Prompt) -> tuple[str, ...] | None:
        """Ask a person. The question stays on the screen when the server hangs up meanwhile."""
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
        """Ask a person, however long it takes."""
        self._patience.stop()
        with self.silence:
            return await self._prompter.ask(prompt)

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
        behind: tuple[Target, ...] = (),
        settings: HostSettings | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Log in to a host, to the hosts on the way first. ``behind`` lie beyond it."""
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
        check_revoking(settings)
        ticket = self._yields and settings.gssapi and await has_ticket()
        introduction = Introduction(settings, self._secrets.trusted, self)
        for _ in range(_TRIES):
            with self.silence:
                known = await find_host(settings)
            identities = Identities(settings, self._passphrase)
            keys = identities.pairs()
            client = Client(
                self,
                settings,
                known=known,
                trusted=introduction.trusted,
                keys=keys,
                silence=self.silence,
                kerberos=ticket,
            )
            self._client = client
            try:
                options = introduction.options(known)
                if forward_agent and settings.agent and not introduction.unsafe:
                    options["agent_forwarding"] = settings.agent
                conn = await self._once(settings, client, via, options)
            except asyncssh.HostKeyNotVerifiable as e:
                await introduction.after(client, known, e)
                continue
            except (OSError, asyncssh.Error, ValueError) as e:
                if await self._answered_late():
                    continue
                raise self._failure(e, settings, identities) from e
            finally:
                with contextlib.suppress(RuntimeError):  # a passphrase is being asked for
                    await keys.aclose()
                identities.close()
            client.unshown.clear()
            self._made.append((conn, settings))
            client.lost = lost
            return conn
        raise Refused(settings.name, "the login does not come to an end", "try again")

    def _failure(
        self, error: Exception, settings: HostSettings, identities: Identities
    ) -> VizdashError:
        """A login's end, in words."""
        if self._yields and isinstance(error, asyncssh.KeyExchangeFailed):
            return NeedsOpenSsh(settings.name, f"no common algorithm: {error.reason}")
        if self.blocked:
            return AsksPerson(settings.name, "it asks for a secret")
        told = in_words(error, settings.name, typed=self.typed)
        if identities.exposed and isinstance(error, asyncssh.PermissionDenied):
            file = identities.exposed[0]
            why = f"{told.why}; {file} is not used: others may read it"
            return Refused(told.what, why, f"chmod 600 {file}")
        if isinstance(error, asyncssh.PermissionDenied) and self._wants_ticket(settings):
            return Refused(told.what, told.why, "it takes Kerberos too: run `kinit` for a ticket")
        return told

    def _wants_ticket(self, settings: HostSettings) -> bool:
        """Whether a Kerberos ticket might have let the person in."""
        takes = self._client is not None and self._client.takes_tickets
        return takes and settings.gssapi and not self.typed

    async def _once(
        self,
        settings: HostSettings,
        client: Client,
        via: asyncssh.SSHClientConnection | None,
        options: dict[str, Any],
    ) -> asyncssh.SSHClientConnection:
        """One connection: by a tunnel, by a ProxyCommand, or straight."""
        proxy: Proxy | None = None
        if via is None and settings.proxy_command:
            proxy = await Proxy.start(settings.proxy_command)
            self.proxies.append(proxy)
            options["sock"] = proxy.sock
        try:
            conn = await asyncssh.connect(
                settings.host, client_factory=lambda: client, tunnel=via, **options
            )
        except BaseException as e:
            word = await proxy.last_word() if proxy and isinstance(e, _BROKEN) else ""
            if proxy is not None:
                await proxy.close()
            if word:
                raise Unreachable(settings.name, f"its ProxyCommand ended: {word}") from e
            raise
        if proxy is not None:
            proxy.end_with(conn)
        return conn

    # ------------------------------------------------------------------ keys

    async def _passphrase(self, file: str) -> str:
        """The passphrase of a key that the server has accepted. ValueError: without this key."""
        if file in self._secrets.passphrases:
            return self._secrets.passphrases[file]
        if self.quiet:
            self.blocked = True
            raise ValueError(file)
        name = self.settings.name if self.settings else ""
        note: tuple[str, ...] = ()
        for _ in range(3):
            prompt = Prompt(f"Log in to {name}", note, (Field(f"passphrase of {file}"),))
            answer = await self.ask(prompt)
            if answer is None or not answer[0]:
                break
            try:
                with self.silence:
                    await asyncio.to_thread(asyncssh.read_private_key, file, answer[0])
            except (ValueError, OSError):
                note = ("That does not open it: try again.",)
                continue
            self._secrets.passphrases[file] = answer[0]
            return answer[0]
        raise ValueError(file)
