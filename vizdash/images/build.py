"""Builds an image: prepared and checked here, run by assets/jobs/build.sh wherever it is to be.

Nothing has an image's name before it is whole: the build goes into a locked work folder, its
digest is compared, its metadata are read, and only then it gets its final name, by link(2).
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
from vizdash.images import context, definition, runs, sif
from vizdash.images.audit import person
from vizdash.images.buildlog import BuildLog, Failure
from vizdash.images.places import Place, place_of
from vizdash.images.store import Built, Store
from vizdash.resources import job_script
from vizdash.transport.stream import Stream, Streamer

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CHUNK = 1 << 20
#: Seconds that a shared file system gets to show what a job wrote.
_SEEN_S = 20.0


class BuildFailed(VizdashError):
    """A build that did not come to an image; ``failure`` has the log's last lines."""

    def __init__(self, what: str, failure: Failure, log: str) -> None:
        self.failure = failure
        self.log = log
        super().__init__(what, failure.why, failure.mend or f"the log: {log}")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build: ``where`` empty is the config's; ``replace`` lets it take the place of the
    same version in the store (nodes never get another file under one version).
    """

    app: str
    version: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A build that was checked and can begin. ``sources`` are files that it copies from beside its
    definition file; ``last`` is the app's last good one.
    """

    app: str
    version: str
    place: Place
    definition: definition.Definition
    text: str
    arguments: Mapping[str, str]
    options: tuple[str, ...]
    tmpdir: str
    store: Store
    replace: bool = False
    sources: tuple[str, ...] = ()
    last: runs.Run | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a build has come to. ``line`` is a new line of its log; ``phase`` one of
    buildlog.PHASES; ``done_bytes`` of ``total_bytes`` have been copied, in the phase ``copy``.
    """

    phase: str
    line: str | None = None
    done_bytes: int = 0
    total_bytes: int = 0


Report = Callable[[Progress], None]


def prepare(request: BuildRequest, cluster: Cluster, store: Store, *, slurm: bool) -> Plan:
    """Check everything that can be told before a build. Raises UsageError, NotFound, Refused."""
    build = cluster.build
    found = definition.find(request.app, build.definitions)
    version = request.version or request.arguments.get("version", "") or found.version
    if not version:
        raise UsageError(f"{request.app}.def", "it tells no version", "--version 1.0")
    image = store.image(request.app, version)
    if image.exists() and not request.replace:
        why = f"{image} is there already, and a version stays what it is"
        raise Refused(f"{request.app} {version}", why, f"--version {_next(version)}, or --replace")
    arguments = {k: v for k, v in build.arguments.items() if k in found.arguments}
    arguments |= request.arguments
    for name in arguments:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--arg {name!r}", "that is no name of a build argument")
    if "version" in found.arguments:
        arguments["version"] = version
    where = request.where or build.where
    place = place_of(where, cluster, request.app, slurm=slurm)
    if place.name == "here" and arguments.get("bootstrap") == "localimage":
        base = found.path.parent / arguments.get("base", "")
        if not base.exists():
            raise UsageError(f"base {base}", "no such file", "see build.arguments in the config")
    sources = found.sources(arguments)
    context.check(sources, found.path.parent)
    return Plan(
        app=request.app,
        version=version,
        place=place,
        definition=found,
        text=found.with_labels(_labels(found, request.app, version)),
        arguments=arguments,
        options=build.options,
        tmpdir=build.tmpdir,
        store=store,
        replace=request.replace,
        sources=sources,
        last=runs.last_good(request.app),
    )


def _labels(found: definition.Definition, app: str, version: str) -> dict[str, str]:
    return {
        "Version": version,
        "vizdash.app": app,
        "vizdash.version": version,
        "vizdash.definition": found.path.name,
        "vizdash.definition.sha256": found.digest,
        "vizdash.built-by": person(),
    }


def _next(version: str) -> str:
    """A version one higher, as a suggestion: 1.0 gives 1.1."""
    match = re.fullmatch(r"(.*?)(\d+)", version)
    return f"{match[1]}{int(match[2]) + 1}" if match else f"{version}.1"


async def run(plan: Plan, streamer: Streamer, report: Report) -> Built:
    """Build it. Raises BuildFailed; when cancelled, everything of the build is ended first."""
    plan.store.sweep(plan.app)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(plan.store.work(plan.app))
        try:
            log = stack.enter_context(runs.begin(plan.app, plan.version, plan.place.name))
        except OSError as e:
            raise Refused("the build's log", e.strerror or str(e)) from e
        task = _Build(plan, work, log, report)
        try:
            built = await task.run(streamer)
        except BaseException as e:
            cancelled = isinstance(e, asyncio.CancelledError)
            why = e.why if isinstance(e, VizdashError) else str(e)
            log.update(outcome="cancelled" if cancelled else "failed", why=why, **task.times())
            raise
        log.update(outcome="ok", **task.times())
        return built


class _Build:
    """One build's course."""

    def __init__(self, plan: Plan, work: Path, log: runs.RunLog, report: Report) -> None:
        self.plan = plan
        self.work = work
        self.log = log
        self.report = report
        self.reader = BuildLog()
        self.host = socket.gethostname()
        self._mark = f"vizdash-{secrets.token_hex(8)}"
        self._began = time.monotonic()
        self._since = self._began
        self._phase = "start"
        self._phases: dict[str, float] = {}

    def times(self) -> dict[str, object]:
        """How long it took, in whole and by phase."""
        self._enter(self._phase)
        return {"duration_s": round(time.monotonic() - self._began), "phases": self._phases}

    def _enter(self, phase: str) -> None:
        now = time.monotonic()
        spent = self._phases.get(self._phase, 0.0) + now - self._since
        self._phases[self._phase] = round(spent, 1)
        self._phase, self._since = phase, now

    def _begin(self, phase: str) -> None:
        self._enter(phase)
        self.report(Progress(phase))

    def _script(self) -> str:
        plan = self.plan
        words = [w for k, v in plan.arguments.items() for w in ("--build-arg", f"{k}={v}")]
        here = plan.place.name == "here"
        folder = plan.definition.path.parent
        files = "" if here else context.pack(plan.sources, folder)
        values = {
            "mark": self._mark,
            "definition": plan.text,
            "name": plan.definition.path.name,
            "result": str(self.work / "image.sif") if plan.place.sees_store else "",
            "folder": str(folder) if here else "",
            "bytes": str(len(files)),
            "tmpdir": plan.tmpdir,
        }
        lines = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
        for key, entries in (("arguments", words), ("options", plan.options)):
            lines.append(f"{key}=({shlex.join(entries)})")
        script = job_script("build.sh").read_text(encoding="utf-8")
        return "\n".join([*lines, script]) + files

    async def run(self, streamer: Streamer) -> Built:
        """To the image under its final name, or to BuildFailed."""
        self.report(Progress("start"))
        script = await asyncio.to_thread(self._script)
        stream = await streamer.open(self.plan.place.argv, script)
        finished = False
        try:
            told = await self._follow(stream)
            if told is None:
                finished = True
                code = await stream.finish()
                raise self._failed(self.reader.failure(code))
            return await self._take(*told)
        finally:
            if not finished:
                await asyncio.shield(stream.finish())

    async def _follow(self, stream: Stream) -> tuple[str, int, str] | None:
        """Read the log to its end: digest, size and path of the image; None when there's none."""
        async for line in _without_gaps(stream.lines(), self._mark):
            if not line.startswith(f"{self._mark} "):
                self._log(line)
                continue
            word, _, rest = line[len(self._mark) + 1 :].partition(" ")
            if word == "at":
                self.host = rest.split(" ")[0]
            elif word == "built":
                digest, size, path = rest.split(" ", 2)
                return digest, int(size), path
            elif word == "ended":  # what follows is ssh's or srun's talk
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
        self.report(Progress(self._phase, line))

    async def _take(self, digest: str, size: int, path: str) -> Built:
        plan = self.plan
        image = self.work / "image.sif"
        if plan.place.sees_store:
            await self._await_seen(image, size)
        else:
            await self._fetch(path, image, size)
        self._begin("check")
        if await asyncio.to_thread(sif.digest, image) != digest:
            raise self._failed(Failure("the image is not what the build wrote", "build it again"))
        info = await asyncio.to_thread(sif.read, image)
        if info.problem or info.version != plan.version:
            why = info.problem or f"its label says version {info.version!r}"
            raise self._failed(Failure(why, "see %labels in the definition file"))
        built = Built(
            app=plan.app,
            version=plan.version,
            path=str(plan.store.image(plan.app, plan.version)),
            digest=digest,
            size_bytes=size,
            arch=info.arch,
            definition=str(plan.definition.path),
            definition_digest=plan.definition.digest,
            built_by=person(),
            built_on=self.host,
            built_at=int(time.time()),
            duration_s=round(time.monotonic() - self._began),
            log=self.log.run.log,
        )
        await asyncio.to_thread(plan.store.publish, image, built, replace=plan.replace)
        return built

    async def _await_seen(self, image: Path, size: int) -> None:
        """What a job has just written may take seconds to show on a shared file system."""
        deadline = time.monotonic() + _SEEN_S
        while not (image.exists() and image.stat().st_size == size):
            if time.monotonic() > deadline:
                why = f"{self.host} wrote {image}, which is not seen here"
                raise self._failed(Failure(why, "image_store must lie on a shared file system"))
            await asyncio.sleep(0.5)

    async def _fetch(self, path: str, image: Path, size: int) -> None:
        """Copy the image from the host that built it."""
        self._begin("copy")
        argv = (*self.plan.place.reader, f"exec cat {shlex.quote(path)}")
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,  # a banner of sshd's must not get to the terminal
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        told = asyncio.create_task(process.stderr.read())
        done = 0
        try:
            with image.open("wb") as file:
                while data := await process.stdout.read(_CHUNK):
                    await asyncio.to_thread(file.write, data)
                    done += len(data)
                    self.report(Progress("copy", None, done, size))
                file.flush()
                os.fsync(file.fileno())
            await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await asyncio.shield(process.wait())
            said = last_line((await told).decode(errors="replace"))
        if done != size:
            why = f"{done} of {size} bytes came from {self.host}"
            raise self._failed(Failure(f"{why}: {said}" if said else why, "run it again"))

    def _failed(self, failure: Failure) -> BuildFailed:
        what = f"{self.plan.app} {self.plan.version} was not built"
        return BuildFailed(what, failure, self.log.run.log)


async def _without_gaps(lines: AsyncIterator[str], mark: str) -> AsyncIterator[str]:
    """The script puts a line's end before each mark: that empty line is not the log's."""
    empty = False
    async for line in lines:
        if empty and not line.startswith(f"{mark} "):
            yield ""
        empty = line == ""
        if not empty:
            yield line
