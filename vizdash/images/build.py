"""Builds an image: planned and checked here, run by assets/jobs/build.sh on the build host.

The build runs in a locked work folder. Only after the digest has been compared and the metadata
read does the image get its final name, by link(2).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shlex
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vizdash.config import Cluster
from vizdash.errors import Refused, UsageError, VizdashError, last_line
from vizdash.images import build_history, definition, sif
from vizdash.images.audit_log import real_user
from vizdash.images.build_hosts import BuildHost, find_build_host
from vizdash.images.build_output import BuildFailure, BuildOutput
from vizdash.images.image_store import BuiltImage, ImageStore
from vizdash.transport import child
from vizdash.transport.local import Stream, Streamer
from vizdash.util.assets import job_script

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CHUNK = 1 << 20
#: Seconds within which a shared file system must show what a job wrote.
_VISIBLE_S = 20.0
#: Seconds for the last of stderr when the copying command has ended.
_STDERR_S = 2.0


class BuildFailed(VizdashError):
    """A build that produced no image; ``failure`` has the last lines of its log."""

    def __init__(self, what: str, failure: BuildFailure, log: str) -> None:
        self.failure = failure
        self.log = log
        super().__init__(what, failure.why, failure.fix or f"the log: {log}")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build.

    An empty ``where`` means the build host of the configuration. ``replace`` allows replacing the
    same version in the store; on nodes, a version is never replaced.
    """

    app: str
    version: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    replace: bool = False


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A build that has been checked and can start.

    ``sources`` are the files that it copies from beside its definition file; ``last`` is the app's
    last successful build.
    """

    app: str
    version: str
    host: BuildHost
    definition: definition.Definition
    text: str
    arguments: Mapping[str, str]
    options: tuple[str, ...]
    tmpdir: str
    store: ImageStore
    replace: bool = False
    sources: tuple[str, ...] = ()
    last: build_history.BuildRun | None = None


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """The state of a running build.

    ``line`` is a new line of its log, ``phase`` one of build_output.PHASES. In the phase ``copy``,
    ``done_bytes`` of ``total_bytes`` have been copied.
    """

    phase: str
    line: str | None = None
    done_bytes: int = 0
    total_bytes: int = 0


OnBuildProgress = Callable[[BuildProgress], None]


def plan_build(
    request: BuildRequest, cluster: Cluster, store: ImageStore, *, slurm: bool
) -> BuildPlan:
    """Check all that can be checked before a build. Raises UsageError, NotFound, Refused."""
    build = cluster.build
    def_file = definition.find_definition(request.app, build.definitions)
    version = request.version or request.arguments.get("version", "") or def_file.version
    if not version:
        raise UsageError(f"{request.app}.def", "it names no version", "--version 1.0")
    image = store.image_path(request.app, version)
    if image.exists() and not request.replace:
        why = f"{image} exists, and versions are never overwritten"
        raise Refused(
            f"{request.app} {version}", why, f"--version {_suggest_version(version)}, or --replace"
        )
    arguments = {k: v for k, v in build.arguments.items() if k in def_file.arguments}
    arguments |= request.arguments
    for name in arguments:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--arg {name!r}", "not a valid name of a build argument")
    if "version" in def_file.arguments:
        arguments["version"] = version
    where = request.where or build.where
    host = find_build_host(where, cluster, request.app, slurm=slurm)
    if host.name == "here" and arguments.get("bootstrap") == "localimage":
        base = def_file.path.parent / arguments.get("base", "")
        if not base.exists():
            raise UsageError(f"base {base}", "no such file", "see build.arguments in the config")
    sources = def_file.sources(arguments)
    definition.check_sources(sources, def_file.path.parent)
    return BuildPlan(
        app=request.app,
        version=version,
        host=host,
        definition=def_file,
        text=def_file.with_labels(_labels(def_file, request.app, version)),
        arguments=arguments,
        options=build.options,
        tmpdir=build.tmpdir,
        store=store,
        replace=request.replace,
        sources=sources,
        last=build_history.last_successful(request.app),
    )


def _labels(def_file: definition.Definition, app: str, version: str) -> dict[str, str]:
    return {
        "Version": version,
        "vizdash.app": app,
        "vizdash.version": version,
        "vizdash.definition": def_file.path.name,
        "vizdash.definition.sha256": def_file.digest,
        "vizdash.built-by": real_user(),
    }


def _suggest_version(version: str) -> str:
    """Suggest the next version: 1.1 after 1.0."""
    match = re.fullmatch(r"(.*?)(\d+)", version)
    return f"{match[1]}{int(match[2]) + 1}" if match else f"{version}.1"


async def run_build(plan: BuildPlan, streamer: Streamer, report: OnBuildProgress) -> BuiltImage:
    """Build the image. Raises BuildFailed; when cancelled, stops all its processes first."""
    plan.store.remove_stale_work(plan.app)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(plan.store.work_folder(plan.app))
        try:
            log = stack.enter_context(
                build_history.start_run(plan.app, plan.version, plan.host.name)
            )
        except OSError as e:
            raise Refused("the build's log", e.strerror or str(e)) from e
        task = _ActiveBuild(plan, work, log, report)
        try:
            built = await task.run(streamer)
        except BaseException as e:
            cancelled = isinstance(e, asyncio.CancelledError)
            why = e.why if isinstance(e, VizdashError) else str(e)
            log.update(outcome="cancelled" if cancelled else "failed", why=why, **task.durations())
            raise
        log.update(outcome="ok", **task.durations())
        return built


class _ActiveBuild:
    """One running build."""

    def __init__(
        self, plan: BuildPlan, work: Path, log: build_history.BuildRunLog, report: OnBuildProgress
    ) -> None:
        self.plan = plan
        self.work = work
        self.log = log
        self.report = report
        self.reader = BuildOutput()
        self.host = socket.gethostname()
        self._mark = f"vizdash-{secrets.token_hex(8)}"
        self._began = time.monotonic()
        self._since = self._began
        self._phase = "start"
        self._phases: dict[str, float] = {}

    def durations(self) -> dict[str, object]:
        """The duration of the build in seconds, in total and by phase."""
        self._enter(self._phase)
        return {"duration_s": round(time.monotonic() - self._began), "phases": self._phases}

    def _enter(self, phase: str) -> None:
        now = time.monotonic()
        spent = self._phases.get(self._phase, 0.0) + now - self._since
        self._phases[self._phase] = round(spent, 1)
        self._phase, self._since = phase, now

    def _begin(self, phase: str) -> None:
        self._enter(phase)
        self.report(BuildProgress(phase))

    def _script(self) -> str:
        plan = self.plan
        words = [w for k, v in plan.arguments.items() for w in ("--build-arg", f"{k}={v}")]
        here = plan.host.name == "here"
        folder = plan.definition.path.parent
        files = "" if here else definition.pack_sources(plan.sources, folder)
        values = {
            "mark": self._mark,
            "definition": plan.text,
            "name": plan.definition.path.name,
            "result": str(self.work / "image.sif") if plan.host.sees_store else "",
            "folder": str(folder) if here else "",
            "bytes": str(len(files)),
            "tmpdir": plan.tmpdir,
        }
        lines = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
        for key, entries in (("arguments", words), ("options", plan.options)):
            lines.append(f"{key}=({shlex.join(entries)})")
        script = job_script("build.sh").read_text(encoding="utf-8")
        return "\n".join([*lines, script]) + files

    async def run(self, streamer: Streamer) -> BuiltImage:
        """Run the build until the image has its final name. Raises BuildFailed."""
        self.report(BuildProgress("start"))
        script = await asyncio.to_thread(self._script)
        stream = await streamer.open(self.plan.host.argv, script)
        finishing: asyncio.Task[int] | None = None
        try:
            result = await self._follow(stream)
            if result is None:
                finishing = asyncio.create_task(stream.finish())
                code = await asyncio.shield(finishing)
                raise self._failed(self.reader.explain_failure(code))
            return await self._publish(*result)
        finally:
            await asyncio.shield(finishing or asyncio.create_task(stream.finish()))

    async def _follow(self, stream: Stream) -> tuple[str, int, str] | None:
        """Read the log to its end; digest, size and path of the image, or None without an image."""
        async for line in _drop_mark_gaps(stream.lines(), self._mark):
            if not line.startswith(f"{self._mark} "):
                self._log(line)
                continue
            word, _, rest = line[len(self._mark) + 1 :].partition(" ")
            if word == "at":
                self.host = rest.split(" ")[0]
            elif word == "built":
                digest, size, path = rest.split(" ", 2)
                return digest, int(size), path
            elif word == "ended":  # the rest is output of ssh or srun
                return None
            elif word == "failed":
                self._log(f"FATAL:   {rest}")
            elif word == "left":
                self._log(f"WARNING: {rest} could not be removed on {self.host}")
        return None

    def _log(self, line: str) -> None:
        self.log.write(line)
        if phase := self.reader.feed(line):
            self._enter(phase)
        self.report(BuildProgress(self._phase, line))

    async def _publish(self, digest: str, size: int, path: str) -> BuiltImage:
        plan = self.plan
        image = self.work / "image.sif"
        if plan.host.sees_store:
            await self._wait_until_visible(image, size)
        else:
            await self._fetch(path, image, size)
        self._begin("check")
        if await asyncio.to_thread(sif.digest, image) != digest:
            raise self._failed(
                BuildFailure("the image differs from what the build wrote", "build it again")
            )
        info = await asyncio.to_thread(sif.read, image)
        if info.problem or info.version != plan.version:
            why = info.problem or f"its label says version {info.version!r}"
            raise self._failed(BuildFailure(why, "see %labels in the definition file"))
        built = BuiltImage(
            app=plan.app,
            version=plan.version,
            path=str(plan.store.image_path(plan.app, plan.version)),
            digest=digest,
            size_bytes=size,
            arch=info.arch,
            definition=str(plan.definition.path),
            definition_digest=plan.definition.digest,
            built_by=real_user(),
            built_on=self.host,
            built_at=int(time.time()),
            duration_s=round(time.monotonic() - self._began),
            log=self.log.run.log,
        )
        await asyncio.to_thread(plan.store.publish, image, built, replace=plan.replace)
        return built

    async def _wait_until_visible(self, image: Path, size: int) -> None:
        """Wait for a shared file system to show the image, which may take seconds."""
        deadline = time.monotonic() + _VISIBLE_S
        while not (image.exists() and image.stat().st_size == size):
            if time.monotonic() > deadline:
                why = f"{self.host} wrote {image}, which is not visible here"
                raise self._failed(BuildFailure(why, "image_store must be on a shared file system"))
            await asyncio.sleep(0.5)

    async def _fetch(self, path: str, image: Path, size: int) -> None:
        """Copy the image from the host that built it."""
        self._begin("copy")
        argv = (*self.plan.host.reader, f"exec cat {shlex.quote(path)}")
        process = await child.start(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,  # sshd's banner must not reach the terminal
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        stderr = asyncio.create_task(process.stderr.read())
        done = 0
        try:
            with image.open("wb") as file:
                while data := await process.stdout.read(_CHUNK):
                    await asyncio.to_thread(file.write, data)
                    done += len(data)
                    self.report(BuildProgress("copy", None, done, size))
                file.flush()
                os.fsync(file.fileno())
            await process.wait()
        finally:
            await asyncio.shield(child.end_group(process))
            # A ProxyCommand that keeps running may hold stderr open.
            await asyncio.wait({stderr}, timeout=_STDERR_S)
            await asyncio.shield(process.close())
            error = last_line((await stderr).decode(errors="replace"))
        if done != size:
            why = f"{done} of {size} bytes came from {self.host}"
            raise self._failed(BuildFailure(f"{why}: {error}" if error else why, "run it again"))

    def _failed(self, failure: BuildFailure) -> BuildFailed:
        what = f"{self.plan.app} {self.plan.version} was not built"
        return BuildFailed(what, failure, self.log.run.log)


async def _drop_mark_gaps(lines: AsyncIterator[str], mark: str) -> AsyncIterator[str]:
    """Drop the empty line that the script prints before each mark."""
    empty = False
    async for line in lines:
        if empty and not line.startswith(f"{mark} "):
            yield ""
        empty = line == ""
        if not empty:
            yield line
