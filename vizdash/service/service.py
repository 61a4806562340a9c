"""The facade: a cluster's parts by subject, its snapshots, starting and stopping sessions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from vizdash.config import App, Config
from vizdash.engines import Engine, EngineInfo
from vizdash.engines.job_selection import JobSelection, SelectedJobs
from vizdash.errors import Refused, TimedOut, VizdashError
from vizdash.images.survey import ImageSurvey
from vizdash.model import CommandRun, Node, Session, SessionRequest, Snapshot
from vizdash.model.job import jobs_on_nodes
from vizdash.model.node import visible_nodes
from vizdash.service.apps import Apps
from vizdash.service.operations import Operations, refuse_read_only
from vizdash.service.query_cache import QueryCache
from vizdash.service.session_queries import SessionQueries
from vizdash.service.start import SessionStarter
from vizdash.service.user_data import UserData
from vizdash.sessions.capacity_limits import waiting_ahead
from vizdash.sessions.ended import EndedSessions
from vizdash.sessions.folder_store import LocalSessionStore, SessionStore
from vizdash.sessions.hand_submitted import HandSubmittedIds, HandSubmittedSessions
from vizdash.sessions.listing import LogFailures
from vizdash.sessions.pending_reasons import explain_pending
from vizdash.sessions.start_plan import StartPlan
from vizdash.transport.base import CommandRunner, PortForwarder, Remote
from vizdash.transport.node_ssh import NodeHosts
from vizdash.transport.recorder import Recorder
from vizdash.util.files import FileAccess

if TYPE_CHECKING:
    from vizdash.service.desktop_routes import DesktopRoutes
    from vizdash.service.shares import Shares
    from vizdash.sessions.ssh_host import SshHosts

#: Seconds that a snapshot waits for the nodes' image folders, and for the records of shares.
_IMAGES_S, _RECORDS_S = 1.5, 5.0
#: Settings with which the engine and the routes to nodes were made: a change takes a restart.
_FIXED = ("engine", "host", "ssh", "forward_agent", "tunnel")


class Service:
    """Everything that a front end may do with one cluster, by subject.

    ``apps`` are what can be started, ``sessions`` what runs, ``ended`` what has run, ``desktops``
    the routes to them, ``ssh_hosts`` logins to them, ``shares`` those shared with others or by
    them, ``images`` what the nodes hold, ``operations`` what changes nodes and running sessions,
    ``user_data`` what the user has saved, ``queries`` the engine's answers.
    Methods raise VizdashError.
    """

    def __init__(
        self,
        config: Config,
        engine: Engine,
        runner: CommandRunner,
        forwarder: PortForwarder,
        *,
        store: SessionStore | None = None,
        remote: Remote | None = None,
        hosts: NodeHosts | None = None,
        images: ImageSurvey | None = None,
        user_data: UserData | None = None,
        hosts_forwarder: PortForwarder | None = None,
    ) -> None:
        self.config = config
        self.engine = engine
        self.remote = remote
        self._hosts_forwarder = hosts_forwarder
        self._share_records = FileAccess("the records of shares", _RECORDS_S)
        self.store = store or LocalSessionStore(config.cluster.state_dir)
        self._runner = runner
        self._forwarder = forwarder
        self._hosts = hosts or NodeHosts(runner, engine.nodes)
        here = engine.name == "local"
        self.images = images or ImageSurvey(runner, config.cluster, here=here, hosts=self._hosts)
        self._hand_submitted: HandSubmittedSessions | None = None
        if engine.name == "slurm":
            names = HandSubmittedIds(config.cluster.name)
            self._hand_submitted = HandSubmittedSessions(runner, self._hosts, names)
        self.apps = Apps(config, engine, runner)
        self.queries = QueryCache(engine)
        self.sessions = SessionQueries(
            config,
            engine,
            queries=self.queries,
            store=self.store,
            images=self.images,
            log_causes=LogFailures(runner, self._hosts, self.store),
            hand_submitted=self._hand_submitted,
            watchers=self._query_watchers,
        )
        self.ended = EndedSessions(engine, self.sessions.of_jobs)
        self.user_data = user_data or UserData(config)
        self.operations = Operations(engine, self.store, read_only=config.read_only)
        self._starter = SessionStarter(
            config,
            engine,
            store=self.store,
            apps=self.apps,
            queries=self.queries,
            images=self.images,
        )

    @cached_property
    def desktops(self) -> DesktopRoutes:
        """The routes to desktops. Browsers, viewers and tunnels are imported with them."""
        from vizdash.service.desktop_routes import DesktopRoutes

        return DesktopRoutes(
            self.config, self.store, self._forwarder, self.sessions.connection, self.remote
        )

    @cached_property
    def ssh_hosts(self) -> SshHosts:
        """Logins to sessions."""
        from vizdash.engines.slurm.commands import step
        from vizdash.sessions.ssh_host import SshHosts, command_here

        return SshHosts(
            self.config.cluster.state_dir,
            self._runner,
            self._forwarder,
            self.sessions.connection,
            step if self.engine.name == "slurm" else command_here,
            remote=self.remote is not None,
        )

    @cached_property
    def shares(self) -> Shares:
        """Desktops that this user shares, and those that others share with this user."""
        from vizdash.service.shares import Shares
        from vizdash.transport.forwarders import SshForwarder

        return Shares(
            self.config,
            self.engine,
            self._runner,
            self._forwarder,
            self.sessions.connection,
            tunnels=self.desktops.tunnels,
            hosts_forwarder=self._hosts_forwarder or SshForwarder(),
            remote=self.remote,
            message=self._show_message,
        )

    async def _query_watchers(self) -> Mapping[str, tuple[str, ...]]:
        """Who watches shared sessions. What shares them is not loaded where nothing was shared."""
        try:
            known = await self._query_has_shares()
        except TimedOut:
            return {}
        return await self.shares.query_watchers() if known else {}

    async def _query_has_shares(self) -> bool:
        """Whether this user has ever shared a session from this machine. Raises TimedOut."""
        folder = Path(platformdirs.user_state_dir("vizdash")) / "shares"
        return await self._share_records.run(folder.is_dir)

    async def _show_message(self, session: Session, text: str) -> None:
        await self.operations.message(session, text)

    def use(self, config: Config) -> tuple[str, ...]:
        """Use a changed config for the same cluster. Returns the keys whose change takes a
        restart.
        """
        old = self.config.cluster
        chosen = config.cluster.name == old.name
        known = config.cluster if chosen else config.clusters.get(old.name)
        new = known or old
        fixed = {name: getattr(old, name) for name in _FIXED}
        where = f"clusters.{old.name}"
        changed = [f"{where}.{name}" for name in _FIXED if getattr(new, name) != fixed[name]]
        self.config = replace(config, cluster=replace(new, **fixed))
        for part in (self.apps, self.sessions, self.user_data, self._starter):
            part.config = self.config
        if "desktops" in self.__dict__:
            self.desktops.config = self.config
        if "shares" in self.__dict__:
            self.shares.config = self.config
        self.images.use_cluster(self.config.cluster)
        self.operations = Operations(self.engine, self.store, read_only=config.read_only)
        return tuple(changed) if known else (where,)

    def with_app(self, app: App) -> Service:
        """The same cluster with one app's configuration replaced by ``app``."""
        config = replace(self.config, apps={**self.config.apps, app.name: app})
        return Service(
            config,
            self.engine,
            self._runner,
            self._forwarder,
            store=self.store,
            hosts=self._hosts,
            images=self.images,
        )

    # ------------------------------------------------------------------ reading

    async def info(self) -> EngineInfo:
        """Who and what the engine is."""
        return await self.engine.info()

    def has(self, program: str) -> bool:
        """Whether the machine that the engine's commands run on has ``program``."""
        return self._runner.has(program)

    @property
    def commands_run(self) -> tuple[CommandRun, ...]:
        """The last commands that were run, newest first."""
        return self._runner.runs if isinstance(self._runner, Recorder) else ()

    async def snapshot(
        self, *, all_users: bool = True, images: bool = True, nodes_max_age_s: float = 0.0
    ) -> Snapshot:
        """The state of the cluster. The user's own jobs are queried every time, other users' jobs
        and the nodes' images less often; nodes when they are ``nodes_max_age_s`` old, or one of
        the own jobs has changed.
        """
        began = time.monotonic()
        info, nodes, own, partitions = await asyncio.gather(
            self.engine.info(),
            self.queries.nodes(max_age_s=nodes_max_age_s),
            self.queries.own_jobs(),
            self.queries.partitions(),
        )
        if nodes_max_age_s:
            nodes = await self.queries.nodes(max_age_s=nodes_max_age_s)
        self._hosts.learn(nodes)
        partition = await self.queries.partition(self.config.cluster)
        members = tuple(n for n in nodes if partition.has(n)) if partition else ()
        members = members if partition else visible_nodes(nodes, partitions)
        others = await self._others(info.user, members) if all_users else SelectedJobs()
        asked_s = time.monotonic() - began
        matrix = (
            await self.images.cached_matrix(members, _IMAGES_S) if images else self.images.latest
        )
        own = explain_pending(own, nodes, time.time())
        jobs = self.ended.with_ended((*own, *others.sessions), info.user)
        sessions = await self.sessions.of_jobs(jobs, info.user)
        return Snapshot(
            cluster=info.cluster,
            engine=f"{info.name} {info.version}",
            partition=partition.name if partition else "",
            user=info.user,
            nodes=members,
            partitions=partitions,
            sessions=sessions,
            images=matrix.images,
            jobs=(*jobs_on_nodes(jobs, members), *others.holding),
            waiting=waiting_ahead((*jobs, *others.waiting), partition, partitions),
            past_note=self.ended.note,
            image_roots=matrix.roots,
            wanted_images=matrix.wanted,
            taken_at=self.queries.own_jobs_at,
            asked_s=asked_s,
            own_only=not all_users,
        )

    async def _others(self, user: str, nodes: Iterable[Node]) -> SelectedJobs:
        """Other users' jobs that matter beside ``nodes``."""
        words = await self.sessions.session_words()
        names = frozenset(node.name for node in nodes)
        return await self.queries.others_jobs(JobSelection(user, words, names, waiting=True))

    # ------------------------------------------------------------------ starting, stopping

    async def plan(self, request: SessionRequest) -> StartPlan:
        """What ``request`` amounts to, and whether it fits; see ``SessionStarter.plan``."""
        return await self._starter.plan(request)

    async def expected_start(self, plan: StartPlan) -> int | None:
        """When ``plan`` would start, in seconds since the epoch; None where the engine can't say.
        Raises as ``start`` does.
        """
        return await self._starter.expected_start(plan)

    async def start(self, request: SessionRequest, *, remember: bool = True) -> Session:
        """Submit a session and return it at once, pending. ``remember`` offers the same request
        again the next time. Raises Refused where it can't run, leaving nothing behind.
        """
        refuse_read_only(self.config.read_only)
        session = await self._starter.start(request)
        if remember:
            await self.user_data.save_last_request(request)
        return session

    async def query_logout_warning(self) -> str:
        """Why a new session ends when its user logs out of this machine, and the fix; empty where
        it keeps running, as on a cluster.
        """
        from vizdash.sessions.logout import logout_warning

        return await logout_warning(self._runner) if self.engine.name == "local" else ""

    async def stop(self, session: Session, note: str = "") -> None:
        """Stop a session; ``note`` is shown in its row afterwards. Raises Refused for another
        user's session.
        """
        refuse_read_only(self.config.read_only)
        if not session.mine and not (await self.engine.info()).admin:
            raise Refused(f"session {session.id}", f"it belongs to {session.user}")
        if note:
            await self.operations.note(session, note)
        by_hand = self._hand_submitted if session.mine else None
        if by_hand is not None:
            await by_hand.clean(self.config, session, stopped=False)
        await self.engine.cancel(session.job_id)
        if by_hand is not None:
            await by_hand.clean(self.config, session, stopped=True)
        if session.mine:
            await self.ssh_hosts.forget(session.id)
            with contextlib.suppress(VizdashError):  # they end with the session, too
                if await self._query_has_shares():
                    await self.shares.revoke(session.id)

    async def close(self) -> None:
        """Stop what runs in the background, remove what opening left behind, save the history."""
        await self.ended.close()
        if self._hand_submitted is not None:
            await self._hand_submitted.close()
        if "shares" in self.__dict__:
            await self.shares.close()
        if "desktops" in self.__dict__:
            await self.desktops.close()
        await self.user_data.save_all()
        await self.images.close()
        if self.remote is not None:
            await self.remote.close()
