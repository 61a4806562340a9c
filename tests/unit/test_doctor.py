"""What doctor tells those who deploy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_imaging import Person
from vizdash import doctor
from vizdash.config import Cluster, Config
from vizdash.doctor import Finding, examine
from vizdash.images.shell import NodeShell


class Asked:
    """A service of which doctor asks who is there."""

    remote = None

    def __init__(self, person: Person, log: str) -> None:
        self.config = Config(Cluster("viz", audit_log=log), {}, {})
        self.engine = type("Engine", (), {"name": "slurm"})
        self.images = type("Images", (), {"shell": NodeShell(person, self.config.cluster.deploy)})

    def has(self, program: str) -> bool:
        return True


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def engine(service: Any) -> Finding:
        return Finding("engine", True, "")

    monkeypatch.setattr(doctor, "_engine", engine)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


async def audit_log(person: Person, log: str) -> list[Finding]:
    service: Any = Asked(person, log)
    return [f for f in await examine(service) if f.what == "audit log"]


@pytest.mark.usefixtures("no_engine")
async def test_who_deploys_is_told_that_the_audit_log_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # nobody can make anything in it, root included
    (found,) = await audit_log(Person("anna", "sudo"), f"{tmp_path}/file/images.jsonl")
    assert (found.ok, found.found) == (False, f"{tmp_path}/file is no folder")
    assert "install -d -m 755 -o " in found.mend
    (found,) = await audit_log(Person("anna", "sudo"), f"{tmp_path}/log/images.jsonl")
    assert found.ok


@pytest.mark.usefixtures("no_engine")
async def test_others_are_told_nothing_of_it(tmp_path: Path) -> None:
    assert await audit_log(Person("anna", "users"), f"{tmp_path}/log/images.jsonl") == []
