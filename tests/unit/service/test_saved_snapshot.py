"""The picture of the last snapshot that the next dashboard begins with."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vizdash.actions import REGISTRY, Context
from vizdash.config import Cluster, Config
from vizdash.model import (
    Gres,
    Image,
    Job,
    JobState,
    Node,
    Partition,
    Reservation,
    Resources,
    Session,
    SessionState,
    Snapshot,
)
from vizdash.service.saved_snapshot import OLDEST_S, load_snapshot, save_snapshot, snapshot_file
from vizdash.service.user_data import UserData

MINE = Session(
    "3f9a01bc",
    "7",
    "desktop",
    "alice",
    SessionState.READY,
    node="n1",
    resources=Resources(2, 4096, 1, 7200),
    time_left_s=600,
)
OTHERS = replace(MINE, id="aaaaaaaa", job_id="8", user="bob", mine=False)
RESERVED = Reservation("maintenance", 1, 2, ("n1",))


def taken(**changes: object) -> Snapshot:
    whole = Snapshot(
        "viz",
        "slurm 24.11",
        "viz",
        "alice",
        nodes=(Node("n1", "IDLE", cores=8, gres=(Gres("gpu", "a100", 2, 1),), os_load=0.5),),
        partitions=(Partition("viz", nodes=("n1",), parts=(Partition("part"),)),),
        sessions=(MINE, OTHERS),
        images=(Image("desktop", "/a/desktop-1.0.sif", "1.0", 7, node="n1", current=True),),
        jobs=(Job("8", "x", "bob", JobState.RUNNING),),
        taken_at=time.time(),
        asked_s=0.25,
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_what_the_first_screen_shows_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new/snapshot.json"
    before = taken()
    save_snapshot(path, before)
    found = load_snapshot(path)
    assert found is not None and found.saved
    assert found == replace(before, sessions=(MINE,), jobs=())
    assert (found.taken_at, found.asked_s) == (before.taken_at, before.asked_s)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("age_s", [OLDEST_S + 5, -60.0])
def test_an_old_one_and_one_of_the_future_are_not_shown(tmp_path: Path, age_s: float) -> None:
    path = tmp_path / "snapshot.json"
    save_snapshot(path, taken(taken_at=time.time() - age_s))
    assert load_snapshot(path) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"[]",
        lambda data: data.replace(b'"ready"', b'"asleep"'),
        lambda data: data.replace(b'"nodes":[', b'"nodes":[7,'),
        lambda data: b"\xff" + data,
        lambda data: b"[" * 100_000,
    ],
)
def test_a_damaged_one_is_none(tmp_path: Path, change: object) -> None:
    path = tmp_path / "snapshot.json"
    save_snapshot(path, taken())
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    assert load_snapshot(path) is None


def test_a_link_is_none(tmp_path: Path) -> None:
    save_snapshot(tmp_path / "another.json", taken())
    (tmp_path / "snapshot.json").symlink_to(tmp_path / "another.json")
    assert load_snapshot(tmp_path / "snapshot.json") is None


def test_a_full_or_closed_home_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    save_snapshot(tmp_path / "file/snapshot.json", taken())


async def test_a_dashboard_leaves_one_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    config = Config(Cluster("viz"), {}, {})
    first = UserData(config)
    await first.load_snapshot()
    assert first.saved_snapshot is None
    assert first.keep_snapshot(taken(partition="old"))
    first.save_snapshot()
    assert not first.keep_snapshot(taken()), "once a minute"
    await first.save_all()
    second = UserData(config)
    await second.load_snapshot()
    assert second.saved_snapshot is not None
    assert second.saved_snapshot.partition == "viz"
    assert os.listdir(tmp_path / "vizdash") == [snapshot_file("viz").name]


def test_a_picture_is_not_acted_on() -> None:
    node = taken().nodes[0]
    for action in REGISTRY:
        context = Context(snapshot=taken(saved=True), session=MINE, node=node, admin=True)
        if action.on != "any" or action.dangerous:
            assert action.reason(context) == "the cluster has not answered yet", action.id
    help_ = REGISTRY.by_id("help")
    assert help_.reason(Context(snapshot=taken(saved=True))) == ""
