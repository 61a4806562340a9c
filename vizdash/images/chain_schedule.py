"""The schedule of a chain: which node feeds which. Events in, moves out; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable

from vizdash.images.chain_peer import HEAD, MEASURED_BYTES, REPORT_S, Attach, Detach, Move, Peer

#: Seconds without a report, while other nodes report, after which a node is left out: SILENT_S, or
#: _STARVED_S if the node that it feeds has received nothing between its last two reports.
SILENT_S = 1.6
_STARVED_S = 2 * REPORT_S
#: Seconds between two judgements of all nodes: their reports come at any time.
_JUDGED_S = REPORT_S / 4
#: Two reports of a node are at least so many seconds apart.
_UNFED_S = 0.8 * REPORT_S
#: Seconds without a report after which the node that it feeds is not judged by its own rate.
_OVERDUE_S = 1.25 * REPORT_S
#: Seconds within which the first byte must arrive over a new connection.
_FIRST_BYTE_S = 3.0
#: Bytes that may be in transit for any time: dd(1) writes blocks of 128 KiB.
_HELD = 1 << 18
#: Seconds for which a pair of nodes that failed is not tried again.
_AVOID_S = 3.0
#: How far behind its feeder a node may be without being judged: bytes, and seconds at the target
#: rate.
_SLACK = 1 << 20
_SLACK_S = 0.3
#: A connection below this share of the target rate is slow.
_BAD = 0.6
#: Weights of a probed rate and of the best measured rate, and the decay of the latter per second.
_PROBE, _SEEN, _FADES = 0.6, 0.8, 0.95
#: Seconds after which a probe that has not ended is a slow one, at least.
_PROBE_LATE_S = 0.5
#: How often a good probe restores a node that was taken for slow.
_PARDONS = 2
#: Feeders, or attempts, that must fail before a node is given up, and pairs that must fail before
#: all are.
_REFUSALS, _TRIES, _PAIRS = 3, 5, 4


class ChainSchedule:
    """The chain of one file of ``total`` bytes.

    Events may arrive in any order. ``next_moves`` returns what they call for; call it at least
    every ``REPORT_S`` seconds.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.head = Peer(HEAD, -1, total)
        self.peers: dict[str, Peer] = {}
        self.probes: list[float] = []
        self.fed_by_node = False
        self._best = self._top = 0.0
        self._ceiling = float("inf")
        self._last_report_at = float("-inf")
        self._moved_at = float("-inf")
        self._moves: list[Move] = []

    # ------------------------------------------------------------------ events

    def add_node(self, name: str, size: int, now: float) -> None:
        """Add a node that is ready and has ``size`` bytes of the file."""
        peer = self.peers.setdefault(name, Peer(name, len(self.peers)))
        peer.gone = ""
        self.report_size(name, size, now)

    def report_size(self, name: str, size: int, now: float) -> None:
        """Record how many bytes a node has."""
        peer = self.peers[name]
        if now < peer.heard_at or peer.gone:
            return
        if peer.silent:
            peer.silent = False
            peer.reports.clear()
        peer.heard_at, peer.size = now, max(peer.size, min(size, self.total))
        peer.reports.append((now, peer.size))
        self._last_report_at = max(self._last_report_at, now)
        if peer.feeder is not None and peer.size > peer.base:
            peer.first_byte = peer.first_byte or now
            peer.refused.pop(peer.feeder.name, None)
            peer.refusals = 0
            self.fed_by_node |= peer.feeder is not self.head
        if peer.finished_feeder is not None and (
            peer.size > peer.base or now > peer.finished_at + REPORT_S
        ):
            self._check_received(peer, peer.finished_feeder, now)
        if peer.size >= self.total:
            self._detach(peer)

    def _check_received(self, peer: Peer, feeder: str, now: float) -> None:
        """Check that something arrived after its feeder reported that it had sent all."""
        peer.finished_feeder = None
        if peer.size > peer.base:
            self.fed_by_node |= feeder != HEAD
            return
        peer.refused[feeder] = "the data sent did not arrive"
        peer.refusals += 1
        peer.avoid[feeder] = now + _AVOID_S
        peer.level += 1
        self._isolate(peer)

    def report_probing(self, feeder: str, name: str, now: float) -> None:
        """Record that ``feeder`` has connected and sends the probe bytes."""
        peer = self.peers[name]
        if peer.feeder is self._peer(feeder):
            peer.probing_at = now

    def report_probe(self, feeder: str, name: str, rate: float) -> None:
        """Record the rate (bytes per second) of the probe bytes sent over a new connection."""
        peer = self.peers[name]
        self.probes.append(rate)
        if peer.feeder is self._peer(feeder):
            peer.probe = rate
            if peer.suspect and rate >= _BAD * self._probed and peer.pardons < _PARDONS:
                peer.level, peer.suspect = 0, False
                peer.pardons += 1

    def report_end(self, feeder: str, name: str, why: str, now: float) -> None:
        """Record that ``feeder`` stopped sending to a node: it is done (empty ``why``), or why it
        failed.
        """
        peer, source = self.peers[name], self._peer(feeder)
        if peer.feeder is not source or peer.size >= self.total:
            return
        if not why:  # the feeder has sent all it has: the node's next report shows what arrived
            peer.finished_at, peer.finished_feeder = now, feeder
            self._detach(peer)
            return
        if peer.size <= peer.base:
            peer.refused[feeder] = why
            peer.refusals += 1
            if not peer.level:
                source.failed_children.add(name)
        peer.avoid[feeder] = now + _AVOID_S
        self._detach(peer)
        self._blame(source, now)

    def remove_node(self, name: str, why: str) -> None:
        """Remove a node that can no longer be reached."""
        peer = self.peers.setdefault(name, Peer(name, len(self.peers)))
        peer.gone = why
        self._isolate(peer)

    # ------------------------------------------------------------------ what is known

    @property
    def unfinished(self) -> tuple[Peer, ...]:
        """Nodes that may still receive the whole file."""
        return tuple(p for p in self.peers.values() if not p.gone and p.size < self.total)

    @property
    def good(self) -> tuple[Peer, ...]:
        """Unfinished nodes that are neither slow nor silent."""
        return tuple(p for p in self.unfinished if not p.level and not p.silent)

    @property
    def blocked(self) -> str:
        """Why nodes cannot feed each other at all; empty while they might."""
        if self.fed_by_node:
            return ""
        pairs = [
            f"{feeder} can't reach {peer.name}: {why}"
            for peer in self.peers.values()
            for feeder, why in peer.refused.items()
            if feeder != HEAD
        ]
        return pairs[-1] if len(pairs) >= min(_PAIRS, max(1, len(self.unfinished) - 1)) else ""

    def target_rate(self, now: float) -> float:
        """The rate in bytes per second that a connection should have, as far as it is known."""
        probe = _PROBE * self._probed
        rates = [
            p.rate(now)
            for p in self.unfinished
            if p.is_measurable(now) and p.lag(now, self.total) > 0
        ]
        self._best = max([self._best, *rates])
        self._top = max(self._top, self._best)
        return min(max(probe, _SEEN * self._best), self._ceiling)

    # ------------------------------------------------------------------ moves

    def next_moves(self, now: float) -> tuple[Move, ...]:
        """Return the moves to carry out now."""
        self._drop_silent()
        self._give_up()
        passed = now - self._moved_at
        if passed >= _JUDGED_S:
            self._moved_at = now
            self._best *= _FADES ** min(passed, REPORT_S)
            self._demote_slow_starters(now)
            self._judge(now)
            self._rescue(now)
        self._attach_waiting(now)
        moves, self._moves = tuple(self._moves), []
        return moves

    def _drop_silent(self) -> None:
        """Leave out nodes that stopped reporting while others report, until they report again."""
        for peer in self.peers.values():
            quiet = self._last_report_at - peer.heard_at > (
                _STARVED_S if self._starves(peer) else SILENT_S
            )
            if quiet and not peer.silent and not peer.gone and peer.heard_at > float("-inf"):
                peer.silent = True
                if peer.size < self.total:
                    self._suspect(peer)
                self._isolate(peer)

    def _starves(self, peer: Peer) -> bool:
        """Whether the node that it feeds still reports but has received nothing lately."""
        child = peer.child
        if child is None or not child.first_byte or child.heard_at <= peer.heard_at + REPORT_S:
            return False
        return child.size_at(child.heard_at - _UNFED_S) >= child.size

    def _suspect(self, peer: Peer) -> None:
        """Treat a node as slow, unless a good probe shows otherwise."""
        peer.level += 1
        peer.suspect = peer.level == 1

    def _give_up(self) -> None:
        for peer in self.unfinished:
            if len(peer.refused) >= _REFUSALS or (peer.refused and peer.refusals >= _TRIES):
                feeder, why = list(peer.refused.items())[-1]
                peer.gone = f"{feeder or 'the image host'} can't reach it: {why}"
                self._isolate(peer)

    def _demote_slow_starters(self, now: float) -> None:
        """Move nodes that are slow on both connections from the first bytes on behind the others.

        Starts at the image host: a node beside a slow one may only look slow because of it, so its
        feeder must be known to be good.
        """
        if len(self.probes) < _PAIRS:
            return
        least = _BAD * self._probed
        late_s = max(_PROBE_LATE_S, 2 * MEASURED_BYTES / max(least, 1.0))

        def is_slow(peer: Peer | None) -> bool:
            if peer is None or peer.probe:
                return peer is not None and peer.probe < least
            return bool(peer.probing_at) and now - peer.probing_at >= late_s

        for peer in self._chain_order():
            if peer.level or not is_slow(peer) or not is_slow(peer.child):
                continue
            if peer.feeder is not self.head and (peer.feeder is None or peer.feeder.probe < least):
                continue
            self._suspect(peer)
            self._isolate(peer)

    @property
    def _probed(self) -> float:
        """The probed rate of good connections: a slow node accounts for two slow ones, and a link
        may begin with a burst.
        """
        at = (len(self.probes) - 1) * 3 // 4
        return sorted(self.probes)[at] if self.probes else 0.0

    def _chain_order(self) -> list[Peer]:
        """The nodes behind the image host, in chain order."""
        peers, peer = [], self.head.child
        while peer is not None:
            peers.append(peer)
            peer = peer.child
        return peers

    def _judge(self, now: float) -> None:
        """Move the slow node nearest to the image host behind the good ones."""
        target = self.target_rate(now)
        usual = max(_SLACK, _SLACK_S * target)
        worst: Peer | None = None
        for peer in self.unfinished:
            source = peer.feeder
            if source is None or peer.silent or self._report_overdue(source):
                continue
            lag = peer.lag(now, self.total)
            slack = 2 * _HELD if peer.is_stuck else usual
            late = (
                not peer.first_byte
                and now - peer.since > _FIRST_BYTE_S
                and source.available_at(now - _FIRST_BYTE_S, self.total)
                > peer.size + (_HELD if source.size < self.total else 0)
            )
            # Slow nodes feed each other: among them, only much slower ones move further back.
            least = _BAD * target / 2**peer.level
            if peer.is_measurable(now) and (lag < slack or peer.rate(now) >= least):
                source.failed_children.clear()
                continue
            slow = peer.is_measurable(now) and lag >= slack
            waited_for = not peer.level or peer.child is not None
            nearer = worst is None or source.size > (worst.feeder or source).size
            if (late or (slow and waited_for)) and nearer:
                worst = peer
        if worst is not None and worst.feeder is not None:
            source = worst.feeder
            if not worst.level:  # a slow node is no evidence against its feeder
                source.failed_children.add(worst.name)
            worst.avoid[source.name] = now + _AVOID_S
            rate = worst.rate(now)
            worst.level += 1
            worst.suspect = False
            self._isolate(worst)
            self._blame(source, now, rate)

    def _blame(self, source: Peer, now: float, rate: float = 0.0) -> None:
        """Blame a feeder on which two nodes failed, and restore those nodes.

        Where the feeder is the image host, which cannot be replaced, its rate becomes the target
        rate.
        """
        failed = [self.peers[name] for name in source.failed_children if name in self.peers]
        if len(failed) < 2:
            return
        source.failed_children.clear()
        if source is self.head:
            if rate:
                self._ceiling = max(rate, 1.0)
                self._best = min(self._best, rate)
        else:
            source.level += 1
            if source.size < self.total:
                source.avoid.clear()
            self._isolate(source)
        for peer in failed:
            peer.level = max(0, peer.level - 1)
            peer.avoid.pop(source.name, None)

    def _rescue(self, now: float) -> None:
        """Give a node behind a slow feeder a good feeder that is idle."""
        for peer in self.unfinished:
            if peer.feeder is None or not peer.feeder.level:
                continue
            better = self._find_feeder(peer, now, most=0)
            if better is not None and better.size > peer.size:
                self._detach(peer, send_move=True)
                self._attach_to(better, peer, now)
                return

    def _attach_waiting(self, now: float) -> None:
        waiting = [
            p
            for p in self.unfinished
            if p.feeder is None and not p.silent and p.finished_feeder is None
        ]
        waiting.sort(key=lambda p: (p.level, -p.size, p.order))
        for peer in waiting:
            source = self._find_feeder(peer, now, most=peer.level)
            if source is not None:
                self._attach_to(source, peer, now)
                continue
            if (new_feeder := self._find_insertion(peer, now)) and new_feeder.child is not None:
                self._detach(new_feeder.child, send_move=True)
                self._attach_to(new_feeder, peer, now)
            elif peer.child is not None:  # its child need not wait with it
                self._detach(peer.child, send_move=True)

    def _find_feeder(self, peer: Peer, now: float, *, most: int) -> Peer | None:
        """Return the idle node with the most bytes among the best ones."""
        candidates = [
            p
            for p in self._sources()
            if p.child is None and self._can_feed(p, peer, now, most=most)
        ]
        return max(candidates, key=lambda p: (-p.level, p.size, -p.order), default=None)

    def _find_insertion(self, peer: Peer, now: float) -> Peer | None:
        """Return a node to feed this one and hand its present child, which has less or is slower,
        to it.
        """
        candidates = [
            p
            for p in self._sources()
            if p.child is not None and self._can_feed(p, peer, now, most=peer.level)
            if p.child.level >= peer.level or self._is_below_probes(p.child, now)
            if p.child.size + _SLACK < peer.size or p.child.level > peer.level
            if peer.size < p.size
        ]
        return min(candidates, key=lambda p: (p.size, p.order), default=None)

    def _is_below_probes(self, peer: Peer, now: float) -> bool:
        """Whether it receives less than good connections began with: no better than a slow node."""
        return peer.is_measurable(now) and peer.rate(now) < _BAD * self._top

    def _sources(self) -> Iterable[Peer]:
        """All nodes that have the whole file, or receive it through such a node."""
        ends = [p for p in self.peers.values() if p.size >= self.total]
        for end in (self.head, *ends):
            at: Peer | None = end
            while at is not None:
                if not at.gone and not at.silent:
                    yield at
                at = at.child

    def _can_feed(self, source: Peer, peer: Peer, now: float, *, most: int) -> bool:
        return (
            source is not peer
            and source.level <= most
            and source.size >= peer.size
            and peer.avoid.get(source.name, float("-inf")) <= now
        )

    # ------------------------------------------------------------------ edges

    def _peer(self, name: str) -> Peer:
        return self.head if name == HEAD else self.peers[name]

    def _report_overdue(self, source: Peer) -> bool:
        """Whether its next report is overdue: it may be dead, and its child is not to blame."""
        return source is not self.head and self._last_report_at - source.heard_at > _OVERDUE_S

    def _attach_to(self, source: Peer, peer: Peer, now: float) -> None:
        source.child, peer.feeder = peer, source
        peer.since, peer.base, peer.first_byte = now, peer.size, 0.0
        peer.probe = peer.probing_at = 0.0
        self._moves.append(Attach(source.name, peer.name, peer.size))

    def _detach(self, peer: Peer, *, send_move: bool = False) -> None:
        """Take a node's feeder away."""
        source = peer.feeder
        if source is None:
            return
        peer.feeder = source.child = None
        peer.probe = peer.probing_at = 0.0
        if send_move:
            self._moves.append(Detach(source.name, peer.name))

    def _isolate(self, peer: Peer) -> None:
        """Take a node's feeder and its child away."""
        self._detach(peer, send_move=True)
        if peer.child is not None:
            self._detach(peer.child, send_move=True)
