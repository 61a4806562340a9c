"""The chain of checks: what a check reports, and which checks are skipped after a failure."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.service.test_image_admin import UserRunner
from vizdash.config import App, Cluster, Config, Explained
from vizdash.errors import Refused, VizdashError
from vizdash.images.node_script import NodeShell
from vizdash.model import Node, SessionRequest
from vizdash.model.connection_status import ConnectionState, ConnectionStatus
from vizdash.service.doctor import (
    BROKEN,
    NOT_TRIED,
    OK,
    Finding,
    bundle,
    clocks,
    cluster_checks,
    first_broken,
    local_checks,
    node_checks,
)
from vizdash.service.doctor.checks import Case, Check, run_chain
from vizdash.transport.base import Command, Result
from vizdash.util import command_log, error_log


def case_of(person: UserRunner, settings: Cluster | None = None, **facts: str) -> Case:
    """A check of node n1 by some user."""
    settings = settings or Cluster("viz")
    shell = NodeShell(person, settings.deploy)
    app = App("desktop")
    service: Any = SimpleNamespace(
        config=Config(settings, {}, {"desktop": app}),
        remote=None,
        has=person.has,
        images=SimpleNamespace(shell=shell),
        apps=SimpleNamespace(find=lambda name: app),
    )
    return Case(service, SessionRequest("desktop"), node="n1", facts={"node": "n1", **facts})


# ---------------------------------------------------------------- the chain


def check(name: str, error: Exception | None = None, *needs: str, fix: str = "") -> Check:
    async def run(case: Case) -> str:
        if error:
            raise error
        return f"{name} works"

    return Check(name, run, needs, fix)


async def test_what_needs_a_broken_link_is_not_tried() -> None:
    tried = (
        check("a"),
        check("b", Refused("b failed", "no room", "make some")),
        check("c", None, "a", "b"),
        check("d", None, "c"),
        check("e", None, "a"),
    )
    findings = await run_chain(tried, case_of(UserRunner("anna")))
    assert [f.status for f in findings] == [OK, BROKEN, NOT_TRIED, NOT_TRIED, OK]
    assert [f.ok for f in findings] == [True, False, False, False, True]
    assert findings[2].found == "needs: b"
    broken = first_broken(findings)
    assert broken is not None
    assert (broken.what, broken.found, broken.fix) == ("b", "b failed: no room", "make some")


async def test_a_check_has_a_fix_for_errors_without_one() -> None:
    (found,) = await run_chain([check("a", Refused("it"), fix="try")], case_of(UserRunner("anna")))
    assert found.fix == "try"


async def test_an_internal_error_of_a_check_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tried = (check("a", ValueError("odd")), check("b"))
    findings = await run_chain(tried, case_of(UserRunner("anna")))
    assert [f.status for f in findings] == [BROKEN, OK]
    assert "a: internal error: ValueError: odd (logged in " in findings[0].found


# ---------------------------------------------------------------- single checks


async def test_an_operator_sees_that_the_audit_log_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # no user can create anything in it, not even root
    admin = UserRunner("anna", "sudo")
    with pytest.raises(VizdashError, match=f"{tmp_path}/file is not a folder") as e:
        await local_checks.check_audit_log(
            case_of(admin, Cluster("viz", audit_log=f"{tmp_path}/file/images.jsonl"))
        )
    assert "install -d -m 755 -o " in e.value.fix
    log = f"{tmp_path}/log/images.jsonl"
    assert await local_checks.check_audit_log(case_of(admin, Cluster("viz", audit_log=log))) == log


async def test_other_users_do_not_see_that(tmp_path: Path) -> None:
    settings = Cluster("viz", audit_log=f"{tmp_path}/file/images.jsonl")
    assert "you cannot deploy" in await local_checks.check_audit_log(
        case_of(UserRunner("anna", "users"), settings)
    )


class FailingSsh(UserRunner):
    """A user whose ssh ends with this code and message, as recorded from OpenSSH 9.2."""

    def __init__(self, code: int, stderr: str, *, srun: bool = True) -> None:
        super().__init__("anna", "users")
        self.result = Result(code, "", stderr)
        self.srun = srun

    async def run(self, command: Command) -> Result:
        mine = command.argv[0] in {"ssh", "true"}
        return self.result if mine else await super().run(command)

    def has(self, program: str) -> bool:
        return program != "srun" or self.srun


_DENIED = "anna@n1: Permission denied (publickey)."


@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [(0, "", "n1 accepts your SSH"), (255, _DENIED, "refuses your SSH")],
)
async def test_ssh_to_a_node_is_tried(code: int, stderr: str, words: str) -> None:
    assert words in await cluster_checks.check_node_ssh(case_of(FailingSsh(code, stderr)))


@pytest.mark.parametrize(
    ("stderr", "tunnel", "srun", "words", "fix"),
    [
        (
            "Host key verification failed.\r\n",
            "auto",
            True,
            "neither ~/.ssh/known_hosts nor /etc/",
            "run `ssh n1` here once and compare the fingerprint",
        ),
        (
            "ssh: connect to host n1 port 22: Connection refused",
            "auto",
            True,
            "Connection refused",
            "does `ssh n1` work for you?",
        ),
        (_DENIED, "ssh", True, "n1 refuses your SSH", "set `tunnel: auto`"),
        (_DENIED, "auto", False, "there is no srun", "put srun on your PATH"),
    ],
)
async def test_what_keeps_ssh_out_is_named(
    stderr: str, tunnel: str, srun: bool, words: str, fix: str
) -> None:
    case = case_of(FailingSsh(255, stderr, srun=srun), Cluster("viz", tunnel=tunnel))
    with pytest.raises(VizdashError) as e:
        await cluster_checks.check_node_ssh(case)
    assert words in e.value.line
    assert fix in e.value.fix


async def test_which_ssh_logs_in_is_shown_with_its_reason() -> None:
    case = case_of(FailingSsh(0, ""))
    via = "by OpenSSH: PKCS11Provider /usr/lib/p11.so in the settings of login"

    status = ConnectionStatus("login", ConnectionState.UP, via=via)
    case.service.remote = SimpleNamespace(status=status)
    assert await cluster_checks.check_login(case) == f"login {via}"


@pytest.mark.parametrize(
    ("there", "before", "after", "off"),
    [(100, 98, 103, 0), (100, 100, 100, 0), (400, 98, 103, 297), (20, 98, 103, -78)],
)
def test_the_clock_is_off_by_what_the_call_cannot_explain(
    there: int, before: int, after: int, off: int
) -> None:
    assert clocks.difference(there, before, after) == off


async def test_a_clock_that_is_minutes_off_is_named() -> None:
    assert "agrees" in await node_checks.check_clock(case_of(UserRunner("anna"), clock="-3"))
    with pytest.raises(VizdashError, match="the clock of n1 is 5 min behind"):
        await node_checks.check_clock(case_of(UserRunner("anna"), clock="-300"))


class Clocks(UserRunner):
    """A user of a login host at 1000 s, and of a node with its own clock or no ssh at all."""

    def __init__(self, there: str) -> None:
        super().__init__("anna", "users")
        self.there = there

    async def run(self, command: Command) -> Result:
        if command.argv[0] == "ssh":
            return Result(0, self.there, "") if self.there else Result(255, "", _DENIED)
        return Result(0, "1000\n", "") if "date" in command.argv else await super().run(command)


@pytest.mark.parametrize(
    ("there", "cause", "fix"),
    [
        ("1330\n", "n1 is not responding: the clock of n1 is 5 min ahead: munge refuses", "NTP"),
        ("1002\n", "n1 is not responding: no answer", "ask an operator"),
        ("", "n1 is not responding: no answer", "ask an operator"),
        ("no number", "n1 is not responding: no answer", "ask an operator"),
    ],
)
async def test_a_node_that_is_lost_for_its_clock_is_named_so(
    there: str, cause: str, fix: str
) -> None:
    """slurmd refuses slurmctld's credentials, and answers by none that slurmctld takes."""
    case = case_of(Clocks(there))
    case.nodes = (Node("n1", "IDLE", ("NOT_RESPONDING",), reason="no answer"),)
    with pytest.raises(VizdashError) as e:
        await cluster_checks.check_node(case)
    assert e.value.line.startswith(cause), e.value.line
    assert fix in e.value.fix


# ---------------------------------------------------------------- the report


def test_a_report_holds_all_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    secret = "geh3im"
    command_log.start()
    try:
        command_log.record(
            ["curl", f"https://anna:{secret}@example.org", f"--token={secret}"], "ok"
        )
        error_log.write(f"open vnc.html#password={secret}&resize=remote\n")
        values = (
            Explained("apps.old.vnc_password", secret, "file:1"),
            Explained("clusters.viz.environment.KEY", secret, "file:2"),
            Explained("clusters.viz.build.arguments.licence", secret, "file:3"),
            Explained("clusters.viz.partition", "viz", "file:4"),
        )
        findings = (Finding("engine", False, f"PASSWORD={secret} refused", "", BROKEN),)
        bundle.write(tmp_path / "report.tar.gz", findings, values)
    finally:
        command_log.stop()
    assert stat.S_IMODE((tmp_path / "report.tar.gz").stat().st_mode) == 0o600
    texts = {}
    with tarfile.open(tmp_path / "report.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            texts[member.name.removeprefix("vizdash-report/")] = file.read().decode()
    assert sorted(texts) == [
        "commands.log",
        "config.json",
        "errors.log",
        "findings.json",
        "versions.json",
    ]
    assert all(secret not in text for text in texts.values()), texts
    config = {row["key"]: row["value"] for row in json.loads(texts["config.json"])}
    assert config["clusters.viz.partition"] == "viz"
    assert "curl" in texts["commands.log"] and "resize" not in texts["commands.log"]
    assert "refused" in json.loads(texts["findings.json"])[0]["found"]
    assert "python" in json.loads(texts["versions.json"])


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VizdashError, match=r"report .*/none/x: No such file"):
        bundle.write(tmp_path / "none" / "x", (), ())
    assert list(tmp_path.iterdir()) == []
