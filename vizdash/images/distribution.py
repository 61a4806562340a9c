"""An image to many nodes at once, in about the time of one copy.

What travels is the image, or for nodes that have the same older one a delta (``delta.py``), from
node to node (``chain.py``). What could not be brought that way is left to rsync(1) from the image
host.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vizdash.errors import VizdashError
from vizdash.images import delta
from vizdash.images.chain import Chain, File
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Arrival, Cargo, Rsync, Stop, Travel

#: Bytes of a delta for all nodes together up to which the image host sends it to each itself: that
#: takes less than to set up a chain.
_EACH_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Distribution(Rsync):
    """A first copy from node to node, and an update as one delta, each where ``least`` nodes or
    more want it.
    """

    least: int = 4

    def together(self, stops: Sequence[Stop]) -> tuple[Stop, ...]:
        """See Travel.together."""
        groups = self._groups(stops).values()
        return tuple(stop for group in groups for stop in group)

    def _groups(self, stops: Sequence[Stop]) -> dict[str, list[Stop]]:
        """Nodes by the digest of the image that they have; "" for those that have none."""
        found: dict[str, list[Stop]] = {}
        for stop in stops:
            if not self.shell.is_here(stop.node) and bool(stop.like) == bool(stop.basis):
                found.setdefault(stop.basis, []).append(stop)
        return {basis: group for basis, group in found.items() if len(group) >= max(2, self.least)}

    async def prime(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
    ) -> None:
        """See Travel.prime."""

        async def one(basis: str, group: Sequence[Stop]) -> None:
            before = {stop.node: stop.arrived for stop in group}

            def come(node: str, why: str) -> None:
                over(node, Arrival(why, 0 if why else cargo.size_bytes - before[node]))

            try:
                if basis:
                    await self._update(cargo, group, tell, over)
                else:
                    image = File(self.folder(cargo), cargo.path, cargo.size_bytes, cargo.part)
                    await Chain(self.shell, image, group, tell, come).run()
            except VizdashError as e:
                for stop in group:
                    over(stop.node, Arrival(e.line))

        async with asyncio.TaskGroup() as tasks:
            for basis, group in self._groups(stops).items():
                tasks.create_task(one(basis, group))

    async def _update(
        self,
        cargo: Cargo,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, Arrival], None],
    ) -> None:
        """Make the delta, and bring it to all of these nodes, which have its basis."""
        gate = asyncio.Semaphore(self.shell.gate.places)
        async with delta.made(self.shell, self.root, cargo, stops) as made:
            send = made.size_bytes * len(stops) <= _EACH_BYTES

            async def one(stop: Stop, sent: int) -> None:
                async with gate:
                    tell(stop.node, 0)
                    try:
                        await delta.apply(self.shell, self.root, cargo, stop, made, send=send)
                    except VizdashError as e:
                        over(stop.node, Arrival(e.why or e.line, sent))
                    else:
                        over(stop.node, Arrival(sent=sent, placed=True))

            async with asyncio.TaskGroup() as tasks:
                if send:
                    for stop in stops:
                        tasks.create_task(one(stop, made.size_bytes))
                    return
                feeding = _Feeding(self, cargo, made)
                there = await feeding.expected(stops, over)

                def come(node: str, why: str) -> None:
                    stop = there[node]
                    if why:
                        over(node, Arrival(why))
                    else:
                        tasks.create_task(one(stop, made.size_bytes - stop.arrived))

                await feeding.run(list(there.values()), tell, come)


@dataclass(frozen=True, slots=True)
class _Feeding:
    """A delta on its way from node to node, as a file of its own."""

    site: Distribution
    cargo: Cargo
    made: delta.Delta

    async def expected(
        self, stops: Sequence[Stop], over: Callable[[str, Arrival], None]
    ) -> dict[str, Stop]:
        """Have it begun on the nodes: those that do, with what is there of it."""
        found: dict[str, Stop] = {}
        words = (self.site.root, self.cargo.app, self.cargo.delta)

        async def one(stop: Stop) -> None:
            try:
                answer = await self.site.shell.ask(stop.node, "expect", *words, sudo=stop.sudo)
            except VizdashError as e:
                over(stop.node, Arrival(e.why or e.line))
            else:
                size = int(answer[0])
                found[stop.node] = replace(stop, arrived=size)

        async with asyncio.TaskGroup() as tasks:
            for stop in stops:
                tasks.create_task(one(stop))
        return found

    async def run(
        self,
        stops: Sequence[Stop],
        tell: Callable[[str, int], None],
        over: Callable[[str, str], None],
    ) -> None:
        """Feed it to them. ``tell`` gets bytes of the image that they make up."""
        size = self.made.size_bytes
        file = File(self.site.folder(self.cargo), self.made.path, size, self.cargo.delta)

        def told(node: str, done: int) -> None:
            tell(node, self.cargo.size_bytes * done // size)

        await Chain(self.site.shell, file, stops, told, over).run()


def travel(shell: NodeShell, root: str) -> Travel:
    """The way that the configuration names."""
    if shell.deploy.method in {"auto", "chain"}:
        return Distribution(shell, root, least=2 if shell.deploy.method == "chain" else 4)
    return Rsync(shell, root)
