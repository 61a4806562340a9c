"""Words for how many more sessions of the usual size fit now, and on which nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vizdash.model import Partition, Resources, SessionRequest, Snapshot
from vizdash.ui.present.sessions import resources_text

if TYPE_CHECKING:
    from vizdash.service.service import Service


@dataclass(frozen=True, slots=True)
class FittingSessions:
    """How many more sessions of ``app`` with ``resources`` fit now, by node."""

    app: str
    resources: Resources
    by_node: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number on all nodes."""
        return sum(self.by_node.values())

    @property
    def size(self) -> str:
        """What the numbers refer to: ``desktop, 2 cores · 4 GiB``."""
        return f"{self.app}, {resources_text(self.resources)}"


def more_fit_text(count: int, app: str) -> str:
    """``1 more desktop fits``, ``14 more desktop fit``."""
    return f"{count} more {app} {'fits' if count == 1 else 'fit'}"


def default_request(service: Service) -> SessionRequest | None:
    """The start form's first offer: the last request, else the first app's default size."""
    if (last := service.user_data.last_request()) is not None:
        return last
    app = next(iter(service.apps.all), None)
    return SessionRequest(app.name, app.resources) if app is not None else None


def count_fitting_sessions(
    request: SessionRequest | None, snapshot: Snapshot, memory_request: str = "mem"
) -> FittingSessions | None:
    """How many sessions of ``request`` fit by the snapshot, judged as the start form judges it.
    Nodes known to lack the app's image, while others have it, are left out. None where only the
    scheduler can tell. ``memory_request`` as in JobRequest.memory.
    """
    if request is None:
        return None
    from vizdash.sessions.capacity import check_capacity
    from vizdash.sessions.capacity_limits import waiting_ahead
    from vizdash.sessions.sbatch_arguments import effective_option, unjudged_option

    if unjudged_option(request.extra):
        return None
    name = request.partition or snapshot.partition
    partition = Partition.combine(name, snapshot.partitions)
    having = {image.node for image in snapshot.images if image.app == request.app}
    known = {place.node for place in snapshot.image_roots if place.known} if having else set()
    verdict = check_capacity(
        request.resources,
        snapshot.nodes,
        partition,
        without=frozenset(known - having),
        reservation=effective_option(request, "reservation"),
        constraint=effective_option(request, "constraint"),
        memory_request=memory_request,
        user=snapshot.user,
        jobs=snapshot.jobs,
        ahead=waiting_ahead(snapshot.waiting, partition, snapshot.partitions),
    )
    if verdict.undetermined:
        return None
    asked_for = request.resources
    if memory_request == "none" or not any(n.memory_tracked for n in snapshot.nodes):
        asked_for = replace(asked_for, memory_mib=0)
    return FittingSessions(request.app, asked_for, dict(verdict.fits_now))
