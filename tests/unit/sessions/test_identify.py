"""Own jobs whose comments don't say which sessions they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from vizdash.model import Job, JobState
from vizdash.sessions.comment import Claim, decode, encode
from vizdash.sessions.folder import Status
from vizdash.sessions.identify import Identifier
from vizdash.sessions.store import SessionStore


@dataclass
class FakeStore:
    jobs: dict[str, str] = field(default_factory=dict)
    reads: int = 0

    async def by_job(self) -> Mapping[str, str]:
        self.reads += 1
        return dict(self.jobs)

    async def statuses(
        self, session_ids: Iterable[str], *, running: Collection[str] = ()
    ) -> Mapping[str, Status]:
        return {id: Status(app="gedit", image_version="2.0", legacy=True) for id in session_ids}


def job(number: int, comment: str = "", user: str = "alice", name: str = "vizdash-gedit") -> Job:
    return Job(str(number), user, name, JobState.PENDING, comment=comment)


async def test_the_folder_names_them() -> None:
    store = FakeStore({"5": "0000abcd", "6": "0000dcba"})
    who = Identifier(cast("SessionStore", store))
    claimed = encode(Claim("00000007", "desktop"))
    jobs = [job(5, "project=4711"), job(6, user="bob"), job(7, claimed), job(8), job(9, name="x")]
    found = await who.identify(jobs, "alice")
    assert decode(found[0].comment) == Claim("0000abcd", "gedit", "2.0", "pending", "legacy")
    assert found[1:] == tuple(jobs[1:])


async def test_folders_are_read_again_only_for_what_may_be_a_session() -> None:
    store = FakeStore({"5": "0000abcd"})
    who = Identifier(cast("SessionStore", store))
    jobs = [job(5), job(9, name="analysis")]
    for _ in range(3):
        found = await who.identify(jobs, "alice")
        assert decode(found[0].comment)
    assert store.reads == 1
    # Submitted a moment ago: its folder does not name the job yet.
    jobs.append(job(10))
    for _ in range(2):
        assert decode((await who.identify(jobs, "alice"))[2].comment) is None
    store.jobs["10"] = "00000010"
    assert decode((await who.identify(jobs, "alice"))[2].comment)
    assert store.reads == 4
    assert decode((await who.identify(jobs, "alice"))[2].comment)
    assert store.reads == 4
