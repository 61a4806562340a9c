"""What the dashboard knows: the last snapshot, and what was done since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vizdash.model import Session, SessionState, Snapshot
from vizdash.ui.widgets.table import Now

#: Seconds for which a session that was started here is shown although a snapshot, asked for
#: before it was there, does not know it; and as ending after it was stopped here.
_PATIENCE_S = 20.0
#: Seconds before its time limit at which a session of one's own is warned of.
WARN_S = 600.0


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell at once."""

    kind: Literal["ready", "ended", "limit"]
    session: Session


class Board:
    """Keeps the last snapshot when asking fails; lays what was just done over it."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.failure = ""
        self._started: dict[str, tuple[Session, float]] = {}
        self._stopped: dict[str, float] = {}
        self._awaited: set[str] = set()
        self._warned: set[str] = set()
        self._let_be: set[str] = set()
        #: Jobs that were stopped from here and live on, however long they take to end.
        self._ending_here: set[str] = set()

    def now(self, at: float) -> Now:
        """The moment ``at``, with the age of the data."""
        age = max(0.0, at - self.snapshot.taken_at) if self.snapshot else 0.0
        return Now(at, age)

    def take(self, snapshot: Snapshot, at: float) -> list[Notice]:
        """A new snapshot. Returns what became of sessions that were started here."""
        self.failure = ""
        self._started = {
            job_id: (session, since)
            for job_id, (session, since) in self._started.items()
            if at - since < _PATIENCE_S and all(s.job_id != job_id for s in snapshot.sessions)
        }
        ends = self._ends(snapshot)
        self._stopped = {j: t for j, t in self._stopped.items() if at - t < _PATIENCE_S}
        self.snapshot = self._laid_over(snapshot)
        return [*self._notices(snapshot), *ends, *self._limits(snapshot)]

    def fail(self, line: str) -> None:
        """The cluster did not answer: the last snapshot stays."""
        self.failure = line

    def started(self, session: Session, at: float) -> None:
        """A session was started from here: it is shown at once and waited for."""
        self._started[session.job_id] = (session, at)
        self._awaited.add(session.job_id)
        if self.snapshot:
            self.snapshot = self._laid_over(self.snapshot)

    def stopped(self, session: Session, at: float) -> None:
        """A session was stopped from here."""
        self._stopped[session.job_id] = at
        self._ending_here.add(session.job_id)
        self._awaited.discard(session.job_id)
        if self.snapshot:
            self.snapshot = self._laid_over(self.snapshot)

    def urgent(self, now: Now) -> Session | None:
        """The session of one's own that reaches its time limit next, if soon; those that the
        person lets be are left out.
        """
        ending = [s for s in _ending(self.snapshot, now) if s.job_id not in self._let_be]
        return min(ending, key=lambda s: s.time_left_s or 0, default=None)

    def let_be(self, session: Session) -> None:
        """Do not speak of this one's time limit again, unless it moves."""
        self._let_be.add(session.job_id)

    def _limits(self, snapshot: Snapshot) -> list[Notice]:
        # A limit that was moved away is warned of anew when it comes near.
        calm = {s.job_id for s in snapshot.sessions if (s.time_left_s or 0) >= _soon_s(s)}
        self._warned -= calm
        self._let_be -= calm
        ending = [s for s in _ending(snapshot, Now()) if s.job_id not in self._warned]
        self._warned |= {s.job_id for s in ending}
        return [Notice("limit", session) for session in ending]

    def find(self, job_id: str) -> Session | None:
        """The session of a job, as last seen."""
        sessions = self.snapshot.sessions if self.snapshot else ()
        return next((s for s in sessions if s.job_id == job_id), None)

    def _laid_over(self, snapshot: Snapshot) -> Snapshot:
        known = {s.job_id for s in snapshot.sessions}
        new = [s for j, (s, _) in self._started.items() if j not in known]
        shown = (*reversed(new), *(self._seen(s) for s in snapshot.sessions))
        return replace(snapshot, sessions=shown)

    def _seen(self, session: Session) -> Session:
        if session.live and session.job_id in self._stopped:
            return replace(session, state=SessionState.ENDING, reason="", expected_start_at=None)
        return session

    def _ends(self, snapshot: Snapshot) -> list[Notice]:
        """Ends that nobody here asked for: the time limit, a crash, somebody's scancel."""
        before = self.snapshot.sessions if self.snapshot else ()
        lived = {s.job_id for s in before if s.mine and s.live}
        lived -= self._awaited | self._stopped.keys() | self._ending_here
        self._ending_here &= {s.job_id for s in snapshot.sessions if s.live}
        return [
            Notice("ended", s)
            for s in snapshot.sessions
            if s.job_id in lived and s.state is SessionState.ENDED
        ]

    def _notices(self, snapshot: Snapshot) -> list[Notice]:
        told = []
        for session in snapshot.sessions:
            if session.job_id not in self._awaited or not session.mine:
                continue
            if session.state is SessionState.READY:
                told.append(Notice("ready", session))
            elif session.state is SessionState.ENDED:
                told.append(Notice("ended", session))
        self._awaited -= {notice.session.job_id for notice in told}
        return told


def _ending(snapshot: Snapshot | None, now: Now) -> list[Session]:
    """Ready sessions of one's own whose time is nearly up."""
    return [s for s in snapshot.sessions if s.mine and _near(s, now)] if snapshot else []


def _near(session: Session, now: Now) -> bool:
    if session.state is not SessionState.READY or session.time_left_s is None:
        return False
    return session.time_left_s - now.age_s < _soon_s(session)


def _soon_s(session: Session) -> float:
    """Seconds before the limit at which a session is warned of. One that began with little time
    is not before half of it is gone.
    """
    limit = session.resources.time_s
    return min(WARN_S, limit / 2) if limit else WARN_S
