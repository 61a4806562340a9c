"""One image folder that all nodes share: copied on this machine, open files checked on nodes."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, service_on
from tests.unit.images.node_answers import answer
from vizdash.config import Cluster, Config, Deploy
from vizdash.images.copy import SourceImage
from vizdash.images.switch_and_prune import OldImage
from vizdash.model import ImageRoot, Matrix, Node
from vizdash.service.image_admin import DeployPlan, ImageAdmin, PrunePlan
from vizdash.transport.base import Command, Pipe, Result
from vizdash.transport.local import LocalRunner


class SharedFolderNodes:
    """Runs what ssh(1) is given on this machine. ``open`` is the file that a node's process has
    open, ``gone`` are nodes without a way to them.
    """

    def __init__(self) -> None:
        self.open: dict[str, Path] = {}
        self.gone: set[str] = set()
        self.asked: list[str] = []

    async def run(self, command: Command) -> Result:
        if command.argv[0] != "ssh":
            return await LocalRunner().run(command)
        node, line = command.argv[-2:]
        self.asked.append(node)
        if node in self.gone:
            return Result(255, "", f"ssh: connect to host {node} port 22: No route to host\n")
        assert shlex.split(line)[-1] == "1", "it is asked for what is open"
        found = await LocalRunner().run(Command(("sh", "-c", line), command.input))
        if node not in self.open:
            return found
        file = self.open[node].stat()
        shown = found.stdout.partition("end\0")[0]
        return answer(command, *shown.split("\0")[1:-1], "used", f"{file.st_dev}:{file.st_ino}")

    def has(self, program: str) -> bool:
        return True

    async def pipe(self, argv: Sequence[str]) -> Pipe:
        return await LocalRunner().pipe(argv)


class SharedSite:
    """Three versions on a shared file system, and the nodes of a cluster."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nodes = SharedFolderNodes()
        self.forgotten: list[bool] = []
        self.folder = tmp_path / "root/gedit"
        self.folder.mkdir(parents=True)
        for version in ("1.0", "1.1", "1.2"):
            (self.folder / f"gedit-{version}.sif").write_text(version)
        (self.folder / "gedit.sif").symlink_to("gedit-1.2.sif")
        deploying = Deploy(method="shared", sudo="never")
        root, log = str(tmp_path / "root"), str(tmp_path / "log")
        cluster = Cluster("viz", image_root=root, audit_log=log, deploy=deploying)
        members = [Node(f"n{i}", "IDLE") for i in (1, 2)]
        members.append(Node("n3", "IDLE", flags=("POWERED_DOWN",)))

        engine = FakeEngine(all_nodes=tuple(members))
        service = service_on(engine, config=Config(cluster, {}, {}), runner=self.nodes)
        monkeypatch.setattr(service.images, "invalidate", self.forget)
        self.imaging = ImageAdmin(service)

    def forget(self) -> None:
        self.forgotten.append((self.folder.parent / ".inventory.json").exists())

    async def prune(self) -> str:
        """Of what is not current; what is said of it."""
        going = (
            OldImage("", "gedit", f"gedit-{version}.sif", version, 3) for version in ("1.0", "1.1")
        )
        done = await self.imaging.prune(PrunePlan("gedit", tuple(going)), lambda row: None)
        return done.nodes[""].note

    def versions(self) -> set[str]:
        return {file.stem.removeprefix("gedit-") for file in self.folder.glob("gedit-*.sif")}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedSite:
    """This machine is asked whether it has rsync, which nothing runs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rsync").touch(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return SharedSite(tmp_path, monkeypatch)


async def test_the_callers_own_shell_start_up_is_not_run(
    site: SharedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bash takes a socket for its input, as asyncio gives it, for a login over the network."""
    (tmp_path / ".bashrc").write_text(f"echo >>{tmp_path}/ran")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SHLVL", raising=False)
    await site.prune()
    assert not (tmp_path / "ran").exists()


async def test_what_no_node_has_open_goes(site: SharedSite) -> None:
    assert await site.prune() == "removed 1.0, 1.1: <0.1 GiB"
    assert site.versions() == {"1.2"}
    assert sorted(site.nodes.asked) == ["n1", "n2"], "one without power runs nothing"
    assert site.forgotten == [True], "what is known is forgotten when the inventory is there"


async def test_what_a_process_on_a_node_has_open_stays(site: SharedSite) -> None:
    site.nodes.open["n2"] = site.folder / "gedit-1.1.sif"
    assert await site.prune() == "gedit-1.1.sif: a process on n2 runs from it"
    assert site.versions() == {"1.1", "1.2"}


async def test_a_node_that_cannot_be_asked_keeps_all_and_is_named(site: SharedSite) -> None:
    site.nodes.gone.add("n2")
    note = await site.prune()
    assert note.startswith("n2: its open files can't be checked, so nothing is removed: ")
    assert "No route to host" in note
    assert site.versions() == {"1.0", "1.1", "1.2"}


async def test_a_nodes_rights_say_nothing_of_the_image_host(site: SharedSite) -> None:
    """It writes the copy that all nodes share, so it is checked itself before a deploy."""
    tools = ("rsync", "flock")
    for node, counts in (("", False), ("n1", True)):
        root = ImageRoot(node, writable=True, tools=tools)
        plan = DeployPlan(
            SourceImage("gedit", "1.3", "0" * 64, 1, "/nowhere"),
            (node,),
            matrix=Matrix(roots=(root,)),
            surveyed_at=time.monotonic(),
        )
        assert bool(site.imaging._surveyed(plan)) == counts
