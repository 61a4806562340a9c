"""What an operator does with images, on nodes that are folders: vizdash's own facade over the
nodes of nodes.py, without Slurm. Run as a program it is one operator, who may be killed.
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
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tests.integration.images.nodes import ROOT
from vizdash.config import App, Cluster, Config, Deploy
from vizdash.images import audit, inventory
from vizdash.images.matrix import collect
from vizdash.images.progress import Progress
from vizdash.images.shell import NodeShell
from vizdash.imaging import Imaging
from vizdash.model import Matrix, Node
from vizdash.service import Service
from vizdash.transport.base import Command, Pipe, Result
from vizdash.transport.local import LocalRunner

SIZE = 40 << 10


def image_bytes(version: str, *, size: int = SIZE) -> bytes:
    """A SIF file with a squashfs partition, as far as vizdash reads it."""
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


class Counting:
    """Runs commands here. ``before`` is called with the number of each before it begins, ``after``
    when it is over.
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


class Yard:
    """One operator's vizdash. ``told`` is what it said to them."""

    def __init__(self, folder: Path, nodes: Sequence[str], runner: Counting | None = None) -> None:
        self.folder = folder
        self.nodes = tuple(nodes)
        self.told: list[str] = []
        self.runner = runner or Counting()
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
        #: What Slurm says of each node.
        self.states = dict.fromkeys(nodes, "IDLE")

        async def snapshot(**_: object) -> SimpleNamespace:
            return SimpleNamespace(nodes=tuple(Node(*pair) for pair in self.states.items()))

        async def info() -> SimpleNamespace:
            return SimpleNamespace(cluster="viz")

        async def sessions(**_: object) -> tuple[()]:
            return ()

        async def look(nodes: Sequence[Node], **how: bool) -> Matrix:
            known = await inventory.read(self.shell, inventory.path_of(cluster))
            names = [n.name for n in nodes]
            return await collect(self.shell, names, ROOT, inventory=known, **how)  # type: ignore[arg-type]

        service = SimpleNamespace(
            config=config,
            remote=None,
            engine=SimpleNamespace(name="slurm"),
            images=SimpleNamespace(shell=self.shell, look=look, forget=lambda: None),
            snapshot=snapshot,
            info=info,
            sessions=sessions,
            app=config.apps.__getitem__,
            apps=lambda: tuple(config.apps.values()),
        )
        self.imaging = Imaging(cast("Service", service), self.told.append)

    def build(self, version: str, app: str = "gedit") -> Path:
        file = self.folder / f"store/{app}/{app}-{version}.sif"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(version))
        return file

    async def deploy(
        self, version: str, *nodes: str, app: str = "gedit", **how: object
    ) -> Progress:
        plan = await self.imaging.plan(app, version=version, nodeset=",".join(nodes))
        return await self.imaging.deploy(
            plan, agreed=True, tell=lambda row: None, **how  # type: ignore[arg-type]
        )  # fmt: skip

    async def rollback(self, *nodes: str) -> Progress:
        nodeset = ",".join(nodes)
        view = await self.imaging.view(nodeset)
        plan = await self.imaging.rollback_plan("gedit", view.matrix)
        return await self.imaging.rollback(plan, lambda row: None, all_nodes=not nodes)

    async def prune(self, keep: int) -> Progress:
        pruning = await self.imaging.prunable("gedit", keep)
        return await self.imaging.prune(pruning, lambda row: None)

    def history(self) -> tuple[audit.Event, ...]:
        log = str(self.folder / "log/images.jsonl")
        return audit.history(log, own=self.folder / "no-log").events


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    """FOLDER NODES VERB WORD NODESET KILL: killed when the command KILL begins, or where that is
    negative, when it is over.
    """
    folder, nodes, verb, word, nodeset, kill = sys.argv[1:]
    at = int(kill)

    def die(number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    runner = Counting(
        before=lambda n: die(n) if n == at else None, after=lambda n: die(n) if n == -at else None
    )
    yard = Yard(Path(folder), nodes.split(","), runner)
    chosen = nodeset.split(",") if nodeset else []
    if verb == "deploy":
        asyncio.run(yard.deploy(word, *chosen))
    else:
        asyncio.run(yard.rollback(*chosen))


if __name__ == "__main__":
    main()
