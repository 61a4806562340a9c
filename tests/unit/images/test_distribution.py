"""Which nodes an image is brought to together, and which one after another."""

from __future__ import annotations

import pytest

from vizdash.config import Deploy
from vizdash.images.distribution import travel
from vizdash.images.shell import NodeShell
from vizdash.images.travel import Stop
from vizdash.transport.local import LocalRunner

OLD, OLDER = "a" * 64, "b" * 64


def stops(count: int, *, like: str = "", basis: str = "") -> list[Stop]:
    return [Stop(f"{basis[:1]}{like}{at}", like=like, basis=basis) for at in range(count)]


@pytest.mark.parametrize(
    ("method", "least"), [("auto", 4), ("chain", 2), ("rsync", 1000), ("shared", 1000)]
)
def test_nodes_go_together_that_have_the_same_image_or_none(method: str, least: int) -> None:
    shell = NodeShell(LocalRunner(), Deploy(method=method))
    way = travel(shell, "/opt/apps")
    none, old = stops(4), stops(4, like="gedit-1.0.sif", basis=OLD)
    older = stops(3, like="gedit-0.9.sif", basis=OLDER)
    damaged = stops(5, like="gedit-1.1.sif")
    found = way.together([*older, *none, *damaged, *old])
    wanted = [group for group in (older, none, old) if len(group) >= least]
    assert sorted(found, key=str) == sorted((s for group in wanted for s in group), key=str)


def test_this_machine_alone_is_no_group() -> None:
    shell = NodeShell(LocalRunner(), Deploy(method="chain"), here=True)
    assert travel(shell, "/opt/apps").together(stops(5)) == ()
