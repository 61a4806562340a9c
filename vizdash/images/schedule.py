"""Who feeds whom while one file goes from node to node: events in, moves out, no I/O, no clock.

Nodes form a chain behind the image host. Each appends what it gets to one part file and feeds the
next node from it, so that the size of that file is all there is to know of a node: any other that
has more can take over feeding it, from there on. Times are seconds of any clock that only rises.

A node is judged only by what its feeder had to give: it is slow when it lags behind what the
feeder had one window ago and gets less than it should. Slow nodes go on behind the good ones. A
feeder that two nodes fail on is the slow one itself. A node that falls silent is left out, and
comes back behind the good ones when it is heard of again.
"""

from __future__ import annotations

from collections.abc import Iterable

from vizdash.images.peer import HEAD, REPORT_S, Attach, Detach, Move, Peer

#: Seconds without a word, while others are heard, until a node is left out; and the same where what
#: it feeds to another has stopped for so long, too.
SILENT_S = 1.6
_STARVED_S = 2 * REPORT_S
#: The same until nobody that it feeds is judged by what comes from it.
_OVERDUE_S = 1.25 * REPORT_S
#: Seconds that a new edge has for its first byte.
_FIRST_BYTE_S = 3.0
#: Bytes that may be on the way for any time: dd(1) writes blocks of 128 KiB.
_HELD = 1 << 18
#: Seconds for which a pair that failed is not tried again.
_AVOID_S = 3.0
#: Bytes behind its feeder that say nothing yet, and seconds at the wanted rate that do not.
_SLACK = 1 << 20
_SLACK_S = 0.3
#: Below this part of the wanted rate an edge is bad.
_BAD = 0.6
#: What a probe, and a rate that was once seen, count of themselves; how a seen rate fades a second.
_PROBE, _SEEN, _FADES = 0.6, 0.8, 0.95
#: How often a node that was taken for a slow one, and then has a good probe, is a good one again.
_PARDONS = 2
#: Feeders that must have failed on a node until it is given up, or tries, and pairs until all are.
_REFUSALS, _TRIES, _PAIRS = 3, 5, 4


class Schedule:
    """The chain of one file of ``total`` bytes. Events may come in any order; ``moves`` gives what
    is to be done about them, and is to be called every ``REPORT_S`` or oftener.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.head = Peer(HEAD, -1, total)
        self.peers: dict[str, Peer] = {}
        self.probes: list[float] = []
        self.talked = False
        self._best = 0.0
        self._ceiling = float("inf")
        self._told_at = float("-inf")
        self._moved_at = float("-inf")
        self._moves: list[Move] = []

    # ------------------------------------------------------------------ events

    def joined(self, name: str, size: int, now: float) -> None:
        """A node is ready, with ``size`` bytes of the file."""
        peer = self.peers.setdefault(name, Peer(name, len(self.peers)))
        peer.gone = ""
        self.told(name, size, now)

    def told(self, name: str, size: int, now: float) -> None:
        """A node has so many bytes."""
        peer = self.peers[name]
        if now < peer.heard or peer.gone:
            return
        if peer.silent:
            peer.silent = False
            peer.past.clear()
        peer.heard, peer.size = now, max(peer.size, min(size, self.total))
        peer.past.append((now, peer.size))
        self._told_at = max(self._told_at, now)
        if peer.feeder is not None and peer.size > peer.base:
            peer.first_byte = peer.first_byte or now
            peer.refused.pop(peer.feeder.name, None)
            peer.refusals = 0
            self.talked |= peer.feeder is not self.head
        if peer.held_by is not None and now > peer.hold + REPORT_S:
            self._received(peer, peer.held_by, now)
        if peer.size >= self.total:
            self._part(peer)

    def _received(self, peer: Peer, feeder: str, now: float) -> None:
        """Its feeder has sent it all that there was: something of it must have come."""
        peer.held_by = None
        if peer.size > peer.base:
            self.talked |= feeder != HEAD
            return
        peer.refused[feeder] = "what was sent did not arrive"
        peer.refusals += 1
        peer.avoid[feeder] = now + _AVOID_S
        peer.level += 1
        self._leave(peer)

    def probed(self, feeder: str, name: str, rate: float) -> None:
        """The first bytes of an edge, sent before the file's, went at ``rate`` bytes per second."""
        peer = self.peers[name]
        self.probes.append(rate)
        if peer.feeder is self._peer(feeder):
            peer.probe = rate
            if peer.suspect and rate >= _BAD * self._probed and peer.pardons < _PARDONS:
                peer.level, peer.suspect = 0, False
                peer.pardons += 1

    def ended(self, feeder: str, name: str, why: str, now: float) -> None:
        """``feeder`` has stopped sending to a node: it is done, or why."""
        peer, source = self.peers[name], self._peer(feeder)
        if peer.feeder is not source or peer.size >= self.total:
            return
        if not why:  # it has sent all that there was: the node's next word tells what has come
            peer.hold, peer.held_by = now, feeder
            self._part(peer)
            return
        if peer.size <= peer.base:
            peer.refused[feeder] = why
            peer.refusals += 1
            if not peer.level:
                source.failed.add(name)
        peer.avoid[feeder] = now + _AVOID_S
        self._part(peer)
        self._blame(source, now)

    def lost(self, name: str, why: str) -> None:
        """A node can't be reached any more."""
        peer = self.peers.setdefault(name, Peer(name, len(self.peers)))
        peer.gone = why
        self._leave(peer)

    # ------------------------------------------------------------------ what is known

    @property
    def open(self) -> tuple[Peer, ...]:
        """Nodes that may still get it all."""
        return tuple(p for p in self.peers.values() if not p.gone and p.size < self.total)

    @property
    def good(self) -> tuple[Peer, ...]:
        """Those of them that are neither slow nor silent."""
        return tuple(p for p in self.open if not p.level and not p.silent)

    @property
    def blocked(self) -> str:
        """Why nodes can't feed each other at all; empty while they might."""
        if self.talked:
            return ""
        pairs = [
            f"{feeder} can't reach {peer.name}: {why}"
            for peer in self.peers.values()
            for feeder, why in peer.refused.items()
            if feeder != HEAD
        ]
        return pairs[-1] if len(pairs) >= min(_PAIRS, max(1, len(self.open) - 1)) else ""

    def wanted(self, now: float) -> float:
        """Bytes per second that an edge should carry, as far as that can be told."""
        probe = _PROBE * self._probed
        rates = [p.rate(now) for p in self.open if p.judgeable(now) and p.lag(now, self.total) > 0]
        self._best = max([self._best, *rates])
        return min(max(probe, _SEEN * self._best), self._ceiling)

    # ------------------------------------------------------------------ moves

    def moves(self, now: float) -> tuple[Move, ...]:
        """What is to be done now."""
        self._silence()
        self._give_up()
        passed = now - self._moved_at
        if passed >= REPORT_S:
            self._moved_at = now
            self._best *= _FADES ** min(passed, REPORT_S)
            self._sort_out()
            self._judge(now)
            self._rescue(now)
        self._attach(now)
        found, self._moves = tuple(self._moves), []
        return found

    def _silence(self) -> None:
        """Who was not heard of while others were takes part no more until it is."""
        for peer in self.peers.values():
            quiet = self._told_at - peer.heard > (_STARVED_S if self._starves(peer) else SILENT_S)
            if quiet and not peer.silent and not peer.gone and peer.heard > float("-inf"):
                peer.silent = True
                if peer.size < self.total:
                    self._suspect(peer)
                self._leave(peer)

    def _starves(self, peer: Peer) -> bool:
        """Whether the node that it feeds has got nothing of late, and says so."""
        child = peer.child
        if child is None or not child.first_byte or child.heard <= peer.heard + REPORT_S:
            return False
        return child.at(child.heard - _STARVED_S) >= child.size

    def _suspect(self, peer: Peer) -> None:
        """Take it for a slow node, unless a good probe shows better."""
        peer.level += 1
        peer.suspect = peer.level == 1

    def _give_up(self) -> None:
        for peer in self.open:
            if len(peer.refused) >= _REFUSALS or (peer.refused and peer.refusals >= _TRIES):
                feeder, why = list(peer.refused.items())[-1]
                peer.gone = f"{feeder or 'the image host'} can't reach it: {why}"
                self._leave(peer)

    def _sort_out(self) -> None:
        """Whoever is slow at both of its ends from the first bytes on goes behind the others, from
        the image host on: what is slow beside such a node may be so for its sake, so that its
        feeder has to be known for a good one.
        """
        if len(self.probes) < _PAIRS:
            return
        least = _BAD * self._probed
        for peer in self._line():
            child = peer.child
            if not peer.probe or peer.probe >= least or peer.level:
                continue
            if peer.feeder is not self.head and (peer.feeder is None or peer.feeder.probe < least):
                continue
            if child is not None and 0 < child.probe < least:
                self._suspect(peer)
                self._leave(peer)

    @property
    def _probed(self) -> float:
        """The rate that good edges were probed with: of a slow node, two are slow."""
        at = len(self.probes) * 4 // 5
        return sorted(self.probes)[at] if self.probes else 0.0

    def _line(self) -> list[Peer]:
        """The nodes behind the image host, in their order."""
        found, at = [], self.head.child
        while at is not None:
            found.append(at)
            at = at.child
        return found

    def _judge(self, now: float) -> None:
        """Move the slow node that is nearest to the image host behind the good ones."""
        wanted = self.wanted(now)
        slack = max(_SLACK, _SLACK_S * wanted)
        worst: Peer | None = None
        for peer in self.open:
            source = peer.feeder
            if source is None or peer.silent or self._quiet(source):
                continue
            lag = peer.lag(now, self.total)
            late = (
                not peer.first_byte
                and now - peer.since > _FIRST_BYTE_S
                and source.had(now - _FIRST_BYTE_S, self.total)
                > peer.size + (_HELD if source.size < self.total else 0)
            )
            # Slow nodes are among themselves: of those, only much slower ones go further back.
            least = _BAD * wanted / 2**peer.level
            if peer.judgeable(now) and (lag < slack or peer.rate(now) >= least):
                source.failed.clear()
                continue
            slow = peer.judgeable(now) and lag >= slack
            waited_for = not peer.level or peer.child is not None
            nearer = worst is None or source.size > (worst.feeder or source).size
            if (late or (slow and waited_for)) and nearer:
                worst = peer
        if worst is not None and worst.feeder is not None:
            source = worst.feeder
            if not worst.level:  # a slow node accuses nobody
                source.failed.add(worst.name)
            worst.avoid[source.name] = now + _AVOID_S
            rate = worst.rate(now)
            worst.level += 1
            worst.suspect = False
            self._leave(worst)
            self._blame(source, now, rate)

    def _blame(self, source: Peer, now: float, rate: float = 0.0) -> None:
        """Two nodes failed on this feeder: it is at fault, not they. There is none but the image
        host for some; then that is the rate that can be had.
        """
        failed = [self.peers[name] for name in source.failed if name in self.peers]
        if len(failed) < 2:
            return
        source.failed.clear()
        if source is self.head:
            if rate:
                self._ceiling = max(rate, 1.0)
                self._best = min(self._best, rate)
        else:
            source.level += 1
            if source.size < self.total:
                source.avoid.clear()
            self._leave(source)
        for peer in failed:
            peer.level = max(0, peer.level - 1)
            peer.avoid.pop(source.name, None)

    def _rescue(self, now: float) -> None:
        """Who is fed by a slow node, or is slow itself, gets a good feeder that is idle."""
        for peer in self.open:
            if peer.feeder is None or not peer.feeder.level:
                continue
            better = self._feeder(peer, now, most=0)
            if better is not None and better.size > peer.size:
                self._part(peer, say=True)
                self._give(better, peer, now)
                return

    def _attach(self, now: float) -> None:
        waiting = [p for p in self.open if p.feeder is None and not p.silent and p.held_by is None]
        waiting.sort(key=lambda p: (p.level, -p.size, p.order))
        for peer in waiting:
            source = self._feeder(peer, now, most=peer.level)
            if source is not None:
                self._give(source, peer, now)
                continue
            if not peer.level and (place := self._splice(peer, now)) and place.child is not None:
                self._part(place.child, say=True)
                self._give(place, peer, now)
            elif peer.child is not None:  # it need not wait with this one
                self._part(peer.child, say=True)

    def _feeder(self, peer: Peer, now: float, *, most: int) -> Peer | None:
        """The idle node with most to give, of the best that there are."""
        found = [
            p for p in self._sources() if p.child is None and self._may(p, peer, now, most=most)
        ]
        return max(found, key=lambda p: (-p.level, p.size, -p.order), default=None)

    def _splice(self, peer: Peer, now: float) -> Peer | None:
        """A node that feeds one with less, or a slower one, between which this one fits."""
        found = [
            p
            for p in self._sources()
            if p.child is not None and self._may(p, peer, now, most=peer.level)
            if p.child.size + _SLACK < peer.size or p.child.level > peer.level
            if peer.size < p.size
        ]
        return min(found, key=lambda p: (p.size, p.order), default=None)

    def _sources(self) -> Iterable[Peer]:
        """Everybody who has it all or gets it from one who has."""
        ends = [p for p in self.peers.values() if p.size >= self.total]
        for end in (self.head, *ends):
            at: Peer | None = end
            while at is not None:
                if not at.gone and not at.silent:
                    yield at
                at = at.child

    def _may(self, source: Peer, peer: Peer, now: float, *, most: int) -> bool:
        return (
            source is not peer
            and source.level <= most
            and source.size >= peer.size
            and peer.avoid.get(source.name, float("-inf")) <= now
        )

    # ------------------------------------------------------------------ edges

    def _peer(self, name: str) -> Peer:
        return self.head if name == HEAD else self.peers[name]

    def _quiet(self, source: Peer) -> bool:
        """Whether its next word is overdue: it may be dead, and what it feeds is not to blame."""
        return source is not self.head and self._told_at - source.heard > _OVERDUE_S

    def _give(self, source: Peer, peer: Peer, now: float) -> None:
        source.child, peer.feeder = peer, source
        peer.since, peer.base, peer.first_byte, peer.probe = now, peer.size, 0.0, 0.0
        self._moves.append(Attach(source.name, peer.name, peer.size))

    def _part(self, peer: Peer, *, say: bool = False) -> None:
        """It is fed no more."""
        source = peer.feeder
        if source is None:
            return
        peer.feeder, source.child, peer.probe = None, None, 0.0
        if say:
            self._moves.append(Detach(source.name, peer.name))

    def _leave(self, peer: Peer) -> None:
        """It neither gets nor gives."""
        self._part(peer, say=True)
        if peer.child is not None:
            self._part(peer.child, say=True)
