"""``deploy --missing``: nodes that were down get what they missed, and nothing else happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.images.folder_nodes import FolderNodes
from tests.integration.images.operators import Operator
from vizdash.cli.deploy_missing import deploy_missing
from vizdash.errors import VizdashError

NODES = ("n1", "n2", "n3")


@pytest.fixture
def operator(tmp_path: Path, cluster: FolderNodes) -> Operator:
    made = Operator(tmp_path, NODES)
    for version in ("1.0", "1.1", "1.2"):
        made.build(version)
        made.build(version, "other")
    return made


def down(operator: Operator, cluster: FolderNodes, node: str) -> None:
    """It loses power, and Slurm has seen it."""
    operator.states[node] = "DOWN"
    (cluster.folder / node).rename(cluster.folder / f"{node}.off")


def up(operator: Operator, cluster: FolderNodes, node: str) -> None:
    """It comes back with what was on its disk."""
    operator.states[node] = "IDLE"
    (cluster.folder / f"{node}.off").rename(cluster.folder / node)


def current(cluster: FolderNodes, node: str, app: str = "gedit") -> str:
    link = cluster.root(node) / f"{app}/{app}.sif"
    return os.readlink(link).removesuffix(".sif") if link.is_symlink() else ""


async def missing(operator: Operator, app: str = "", nodeset: str = "") -> None:
    await deploy_missing(operator.admin.service, app, nodeset, smoke_test=False, as_json=False)


async def test_a_node_that_was_down_gets_what_it_missed(
    operator: Operator, cluster: FolderNodes, capsys: pytest.CaptureFixture[str]
) -> None:
    await operator.deploy("1.0")
    down(operator, cluster, "n3")
    await operator.deploy("1.1")
    await operator.deploy("1.0", app="other")
    # As long as it is down there is nothing to do, and that is no failure.
    await missing(operator)
    assert capsys.readouterr() == ("", "")
    up(operator, cluster, "n3")
    assert current(cluster, "n3") == "gedit-1.0"
    await missing(operator)
    out, err = capsys.readouterr()
    assert "gedit 1.1 is missing on n3" in err and "other 1.0 is missing on n3" in err
    assert "done" in out and "n1" not in out
    assert (current(cluster, "n3"), current(cluster, "n3", "other")) == ("gedit-1.1", "other-1.0")
    for _ in range(2):
        events = len(operator.history())
        await missing(operator)
        assert capsys.readouterr() == ("", "")
        assert len(operator.history()) == events


async def test_only_the_app_and_the_nodes_that_were_requested(
    operator: Operator, cluster: FolderNodes
) -> None:
    for node in ("n2", "n3"):
        down(operator, cluster, node)
    await operator.deploy("1.1")
    await operator.deploy("1.1", app="other")
    for node in ("n2", "n3"):
        up(operator, cluster, node)
    await missing(operator, "gedit", "n3")
    assert (current(cluster, "n3"), current(cluster, "n3", "other")) == ("gedit-1.1", "")
    assert current(cluster, "n2") == ""


async def test_what_was_chosen_for_a_node_stays(
    operator: Operator, cluster: FolderNodes, capsys: pytest.CaptureFixture[str]
) -> None:
    """One node tries the next version, one was rolled back."""
    await operator.deploy("1.0")
    await operator.deploy("1.1")
    await operator.deploy("1.2", "n1")
    await operator.rollback("n2")
    capsys.readouterr()
    await missing(operator)
    assert capsys.readouterr() == ("", "")
    assert [current(cluster, node) for node in NODES] == ["gedit-1.2", "gedit-1.0", "gedit-1.1"]


async def test_a_copy_that_was_cut_short_is_brought_again(
    operator: Operator, cluster: FolderNodes
) -> None:
    await operator.deploy("1.1")
    file = cluster.root("n2") / "gedit/gedit-1.1.sif"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    await missing(operator)
    assert file.read_bytes() == whole


async def test_a_node_that_does_not_answer_is_named_when_the_others_are_done(
    operator: Operator, cluster: FolderNodes, capsys: pytest.CaptureFixture[str]
) -> None:
    for node in ("n2", "n3"):
        down(operator, cluster, node)
    await operator.deploy("1.1")
    up(operator, cluster, "n2")
    operator.states["n3"] = "IDLE"  # Slurm has not seen it yet
    with pytest.raises(VizdashError, match=r"n3: .*No route to host"):
        await missing(operator)
    assert current(cluster, "n2") == "gedit-1.1"
    capsys.readouterr()
    down_again = Path(cluster.folder / "store/gedit/gedit-1.1.sif")
    down_again.unlink()
    up(operator, cluster, "n3")
    with pytest.raises(VizdashError, match=r"gedit 1\.1: .*vizdash build"):
        await missing(operator)
