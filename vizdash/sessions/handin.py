"""Handing a session's job to the engine, once, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import time

from vizdash.config import Cluster
from vizdash.engines import Engine
from vizdash.errors import (
    ConnectionLost,
    NotFound,
    Refused,
    TimedOut,
    Unreachable,
    UsageError,
    VizdashError,
)
from vizdash.model import SessionRequest
from vizdash.sessions import submit
from vizdash.sessions.comment import decode
from vizdash.sessions.folder import job_record
from vizdash.sessions.store import SessionStore

#: Seconds for which a request that got no answer is looked for in the queue, and how many looks
#: must fail to find it.
_AFTER_LOSS_S = 90.0
_LOOKS = 5


async def hand_in(
    engine: Engine,
    store: SessionStore,
    cluster: Cluster,
    request: SessionRequest,
    prepared: submit.Prepared,
    *,
    exclude: tuple[str, ...] = (),
) -> str:
    """Make the session's folder, submit its job, and return the job's id.

    Raises Refused, NotFound, UsageError or Unreachable, leaving nothing behind. A request that
    got no answer is never sent again, since it may have arrived: the queue is asked for the
    session's id, and TimedOut says so when it isn't there.
    """
    # The local engine's jobs have the ids of their sessions.
    known = prepared.session_id if engine.name == "local" else ""
    place = await store.make(prepared.session_id, _record(prepared, known))
    try:
        job = submit.job_request(
            request, prepared, cluster, engine=engine.name, output=place, exclude=exclude
        )
        job_id = await engine.submit(job)
    except (ConnectionLost, TimedOut) as e:
        if engine.name == "local":
            raise
        job_id = await _found_again(engine, store, prepared, job.name, e)
    except (Refused, NotFound, UsageError, Unreachable):
        # The first error is the one to tell: what can't be reached can't be tidied either.
        with contextlib.suppress(VizdashError, OSError):
            await store.remove(prepared.session_id)
        raise
    if job_id != known:
        # The job is there, come what may: it writes its id into the folder too, when it runs.
        with contextlib.suppress(VizdashError):
            await store.write_record(prepared.session_id, _record(prepared, job_id))
    return job_id


def _record(prepared: submit.Prepared, job_id: str) -> str:
    app = prepared.app
    return job_record(app.name, prepared.version, app.kind, job_id)


async def _found_again(
    engine: Engine, store: SessionStore, prepared: submit.Prepared, name: str, error: VizdashError
) -> str:
    """The job's id: by its comment; by the folder, once it runs; or because it is the only job of
    that name that no session folder knows.
    """
    user = (await engine.info()).user
    deadline = time.monotonic() + _AFTER_LOSS_S
    looks = 0
    while looks < _LOOKS and time.monotonic() < deadline:
        await asyncio.sleep(1)
        try:
            jobs = await engine.jobs(user=user)
        except (TimedOut, Unreachable):
            continue
        looks += 1
        for job in jobs:
            claim = decode(job.comment)
            if claim is not None and claim.id == prepared.session_id:
                return job.id
        nameless = [j.id for j in jobs if j.name == name and decode(j.comment) is None]
        if not nameless:
            continue
        try:
            known = await store.by_job()
        except (TimedOut, Unreachable):
            continue
        for job_id in nameless:
            if known.get(job_id) == prepared.session_id:
                return job_id
        live = {job.id for job in jobs if not job.state.ended}
        candidates = [id for id in nameless if id not in known and id in live]
        if len(candidates) == 1:
            return candidates[0]
    raise TimedOut(
        f"session {prepared.session_id} of {prepared.app.name}",
        f"{error.why}: it may have been submitted",
        "look at the sessions before you start another",
    ) from error
