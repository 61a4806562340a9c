"""Tries an image on a node: a real session from it must come up and answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from vizdash.config import App
from vizdash.errors import VizdashError
from vizdash.model import Session, SessionRequest
from vizdash.service import Service
from vizdash.waiting import wait_ended, wait_ready

#: Seconds that the job may wait for its turn, beside what a desktop has to come up.
_QUEUE_S = 120
_TIME_S = 600
_MARK = "vizdash-smoke:"
#: glxinfo(1) names who draws; an image without it can't be asked.
_ASK = (
    "{ command -v glxinfo >/dev/null && glxinfo -B 2>&1 || echo no glxinfo; } "
    f"| sed 's/^/{_MARK} /'; "
)
_RENDERER = re.compile(rf"^.*{_MARK}\s*OpenGL renderer string: (.+)$", re.MULTILINE)


def _trying(app: App) -> App:
    """The app, asking who draws its OpenGL before it begins."""
    command = app.command or "exec /.singularity.d/runscript"
    return replace(app, runtime="apptainer", image="", command=_ASK + command)


async def smoke(
    service: Service, app: str, version: str, node: str, tell: Callable[[str], None]
) -> str:
    """Start a session of this version on this node, wait until its desktop answers, end it.

    Returns what there is to say, the OpenGL renderer among it. Raises VizdashError naming the
    step that failed.
    """
    tried = service.with_app(_trying(service.app(app)))
    size = replace(tried.app(app).resources, cores=1, gpus=0, time_s=_TIME_S)
    service.images.forget()
    request = SessionRequest(app=app, resources=size, node=node, image=version)
    session = await tried.start(request)
    try:
        timeout_s = service.config.cluster.ready_timeout_s + _QUEUE_S
        session = await wait_ready(tried, session, tell, timeout_s=timeout_s)
        return f"its desktop answers, {await _renderer(tried, session)}"
    except VizdashError as e:
        mend = f"vizdash logs {session.id}"
        raise VizdashError(node, f"the smoke test failed: {e.line}", mend) from e
    finally:
        await _end(tried, session)


async def _renderer(service: Service, session: Session) -> str:
    log = await service.logs(session, lines=400)
    if found := _RENDERER.search(log):
        return f"OpenGL is drawn by {found[1].strip()}"
    if f"{_MARK} no glxinfo" in log:
        return "what draws its OpenGL can't be told (the image has no glxinfo)"
    return "it has no OpenGL"


async def _end(service: Service, session: Session) -> None:
    """Leave no job behind, however the test went."""
    await service.stop(session)
    await wait_ended(service, (session,))
