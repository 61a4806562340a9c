"""What a face of vizdash may do with builds: check, run, list, read their logs, tell history."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from vizdash.config import Cluster
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images import audit, build, runs
from vizdash.images.build import BuildRequest, Plan, Progress, Report
from vizdash.images.store import Built, Store, default_store
from vizdash.service import Service
from vizdash.transport.stream import LocalStreamer, Streamer


class Building:
    """Builds of one cluster's images. Methods raise VizdashError."""

    def __init__(self, service: Service, streamer: Streamer | None = None) -> None:
        self.service = service
        self._streamer = streamer or LocalStreamer()

    @property
    def cluster(self) -> Cluster:
        """Its settings, as they are in force."""
        return self.service.config.cluster

    @property
    def store(self) -> Store:
        """Where images wait for their deploy."""
        wanted = self.cluster.image_store
        return Store(Path(wanted).expanduser() if wanted else default_store())

    async def prepare(self, request: BuildRequest) -> Plan:
        """Check a build before it begins. Raises UsageError, NotFound or Refused."""
        if self.service.config.read_only:
            raise Refused("read-only", "this vizdash changes nothing", "start it without it")
        self.service.app(request.app)
        cluster, slurm = self.cluster, self.service.engine.name == "slurm"
        job = slurm and (request.where or cluster.build.where) == "job"
        if job and not (await self.service.info()).memory_tracked:
            cluster = replace(cluster, memory_request="none")
        return await asyncio.to_thread(build.prepare, request, cluster, self.store, slurm=slurm)

    async def build(self, plan: Plan, report: Report) -> Built:
        """Build, and note it in the audit log. Raises BuildFailed, or VizdashError where the log
        or the image can't be written; a cancelled call ends the build, with all it has started,
        before it returns.
        """
        for killed in await asyncio.to_thread(runs.settle, plan.app):
            event = audit.Event("build", plan.app, killed.version, node=killed.where)
            self._note(report, replace(event, outcome="interrupted", detail=killed.why))
        about = audit.Event("build", plan.app, plan.version, node=plan.place.name)
        try:
            built = await build.run(plan, self._streamer, report)
        except asyncio.CancelledError:
            self._note(report, replace(about, outcome="cancelled"))
            raise
        except VizdashError as e:
            self._note(report, replace(about, outcome="failed", detail=e.why))
            raise
        except BrokenPipeError:
            raise  # of whom we report to: a full disk is none
        except OSError as e:
            why = e.strerror or str(e)
            self._note(report, replace(about, outcome="failed", detail=why))
            mend = f"see room and rights in {plan.store.root} and {runs.folder(plan.app)}"
            raise VizdashError(f"{plan.app} {plan.version} was not built", why, mend) from e
        detail = f"from {plan.definition.path}"
        self._note(report, replace(about, digest=built.digest, detail=detail))
        return built

    def _note(self, report: Report, event: audit.Event) -> None:
        try:
            audit.record([replace(event, run=audit.new_run())], self.cluster.audit_log)
        except OSError as e:
            report(Progress("check", f"WARNING: the audit log took no note: {e}"))

    def versions(self, app: str) -> tuple[Built, ...]:
        """What the store has of an app, the newest last."""
        return self.store.versions(app)

    def past(self, app: str) -> tuple[runs.Run, ...]:
        """The user's own builds of an app, the latest first."""
        return runs.runs(app)

    def latest(self, app: str, version: str = "") -> runs.Run:
        """The latest build of an app (of that version). Raises NotFound."""
        return runs.find(app, version)

    def log_from(self, run: runs.Run, offset: int) -> tuple[runs.Run, str, int]:
        """The build as it is now, what its log has beyond ``offset`` bytes, and its end."""
        now = next((r for r in runs.runs(run.app) if r.id == run.id), run)
        try:
            with Path(run.log).open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(min(offset, end))
                text = file.read(end - min(offset, end))
        except OSError as e:
            raise NotFound(f"log of the build of {run.app}", e.strerror or str(e)) from e
        return now, text.decode("utf-8", "replace"), end

    async def history(self, app: str = "") -> audit.History:
        """Who did what to the images, the latest last."""
        return await asyncio.to_thread(audit.history, self.cluster.audit_log, app=app)
