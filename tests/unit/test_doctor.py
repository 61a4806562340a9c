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
from vizdash.model import Node
from vizdash.model.link import Link, LinkState
from vizdash.transport.base import Command, Result


class Engine:
    """A cluster of these nodes."""

    name = "slurm"

    def __init__(self, *nodes: Node) -> None:
        self._nodes = nodes

    async def nodes(self) -> tuple[Node, ...]:
        return self._nodes


class Asked:
    """A service of which doctor asks who is there."""

    remote = None

    def __init__(self, person: Person, log: str) -> None:
        self.config = Config(Cluster("viz", audit_log=log), {}, {})
        self.engine = Engine()
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


class SshSays(Person):
    """Somebody whose ssh ends with this code and these words, as recorded from OpenSSH 9.2."""

    def __init__(self, code: int, stderr: str) -> None:
        super().__init__("anna", "users")
        self.result = Result(code, "", stderr)

    async def run(self, command: Command) -> Result:
        return self.result if command.argv[0] == "ssh" else await super().run(command)


@pytest.mark.parametrize(
    ("code", "stderr", "ok", "words"),
    [
        (0, "", True, "n1 lets you in"),
        (255, "anna@n1: Permission denied (publickey).", True, "takes no ssh of yours"),
        (255, "Host key verification failed.\r\n", False, "neither ~/.ssh/known_hosts nor /etc/"),
        (255, "ssh: connect to host n1 port 22: Connection refused", False, "Connection refused"),
    ],
)
@pytest.mark.usefixtures("no_engine")
async def test_ssh_to_nodes_is_tried(code: int, stderr: str, ok: bool, words: str) -> None:
    service: Any = Asked(Person("anna", "users"), "")
    service.engine = Engine(Node("n1", "IDLE"))
    service.images.shell = NodeShell(SshSays(code, stderr))
    (found,) = [f for f in await examine(service) if f.what == "ssh to nodes"]
    assert found.ok is ok
    assert words in found.found
    if "verification" in stderr:
        assert found.mend == "run `ssh n1` here once and compare the fingerprint"


@pytest.mark.usefixtures("no_engine")
async def test_which_ssh_logs_in_is_shown_with_its_reason() -> None:
    service: Any = Asked(Person("anna", ""), "")
    via = "by OpenSSH: PKCS11Provider /usr/lib/p11.so in the settings of login"
    link = Link("login", LinkState.UP, via=via)
    service.remote = type("Remote", (), {"link": link})
    (found,) = [f for f in await examine(service) if f.what == "login"]
    assert (found.ok, found.found) == (True, f"login {via}")
