"""Your own jobs whose comments do not name their sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import MemoryStore
from vizdash.model import Job, JobState
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.folder import Status
from vizdash.sessions.listing import SessionIdentifier


def store_of(**sessions: str) -> MemoryStore:
    """Folders of sessions of gedit, by job (``job5``)."""
    jobs = {id: job.removeprefix("job") for job, id in sessions.items()}
    status = Status(app="gedit", image_version="2.0", legacy=True)
    return MemoryStore(known=dict.fromkeys(jobs, status), jobs=jobs)


def job(number: int, comment: str = "", user: str = "alice", name: str = "vizdash-gedit") -> Job:
    return Job(str(number), user, name, JobState.PENDING, comment=comment)


async def test_the_folder_names_them() -> None:
    store = store_of(job5="0000abcd", job6="0000dcba")
    who = SessionIdentifier(store)
    claimed = encode(Claim("00000007", "desktop"))
    jobs = [job(5, "project=4711"), job(6, user="bob"), job(7, claimed), job(8), job(9, name="x")]
    found = await who.identify(jobs, "alice", "viz")
    assert decode(found[0].comment) == Claim("0000abcd", "gedit", "2.0", "pending", "legacy")
    assert found[1:] == tuple(jobs[1:])


async def test_folders_are_read_again_only_for_what_may_be_a_session() -> None:
    store = store_of(job5="0000abcd")
    who = SessionIdentifier(store)
    jobs = [job(5), job(9, name="analysis")]
    for _ in range(3):
        found = await who.identify(jobs, "alice", "viz")
        assert decode(found[0].comment)
    assert store.job_id_reads == 1
    # Submitted a moment ago: its folder does not name the job yet.
    jobs.append(job(10))
    for _ in range(2):
        assert decode((await who.identify(jobs, "alice", "viz"))[2].comment) is None
    store.jobs["00000010"] = "10"
    store.known["00000010"] = Status(app="gedit")
    assert decode((await who.identify(jobs, "alice", "viz"))[2].comment)
    assert store.job_id_reads == 4
    assert decode((await who.identify(jobs, "alice", "viz"))[2].comment)
    assert store.job_id_reads == 4


NOW = 1_800_000_000
DAY = 86_400
RUNNING = Job("1234", "alice", "vizdash-gedit", JobState.RUNNING, start_at=NOW)
LIVE = Status("ready", begun_at=NOW, updated_at=NOW + 60, job_id="1234", app="gedit")
ENDED = Status("ended", begun_at=NOW - DAY, updated_at=NOW - DAY + 60, job_id="1234", app="gedit")


async def session_of(job: Job, *folders: Status, cluster: str = "viz") -> str:
    """The id of the session that is recognised in ``job``; the folders are 00000000, 00000001..."""
    known = {f"{number:08}": status for number, status in enumerate(folders)}
    (found,) = await SessionIdentifier(MemoryStore(known=known)).identify([job], "alice", cluster)
    claim = decode(found.comment)
    return claim.id if claim else ""


@pytest.mark.parametrize(
    ("job", "status", "fits"),
    [
        (RUNNING, LIVE, True),
        (replace(RUNNING, name="md-production-run"), ENDED, False),
        (replace(RUNNING, name="md-production-run", state=JobState.PENDING), ENDED, False),
        (replace(RUNNING, name="vizdash-desktop"), replace(LIVE, begun_at=0), False),
        # Another cluster with the same home, or set up again under another name.
        (RUNNING, replace(LIVE, cluster="viz"), True),
        (RUNNING, replace(LIVE, cluster="other"), False),
        # A name of the user's own, given to sbatch.
        (replace(RUNNING, name="render"), replace(LIVE, job_name="render"), True),
        (RUNNING, replace(LIVE, begun_at=0, job_name="render"), False),
        # A name that the site has given: the job begins when the folder says.
        (replace(RUNNING, name="site-1234"), LIVE, True),
        (replace(RUNNING, name="site-1234"), replace(LIVE, begun_at=NOW - 1), False),
        # The same name, but the session has ended before this job began; a session that has just
        # ended, and one that the engine has ended.
        (RUNNING, ENDED, False),
        (replace(RUNNING, state=JobState.PENDING, start_at=None), ENDED, False),
        (RUNNING, replace(LIVE, state="ended"), True),
        (replace(RUNNING, state=JobState.COMPLETED), replace(LIVE, state="ended"), True),
        # Folders of an earlier vizdash name neither app, time nor cluster.
        (RUNNING, Status("ready", job_id="1234"), True),
        (replace(RUNNING, name="md-production-run"), Status("ready", job_id="1234"), False),
        (replace(RUNNING, name="md-run", start_at=None), Status("ready", job_id="1234"), False),
    ],
)
async def test_a_job_with_a_folders_number_must_fit(
    job: Job, status: Status, *, fits: bool
) -> None:
    assert await session_of(job, status) == ("00000000" if fits else "")


async def test_of_several_folders_with_its_number_the_newest_that_fits_counts() -> None:
    waits = replace(RUNNING, state=JobState.PENDING, start_at=None)
    never_ran = Status(job_id="1234", app="gedit", submitted_at=NOW - DAY)
    new = replace(never_ran, submitted_at=NOW)
    assert await session_of(waits, ENDED, new, never_ran) == "00000001"
    elsewhere = replace(LIVE, cluster="other", updated_at=NOW + DAY)
    assert await session_of(RUNNING, never_ran, elsewhere, LIVE, ENDED) == "00000002"


async def test_a_renamed_job_is_recognised_by_its_submission_or_its_start() -> None:
    submitted = Status(job_id="1234", app="gedit", submitted_at=NOW)
    store = MemoryStore(known={"00000000": submitted})
    job = replace(RUNNING, name="site-1234", state=JobState.PENDING, submit_at=NOW + 2)
    (found,) = await SessionIdentifier(store).identify([job], "alice", "viz")
    assert decode(found.comment) is not None
    # Without the time of the submission, once its folder says that it runs.
    store.known["00000000"] = replace(submitted, submitted_at=0)
    who = SessionIdentifier(store)
    (found,) = await who.identify([job], "alice", "viz")
    assert decode(found.comment) is None
    store.known["00000000"] = LIVE
    (found,) = await who.identify([replace(job, state=JobState.RUNNING)], "alice", "viz")
    assert decode(found.comment) is not None


async def test_a_number_that_becomes_another_jobs_is_judged_again() -> None:
    who = SessionIdentifier(MemoryStore(known={"00000000": LIVE}))
    (found,) = await who.identify([RUNNING], "alice", "viz")
    assert decode(found.comment) is not None
    other = replace(RUNNING, name="md-production-run", start_at=NOW + DAY)
    (found,) = await who.identify([other], "alice", "viz")
    assert decode(found.comment) is None
