"""Jobs to sessions: the job's state decides, a claim only refines it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.model import Job, JobState, SessionState
from vizdash.model.job import RESOURCES
from vizdash.sessions.comment import Claim, encode
from vizdash.sessions.folder import Status
from vizdash.sessions.listing import folders_to_read, mark_newer_images, sessions_from_jobs

ID = "3f9a01bc"


def job(state: JobState = JobState.RUNNING, claimed: str = "ready", **changes: object) -> Job:
    claim = Claim(ID, "desktop", "1.0", claimed, changes.pop("step", ""))  # type: ignore[arg-type]
    made = Job("7", "alice", "x", state, comment=encode(claim), cores=2, memory_mib=2048)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "claimed", "expected"),
    [
        (JobState.PENDING, "ready", SessionState.PENDING),  # a forged claim of readiness
        (JobState.PENDING, "pending", SessionState.PENDING),
        (JobState.CONFIGURING, "pending", SessionState.STARTING),
        (JobState.RUNNING, "pending", SessionState.STARTING),
        (JobState.RUNNING, "starting", SessionState.STARTING),
        (JobState.RUNNING, "ready", SessionState.READY),
        (JobState.RUNNING, "failed", SessionState.ENDING),
        (JobState.RUNNING, "ended", SessionState.ENDING),
        (JobState.RUNNING, "nonsense", SessionState.STARTING),
        (JobState.SUSPENDED, "ready", SessionState.SUSPENDED),
        (JobState.STOPPED, "ready", SessionState.SUSPENDED),
        (JobState.COMPLETING, "ready", SessionState.ENDING),
        (JobState.COMPLETED, "ready", SessionState.ENDED),
        (JobState.FAILED, "ready", SessionState.ENDED),
        (JobState.UNKNOWN, "ready", SessionState.UNKNOWN),
    ],
)
def test_states(state: JobState, claimed: str, expected: SessionState) -> None:
    """Of other users' sessions by the comment, of your own only by the folder."""
    (session,) = sessions_from_jobs([job(state, claimed)], "bob")
    assert session.state is expected
    own, lie = Status(claimed, job_id="7"), "starting" if claimed == "ready" else "ready"
    (session,) = sessions_from_jobs([job(state, lie)], "alice", status_of=lambda _: own)
    assert session.state is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (JobState.RUNNING, SessionState.UNKNOWN),
        (JobState.PENDING, SessionState.PENDING),
        (JobState.CONFIGURING, SessionState.STARTING),
        (JobState.SUSPENDED, SessionState.SUSPENDED),
        (JobState.COMPLETING, SessionState.ENDING),
        (JobState.COMPLETED, SessionState.ENDED),  # its folder may have been removed
    ],
)
def test_a_running_session_whose_folder_cannot_be_read_is_unknown(
    state: JobState, expected: SessionState
) -> None:
    unreadable = Status(problem="its session folder can't be read here: Permission denied")
    (session,) = sessions_from_jobs([job(state)], "alice", status_of=lambda _: unreadable)
    assert session.state is expected
    reason = unreadable.problem if expected is SessionState.UNKNOWN else ""
    assert (session.reason, session.error) == (reason, reason)
    (theirs,) = sessions_from_jobs([job(state)], "bob", status_of=lambda _: unreadable)
    assert theirs.state is not SessionState.UNKNOWN
    assert theirs.error == ""


def test_a_claim_of_readiness_needs_a_folder_that_confirms_it() -> None:
    (session,) = sessions_from_jobs([job(JobState.RUNNING, "ready")], "alice")
    assert session.state is SessionState.STARTING
    other = Status("ready", job_id="6")  # another job's
    (session,) = sessions_from_jobs(
        [job(JobState.RUNNING, "ready")], "alice", status_of=lambda _: other
    )
    assert session.state is SessionState.STARTING


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status("ready", begun_at=1000, job_id="7"), SessionState.STARTING),
        (Status("ready", updated_at=1000, job_id="7"), SessionState.STARTING),
        (Status("ready", begun_at=1990, job_id="7"), SessionState.READY),
        (Status("ready", updated_at=1800, job_id="7"), SessionState.READY),  # another clock's
        (Status("ready", updated_at=2600, begun_at=1000, job_id="7"), SessionState.STARTING),
    ],
)
def test_a_requeued_job_has_nothing_of_its_earlier_run(
    status: Status, expected: SessionState
) -> None:
    again = job(JobState.RUNNING, "ready", start_at=2000)
    (session,) = sessions_from_jobs([again], "alice", status_of=lambda _: status)
    assert session.state is expected


@pytest.mark.parametrize("user", ["alice", "bob"])
@pytest.mark.parametrize("comment", ["", "project=4711"])
def test_where_the_comment_is_a_sites_own_the_job_is_shown_by_its_name(
    user: str, comment: str
) -> None:
    running = job(name="vizdash-gedit")
    (session,) = sessions_from_jobs([replace(running, comment=comment)], user)
    assert (session.id, session.job_id, session.app) == ("7", "7", "gedit")
    assert session.state is SessionState.UNKNOWN
    assert "only its job is known" in session.reason
    assert session.mine is (user == "alice")
    pending = replace(running, comment=comment, state=JobState.PENDING)
    assert sessions_from_jobs([pending], user)[0].state is SessionState.PENDING
    build = replace(running, comment=comment, name="vizdash-build-gedit")
    assert sessions_from_jobs([build], user) == ()


def test_viewers_and_digest_come_from_the_folder() -> None:
    status = Status("ready", job_id="7", viewers=0, since=5, image_digest="ab")
    (session,) = sessions_from_jobs([job()], "alice", status_of=lambda _: status)
    assert (session.viewers, session.idle_since, session.image_digest) == (0, 5, "ab")


def test_a_warning_stands_while_the_session_runs() -> None:
    status = Status("ready", job_id="7", warning="OpenGL in software: no GPU", renderer="none: x")
    (session,) = sessions_from_jobs([job()], "alice", status_of=lambda _: status)
    assert (session.warning, session.renderer) == ("OpenGL in software: no GPU", "none: x")
    (session,) = sessions_from_jobs([job(JobState.FAILED)], "alice", status_of=lambda _: status)
    assert (session.warning, session.renderer) == ("", "")


def test_an_error_that_the_folder_could_not_take_is_in_the_comment() -> None:
    full = "no space left in /home/alice"
    comment = encode(Claim(ID, "desktop", "1.0", "failed", "folder", error=full))
    failed = replace(job(JobState.FAILED), comment=comment, reason="it ended with an error")
    stale = Status("starting", "xvnc", job_id="7")
    (session,) = sessions_from_jobs([failed], "alice", status_of=lambda _: stale)
    assert (session.result, session.step, session.error) == ("failed", "folder", full)
    (session,) = sessions_from_jobs([failed], "root")
    assert (session.step, session.error) == ("folder", full)


def test_the_engine_gives_the_reason_where_nothing_of_the_job_could_run() -> None:
    why = "its node could not open the job's log"
    (session,) = sessions_from_jobs([job(JobState.FAILED, "pending", reason=why)], "alice")
    assert (session.result, session.error) == ("failed", why)


def test_other_jobs_are_no_sessions() -> None:
    texts = ("", "mine", "vizdash/1 id=x app=y")
    jobs = [replace(job(), name="analysis", comment=text) for text in texts]
    assert sessions_from_jobs(jobs, "alice") == ()


@pytest.mark.parametrize(
    ("state", "status", "expected"),
    [
        (JobState.COMPLETED, Status("ended", result="finished"), ("finished", "", "")),
        (JobState.CANCELLED, Status("ended", result="cancelled"), ("cancelled", "", "")),
        (JobState.TIMEOUT, Status(), ("timed out", "", "")),
        (JobState.TIMEOUT, Status("ended", result="timed out"), ("timed out", "", "")),
        (
            JobState.FAILED,
            Status("ended", "xvnc", "no display", "failed"),
            ("failed", "xvnc", "no display"),
        ),
        (JobState.FAILED, Status(), ("failed", "app", "the job ended without giving a cause")),
        (
            JobState.OUT_OF_MEMORY,
            Status("ready"),
            ("failed", "app", "ran out of the memory it was given"),
        ),
        (
            JobState.OUT_OF_MEMORY,  # of a program, hours before the session ended
            Status("ended", result="finished"),
            ("finished", "", "one of its programs ran out of memory"),
        ),
        (
            JobState.OUT_OF_MEMORY,
            Status("ended", result="timed out", error="idle for 30 min"),
            ("timed out", "", "idle for 30 min"),
        ),
        (
            JobState.OUT_OF_MEMORY,
            Status("ended", "app", "code 137", "failed"),
            ("failed", "app", "ran out of the memory it was given"),
        ),
        (JobState.NODE_FAIL, Status(), ("failed", "app", "its node failed")),
        (JobState.PREEMPTED, Status(), ("cancelled", "app", "preempted by another job")),
    ],
)
def test_how_it_ended(state: JobState, status: Status, expected: tuple[str, str, str]) -> None:
    (session,) = sessions_from_jobs([job(state, step="app")], "alice", status_of=lambda _: status)
    assert (session.result, session.step, session.error) == expected


def test_a_job_that_slurm_calls_completed_may_have_failed() -> None:
    (session,) = sessions_from_jobs([job(JobState.COMPLETED, "failed", step="image")], "alice")
    assert (session.result, session.step) == ("failed", "image")


def test_only_the_users_own_folder_is_read_and_only_where_it_adds_something() -> None:
    jobs = [
        job(JobState.RUNNING, "starting"),
        job(JobState.RUNNING, "starting", id="8", user="bob"),
        job(JobState.RUNNING, "ready", id="9"),
        job(JobState.PENDING, "pending", id="10"),
        replace(job(), id="11", comment="other"),
    ]
    jobs += [job(JobState.COMPLETED, id="12")]
    jobs[-1] = replace(jobs[-1], comment=jobs[-1].comment.replace(ID, "00000012"))
    assert folders_to_read(jobs, "alice") == ((ID, ID), ("00000012",))
    asked: list[str] = []

    def status_of(session_id: str) -> Status:
        asked.append(session_id)
        return Status(step="xvnc")

    found = {s.job_id: s for s in sessions_from_jobs(jobs, "alice", status_of=status_of)}
    assert asked == [ID, ID, "00000012"]
    assert found["7"].step == "xvnc"
    assert found["8"].step == ""
    assert (found["8"].mine, found["7"].mine) == (False, True)


def test_a_second_job_with_the_same_id_hides_nothing() -> None:
    jobs = [job(), job(id="8", user="mallory")]
    assert {s.job_id for s in sessions_from_jobs(jobs, "alice")} == {"7", "8"}


def test_running_sessions_come_first_then_yours_then_the_newest() -> None:
    jobs = [
        job(id="9"),
        job(id="10"),
        job(id="100", user="bob"),
        job(JobState.COMPLETED, id="101"),
        job(id="10_2"),
    ]
    order = [s.job_id for s in sessions_from_jobs(jobs, "alice")]
    assert order == ["10_2", "10", "9", "100", "101"]


def test_the_newest_is_known_by_its_time_where_job_ids_do_not_count() -> None:
    ids = {"0a1b2c3d": 100, "12345678": 200, "fedcba98": 50}
    jobs = [job(id=id, submit_at=at) for id, at in ids.items()]
    assert [s.job_id for s in sessions_from_jobs(jobs, "alice")] == [
        "12345678",
        "0a1b2c3d",
        "fedcba98",
    ]
    # Handed in within the same second: the later job has the larger number.
    jobs = [job(id=id, submit_at=100) for id in ("9", "10")]
    assert [s.job_id for s in sessions_from_jobs(jobs, "alice")] == ["10", "9"]


def test_what_a_row_shows() -> None:
    pending = job(
        JobState.PENDING, "pending", reason=RESOURCES, start_at=1800000000, time_limit_s=7200
    )
    (session,) = sessions_from_jobs([pending], "alice")
    assert session.reason == RESOURCES  # in words, as the engine put it
    assert (session.expected_start_at, session.started_at) == (1800000000, None)
    running = job(start_at=1800000000, time_left_s=60, gres="gpu:a100:2", node="n1")
    running = replace(running, account="chem", qos="long")
    (session,) = sessions_from_jobs([replace(running, submit_at=1799999990)], "alice")
    assert session.submitted_at == 1799999990
    assert (session.expected_start_at, session.started_at) == (None, 1800000000)
    assert (session.resources.gpus, session.node, session.reason) == (2, "n1", "")
    assert session.image_version == "1.0"
    assert (session.account, session.qos) == ("chem", "long")


def test_a_legacy_session_is_known_by_its_claim() -> None:
    (session,) = sessions_from_jobs([job(step="legacy")], "alice")
    assert session.legacy


JOB = st.builds(
    Job,
    id=st.text(max_size=8),
    user=st.sampled_from(["alice", "bob"]),
    name=st.text(max_size=8),
    state=st.sampled_from(JobState),
    reason=st.text(max_size=20),
    gres=st.text(max_size=20),
    comment=st.one_of(
        st.text(max_size=40), st.just(job().comment), st.text().map(lambda t: job().comment + t)
    ),
)


@given(st.lists(JOB, max_size=6))
def test_nothing_that_others_submit_breaks_the_listing(jobs: list[Job]) -> None:
    honest = job(id="4711")
    found = sessions_from_jobs([*jobs, honest], "alice")
    assert "4711" in {s.job_id for s in found}
    assert all(not s.mine for s in found if s.user == "bob")


@pytest.mark.parametrize(
    ("has", "there", "newer"),
    [
        ("1.9", "1.10", "1.10"),
        ("2.1", "2.2", "2.2"),
        ("2.2", "2.2", ""),
        ("2.2", "2.1", ""),  # after a rollback there is nothing newer
        ("", "2.2", ""),
        ("2.1", "", ""),
    ],
)
def test_a_session_says_when_a_newer_image_is_out(has: str, there: str, newer: str) -> None:
    sessions = [replace(s, image_version=has) for s in sessions_from_jobs([job()], "alice")]
    (found,) = mark_newer_images(sessions, {"desktop": there, "other": "9"})
    assert found.newer_version == newer
    ended = [replace(sessions[0], state=SessionState.ENDED)]
    assert mark_newer_images(ended, {"desktop": there})[0].newer_version == ""
