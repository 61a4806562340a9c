"""What is kept of a look into the nodes' image roots."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vizdash.config import Cluster
from vizdash.images.watch import ImageWatch
from vizdash.model import Matrix, Node
from vizdash.transport.local import LocalRunner


class Watch(ImageWatch):
    """Its looks find what is there when they begin, and end when the test lets them."""

    def __init__(self) -> None:
        super().__init__(LocalRunner(), Cluster("viz"), here=True)
        self.there = "1.0"
        self.looks: list[asyncio.Event] = []
        self.begun = asyncio.Event()

    async def look(
        self, nodes: Sequence[Node], *, full: bool = False, sudo: bool = False
    ) -> Matrix:
        found = Matrix(wanted=(("gedit", self.there),))
        end = asyncio.Event()
        self.looks.append(end)
        self.begun.set()
        await end.wait()
        return found

    async def next_look(self) -> asyncio.Event:
        await self.begun.wait()
        self.begun.clear()
        return self.looks[-1]


async def test_a_look_begun_before_a_change_is_not_kept() -> None:
    watch = Watch()
    asked = asyncio.create_task(watch.matrix(()))
    first = await watch.next_look()
    watch.there = "1.1"
    watch.forget()
    later = asyncio.create_task(watch.matrix(()))
    first.set()
    (await asyncio.wait_for(watch.next_look(), 10)).set()
    for task in (asked, later):
        assert (await task).wanted == (("gedit", "1.1"),)
    assert (await watch.matrix(())).wanted == (("gedit", "1.1"),)
    assert len(watch.looks) == 2, "what was found after the change is good for a while"
