"""Shared desktops: those that this user shares, and those that others share with this user."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial

from typing_extensions import override

from vizdash.config import Config
from vizdash.engines import Engine
from vizdash.errors import NotFound, Refused, TimedOut, UsageError, VizdashError
from vizdash.model import Job, Session, SessionState
from vizdash.service.operations import refuse_read_only
from vizdash.sessions import routes
from vizdash.sessions.folder import Connection
from vizdash.sessions.join import Offer, SharedForward, SharesOfOthers, checked_host
from vizdash.sessions.share import HeldShare, ShareTerms
from vizdash.sessions.share_records import HeldShares, ShareRecord, end_share, read_shares
from vizdash.sessions.tunnel_records import HeldTunnels
from vizdash.transport.base import (
    CommandRunner,
    Forward,
    PipeRunner,
    PortForwarder,
    Reader,
    Remote,
    Writer,
)
from vizdash.transport.forwarders import LocalForwarder
from vizdash.util.files import FileAccess

#: Names of users (useradd(8)); what else a site's directory has is asked of the login host.
_USER = re.compile(r"[\w][\w.@+-]{0,255}")


#: Seconds for reading the records, in the home.
_RECORDS_S = 5.0
#: Seconds for which a guest who connects again is not announced again.
_QUIET_S = 60.0


class Shares:
    """Sharing desktops with other users, and joining those of others. Methods raise VizdashError.

    ``runner`` runs commands on the login host, ``forwarder`` reaches sessions' nodes and
    ``hosts_forwarder`` other login hosts; ``connection_of`` reads how to reach a session, and
    ``remote`` is the connection to a login host that is not this machine. ``message`` shows a text
    on a session's desktop.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        runner: CommandRunner,
        forwarder: PortForwarder,
        connection_of: Callable[[Session], Awaitable[Connection]],
        *,
        tunnels: HeldTunnels,
        hosts_forwarder: PortForwarder,
        remote: Remote | None = None,
        message: Callable[[Session, str], Awaitable[None]] | None = None,
    ) -> None:
        self.config = config
        self.held = HeldShares(config.cluster.name)
        self._runner = runner
        self._forwarder = forwarder
        self._connection_of = connection_of
        self._tunnels = tunnels
        self._hosts_forwarder = hosts_forwarder
        self._remote = remote
        self._message = message
        self._announced: dict[str, float] = {}

        async def jobs_of(user: str) -> tuple[Job, ...]:
            return await engine.jobs(user=user)

        self._keeping: set[asyncio.Task[None]] = set()
        self._joined: list[routes.Route] = []
        self._files = FileAccess("the records of shares", _RECORDS_S)
        self._others = SharesOfOthers(runner, jobs_of, trusted=engine.name == "local")

    # ------------------------------------------------------------------ the owner's side

    async def start(
        self, session: Session, guest: str, *, control: bool = False, for_s: int = 0
    ) -> HeldShare:
        """Share a ready desktop with another user, view-only unless with ``control``, for as long
        as this process holds it and the session lives, at most ``for_s`` seconds (0: no limit).

        Raises Refused, with the reason, where it can't be shared.
        """
        refuse_read_only(self.config.read_only)
        what = f"session {session.id} was not shared"
        if not _USER.fullmatch(guest):
            raise UsageError(f"--with {guest}", "that is no user's name")
        _check_shareable(session, what)
        if not isinstance(self._runner, PipeRunner):
            raise Refused(what, "no program can be left running there")
        connection = await self._connection_of(session)
        if not connection.view_password and not control:
            raise Refused(what, "its job script made no view-only password", "see --control")
        terms = ShareTerms(
            session=session.id,
            job_id=session.job_id,
            app=session.app,
            guest=guest,
            control=control,
            expires_at=int(time.time()) + for_s if for_s else None,
        )
        share = HeldShare(terms, connection, await self._open_route(connection))
        try:
            await share.start(self._runner)
            await self.held.add(share)
        except BaseException:
            await asyncio.shield(share.close())
            raise
        share.on_change = partial(self._changed, session, share)
        return share

    def _changed(self, session: Session, share: HeldShare) -> None:
        """Note that the guest has begun or ended to watch. The desktop shows when it begins, but
        not each time that a viewer connects again.
        """
        self.held.changed(share)
        guest, now = share.terms.guest, time.monotonic()
        if share.watching and now - self._announced.get(share.folder, -_QUIET_S) >= _QUIET_S:
            self._announced[share.folder] = now
            verb = "using" if share.terms.control else "watching"
            task = asyncio.get_running_loop().create_task(
                self._announce(session, f"{guest} is {verb} this desktop")
            )
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def _announce(self, session: Session, text: str) -> None:
        if self._message is not None:
            with contextlib.suppress(VizdashError):  # the site may use the comment itself
                await self._message(session, text)

    async def _open_route(self, connection: Connection) -> Forward:
        """A route to the web server of a session, which counts its viewers."""
        if connection.web_socket:
            node, path = connection.node, connection.web_socket
            return await self._forwarder.open(node, path, job_id=connection.job_id)
        host, port = connection.node_ip or connection.node, connection.port
        if not port:
            raise NotFound("the connection file", "it names neither a socket nor a port")
        if self._remote is not None:
            return await self._remote.open_port(host, port)
        return _PortForward(host, port)

    async def end(self, share: HeldShare) -> None:
        """End a share of this process."""
        try:
            await share.close()
        finally:
            await self.held.remove(share)

    def keep(self, share: HeldShare, on_end: Callable[[str], None]) -> None:
        """Keep a share in the background until it is over, its session has ended (``prune``) or
        this service is closed; then ``on_end`` is called with the reason.
        """
        task = asyncio.get_running_loop().create_task(self._keep(share, on_end))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep(self, share: HeldShare, on_end: Callable[[str], None]) -> None:
        try:
            cause = await share.wait_lost()
        finally:
            await self.end(share)
        on_end(cause or "you ended it")

    def prune(self, live: Collection[str]) -> None:
        """End the shares of this process whose jobs are not ``live``."""
        for share in self.held.held:
            if share.terms.job_id not in live:
                share.request_end()

    async def close(self) -> None:
        """End what this process shares, and leave what it has joined."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        await asyncio.gather(*(route.close() for route in self._joined), return_exceptions=True)
        self._joined.clear()

    async def query(self) -> tuple[ShareRecord, ...]:
        """What this user shares of this cluster from this machine, by any vizdash. Raises TimedOut
        where the home hangs.
        """
        name = self.config.cluster.name
        found = await self._files.run(read_shares)
        return tuple(record for record in found if record.cluster == name)

    async def query_watchers(self) -> dict[str, tuple[str, ...]]:
        """The guests who watch now, by session id; none where the home hangs."""
        found: dict[str, tuple[str, ...]] = {}
        try:
            records = await self.query()
        except TimedOut:
            return found
        for record in records:
            if record.watching and record.guest not in found.get(record.session, ()):
                found[record.session] = (*found.get(record.session, ()), record.guest)
        return found

    async def revoke(self, session_id: str, guest: str = "") -> tuple[ShareRecord, ...]:
        """End the shares of a session, or the one with ``guest``. Returns those that were ended.

        Raises Refused or TimedOut, after all have been tried.
        """
        records = [
            record
            for record in await self.query()
            if record.session == session_id and guest in {"", record.guest}
        ]
        ends = await asyncio.gather(*map(end_share, records), return_exceptions=True)
        for error in ends:
            if isinstance(error, BaseException):
                raise error
        return tuple(records)

    # ------------------------------------------------------------------ the guest's side

    async def query_offers(self, via: str = "") -> tuple[tuple[Offer, ...], str]:
        """What others share with this user; see ``SharesOfOthers.query``."""
        return await self._others.query(via)

    async def join(
        self, word: str, via: str = "", *, handoff: bool = False
    ) -> tuple[Offer, routes.Route]:
        """Open a route to the desktop that ``word`` names (empty: the only one); with ``handoff``
        one for a browser on another computer.
        """
        offer = await self._others.find(word, via)
        path = f"{offer.folder}/s"
        if via:
            forward = await self._hosts_forwarder.open(checked_host(via), path)
        elif self._remote is not None:
            forward = await self._remote.open_socket(path)
        else:
            forward = await LocalForwarder().open("this host", path)
        route = await routes.open_shared_route(
            SharedForward(forward),
            offer.password,
            handoff=handoff,
            control=offer.control,
        )
        await self._tunnels.add(session_of(offer), route)
        self._joined.append(route)
        return offer, route

    async def leave(self, route: routes.Route) -> None:
        """Close the route to a desktop that was joined."""
        if route in self._joined:
            self._joined.remove(route)
        await route.close()


def session_of(offer: Offer) -> Session:
    """A session that another user shares, as far as it is known."""
    return Session(
        offer.session, offer.job_id, offer.app, offer.owner, SessionState.READY, mine=False
    )


def _check_shareable(session: Session, what: str) -> None:
    """Raise Refused with the reason where a session can't be shared."""
    if not session.mine:
        raise Refused(what, f"it belongs to {session.user}")
    if session.service:
        raise Refused(what, "it is a service without a desktop")
    if session.legacy:
        raise Refused(what, "it has a legacy job script")
    if session.state is not SessionState.READY:
        why = f"it is {session.state}" + (f": {session.reason}" if session.reason else "")
        raise Refused(what, why)


class _PortForward(Forward):
    """A TCP port that this machine reaches without a route."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    @override
    async def dial(self) -> tuple[Reader, Writer]:
        return await asyncio.open_connection(self._host, self._port)

    @override
    async def wait_lost(self) -> str:
        await asyncio.Event().wait()
        return ""

    @override
    async def close(self) -> None:
        return
