"""A session: one VNC desktop, which is one job."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vizdash.model.request import Resources


class SessionState(StrEnum):
    """Where a session stands. SUSPENDED: its job is stopped and holds its node (scontrol(1),
    "suspend"). UNKNOWN: the engine could not be asked, or no more than the job is known.
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

    ``reason`` says in words why a pending one waits, or why the state is unknown; ``result`` how an
    ended one ended (``finished``, ``cancelled``, ``timed out``, ``failed``); ``step`` and ``error``
    are the step that failed and its last error line. ``submitted_at``, ``expected_start_at`` and
    ``started_at`` are seconds since the epoch, ``time_left_s`` seconds (None: no limit).
    ``mine`` is whether it belongs to the person asking. ``viewers`` is how many browsers look at
    a ready desktop, and ``idle_since`` (seconds since the epoch) since when nobody has; both are
    None when the job does not tell, and ``idle_since`` while somebody looks. ``note`` is what an
    operator wrote to it, such as why it was stopped; ``ended_at`` (seconds since the epoch) is
    when it did.
    ``image_digest`` is the SHA-256 that was recorded on its node for the image it runs from (empty:
    none was); ``newer_version`` is the version that new sessions of its app run, where that is
    newer. ``warning`` is what a running one has to do without, and why, as its own job reports it.
    ``account`` and ``qos`` are its job's (empty: none, or not known). ``claim`` texts come
    from the job's comment, which anyone can forge: they are shown, never trusted.
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
    submitted_at: int | None = None
    expected_start_at: int | None = None
    started_at: int | None = None
    time_left_s: int | None = None
    viewers: int | None = None
    idle_since: int | None = None
    note: str = ""
    ended_at: int | None = None
    legacy: bool = False

    @property
    def live(self) -> bool:
        """Whether it holds, or waits for, resources."""
        return self.state is not SessionState.ENDED
