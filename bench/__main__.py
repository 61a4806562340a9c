"""Measurements, as ratios of two sides taken in turn in one run: ``python -m bench [NAME...]``.

No test depends on them: how long something takes is the machine's business too.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from bench import chain, deploy, picture, poll, ready, repaint, scale, startup

BENCHES: dict[str, tuple[str, Callable[[], object]]] = {
    "startup": ("A verb's start, against Python's own, in CPU time", startup.run),
    "poll": ("Reading a poll of a big cluster, in CPU time", poll.run),
    "ready": ("From the key to a ready desktop, on the lab's cluster, by the clock", ready.run),
    "repaint": ("What the dashboard writes to a terminal of 80x24, in bytes", repaint.run),
    "picture": (
        "The picture's quality on a slow link and an open one, in Chromium, by the clock",
        picture.run,
    ),
    "chain": ("A copy from node to node, simulated, in multiples of size/rate", chain.run),
    "scale": ("Big clusters, beside other dashboards, by the clock (half an hour)", scale.run),
    "deploy": (
        "Bringing an image to eight and to 24 nodes, on the lab's hosts, by the clock",
        deploy.run,
    ),
}


def main(words: list[str]) -> int:
    """Run the named benchmarks, or all; exit code 2 for an unknown one."""
    if unknown := [word for word in words if word not in BENCHES]:
        print(f"bench: no {', '.join(unknown)}: there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}; medians")
    for name in words or BENCHES:
        title, measure = BENCHES[name]
        print(f"\n{title}  (python -m bench {name})", flush=True)
        measure()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
