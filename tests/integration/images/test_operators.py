"""Two operators, and one who is killed: leases, what is noted, and the inventory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.images.nodes import ROOT, Cluster
from tests.integration.images.yard import Counting, Yard, image_bytes
from vizdash.errors import Refused, VizdashError
from vizdash.files import account_name
from vizdash.images.change import Old
from vizdash.images.progress import Phase
from vizdash.images.shell import script_text
from vizdash.imaging import Pruning

NODES = ("n1", "n2")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Cluster(tmp_path, monkeypatch)
    made.add(*NODES)
    return made


@pytest.fixture
def yard(cluster: Cluster, tmp_path: Path) -> Yard:
    made = Yard(tmp_path, NODES)
    for version in ("1.0", "1.1", "2.0"):
        made.build(version)
    return made


def current(yard: Yard, *nodes: str) -> list[str]:
    return [os.readlink(yard.folder / node / "root/gedit/gedit.sif") for node in nodes or NODES]


async def test_the_second_operator_is_told_who_is_at_it(yard: Yard, tmp_path: Path) -> None:
    refused: list[str] = []
    mine = Yard(tmp_path, NODES)
    lease = tmp_path / "host/.lease-gedit"

    async def second(number: int) -> None:
        """When the first one has its lease."""
        if refused or not lease.exists() or not lease.read_text():
            return
        for change in (mine.deploy("2.0"), mine.rollback(), mine.prune(1)):
            with pytest.raises(Refused) as error:
                await change
            refused.append(error.value.line)

    await mine.deploy("1.0")
    await mine.deploy("1.1")
    first = Yard(tmp_path, NODES, Counting(before=second))
    progress = await first.deploy("2.0", "n1")
    assert progress.nodes["n1"].phase is Phase.DONE, progress.nodes["n1"].note
    user = account_name(os.geteuid())
    assert len(refused) == 3, refused
    for line in refused:
        assert f"gedit: {user} deploys gedit 2.0 from {os.uname().nodename} since " in line
    await mine.deploy("2.0")


async def test_two_apps_at_once_lose_nothing_of_the_inventory(yard: Yard, tmp_path: Path) -> None:
    yard.build("7", "other")
    a, b = Yard(tmp_path, NODES), Yard(tmp_path, NODES)
    await asyncio.gather(a.deploy("1.0"), b.deploy("7", app="other"))
    found = json.loads((tmp_path / "host/inventory.json").read_text())
    assert found["wanted"] == {"gedit": "1.0", "other": "7"}
    for node in NODES:
        names = {image["path"].rpartition("/")[2] for image in found["nodes"][node]["images"]}
        assert {"gedit-1.0.sif", "other-7.sif"} <= names
    assert yard.told == []


def killed(yard: Yard, verb: str, word: str, at: int) -> None:
    words = (str(yard.folder), ",".join(NODES), verb, word, "", str(at))
    module = "tests.integration.images.yard"
    done = subprocess.run([sys.executable, "-m", module, *words], check=False)
    assert done.returncode == -9, "it was over before it was killed"


async def test_what_was_cut_off_is_told_and_settled_by_the_next(yard: Yard, tmp_path: Path) -> None:
    await yard.deploy("1.0")
    # Killed when the first node has been switched, by what that node's journal says.
    journal = tmp_path / "n1/root/gedit/.journal"
    at = 12
    while (
        "gedit-1.1.sif" not in journal.read_text()
        and "gedit-1.1.sif" not in (tmp_path / "n2/root/gedit/.journal").read_text()
    ):
        at += 2
        killed(yard, "deploy", "1.1", -at)
    began = [e for e in yard.history() if e.outcome == "began" and e.version == "1.1"]
    assert began and began[-1].node == "n[1-2]"
    await yard.deploy("2.0", "n1")
    (told,) = [line for line in yard.told if line.startswith("cut off: ")]
    assert "deploys gedit 1.1 from" in told and "; current on n" in told
    ended = [e for e in yard.history() if e.run == began[-1].run and e.outcome == "interrupted"]
    assert {e.node for e in ended} == set(NODES)
    assert any(e.detail == "it is current there" for e in ended)
    found = json.loads((tmp_path / "host/inventory.json").read_text())
    for node, link in zip(NODES, current(yard), strict=True):
        now = {i["path"].rpartition("/")[2] for i in found["nodes"][node]["images"] if i["current"]}
        assert link in now
    yard.told.clear()
    await yard.deploy("2.0", "n2")
    assert yard.told == [], "it is told once"


async def test_a_verification_is_an_event(yard: Yard, tmp_path: Path) -> None:
    await yard.deploy("1.0")
    file = tmp_path / "n2/root/gedit/gedit-1.0.sif"
    with file.open("r+b") as opened:
        opened.seek(36 << 10)
        opened.write(b"flipped")
    view = await yard.imaging.view()
    chosen = [i for i in view.matrix.images if i.path.endswith("-1.0.sif")]
    await yard.imaging.verify(view.matrix, chosen, lambda text: None)
    events = [e for e in yard.history() if e.action == "verify"]
    assert [(e.node, e.version, e.outcome) for e in events] == [
        ("n2", "1.0", "failed"),
        ("n1", "1.0", "ok"),
    ]


# ---------------------------------------------------------------- prune


def names(yard: Yard, node: str) -> set[str]:
    return {f.name for f in (yard.folder / node / "root/gedit").glob("gedit-*.sif")}


async def three(yard: Yard) -> None:
    for version in ("1.0", "1.1", "2.0"):
        await yard.deploy(version)


async def test_a_link_that_somebody_made_keeps_its_target(yard: Yard) -> None:
    await three(yard)
    folder = yard.folder / "n1/root/gedit"
    (folder / "gedit-stable.sif").symlink_to("gedit-1.0.sif")
    progress = await yard.prune(1)
    assert not progress.failed, [row.note for row in progress.failed]
    assert names(yard, "n1") == {"gedit-1.0.sif", "gedit-2.0.sif", "gedit-stable.sif"}
    assert names(yard, "n2") == {"gedit-2.0.sif"}
    # The node looks again itself: the link may be newer than the look.
    await yard.deploy("1.1")
    old = [Old("n2", "gedit", f"gedit-{v}.sif", v, 1) for v in ("1.1", "2.0")]
    (yard.folder / "n2/root/keep.sif").symlink_to("gedit/gedit-2.0.sif")
    progress = await yard.imaging.prune(Pruning("gedit", tuple(old)), lambda row: None)
    assert "keep.sif leads to it" in progress.nodes["n2"].note
    assert names(yard, "n2") == {"gedit-1.1.sif", "gedit-2.0.sif"}


_ANNA = 'case "$*" in -u) echo 1000 ;; -un) echo anna ;; *) exec /usr/bin/id "$@" ;; esac'


async def test_who_cant_see_what_others_have_open_removes_nothing(
    yard: Yard, cluster: Cluster
) -> None:
    await three(yard)
    cluster.tool("n1", "id", _ANNA)
    cluster.tool("n1", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    progress = await yard.prune(1)
    assert progress.nodes["n1"].phase is Phase.FAILED
    assert "a password is required" in progress.nodes["n1"].note
    assert names(yard, "n1") == {"gedit-1.0.sif", "gedit-1.1.sif", "gedit-2.0.sif"}
    assert names(yard, "n2") == {"gedit-2.0.sif"}
    # Nor does the node's script, whoever calls it.
    with pytest.raises(VizdashError, match="anna can't see what others have open"):
        await yard.shell.ask("n1", "remove", ROOT, "gedit", "gedit-1.0.sif")
    # By sudo it goes.
    cluster.tool("n1", "sudo", 'shift; PATH=${PATH#*:} exec "$@"')
    progress = await yard.prune(1)
    assert not progress.failed, [row.note for row in progress.failed]
    assert names(yard, "n1") == {"gedit-2.0.sif"}


# ---------------------------------------------------------------- noise and two accounts


async def test_a_node_whose_shell_talks_when_it_starts(yard: Yard, cluster: Cluster) -> None:
    for node in NODES:
        (yard.folder / node / "noise").touch()
    progress = await yard.deploy("1.0")
    assert not progress.failed, [row.note for row in progress.failed]
    progress = await yard.deploy("1.1")
    assert {row.note for row in progress.nodes.values()} == {"deployed, before: 1.0"}
    view = await yard.imaging.view()
    assert not [place.failure for place in view.matrix.places if place.failure]


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other accounts come to."""
    with tempfile.TemporaryDirectory(prefix="vizdash-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_uid(uid: int, gid: int, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    run = ("setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    return subprocess.run(
        [*run, "bash", "-s", "--", "mark", words[0], str(root), *words[1:]],
        input=script_text(), text=True, capture_output=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="two accounts are needed")
def test_a_second_account_of_the_group_goes_on(public: Path) -> None:
    """The first one's deploy was broken off; what it left, and its lock, are the group's too."""
    root = public / "root"
    root.mkdir()
    os.chown(root, 0, 4000)
    root.chmod(0o2775)
    data = image_bytes("1.0")
    about = ("gedit", "1.0", hashlib.sha256(data).hexdigest(), str(len(data)))
    part = f".gedit-1.0.sif.{about[2][:12]}.part"
    assert as_uid(5001, 4000, root, "prepare", *about).returncode == 0
    (root / "gedit" / part).write_bytes(data)
    os.chown(root / "gedit" / part, 5001, 4000)
    for uid in (5002, 0):
        done = as_uid(uid, 4000, root, "prepare", *about)
        assert done.returncode == 0, done.stderr
    done = as_uid(5002, 4000, root, "place", *about, "5002:4000", "0644")
    assert done.returncode == 0, done.stderr
    assert as_uid(5001, 4000, root, "switch", "gedit", "1.0", "legacy", "deploy").returncode == 0
    assert (root / "gedit/.lock").stat().st_mode & 0o777 == 0o660
    # Who is of no such group can't hold the lock.
    assert as_uid(5003, 4003, root, "prepare", *about).returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="two accounts are needed")
def test_roots_lock_does_not_keep_the_folders_owner_out(public: Path) -> None:
    root = public / "root"
    (root / "gedit").mkdir(parents=True)
    os.chown(root / "gedit", 5001, 5001)
    about = ("gedit", "1.0", "0" * 64, "9")
    for uid in (0, 5001):
        done = as_uid(uid, uid, root, "prepare", *about)
        assert done.returncode == 0, done.stderr
