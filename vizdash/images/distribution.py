"""Chooses how an image gets to many nodes at once: a chain, one delta, or rsync.

Nodes that have the same older image receive a delta (``delta.py``), the others the image itself;
both go from node to node (``chain.py``). Nodes that cannot be served this way are left to rsync(1)
from the image host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from typing_extensions import override

from vizdash.errors import VizdashError
from vizdash.images import delta
from vizdash.images.chain import Chain, ChainFile, FileEnd
from vizdash.images.copy import CopyMethod, CopyOutcome, CopyTarget, RsyncCopy, SourceImage
from vizdash.images.node_script import NodeShell

#: Total bytes of a delta, for all nodes together, up to which the image host sends it to each node
#: itself: that is faster than setting up a chain.
_EACH_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ChainCopy(RsyncCopy):
    """Copies a new image from node to node, and an update as one delta.

    Each is used from ``min_nodes`` nodes on.
    """

    min_nodes: int = 4

    @override
    def distributable(self, targets: Sequence[CopyTarget]) -> tuple[CopyTarget, ...]:
        groups = self._groups(targets).values()
        return tuple(target for group in groups for target in group)

    def _groups(self, targets: Sequence[CopyTarget]) -> dict[str, list[CopyTarget]]:
        """Group the targets by the digest of the image that they have; empty for none."""
        groups: dict[str, list[CopyTarget]] = {}
        for target in targets:
            if not self.shell.is_here(target.node) and bool(target.like) == bool(target.basis):
                groups.setdefault(target.basis, []).append(target)
        return {
            basis: group for basis, group in groups.items() if len(group) >= max(2, self.min_nodes)
        }

    @override
    async def distribute(
        self,
        source: SourceImage,
        targets: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, CopyOutcome], None],
    ) -> None:

        async def one(basis: str, group: Sequence[CopyTarget]) -> None:
            before = {target.node: target.arrived for target in group}

            def end_node(node: str, ending: FileEnd) -> None:
                sent = 0 if ending.why else source.size_bytes - before[node]
                on_end(node, CopyOutcome(ending.why, sent, ending.digest, ending.stamp))

            try:
                if basis:
                    await self._update(source, group, on_bytes, on_end)
                else:
                    image = ChainFile(
                        self.folder(source), source.path, source.size_bytes, source.part
                    )
                    await Chain(self.shell, image, group, on_bytes, end_node).run()
            except VizdashError as e:
                for target in group:
                    on_end(target.node, CopyOutcome(e.line))

        async with asyncio.TaskGroup() as tasks:
            for basis, group in self._groups(targets).items():
                tasks.create_task(one(basis, group))

    async def _update(
        self,
        source: SourceImage,
        targets: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, CopyOutcome], None],
    ) -> None:
        """Make the delta and apply it on all targets, which have its basis."""
        slots = asyncio.Semaphore(self.shell.throttle.limit)
        async with delta.make_delta(self.shell, self.root, source, targets) as made:
            send = made.size_bytes * len(targets) <= _EACH_BYTES

            async def one(target: CopyTarget, sent: int) -> None:
                async with slots:
                    on_bytes(target.node, 0)
                    try:
                        placed = await delta.apply_delta(
                            self.shell, self.root, source, target, made, send=send
                        )
                    except VizdashError as e:
                        on_end(target.node, CopyOutcome(e.why or e.line, sent))
                    else:
                        on_end(target.node, CopyOutcome(sent=sent, placed=placed))

            async with asyncio.TaskGroup() as tasks:
                if send:
                    for target in targets:
                        tasks.create_task(one(target, made.size_bytes))
                    return
                by_node = {target.node: target for target in targets}

                def end_node(node: str, ending: FileEnd) -> None:
                    target = by_node[node]
                    if ending.why:
                        on_end(node, CopyOutcome(ending.why))
                    else:
                        tasks.create_task(one(target, made.size_bytes - target.delta_arrived))

                await _DeltaChain(self, source, made).run(targets, on_bytes, end_node)


@dataclass(frozen=True, slots=True)
class _DeltaChain:
    """A delta that is copied from node to node, as a file of its own."""

    site: ChainCopy
    source: SourceImage
    made: delta.Delta

    async def run(
        self,
        targets: Sequence[CopyTarget],
        on_bytes: Callable[[str, int], None],
        on_end: Callable[[str, FileEnd], None],
    ) -> None:
        """Copy the delta to the targets. ``on_bytes`` gets the equivalent bytes of the image."""
        size = self.made.size_bytes
        folder = self.site.folder(self.source)
        file = ChainFile(folder, self.made.path, size, self.source.delta, hashed=False)

        def report_bytes(node: str, done: int) -> None:
            on_bytes(node, self.source.size_bytes * done // size)

        targets = [replace(target, arrived=target.delta_arrived) for target in targets]
        await Chain(self.site.shell, file, targets, report_bytes, on_end).run()


def choose_copy_method(shell: NodeShell, root: str) -> CopyMethod:
    """Return the copy method that the configuration names."""
    if shell.deploy.method in {"auto", "chain"}:
        return ChainCopy(shell, root, min_nodes=2 if shell.deploy.method == "chain" else 4)
    return RsyncCopy(shell, root)
