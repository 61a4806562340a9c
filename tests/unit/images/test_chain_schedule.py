"""Which node feeds which, in a simulated network with slow, stopped and dying nodes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.unit.images.simulated_network import STEP_S, SimulatedHost, SimulatedNetwork
from vizdash.images.chain_peer import HEAD, WINDOW_S, Attach, Detach
from vizdash.images.chain_schedule import SILENT_S, ChainSchedule

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

    def __call__(self, network: SimulatedNetwork) -> None:
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


def network(count: int, faults: Faults, *, seed: int = 0, late_s: float = 0.0) -> SimulatedNetwork:
    hosts = {f"n{at}": SimulatedHost(f"n{at}", RATE) for at in range(count)}
    # What is usual is taken for good: where more nodes are slow, good ones may be taken for slow.
    slow = {f"n{at % count}" for at in sorted(faults.slow)[: count // 4]}
    for name in slow:
        hosts[name].rate = RATE / 10
    for at in faults.dying:
        hosts[f"n{at % count}"].dies = 1 + at % COPY_S
    for at in faults.stopping:
        host = hosts[f"n{at % count}"]
        host.stops, host.resumes = 2 + at % COPY_S, 2 + at % COPY_S + 10
    made = SimulatedNetwork(
        TOTAL, RATE, hosts, late_s=late_s, seed=seed, watch=Watcher(slow), least=RATE
    )
    made.run(COPY_S * 6)
    return made


def good(net: SimulatedNetwork) -> list[SimulatedHost]:
    inf = float("inf")
    return [h for h in net.hosts.values() if (h.rate, h.dies, h.stops) == (RATE, inf, inf)]


@pytest.mark.parametrize("count", [1, 2, 8, 24, 100])
def test_without_faults_it_takes_the_time_of_one_copy(count: int) -> None:
    net = network(count, Faults())
    assert net.attaches == count, "nobody is moved"
    assert max(h.done_at for h in net.hosts.values()) < COPY_S + 1.5 + 0.05 * count


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("kind", ["slow", "dying", "stopping"])
def test_one_fault_delays_no_other_node_for_long(kind: str, at: int) -> None:
    net = network(8, Faults(**{kind: {at + 8}}))
    assert max(h.done_at for h in good(net)) < 1.25 * COPY_S


nodes = st.integers(0, 200)
faulty = st.builds(
    Faults,
    st.sets(nodes, max_size=6),
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
    schedule = ChainSchedule(100)
    for name, size in (("a", 0), ("b", 70), ("c", 40), ("d", 100)):
        schedule.add_node(name, size, 0.0)
    moves = schedule.next_moves(0.0)
    # The largest first, each from one who has more; d has it all, and is a second source.
    assert set(moves) == {Attach(HEAD, "b", 70), Attach("d", "c", 40), Attach("b", "a", 0)}
    assert [p.name for p in schedule.unfinished] == ["a", "b", "c"]


def test_a_late_node_with_more_goes_between_two() -> None:
    schedule = ChainSchedule(100 << 20)
    schedule.add_node("a", 50 << 20, 0.0)
    schedule.add_node("b", 10 << 20, 0.0)
    assert schedule.next_moves(0.0) == (Attach(HEAD, "a", 50 << 20), Attach("a", "b", 10 << 20))
    schedule.add_node("c", 30 << 20, 0.1)
    assert schedule.next_moves(0.1) == (Detach("a", "b"), Attach("a", "c", 30 << 20))
    assert schedule.next_moves(0.2) == (Attach("c", "b", 10 << 20),)


def test_nodes_that_may_not_talk_are_left_to_the_image_host() -> None:
    schedule = ChainSchedule(100 << 20)
    names = [f"n{at}" for at in range(6)]
    now = 0.0
    for name in names:
        schedule.add_node(name, 0, now)
    for _ in range(200):
        now += 0.2
        for name in names:
            schedule.report_size(name, schedule.peers[name].size, now)
        for move in schedule.next_moves(now):
            if isinstance(move, Attach) and move.feeder != HEAD:
                schedule.report_end(move.feeder, move.child, "Permission denied (publickey).", now)
        if schedule.blocked:
            break
    assert schedule.blocked.endswith("Permission denied (publickey).")
    assert now < 10


def test_an_unreachable_node_is_given_up_and_the_others_continue() -> None:
    schedule = ChainSchedule(100)
    now = 0.0
    for name in ("a", "b", "c", "d"):
        schedule.add_node(name, 0, now)
    for step in range(1, 400):
        now += 0.2
        for move in schedule.next_moves(now):
            if isinstance(move, Attach) and move.child == "c":
                schedule.report_end(move.feeder, "c", "No route to host", now)
        for name in ("a", "b", "d"):
            if schedule.peers[name].feeder is not None:
                schedule.report_size(name, min(100, step), now)
            else:
                schedule.report_size(name, schedule.peers[name].size, now)
        if len(schedule.unfinished) == 0:
            break
        schedule.report_size("c", 0, now)
    assert "can't reach it: No route to host" in schedule.peers["c"].gone
    assert {name for name, p in schedule.peers.items() if p.size == 100} == {"a", "b", "d"}
    assert schedule.peers["d"].level == 0 and schedule.peers["a"].level == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_among_many_no_good_node_is_taken_for_a_slow_one(seed: int) -> None:
    """Of 150 nodes, a tenth have half the rate, and a twentieth die on the way."""
    copy_s, count = 40.0, 150
    chance = random.Random(seed)
    hosts = {f"n{at}": SimulatedHost(f"n{at}", RATE) for at in range(count)}
    names = list(hosts)
    chance.shuffle(names)
    for name in names[:15]:
        hosts[name].rate = RATE / 2
    for name in names[15:23]:
        hosts[name].dies = chance.random() * copy_s
    demoted: set[str] = set()

    def watch(net: SimulatedNetwork) -> None:
        peers = net.schedule.peers
        demoted.update(h.name for h in good(net) if h.name in peers and peers[h.name].level)

    total = int(copy_s * RATE)
    net = SimulatedNetwork(total, RATE, hosts, late_s=0.1, seed=seed, least=RATE, watch=watch)
    net.run(copy_s * 6)
    assert demoted == set()
    assert max(h.done_at for h in good(net)) < 1.3 * copy_s


def chained(*names: str, size: int = 0) -> ChainSchedule:
    """A chain in this order, on which each has ``size`` bytes, at time 0."""
    schedule = ChainSchedule(100 << 20)
    for name in names:
        schedule.add_node(name, size, 0.0)
    pairs = zip((HEAD, *names), names, strict=False)
    assert schedule.next_moves(0.0) == tuple(Attach(feeder, name, size) for feeder, name in pairs)
    return schedule


def test_between_two_slow_nodes_a_good_one_is_not_slow() -> None:
    names = ("a", "b", "slow1", "good", "slow2", "c")
    schedule = chained(*names)
    rates = {"a": 4e6, "b": 4e6, "slow1": 0, "good": 2e6, "slow2": 2e6, "c": 2e6}
    for feeder, name in zip((HEAD, *names), names, strict=False):
        if rates[name]:  # slow1 has another feeder than before, and is not probed yet
            schedule.report_probe(feeder, name, rates[name])
    for _ in range(4):
        schedule.probes.append(4e6)
    schedule.next_moves(1.0)
    assert schedule.peers["good"].level == 0
    schedule.report_probe("b", "slow1", 2e6)
    schedule.next_moves(2.0)
    assert [name for name in names if schedule.peers[name].level] == ["slow1"]


def test_probes_that_take_too_long_are_those_of_a_slow_node() -> None:
    """Between two nodes that sent theirs in time."""
    names = ("a", "b", "slow", "c", "d")
    schedule = chained(*names)
    for feeder, name in zip((HEAD, *names), names, strict=False):
        schedule.report_probing(feeder, name, 0.3)
        if "slow" not in (feeder, name):
            schedule.report_probe(feeder, name, 8e6)
    schedule.report_probe("a", "b", 8e6)
    schedule.next_moves(0.7)
    assert schedule.peers["slow"].level == 0
    moves = schedule.next_moves(0.9)
    assert moves[:3] == (Detach("b", "slow"), Detach("slow", "c"), Attach("b", "c", 0))
    # It was only late: a good probe on its next connection.
    assert moves[3:] == (Attach("d", "slow", 0),)
    schedule.report_probe("d", "slow", 8e6)
    assert schedule.peers["slow"].level == 0


def test_a_burst_at_the_start_of_a_link_makes_no_other_slow() -> None:
    names = ("a", "b", "c", "d")
    schedule = chained(*names)
    rates = (8e6, 8e6, 8e6, 16e6)
    for feeder, name, rate in zip((HEAD, *names), names, rates, strict=False):
        schedule.report_probe(feeder, name, rate)
    assert schedule.next_moves(1.0) == ()


def test_a_good_probe_clears_a_node_that_was_silent() -> None:
    schedule = chained("a", "b")
    for name in ("a", "b"):
        schedule.report_size(name, 1 << 20, 0.4)
    schedule.report_size("a", 2 << 20, 2.4)
    schedule.next_moves(2.4)
    assert schedule.peers["b"].silent and schedule.peers["b"].level == 1
    schedule.report_size("b", 1 << 20, 2.8)
    assert Attach("a", "b", 1 << 20) in schedule.next_moves(2.8)
    schedule.report_probe("a", "b", 4e6)
    assert schedule.peers["b"].level == 0


def test_a_node_that_reports_nothing_and_feeds_nothing_is_left_out_sooner() -> None:
    schedule = chained("a", "b", "c")
    now = 0.0
    for step in range(1, 5):  # all grow, until b dies
        now = step * 0.4
        for name, less in (("a", 0), ("b", 1 << 16), ("c", 1 << 17)):
            schedule.report_size(name, (step << 20) - less, now)
        schedule.next_moves(now)
    size = schedule.peers["c"].size
    while not schedule.peers["b"].silent:
        now += 0.2
        schedule.report_size("a", schedule.peers["a"].size + (1 << 19), now)
        schedule.report_size("c", size, now)
        moves = schedule.next_moves(now)
        assert now < 4 * 0.4 + SILENT_S - 0.3
    assert Attach("a", "c", size) in moves
    assert schedule.peers["c"].level == 0


def test_what_a_dead_feeder_had_on_the_way_does_not_keep_it() -> None:
    """Its child still received something after its last report."""
    schedule = chained("a", "b", "c")
    for step in range(1, 5):
        for name in ("a", "b", "c"):
            schedule.report_size(name, step << 20, step * 0.4)
        schedule.next_moves(step * 0.4)
    for now, size in ((2.0, 5 << 20), (2.4, 5 << 20), (2.5, 5 << 20)):
        schedule.report_size("a", (5 << 20) + int(now * (1 << 18)), now)
        if now < 2.5:
            schedule.report_size("c", size, now)
        moves = schedule.next_moves(now)
    assert schedule.peers["b"].silent
    assert Attach("a", "c", 5 << 20) in moves


def test_what_a_dead_feeder_does_not_send_is_not_its_childs_fault() -> None:
    schedule = chained("a", "b", "c")
    schedule.probes += [4e6] * 4
    for step in range(1, 9):
        now = step * 0.4
        for name, less in (("a", 0), ("b", 1 << 16), ("c", 3 << 20)):
            schedule.report_size(name, max(0, (step << 20) - less), now)
        schedule.next_moves(now)
    size = schedule.peers["c"].size
    for _ in range(20):  # b is dead, and what c has does not grow
        now += 0.1
        schedule.report_size("a", schedule.peers["a"].size + (1 << 18), now)
        schedule.report_size("c", size, now)
        schedule.next_moves(now)
        assert schedule.peers["c"].level == 0
    assert schedule.peers["b"].silent


def test_a_feeder_that_has_had_next_to_nothing_is_waited_for() -> None:
    schedule = chained("a", "b", "c")
    for step in range(1, 25):  # b had one packet when it lost its feeder
        now = step * 0.2
        if step == 13:
            schedule.remove_node("a", "no answer")
        for name, size in (("a", 2000), ("b", 2000), ("c", 0)):
            schedule.report_size(name, size, now)
        schedule.next_moves(now)
        assert schedule.peers["c"].level == 0, now


def test_a_node_that_reports_but_receives_nothing_is_left_out_soon() -> None:
    """Its rate over a whole window would still count what it received before."""
    schedule = chained("a", "b", "c")
    now = 0.0
    for step in range(1, 11):
        now = step * 0.4
        for name, less in (("a", 0), ("b", 1 << 16), ("c", 1 << 17)):
            schedule.report_size(name, (step * 3 << 20) - less, now)
        schedule.next_moves(now)
    stopped, sizes = now, {name: peer.size for name, peer in schedule.peers.items()}
    while not schedule.peers["b"].level:  # its dd(1) hangs
        now += 0.4
        schedule.report_size("a", schedule.peers["a"].size + (3 << 20), now)
        for name in "bc":
            schedule.report_size(name, sizes[name], now)
        moves = schedule.next_moves(now)
        assert now <= stopped + WINDOW_S + 0.01
    assert Attach("a", "c", sizes["c"]) in moves
    assert schedule.peers["c"].level == 0


def test_a_file_that_arrives_between_two_reports_was_fed_by_a_node() -> None:
    """So nodes can feed each other, whatever else fails."""
    schedule = chained("a", "b")
    schedule.report_size("a", schedule.total, 0.4)
    schedule.report_end("a", "b", "", 0.5)
    schedule.report_size("b", schedule.total, 0.6)
    assert schedule.fed_by_node
