"""What is written down of a change to images: its lease, its events, the inventory after it.

A change that was cut off is found by the next one, in the lease that nobody holds any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from vizdash import nodesets
from vizdash.config import Cluster
from vizdash.errors import VizdashError
from vizdash.images import audit, inventory
from vizdash.images.lease import Holder, holder, lease
from vizdash.images.matrix import collect
from vizdash.images.progress import NodeProgress, Phase, Progress
from vizdash.images.shell import NodeShell
from vizdash.images.verify import Verdict

#: Seconds that the inventory is waited for while somebody else writes it.
_INVENTORY_S = 120


@dataclass(frozen=True, slots=True)
class Ledger:
    """``nodes`` names all nodes of the partition; ``forget`` makes what was seen of images old;
    ``talk`` gets lines for a person.
    """

    shell: NodeShell
    cluster: Cluster
    nodes: Callable[[], Awaitable[tuple[str, ...]]]
    forget: Callable[[], None]
    talk: Callable[[str], None]

    async def verified(self, verdicts: Sequence[Verdict]) -> None:
        """Note that images were read, and which are not what they were."""
        await self.note(_verified(verdicts))

    @asynccontextmanager
    async def changing(
        self, about: audit.Event, nodes: Sequence[str]
    ) -> AsyncIterator[audit.Event]:
        """Hold the app's lease, settle what a killed change left, and note that this one begins.

        Raises Refused naming who is at it.
        """
        names, run = nodesets.fold(nodes), audit.new_run()
        about = replace(about, run=run)
        mine = holder(about.action, about.app, version=about.version, run=run, nodes=names)
        folder = inventory.folder_of(self.cluster)
        async with lease(self.shell, folder, about.app, mine, talk=self.talk) as left:
            if left is not None:
                await self._settle(left)
            await self.note([replace(about, node=names, outcome="began")])
            yield about

    async def _settle(self, left: Holder) -> None:
        """Find out what a change that was cut off has done; note it, and say so."""
        names = nodesets.expand(left.nodes) if left.nodes else ("",)
        matrix = await collect(self.shell, names, self.cluster.image_root, asked=True)
        events, done = [], []
        for place in matrix.places:
            about = audit.Event(left.verb, left.app, left.version, node=place.node, run=left.run)
            mine = [i for i in matrix.on(place.node) if i.app == left.app]
            if place.failure:
                detail = f"not known: {place.failure}"
            elif left.verb == "prune":
                detail = f"there are {', '.join(sorted({i.version for i in mine if i.version}))}"
            elif any(i.current and i.version == left.version for i in mine):
                detail = "it is current there"
                done.append(place.node)
            else:
                detail = "it is not current there"
            events.append(replace(about, user=left.user, outcome="interrupted", detail=detail))
        await self.note(events)
        where = "" if left.verb == "prune" else f"; current on {nodesets.fold(done) or 'no node'}"
        if done == [""]:
            where = "; current on the shared image root"
        self.talk(f"cut off: {left.words}{where}")
        try:
            await self._save_inventory(names, {})
        except VizdashError as e:
            self.talk(f"the inventory for people without SSH was not written: {e.line}")

    async def note(self, events: Sequence[audit.Event]) -> None:
        """Append to the audit log. What was done is not undone when that fails: it is said."""
        try:
            await asyncio.to_thread(audit.record, events, self.cluster.audit_log)
        except OSError as e:
            self.talk(f"the audit log can't be written: {e.strerror or e}")

    async def after(
        self,
        about: audit.Event,
        progress: Progress,
        wanted: Mapping[str, str],
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Note what was done, and leave the inventory. What was done is not undone when that
        fails: it is said. ``versions`` are the nodes' own, where those differ.
        """
        by_node = versions or {}
        await self.note(
            [
                replace(
                    about,
                    version=by_node.get(row.node, about.version),
                    node=row.node,
                    outcome=_outcome(row),
                    detail=row.note,
                )
                for row in progress.nodes.values()
            ]
        )
        done = [row.node for row in progress.of(Phase.DONE)]
        try:
            await self._save_inventory(tuple(progress.nodes), wanted if done else {})
        except VizdashError as e:
            self.talk(f"the inventory for people without SSH was not written: {e.line}")
        finally:
            self.forget()  # only now do looks find what is wanted

    async def _save_inventory(self, nodes: Sequence[str], wanted: Mapping[str, str]) -> None:
        """Look at the nodes and write what is seen, while nobody else writes it: who comes later
        looks later.
        """
        path = inventory.path_of(self.cluster)
        names = nodes if nodes != ("",) else await self.nodes()
        folder = inventory.folder_of(self.cluster)
        mine = holder("writes the inventory", "")
        async with lease(self.shell, folder, ".inventory", mine, wait_s=_INVENTORY_S):
            known = await inventory.read(self.shell, path)
            matrix = await collect(self.shell, names, self.cluster.image_root, asked=True)
            seen = [(place, matrix.on(place.node)) for place in matrix.places]
            await inventory.save(self.shell, path, known.updated(seen, wanted))


def _outcome(row: NodeProgress) -> str:
    outcomes = {Phase.DONE: "ok", Phase.CANCELLED: "cancelled", Phase.SKIPPED: "refused"}
    return outcomes.get(row.phase, "failed" if row.error else "cancelled")


def _verified(verdicts: Sequence[Verdict]) -> list[audit.Event]:
    """One event for each version that is right, with all its nodes, and one for each image that is
    not.
    """
    run, right, events = audit.new_run(), {}, []  # type: ignore[var-annotated]
    for verdict in verdicts:
        image = verdict.image
        if verdict.good:
            right.setdefault((image.app, image.version, verdict.found), []).append(image.node)
            continue
        why = verdict.failure or f"its digest is {verdict.found}, not {verdict.recorded}"
        about = audit.Event("verify", image.app, image.version, verdict.found, image.node)
        events.append(replace(about, run=run, outcome="failed", detail=why))
    for (app, version, digest), nodes in right.items():
        names = nodesets.fold(nodes)
        events.append(audit.Event("verify", app, version, digest, names, run=run))
    return events
