"""The nodes of a small cluster with GPUs, for questions of what fits."""

from __future__ import annotations

import time
from dataclasses import replace

from vizdash.model import Gres, Node, Partition, Reservation

G = 1024
#: The lab's cluster: the legacy node, and two larger ones, one of them with GPUs.
SMALL = Node("viz-node001", "IDLE", cores=4, memory_mib=3584, partitions=("viz",))
LARGE = Node("viz-node002", "IDLE", cores=8, memory_mib=16 * G, partitions=("viz",))
GPUS = replace(LARGE, name="viz-node003", gres=(Gres("gpu", "a100", 2),))
OTHER = replace(LARGE, name="cpu001", cores=64, partitions=("batch",))
NODES = (SMALL, LARGE, GPUS, OTHER)
VIZ = Partition("viz", default=True)
NOW = time.mktime((2026, 3, 2, 15, 28, 0, 0, 0, -1))
#: Maintenance of all nodes, from 58 min and 10 s after NOW for two hours.
MAINTENANCE = Reservation(
    "maint",
    start_at=int(NOW) + 58 * 60 + 10,
    end_at=int(NOW) + 178 * 60,
    nodes=("viz-node001", "viz-node002", "viz-node003"),
    flags=("MAINT", "IGNORE_JOBS"),
    users=("root",),
)
