"""Jobs of a legacy script that were submitted by hand: how they are found, and what polls cost."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from vizdash.config import App, Cluster, Config
from vizdash.engines.slurm.commands import field_mark, record_mark
from vizdash.errors import NotFound
from vizdash.model import Job, JobState, Node, Session
from vizdash.sessions.hand_submitted import HandSubmittedIds, HandSubmittedSessions, job_name
from vizdash.sessions.legacy_info_file import LegacyInfo, ScriptOutput, parse_info
from vizdash.transport.base import Command, Result
from vizdash.transport.node_ssh import NodeHosts

SCRIPT = "#!/bin/bash\n#SBATCH --job-name=gedit_vnc\n#SBATCH -p viz\nsleep 1\n"
INFO = {
    "JOB_ID": "12",
    "NODE": "viz-node001",
    "VNC_PORT": "6085",
    "SESSION_ID": "test-001",
    "STATUS": "running",
    "START_TIME": "1767225600",
    "NODE_IP": "10.77.0.11",
}
JOB = Job("12", "alice", "gedit_vnc", JobState.RUNNING, node="viz-node001", start_at=1)


def config(tmp_path: Path, tunnel: str = "auto") -> Config:
    (tmp_path / "gedit_vnc_job.sh").write_text(SCRIPT)
    cluster = Cluster("lab", job_scripts=str(tmp_path), tunnel=tunnel)
    app = App("old", kind="legacy", script="gedit_vnc_job.sh", vnc_password="password")
    return Config(cluster, {"lab": cluster}, {"old": app, "new": App("new")})


class InfoFileNodes:
    """A CommandRunner: squeue's commands, and a node's info files. ``hangs``: it never answers."""

    def __init__(
        self,
        *,
        hangs: bool = False,
        scripts: dict[str, str] | None = None,
        own_ids: dict[str, str] | None = None,
    ) -> None:
        self.asked: list[str] = []
        self.listens = "1"
        self.has_private_tmp = False
        self._hangs = hangs
        self._scripts = scripts or {}
        self._own_ids = own_ids or {}

    async def run(self, command: Command) -> Result:
        if "squeue" in command.argv:
            self.asked.append("squeue")
            nonce = command.argv[-1].partition("<")[2].partition(">")[0]
            mark = field_mark(nonce)
            rows = (
                f"{j}{mark}{self._own_ids.get(j, j)}{mark}{s}" for j, s in self._scripts.items()
            )
            return Result(0, "".join(f"{r}{record_mark(nonce)}\n" for r in rows), "")
        self.asked.append(command.argv[0])
        if self._hangs:
            await asyncio.Event().wait()
        by_ssh = command.argv[0] == "ssh"
        job, mark = (shlex.split(command.argv[-1]) if by_ssh else command.argv)[-2:]
        if by_ssh and self.has_private_tmp:
            return Result(0, f"{mark} begin\n{mark} end\n", "")
        if job not in self._own_ids.values() and self._own_ids:
            return Result(0, f"{mark} begin\n{mark} end\n", "")
        values = {**INFO, "JOB_ID": job}
        text = "".join(f"{k}={v}\n" for k, v in values.items())
        path = f"/tmp/app_session_{values['SESSION_ID']}.info"
        file = f"{mark} file {self.listens} {path}\n{text}"
        return Result(0, f"hello\n{mark} begin\n{file}{mark} end\n", "noise")

    def has(self, program: str) -> bool:
        return True


def by_hand(nodes: InfoFileNodes, names: HandSubmittedIds | None = None) -> HandSubmittedSessions:
    async def query() -> tuple[Node, ...]:
        return ()

    return HandSubmittedSessions(nodes, NodeHosts(nodes, query), names)


async def only(
    found: HandSubmittedSessions, made: Config, *jobs: Job, wait_s: float = 60
) -> Session:
    (session,) = await found.sessions(made, jobs, "alice", wait_s=wait_s)
    return session


async def test_it_has_its_jobs_id_while_it_waits_and_its_own_once_it_runs(tmp_path: Path) -> None:
    nodes, made = InfoFileNodes(), config(tmp_path)
    found = by_hand(nodes)
    pending = await only(found, made, replace(JOB, state=JobState.PENDING, node=""))
    assert (pending.id, pending.state, pending.app, pending.legacy) == (
        "12",
        "pending",
        "old",
        True,
    )
    assert nodes.asked == []
    ready = await only(found, made, JOB)
    assert (ready.id, ready.job_id, ready.state, ready.mine) == ("test-001", "12", "ready", True)
    connection = found.connection(ready)
    assert (connection.node_ip, connection.port) == ("10.77.0.11", 6085)
    assert connection.password == "password"
    assert "password" not in repr(connection)
    ended = await only(found, made, replace(JOB, state=JobState.CANCELLED))
    assert (ended.id, ended.state, ended.result) == ("test-001", "ended", "cancelled")


async def test_an_arrays_task_is_known_by_its_own_id_on_its_node(tmp_path: Path) -> None:
    """squeue shows 12_3, the task itself is job 15 (SLURM_JOB_ID)."""
    nodes = InfoFileNodes(scripts={"12_3": "/home/alice/x.sh"}, own_ids={"12_3": "15"})
    made, found, task = config(tmp_path), by_hand(nodes), replace(JOB, id="12_3")
    waiting = replace(JOB, id="12_[4-9%2]", state=JobState.PENDING, node="")
    session, rest = await found.sessions(made, [task, waiting], "alice", wait_s=60)
    assert (session.id, session.job_id, session.state) == ("test-001", "12_3", "ready")
    assert (rest.id, rest.state, rest.app) == ("12_[4-9%2]", "pending", "old")
    assert found.connection(session).job_id == "15"
    await found.sessions(made, [task, waiting], "alice", wait_s=60)
    assert nodes.asked.count("squeue") == 1


async def test_once_seen_it_keeps_its_id_when_it_has_ended(tmp_path: Path) -> None:
    """Another vizdash, after its end, when the file on its node has gone."""
    made, file = config(tmp_path), tmp_path / "state/by-hand-lab.json"
    job = replace(JOB, submit_at=1767225600)
    await only(by_hand(InfoFileNodes(), HandSubmittedIds("lab", file.parent)), made, job)
    assert file.stat().st_mode & 0o777 == 0o600
    ended = replace(job, state=JobState.CANCELLED)
    later = by_hand(InfoFileNodes(), HandSubmittedIds("lab", file.parent))
    assert (await only(later, made, ended)).id == "test-001"
    # Another job that was given the same id; another user's; a file that makes no sense.
    assert (await only(later, made, replace(ended, submit_at=1767229999))).id == "12"
    assert (await only(later, made, replace(ended, user="bob"))).id == "12"
    for text in ('{"12": ["../x", 1767225600]}', '{"12": 7}', "[]", "{"):
        file.write_text(text)
        assert (
            await only(by_hand(InfoFileNodes(), HandSubmittedIds("lab", file.parent)), made, ended)
        ).id == "12"
    await only(by_hand(InfoFileNodes(), HandSubmittedIds("lab", file.parent)), made, job)
    assert (
        await only(by_hand(InfoFileNodes(), HandSubmittedIds("lab", file.parent)), made, ended)
    ).id == "test-001"


class SlowNodes(InfoFileNodes):
    """A node whose answer comes when ``answer`` is set, as one that is busy."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()
        self.removed = 0

    async def run(self, command: Command) -> Result:
        if "rm -f" in f"{command.argv[-1]}{command.input}":
            self.removed += 1
            return Result(0, "", "")
        await self.answer.wait()
        return await super().run(command)


async def test_what_is_stopped_while_its_node_is_slow_leaves_no_info_file(tmp_path: Path) -> None:
    """The list does not wait for the node; the session is known by an earlier vizdash's words."""
    made, job = config(tmp_path), replace(JOB, submit_at=1767225600)
    await only(by_hand(InfoFileNodes(), HandSubmittedIds("lab", tmp_path / "state")), made, job)
    nodes = SlowNodes()
    found = by_hand(nodes, HandSubmittedIds("lab", tmp_path / "state"))
    session = await only(found, made, job, wait_s=0)
    assert session.id == "test-001"
    cleaning = asyncio.create_task(found.clean(made, session, stopped=True))
    await asyncio.sleep(0)
    nodes.answer.set()
    await cleaning
    assert nodes.removed == 1


async def test_where_a_jobs_tmp_is_private_one_list_finds_its_file(tmp_path: Path) -> None:
    """A command line makes no second read; ssh sees the /tmp of the node."""
    nodes = InfoFileNodes()
    nodes.has_private_tmp = True
    assert (await only(by_hand(nodes), config(tmp_path), JOB)).id == "test-001"
    assert nodes.asked == ["ssh", "env"]


async def test_scripts_that_give_their_jobs_one_name_are_told_apart(tmp_path: Path) -> None:
    """As copies of one script are, which nobody has given a name of their own."""
    made = config(tmp_path)
    (tmp_path / "paraview.sh").write_text(SCRIPT)
    second = App("second", kind="legacy", script="paraview.sh", vnc_password="other")
    made = replace(made, apps={**made.apps, "second": second})
    nodes = InfoFileNodes(scripts={"12": "/home/alice/paraview.sh", "13": "/x/gedit_vnc_job.sh"})
    found = by_hand(nodes)
    jobs = (JOB, replace(JOB, id="13"), replace(JOB, id="14", user="bob"))
    shown = await found.sessions(made, jobs, "alice", wait_s=60)
    assert {s.job_id: s.app for s in shown} == {"12": "second", "13": "old", "14": "old"}
    assert found.connection(shown[0]).password == "other"


async def test_a_session_id_that_is_used_again_is_the_living_ones(tmp_path: Path) -> None:
    made = config(tmp_path)
    found = by_hand(InfoFileNodes(), HandSubmittedIds("lab", tmp_path / "state"))
    first = replace(JOB, submit_at=1767225600)
    await only(found, made, first)
    gone = replace(first, state=JobState.CANCELLED)
    again = replace(JOB, id="15", submit_at=1767225900)

    async def ids(*jobs: Job) -> dict[str, str]:
        shown = await found.sessions(made, jobs, "alice", wait_s=60)
        return {s.job_id: s.id for s in shown}

    assert await ids(again, gone) == {"15": "test-001", "12": "12"}
    over = replace(again, state=JobState.CANCELLED)
    assert await ids(over, gone) == {"15": "test-001", "12": "12"}
    assert await ids(gone) == {"12": "test-001"}


async def test_a_desktop_that_does_not_listen_is_starting(tmp_path: Path) -> None:
    nodes = InfoFileNodes()
    nodes.listens = "0"
    session = await only(by_hand(nodes), config(tmp_path), JOB)
    assert (session.id, session.state) == ("test-001", "starting")


async def test_polls_ask_a_node_seldom_and_the_queue_once(tmp_path: Path) -> None:
    """A job of another name is looked up by its script, once."""
    other, foreign = replace(JOB, id="13", name="mine"), replace(JOB, id="14", name="render")
    nodes = InfoFileNodes(scripts={"13": "/home/alice/gedit_vnc_job.sh x", "14": "/bin/render.sh"})
    found, made = by_hand(nodes), config(tmp_path)
    jobs = (JOB, other, foreign)
    first = await found.sessions(made, jobs, "alice", wait_s=60)
    assert {s.job_id for s in first} == {"12", "13"}
    assert sorted(nodes.asked) == ["squeue", "ssh", "ssh"]
    for _ in range(20):
        assert len(await found.sessions(made, jobs, "alice")) == 2
    assert len(nodes.asked) == 3


async def test_a_node_that_hangs_keeps_no_poll_waiting(tmp_path: Path) -> None:
    nodes, made = InfoFileNodes(hangs=True), config(tmp_path)
    found = by_hand(nodes)
    for _ in range(5):
        async with asyncio.timeout(60):
            session = await only(found, made, JOB, wait_s=0)
            await asyncio.sleep(0.01)
        assert (session.id, session.state) == ("12", "starting")
    assert found.is_reading
    with pytest.raises(NotFound, match="info file was not found"):
        found.connection(session)
    await found.close()
    assert nodes.asked == ["ssh"]


async def test_jobs_of_others_are_known_by_name_and_no_more(tmp_path: Path) -> None:
    nodes = InfoFileNodes(scripts={"12": "gedit_vnc_job.sh"})
    found = by_hand(nodes)
    session = await only(found, config(tmp_path), replace(JOB, user="bob"))
    assert (session.id, session.mine, session.state) == ("12", False, "unknown")
    assert not await found.sessions(
        config(tmp_path), [replace(JOB, user="bob", name="mine")], "alice"
    )
    assert nodes.asked == []
    assert not found.has(session)


async def test_without_a_legacy_app_nothing_is_asked(tmp_path: Path) -> None:
    nodes = InfoFileNodes()
    made = replace(config(tmp_path), apps={"new": App("new")})
    assert await by_hand(nodes).sessions(made, [JOB], "alice", wait_s=60) == ()
    assert nodes.asked == []


async def test_a_tunnel_by_srun_alone_uses_no_ssh(tmp_path: Path) -> None:
    nodes = InfoFileNodes(hangs=True)
    found = by_hand(nodes)
    await only(found, config(tmp_path, tunnel="srun"), JOB, wait_s=0)
    await asyncio.sleep(0.01)
    await found.close()
    assert nodes.asked == ["env"]  # srun without the caller's settings


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"JOB_ID": "13"}, "/tmp/app_session_test-001.info"),
        ({"JOB_ID": ""}, "/tmp/app_session_test-001.info"),
        ({}, "/tmp/app_session_test-002.info"),
        ({"SESSION_ID": "../x"}, "/tmp/app_session_../x.info"),
        ({"SESSION_ID": "-x"}, "/tmp/app_session_-x.info"),
        ({"SESSION_ID": "a\x1b[2J"}, "/tmp/app_session_a\x1b[2J.info"),
        ({"SESSION_ID": ""}, "/tmp/app_session_.info"),
        ({"VNC_PORT": "0"}, "/tmp/app_session_test-001.info"),
        ({"VNC_PORT": "66666"}, "/tmp/app_session_test-001.info"),
        ({"VNC_PORT": "6085 --x"}, "/tmp/app_session_test-001.info"),
    ],
)
def test_files_that_make_no_sense_are_no_info(changed: dict[str, str], path: str) -> None:
    text = "".join(f"{k}={v}\n" for k, v in {**INFO, **changed}.items())
    assert parse_info(ScriptOutput("m4rk", f"m4rk file 1 {path}\n{text}"), "12") is None


def test_the_right_file_is_found_among_others() -> None:
    text = "".join(f"{k}={v}\n" for k, v in INFO.items())
    wrong = text.replace("JOB_ID=12", "JOB_ID=1")
    path = "/tmp/app_session_test-001.info"
    answer = ScriptOutput("m4rk", f"m4rk file 1 {path}\n{wrong}m4rk file 0 {path}\n{text}")
    assert parse_info(answer, "12") == LegacyInfo("test-001", "10.77.0.11", 6085, False, 1767225600)
    odd = ScriptOutput(
        "m4rk", f"m4rk file 1 {path}\n{text.replace('10.77.0.11', '-oProxyCommand=x')}"
    )
    assert parse_info(odd, "12") == LegacyInfo("test-001", "", 6085, True, 1767225600)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("#SBATCH --job-name=gedit_vnc", "gedit_vnc"),
        ("#SBATCH --job-name gedit_vnc", "gedit_vnc"),
        ("#SBATCH -J gedit_vnc -p viz", "gedit_vnc"),
        ("#SBATCH -p viz -Jgedit_vnc", "gedit_vnc"),
        ("#SBATCH --job-name='my gedit' # as ever", "my gedit"),
        ("#SBATCH --job-name=a\n#SBATCH --job-name=b", "b"),
        ("##SBATCH --job-name=a", ""),
        ("# SBATCH --job-name=a", ""),
        ("echo\n#SBATCH --job-name=a", ""),
        ("#SBATCH --partition=viz", ""),
    ],
)
def test_the_name_that_a_script_gives_its_job(line: str, name: str) -> None:
    assert job_name(f"#!/bin/bash\n{line}\n") == name
