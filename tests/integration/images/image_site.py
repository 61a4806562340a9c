"""Where the images of images_machine.py are: nodes, a store, and an operator's vizdash."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Protocol

import pytest

from tests.integration.images.folder_nodes import FolderNodes
from tests.integration.images.operators import CountingRunner, Operator, Verdict
from vizdash.errors import NotFound, Refused, VizdashError
from vizdash.images.audit_log import AuditEvent
from vizdash.images.progress import Phase


class Outcome(Protocol):
    """How a change ended on one node."""

    @property
    def phase(self) -> Phase: ...
    @property
    def note(self) -> str: ...


class Progress(Protocol):
    """How a change ended."""

    @property
    def nodes(self) -> Mapping[str, Outcome]: ...
    @property
    def failed(self) -> Sequence[Outcome]: ...


class ImageOperator(Protocol):
    """An operator; ``messages`` are the lines that vizdash showed."""

    messages: list[str]

    def build(self, version: str) -> object: ...
    async def deploy(
        self, version: str, *nodes: str, canary: str = "", smoke_test: bool = False
    ) -> Progress: ...
    async def rollback(self, *nodes: str) -> Progress: ...
    async def prune(self, keep: int) -> Progress: ...
    async def verify(self) -> Sequence[Verdict]: ...
    def history(self) -> Sequence[AuditEvent]: ...


class ImageSite(Protocol):
    """Nodes, a store, and an operator. ``smoke``: deploys run the smoke test."""

    smoke: bool
    lease: Path
    inventory: Path

    @property
    def operator(self) -> ImageOperator: ...
    def close(self) -> None: ...
    def name(self, node: str) -> str:
        """The node as the audit log names it."""
        ...

    def folder_of(self, node: str) -> Path:
        """A node's folder of gedit."""
        ...

    def put(self, path: Path, content: bytes) -> None:
        """Copy a file to a node by hand."""
        ...

    def let_smoke_test_fail(self, node: str) -> str:
        """From now on, on this node (empty: on none); returns where it will."""
        ...

    def kill(self, verb: str, version: str, node: str, at: int, *, after: bool) -> bool:
        """Kill a second operator in the middle, ``at`` steps in; whether it still ran. Returns when
        all that it began has ended.
        """
        ...

    async def two_at_once(
        self, version: str, second: str, older: str, *, settling: bool
    ) -> tuple[Progress, str, bool]:
        """A deploy, and a second operator who comes meanwhile: how the deploy ended, how the other
        was refused (empty: came too late), and whether the other changed anything.
        """
        ...


class FolderSite:
    """Folders as nodes (folder_nodes.py)."""

    smoke = True

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self._nodes = nodes
        self._patch = pytest.MonkeyPatch()
        self._folder = Path(tempfile.mkdtemp(prefix="vizdash-images-"))
        self._patch.setenv("XDG_STATE_HOME", str(self._folder / "state"))
        self._cluster = FolderNodes(self._folder, self._patch)
        self._cluster.add(*nodes)
        self.operator = Operator(self._folder, nodes)
        self.lease = self._folder / "host/.lease-gedit"
        self.inventory = self._folder / "host/inventory.json"

    def close(self) -> None:
        self._patch.undo()
        rmtree(self._folder)

    def name(self, node: str) -> str:
        return node

    def folder_of(self, node: str) -> Path:
        return self._cluster.root(node) / "gedit"

    def put(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def let_smoke_test_fail(self, node: str) -> str:
        async def smoke(
            service: object, app: str, version: str, tried: str, tell: object, *, gpus: int
        ) -> str:
            if tried == node:
                raise VizdashError(tried, "the smoke test failed")
            return "it answers"

        self._patch.setattr("vizdash.service.image_admin.run_smoke_test", smoke)
        return node

    def kill(self, verb: str, version: str, node: str, at: int, *, after: bool) -> bool:
        nodes, number = ",".join(self._nodes), str(-at if after else at)
        words = (str(self._folder), nodes, verb, version, node, number)
        module = "tests.integration.images.operators"
        done = subprocess.run([sys.executable, "-m", module, *words], check=False)
        wait_commands_end(self._folder)
        return done.returncode == -9

    async def two_at_once(
        self, version: str, second: str, older: str, *, settling: bool
    ) -> tuple[Progress, str, bool]:
        other = Operator(self._folder, self._nodes)
        refused, changed, tried = "", False, False

        async def come(number: int) -> None:
            nonlocal refused, changed, tried
            if tried or settling or not self.lease.exists():
                return
            if version not in self.lease.read_text():
                return
            tried = True
            try:
                progress: Progress
                if second == "deploy":
                    progress = await other.deploy(older)
                elif second == "rollback":
                    progress = await other.rollback()
                else:
                    progress = await other.prune(1)
            except NotFound:
                return  # nothing to go back to
            except Refused as e:
                refused = e.line
                return
            changed = second != "prune" or bool(progress.nodes)

        first = Operator(self._folder, self._nodes, CountingRunner(before=come))
        progress = await first.deploy(version)
        self.operator.messages += first.messages
        return progress, refused, changed


def wait_commands_end(folder: Path) -> None:
    """Wait until what a killed operator had begun on the nodes in this folder has ended by itself.
    During execve(2) a process shows no environment: two looks in a row find none.
    """
    mark, none = f"NODES={folder}".encode() + b"\0", 0
    deadline = time.monotonic() + 180
    while none < 2:
        assert time.monotonic() < deadline
        lives = any(mark in _environment(p) for p in Path("/proc").glob("[0-9]*/environ"))
        none = 0 if lives else none + 1
        time.sleep(0.02)


def _environment(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
