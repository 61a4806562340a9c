"""Builds the images of one cluster: check, run, list, read logs and history."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from vizdash.config import Cluster
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images import audit_log, build, build_history
from vizdash.images.build import BuildPlan, BuildProgress, BuildRequest, OnBuildProgress
from vizdash.images.image_store import BuiltImage, ImageStore, default_store
from vizdash.service.service import Service
from vizdash.transport.local import LocalStreamer, Streamer


class ImageBuilder:
    """Builds images for one cluster. Methods raise VizdashError."""

    def __init__(self, service: Service, streamer: Streamer | None = None) -> None:
        self.service = service
        self._streamer = streamer or LocalStreamer()

    @property
    def cluster(self) -> Cluster:
        """The cluster's current settings."""
        return self.service.config.cluster

    @property
    def store(self) -> ImageStore:
        """The store of built images."""
        configured = self.cluster.image_store
        return ImageStore(Path(configured).expanduser() if configured else default_store())

    async def plan_build(self, request: BuildRequest) -> BuildPlan:
        """Check a build before it starts. Raises UsageError, NotFound or Refused."""
        if self.service.config.read_only:
            raise Refused("read-only", "this vizdash changes nothing", "start it without it")
        self.service.apps.find(request.app)
        cluster, slurm = self.cluster, self.service.engine.name == "slurm"
        job = slurm and (request.where or cluster.build.where) == "job"
        if job and not (await self.service.info()).memory_tracked:
            cluster = replace(cluster, memory_request="none")
        return await asyncio.to_thread(build.plan_build, request, cluster, self.store, slurm=slurm)

    async def build(self, plan: BuildPlan, report: OnBuildProgress) -> BuiltImage:
        """Build an image, and record it in the audit log.

        Raises BuildFailed, or VizdashError when the log or the image cannot be written. When
        cancelled, it stops all processes of the build before it returns.
        """
        for killed in await asyncio.to_thread(build_history.record_interrupted, plan.app):
            event = audit_log.AuditEvent("build", plan.app, killed.version, node=killed.where)
            self._record(report, replace(event, outcome="interrupted", detail=killed.why))
        about = audit_log.AuditEvent("build", plan.app, plan.version, node=plan.host.name)
        try:
            built = await build.run_build(plan, self._streamer, report)
        except asyncio.CancelledError:
            self._record(report, replace(about, outcome="cancelled"))
            raise
        except VizdashError as e:
            self._record(report, replace(about, outcome="failed", detail=e.why))
            raise
        except BrokenPipeError:
            raise  # our own output was closed: no disk is full
        except OSError as e:
            why = e.strerror or str(e)
            self._record(report, replace(about, outcome="failed", detail=why))
            logs = build_history.runs_folder(plan.app)
            fix = f"check free space and permissions of {plan.store.root} and {logs}"
            raise VizdashError(f"{plan.app} {plan.version} was not built", why, fix) from e
        detail = f"from {plan.definition.path}"
        self._record(report, replace(about, digest=built.digest, detail=detail))
        return built

    def _record(self, report: OnBuildProgress, event: audit_log.AuditEvent) -> None:
        try:
            audit_log.append_events(
                [replace(event, run=audit_log.new_run_id())], self.cluster.audit_log
            )
        except OSError as e:
            report(BuildProgress("check", f"WARNING: the audit log was not written: {e}"))

    def list_images(self, app: str) -> tuple[BuiltImage, ...]:
        """List the images of an app in the store, the newest last."""
        return self.store.list_images(app)

    def list_runs(self, app: str) -> tuple[build_history.BuildRun, ...]:
        """List the user's builds of an app, the latest first."""
        return build_history.list_runs(app)

    def latest_run(self, app: str, version: str = "") -> build_history.BuildRun:
        """Return the latest build of an app, or of that version of it. Raises NotFound."""
        return build_history.find_run(app, version)

    def read_log(
        self, run: build_history.BuildRun, offset: int
    ) -> tuple[build_history.BuildRun, str, int]:
        """Return the build's current record, its log from ``offset`` bytes on, and the log's
        size.
        """
        now = next((r for r in build_history.list_runs(run.app) if r.id == run.id), run)
        try:
            with Path(run.log).open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(min(offset, end))
                text = file.read(end - min(offset, end))
        except OSError as e:
            raise NotFound(f"log of the build of {run.app}", e.strerror or str(e)) from e
        return now, text.decode("utf-8", "replace"), end

    async def read_history(self, app: str = "") -> audit_log.AuditHistory:
        """Read the audit log, limited to ``app`` unless it is empty; the latest event last."""
        return await asyncio.to_thread(audit_log.read_events, self.cluster.audit_log, app=app)
