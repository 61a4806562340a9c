"""MIG slices, which compute only, are named before a session is started."""

from __future__ import annotations

import pytest

from tests.fakes import FakeEngine, service_on
from vizdash.config import App, Cluster, Config
from vizdash.model import Node, Resources, SessionRequest
from vizdash.model.node import Gres
from vizdash.sessions.mig_slices import mig_note


def _nodes(*types: str) -> list[Node]:
    gres = (Gres("gpu", one, 2) for one in types)
    size = {"cores": 8, "memory_mib": 16384}
    return [Node(f"n{at}", "IDLE", gres=(one,), **size) for at, one in enumerate(gres)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (["a100"], ""),
        (["tesla", ""], ""),
        (["1g.5gb"], "its GPU is a MIG slice, which computes only (no +gfx)"),
        (["nvidia_a100_3g.20gb", "1g.10gb"], "its GPU is a MIG slice"),
        (["nvidia_a100_1g.10gb+gfx"], ""),
        (["a100", "a100_1g.5gb"], "may be a MIG slice (a100_1g.5gb), which computes only"),
        (["1g.10gb+gfx", "1g.10gb"], "may be a MIG slice (1g.10gb), which computes only"),
    ],
)
def test_what_the_slices_of_the_nodes_can_do(types: list[str], words: str) -> None:
    note = mig_note(1, _nodes(*types))
    assert words in note
    assert bool(note) == bool(words)
    assert mig_note(0, _nodes(*types)) == ""


@pytest.mark.parametrize(
    ("node", "gpus", "noted"), [("", 1, True), ("n1", 1, False), ("", 0, False)]
)
async def test_a_plan_knows_the_slices_of_the_nodes_it_may_run_on(
    node: str, gpus: int, noted: bool
) -> None:
    engine = FakeEngine(all_nodes=tuple(_nodes("1g.5gb", "a100")))
    app = App("plain", runtime="host", host_command="xterm")
    config = Config(Cluster("viz"), {}, {"plain": app})
    request = SessionRequest("plain", Resources(1, 128, gpus), node=node)
    plan = await service_on(engine, config=config).plan(request)
    assert ("a GPU may be a MIG slice (1g.5gb)" in plan.notes) == noted
