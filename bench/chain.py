"""A copy from node to node on networks of up to 1,000 nodes: the real scheduler, links made up.

Multiples of size/rate, until the last node with a full link that lives has all of it.
"""

from __future__ import annotations

import random
import time

from tests.unit.images.simulated_network import SimulatedHost, SimulatedNetwork

RATE = 4e6
#: Seconds that one copy takes on one link.
COPIES_S = (12.6, 80.0)
COUNTS = (8, 24, 200, 1000)
#: Parts of the nodes that have half the rate, and that die on the way.
HALF, DYING = 0.1, 0.05


def run() -> dict[str, float]:
    """Print a table: all nodes alike, then with slow and dying ones among them."""
    ratios: dict[str, float] = {}
    print(f"{'size/rate':>10}{'nodes':>7}{'alike':>8}{'faults':>8}{'moves':>7}{'scheduling':>12}")
    for copy_s in COPIES_S:
        for count in COUNTS:
            alike, _, _ = simulated(count, copy_s)
            faults, moves, took_s = simulated(count, copy_s, half=HALF, dying=DYING)
            ratios |= {f"{count} {copy_s:g} alike": alike, f"{count} {copy_s:g} faults": faults}
            print(
                f"{copy_s:>8.1f} s{count:>7}{alike:>8.2f}{faults:>8.2f}{moves:>7}{took_s:>10.1f} s",
                flush=True,
            )
    return ratios


def simulated(
    count: int, copy_s: float, *, half: float = 0.0, dying: float = 0.0, seed: int = 1
) -> tuple[float, int, float]:
    """Multiple of ``copy_s``, how often a feeder was given, and seconds of our own CPU time."""
    chance = random.Random(seed)
    hosts = {f"n{at}": SimulatedHost(f"n{at}", RATE) for at in range(count)}
    names = list(hosts)
    chance.shuffle(names)
    slow, ends = round(half * count), round(dying * count)
    for name in names[:slow]:
        hosts[name].rate = RATE / 2
    for name in names[slow : slow + ends]:
        hosts[name].dies = chance.random() * copy_s
    network = SimulatedNetwork(int(copy_s * RATE), RATE, hosts, late_s=0.1, seed=seed, least=RATE)
    began = time.process_time()
    network.run(copy_s * 12)
    took_s = time.process_time() - began
    good = [h for h in hosts.values() if h.rate == RATE and h.dies == float("inf")]
    return max(h.done_at for h in good) / copy_s, network.attaches, took_s
