"""The builds of this dashboard, which keep running while their screens are closed."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vizdash.errors import VizdashError
from vizdash.images.build import BuildFailed, BuildPlan, BuildProgress, BuildRequest
from vizdash.images.image_store import BuiltImage
from vizdash.service.builds import ImageBuilder

#: Lines of a build's log that its screen can scroll back to; the log file has all of them.
_MAX_LINES = 5000


@dataclass(slots=True)
class BackgroundBuild:
    """A build and its progress.

    ``phases`` are the finished phases in order, each with the seconds that it took; ``phase`` began
    at ``phase_began``. ``line_count`` counts all lines, also those that ``lines`` has dropped;
    ``copied`` is bytes done and bytes in total. ``clock`` gives monotonic seconds.
    """

    plan: BuildPlan
    clock: Callable[[], float] = time.monotonic
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_LINES))
    line_count: int = 0
    phase: str = "start"
    phases: dict[str, float] = field(default_factory=dict)
    copied: tuple[int, int] = (0, 0)
    built: BuiltImage | None = None
    error: VizdashError | None = None
    cancelled: bool = False
    began: float = 0.0
    phase_began: float = 0.0
    ended: float | None = None

    def __post_init__(self) -> None:
        self.began = self.phase_began = self.clock()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.ended is None

    @property
    def elapsed_s(self) -> float:
        """Seconds from its beginning to its end, or to now."""
        return (self.clock() if self.ended is None else self.ended) - self.began

    @property
    def phase_s(self) -> float:
        """Seconds in the current phase."""
        return (self.clock() if self.ended is None else self.ended) - self.phase_began

    @property
    def command(self) -> str:
        """The command of %post that failed."""
        return self.error.failure.command if isinstance(self.error, BuildFailed) else ""

    def record(self, progress: BuildProgress) -> None:
        """Record a line, a new phase or copied bytes."""
        if progress.phase != self.phase:
            now = self.clock()
            self.phases[self.phase] = self.phases.get(self.phase, 0.0) + now - self.phase_began
            self.phase, self.phase_began = progress.phase, now
        if progress.line is not None:
            self.lines.append(progress.line)
            self.line_count += 1
        if progress.total_bytes:
            self.copied = (progress.done_bytes, progress.total_bytes)

    def end(self) -> None:
        """Record the end of the build."""
        now = self.clock()
        self.phases[self.phase] = self.phases.get(self.phase, 0.0) + now - self.phase_began
        self.ended = now


class BackgroundBuilds:
    """Runs one build of each app at a time; ``on_end`` is called when one ends."""

    def __init__(self, builder: ImageBuilder, on_end: Callable[[BackgroundBuild], None]) -> None:
        self._builder = builder
        self._on_end = on_end
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._builds: dict[str, BackgroundBuild] = {}

    @property
    def running(self) -> int:
        """The number of builds that run."""
        return sum(build.running for build in self._builds.values())

    @property
    def running_names(self) -> tuple[str, ...]:
        """App and version of each build that runs."""
        running = (build.plan for build in self._builds.values() if build.running)
        return tuple(f"{plan.app} {plan.version}" for plan in running)

    def find(self, app: str) -> BackgroundBuild | None:
        """The latest build of an app."""
        return self._builds.get(app)

    def latest_running(self) -> BackgroundBuild | None:
        """The build that began last of those that run."""
        running = [build for build in self._builds.values() if build.running]
        return max(running, key=lambda build: build.began, default=None)

    async def begin(self, request: BuildRequest) -> BackgroundBuild:
        """Start a build, or return the one of its app that runs. Raises VizdashError."""
        before = self._builds.get(request.app)
        if before is not None and before.running:
            return before
        build = BackgroundBuild(await self._builder.plan_build(request))
        self._builds[request.app] = build
        self._tasks[request.app] = asyncio.create_task(self._run(build))
        return build

    async def _run(self, build: BackgroundBuild) -> None:
        try:
            build.built = await self._builder.build(build.plan, build.record)
        except VizdashError as e:
            build.error = e
        except asyncio.CancelledError:
            build.cancelled = True
        finally:  # else it would count as running for ever, and block the next one
            build.end()
            self._on_end(build)

    def cancel(self, build: BackgroundBuild) -> None:
        """Cancel a build; it is ``running`` until all of its processes have ended."""
        if build.running:
            self._tasks[build.plan.app].cancel()

    async def close(self) -> None:
        """Cancel all builds, and wait until they have ended."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
