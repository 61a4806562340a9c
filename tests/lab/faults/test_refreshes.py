"""Eight hours of a dashboard in a minute: nothing of it grows."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from dataclasses import astuple, dataclass, field
from pathlib import Path

import pytest

from tests.fakes import MemoryStore, service_on
from tests.lab.faults.fault import BOUND_S, Fault, Record, measuring
from tests.lab.faults.scene import rows
from tests.processes import lasting
from tests.unit.engines.slurm_replay import VERSIONS, Recording, Replay
from vizdash.engines.slurm import SlurmEngine
from vizdash.service.poller import Poller
from vizdash.transport import Command, Result
from vizdash.transport.base import CommandRunner
from vizdash.transport.local import LocalRunner
from vizdash.transport.recorder import Recorder
from vizdash.ui.app import VizdashApp

#: Refreshes in eight hours, and how many pass before the first count.
HOURS_8, WARM = 8 * 3600 // 10, 400
#: One command of so many starts a program.
_REAL = 20
_SLURM = {"squeue", "scontrol", "sacct"}


@dataclass
class RecordedSlurm(CommandRunner):
    """Slurm's recorded answers; every second list of jobs is empty, so that rows come and go."""

    replay: Replay
    local: LocalRunner = field(default_factory=LocalRunner)
    count: int = 0
    lists: int = 0

    async def run(self, command: Command) -> Result:
        self.count += 1
        self.replay.commands.clear()
        if not _SLURM & {*command.argv}:
            return Result(1, "", "no such file")
        result = await self.replay.run(command)
        if self.count % _REAL == 0:
            with lasting():  # tests/processes.py lists the others, which would grow
                await self.local.run(Command(("true",)))
        if "squeue" in command.argv:
            self.lists += 1
            return Result(0, "", "") if self.lists % 4 > 1 else result
        return result

    def has(self, program: str) -> bool:
        return True


@dataclass(frozen=True)
class Footprint:
    """What this process holds."""

    objects: int
    resident_kib: int
    descriptors: int
    tasks: int
    threads: int
    children: int

    @classmethod
    def now(cls) -> Footprint:
        """Count it."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        return cls(
            objects=len(gc.get_objects()),
            resident_kib=pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            descriptors=len(os.listdir("/proc/self/fd")),
            tasks=len(asyncio.all_tasks()),
            threads=threading.active_count(),
            children=len(children),
        )


@pytest.mark.parametrize("fault", rows("eight hours of refreshes"))
async def test_nothing_grows(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    real_time, taken = time.time, 0
    monkeypatch.setattr(time, "time", lambda: real_time() + 10 * taken)
    monkeypatch.setattr(Poller, "pause_s", lambda poller: 0.0)
    runner = RecordedSlurm(Replay(Recording(VERSIONS[-1])))
    recorder = Recorder(runner)
    engine = SlurmEngine(recorder, user="alice")
    app = VizdashApp(service_on(engine, runner=recorder, store=MemoryStore()))
    show = app._poller._on_snapshot

    def count(snapshot: object) -> None:
        nonlocal taken
        taken += 1
        show(snapshot)  # type: ignore[arg-type]

    app._poller._on_snapshot = count

    async def pass_until(number: int) -> None:
        deadline = time.monotonic() + 4 * BOUND_S
        while taken < number:
            assert time.monotonic() < deadline, f"{taken} refreshes"
            assert not app.state.failure, app.state.failure
            await asyncio.sleep(0.01)

    async def least(number: int) -> Footprint:
        """The least of several moments from a refresh on: in others, a redraw is under way."""
        moments = []
        for more in range(0, 200, 20):
            await pass_until(number + more)
            moments.append(astuple(Footprint.now()))
        return Footprint(*map(min, zip(*moments, strict=True)))

    with measuring(fault, record_property):
        async with app.run_test(size=(160, 48)):
            before = await least(WARM)
            after = await least(WARM + HOURS_8)
    print(before, after)
    # A day of samples is kept, one a minute. What is left behind by each refresh would be more.
    assert after.objects < before.objects + 8 * 60 + HOURS_8 // 2
    assert after.resident_kib < before.resident_kib + 20 * 1024
    assert after.descriptors <= before.descriptors + 3
    assert after.tasks <= before.tasks + 3
    assert after.threads <= before.threads + 3
    assert after.children <= before.children + 1
