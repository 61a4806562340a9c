"""Records changes to images: the lock, the audit events, and the inventory afterwards.

A change finds one that was interrupted before it by its lock, which no process holds any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from vizdash.config import Cluster
from vizdash.errors import VizdashError
from vizdash.images import audit_log, drift
from vizdash.images.change_lock import LockHolder, hold_lock, new_holder
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress, NodeProgress, Phase
from vizdash.images.survey import survey_nodes
from vizdash.images.verify import VerifyResult
from vizdash.util import nodesets

#: Seconds to wait for the inventory while another process writes it.
_INVENTORY_S = 120


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """Records the changes of one cluster's images.

    ``nodes`` returns the names of all nodes of the partition, ``forget`` marks what is known of
    images as out of date, ``notify`` gets lines to show to the user.
    """

    shell: NodeShell
    cluster: Cluster
    nodes: Callable[[], Awaitable[tuple[str, ...]]]
    forget: Callable[[], None]
    notify: Callable[[str], None]

    async def add_verify_results(self, results: Sequence[VerifyResult]) -> None:
        """Record which images were read, and which differ from their recorded digest."""
        await self.append(_verify_events(results))

    @asynccontextmanager
    async def open(
        self, about: audit_log.AuditEvent, nodes: Sequence[str]
    ) -> AsyncIterator[audit_log.AuditEvent]:
        """Hold the app's lock and record the start of a change, and first one that was
        interrupted.

        Raises Refused naming the holder of the lock.
        """
        names, run = nodesets.fold_nodes(nodes), audit_log.new_run_id()
        about = replace(about, run=run)
        holder = new_holder(about.action, about.app, version=about.version, run=run, nodes=names)
        folder = drift.inventory_folder(self.cluster)
        async with hold_lock(
            self.shell, folder, about.app, holder, notify=self.notify
        ) as interrupted:
            if interrupted is not None:
                await self._record_interrupted(interrupted)
            await self.append([replace(about, node=names, outcome="began")])
            yield about

    async def _record_interrupted(self, interrupted: LockHolder) -> None:
        """Find out what an interrupted change has done; record it and report it."""
        names = nodesets.expand_nodes(interrupted.nodes) if interrupted.nodes else ("",)
        matrix = await survey_nodes(self.shell, names, self.cluster.image_root, asked=True)
        events, done = [], []
        for image_root in matrix.roots:
            about = audit_log.AuditEvent(
                interrupted.verb,
                interrupted.app,
                interrupted.version,
                node=image_root.node,
                run=interrupted.run,
            )
            images = [i for i in matrix.on(image_root.node) if i.app == interrupted.app]
            if image_root.failure:
                detail = f"unknown: {image_root.failure}"
            elif interrupted.verb == "prune":
                detail = f"it has {', '.join(sorted({i.version for i in images if i.version}))}"
            elif any(i.current and i.version == interrupted.version for i in images):
                detail = "it is current there"
                done.append(image_root.node)
            else:
                detail = "it is not current there"
            events.append(
                replace(about, user=interrupted.user, outcome="interrupted", detail=detail)
            )
        await self.append(events)
        where = (
            ""
            if interrupted.verb == "prune"
            else f"; current on {nodesets.fold_nodes(done) or 'no node'}"
        )
        if done == [""]:
            where = "; current on the shared image root"
        self.notify(f"interrupted: {interrupted.description}{where}")
        try:
            await self._save_inventory(names, {})
        except VizdashError as e:
            self.notify(f"the inventory for users without SSH was not written: {e.line}")

    async def append(self, events: Sequence[audit_log.AuditEvent]) -> None:
        """Append to the audit log. A failure is reported; the change itself is not undone."""
        try:
            await asyncio.to_thread(audit_log.append_events, events, self.cluster.audit_log)
        except OSError as e:
            self.notify(f"the audit log can't be written: {e.strerror or e}")

    async def close(
        self,
        about: audit_log.AuditEvent,
        progress: ChangeProgress,
        wanted_versions: Mapping[str, str],
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Record the outcome on each node and save the inventory.

        A failure is reported; the change itself is not undone. ``wanted_versions`` maps apps to the
        version that all nodes should have from now on. ``versions`` gives the version of each node,
        where they differ.
        """
        by_node = versions or {}
        await self.append(
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
            await self._save_inventory(tuple(progress.nodes), wanted_versions if done else {})
        except VizdashError as e:
            self.notify(f"the inventory for users without SSH was not written: {e.line}")
        finally:
            self.forget()  # only from now on does a survey see the wanted version

    async def _save_inventory(
        self, nodes: Sequence[str], wanted_versions: Mapping[str, str]
    ) -> None:
        """Survey the nodes and write the inventory, under its lock.

        Surveying under the lock makes the last writer the one that saw the latest state.
        """
        path = drift.inventory_path(self.cluster)
        names = nodes if nodes != ("",) else await self.nodes()
        folder = drift.inventory_folder(self.cluster)
        holder = new_holder("writes the inventory", "")
        async with hold_lock(self.shell, folder, ".inventory", holder, wait_s=_INVENTORY_S):
            known = await drift.query_inventory(self.shell, path)
            matrix = await survey_nodes(self.shell, names, self.cluster.image_root, asked=True)
            seen = [(image_root, matrix.on(image_root.node)) for image_root in matrix.roots]
            await drift.save_inventory(self.shell, path, known.updated(seen, wanted_versions))


def _outcome(row: NodeProgress) -> str:
    outcomes = {Phase.DONE: "ok", Phase.CANCELLED: "cancelled", Phase.SKIPPED: "refused"}
    return outcomes.get(row.phase, "failed" if row.error else "cancelled")


def _verify_events(results: Sequence[VerifyResult]) -> list[audit_log.AuditEvent]:
    """Return one event for each version that is intact, with all its nodes, and one for each image
    that is not.
    """
    run, intact, events = audit_log.new_run_id(), {}, []  # type: ignore[var-annotated]
    for result in results:
        image = result.image
        if result.good:
            intact.setdefault((image.app, image.version, result.found), []).append(image.node)
            continue
        why = result.failure or f"its digest is {result.found}, not {result.recorded}"
        about = audit_log.AuditEvent("verify", image.app, image.version, result.found, image.node)
        events.append(replace(about, run=run, outcome="failed", detail=why))
    for (app, version, digest), nodes in intact.items():
        names = nodesets.fold_nodes(nodes)
        events.append(audit_log.AuditEvent("verify", app, version, digest, names, run=run))
    return events
