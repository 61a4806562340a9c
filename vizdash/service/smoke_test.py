"""Tests an image on a node before it is made current: a session must start and answer."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Callable
from dataclasses import replace

from vizdash.config import App
from vizdash.errors import VizdashError
from vizdash.model import SERVICE_KINDS, Session, SessionRequest
from vizdash.service.service import Service
from vizdash.service.wait_ready import wait_ended, wait_ready
from vizdash.util.assets import job_script

#: Seconds that the job may be pending, in addition to the desktop's startup time.
_QUEUE_S = 120
_TIME_S = 600
#: Seconds that the OpenGL check may take after the desktop answers, and between two looks for it.
_REPORT_S, _PAUSE_S = 30.0, 0.5
_MARK = "vizdash-smoke:"
_REPORT = re.compile(rf"^.*{_MARK} (renderer|none|untold) (.*)$", re.MULTILINE)
_NO_LIBRARY = re.compile(r"^(lib\S+): cannot open shared object")


def _renderer_check(command: str) -> str:
    """Return shell code that prints which OpenGL renderer an app with this command gets.

    It uses the Python that websockify needs, which is in every image; where the app runs under
    VirtualGL, so does the check.
    """
    script = base64.b64encode(job_script("opengl.py").read_bytes()).decode("ascii")
    vgl = "vglrun " if re.search(r"(^|[\s;&|/])vglrun\s", command) else ""
    return (
        "{ if command -v python3 >/dev/null; "
        f"then echo {script} | base64 -d | {vgl}timeout 20 python3 - 2>&1 || echo none it failed; "
        "else echo untold the image has no python3; fi; } "
        f"| sed 's/^/{_MARK} /'; "
    )


def _with_renderer_check(app: App) -> App:
    """Return the app with the OpenGL check before its command; a service draws no desktop."""
    if app.kind in SERVICE_KINDS:
        return replace(app, runtime="apptainer", image="")
    command = app.command or "exec /.singularity.d/runscript"
    return replace(app, runtime="apptainer", image="", command=_renderer_check(command) + command)


def describe_renderer(log: str) -> str:
    """Describe the OpenGL renderer that a session's log reports."""
    reports = _REPORT.findall(log)
    if not reports:
        return "its OpenGL renderer is unknown (the log does not name it)"
    kind, text = reports[-1]
    if kind == "renderer" and text.strip():
        return f"OpenGL is drawn by {text.strip()}"
    if kind == "untold":
        return f"its OpenGL renderer is unknown ({text.strip()})"
    if lacking := _NO_LIBRARY.match(text):
        return f"it has no OpenGL (the image has no {lacking[1]})"
    return f"it has no OpenGL ({text.strip() or 'libGL names no renderer'})"


async def run_smoke_test(
    service: Service,
    app: str,
    version: str,
    node: str,
    notify: Callable[[str], None],
    *,
    gpus: int = 0,
) -> str:
    """Start a session of this version on this node, with ``gpus`` GPUs, wait until its desktop
    answers, and stop it.

    Returns a note on the result, with the OpenGL renderer. Raises VizdashError naming the step that
    failed.
    """
    testing = service.with_app(_with_renderer_check(service.apps.find(app)))
    size = replace(testing.apps.find(app).resources, cores=1, gpus=gpus, time_s=_TIME_S)
    service.images.invalidate()
    request = SessionRequest(app=app, resources=size, node=node, image=version)
    session = await testing.start(request, remember=False)
    try:
        timeout_s = service.config.cluster.ready_timeout_s + _QUEUE_S
        session = await wait_ready(testing, session, notify, timeout_s=timeout_s)
        if session.service:
            return "its service answers"
        log = await _read_report(testing, session)
        unused = f"; {session.warning}" if gpus and session.software_reason else ""
        return f"its desktop answers, {describe_renderer(log)}{unused}"
    except VizdashError as e:
        fix = f"vizdash logs {session.id}"
        raise VizdashError(node, f"the smoke test failed: {e.line}", fix) from e
    finally:
        await _stop(testing, session)


async def _read_report(service: Service, session: Session) -> str:
    """Return the session's log once it names the OpenGL renderer, or after _REPORT_S: the check is
    part of the app's start, for which a session that is ready has not waited.
    """
    deadline = time.monotonic() + _REPORT_S
    while True:
        log = await service.sessions.log(session, lines=400)
        if _REPORT.search(log) or time.monotonic() > deadline:
            return log
        await asyncio.sleep(_PAUSE_S)


async def _stop(service: Service, session: Session) -> None:
    """Stop the session, and wait until its job has ended."""
    await service.stop(session)
    await wait_ended(service, (session,))
