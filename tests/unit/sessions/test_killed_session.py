"""A session whose job was killed: the next one on its node writes its end, and its folder goes."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from vizdash.util.assets import assets

_SCRIPT = """
set -u
for part in limit reserve cleanup common; do eval "$(grep -v '^source ' "$JOBS/$part.sh")"; done
eval "$(sed -n '/^forget_old()/,/^}/p' "$JOBS/vnc.sh")"
runtime_parents() { printf '%s\\n' "$PWD/node"; }
node=n1
eval "$1"
"""
_STATUS = "STATE={}\nSTEP=ready\nRESULT={}\nERROR=\nUPDATED=1\nNODE={}\nJOB_ID=7\nREADY=1\n"
_DAY_S = 86400


def _run(folder: Path, command: str) -> None:
    """Run this in a session's job script; ``folder`` has the session folders and the node's."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "SESSION_ID": "0000000a"}
    env |= {"JOBS": str(assets() / "jobs"), "VIZDASH_FOLDER": f"{folder}/home/0000000a"}
    subprocess.run(["bash", "-c", _SCRIPT, "-", command], cwd=folder, env=env, timeout=120,
                   check=True)  # fmt: skip


def _session(folder: Path, status: str, session_id: str = "0000000b") -> Path:
    """A session's folder in the home."""
    home = folder / "home" / session_id
    (home / "ssh").mkdir(parents=True)
    (home / "connection").write_text("PASSWORD=secret\n")
    (home / "status").write_text(status)
    return home


def _runtime_folder(folder: Path, owner: str, suffix: str = "AAAAAAAA") -> Path:
    """Its folder on the node. ``owner`` is "alive", or "dead" as after a crash of the node."""
    runtime = folder / "node" / f"vizdash-0000000b.{suffix}"
    runtime.mkdir(parents=True)
    stat = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    words = (os.getpid(), stat[19], boot if owner == "alive" else "another",
             os.readlink("/proc/self/ns/pid"), os.uname().nodename, 7)  # fmt: skip
    (runtime / "owner").write_text(" ".join(map(str, words)) + "\n")
    return runtime


@pytest.mark.parametrize(
    ("state", "result", "ends"),
    [
        ("ready", "", ("RESULT=failed", "ERROR=the job script was killed")),
        ("ending", "cancelled", ("RESULT=cancelled", "ERROR=")),
    ],
)
def test_the_next_session_on_its_node_writes_its_end(
    tmp_path: Path, state: str, result: str, ends: tuple[str, str]
) -> None:
    home = _session(tmp_path, _STATUS.format(state, result, "n1"))
    runtime = _runtime_folder(tmp_path, "dead")
    _run(tmp_path, "remove_orphans")
    lines = (home / "status").read_text().splitlines()
    assert lines[0] == "STATE=ended"
    assert {*ends, "STEP=ready", "NODE=n1", "READY=1"} < set(lines)
    assert os.listdir(home) == ["status"]
    assert not runtime.exists()


@pytest.mark.parametrize("where", ["another node", "this node"])
def test_a_job_that_runs_again_is_left_alone(tmp_path: Path, where: str) -> None:
    status = _STATUS.format("ready", "", "n1" if where == "this node" else "n2")
    home = _session(tmp_path, status)
    old = _runtime_folder(tmp_path, "dead")
    if where == "this node":
        _runtime_folder(tmp_path, "alive", "BBBBBBBB")
    _run(tmp_path, "remove_orphans")
    assert not old.exists()
    assert (home / "status").read_text() == status
    assert (home / "connection").exists()


@pytest.mark.parametrize(
    ("state", "days", "kept"),
    [("ended", 89, True), ("ended", 92, False), ("ready", 399, True), ("ready", 402, False)],
)
def test_old_folders_go(tmp_path: Path, state: str, days: int, kept: bool) -> None:
    home = _session(tmp_path, _STATUS.format(state, "", "n1"))
    then = time.time() - days * _DAY_S
    os.utime(home / "status", (then, then))
    _run(tmp_path, "forget_old")
    assert home.exists() == kept
