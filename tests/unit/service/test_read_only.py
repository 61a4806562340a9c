"""What a configuration with `read_only: true` disables: every action that changes something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.fakes import FakeEngine, NoCommands, service_on
from vizdash.actions import REGISTRY
from vizdash.actions.registry import Action, Context
from vizdash.config import load
from vizdash.engines import EngineInfo
from vizdash.errors import Refused
from vizdash.images.build import BuildRequest
from vizdash.images.rollback import RollbackPlan
from vizdash.model import Node, Session, SessionRequest, SessionState
from vizdash.service.builds import ImageBuilder
from vizdash.service.image_admin import ImageAdmin, PrunePlan
from vizdash.service.service import Service
from vizdash.transport.base import Command

SESSION = Session("3f9a01bc", "7", "desktop", "root", SessionState.READY, mine=True)
#: Actions that change nothing of the cluster. A new one is listed here, or in WRITES.
READS = {
    "open", "logs", "details", "matrix", "time_limit", "filter", "sort", "sort_reverse", "mark",
    "clear", "mine", "copy", "history", "commands", "theme", "tunnels", "clusters", "refresh",
    "focus_nodes", "focus_sessions", "focus_images", "help", "quit", "ssh", "join", "open_with",
}  # fmt: skip

Try = Callable[[Service], Awaitable[object]]


def _silent(progress: object) -> None:
    """Does nothing."""


#: What each other action comes to, by its id; `prune` is a verb alone.
WRITES: dict[str, Try] = {
    "start": lambda s: s.start(SessionRequest("desktop")),
    "repeat": lambda s: s.start(SessionRequest("desktop")),
    "upgrade": lambda s: s.start(SessionRequest("desktop")),
    "stop": lambda s: s.stop(SESSION),
    "extend": lambda s: s.operations.extend(SESSION, 60),
    "message": lambda s: s.operations.message(SESSION, "hello"),
    "share": lambda s: s.shares.start(SESSION, "bob"),
    "drain": lambda s: s.operations.drain("n1", "test"),
    "resume": lambda s: s.operations.resume("n1"),
    "deploy": lambda s: ImageAdmin(s).plan_deploy("desktop"),
    "rollback": lambda s: ImageAdmin(s).rollback(RollbackPlan("desktop"), _silent),
    "build": lambda s: ImageBuilder(s).plan_build(BuildRequest("desktop")),
    "prune": lambda s: ImageAdmin(s).prune(PrunePlan("desktop", ()), _silent),
}


CHANGES = {
    "submit", "cancel", "drain", "resume", "set_time_limit", "set_comment", "send_message",
}  # fmt: skip


def untouched() -> FakeEngine:
    """An engine that everybody may do everything with; a change fails the test."""

    def check(name: str) -> None:
        assert name not in CHANGES, f"the engine is asked to {name}"

    about = EngineInfo("slurm", "lab", "24.11", "root", admin=True, node_admin=True)
    node = Node("n1", "IDLE", cores=8, memory_mib=16384)
    return FakeEngine(about=about, all_nodes=(node,), on_call=check)


class NoCommand(NoCommands):
    """A host on which nothing is to be run."""

    async def run(self, command: Command) -> NoReturn:
        raise AssertionError(f"{command} was run")

    def has(self, program: str) -> bool:
        return True


def service(tmp_path: Path, *, read_only: bool) -> Service:
    """A cluster whose configuration says so."""
    file = tmp_path / "config.yaml"
    file.write_text(f"read_only: {str(read_only).lower()}\nclusters: {{viz: {{engine: slurm}}}}\n")
    config, _ = load(path=str(file), environ={})
    assert config.read_only is read_only
    return service_on(untouched(), config=config, runner=NoCommand())


def test_every_action_is_known_to_read_or_write() -> None:
    assert {a.id for a in REGISTRY} == READS | (WRITES.keys() - {"prune"})


@pytest.mark.parametrize("action", REGISTRY, ids=lambda a: a.id)
def test_the_dashboard_offers_no_change(action: Action) -> None:
    context = Context(read_only=True, admin=True, node_admin=True, session=SESSION, image_rights="")
    refused = action.reason(context) == "vizdash is read-only"
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
