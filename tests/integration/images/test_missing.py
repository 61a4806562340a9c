"""``deploy --missing``: nodes that were down get what they missed, and nothing else happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.images.nodes import Cluster
from tests.integration.images.yard import Yard
from vizdash.cli.missing import catch_up
from vizdash.errors import VizdashError

NODES = ("n1", "n2", "n3")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(tmp_path, monkeypatch)
    made.add(*NODES)
    return made


@pytest.fixture
def yard(tmp_path: Path, cluster: Cluster) -> Yard:
    made = Yard(tmp_path, NODES)
    for version in ("1.0", "1.1", "1.2"):
        made.build(version)
        made.build(version, "other")
    return made


def down(yard: Yard, cluster: Cluster, node: str) -> None:
    """It loses power, and Slurm has seen it."""
    yard.states[node] = "DOWN"
    (cluster.folder / node).rename(cluster.folder / f"{node}.off")


def up(yard: Yard, cluster: Cluster, node: str) -> None:
    """It comes back with what was on its disk."""
    yard.states[node] = "IDLE"
    (cluster.folder / f"{node}.off").rename(cluster.folder / node)


def current(cluster: Cluster, node: str, app: str = "gedit") -> str:
    link = cluster.root(node) / f"{app}/{app}.sif"
    return os.readlink(link).removesuffix(".sif") if link.is_symlink() else ""


async def missing(yard: Yard, app: str = "", nodeset: str = "") -> None:
    await catch_up(yard.imaging.service, app, nodeset, smoke_test=False, as_json=False)


async def test_a_node_that_was_down_gets_what_it_missed(
    yard: Yard, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    await yard.deploy("1.0")
    down(yard, cluster, "n3")
    await yard.deploy("1.1")
    await yard.deploy("1.0", app="other")
    # As long as it is down there is nothing to do, and that is no failure.
    await missing(yard)
    assert capsys.readouterr() == ("", "")
    up(yard, cluster, "n3")
    assert current(cluster, "n3") == "gedit-1.0"
    await missing(yard)
    out, err = capsys.readouterr()
    assert "gedit 1.1 is missing on n3" in err and "other 1.0 is missing on n3" in err
    assert "done" in out and "n1" not in out
    assert (current(cluster, "n3"), current(cluster, "n3", "other")) == ("gedit-1.1", "other-1.0")
    for _ in range(2):
        events = len(yard.history())
        await missing(yard)
        assert capsys.readouterr() == ("", "")
        assert len(yard.history()) == events


async def test_only_the_app_and_the_nodes_that_were_asked_for(yard: Yard, cluster: Cluster) -> None:
    for node in ("n2", "n3"):
        down(yard, cluster, node)
    await yard.deploy("1.1")
    await yard.deploy("1.1", app="other")
    for node in ("n2", "n3"):
        up(yard, cluster, node)
    await missing(yard, "gedit", "n3")
    assert (current(cluster, "n3"), current(cluster, "n3", "other")) == ("gedit-1.1", "")
    assert current(cluster, "n2") == ""


async def test_what_was_chosen_for_a_node_stays(
    yard: Yard, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """One node tries the next version, one was rolled back."""
    await yard.deploy("1.0")
    await yard.deploy("1.1")
    await yard.deploy("1.2", "n1")
    await yard.rollback("n2")
    capsys.readouterr()
    await missing(yard)
    assert capsys.readouterr() == ("", "")
    assert [current(cluster, node) for node in NODES] == ["gedit-1.2", "gedit-1.0", "gedit-1.1"]


async def test_a_copy_that_was_cut_short_is_brought_again(yard: Yard, cluster: Cluster) -> None:
    await yard.deploy("1.1")
    file = cluster.root("n2") / "gedit/gedit-1.1.sif"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    await missing(yard)
    assert file.read_bytes() == whole


async def test_a_node_that_does_not_answer_is_named_when_the_others_are_done(
    yard: Yard, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    for node in ("n2", "n3"):
        down(yard, cluster, node)
    await yard.deploy("1.1")
    up(yard, cluster, "n2")
    yard.states["n3"] = "IDLE"  # Slurm has not seen it yet
    with pytest.raises(VizdashError, match=r"n3: .*No route to host"):
        await missing(yard)
    assert current(cluster, "n2") == "gedit-1.1"
    capsys.readouterr()
    down_again = Path(cluster.folder / "store/gedit/gedit-1.1.sif")
    down_again.unlink()
    up(yard, cluster, "n3")
    with pytest.raises(VizdashError, match=r"gedit 1\.1: .*vizdash build"):
        await missing(yard)
