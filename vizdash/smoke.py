"""Tries an image on a node: a real session from it must come up and answer."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

from vizdash.config import App
from vizdash.errors import VizdashError
from vizdash.model import Session, SessionRequest
from vizdash.resources import node_script
from vizdash.service import Service
from vizdash.waiting import wait_ended, wait_ready

#: Seconds that the job may wait for its turn, beside what a desktop has to come up.
_QUEUE_S = 120
_TIME_S = 600
_MARK = "vizdash-smoke:"
_TOLD = re.compile(rf"^.*{_MARK} (renderer|none|untold) (.*)$", re.MULTILINE)
_NO_LIBRARY = re.compile(r"^(lib\S+): cannot open shared object")


def _ask(command: str) -> str:
    """Shell words that ask who draws the OpenGL of an app with this command. The Python that
    websockify needs is in every image; what the app gives to VirtualGL is asked there too.
    """
    script = base64.b64encode(node_script("opengl.py").read_bytes()).decode("ascii")
    way = "vglrun " if re.search(r"(^|[\s;&|/])vglrun\s", command) else ""
    return (
        "{ if command -v python3 >/dev/null; "
        f"then echo {script} | base64 -d | {way}timeout 20 python3 - 2>&1 || echo none it failed; "
        "else echo untold the image has no python3; fi; } "
        f"| sed 's/^/{_MARK} /'; "
    )


def _trying(app: App) -> App:
    """The app, asking who draws its OpenGL before it begins."""
    command = app.command or "exec /.singularity.d/runscript"
    return replace(app, runtime="apptainer", image="", command=_ask(command) + command)


def renderer_in(log: str) -> str:
    """What the log of such a session tells of who draws, in words for people."""
    told = _TOLD.findall(log)
    if not told:
        return "what draws its OpenGL was not told (its log has no word of it)"
    kind, text = told[-1]
    if kind == "renderer" and text.strip():
        return f"OpenGL is drawn by {text.strip()}"
    if kind == "untold":
        return f"what draws its OpenGL was not told ({text.strip()})"
    if lacking := _NO_LIBRARY.match(text):
        return f"it has no OpenGL (the image has no {lacking[1]})"
    return f"it has no OpenGL ({text.strip() or 'libGL names no renderer'})"


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
        log = await tried.logs(session, lines=400)
        return f"its desktop answers, {renderer_in(log)}"
    except VizdashError as e:
        mend = f"vizdash logs {session.id}"
        raise VizdashError(node, f"the smoke test failed: {e.line}", mend) from e
    finally:
        await _end(tried, session)


async def _end(service: Service, session: Session) -> None:
    """Leave no job behind, however the test went."""
    await service.stop(session)
    await wait_ended(service, (session,))
