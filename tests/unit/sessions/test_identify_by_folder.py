"""Your own jobs whose comments do not name their sessions."""

from __future__ import annotations

from tests.fakes import MemoryStore
from vizdash.model import Job, JobState
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.folder import Status
from vizdash.sessions.listing import SessionIdentifier


def store_of(**sessions: str) -> MemoryStore:
    """Folders of sessions of gedit, by job (``job5``)."""
    jobs = {job.removeprefix("job"): id for job, id in sessions.items()}
    status = Status(app="gedit", image_version="2.0", legacy=True)
    return MemoryStore(known=dict.fromkeys(jobs.values(), status), jobs=jobs)


def job(number: int, comment: str = "", user: str = "alice", name: str = "vizdash-gedit") -> Job:
    return Job(str(number), user, name, JobState.PENDING, comment=comment)


async def test_the_folder_names_them() -> None:
    store = store_of(job5="0000abcd", job6="0000dcba")
    who = SessionIdentifier(store)
    claimed = encode(Claim("00000007", "desktop"))
    jobs = [job(5, "project=4711"), job(6, user="bob"), job(7, claimed), job(8), job(9, name="x")]
    found = await who.identify(jobs, "alice")
    assert decode(found[0].comment) == Claim("0000abcd", "gedit", "2.0", "pending", "legacy")
    assert found[1:] == tuple(jobs[1:])


async def test_folders_are_read_again_only_for_what_may_be_a_session() -> None:
    store = store_of(job5="0000abcd")
    who = SessionIdentifier(store)
    jobs = [job(5), job(9, name="analysis")]
    for _ in range(3):
        found = await who.identify(jobs, "alice")
        assert decode(found[0].comment)
    assert store.by_job_reads == 1
    # Submitted a moment ago: its folder does not name the job yet.
    jobs.append(job(10))
    for _ in range(2):
        assert decode((await who.identify(jobs, "alice"))[2].comment) is None
    store.jobs["10"] = "00000010"
    store.known["00000010"] = Status(app="gedit")
    assert decode((await who.identify(jobs, "alice"))[2].comment)
    assert store.by_job_reads == 4
    assert decode((await who.identify(jobs, "alice"))[2].comment)
    assert store.by_job_reads == 4
