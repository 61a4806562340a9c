"""A real session: started, reached as a browser would, and taken down again."""

from __future__ import annotations

import time
from dataclasses import replace

from vizdash.doctor.case import Case
from vizdash.waiting import wait_ended, wait_ready

#: Seconds that the job may wait for its turn, beside what a desktop has to come up.
_QUEUE_S = 120


async def session(case: Case) -> str:
    """Raises VizdashError naming the step that failed; leaves no job behind."""
    service = case.service
    began = time.monotonic()
    request = (
        replace(case.request, node=case.node) if service.engine.name == "slurm" else case.request
    )
    remembers, service.remembers = service.remembers, False
    try:
        started = await service.start(request)
    finally:
        service.remembers = remembers
    try:
        timeout_s = service.config.cluster.ready_timeout_s + _QUEUE_S
        ready = await wait_ready(service, started, lambda words: None, timeout_s=timeout_s)
        ready_s = time.monotonic() - began
        route = await service.open_route(ready)
        await route.close()
    finally:
        await service.stop(started)
        await wait_ended(service, (started,))
    return f"ready on {ready.node} after {ready_s:.1f} s, reached by {route.kind}, stopped"
