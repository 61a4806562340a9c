"""Starting a session: a request is resolved into a plan, checked, and submitted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from vizdash.config import App, Config
from vizdash.config.readers import nearest
from vizdash.engines import Engine
from vizdash.errors import Refused, UsageError
from vizdash.images.survey import ImageSurvey
from vizdash.model import (
    SERVICE_KINDS,
    Partition,
    Reservation,
    Session,
    SessionRequest,
    SessionState,
)
from vizdash.model.image import find_version
from vizdash.model.node import find_unknown_partition
from vizdash.service.apps import Apps
from vizdash.service.query_cache import QueryCache
from vizdash.sessions.capacity import (
    CapacityVerdict,
    check_capacity,
    undetermined_by,
    undetermined_in_private_partitions,
)
from vizdash.sessions.capacity_limits import waiting_ahead
from vizdash.sessions.folder_store import SessionStore
from vizdash.sessions.mig_slices import mig_note
from vizdash.sessions.sbatch_arguments import (
    effective_option,
    effective_script_arguments,
    unjudged_option,
)
from vizdash.sessions.start_plan import StartPlan, longest_lease_s, resolve_plan
from vizdash.sessions.submit import build_job_request, read_script_arguments, submit_once
from vizdash.util.files import FileAccess

#: Seconds that each node has to tell which images it has, before a session is submitted.
_NODE_S = 12.0


class SessionStarter:
    """Plans sessions and submits them. Methods raise VizdashError."""

    def __init__(
        self,
        config: Config,
        engine: Engine,
        *,
        store: SessionStore,
        apps: Apps,
        queries: QueryCache,
        images: ImageSurvey,
    ) -> None:
        self.config = config
        self._engine = engine
        self._store = store
        self._apps = apps
        self._queries = queries
        self._images = images
        self._files = FileAccess("the images of this machine")
        self._scripts = FileAccess("the app's job script")

    async def plan(self, request: SessionRequest, *, node_s: float = 0.0) -> StartPlan:
        """What ``request`` amounts to, with a verdict from fresh figures of the nodes. A plan that
        can't run is returned, too: see ``StartPlan.check``. ``node_s`` as in
        ``ImageSurvey.cached_matrix``.

        Raises UnknownName for an app that does not exist, UsageError for an impossible image, or an
        account where there is no Slurm.
        """
        app = self._apps.find(request.app)
        if self._engine.name == "local":
            self._refuse_accounting(request)
        runtime, image = await self._files.run(self._apps.runtime_and_image, request)
        whole, partition = await self._with_script_arguments(request)
        verdict, longest_s = await asyncio.gather(
            self._judge(whole, partition, image, node_s), self._longest_s(whole, partition, app)
        )
        return resolve_plan(
            request,
            app,
            self.config.cluster,
            runtime=runtime,
            image=image,
            version=request.image or find_version(self._images.latest.images, image),
            excluded_nodes=self._images.latest.without(image) if image else (),
            verdict=verdict,
            longest_s=longest_s,
        )

    def _refuse_accounting(self, request: SessionRequest) -> None:
        """Raises UsageError for an account or QOS: there is no Slurm that would charge it."""
        cluster = self.config.cluster
        for option, value, usual in (
            ("--account", request.account, cluster.account),
            ("--qos", request.qos, cluster.qos),
        ):
            if value not in {"", usual}:
                why = "this machine has no Slurm"
                raise UsageError(f"{option} {value}", why, "leave it out")

    async def _longest_s(self, request: SessionRequest, named: str, app: App) -> int | None:
        """The longest time limit that partition, association and QOS allow; asked only for a
        session with a lease.
        """
        cluster = self.config.cluster
        if not longest_lease_s(app, cluster):
            return None
        account, qos = (effective_option(request, name) for name in ("account", "qos"))
        partition = await self._queries.partition(cluster, named)
        allowed = await self._engine.max_time_s(
            account or cluster.account, qos or cluster.qos, partition.qos if partition else ""
        )
        limits = (partition.max_time_s if partition else None, allowed)
        return min((limit for limit in limits if limit is not None), default=None)

    async def _judge(
        self, request: SessionRequest, named: str, image: str, node_s: float
    ) -> CapacityVerdict:
        """What fits now and ever in the partition ``named``; ``image`` is the path of its image
        (empty: it needs none).
        """
        cluster = self.config.cluster
        if option := unjudged_option(request.extra):
            return undetermined_by(option)
        info = await self._engine.info()
        if "partitions" in info.private:
            return undetermined_in_private_partitions()
        reservation = effective_option(request, "reservation")
        reservations = await self._reservations(reservation)
        nodes, partitions, jobs = await asyncio.gather(
            self._queries.nodes(), self._queries.partitions(), self._queries.all_jobs()
        )
        partition = await self._queries.partition(cluster, named)
        if named and partition is None:
            missing = find_unknown_partition(named, tuple(p.name for p in partitions)) or ""
            fix = nearest(missing, tuple(p.name for p in partitions if not p.hidden))
            return CapacityVerdict(
                refusal=f"partition {missing!r} is not there", fix=fix, unknown_name=True
            )
        members = tuple(n for n in nodes if partition is None or partition.has(n))
        if partition is not None and await self._qos_lifts_time_limit(request, partition):
            partition = partition.without_time_limit()
        if partition is not None and partition.limits_cores:
            jobs = await self._queries.all_jobs(n.name for n in members)
        matrix = await self._images.cached_matrix(members, node_s=node_s) if image else None
        verdict = check_capacity(
            request.resources,
            nodes,
            partition,
            node=request.node,
            reservation=reservation,
            reservations=reservations,
            constraint=effective_option(request, "constraint"),
            memory_request=cluster.memory_request,
            user=info.user,
            jobs=jobs,
            ahead=waiting_ahead(jobs, partition, partitions),
            without=matrix.without(image) if matrix is not None else frozenset(),
        )
        possible = (n for n in members if n.name in verdict.candidates)
        return replace(verdict, gpu_note=mig_note(request.resources.gpus, possible))

    async def _reservations(self, named: str) -> tuple[Reservation, ...] | None:
        """Every reservation, for a request that names some; None where not all are shown, or on
        this machine. One that is not there may be new.
        """
        private = (await self._engine.info()).private
        if not named or self._engine.name == "local" or "reservations" in private:
            return None
        known = await self._queries.reservations()
        if {r.name for r in known}.issuperset(named.split(",")):
            return known
        return await self._queries.reservations(max_age_s=0)

    async def _qos_lifts_time_limit(self, request: SessionRequest, partition: Partition) -> bool:
        """Whether it is longer than the partition allows, and its QOS lets it be so."""
        limit, cluster = partition.max_time_s, self.config.cluster
        if limit is None or request.resources.time_s <= limit:
            return False
        account, qos = (effective_option(request, name) for name in ("account", "qos"))
        return await self._engine.qos_lifts_time_limit(
            account or cluster.account, qos or cluster.qos
        )

    async def _with_script_arguments(self, request: SessionRequest) -> tuple[SessionRequest, str]:
        """``request`` with what the #SBATCH lines of its app's job script add, and the partition
        that is named by either (empty: the configured one).
        """
        if self._engine.name == "local":
            return request, request.partition
        app, cluster = self._apps.find(request.app), self.config.cluster
        submitted = replace(
            request,
            partition=request.partition or cluster.partition,
            account=request.account or cluster.account,
            qos=request.qos or cluster.qos,
        )
        added, partition = effective_script_arguments(
            await self._scripts.run(read_script_arguments, app, cluster),
            submitted,
            memory=cluster.memory_request != "none",
        )
        return replace(request, extra=(*added, *request.extra)), request.partition or partition

    async def start(self, request: SessionRequest) -> Session:
        """Submit a session and return it at once, pending.

        Raises Refused where it can't run, before the engine is asked wherever that is known, and
        leaves nothing behind.
        """
        # A form that asks at each key press does not wait for slow nodes as long as a start does.
        info, plan = await asyncio.gather(self._engine.info(), self.plan(request, node_s=_NODE_S))
        plan.check()
        job_id = await submit_once(self._engine, self._store, self.config.cluster, plan)
        return Session(
            id=plan.session_id,
            job_id=job_id,
            app=plan.app.name,
            user=info.user,
            state=SessionState.PENDING,
            partition=plan.partition,
            account=plan.account,
            qos=plan.qos,
            reason="" if plan.verdict.fits_now else plan.verdict.text,
            resources=request.resources,
            image_version=plan.version,
            legacy=plan.app.kind == "legacy",
            service=plan.app.kind if plan.app.kind in SERVICE_KINDS else "",
        )

    async def expected_start(self, plan: StartPlan) -> int | None:
        """When the session of ``plan`` would start if it were submitted now, in seconds since the
        epoch; None where the engine can't say. Nothing is submitted. The scheduler runs a test for
        it: meant for when nothing fits now. Raises as ``start`` does.
        """
        plan.check()
        cluster = self.config.cluster
        engine, name = self._engine.name, (await self._engine.info()).cluster
        job = build_job_request(plan, cluster, engine=engine, folder="/dev/null", cluster_name=name)
        try:
            return await self._engine.expected_start(job)
        except Refused:
            # It would wait, but sbatch(1), --test-only calls a request impossible whose node is
            # reserved for others.
            if plan.verdict.reserved:
                return None
            raise
