"""What this machine keeps of a session as an SSH host, and what it believes of the node."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tests.fakes import FakeForwarder
from vizdash.errors import Refused, Unreachable
from vizdash.model import Session, SessionState
from vizdash.sessions.folder import Connection
from vizdash.sessions.ssh_host import SshHost, SshHosts, command_here, proxy_words
from vizdash.transport.base import Command, CommandRunner, Result
from vizdash.util.assets import node_script

SESSION = Session("3f9a01bc", "7", "desktop", "alice", SessionState.READY, node="n1")
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMonWUxTmDjBAi"


class PrintingNode(CommandRunner):
    """A node that prints what it is asked to."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[Command] = []

    async def run(self, command: Command) -> Result:
        self.asked.append(command)
        return Result(0, self.answers.pop(0), "")

    def has(self, program: str) -> bool:
        return True


async def _connection(session: Session) -> Connection:
    return Connection(session.job_id, session.node, "", 0, "/r/web", "", runtime_dir="/r")


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/vizdash/ssh"


def _hosts(node: PrintingNode, forwarder: FakeForwarder | None = None) -> SshHosts:
    return SshHosts("", node, forwarder or FakeForwarder(), _connection, command_here, remote=True)


def test_a_node_is_prepared_once_and_its_key_is_known_beforehand(state: Path) -> None:
    node = PrintingNode(f"noise\nkey {_KEY}\n")
    hosts = _hosts(node)
    for _ in range(2):
        asyncio.run(hosts.connect(SESSION))
    assert len(node.asked) == 1
    folder = state / SESSION.id
    assert (folder / "known_hosts").read_text() == f"vizdash-3f9a01bc {_KEY}\n"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    private = (folder / "key").read_text().splitlines()[1]
    public = (folder / "key.pub").read_text().strip()
    assert public in node.asked[0].argv
    assert not any(private in word for word in node.asked[0].argv)


def test_a_keeper_that_is_gone_is_started_again(state: Path) -> None:
    node, forwarder = PrintingNode(f"key {_KEY}\n", f"key {_KEY}\n"), FakeForwarder()
    hosts = _hosts(node, forwarder)
    asyncio.run(hosts.connect(SESSION))
    forwarder.refusal = Unreachable("the desktop on n1", "it does not answer")
    with pytest.raises(Unreachable):
        asyncio.run(hosts.connect(SESSION))
    assert len(node.asked) == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("refused there is no sshd on n1: install openssh-server\n", "there is no sshd on n1"),
        ("key ssh-ed25519 A B\n", "ended with 0"),
        ("key one\nkey two \x1b\n", "ended with 0"),
        ("", "ended with 0"),
    ],
)
def test_the_reason_of_the_node(state: Path, answer: str, words: str) -> None:
    with pytest.raises(Refused, match=f"session 3f9a01bc takes no logins: .*{words}"):
        asyncio.run(_hosts(PrintingNode(answer)).connect(SESSION))
    assert not (state / SESSION.id / "known_hosts").exists()


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (replace(SESSION, mine=False, user="bob"), "only bob can log in to it"),
        (replace(SESSION, state=SessionState.PENDING, reason="busy"), "it is pending: busy"),
        (replace(SESSION, state=SessionState.ENDED), "it is ended"),
        (replace(SESSION, legacy=True), "it has a legacy job script"),
    ],
)
def test_what_takes_no_logins(state: Path, session: Session, words: str) -> None:
    with pytest.raises(Refused, match=words):
        asyncio.run(_hosts(PrintingNode()).connect(session))
    assert not state.exists()


def test_keys_of_ended_sessions_are_removed(state: Path) -> None:
    hosts = _hosts(PrintingNode())
    other = replace(SESSION, id="00000002")
    for session in (SESSION, other):
        asyncio.run(hosts.prepare(session))
    asyncio.run(hosts.sweep([other.id]))
    assert [path.name for path in state.iterdir()] == [other.id]
    asyncio.run(hosts.forget(other.id))
    assert list(state.iterdir()) == []


def test_an_entry_is_read_by_ssh_as_it_was_meant(tmp_path: Path) -> None:
    """With blanks and percent signs in paths, which ssh_config(5) gives a meaning."""
    folder = tmp_path / "a b%d"
    program = ("/opt/my programs/100%/vizdash",)
    host = SshHost("3f9a01bc", "alice", folder)
    config = tmp_path / "config"
    config.write_text(host.entry(proxy_words(program, ("--host", "a@b"), host.session_id)))
    argv = ["ssh", "-F", str(config), "-G", host.alias]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "user alice" in lines
    assert f"userknownhostsfile {folder}" in "\n".join(lines)
    assert "stricthostkeychecking true" in lines
    # ssh prints the command before it replaces its percent signs.
    expected = "'/opt/my programs/100%%/vizdash' --host a@b proxy 3f9a01bc"
    assert f"proxycommand {expected}" in lines


# ---------------------------------------------------------------- on the node


@pytest.fixture
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("session_sshd", node_script("session_sshd.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_the_jobs_variables_in_what_sshd_can_read(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "display").write_text("3\n")
    values = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": 'a "quoted" name',
        "SLURM_SUBMIT_DIR": "/home/alice/my data",
        "SLURM_EXPORT_ENV": "NONE",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "SECRET": "x",
    }
    for name in list(program.os.environ):
        monkeypatch.delenv(name)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert program.variables(str(tmp_path), "3f9a01bc") == (
        f'"CUDA_VISIBLE_DEVICES=0,1" "DISPLAY=:3" "SLURM_JOB_ID=7"'
        f' "SLURM_SUBMIT_DIR=/home/alice/my data" "VIZDASH_SESSION_ID=3f9a01bc"'
        f' "XAUTHORITY={tmp_path}/xauth"'
    )


def test_a_folder_that_others_can_enter_is_refused(program: ModuleType, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(program.Refusal, match="is not private"):
        program.set_up("", str(tmp_path), "3f9a01bc", _KEY)
    assert list(tmp_path.iterdir()) == []
