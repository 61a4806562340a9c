"""Submitting a planned session exactly once, even where the connection is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from vizdash.config import App, Cluster
from vizdash.config.readers import GEOMETRY
from vizdash.engines import Engine
from vizdash.engines.slurm.sbatch_options import header_lines
from vizdash.errors import (
    CommandFailed,
    ConnectionLost,
    NotFound,
    Refused,
    TimedOut,
    Unreachable,
    UsageError,
    VizdashError,
)
from vizdash.model import SERVICE_KINDS, JobRequest
from vizdash.sessions import comment
from vizdash.sessions.comment import decode
from vizdash.sessions.folder import job_record
from vizdash.sessions.folder_store import SessionStore
from vizdash.sessions.job_script import Value, render_script
from vizdash.sessions.listing import JOB_NAME_PREFIX
from vizdash.sessions.sbatch_arguments import (
    check_arguments,
    check_script_arguments,
    last_value,
    script_arguments,
)
from vizdash.sessions.start_plan import StartPlan
from vizdash.util.assets import example_config, job_script

#: The job script that runs a site's legacy script.
LEGACY_SCRIPT = "legacy.sh"
#: The variable by which a job script knows its lease. A site's own script may not use it: its
#: sessions have a time limit only.
_LEASE = "VIZDASH_LEASE_SECONDS"


def image_path(app: App, cluster: Cluster, version: str) -> str:
    """The SIF that a session of ``app`` runs from; empty for an app without one.

    ``version`` is a version (``1.0``) or a path; empty for the current one.
    """
    if version.startswith("/"):
        return version
    if version:
        if "/" in version:
            raise UsageError(f"image {version!r}", "a version or an absolute path is expected")
        return f"{cluster.image_root.rstrip('/')}/{app.name}/{app.name}-{version}.sif"
    return app.image or f"{cluster.image_root.rstrip('/')}/{app.name}/{app.name}.sif"


def build_job_request(
    plan: StartPlan, cluster: Cluster, *, engine: str, folder: str, cluster_name: str = ""
) -> JobRequest:
    """The job of ``plan``, with its session's ``folder`` as the job sees it; ``cluster_name`` is
    Slurm's name of the cluster. Raises NotFound for a missing job script, Refused for one that
    can't be read, UsageError for bad values and for sbatch arguments that no session can have.
    """
    request, app = plan.request, plan.app
    check_arguments(request.extra, cluster_name)
    if not GEOMETRY.fullmatch(plan.geometry):
        raise UsageError(f"geometry {plan.geometry!r}", "", "write WIDTHxHEIGHT, e.g. 1280x720")
    step = "legacy" if app.kind == "legacy" else ""
    kind = app.kind if app.kind in SERVICE_KINDS else ""
    values = _values(plan, cluster, engine=engine, folder=folder)
    source = _read(app.script, cluster)
    check_script_arguments(source, app.script, cluster_name)
    script = _script(source, app, cluster, values, request.extra)
    lease_s = plan.lease_s if _LEASE in script.replace(f"{_LEASE}=", "") else 0
    claim = comment.Claim(plan.session_id, app.name, plan.version, "pending", step)
    claim = replace(claim, kind=kind, lease=lease_s)
    time_s = plan.limit_s if lease_s else request.resources.time_s
    return JobRequest(
        name=_job_name(plan),
        script=script,
        session_id=plan.session_id,
        app=app.name,
        comment=comment.encode(claim),
        output=f"{folder}/job.log",
        resources=replace(request.resources, time_s=time_s),
        time_min_s=lease_s,
        node=request.node,
        account=plan.account,
        qos=plan.qos,
        partition=plan.partition,
        reservation=request.reservation,
        constraint=request.constraint,
        exclude=plan.excluded_nodes,
        extra=request.extra,
        memory=cluster.memory_request,
    )


def _job_name(plan: StartPlan) -> str:
    """The name of the job of ``plan``: the app's, or the last one in the raw arguments."""
    return last_value(plan.request.extra, "job-name") or f"{JOB_NAME_PREFIX}{plan.app.name}"


def read_script_arguments(app: App, cluster: Cluster) -> tuple[str, ...]:
    """The arguments in the ``#SBATCH`` lines of the app's job script. Raises NotFound for a missing
    script, Refused for one that can't be read.
    """
    return script_arguments(_read(app.script, cluster))


def _read(name: str, cluster: Cluster) -> str:
    path = job_script(name, cluster.job_scripts)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as e:
        raise Refused(f"job script {path}", e.strerror or str(e)) from e
    except UnicodeDecodeError as e:
        raise Refused(f"job script {path}", "it is not UTF-8 text", "save it as UTF-8") from e


def _script(
    script: str, app: App, cluster: Cluster, values: Mapping[str, Value], extra: Sequence[str]
) -> str:
    """The job script of ``app``, which is ``script``, with its ``values``."""

    def text(name: str) -> str:
        return _read(name, cluster)

    if app.kind != "legacy":
        return render_script(script, values, text)
    # The site's script runs unchanged as a child of ours; its #SBATCH lines apply to the job.
    wrapper = text(LEGACY_SCRIPT).split("\n")
    header = [line for _, line in header_lines(script)]
    whole = "\n".join([wrapper[0], *header, *wrapper[1:]])
    # The local machine's engine reads no arguments of sbatch.
    given = () if values["VIZDASH_ENGINE"] == "local" else (*script_arguments(script), *extra)
    own = {"VIZDASH_SCRIPT": script, "VIZDASH_CHDIR": last_value(given, "chdir")}
    return render_script(whole, {**values, **own}, text)


def _values(plan: StartPlan, cluster: Cluster, *, engine: str, folder: str) -> dict[str, Value]:
    app = plan.app
    command = app.host_command if plan.runtime == "host" else app.command
    if plan.runtime == "host" and app.kind != "legacy" and not command:
        raise UsageError(f"app {app.name}", "it has no host_command", f"see {example_config()}")
    environment = {**cluster.environment, **app.environment}
    values: dict[str, Value] = {
        "SESSION_ID": plan.session_id,
        "VNC_PORT": "",
        "VIZDASH_FOLDER": folder,
        "VIZDASH_SCHEMA": comment.SCHEMA,
        "VIZDASH_ENGINE": engine,
        "VIZDASH_APP": app.name,
        "VIZDASH_RUNTIME": plan.runtime,
        "VIZDASH_IMAGE": plan.image,
        "VIZDASH_IMAGE_VERSION": plan.version,
        "VIZDASH_COMMAND": command,
        "VIZDASH_GEOMETRY": plan.geometry,
        "VIZDASH_ROUTE": cluster.route,
        "VIZDASH_PORT_MIN": cluster.ports[0],
        "VIZDASH_PORT_MAX": cluster.ports[1],
        "VIZDASH_BINDS": (*cluster.binds, *app.binds),
        "VIZDASH_ENV": tuple(f"{name}={value}" for name, value in environment.items()),
        "VIZDASH_MODULES": (*cluster.modules, *app.modules),
        "VIZDASH_JOB_ID": plan.session_id if engine == "local" else "",
        "VIZDASH_WARN_SECONDS": 300,
        "VIZDASH_READY_TIMEOUT": cluster.ready_timeout_s,
        "VIZDASH_ENDS_WITH": app.ends_with,
        "VIZDASH_VNC_PASSWORD": app.vnc_password,
        **_lifetime_values(plan),
    }
    if plan.scale != 1:
        values["VIZDASH_SCALE"] = plan.scale
    if app.kind in SERVICE_KINDS:
        values["VIZDASH_KIND"] = app.kind
        values["VIZDASH_LISTEN"] = "port" if app.kind == "pvserver" else app.listen
        values["VIZDASH_PATH"] = app.path
    return values


def _lifetime_values(plan: StartPlan) -> dict[str, Value]:
    """Values for the job's lease and idle policy; none for what it does not have."""
    values: dict[str, Value] = {_LEASE: plan.lease_s} if plan.lease_s else {}
    if plan.idle is not None:
        values |= {
            "VIZDASH_IDLE_SECONDS": plan.idle.after_s or 0,
            "VIZDASH_IDLE_GRACE": plan.idle.grace_s or 0,
            "VIZDASH_IDLE_CPU": plan.idle.cpu_percent or 0,
            "VIZDASH_IDLE_GPU": plan.idle.gpu_percent or 0,
        }
    return values


#: For how many seconds, and in how many queries, a submission without an answer is searched for in
#: the queue.
_AFTER_LOSS_S = 90.0
_QUERIES = 5


async def submit_once(
    engine: Engine, store: SessionStore, cluster: Cluster, plan: StartPlan
) -> str:
    """Make the session's folder, submit its job, and return the job's id.

    Raises Refused, NotFound, UsageError, Unreachable or CommandFailed, leaving nothing behind. A
    submission without an answer is never repeated, since it may have arrived: the queue is searched
    for the session's id, and TimedOut is raised where it does not appear.
    """
    # The local engine's jobs have the ids of their sessions.
    known = plan.session_id if engine.name == "local" else ""
    cluster_name = "" if engine.name == "local" else (await engine.info()).cluster
    record = partial(_record, plan, cluster_name)
    folder = await store.make(plan.session_id, record(known))
    try:
        job = build_job_request(
            plan, cluster, engine=engine.name, folder=folder, cluster_name=cluster_name
        )
        job_id = await _submit(engine, job)
    except (ConnectionLost, TimedOut) as e:
        if engine.name == "local":
            raise
        job_id = await _found_again(engine, store, plan, job.name, e)
    except (Refused, NotFound, UsageError, Unreachable, CommandFailed):
        # The first error is reported: a host that can't be reached can't be cleaned up either.
        with contextlib.suppress(VizdashError, OSError):
            await store.remove(plan.session_id)
        raise
    if job_id != known:
        # The job exists in any case, and writes its id into the folder, too, when it runs.
        with contextlib.suppress(VizdashError):
            await store.write_record(plan.session_id, record(job_id))
    return job_id


async def _submit(engine: Engine, job: JobRequest) -> str:
    """Submit ``job``. A job with a lease that is refused is submitted with the lease as its time
    limit: an association may allow no longer one.
    """
    try:
        return await engine.submit(job)
    except Refused:
        if not job.time_min_s or job.time_min_s >= job.resources.time_s:
            raise
    short = replace(job.resources, time_s=job.time_min_s)
    return await engine.submit(replace(job, resources=short, time_min_s=0))


def _record(plan: StartPlan, cluster: str, job_id: str) -> str:
    app, name = plan.app, _job_name(plan)
    return job_record(
        app.name,
        plan.version,
        app.kind,
        job_id,
        scale=plan.scale,
        submitted_at=int(time.time()),
        cluster=cluster,
        job_name="" if name == f"{JOB_NAME_PREFIX}{app.name}" else name,
    )


async def _found_again(
    engine: Engine, store: SessionStore, plan: StartPlan, name: str, error: VizdashError
) -> str:
    """The job's id: by its comment; by the folder, once it runs; or because it is the only job of
    that name that no session folder knows.
    """
    user = (await engine.info()).user
    deadline = time.monotonic() + _AFTER_LOSS_S
    queries = 0
    while queries < _QUERIES and time.monotonic() < deadline:
        await asyncio.sleep(1)
        try:
            jobs = await engine.jobs(user=user)
        except (TimedOut, Unreachable):
            continue
        queries += 1
        for job in jobs:
            claim = decode(job.comment)
            if claim is not None and claim.id == plan.session_id:
                return job.id
        nameless = [j.id for j in jobs if j.name == name and decode(j.comment) is None]
        if not nameless:
            continue
        try:
            known = await store.job_ids()
        except (TimedOut, Unreachable):
            continue
        for job_id in nameless:
            if known.get(plan.session_id) == job_id:
                return job_id
        live = {job.id for job in jobs if not job.state.ended}
        candidates = [id for id in nameless if id not in known.values() and id in live]
        if len(candidates) == 1:
            return candidates[0]
    raise TimedOut(
        f"session {plan.session_id} of {plan.app.name}",
        f"{error.why}: it may have been submitted",
        "check your sessions before you start another",
    ) from error
