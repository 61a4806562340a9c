"""The local engine's records: a reused PID is no session, nor is a damaged record."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from vizdash.engines.local import LocalEngine, machine, records
from vizdash.errors import Refused, UsageError
from vizdash.model import JobRequest, JobState, Resources

ID = "3f9a01bc"


def request() -> JobRequest:
    return JobRequest(
        name="vizdash-desktop",
        script="true",
        session_id=ID,
        app="desktop",
        output=os.devnull,
        resources=Resources(1, 64, 0, 3600),
        comment=f"vizdash/1 id={ID} app=desktop image=- state=pending step=-",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "sessions" / ID
    made.mkdir(parents=True)
    records.write_record(made, request())
    return made


@pytest.fixture
def sleeper() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process.pid
    process.kill()
    process.wait()


def mark(folder: Path, pid: int, ticks: int | None, boot: str) -> None:
    (folder / "supervisor").write_text(f"{pid} {ticks} {boot}\n")


def long_ago(folder: Path) -> None:
    os.utime(folder / "job.json", (time.time() - 100, time.time() - 100))


def test_the_supervisor_is_known_by_its_mark(folder: Path, sleeper: int) -> None:
    mark(folder, sleeper, machine.start_ticks(sleeper), machine.boot_id())
    assert records.supervisor(folder) == sleeper


def test_a_reused_pid_is_never_taken_for_a_session(folder: Path, sleeper: int) -> None:
    ticks = machine.start_ticks(sleeper)
    assert ticks is not None
    mark(folder, sleeper, ticks - 1, machine.boot_id())
    assert records.supervisor(folder) is None
    mark(folder, sleeper, ticks, "another-boot")
    assert records.supervisor(folder) is None


def test_a_zombie_and_a_dead_process_are_none(folder: Path) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    mark(folder, process.pid, machine.start_ticks(process.pid), machine.boot_id())
    assert records.supervisor(folder) == process.pid
    process.kill()
    deadline = time.monotonic() + 60
    while records.supervisor(folder) is not None:  # not waited for yet: a zombie
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.wait()
    assert records.supervisor(folder) is None


@pytest.mark.parametrize(
    "text", ["", "1", "1 2", "a b c", "1 2 3 4", "-1 2 x", "² ² x", "9" * 30 + " 1 x", "\0"]
)
def test_a_damaged_mark_is_none(folder: Path, text: str) -> None:
    (folder / "supervisor").write_text(text)
    assert records.supervisor(folder) is None


def test_start_ticks_of_a_program_with_a_hostile_name(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "1000"])
    try:
        expected = machine.start_ticks(os.getpid())
        found = machine.start_ticks(process.pid)
        assert found is not None
        assert expected is not None
        assert found >= expected
    finally:
        process.kill()
        process.wait()
    assert machine.start_ticks(2**31 - 1) is None


def test_what_was_written_is_read(folder: Path) -> None:
    ((found, record),) = records.read_all(folder.parent)
    assert (found, record.id, record.resources) == (folder, ID, Resources(1, 64, 0, 3600))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", "{", "[" * 100_000, '{"id": 1}'],
    ids=["empty", "list", "no-keys", "null", "cut", "deep", "types"],
)
def test_a_damaged_record_is_skipped(folder: Path, text: str) -> None:
    (folder / "job.json").write_text(text)
    assert list(records.read_all(folder.parent)) == []


def test_a_record_with_wrong_types_or_of_another_session_is_skipped(folder: Path) -> None:
    whole = json.loads((folder / "job.json").read_text())
    for change in ({"cores": "2"}, {"comment": None}, {"id": "00000000"}, {"more": 1}):
        (folder / "job.json").write_text(json.dumps(whole | change))
        assert list(records.read_all(folder.parent)) == []


def test_a_root_with_other_things_in_it(folder: Path) -> None:
    root = folder.parent
    (root / ".lock").touch()
    (root / "notes.txt").write_text("x")
    (root / "link").symlink_to(folder)
    assert [f for f, _ in records.read_all(root)] == [folder]
    assert list(records.read_all(root / "nosuch")) == []


async def test_a_killed_supervisor_is_reported_with_its_step(folder: Path) -> None:
    long_ago(folder)
    (folder / "status").write_text("STATE=starting\nSTEP=xvnc\nUPDATED=1\n")
    (folder / "connection").write_text("PASSWORD=x\n")
    (job,) = await LocalEngine(folder.parent).jobs()
    assert job.state is JobState.FAILED
    assert "state=ended step=xvnc" in job.comment
    status = (folder / "status").read_text()
    assert "RESULT=failed" in status
    assert "killed, or the machine restarted" in status
    assert not (folder / "connection").exists()


async def test_last_output_that_arrives_with_the_end_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor writes how it ended, and goes, while we look."""
    long_ago(folder)
    (folder / "status").write_text("STATE=ready\n")

    def goes_now(_: Path) -> None:
        (folder / "status").write_text(
            f"STATE=ended\nRESULT=finished\nUPDATED={int(time.time())}\n"
        )

    monkeypatch.setattr(records, "supervisor", goes_now)
    (job,) = await LocalEngine(folder.parent).jobs()
    assert job.state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("status", "listed"),
    [
        ("STATE=ended\nRESULT=finished\nUPDATED={now}\n", JobState.COMPLETED),
        ("STATE=ended\nRESULT=cancelled\nUPDATED={now}\n", JobState.CANCELLED),
        ("STATE=ended\nRESULT=timed-out\nUPDATED={now}\n", JobState.TIMEOUT),
        ("STATE=ended\nRESULT=failed\nUPDATED={now}\n", JobState.FAILED),
        ("STATE=ended\nRESULT=nonsense\nUPDATED={now}\n", JobState.FAILED),
        ("STATE=ended\nRESULT=finished\nUPDATED=1\n", None),  # long ago
        ("STATE=ended\nRESULT=finished\nUPDATED=x\n", None),
        ("STATE=ended\n", None),
    ],
)
async def test_how_it_ended(folder: Path, status: str, listed: JobState | None) -> None:
    long_ago(folder)
    (folder / "status").write_text(status.replace("{now}", str(int(time.time()))))
    found = await LocalEngine(folder.parent).jobs()
    assert [job.state for job in found] == ([listed] if listed else [])


async def test_a_new_session_whose_supervisor_is_not_there_yet_runs(folder: Path) -> None:
    (job,) = await LocalEngine(folder.parent).jobs()
    assert job.state is JobState.RUNNING
    (node,) = await LocalEngine(folder.parent).nodes()
    assert node.cores_alloc == 1


async def test_jobs_of_another_machine_with_the_same_home_are_left_alone(folder: Path) -> None:
    """Whether they run cannot be seen from here, so they are not cleaned up."""
    whole = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps(whole | {"boot": "another", "host": "elsewhere"}))
    long_ago(folder)
    (folder / "status").write_text("STATE=ready\n")
    (folder / "connection").write_text("PASSWORD=x\n")
    assert await LocalEngine(folder.parent).jobs() == ()
    assert (folder / "status").read_text() == "STATE=ready\n"
    assert (folder / "connection").exists()


async def test_a_supervisor_that_was_there_and_is_gone_is_cleaned_up_at_once(folder: Path) -> None:
    mark(folder, 2**22 + 1, 1, machine.boot_id())
    (job,) = await LocalEngine(folder.parent).jobs()
    assert job.state is JobState.FAILED


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"extra": ("--exclusive",)}, "--exclusive"),
        ({"reservation": "course"}, "--reservation course"),
        ({"constraint": "avx"}, "--constraint avx"),
    ],
)
async def test_what_only_slurm_can_give_is_refused(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        await LocalEngine(tmp_path).submit(replace(request(), **change))


async def test_a_home_that_cannot_be_written_is_a_refusal(tmp_path: Path) -> None:
    """The folder for the session's record is not there, as when the home went away."""
    with pytest.raises(Refused, match=r"job\.json.*No such file.*check your home"):
        await LocalEngine(tmp_path).submit(request())


def test_gpus_are_given_by_number_and_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = replace(machine.read_machine(), gpu_ids=(0, 1, 3))
    monkeypatch.setattr(machine, "read_machine", lambda: about)
    monkeypatch.setattr(LocalEngine, "_check", lambda *_: None)
    given = []

    def run(argv: list[str], *, env: dict[str, str], **_: object) -> None:
        given.append(env.get("CUDA_VISIBLE_DEVICES"))

    monkeypatch.setattr(subprocess, "run", run)
    engine = LocalEngine(tmp_path)
    for number, gpus in enumerate((2, 0, 1)):
        name = f"0000000{number}"
        (tmp_path / name).mkdir()
        asked = replace(request(), session_id=name, resources=Resources(1, 64, gpus, 60))
        engine._start(tmp_path / name, asked)
    assert given == ["0,1", None, "3"]


HERE = machine.HostIdentity("0af1", "n1", "pid:[4026531836]", "boot-2")
BOOTED = 1000.0


@pytest.mark.parametrize(
    ("other", "seen", "held"),
    [
        (HERE, 2000, True),
        (replace(HERE, host="renamed"), 2000, True),
        # Dead since this host went down: it is to be buried here.
        (replace(HERE, boot="boot-1"), 500, True),
        # Clones of one disk: another name, or alive while this host was already up.
        (replace(HERE, boot="boot-9", host="n2"), 500, False),
        (replace(HERE, boot="boot-9"), 2000, False),
        (replace(HERE, boot="boot-9", machine="0af2"), 500, False),
        # Another container of this host, or of a twin.
        (replace(HERE, pid_space="pid:[4026532001]"), 2000, False),
        (replace(HERE, pid_space="pid:[4026532001]", boot="boot-1"), 500, False),
    ],
)
def test_whose_a_job_of_a_shared_home_is(
    other: machine.HostIdentity, seen: int, held: bool
) -> None:
    assert HERE.holds(other, seen, BOOTED, now=9000) is held


def test_a_host_that_has_just_booted_waits_for_a_sign_of_life() -> None:
    other = replace(HERE, boot="boot-1")
    assert not HERE.holds(other, BOOTED - 20, BOOTED, now=BOOTED + 15)
    assert HERE.holds(other, BOOTED - 20, BOOTED, now=BOOTED + 600)


@pytest.mark.parametrize("host", ["n2", ""])
async def test_a_clone_of_this_machine_does_not_clean_up_its_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """The same machine-id and home; its own name, or the same one and booted after the session."""
    record = records.write_record(tmp_path, request())
    folder = tmp_path / record.id
    folder.mkdir()
    (tmp_path / "job.json").rename(folder / "job.json")
    (folder / "status").write_text("STATE=ready\n")
    (folder / "supervisor").write_text(f"{os.getpid()} 1 {machine.boot_id()}\n")
    here = machine.this_host()
    clone = replace(here, boot="another", host=host or here.host)
    monkeypatch.setattr(records, "this_host", lambda: clone)
    now = time.time()
    monkeypatch.setattr(records, "booted_at", lambda: now - 1000)
    began = replace(record, started_at=int(now) - 2000)
    (folder / "job.json").write_text(json.dumps(asdict(began)))
    assert await LocalEngine(tmp_path).jobs() == ()
    assert (folder / "status").read_text() == "STATE=ready\n"
    # On the host itself it has died, and that is written down.
    monkeypatch.setattr(records, "this_host", lambda: here)
    (job,) = await LocalEngine(tmp_path).jobs()
    assert job.state is JobState.FAILED
    assert "STATE=ended" in (folder / "status").read_text()
