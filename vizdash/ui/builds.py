"""The builds that this dashboard runs: they go on while their screens are left."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vizdash.building import Building
from vizdash.errors import VizdashError
from vizdash.images.build import BuildFailed, BuildRequest, Plan, Progress
from vizdash.images.store import Built

#: Lines of a build's log that a screen can go back to; all of them are in the log's file.
_KEPT = 5000


@dataclass(slots=True)
class Build:
    """One build and what it has come to. ``phases`` are those gone through, in order, with the
    seconds that each took; ``clock`` gives monotonic seconds.
    """

    plan: Plan
    clock: Callable[[], float] = time.monotonic
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    said: int = 0
    phase: str = "start"
    phases: dict[str, float] = field(default_factory=dict)
    copied: tuple[int, int] = (0, 0)
    built: Built | None = None
    error: VizdashError | None = None
    cancelled: bool = False
    began: float = 0.0
    since: float = 0.0
    ended: float | None = None

    def __post_init__(self) -> None:
        self.began = self.since = self.clock()

    @property
    def running(self) -> bool:
        """Whether it still has something to do."""
        return self.ended is None

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began, to its end."""
        return (self.clock() if self.ended is None else self.ended) - self.began

    @property
    def phase_s(self) -> float:
        """Seconds in the phase it is in."""
        return (self.clock() if self.ended is None else self.ended) - self.since

    @property
    def command(self) -> str:
        """The command of %post that failed."""
        return self.error.failure.command if isinstance(self.error, BuildFailed) else ""

    def take(self, progress: Progress) -> None:
        """Something was reported."""
        if progress.phase != self.phase:
            now = self.clock()
            self.phases[self.phase] = self.phases.get(self.phase, 0.0) + now - self.since
            self.phase, self.since = progress.phase, now
        if progress.line is not None:
            self.lines.append(progress.line)
            self.said += 1
        if progress.total_bytes:
            self.copied = (progress.done_bytes, progress.total_bytes)

    def end(self) -> None:
        """It is over."""
        now = self.clock()
        self.phases[self.phase] = self.phases.get(self.phase, 0.0) + now - self.since
        self.ended = now


class Builds:
    """Runs builds as tasks of their own. ``tell`` is called when one ends."""

    def __init__(self, building: Building, tell: Callable[[Build], None]) -> None:
        self.building = building
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._builds: dict[str, Build] = {}

    @property
    def running(self) -> int:
        """How many run."""
        return sum(build.running for build in self._builds.values())

    @property
    def going(self) -> tuple[str, ...]:
        """App and version of those that run."""
        running = (build.plan for build in self._builds.values() if build.running)
        return tuple(f"{plan.app} {plan.version}" for plan in running)

    def of(self, app: str) -> Build | None:
        """The latest build of an app."""
        return self._builds.get(app)

    def latest_running(self) -> Build | None:
        """The one that began last among those that run."""
        running = [build for build in self._builds.values() if build.running]
        return max(running, key=lambda build: build.began, default=None)

    async def begin(self, request: BuildRequest) -> Build:
        """Check it and start it. Raises VizdashError when it can't begin."""
        before = self._builds.get(request.app)
        if before is not None and before.running:
            return before
        build = Build(await self.building.prepare(request))
        self._builds[request.app] = build
        self._tasks[request.app] = asyncio.create_task(self._run(build))
        return build

    async def _run(self, build: Build) -> None:
        try:
            build.built = await self.building.build(build.plan, build.take)
        except VizdashError as e:
            build.error = e
        except asyncio.CancelledError:
            build.cancelled = True
        finally:  # else it would count for ever, and no other could be begun
            build.end()
            self._tell(build)

    def cancel(self, build: Build) -> None:
        """End it; ``running`` tells when all of it has ended."""
        if build.running:
            self._tasks[build.plan.app].cancel()

    async def close(self) -> None:
        """End all of them, and wait for that."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
