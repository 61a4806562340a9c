"""Why a node could not open a job's log: Slurm says only that it could not, so the node says it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import replace

from vizdash.engines.slurm import commands, jobdetails
from vizdash.engines.slurm.reasons import NO_LOG
from vizdash.errors import VizdashError
from vizdash.model import Job, Session
from vizdash.sessions.folder import job_record
from vizdash.sessions.infofile import NodeReader
from vizdash.sessions.store import SessionStore
from vizdash.transport.base import CommandRunner
from vizdash.transport.nodehosts import NodeHosts

#: Seconds that a list of sessions waits for the node's answer, and how many nodes are asked in one.
_WAIT_S = 8.0
_AT_ONCE = 4


class LogCauses:
    """What the nodes said, by job: each is asked once, as the user, and its answer goes into the
    session's folder, which hosts with another view of it can write.
    """

    def __init__(self, runner: CommandRunner, hosts: NodeHosts, store: SessionStore) -> None:
        self._runner = runner
        self._reader = NodeReader(runner, hosts, "ssh")  # no step of a job that has ended
        self._store = store
        self._known: dict[str, str] = {}

    async def explain(
        self, sessions: Iterable[Session], jobs: Collection[Job]
    ) -> tuple[Session, ...]:
        """``sessions``; those of the user's own that failed so say why, where the node said."""
        found = tuple(sessions)
        failed = {s.job_id: s for s in found if s.mine and s.error == NO_LOG}
        if not failed:
            return found
        asked = [j for j in jobs if j.id in failed.keys() - self._known.keys() and j.nodes]
        await asyncio.gather(*(self._ask(j, failed[j.id]) for j in asked[:_AT_ONCE]))
        return tuple(
            replace(s, error=self._known.get(s.job_id) or s.error) if s.job_id in failed else s
            for s in found
        )

    async def _ask(self, job: Job, session: Session) -> None:
        self._known[job.id] = ""
        try:
            async with asyncio.timeout(_WAIT_S):
                result = await self._runner.run(commands.show_job(job.id))
                path = jobdetails.job_log(result.stdout)
                why = await self._reader.unwritable(job, path) if path else ""
            self._known[job.id] = why
            kind = "legacy" if session.legacy else "vizdash"
            record = job_record(session.app, session.image_version, kind, job.id)
            if why:
                await self._store.write_record(session.id, f"{record}ERROR={why}\n")
        except (VizdashError, TimeoutError):
            return  # Slurm's own words stay
