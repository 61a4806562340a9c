"""How many more sessions of the size that the form would offer there is room for now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from vizdash.model import Partition, Resources, SessionRequest, Snapshot
from vizdash.service import Service
from vizdash.sessions.ahead import waiting_ahead
from vizdash.sessions.fit import fit
from vizdash.sessions.rawargs import asked, undecided
from vizdash.ui import words


@dataclass(frozen=True, slots=True)
class Room:
    """``on`` are the nodes with room, and for how many sessions of ``resources``."""

    app: str
    resources: Resources
    on: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """On all nodes."""
        return sum(self.on.values())

    @property
    def size(self) -> str:
        """What the figures are of: ``desktop, 2 cores · 4 GiB``."""
        return f"{self.app}, {words.resources(self.resources)}"


def usual(service: Service) -> SessionRequest | None:
    """What the start form would offer first: the last choice, else the first app's default."""
    if (last := service.last_request()) is not None:
        return last
    app = next(iter(service.apps()), None)
    return SessionRequest(app.name, app.resources) if app is not None else None


def room_for(
    request: SessionRequest | None, snapshot: Snapshot, memory_request: str = "mem"
) -> Room | None:
    """Held against the snapshot, as the form holds it against fresh figures. Nodes known to have
    no image of the app, where others have one, are left out. None where only the scheduler knows.
    ``memory_request`` as in JobRequest.memory.
    """
    if request is None or undecided(request.extra):
        return None
    name = request.partition or snapshot.partition
    partition = Partition.called(name, snapshot.partitions)
    having = {image.node for image in snapshot.images if image.app == request.app}
    known = {place.node for place in snapshot.places if place.known} if having else set()
    verdict = fit(
        request.resources,
        snapshot.nodes,
        partition,
        without=frozenset(known - having),
        reservation=asked(request, "reservation"),
        constraint=asked(request, "constraint"),
        memory_request=memory_request,
        jobs=snapshot.jobs,
        ahead=waiting_ahead(snapshot.waiting, partition, snapshot.partitions),
    )
    if verdict.untold:
        return None
    asked_for = request.resources
    if memory_request == "none" or not any(n.memory_tracked for n in snapshot.nodes):
        asked_for = replace(asked_for, memory_mib=0)
    return Room(request.app, asked_for, dict(verdict.now))
