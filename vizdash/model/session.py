"""A session: one VNC desktop or one service, which is one job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vizdash.model.request import Resources

#: The kinds of apps that are services: their sessions have no desktop.
SERVICE_KINDS = ("web", "pvserver")
#: What GL_RENDERER begins with, or has in it, by whose device it is; Mesa's software renderers have
#: names of their own.
_VENDORS = (
    ("NVIDIA", ("nvidia", "quadro", "tesla", "geforce", "grid ", "nvs ")),
    ("AMD", ("amd", "radeon", "firepro")),
    ("Intel", ("intel",)),
)
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software rasterizer")

#: Why a suspended session can't be opened, and what helps.
WHY_SUSPENDED = ("its job is suspended", "an operator can resume it: scontrol resume")


class SessionState(StrEnum):
    """The state of a session. SUSPENDED: its job is stopped but holds its node (scontrol(1),
    "suspend"). UNKNOWN: the engine did not answer, only the job is known, or its folder can't be
    read.
    """

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    SUSPENDED = "suspended"
    ENDING = "ending"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Session:
    """One session as shown in a row.

    ``reason`` is why a pending session waits, or why the state is unknown. ``result`` is how an
    ended one ended (``finished``, ``cancelled``, ``timed out``, ``failed``); ``step`` and ``error``
    are the failed step and its last error line. Of a session that is unknown because its folder
    can't be read, ``error`` is why. ``submitted_at``, ``expected_start_at``,
    ``started_at`` and ``ended_at`` are seconds since the epoch, ``time_left_s`` seconds (None: no
    limit), ``limit_at`` when the time limit of a running one ends it. ``mine`` is whether it
    belongs to the user. ``viewers`` counts the browsers connected to a ready desktop, and
    ``idle_since`` (seconds since the epoch) is when the last one left; both are None when the job
    does not report them, and ``idle_since`` while a browser is connected.
    ``watched_by`` are the users that it is shared with from this machine and who watch it now.
    ``note`` is an operator's message, such as why it was stopped. ``image_digest`` is the SHA-256
    recorded on its node for its image (empty: none); ``newer_version`` is the version of new
    sessions of its app, if newer. ``warning`` is what a running session lacks and why, as its job
    reports it. ``renderer`` is what draws OpenGL on a running session's desktop: GL_RENDERER as the
    driver names it, or ``none: `` and the reason; empty while it is unknown. ``service`` is the
    kind of a service (of SERVICE_KINDS), empty for a desktop. ``lease_s`` is the length of the
    lease that it was started with (0: none), and ``lease_left_s`` what is left of the lease, which
    may have been extended; only its owner knows. ``idle_left_s`` are the seconds until it ends
    for being idle, once it has warned of that (None: it has not). ``account`` and ``qos`` are its
    job's (empty: none, or not known). ``scale`` is how many times larger its desktop is drawn, for
    HiDPI screens; only its owner knows. Texts that come from the job's comment can be forged by
    anyone: they are shown, never trusted.
    """

    id: str
    job_id: str
    app: str
    user: str
    state: SessionState
    mine: bool = True
    node: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    reason: str = ""
    result: str = ""
    step: str = ""
    error: str = ""
    resources: Resources = Resources(cores=0, memory_mib=0, gpus=0, time_s=0)
    image_version: str = ""
    image_digest: str = ""
    newer_version: str = ""
    warning: str = ""
    renderer: str = ""
    submitted_at: int | None = None
    expected_start_at: int | None = None
    started_at: int | None = None
    time_left_s: int | None = None
    limit_at: int | None = None
    viewers: int | None = None
    idle_since: int | None = None
    lease_s: int = 0
    lease_left_s: int | None = None
    idle_left_s: int | None = None
    watched_by: tuple[str, ...] = ()
    note: str = ""
    ended_at: int | None = None
    legacy: bool = False
    service: str = ""
    scale: int = 1

    @property
    def renderer_name(self) -> str:
        """The renderer in one word: ``NVIDIA``, ``AMD``, ``Intel``, ``llvmpipe``, ``none``; empty
        while it is unknown.
        """
        text = self.renderer.lower()
        if text.startswith("none:"):
            return "none"
        for name in (*_SOFTWARE[:3], "virgl", "zink"):
            if name in text:
                return name
        for name, words in _VENDORS:
            if any(word in text for word in words):
                return name
        return "software" if _SOFTWARE[3] in text else self.renderer.partition(" ")[0]

    @property
    def software_reason(self) -> str:
        """For a session that was given a GPU and draws in software: a line with the reason; empty
        for every other session.
        """
        if not self.resources.gpus:
            return ""
        if "OpenGL in software" in self.warning:
            return self.warning
        if self.renderer_name in {"none", "software", *_SOFTWARE}:
            return f"OpenGL in software: {self.renderer}"
        return ""

    @property
    def live(self) -> bool:
        """Whether it holds or waits for resources."""
        return self.state is not SessionState.ENDED

    @property
    def ends_in_s(self) -> int | None:
        """Seconds until it ends, by its lease, its time limit or because it is idle; None where
        none of them is known.
        """
        known = (self.lease_left_s, self.time_left_s, self.idle_left_s)
        return min((left for left in known if left is not None), default=None)
