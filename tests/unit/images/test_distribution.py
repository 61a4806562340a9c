"""Which nodes an image is brought to together, and which one after another."""

from __future__ import annotations

import pytest

from vizdash.config import Deploy
from vizdash.images.copy import CopyTarget
from vizdash.images.distribution import choose_copy_method
from vizdash.images.node_script import NodeShell
from vizdash.transport.local import LocalRunner

OLD, OLDER = "a" * 64, "b" * 64


def copy_targets(count: int, *, like: str = "", basis: str = "") -> list[CopyTarget]:
    return [CopyTarget(f"{basis[:1]}{like}{at}", like=like, basis=basis) for at in range(count)]


@pytest.mark.parametrize(
    ("method", "least"), [("auto", 4), ("chain", 2), ("rsync", 1000), ("shared", 1000)]
)
def test_nodes_go_together_that_have_the_same_image_or_none(method: str, least: int) -> None:
    shell = NodeShell(LocalRunner(), Deploy(method=method))
    way = choose_copy_method(shell, "/opt/apps")
    none, old = copy_targets(4), copy_targets(4, like="gedit-1.0.sif", basis=OLD)
    older = copy_targets(3, like="gedit-0.9.sif", basis=OLDER)
    damaged = copy_targets(5, like="gedit-1.1.sif")
    found = way.distributable([*older, *none, *damaged, *old])
    wanted = [group for group in (older, none, old) if len(group) >= least]
    assert sorted(found, key=str) == sorted((s for group in wanted for s in group), key=str)


def test_this_machine_alone_is_no_group() -> None:
    shell = NodeShell(LocalRunner(), Deploy(method="chain"), here=True)
    assert choose_copy_method(shell, "/opt/apps").distributable(copy_targets(5)) == ()
