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
    place = await store.make(prepared.session_id)
    try:
        job = submit.job_request(
            request, prepared, cluster, engine=engine.name, output=place, exclude=exclude
        )
        return await engine.submit(job)
    except (ConnectionLost, TimedOut) as e:
        if engine.name == "local":
            raise
        return await _found_again(engine, prepared, e)
    except (Refused, NotFound, UsageError, Unreachable):
        # The first error is the one to tell: what can't be reached can't be tidied either.
        with contextlib.suppress(VizdashError, OSError):
            await store.remove(prepared.session_id)
        raise


async def _found_again(engine: Engine, prepared: submit.Prepared, error: VizdashError) -> str:
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
    raise TimedOut(
        f"session {prepared.session_id} of {prepared.app.name}",
        f"{error.why}: it may have been submitted",
        "look at the sessions before you start another",
    ) from error
