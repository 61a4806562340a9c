"""The plan of a session start: a request resolved once, checked, and then only handed down."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field

from vizdash.config import App, Cluster
from vizdash.config.desktop_size import scaled_geometry
from vizdash.config.lifetime import Idle, overlay
from vizdash.errors import Refused, UnknownName, UsageError
from vizdash.model import SessionRequest
from vizdash.sessions.capacity import CapacityVerdict
from vizdash.util.units import format_duration


def new_id() -> str:
    """A session id: 32 random bits, eight hexadecimal digits."""
    return secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class StartPlan:
    """A request with everything decided that submitting its job needs.

    ``runtime`` is ``apptainer`` or ``host``; ``image`` the path of the SIF (empty on the host) and
    ``version`` its version, as far as it is known. ``partition``, ``account`` and ``qos`` are the
    names given to the engine (empty: its default), ``excluded_nodes`` those that lack the image.
    ``verdict`` says whether it can run and whether it fits now. ``session_id`` is the id of the one
    session that may be started from this plan. ``limit_s`` is the job's time limit; where it is
    longer than the time requested, that is the session's lease (see ``lease_s``). ``idle`` is what
    happens when it is idle (None: nothing). ``geometry`` is the desktop's size in pixels, at
    ``scale``.
    """

    request: SessionRequest
    app: App
    runtime: str
    image: str = ""
    version: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    geometry: str = ""
    excluded_nodes: tuple[str, ...] = ()
    verdict: CapacityVerdict = field(default_factory=CapacityVerdict)
    session_id: str = field(default_factory=new_id)
    limit_s: int = 0
    idle: Idle | None = None
    scale: int = 1

    @property
    def lease_s(self) -> int:
        """The length of the session's lease in seconds; 0 where it has none."""
        time_s = self.request.resources.time_s
        return time_s if self.limit_s > time_s else 0

    @property
    def lifetime_text(self) -> str:
        """``lease 2 h, extendable to 12 h; ends when idle for 30 min``; empty for neither."""
        parts = []
        if self.lease_s:
            longest = format_duration(self.limit_s)
            parts.append(f"lease {format_duration(self.lease_s)}, extendable to {longest}")
        if self.idle is not None:
            parts.append(f"ends when idle for {format_duration(self.idle.after_s or 0)}")
        return "; ".join(parts)

    @property
    def notes(self) -> str:
        """What the user should know besides what fits: its lifetime and its GPUs."""
        return "; ".join(part for part in (self.lifetime_text, self.verdict.gpu_note) if part)

    def check(self) -> None:
        """Raise Refused where it can never run, UnknownName where it names a node or partition that
        does not exist.
        """
        if not self.verdict.refusal:
            return
        fix = self.verdict.fix
        if fix == "image":
            fix = f"vizdash deploy {self.app.name}"
        error = UnknownName if self.verdict.unknown_name else Refused
        raise error(f"{self.app.name} was not started", self.verdict.refusal, fix)


def resolve_plan(
    request: SessionRequest,
    app: App,
    cluster: Cluster,
    *,
    runtime: str,
    image: str = "",
    version: str = "",
    excluded_nodes: Collection[str] = (),
    verdict: CapacityVerdict | None = None,
    longest_s: int | None = None,
) -> StartPlan:
    """The plan for ``request``, with the defaults of ``app`` and ``cluster`` where it leaves
    something open. Arguments as in StartPlan; ``longest_s`` is the longest time limit that this
    user can have there (None: unknown, or without limit). Raises UsageError where ``keep`` is not
    allowed, or ``scale`` is requested of an app without a desktop of vizdash's.
    """
    scale = _scale_of(request, app)
    longest = longest_lease_s(app, cluster)
    if longest and longest_s is not None:
        longest = min(longest, longest_s)
    return StartPlan(
        request,
        app,
        runtime,
        image,
        version,
        partition=request.partition or cluster.partition,
        account=request.account or cluster.account,
        qos=request.qos or cluster.qos,
        geometry=scaled_geometry(request.geometry or app.geometry, scale),
        excluded_nodes=tuple(sorted(excluded_nodes)),
        verdict=verdict or CapacityVerdict(),
        limit_s=max(request.resources.time_s, longest),
        idle=_idle_of(request, app, cluster),
        scale=scale,
    )


def _scale_of(request: SessionRequest, app: App) -> int:
    if app.kind != "vizdash":
        if request.scale > 1:
            what = "legacy job script" if app.kind == "legacy" else "service without a desktop"
            raise UsageError(f"scale {request.scale}", f"{app.name} is a {what}", "leave it out")
        return 1
    return request.scale or app.scale


def idle_policy(app: App, cluster: Cluster) -> Idle | None:
    """What happens to idle sessions of ``app``, with every value set; None for nothing."""
    policy = overlay(_IDLE, overlay(cluster.idle, app.idle))
    return policy if policy.after_s and app.kind != "legacy" else None


#: What the configuration leaves open.
_IDLE = Idle(after_s=0, grace_s=300, cpu_percent=10, gpu_percent=5, keep=False)


def _idle_of(request: SessionRequest, app: App, cluster: Cluster) -> Idle | None:
    policy = idle_policy(app, cluster)
    if policy is not None and request.keep and not policy.keep:
        fix = f"leave out --keep: it ends when idle for {format_duration(policy.after_s or 0)}"
        raise UsageError("an idle session is not kept", "this site does not allow it", fix)
    return None if request.keep else policy


def longest_lease_s(app: App, cluster: Cluster) -> int:
    """How long a lease may get by the configuration, in seconds; 0 where ``app`` has none."""
    return 0 if app.kind == "legacy" else overlay(cluster.lease, app.lease).max_s or 0
