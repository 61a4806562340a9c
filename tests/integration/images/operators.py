"""An operator who manages images on nodes that are folders (folder_nodes.py), without Slurm.

It uses vizdash's own ImageAdmin. Run as a program, it is one operator, who may be killed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tests.fakes import FakeEngine, service_on
from tests.integration.images.folder_nodes import ROOT
from vizdash.config import App, Cluster, Config, Deploy
from vizdash.images import audit_log
from vizdash.images.node_script import NodeShell
from vizdash.images.progress import ChangeProgress
from vizdash.model import Node
from vizdash.service.image_admin import ImageAdmin
from vizdash.transport.base import Command, Pipe, Result
from vizdash.transport.local import LocalRunner

SIZE = 40 << 10


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an image is what its recorded digest says."""

    node: str
    version: str
    good: bool


def image_bytes(version: str, *, size: int = SIZE) -> bytes:
    """Return a SIF file with a squashfs partition, as far as vizdash reads it."""
    begin = 32768
    header = struct.pack(
        "<32s10s3s3s16s8q", b"#!/usr/bin/env run-singularity\n", b"SIF_MAGIC\0", b"01\0",
        b"02\0", b"", 0, 0, 47, 48, 4096, 28080, begin, size - begin,
    )  # fmt: skip
    entry = struct.pack(
        "<iBIII7q128s384s", 0x4004, 1, 1, 0xF0000001, 0, begin, size - begin, size - begin,
        0, 0, 0, 0, b"", struct.pack("<ii", 1, 2),
    )  # fmt: skip
    head = (header.ljust(4096, b"\0") + entry).ljust(begin, b"\0")
    squashfs = b"hsqs".ljust(40, b"\0") + struct.pack("<q", size - begin)
    data = head + squashfs.ljust(96, b"\0")
    return data + random.Random(version).randbytes(size - len(data))


class CountingRunner:
    """Runs commands on this machine, and counts them.

    ``before`` is called with the number of each command before it starts, ``after`` when it has
    ended.
    """

    def __init__(
        self,
        before: Callable[[int], object] = lambda n: None,
        after: Callable[[int], object] = lambda n: None,
    ) -> None:
        self._runner = LocalRunner()
        self._before, self._after = before, after
        self.count = 0

    async def _counted(self, running: Callable[[], object]) -> object:
        self.count += 1
        number = self.count
        waits = self._before(number)
        if asyncio.iscoroutine(waits):
            await waits
        try:
            return await running()  # type: ignore[misc]
        finally:
            self._after(number)

    async def run(self, command: Command) -> Result:
        return cast("Result", await self._counted(lambda: self._runner.run(command)))

    async def follow(self, command: Command, on_output: Callable[[str], None]) -> Result:
        follow = self._runner.follow
        return cast("Result", await self._counted(lambda: follow(command, on_output)))

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        return cast("Pipe", await self._counted(lambda: self._runner.pipe(argv)))

    def has(self, program: str) -> bool:
        return self._runner.has(program)


class Operator:
    """One operator's vizdash. ``messages`` are the lines that it showed them."""

    def __init__(
        self, folder: Path, nodes: Sequence[str], runner: CountingRunner | None = None
    ) -> None:
        self.folder = folder
        self.nodes = tuple(nodes)
        self.messages: list[str] = []
        self.runner = runner or CountingRunner()
        owner = f"{os.getuid()}:{os.getgid()}"
        deploying = Deploy(owner=owner, inventory=str(folder / "host/inventory.json"))
        cluster = Cluster(
            "viz",
            image_root=ROOT,
            image_store=str(folder / "store"),
            audit_log=str(folder / "log/images.jsonl"),
            deploy=deploying,
        )
        self.shell = NodeShell(self.runner, deploying)
        config = Config(cluster, {}, {"gedit": App("gedit"), "other": App("other")})
        #: The state of each node, as Slurm reports it.
        self.states = dict.fromkeys(nodes, "IDLE")

        self.engine = FakeEngine(on_call=self._refresh)
        service = service_on(self.engine, config=config, runner=self.runner)
        self.admin = ImageAdmin(service, self.messages.append)

    def _refresh(self, name: str) -> None:
        self.engine.all_nodes = tuple(Node(*pair) for pair in self.states.items())

    def build(self, version: str, app: str = "gedit") -> Path:
        file = self.folder / f"store/{app}/{app}-{version}.sif"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(version))
        return file

    async def deploy(
        self, version: str, *nodes: str, app: str = "gedit", **how: object
    ) -> ChangeProgress:
        plan = await self.admin.plan_deploy(app, version=version, nodeset=",".join(nodes))
        return await self.admin.deploy(
            plan, confirmed=True, on_change=lambda row: None, **how  # type: ignore[arg-type]
        )  # fmt: skip

    async def rollback(self, *nodes: str) -> ChangeProgress:
        nodeset = ",".join(nodes)
        view = await self.admin.overview(nodeset)
        plan = await self.admin.plan_rollback("gedit", view.matrix)
        return await self.admin.rollback(plan, lambda row: None, all_nodes=not nodes)

    async def prune(self, keep: int) -> ChangeProgress:
        plan = await self.admin.plan_prune("gedit", keep)
        return await self.admin.prune(plan, lambda row: None)

    async def verify(self) -> tuple[Verdict, ...]:
        view = await self.admin.overview()
        chosen = [i for i in view.matrix.images if not i.path.endswith("/gedit.sif")]
        results = await self.admin.verify(view.matrix, chosen, lambda text: None)
        return tuple(Verdict(v.image.node, v.image.version, v.good) for v in results)

    def history(self) -> tuple[audit_log.AuditEvent, ...]:
        log = str(self.folder / "log/images.jsonl")
        return audit_log.read_events(log, own=self.folder / "no-log").events


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """FOLDER NODES VERB WORD NODESET KILL: killed before command number KILL, or after it if
    negative.
    """
    folder, nodes, verb, word, nodeset, kill = sys.argv[1:]
    at = int(kill)

    def die(number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    runner = CountingRunner(
        before=lambda n: die(n) if n == at else None, after=lambda n: die(n) if n == -at else None
    )
    operator = Operator(Path(folder), nodes.split(","), runner)
    chosen = nodeset.split(",") if nodeset else []
    if verb == "deploy":
        asyncio.run(operator.deploy(word, *chosen))
    else:
        asyncio.run(operator.rollback(*chosen))


if __name__ == "__main__":
    main()
