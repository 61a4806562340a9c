"""What was seen of the nodes, kept for a while, of each partition by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from vizdash.config import Cluster
from vizdash.images.watch import ImageWatch
from vizdash.model import Matrix, Node, Place
from vizdash.transport.local import LocalRunner

VIZ = (Node("viz-node001", "IDLE"), Node("viz-node002", "IDLE"))
GPU = (Node("gpu-node001", "IDLE"),)


class Looks:
    """Stands for the nodes: answers when it may, remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.may = asyncio.Event()
        self.may.set()

    async def look(self, nodes: Sequence[Node]) -> Matrix:
        self.asked.append(tuple(n.name for n in nodes))
        await self.may.wait()
        return Matrix(places=tuple(Place(n.name) for n in nodes))


@pytest.fixture
def looks() -> Looks:
    return Looks()


@pytest.fixture
def watch(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> ImageWatch:
    made = ImageWatch(LocalRunner(), Cluster("viz"), here=False)
    monkeypatch.setattr(made, "look", looks.look)
    return made


def of(matrix: Matrix) -> list[str]:
    return [place.node for place in matrix.places]


async def test_nodes_of_another_partition_are_looked_at_themselves(
    watch: ImageWatch, looks: Looks
) -> None:
    for _ in range(2):
        assert of(await watch.matrix(VIZ)) == ["viz-node001", "viz-node002"]
        assert of(await watch.matrix(GPU)) == of(watch.now) == ["gpu-node001"]
    # Each look stays good, however often the other partition is asked for.
    assert looks.asked == [("viz-node001", "viz-node002"), ("gpu-node001",)]
    watch.forget()
    await watch.matrix(VIZ)
    await watch.matrix(GPU)
    assert len(looks.asked) == 4


async def test_who_does_not_wait_gets_nothing_of_other_nodes(
    watch: ImageWatch, looks: Looks
) -> None:
    await watch.matrix(GPU)
    looks.may.clear()
    assert of(await watch.matrix(VIZ, 0)) == []
    waiting = asyncio.create_task(watch.matrix(VIZ))
    looks.may.set()
    assert of(await waiting) == ["viz-node001", "viz-node002"]
    assert looks.asked == [("gpu-node001",), ("viz-node001", "viz-node002")]


async def test_every_look_that_goes_on_ends_with_it(watch: ImageWatch, looks: Looks) -> None:
    looks.may.clear()
    await watch.matrix(VIZ, 0)
    await watch.matrix(GPU, 0)
    await asyncio.wait_for(watch.close(), 20)
    assert len(asyncio.all_tasks()) == 1


async def test_a_look_begun_before_a_change_is_not_kept(watch: ImageWatch, looks: Looks) -> None:
    looks.may.clear()
    asked = asyncio.create_task(watch.matrix(VIZ))
    while not looks.asked:
        await asyncio.sleep(0)
    watch.forget()
    later = asyncio.create_task(watch.matrix(VIZ))
    await asyncio.sleep(0)
    looks.may.set()
    for task in (asked, later):
        assert of(await asyncio.wait_for(task, 20)) == ["viz-node001", "viz-node002"]
    assert len(looks.asked) == 2, "what was found before the change is looked for once more"
    await watch.matrix(VIZ)
    assert len(looks.asked) == 2, "what was found after the change is good for a while"
