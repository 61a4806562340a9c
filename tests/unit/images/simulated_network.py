"""A simulated network that carries out a schedule's moves: links, delays, slow and dying nodes.

It replaces what images/chain.py drives. Its time advances in steps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from vizdash.images.chain_peer import HEAD, REPORT_S, Attach
from vizdash.images.chain_schedule import ChainSchedule

STEP_S = 0.1


@dataclass(slots=True, eq=False)
class SimulatedHost:
    """A host whose link carries ``rate`` bytes per second each way. It is dead from ``dies`` on,
    and neither works nor reports between ``stops`` and ``resumes``.
    """

    name: str
    rate: float
    size: float = 0.0
    dies: float = float("inf")
    stops: float = float("inf")
    resumes: float = float("inf")
    feeds: str | None = None
    fed_from: float = 0.0
    flow: float = 0.0
    done_at: float = float("inf")
    next_report: float = 0.0

    def works(self, now: float) -> bool:
        """Whether it works now."""
        return now < self.dies and not self.stops <= now < self.resumes


@dataclass(slots=True)
class SimulatedNetwork:
    """Nodes behind an image host with a link of ``rate`` bytes per second.

    Nodes with a rate below ``least`` are not waited for. A new connection carries data after
    ``connect_s``; data is late by ``hop_s`` on each hop, a report by up to ``late_s``.
    """

    total: int
    rate: float
    hosts: dict[str, SimulatedHost]
    least: float = 0.0
    hop_s: float = 0.02
    connect_s: float = 0.3
    late_s: float = 0.0
    #: Seconds after which the end of a host's channel is noticed (its link is dead).
    channel_s: float = 15.0
    join_s: float = 0.02
    seed: int = 0
    now: float = 0.0
    watch: Callable[[SimulatedNetwork], None] = lambda network: None
    schedule: ChainSchedule = field(init=False)
    feeder: dict[str, str] = field(default_factory=dict)
    _reports: list[tuple[float, str, int, float]] = field(default_factory=list)
    _joined: set[str] = field(default_factory=set)
    _probing: set[str] = field(default_factory=set)
    _lost: set[str] = field(default_factory=set)
    _random: random.Random = field(init=False)
    head: SimulatedHost = field(init=False)
    attaches: int = 0

    def __post_init__(self) -> None:
        """Make the schedule."""
        self._random = random.Random(self.seed)
        self.schedule = ChainSchedule(self.total)
        self.head = SimulatedHost(HEAD, self.rate, self.total)

    def run(self, until: float) -> None:
        """Run until every living host has the whole file, or until then."""
        next_tick = 0.0
        while self.now < until and any(
            h.done_at == float("inf") and h.dies == float("inf") and h.rate >= self.least
            for h in self.hosts.values()
        ):
            self._join()
            if self._report() or self.now >= next_tick:
                next_tick = self.now + REPORT_S / 2
                self._carry_out()
            self._probe()
            self._flow()
            self.watch(self)
            self.now += STEP_S

    def _join(self) -> None:
        for at, host in enumerate(self.hosts.values()):
            if host.name not in self._joined and self.now >= at * self.join_s:
                self._joined.add(host.name)
                if host.works(self.now):
                    self.schedule.add_node(host.name, int(host.size), self.now)
            if self.now > host.dies + self.channel_s and host.name not in self._lost:
                self._lost.add(host.name)
                self.schedule.remove_node(host.name, "no answer")

    def _report(self) -> bool:
        """Deliver reports that are due; whether there were any, which chain.py waits for."""
        for name in self._joined:
            host = self.hosts[name]
            if host.works(self.now) and self.now >= host.next_report:
                host.next_report = self.now + REPORT_S
                due = self.now + self._random.random() * self.late_s
                self._reports.append((due, name, int(host.size), self.now))
        come = [r for r in self._reports if r[0] <= self.now]
        if come:
            self._reports = [r for r in self._reports if r[0] > self.now]
            self._random.shuffle(come)
            for _, name, size, _ in come:
                if name in self.schedule.peers:
                    self.schedule.report_size(name, size, self.now)
        return bool(come)

    def _carry_out(self) -> None:
        for move in self.schedule.next_moves(self.now):
            source = self.head if move.feeder == HEAD else self.hosts[move.feeder]
            if isinstance(move, Attach):
                child = self.hosts[move.child]
                assert source.size + 1 >= move.offset, "it feeds what it has not got"
                self.attaches += 1
                if source.feeds is not None and self.feeder.get(source.feeds) == source.name:
                    del self.feeder[source.feeds]
                if (old := self.feeder.get(move.child)) is not None:
                    (self.head if old == HEAD else self.hosts[old]).feeds = None
                source.feeds, child.fed_from = move.child, self.now + self.connect_s
                self.feeder[move.child] = move.feeder
                self._probing.add(move.child)
            elif source.feeds == move.child and source.works(self.now):
                source.feeds = None
                self.feeder.pop(move.child, None)

    def _probe(self) -> None:
        for name in list(self._probing):
            host = self.hosts[name]
            feeder = self.feeder.get(name)
            if feeder is None:
                self._probing.discard(name)
            elif self.now >= host.fed_from:
                self._probing.discard(name)
                source = self.head if feeder == HEAD else self.hosts[feeder]
                if host.works(self.now) and source.works(self.now):
                    self.schedule.report_probe(feeder, name, min(source.rate, host.rate))

    def _flow(self) -> None:
        """Move data for one step, beginning at the source."""
        sources = [self.head, *(h for h in self.hosts.values() if h.size >= self.total)]
        for source in sources:
            at: SimulatedHost | None = source
            while at is not None:
                at = self._step(at)

    def _step(self, source: SimulatedHost) -> SimulatedHost | None:
        if source.feeds is None:
            return None
        child = self.hosts[source.feeds]
        child.flow = 0.0
        if self.feeder.get(child.name) != source.name:
            source.feeds = None
            return None
        alive = source.works(self.now) and child.works(self.now)
        if alive and self.now >= child.fed_from:
            there = source.size - (source.flow * self.hop_s if source.size < self.total else 0.0)
            rate = min(source.rate, child.rate)
            gained = max(0.0, min(rate * STEP_S, there - child.size))
            child.size, child.flow = child.size + gained, gained / STEP_S
        if child.size >= self.total - 0.5 and child.done_at == float("inf"):
            child.size, child.done_at = self.total, self.now
            source.feeds = None
            self.feeder.pop(child.name, None)
        return child
