"""The chain of checks: what a check says, and what is not tried behind a broken one."""

from __future__ import annotations

import json
import stat
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.test_imaging import Person
from vizdash import commandlog, errorlog
from vizdash.config import App, Cluster, Config, Explained
from vizdash.doctor import BROKEN, NOT_TRIED, OK, Finding, bundle, cluster, first_broken, here, node
from vizdash.doctor.case import Case
from vizdash.doctor.check import Check, run_chain
from vizdash.errors import Refused, VizdashError
from vizdash.images.shell import NodeShell
from vizdash.model import SessionRequest
from vizdash.model.link import Link, LinkState
from vizdash.transport.base import Command, Result


def case_of(person: Person, settings: Cluster | None = None, **facts: str) -> Case:
    """An examination of node n1 by somebody."""
    settings = settings or Cluster("viz")
    shell = NodeShell(person, settings.deploy)
    app = App("desktop")
    service: Any = SimpleNamespace(
        config=Config(settings, {}, {"desktop": app}),
        remote=None,
        has=person.has,
        images=SimpleNamespace(shell=shell),
        app=lambda name: app,
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
    findings = await run_chain(tried, case_of(Person("anna")))
    assert [f.status for f in findings] == [OK, BROKEN, NOT_TRIED, NOT_TRIED, OK]
    assert [f.ok for f in findings] == [True, False, False, False, True]
    assert findings[2].found == "it needs: b"
    broken = first_broken(findings)
    assert broken is not None
    assert (broken.what, broken.found, broken.mend) == ("b", "b failed: no room", "make some")


async def test_a_check_has_a_fix_for_errors_without_one() -> None:
    (found,) = await run_chain([check("a", Refused("it"), fix="try")], case_of(Person("anna")))
    assert found.mend == "try"


async def test_an_internal_error_of_a_check_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tried = (check("a", ValueError("odd")), check("b"))
    findings = await run_chain(tried, case_of(Person("anna")))
    assert [f.status for f in findings] == [BROKEN, OK]
    assert "a: internal error: ValueError: odd (logged in " in findings[0].found


# ---------------------------------------------------------------- single checks


async def test_who_deploys_is_told_that_the_audit_log_cant_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # nobody can make anything in it, root included
    admin = Person("anna", "sudo")
    with pytest.raises(VizdashError, match=f"{tmp_path}/file is no folder") as e:
        await here.audit_log(
            case_of(admin, Cluster("viz", audit_log=f"{tmp_path}/file/images.jsonl"))
        )
    assert "install -d -m 755 -o " in e.value.mend
    log = f"{tmp_path}/log/images.jsonl"
    assert await here.audit_log(case_of(admin, Cluster("viz", audit_log=log))) == log


async def test_others_are_told_nothing_of_it(tmp_path: Path) -> None:
    settings = Cluster("viz", audit_log=f"{tmp_path}/file/images.jsonl")
    assert "you do not deploy" in await here.audit_log(case_of(Person("anna", "users"), settings))


class SshSays(Person):
    """Somebody whose ssh ends with this code and these words, as recorded from OpenSSH 9.2."""

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
    [(0, "", "n1 lets you in"), (255, _DENIED, "takes no ssh of yours")],
)
async def test_ssh_to_a_node_is_tried(code: int, stderr: str, words: str) -> None:
    assert words in await cluster.node_ssh(case_of(SshSays(code, stderr)))


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
        (_DENIED, "ssh", True, "n1 takes no ssh of yours", "set `tunnel: auto`"),
        (_DENIED, "auto", False, "there is no srun", "put srun on your PATH"),
    ],
)
async def test_what_keeps_ssh_out_is_named(
    stderr: str, tunnel: str, srun: bool, words: str, fix: str
) -> None:
    case = case_of(SshSays(255, stderr, srun=srun), Cluster("viz", tunnel=tunnel))
    with pytest.raises(VizdashError) as e:
        await cluster.node_ssh(case)
    assert words in e.value.line
    assert fix in e.value.mend


async def test_which_ssh_logs_in_is_shown_with_its_reason() -> None:
    case = case_of(SshSays(0, ""))
    via = "by OpenSSH: PKCS11Provider /usr/lib/p11.so in the settings of login"

    link = Link("login", LinkState.UP, via=via)
    case.service.remote = SimpleNamespace(link=link)
    assert await cluster.login(case) == f"login {via}"


@pytest.mark.parametrize(
    ("there", "before", "after", "off"),
    [(100, 98, 103, "0"), (100, 100, 100, "0"), (400, 98, 103, "297"), (20, 98, 103, "-78")],
)
def test_the_clock_is_off_by_what_the_call_can_not_explain(
    there: int, before: int, after: int, off: str
) -> None:
    assert node._clock(there, before, after) == off


async def test_a_clock_that_is_minutes_off_is_named() -> None:
    assert "agrees" in await node.clock(case_of(Person("anna"), clock="-3"))
    with pytest.raises(VizdashError, match="the clock of n1 is 5 min behind"):
        await node.clock(case_of(Person("anna"), clock="-300"))


# ---------------------------------------------------------------- the report


def test_a_report_holds_all_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    secret = "geh3im"
    commandlog.start()
    try:
        commandlog.record(["curl", f"https://anna:{secret}@example.org", f"--token={secret}"], "ok")
        errorlog.write(f"open vnc.html#password={secret}&resize=remote\n")
        values = (
            Explained("apps.old.vnc_password", secret, "file:1"),
            Explained("clusters.viz.environment.KEY", secret, "file:2"),
            Explained("clusters.viz.build.arguments.licence", secret, "file:3"),
            Explained("clusters.viz.partition", "viz", "file:4"),
        )
        findings = (Finding("engine", False, f"PASSWORD={secret} refused", "", BROKEN),)
        bundle.write(tmp_path / "report.tar.gz", findings, values)
    finally:
        commandlog.stop()
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


def test_a_report_that_cant_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(VizdashError, match=r"report .*/none/x: No such file"):
        bundle.write(tmp_path / "none" / "x", (), ())
    assert list(tmp_path.iterdir()) == []
