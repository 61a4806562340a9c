"""From what a person asks for to a job."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from vizdash.config import App, Cluster
from vizdash.config.fields import GEOMETRY
from vizdash.errors import Refused, UsageError
from vizdash.model import JobRequest, SessionRequest
from vizdash.resources import example_config, job_script
from vizdash.sessions import comment
from vizdash.sessions.arguments import check_arguments, check_script
from vizdash.sessions.listing import NAME
from vizdash.sessions.script import Value, render

#: The job script that runs a site's script of the legacy kind.
LEGACY_SCRIPT = "legacy.sh"


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that was decided before the folder is made and the engine is asked."""

    session_id: str
    app: App
    runtime: str
    image: str
    version: str


def new_id() -> str:
    """A session id: 32 random bits, eight hexadecimal digits."""
    return secrets.token_hex(4)


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


def job_request(
    request: SessionRequest,
    prepared: Prepared,
    cluster: Cluster,
    *,
    engine: str,
    output: str,
    exclude: tuple[str, ...] = (),
) -> JobRequest:
    """The job for ``request``. Raises NotFound for a missing job script, Refused for one that
    can't be read, UsageError for bad values and for arguments that no session can have.
    """
    app = prepared.app
    check_arguments(request.extra)
    geometry = request.geometry or app.geometry
    if not GEOMETRY.fullmatch(geometry):
        raise UsageError(f"geometry {geometry!r}", "", "write WIDTHxHEIGHT, e.g. 1280x720")
    values = _values(prepared, cluster, engine=engine, geometry=geometry, folder=output)
    claim = comment.Claim(
        prepared.session_id,
        app.name,
        prepared.version,
        "pending",
        "legacy" if app.kind == "legacy" else "",
    )
    return JobRequest(
        name=f"{NAME}{app.name}",
        script=_script(app, cluster, values),
        session_id=prepared.session_id,
        app=app.name,
        comment=comment.encode(claim),
        output=f"{output}/job.log",
        resources=request.resources,
        node=request.node,
        account=request.account or cluster.account,
        qos=request.qos or cluster.qos,
        partition=request.partition or cluster.partition,
        reservation=request.reservation,
        constraint=request.constraint,
        exclude=exclude,
        extra=request.extra,
        memory=cluster.memory_request,
    )


def _script(app: App, cluster: Cluster, values: Mapping[str, Value]) -> str:
    def text(name: str) -> str:
        path = job_script(name, cluster.job_scripts)
        try:
            return path.read_text(encoding="utf-8")
        except OSError as e:
            raise Refused(f"job script {path}", e.strerror or str(e)) from e
        except UnicodeDecodeError as e:
            raise Refused(f"job script {path}", "it is not UTF-8 text", "save it as UTF-8") from e

    script = text(app.script)
    check_script(script, app.script, legacy=app.kind == "legacy")
    if app.kind != "legacy":
        return render(script, values, text)
    # The site's script runs as a child of ours, whole; its #SBATCH lines stay sbatch's.
    wrapper = text(LEGACY_SCRIPT).split("\n")
    header = [line for line in script.split("\n") if line.startswith("#SBATCH")]
    whole = "\n".join([wrapper[0], *header, *wrapper[1:]])
    return render(whole, {**values, "VIZDASH_SCRIPT": script}, text)


def _values(
    prepared: Prepared, cluster: Cluster, *, engine: str, geometry: str, folder: str
) -> dict[str, Value]:
    app = prepared.app
    command = app.host_command if prepared.runtime == "host" else app.command
    if prepared.runtime == "host" and app.kind != "legacy" and not command:
        raise UsageError(f"app {app.name}", "it has no host_command", f"see {example_config()}")
    environment = {**cluster.environment, **app.environment}
    return {
        "SESSION_ID": prepared.session_id,
        "VNC_PORT": "",
        "VIZDASH_FOLDER": folder,
        "VIZDASH_SCHEMA": comment.SCHEMA,
        "VIZDASH_ENGINE": engine,
        "VIZDASH_APP": app.name,
        "VIZDASH_RUNTIME": prepared.runtime,
        "VIZDASH_IMAGE": prepared.image,
        "VIZDASH_IMAGE_VERSION": prepared.version,
        "VIZDASH_COMMAND": command,
        "VIZDASH_GEOMETRY": geometry,
        "VIZDASH_ROUTE": cluster.route,
        "VIZDASH_PORT_MIN": cluster.ports[0],
        "VIZDASH_PORT_MAX": cluster.ports[1],
        "VIZDASH_BINDS": (*cluster.binds, *app.binds),
        "VIZDASH_ENV": tuple(f"{name}={value}" for name, value in environment.items()),
        "VIZDASH_MODULES": (*cluster.modules, *app.modules),
        "VIZDASH_JOB_ID": prepared.session_id if engine == "local" else "",
        "VIZDASH_WARN_SECONDS": 300,
        "VIZDASH_READY_TIMEOUT": cluster.ready_timeout_s,
        "VIZDASH_ENDS_WITH": app.ends_with,
        "VIZDASH_VNC_PASSWORD": app.vnc_password,
    }
