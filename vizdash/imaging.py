"""What a face of vizdash may do with images on nodes: see, verify, deploy, roll back, prune."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vizdash import nodesets
from vizdash.images.verify import Verdict, verify
from vizdash.model import Image, Matrix, Node, Session
from vizdash.service import Service


@dataclass(frozen=True, slots=True)
class View:
    """The matrix, and the sessions that may run from its images."""

    cluster: str
    matrix: Matrix
    sessions: tuple[Session, ...] = ()


class Imaging:
    """Images of one cluster. Methods raise VizdashError."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.config = service.config
        self.shell = service.images.shell
        self.root = service.config.cluster.image_root

    async def nodes(self, nodeset: str = "") -> tuple[Node, ...]:
        """The nodes of the partition that ``nodeset`` names; all for an empty one."""
        snapshot = await self.service.snapshot(all_users=False, images=False)
        wanted = set(nodesets.chosen(nodeset, (n.name for n in snapshot.nodes)))
        return tuple(n for n in snapshot.nodes if n.name in wanted)

    async def view(self, nodeset: str = "") -> View:
        """All there is to see now, what processes have open included."""
        info, nodes, sessions = await asyncio.gather(
            self.service.info(), self.nodes(nodeset), self.service.sessions(all_users=True)
        )
        matrix = await self.service.images.look(nodes, full=True)
        return View(info.cluster, matrix, sessions)

    async def verify(
        self, matrix: Matrix, images: Iterable[Image], tell: Callable[[str], None]
    ) -> tuple[Verdict, ...]:
        """Read these images whole, with the caller's rights (by sudo(8) where that is set)."""
        always = self.config.cluster.deploy.sudo == "always"

        def by_sudo(node: str) -> bool:
            place = matrix.place(node)
            return always and place is not None and not place.writable

        return await verify(self.shell, images, self.root, sudo=by_sudo, tell=tell)
