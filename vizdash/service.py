"""One cluster as one user sees it: what the dashboard and the verbs stand on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection
from dataclasses import replace

from vizdash.catalogue import Catalogue
from vizdash.config import App, Config
from vizdash.config.fields import nearest
from vizdash.engines import Engine, EngineInfo
from vizdash.engines.slurm.reasons import MAINTENANCE, MAYBE_RESERVED
from vizdash.errors import NotFound, Refused, Unknown, UsageError, VizdashError
from vizdash.images.watch import ImageWatch
from vizdash.kept import Kept
from vizdash.model import (
    Job,
    Node,
    Partition,
    Session,
    SessionRequest,
    SessionState,
    Snapshot,
)
from vizdash.model.image import version_of
from vizdash.model.job import on_nodes
from vizdash.model.node import shown, unknown
from vizdash.operations import Operations
from vizdash.own import Own
from vizdash.reach import Reach
from vizdash.sessions import listing, opening, submit
from vizdash.sessions.ahead import waiting_ahead
from vizdash.sessions.byhand import LISTED_S, SOUGHT_S, ByHand
from vizdash.sessions.choice import request_for
from vizdash.sessions.comment import is_id
from vizdash.sessions.fit import Fit, fit, only_scheduler
from vizdash.sessions.folder import Status
from vizdash.sessions.handin import hand_in
from vizdash.sessions.handnames import HandNames
from vizdash.sessions.identify import Identifier
from vizdash.sessions.nolog import LogCauses
from vizdash.sessions.past import Past
from vizdash.sessions.rawargs import asked, undecided
from vizdash.sessions.reserved import why_pending
from vizdash.sessions.store import LocalStore, SessionStore
from vizdash.sessions.tunnel_records import HeldTunnels
from vizdash.transport.base import CommandRunner, PortForwarder, Remote
from vizdash.transport.nodehosts import NodeHosts

#: A snapshot waits this long for the nodes' image folders.
_PATIENCE_S = 1.5
#: What the engine and the ways to the nodes were made of, once.
_FIRM = ("engine", "host", "ssh", "forward_agent", "tunnel")


class Service(Own, Reach, Catalogue):
    """Everything a face of vizdash may do with one cluster. Methods raise VizdashError."""

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
    ) -> None:
        self.config = config
        self.engine = engine
        self._hosts = hosts or NodeHosts(runner, engine.nodes)
        here = engine.name == "local"
        self.images = ImageWatch(runner, config.cluster, here=here, hosts=self._hosts)
        self.remote = remote
        self.remembers = True
        self._runner = runner
        self._forwarder = forwarder
        self._store = store or LocalStore(config.cluster.state_dir)
        self._kept = Kept(engine)
        self._showing = opening.Showing()
        self.tunnels = HeldTunnels(config.cluster.name)
        self._identifier = Identifier(self._store)
        names = HandNames(config.cluster.name)
        self._by_hand = ByHand(runner, self._hosts, names) if engine.name == "slurm" else None
        self._log_causes = LogCauses(runner, self._hosts, self._store)
        self.past = Past(engine, self._listed)
        self.operations = Operations(engine, read_only=config.read_only)

    def use(self, config: Config) -> tuple[str, ...]:
        """Use a changed config, on the same cluster. Returns the keys that take a restart."""
        old = self.config.cluster
        chosen = config.cluster.name == old.name
        known = config.cluster if chosen else config.clusters.get(old.name)
        new = known or old
        stay = {name: getattr(old, name) for name in _FIRM}
        where = f"clusters.{old.name}"
        changed = [f"{where}.{name}" for name in _FIRM if getattr(new, name) != stay[name]]
        self.config = replace(config, cluster=replace(new, **stay))
        self.images.use(self.config.cluster)
        self.operations = Operations(self.engine, read_only=config.read_only)
        return tuple(changed) if known else (where,)

    # ------------------------------------------------------------------ reading

    async def info(self) -> EngineInfo:
        """Who and what the engine is."""
        return await self.engine.info()

    def has(self, program: str) -> bool:
        """Whether the machine that the engine's commands run on has ``program``."""
        return self._runner.has(program)

    async def snapshot(self, *, all_users: bool = True, images: bool = True) -> Snapshot:
        """Ask for everything once. The user's own jobs are asked for every time, those of
        others and the nodes' images only now and then.
        """
        began = time.monotonic()
        info, nodes, mine, partitions = await asyncio.gather(
            self.engine.info(), self._kept.nodes(), self._kept.own(), self._kept.partitions()
        )
        self._hosts.learn(nodes)
        others = await self._kept.others(info.user) if all_users else ()
        asked_s = time.monotonic() - began
        partition = self._kept.partition(partitions, self.config.cluster)
        members = tuple(n for n in nodes if partition.has(n)) if partition else ()
        members = members if partition else shown(nodes, partitions)
        found = await self.images.matrix(members, _PATIENCE_S) if images else self.images.now
        mine = why_pending(mine, nodes, time.time())
        jobs = self.past.under((*mine, *others), info.user)
        sessions = await self._listed(jobs, info.user)
        return Snapshot(
            cluster=info.cluster,
            engine=f"{info.name} {info.version}",
            partition=partition.name if partition else "",
            user=info.user,
            nodes=members,
            partitions=partitions,
            sessions=sessions,
            images=found.images,
            jobs=on_nodes(jobs, members),
            waiting=waiting_ahead(jobs, partition, partitions),
            past_note=self.past.note,
            places=found.places,
            wanted_images=found.wanted,
            taken_at=self._kept.own_at,
            asked_s=asked_s,
        )

    async def sessions(
        self, *, all_users: bool = False, wait_s: float = LISTED_S
    ) -> tuple[Session, ...]:
        """The user's own sessions, or everybody's. A node is waited for ``wait_s`` seconds at most,
        for what it knows of a job that was submitted by hand.
        """
        info = await self.engine.info()
        jobs = await self.engine.jobs(user=None if all_users else info.user)
        if any(job.reason in {MAINTENANCE, MAYBE_RESERVED} for job in jobs):
            jobs = why_pending(jobs, await self._kept.nodes(), time.time())
        return await self._listed(jobs, info.user, wait_s=wait_s)

    async def find(self, word: str) -> Session:
        """The session called ``word``: its id, its start, or its job's id. One's own first; an
        admin's word may mean anybody's.

        Raises Unknown, or UsageError when it could be several.
        """
        sessions = await self.sessions()
        hits = listing.called(word, sessions)
        found = any(hit.live for hit in hits)  # an earlier one may have had the same SESSION_ID
        if not found and self._by_hand is not None and self._by_hand.looking:
            sessions = await self.sessions(wait_s=SOUGHT_S)
            hits = listing.called(word, sessions)
        if not hits and (await self.engine.info()).admin:
            hits = listing.called(word, await self.sessions(all_users=True))
        if not hits:
            live = ", ".join(s.id for s in sessions if s.live) or "none"
            raise Unknown(f"session {word}", "there is no such session of yours", f"live: {live}")
        if len({s.job_id for s in hits}) > 1:
            raise UsageError(f"session {word}", "could be several", "name the job id")
        return hits[0]

    async def find_logged(self, word: str) -> Session:
        """As ``find``; one of one's own that the engine has forgotten is found by its folder, and
        no more than its ids is known of it.
        """
        try:
            return await self.find(word)
        except NotFound:
            user = (await self.engine.info()).user
            ids = {id: job_id for job_id, id in (await self._store.by_job()).items()}
            if is_id(word) and word not in ids:
                with contextlib.suppress(NotFound):
                    await self._store.tail(word, 1)
                    ids[word] = ""
            gone = (Session(id, job, "", user, SessionState.ENDED) for id, job in ids.items())
            hits = listing.called(word, tuple(gone))
            if not hits:
                raise
        if len(hits) > 1:
            raise UsageError(f"session {word}", "could be several", "name the whole id")
        return hits[0]

    def with_app(self, app: App) -> Service:
        """The same cluster with one entry of the catalogue changed; it remembers no choice."""
        config = replace(self.config, apps={**self.config.apps, app.name: app})
        changed = Service(config, self.engine, self._runner, self._forwarder, store=self._store)
        changed.images, changed.remembers = self.images, False
        return changed

    async def fit(self, request: SessionRequest) -> Fit:
        """What fits now and ever, from fresh figures of the nodes."""
        if option := undecided(request.extra):
            return only_scheduler(option)
        nodes, partitions, jobs = await asyncio.gather(
            self._kept.nodes(), self._kept.partitions(), self._kept.jobs()
        )
        partition = self._kept.partition(partitions, self.config.cluster, request.partition)
        if request.partition and partition is None:
            names = tuple(p.name for p in partitions)
            strange = unknown(request.partition, names) or ""
            mend = nearest(strange, tuple(p.name for p in partitions if not p.hidden))
            return Fit(refusal=f"partition {strange!r} is not there", mend=mend, unknown=True)
        return fit(
            request.resources,
            nodes,
            partition,
            node=request.node,
            reservation=asked(request, "reservation"),
            constraint=asked(request, "constraint"),
            memory_request=self.config.cluster.memory_request,
            jobs=jobs,
            ahead=waiting_ahead(jobs, partition, partitions),
            without=await self._without_image(request, nodes, partition),
        )

    # ------------------------------------------------------------------ starting, stopping

    async def start(self, request: SessionRequest) -> Session:
        """Hand a session to the engine and return it at once, pending (or starting).

        Raises Refused when it can't run (before the engine is asked where that can be told),
        leaving nothing behind.
        """
        self._writable()
        info, (prepared, exclude, verdict) = await asyncio.gather(
            self.engine.info(), self._prepared(request)
        )
        app = prepared.app
        job_id = await hand_in(
            self.engine, self._store, self.config.cluster, request, prepared, exclude=exclude
        )
        if self.remembers:
            await self.keep_choice(request)
        return Session(
            id=prepared.session_id,
            job_id=job_id,
            app=app.name,
            user=info.user,
            state=SessionState.PENDING,
            partition=request.partition or self.config.cluster.partition,
            account=request.account or self.config.cluster.account,
            qos=request.qos or self.config.cluster.qos,
            reason="" if verdict.now else verdict.words,
            resources=request.resources,
            image_version=prepared.version,
            legacy=app.kind == "legacy",
        )

    async def expected_start(self, request: SessionRequest) -> int | None:
        """When it would start if it were handed in now, in seconds since the epoch; None where
        the engine can't say. Nothing is submitted. It costs the scheduler some thought: for when
        nothing fits now. Raises as ``start`` does.
        """
        prepared, exclude, verdict = await self._prepared(request)
        job = submit.job_request(
            request,
            prepared,
            self.config.cluster,
            engine=self.engine.name,
            output="/dev/null",
            exclude=exclude,
        )
        try:
            return await self.engine.expected_start(job)
        except Refused:
            # It would wait, but the scheduler's test has no word for a node that is reserved for
            # others: it calls the request impossible.
            if verdict.reserved:
                return None
            raise

    async def partition(self, request: SessionRequest) -> Partition | None:
        """The partition that ``request`` goes to; None where it names none that is there, or the
        engine has no default. Raises ConfigError for a misspelt one of the configuration.
        """
        partitions = await self._kept.partitions()
        return self._kept.partition(partitions, self.config.cluster, request.partition)

    async def _prepared(
        self, request: SessionRequest
    ) -> tuple[submit.Prepared, tuple[str, ...], Fit]:
        """What ``request`` comes to, the nodes to keep off, and what fits. Raises Refused."""
        app = self.app(request.app)
        runtime, image = self.image_of(request)
        verdict = await self.fit(request)
        without = tuple(sorted(self.images.now.without(image))) if image else ()
        if verdict.refusal:
            mend = f"vizdash deploy {app.name}" if verdict.mend == "image" else verdict.mend
            error = Unknown if verdict.unknown else Refused
            raise error(f"{app.name} was not started", verdict.refusal, mend)
        version = request.image or version_of(self.images.now.images, image)
        prepared = submit.Prepared(submit.new_id(), app, runtime, image, version)
        return prepared, without, verdict

    async def stop(self, session: Session, note: str = "") -> None:
        """End a session; its row says ``note`` afterwards. Raises Refused for someone else's."""
        self._writable()
        if not session.mine and not (await self.engine.info()).admin:
            raise Refused(f"session {session.id}", f"it belongs to {session.user}")
        if note:
            await self.operations.note(session, note)
        by_hand = self._by_hand if self._by_hand is not None and session.mine else None
        if by_hand is not None:
            await by_hand.clean(self.config, session, stopped=False)
        await self.engine.cancel(session.job_id)
        if by_hand is not None:
            await by_hand.clean(self.config, session, stopped=True)

    async def close(self) -> None:
        """Take away what opening left behind."""
        await self.past.close()
        if self._by_hand is not None:
            await self._by_hand.close()
        await self._showing.close()
        await self.keep_history()
        await self.images.close()
        if self.remote is not None:
            await self.remote.close()

    # ------------------------------------------------------------------ helpers

    def _writable(self) -> None:
        if self.config.read_only:
            raise Refused("read-only", "this vizdash changes nothing", "start it without it")

    async def _listed(
        self, jobs: Collection[Job], user: str, *, wait_s: float = 0
    ) -> tuple[Session, ...]:
        """Sessions of jobs, with what they left in their folders or on their nodes."""
        jobs = await self._identifier.identify(jobs, user)
        running, ended = listing.need_status(jobs, user)
        statuses = await self._store.statuses((*running, *ended), running=running)
        told = listing.sessions_of(jobs, user, status_of=lambda id: statuses.get(id, Status()))
        found = await self._log_causes.explain(told, jobs)
        if self._by_hand is not None:
            others = await self._by_hand.sessions(self.config, jobs, user, wait_s=wait_s)
            found = listing.in_order((*found, *others)) if others else found
        if not any(s.live and s.image_version for s in found):
            return found
        wanted = await self.images.wanted()
        own = {app.name for app in self.config.apps.values() if app.image}
        return listing.with_newer(found, {k: v for k, v in wanted.items() if k not in own})

    async def _without_image(
        self, request: SessionRequest, nodes: tuple[Node, ...], partition: Partition | None
    ) -> frozenset[str]:
        """Nodes known to lack the image; none where they could not be looked at."""
        app = self.app(request.app)
        if self._runtime(app, request) != "apptainer":
            return frozenset()
        members = tuple(n for n in nodes if partition is None or partition.has(n))
        found = await self.images.matrix(members)
        return found.without(submit.image_path(app, self.config.cluster, request.image))


__all__ = ["Fit", "Service", "VizdashError", "request_for"]
