"""What a configuration with `read_only: true` takes away: every action that changes something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest

from vizdash.actions import REGISTRY
from vizdash.actions.registry import Action, Context
from vizdash.building import Building
from vizdash.config import load
from vizdash.engines import Engine, EngineInfo
from vizdash.errors import Refused
from vizdash.images.build import BuildRequest
from vizdash.images.rollback import Rollback
from vizdash.imaging import Imaging, Pruning
from vizdash.model import Node, Session, SessionRequest, SessionState
from vizdash.service import Service
from vizdash.transport.base import PortForwarder

SESSION = Session("3f9a01bc", "7", "desktop", "root", SessionState.READY, mine=True)
#: Actions that change nothing of the cluster. A new one is listed here, or in WRITES.
READS = {
    "open", "logs", "look", "matrix", "deadline", "filter", "sort", "sort_other_way", "mark",
    "clear", "mine", "copy", "history", "commands", "theme", "tunnels", "clusters", "refresh",
    "focus_nodes", "focus_sessions", "focus_images", "help", "quit",
}  # fmt: skip

Try = Callable[[Service], Awaitable[object]]


def _silent(progress: object) -> None:
    """Nobody is told."""


#: What each other action comes to, by its id; `prune` is a verb alone.
WRITES: dict[str, Try] = {
    "start": lambda s: s.start(SessionRequest("desktop")),
    "again": lambda s: s.start(SessionRequest("desktop")),
    "renew": lambda s: s.start(SessionRequest("desktop")),
    "stop": lambda s: s.stop(SESSION),
    "extend": lambda s: s.operations.extend(SESSION, 60),
    "message": lambda s: s.operations.message(SESSION, "hello"),
    "drain": lambda s: s.operations.drain("n1", "test"),
    "resume": lambda s: s.operations.resume("n1"),
    "deploy": lambda s: Imaging(s).plan("desktop"),
    "rollback": lambda s: Imaging(s).rollback(Rollback("desktop"), _silent),
    "build": lambda s: Building(s).prepare(BuildRequest("desktop")),
    "prune": lambda s: Imaging(s).prune(Pruning("desktop", ()), _silent),
}


class Untouched:
    """An engine that everybody may do everything with; a change fails the test."""

    name = "slurm"

    async def info(self) -> EngineInfo:
        return EngineInfo("slurm", "lab", "24.11", "root", admin=True, node_admin=True)

    async def nodes(self) -> tuple[Node, ...]:
        return (Node("n1", "IDLE", cores=8, memory_mib=16384),)

    async def partitions(self) -> tuple[object, ...]:
        return ()

    async def reservations(self) -> tuple[object, ...]:
        return ()

    async def jobs(self, **_: object) -> tuple[object, ...]:
        return ()

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the engine is asked to {name}")


class NoCommand:
    """A host on which nothing is to be run."""

    async def run(self, command: object) -> NoReturn:
        raise AssertionError(f"{command} was run")

    def has(self, program: str) -> bool:
        return True


def service(tmp_path: Path, *, read_only: bool) -> Service:
    """A cluster whose configuration says so."""
    file = tmp_path / "config.yaml"
    file.write_text(f"read_only: {str(read_only).lower()}\nclusters: {{viz: {{engine: slurm}}}}\n")
    config, _ = load(path=str(file), environ={})
    assert config.read_only is read_only
    engine = cast("Engine", Untouched())
    return Service(config, engine, NoCommand(), cast("PortForwarder", object()))


def test_every_action_is_known_to_read_or_write() -> None:
    assert {a.id for a in REGISTRY} == READS | (WRITES.keys() - {"prune"})


@pytest.mark.parametrize("action", REGISTRY, ids=lambda a: a.id)
def test_the_dashboard_offers_no_change(action: Action) -> None:
    context = Context(read_only=True, admin=True, node_admin=True, session=SESSION, image_rights="")
    refused = action.reason(context) == "this vizdash is read-only"
    assert refused is (action.id in WRITES)


@pytest.mark.parametrize("name", WRITES)
async def test_nothing_is_changed(name: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="read-only: this vizdash changes nothing"):
        await WRITES[name](service(tmp_path, read_only=True))


@pytest.mark.parametrize("name", WRITES)
async def test_without_it_the_change_is_tried(name: str, tmp_path: Path) -> None:
    """The test above can fail."""
    tried: Any = None
    try:
        await WRITES[name](service(tmp_path, read_only=False))
    except Refused as e:
        tried = e.line
    except Exception as e:  # noqa: BLE001 (whatever it meets on its way)
        tried = str(e)
    assert "read-only" not in str(tried)
