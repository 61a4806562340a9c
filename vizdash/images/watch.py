"""The nodes' image roots as last looked at; looked at again when that is old."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from vizdash.config import Cluster
from vizdash.images import inventory
from vizdash.images.gate import Gate, Refusals
from vizdash.images.matrix import collect
from vizdash.images.shell import NodeShell
from vizdash.model import Matrix, Node
from vizdash.model.drift import wanted_versions
from vizdash.transport.base import CommandRunner
from vizdash.transport.nodehosts import NodeHosts

#: Seconds for which a look stays good.
_GOOD_S = 60.0
#: Nodes in these states answer nobody.
AWAY = {"down", "not responding", "powered down", "powering down", "powering up"}


@dataclass(slots=True)
class _Look:
    """What was last seen of some nodes, when, and the look at them that goes on."""

    seen: Matrix = field(default_factory=Matrix)
    at: float = float("-inf")
    going: asyncio.Task[None] | None = None


class ImageWatch:
    """With ``here``, the image root of this machine is that of every node. ``now`` is what is known
    of the nodes that were asked for last.
    """

    def __init__(
        self,
        runner: CommandRunner,
        cluster: Cluster,
        *,
        here: bool,
        hosts: NodeHosts | None = None,
    ) -> None:
        self._runner = runner
        self._hosts = hosts
        self._here = here
        self._changes = 0
        self._refusals = Refusals()
        self._looks: dict[frozenset[str], _Look] = {}
        self._take(cluster)

    def _take(self, cluster: Cluster) -> None:
        here = self._here or cluster.deploy.method == "shared"
        where = cluster.host.rpartition("@")[2] if not self._here else ""
        self.shell = NodeShell(
            self._runner,
            cluster.deploy,
            here=here,
            hosts=self._hosts,
            where=where,
            gate=Gate(cluster.deploy.at_once),
            refusals=self._refusals,
        )
        self.now = Matrix()
        self._cluster = cluster

    def use(self, cluster: Cluster) -> None:
        """The cluster's settings, perhaps changed: then what was seen says nothing any more."""
        if cluster == self._cluster:
            return
        self._take(cluster)
        for look in self._looks.values():
            look.seen = Matrix()
        self.forget()

    async def look(
        self,
        nodes: Sequence[Node],
        *,
        full: bool = False,
        sudo: bool = False,
        asked: bool = False,
    ) -> Matrix:
        """Look into the image roots of these nodes, with the caller's own rights or by sudo(8).
        Nodes that Slurm knows to be away are not waited for. A person who ``asked`` for it waits
        longer, and has nodes asked that refused before.
        """
        known = await inventory.read(self.shell, inventory.path_of(self._cluster))
        return await collect(
            self.shell,
            [n.name for n in nodes],
            self._cluster.image_root,
            inventory=known,
            away={n.name: f"the node is {n.state_words}" for n in nodes if n.state_words in AWAY},
            full=full,
            sudo=sudo,
            asked=asked,
        )

    async def matrix(self, nodes: Sequence[Node], wait_s: float | None = None) -> Matrix:
        """What was seen, looked at again when it is old. After ``wait_s`` seconds a slow node no
        longer keeps anybody: what was known is given.
        """
        look = self._looks.setdefault(frozenset(node.name for node in nodes), _Look())
        if time.monotonic() - look.at > _GOOD_S:
            if look.going is None or look.going.done():
                look.going = asyncio.create_task(self._look_again(look, nodes))
            done, _ = await asyncio.wait((look.going,), timeout=wait_s)
            for task in done:
                task.result()
        self.now = look.seen
        return self.now

    async def _look_again(self, look: _Look, nodes: Sequence[Node]) -> None:
        begun = -1
        while begun != self._changes:  # what was begun before a change may not show it
            begun = self._changes
            found = await self.look(nodes)
        if found != look.seen:  # else it stays the same object, which nobody judges again
            look.seen = found
        look.at = time.monotonic()

    async def wanted(self) -> dict[str, str]:
        """The version that new sessions of each app run: from the last look, else as the
        inventory says.
        """
        if self.now.images:
            return wanted_versions(self.now)
        known = await inventory.read(self.shell, inventory.path_of(self._cluster))
        return dict(known.wanted)

    def forget(self) -> None:
        """Something changed: look again the next time, and once more where a look goes on."""
        self._changes += 1
        for look in self._looks.values():
            look.at = float("-inf")

    async def close(self) -> None:
        """End the looks that go on."""
        for look in self._looks.values():
            if look.going is not None:
                look.going.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await look.going
