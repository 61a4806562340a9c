"""Which of a cluster's jobs matter to one user: a large cluster has many more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from vizdash.model import Job, JobState
from vizdash.model.job import may_start_soon
from vizdash.util.nodesets import expand_nodes

#: The most waiting jobs of one partition that are selected: beyond 100 (slurm.conf(5),
#: "bf_max_job_test") the scheduler may not plan, and their number is all that counts.
MOST_WAITING = 101


@dataclass(frozen=True, slots=True)
class JobSelection:
    """The jobs that matter to ``user``: the user's own; those with one of ``words`` in their name
    or comment, which may be sessions; those that hold one of ``nodes``; and with ``waiting``, those
    that wait for nodes and are planned soon.
    """

    user: str
    words: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    waiting: bool = False

    def covers(self, other: JobSelection) -> bool:
        """Whether it selects whatever ``other`` does."""
        same = self.user == other.user and self.waiting >= other.waiting
        return same and self.words >= other.words and self.nodes >= other.nodes

    def join(self, other: JobSelection) -> JobSelection:
        """One that covers both, for the user of ``other``."""
        return JobSelection(
            other.user,
            self.words | other.words,
            self.nodes | other.nodes,
            self.waiting or other.waiting,
        )


@dataclass(frozen=True, slots=True)
class SelectedJobs:
    """Jobs that matter to a user: the user's ``own``, and of other users ``sessions`` (which only
    may be some) and the rest: ``holding`` nodes, and ``waiting`` (at most MOST_WAITING of each
    partition). Of the rest ``time_left_s`` is not known.
    """

    own: tuple[Job, ...] = ()
    sessions: tuple[Job, ...] = ()
    holding: tuple[Job, ...] = ()
    waiting: tuple[Job, ...] = ()

    @property
    def every(self) -> tuple[Job, ...]:
        """Each job once."""
        held = {job.id for job in self.holding}
        waiting = (job for job in self.waiting if job.id not in held)
        return (*self.own, *self.sessions, *self.holding, *waiting)


#: What a job is to a selection; another user's, which is no session, may hold a node and wait.
OTHER, OWN, SESSION, HOLDS, WAITS = 0, 1, 2, 4, 8


@dataclass(slots=True)
class JobSorter:
    """Adds jobs one by one to those of a selection."""

    selection: JobSelection
    own: list[Job] = field(default_factory=list)
    sessions: list[Job] = field(default_factory=list)
    holding: list[Job] = field(default_factory=list)
    waiting: list[Job] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def class_by_texts(self, user: str, name: str, comment: str) -> int:
        """OWN, SESSION, or OTHER for the job of that user, name and comment."""
        if user == self.selection.user:
            return OWN
        matches = any(word in name or word in comment for word in self.selection.words)
        return SESSION if matches else OTHER

    def holds(self, state: JobState, node: str) -> int:
        """HOLDS for a job that holds a node of the selection; ``node`` as in Job."""
        nodes = self.selection.nodes
        if not node or state.ended or not nodes:
            return OTHER
        here = node in nodes or not nodes.isdisjoint(expand_nodes(node))
        return HOLDS if here else OTHER

    def waits(self, state: JobState, reason: str, start_at: int | None) -> int:
        """WAITS for a job that the selection wants as waiting."""
        wanted = self.selection.waiting and may_start_soon(state, reason, start_at)
        return WAITS if wanted else OTHER

    def wants_waiting(self, partition: str) -> bool:
        """Whether more jobs that wait for ``partition`` are wanted."""
        return self.selection.waiting and self._counts[partition] < MOST_WAITING

    def put(self, job: Job, kind: int) -> None:
        """Add a job of that kind."""
        if kind == OWN:
            self.own.append(job)
        elif kind == SESSION:
            self.sessions.append(job)
        if kind & HOLDS:
            self.holding.append(job)
        if kind & WAITS and self.wants_waiting(job.partition):
            self._counts[job.partition] += 1
            self.waiting.append(job)

    def add(self, job: Job) -> None:
        """Add a job where it belongs, if anywhere."""
        kind = self.class_by_texts(job.user, job.name, job.comment)
        if kind == OTHER:
            kind = self.holds(job.state, job.node)
            kind |= self.waits(job.state, job.reason, job.start_at)
            job = replace(job, time_left_s=None)
        self.put(job, kind)

    @property
    def selected(self) -> SelectedJobs:
        """The jobs added so far."""
        lists = (self.own, self.sessions, self.holding, self.waiting)
        return SelectedJobs(*map(tuple, lists))


def select_jobs(jobs: Iterable[Job], selection: JobSelection) -> SelectedJobs:
    """The jobs of ``selection`` among ``jobs``."""
    sorter = JobSorter(selection)
    for job in jobs:
        sorter.add(job)
    return sorter.selected
