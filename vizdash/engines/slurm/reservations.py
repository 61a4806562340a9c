"""``scontrol show reservation`` as reservations."""

from __future__ import annotations

import re

from vizdash.engines.slurm import values
from vizdash.engines.slurm.parse import one_lines
from vizdash.model import Reservation
from vizdash.nodesets import expand

#: With CoreCnt, the cores of each node stand between Flags and TRES, as records of their own.
_CORES = re.compile(r"\bNodeName=(\S+) CoreIDs=(\S+)")


def reservations(answer: str) -> tuple[Reservation, ...]:
    """``scontrol show reservation -o`` (times in epoch seconds) as reservations; of licences
    alone, which have no nodes, none.
    """
    found = []
    for line in answer.split("\n"):
        cores = tuple((node, _count(ids)) for node, ids in _CORES.findall(line))
        for record in one_lines(_CORES.sub("", line), "ReservationName"):
            start = values.epoch(record.get("StartTime", ""))
            end = values.epoch(record.get("EndTime", ""))
            nodes = expand(values.text(record.get("Nodes", "")))
            if start is None or end is None or not nodes:
                continue
            found.append(
                Reservation(
                    name=record["ReservationName"],
                    start_at=start,
                    end_at=end,
                    nodes=nodes,
                    cores=cores,
                    flags=values.names(record.get("Flags", "").strip()),
                    users=values.names(record.get("Users", "")),
                    accounts=values.names(record.get("Accounts", "")),
                    groups=values.names(record.get("Groups", "")),
                )
            )
    return tuple(found)


def _count(ids: str) -> int:
    """How many cores ``0-2,5`` are."""
    total = 0
    for part in ids.split(","):
        first, _, last = part.partition("-")
        total += values.number(last or first) - values.number(first) + 1
    return total
