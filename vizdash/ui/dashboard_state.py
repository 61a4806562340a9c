"""The state of the dashboard: the last snapshot, and what was done since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vizdash.model import Session, SessionState, Snapshot
from vizdash.ui.widgets.columns import Now

#: Seconds for which a session that was started here is shown although a snapshot, queried before
#: its job existed, lacks it; and for which one that was stopped here is shown as ending.
_OVERLAY_S = 20.0
#: Seconds before the time limit of a session at which its user is warned.
WARN_S = 600.0


@dataclass(frozen=True, slots=True)
class Notice:
    """A change of a session that is reported at once."""

    kind: Literal["ready", "ended", "limit"]
    session: Session


class DashboardState:
    """The last snapshot, with the changes made here that it does not show yet."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        #: What an earlier dashboard saw, until the nodes' images are known.
        self._saved: Snapshot | None = None
        self.failure = ""
        self._started: dict[str, tuple[Session, float]] = {}
        self._stopped: dict[str, float] = {}
        self._awaited: set[str] = set()
        self._warned: set[str] = set()
        self._dismissed: set[str] = set()
        #: Jobs that were stopped here and are still live, however long they take to end.
        self._stopping: set[str] = set()

    def now(self, at: float) -> Now:
        """The time ``at``, in seconds since the epoch, with the age of the data."""
        age = max(0.0, at - self.snapshot.taken_at) if self.snapshot else 0.0
        return Now(at, age)

    @property
    def answered(self) -> bool:
        """Whether the cluster has answered this dashboard."""
        return self.snapshot is not None and not self.snapshot.saved

    def show_saved(self, snapshot: Snapshot) -> None:
        """Show an earlier dashboard's last snapshot until the cluster answers."""
        self.snapshot = self._saved = snapshot

    def take(self, snapshot: Snapshot, at: float) -> list[Notice]:
        """Take a new snapshot. Returns the changes of the user's sessions."""
        self.failure = ""
        self._started = {
            job_id: (session, since)
            for job_id, (session, since) in self._started.items()
            if at - since < _OVERLAY_S and all(s.job_id != job_id for s in snapshot.sessions)
        }
        ends = self._unexpected_ends(snapshot)
        self._stopped = {j: t for j, t in self._stopped.items() if at - t < _OVERLAY_S}
        self.snapshot = self._overlay(snapshot)
        return [*self._awaited_notices(snapshot), *ends, *self._limit_notices(snapshot)]

    def fail(self, line: str) -> None:
        """Show why the cluster did not answer; the last snapshot stays."""
        self.failure = line

    def add_started(self, session: Session, at: float) -> None:
        """Show a session that was started here at once, and report when it is ready."""
        self._started[session.job_id] = (session, at)
        self._awaited.add(session.job_id)
        if self.snapshot:
            self.snapshot = self._overlay(self.snapshot)

    def add_stopped(self, session: Session, at: float) -> None:
        """Show a session that was stopped here as ending."""
        self._stopped[session.job_id] = at
        self._stopping.add(session.job_id)
        self._awaited.discard(session.job_id)
        if self.snapshot:
            self.snapshot = self._overlay(self.snapshot)

    def urgent(self, now: Now) -> Session | None:
        """The user's session that reaches its time limit next, if soon, without those whose warning
        was dismissed.
        """
        ending = [s for s in _near_limit(self.snapshot, now) if s.job_id not in self._dismissed]
        return min(ending, key=lambda s: s.ends_in_s or 0, default=None)

    def dismiss_warning(self, session: Session) -> None:
        """Don't warn of this session's time limit again unless it changes."""
        self._dismissed.add(session.job_id)

    def _limit_notices(self, snapshot: Snapshot) -> list[Notice]:
        # After an extension the user is warned again when the new limit is near.
        calm = {
            s.job_id
            for s in snapshot.sessions
            if (s.ends_in_s or 0) >= _warn_before_s(s) and s.idle_left_s is None
        }
        self._warned -= calm
        self._dismissed -= calm
        ending = [s for s in _near_limit(snapshot, Now()) if s.job_id not in self._warned]
        self._warned |= {s.job_id for s in ending}
        return [Notice("limit", session) for session in ending]

    def find(self, job_id: str) -> Session | None:
        """The session of a job in the last snapshot; None where it is not in it."""
        sessions = self.snapshot.sessions if self.snapshot else ()
        return next((s for s in sessions if s.job_id == job_id), None)

    def _overlay(self, snapshot: Snapshot) -> Snapshot:
        known = {s.job_id for s in snapshot.sessions}
        new = [s for j, (s, _) in self._started.items() if j not in known]
        shown = (*reversed(new), *(self._with_stop(s) for s in snapshot.sessions))
        if snapshot.image_roots or snapshot.images:
            self._saved = None
        images = self._saved or snapshot
        return replace(
            snapshot,
            sessions=shown,
            images=images.images,
            image_roots=images.image_roots,
            wanted_images=images.wanted_images,
        )

    def _with_stop(self, session: Session) -> Session:
        if session.live and session.job_id in self._stopped:
            return replace(session, state=SessionState.ENDING, reason="", expected_start_at=None)
        return session

    def _unexpected_ends(self, snapshot: Snapshot) -> list[Notice]:
        """Ends that were not requested here: the time limit, a crash, an scancel."""
        before = self.snapshot.sessions if self.snapshot and self.answered else ()
        lived = {s.job_id for s in before if s.mine and s.live}
        lived -= self._awaited | self._stopped.keys() | self._stopping
        self._stopping &= {s.job_id for s in snapshot.sessions if s.live}
        return [
            Notice("ended", s)
            for s in snapshot.sessions
            if s.job_id in lived and s.state is SessionState.ENDED
        ]

    def _awaited_notices(self, snapshot: Snapshot) -> list[Notice]:
        notices = []
        for session in snapshot.sessions:
            if session.job_id not in self._awaited or not session.mine:
                continue
            if session.state is SessionState.READY:
                notices.append(Notice("ready", session))
            elif session.state is SessionState.ENDED:
                notices.append(Notice("ended", session))
        self._awaited -= {notice.session.job_id for notice in notices}
        return notices


def _near_limit(snapshot: Snapshot | None, now: Now) -> list[Session]:
    """The user's ready sessions whose time limit is near."""
    return [s for s in snapshot.sessions if s.mine and _is_near_limit(s, now)] if snapshot else []


def _is_near_limit(session: Session, now: Now) -> bool:
    if session.state is not SessionState.READY or session.ends_in_s is None:
        return False
    return session.idle_left_s is not None or session.ends_in_s - now.age_s < _warn_before_s(
        session
    )


def _warn_before_s(session: Session) -> float:
    """Seconds before the limit at which the user is warned: at most half of the whole time."""
    limit = session.lease_s or session.resources.time_s
    return min(WARN_S, limit / 2) if limit else WARN_S
