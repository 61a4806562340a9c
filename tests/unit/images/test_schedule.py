"""Who feeds whom, in a network that is made up: slow, stopped and dying nodes."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.images.flow import STEP_S, Host, Network
from vizdash.images.peer import HEAD, WINDOW_S, Attach, Detach
from vizdash.images.schedule import Schedule

RATE = 4e6
#: Seconds that one copy takes on one link.
COPY_S = 15.0
TOTAL = int(RATE * COPY_S)
#: Seconds that one fault may cost the others: silence, a new connection, a report that is late.
FAULT_S = 3.5


@dataclass
class Watcher:
    """Measures for how long a good node gets what it gets from a slow one that could be judged."""

    slow: set[str]
    waited: dict[tuple[str, str], float] = field(default_factory=dict)
    longest: float = 0.0

    def __call__(self, network: Network) -> None:
        feeders = list(network.feeder.values())
        assert len(feeders) == len(set(feeders)), "a node feeds one other"
        behind = set()
        for name, feeder in network.feeder.items():
            host = network.hosts[name]
            if name in self.slow or feeder not in self.slow or not host.works(network.now):
                continue
            source = network.feeder.get(feeder)
            if source is None or source in self.slow:
                continue
            if source == HEAD or network.hosts[source].works(network.now):
                pair = (feeder, name)
                behind.add(pair)
                self.waited[pair] = self.waited.get(pair, 0.0) + STEP_S
                self.longest = max(self.longest, self.waited[pair])
        for pair in set(self.waited) - behind:
            del self.waited[pair]


@dataclass
class Faults:
    """Which nodes are slow, die, or stop for ten seconds."""

    slow: set[int] = field(default_factory=set)
    dying: set[int] = field(default_factory=set)
    stopping: set[int] = field(default_factory=set)


def network(count: int, faults: Faults, *, seed: int = 0, late_s: float = 0.0) -> Network:
    hosts = {f"n{at}": Host(f"n{at}", RATE) for at in range(count)}
    # What is usual is taken for good: where most nodes are slow, none is.
    slow = {f"n{at % count}" for at in sorted(faults.slow)[: count // 3]}
    for name in slow:
        hosts[name].rate = RATE / 10
    for at in faults.dying:
        hosts[f"n{at % count}"].dies = 1 + at % COPY_S
    for at in faults.stopping:
        host = hosts[f"n{at % count}"]
        host.stops, host.goes_on = 2 + at % COPY_S, 2 + at % COPY_S + 10
    made = Network(TOTAL, RATE, hosts, late_s=late_s, seed=seed, watch=Watcher(slow), least=RATE)
    made.run(COPY_S * 6)
    return made


def good(net: Network) -> list[Host]:
    inf = float("inf")
    return [h for h in net.hosts.values() if (h.rate, h.dies, h.stops) == (RATE, inf, inf)]


@pytest.mark.parametrize("count", [1, 2, 8, 24, 100])
def test_without_faults_it_takes_the_time_of_one_copy(count: int) -> None:
    net = network(count, Faults())
    assert net.attaches == count, "nobody is moved"
    assert max(h.done_at for h in net.hosts.values()) < COPY_S + 1.5 + 0.05 * count


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("kind", ["slow", "dying", "stopping"])
def test_one_fault_delays_nobody_else_for_long(kind: str, at: int) -> None:
    net = network(8, Faults(**{kind: {at + 8}}))
    assert max(h.done_at for h in good(net)) < 1.25 * COPY_S


nodes = st.integers(0, 200)
faulty = st.builds(
    Faults,
    st.sets(nodes, max_size=3),
    st.sets(nodes, max_size=2),
    st.sets(nodes, max_size=2),
)


@settings(max_examples=40, deadline=None, derandomize=True, phases=[Phase.generate])
@given(
    count=st.integers(3, 14),
    seed=st.integers(0, 1 << 16),
    late_s=st.sampled_from([0.0, 0.1, 0.3]),
    faults=faulty,
)
def test_no_order_of_reports_leaves_a_good_node_behind_a_slow_one(
    count: int, seed: int, late_s: float, faults: Faults
) -> None:
    net = network(count, faults, seed=seed, late_s=late_s)
    assert isinstance(net.watch, Watcher)
    assert net.watch.longest <= 3 * WINDOW_S + 1e-6
    number = len(faults.slow) + len(faults.dying) + len(faults.stopping)
    for host in good(net):
        assert host.done_at < COPY_S + 2 + FAULT_S * number, host


def test_what_arrived_before_decides_on_the_order() -> None:
    schedule = Schedule(100)
    for name, size in (("a", 0), ("b", 70), ("c", 40), ("d", 100)):
        schedule.joined(name, size, 0.0)
    moves = schedule.moves(0.0)
    # The largest first, each from one who has more; d has it all, and is a second source.
    assert set(moves) == {Attach(HEAD, "b", 70), Attach("d", "c", 40), Attach("b", "a", 0)}
    assert [p.name for p in schedule.open] == ["a", "b", "c"]


def test_a_late_node_with_more_goes_between_two() -> None:
    schedule = Schedule(100 << 20)
    schedule.joined("a", 50 << 20, 0.0)
    schedule.joined("b", 10 << 20, 0.0)
    assert schedule.moves(0.0) == (Attach(HEAD, "a", 50 << 20), Attach("a", "b", 10 << 20))
    schedule.joined("c", 30 << 20, 0.1)
    assert schedule.moves(0.1) == (Detach("a", "b"), Attach("a", "c", 30 << 20))
    assert schedule.moves(0.2) == (Attach("c", "b", 10 << 20),)


def test_nodes_that_may_not_talk_are_left_to_the_image_host() -> None:
    schedule = Schedule(100 << 20)
    names = [f"n{at}" for at in range(6)]
    now = 0.0
    for name in names:
        schedule.joined(name, 0, now)
    for _ in range(200):
        now += 0.2
        for name in names:
            schedule.told(name, schedule.peers[name].size, now)
        for move in schedule.moves(now):
            if isinstance(move, Attach) and move.feeder != HEAD:
                schedule.ended(move.feeder, move.child, "Permission denied (publickey).", now)
        if schedule.blocked:
            break
    assert schedule.blocked.endswith("Permission denied (publickey).")
    assert now < 10


def test_a_node_that_nobody_reaches_is_given_up_and_the_others_go_on() -> None:
    schedule = Schedule(100)
    now = 0.0
    for name in ("a", "b", "c", "d"):
        schedule.joined(name, 0, now)
    for step in range(1, 400):
        now += 0.2
        for move in schedule.moves(now):
            if isinstance(move, Attach) and move.child == "c":
                schedule.ended(move.feeder, "c", "No route to host", now)
        for name in ("a", "b", "d"):
            if schedule.peers[name].feeder is not None:
                schedule.told(name, min(100, step), now)
            else:
                schedule.told(name, schedule.peers[name].size, now)
        if len(schedule.open) == 0:
            break
        schedule.told("c", 0, now)
    assert "can't reach it: No route to host" in schedule.peers["c"].gone
    assert {name for name, p in schedule.peers.items() if p.size == 100} == {"a", "b", "d"}
    assert schedule.peers["d"].level == 0 and schedule.peers["a"].level == 0
