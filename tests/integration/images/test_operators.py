"""Two operators, and one who is killed: locks, what is noted, and the inventory."""

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

from tests.integration.images.folder_nodes import ROOT, FolderNodes
from tests.integration.images.image_site import wait_commands_end
from tests.integration.images.operators import CountingRunner, Operator, image_bytes
from vizdash.errors import Refused, UsageError, VizdashError
from vizdash.images.node_script import BASH_STDIN, script_text
from vizdash.images.progress import Phase
from vizdash.images.switch_and_prune import OldImage
from vizdash.service.image_admin import PrunePlan
from vizdash.util.files import account_name

NODES = ("n1", "n2")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderNodes:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = FolderNodes(tmp_path, monkeypatch)
    made.add(*NODES)
    return made


@pytest.fixture
def operator(cluster: FolderNodes, tmp_path: Path) -> Operator:
    made = Operator(tmp_path, NODES)
    for version in ("1.0", "1.1", "2.0"):
        made.build(version)
    return made


def current(operator: Operator, *nodes: str) -> list[str]:
    return [os.readlink(operator.folder / node / "root/gedit/gedit.sif") for node in nodes or NODES]


async def test_the_second_operator_sees_who_holds_the_lock(
    operator: Operator, tmp_path: Path
) -> None:
    refused: list[str] = []
    mine = Operator(tmp_path, NODES)
    lock = tmp_path / "host/.lease-gedit"

    async def second(number: int) -> None:
        """When the first one has its lock."""
        if refused or not lock.exists() or not lock.read_text():
            return
        for change in (mine.deploy("2.0"), mine.rollback(), mine.prune(1)):
            with pytest.raises(Refused) as error:
                await change
            refused.append(error.value.line)

    await mine.deploy("1.0")
    await mine.deploy("1.1")
    first = Operator(tmp_path, NODES, CountingRunner(before=second))
    progress = await first.deploy("2.0", "n1")
    assert progress.nodes["n1"].phase is Phase.DONE, progress.nodes["n1"].note
    user = account_name(os.geteuid())
    assert len(refused) == 3, refused
    for line in refused:
        assert f"gedit: {user} deploys gedit 2.0 from {os.uname().nodename} since " in line
    await mine.deploy("2.0")


async def test_two_apps_at_once_lose_nothing_of_the_inventory(
    operator: Operator, tmp_path: Path
) -> None:
    operator.build("7", "other")
    a, b = Operator(tmp_path, NODES), Operator(tmp_path, NODES)
    await asyncio.gather(a.deploy("1.0"), b.deploy("7", app="other"))
    found = json.loads((tmp_path / "host/inventory.json").read_text())
    assert found["wanted"] == {"gedit": "1.0", "other": "7"}
    for node in NODES:
        names = {image["path"].rpartition("/")[2] for image in found["nodes"][node]["images"]}
        assert {"gedit-1.0.sif", "other-7.sif"} <= names
    assert operator.messages == []


def killed(operator: Operator, verb: str, word: str, at: int) -> None:
    words = (str(operator.folder), ",".join(NODES), verb, word, "", str(at))
    module = "tests.integration.images.operators"
    done = subprocess.run([sys.executable, "-m", module, *words], check=False)
    assert done.returncode == -9, "it was over before it was killed"
    wait_commands_end(operator.folder)


async def test_an_interrupted_change_is_reported_and_settled_by_the_next(
    operator: Operator, tmp_path: Path
) -> None:
    await operator.deploy("1.0")
    # Killed when the first node has been switched, by what that node's journal says.
    journal = tmp_path / "n1/root/gedit/.journal"
    at = 12
    while (
        "gedit-1.1.sif" not in journal.read_text()
        and "gedit-1.1.sif" not in (tmp_path / "n2/root/gedit/.journal").read_text()
    ):
        at += 2
        killed(operator, "deploy", "1.1", -at)
    began = [e for e in operator.history() if e.outcome == "began" and e.version == "1.1"]
    assert began and began[-1].node == "n[1-2]"
    await operator.deploy("2.0", "n1")
    (line,) = [line for line in operator.messages if line.startswith("interrupted: ")]
    assert "deploys gedit 1.1 from" in line and "; current on n" in line
    ended = [e for e in operator.history() if e.run == began[-1].run and e.outcome == "interrupted"]
    assert {e.node for e in ended} == set(NODES)
    assert any(e.detail == "it is current there" for e in ended)
    found = json.loads((tmp_path / "host/inventory.json").read_text())
    for node, link in zip(NODES, current(operator), strict=True):
        now = {i["path"].rpartition("/")[2] for i in found["nodes"][node]["images"] if i["current"]}
        assert link in now
    operator.messages.clear()
    await operator.deploy("2.0", "n2")
    assert operator.messages == [], "it is reported once"


async def test_a_verification_is_an_event(operator: Operator, tmp_path: Path) -> None:
    await operator.deploy("1.0")
    file = tmp_path / "n2/root/gedit/gedit-1.0.sif"
    with file.open("r+b") as opened:
        opened.seek(36 << 10)
        opened.write(b"flipped")
    view = await operator.admin.overview()
    chosen = [i for i in view.matrix.images if i.path.endswith("-1.0.sif")]
    await operator.admin.verify(view.matrix, chosen, lambda text: None)
    events = [e for e in operator.history() if e.action == "verify"]
    assert [(e.node, e.version, e.outcome) for e in events] == [
        ("n2", "1.0", "failed"),
        ("n1", "1.0", "ok"),
    ]


# ---------------------------------------------------------------- prune


def names(operator: Operator, node: str) -> set[str]:
    return {f.name for f in (operator.folder / node / "root/gedit").glob("gedit-*.sif")}


async def three(operator: Operator) -> None:
    for version in ("1.0", "1.1", "2.0"):
        await operator.deploy(version)


async def test_a_link_that_a_user_made_keeps_its_target(operator: Operator) -> None:
    await three(operator)
    folder = operator.folder / "n1/root/gedit"
    (folder / "gedit-stable.sif").symlink_to("gedit-1.0.sif")
    progress = await operator.prune(1)
    assert not progress.failed, [row.note for row in progress.failed]
    assert names(operator, "n1") == {"gedit-1.0.sif", "gedit-2.0.sif", "gedit-stable.sif"}
    assert names(operator, "n2") == {"gedit-2.0.sif"}
    # The node looks again itself: the link may be newer than the look.
    await operator.deploy("1.1")
    old = [OldImage("n2", "gedit", f"gedit-{v}.sif", v, 1) for v in ("1.1", "2.0")]
    (operator.folder / "n2/root/keep.sif").symlink_to("gedit/gedit-2.0.sif")
    progress = await operator.admin.prune(PrunePlan("gedit", tuple(old)), lambda row: None)
    assert "keep.sif leads to it" in progress.nodes["n2"].note
    assert names(operator, "n2") == {"gedit-1.1.sif", "gedit-2.0.sif"}


async def test_a_link_into_an_app_folder_that_is_a_link_keeps_its_target(
    operator: Operator,
) -> None:
    root, elsewhere = operator.folder / "n1/root", operator.folder / "data/images"
    elsewhere.mkdir(parents=True)
    root.mkdir()
    (root / "gedit").symlink_to(elsewhere)
    await three(operator)
    (root / "keep.sif").symlink_to("gedit/gedit-1.0.sif")
    (elsewhere / "gedit-stable.sif").symlink_to("gedit-1.1.sif")
    progress = await operator.prune(1)
    assert not progress.failed, [row.note for row in progress.failed]
    # As in the test before, the node checks again itself.
    old = (OldImage("n1", "gedit", "gedit-1.0.sif", "1.0", 1),)
    progress = await operator.admin.prune(PrunePlan("gedit", old), lambda row: None)
    assert "keep.sif leads to it" in progress.nodes["n1"].note
    left = {f.name for f in elsewhere.glob("*.sif") if not f.is_symlink()}
    assert left == {"gedit-1.0.sif", "gedit-1.1.sif", "gedit-2.0.sif"}


_ANNA = 'case "$*" in -u) echo 1000 ;; -un) echo anna ;; *) exec /usr/bin/id "$@" ;; esac'


async def test_who_cannot_see_what_others_have_open_removes_nothing(
    operator: Operator, cluster: FolderNodes
) -> None:
    await three(operator)
    cluster.tool("n1", "id", _ANNA)
    cluster.tool("n1", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    progress = await operator.prune(1)
    assert progress.nodes["n1"].phase is Phase.FAILED
    assert "a password is required" in progress.nodes["n1"].note
    assert names(operator, "n1") == {"gedit-1.0.sif", "gedit-1.1.sif", "gedit-2.0.sif"}
    assert names(operator, "n2") == {"gedit-2.0.sif"}
    # Nor does the node's script, whoever calls it.
    with pytest.raises(VizdashError, match="anna can't see other users' open files"):
        await operator.shell.ask("n1", "remove", ROOT, "gedit", "gedit-1.0.sif")
    # By sudo it goes.
    cluster.tool("n1", "sudo", 'shift; PATH=${PATH#*:} exec "$@"')
    progress = await operator.prune(1)
    assert not progress.failed, [row.note for row in progress.failed]
    assert names(operator, "n1") == {"gedit-2.0.sif"}


# ---------------------------------------------------------------- noise and two accounts


async def test_a_node_whose_shell_talks_when_it_starts(
    operator: Operator, cluster: FolderNodes
) -> None:
    for node in NODES:
        (operator.folder / node / "noise").touch()
    progress = await operator.deploy("1.0")
    assert not progress.failed, [row.note for row in progress.failed]
    progress = await operator.deploy("1.1")
    assert {row.note for row in progress.nodes.values()} == {"deployed, before: 1.0"}
    view = await operator.admin.overview()
    assert not [place.failure for place in view.matrix.roots if place.failure]


@pytest.mark.parametrize(
    "exported",
    [
        {"BASH_ENV": "set -euC; shopt -s failglob; echo Welcome; stat() { echo 3; }"},
        {"SHELLOPTS": "braceexpand:hashall:noclobber:nounset", "BASHOPTS": "failglob"},
        {"BASH_FUNC_find%%": "() { echo 3; }", "BASH_FUNC_cd%%": '() { builtin cd "$@"; ls; }'},
    ],
)
async def test_nothing_that_start_up_files_export_changes_a_script(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, exported: dict[str, str]
) -> None:
    file = operator.folder / "start-up"
    file.write_text(exported.get("BASH_ENV", ""))
    for name, value in exported.items():
        monkeypatch.setenv(name, str(file) if name == "BASH_ENV" else value)
    for version in ("1.0", "1.1"):
        progress = await operator.deploy(version)
        assert not progress.failed, [row.note for row in progress.failed]
    progress = await operator.rollback()
    assert not progress.failed, [row.note for row in progress.failed]
    assert current(operator) == ["gedit-1.0.sif"] * 2
    assert operator.messages == []


@pytest.mark.parametrize(
    ("kind", "why"),
    [("none", "no such file"), ("fifo", "not a regular file"), ("folder", "a folder")],
)
async def test_a_path_that_cannot_be_an_image(operator: Operator, kind: str, why: str) -> None:
    path = operator.folder / "image.sif"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(UsageError) as caught:
        await operator.admin.plan_deploy("gedit", file=str(path), version="9")
    assert caught.value.why == why


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
def test_a_second_account_of_the_group_can_continue(public: Path) -> None:
    """What an interrupted deploy left, and its lock, belong to the group as well."""
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
    done = as_uid(5002, 4000, root, "place", *about, "5002:4000", "0644", "", "")
    assert done.returncode == 0, done.stderr
    assert as_uid(5001, 4000, root, "switch", "gedit", "1.0", "legacy", "deploy").returncode == 0
    assert (root / "gedit/.lock").stat().st_mode & 0o777 == 0o660
    # Who is of no such group can't hold the lock.
    assert as_uid(5003, 4003, root, "prepare", *about).returncode != 0


_READ_ONLY = """
mount -t tmpfs none "$1" && mkdir "$1/gedit" && : >"$1/gedit/.lock" || exit
mount -o remount,ro "$1" || exit
shift
exec "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to mount")
@pytest.mark.parametrize(("app", "does"), [("gedit", "can't lock"), ("other", "can't make")])
def test_a_file_system_that_became_read_only_is_named(public: Path, app: str, does: str) -> None:
    words = ("mark", "prepare", str(public), app, "1.0", "0" * 64, "9")
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", _READ_ONLY, "mount", str(public), *BASH_STDIN, *words],
        input=script_text(), text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line == f"{does} {public}/{app}: Read-only file system"


@pytest.mark.skipif(os.geteuid() != 0, reason="two accounts are needed")
def test_roots_lock_does_not_keep_the_folders_owner_out(public: Path) -> None:
    root = public / "root"
    (root / "gedit").mkdir(parents=True)
    os.chown(root / "gedit", 5001, 5001)
    about = ("gedit", "1.0", "0" * 64, "9")
    for uid in (0, 5001):
        done = as_uid(uid, uid, root, "prepare", *about)
        assert done.returncode == 0, done.stderr
