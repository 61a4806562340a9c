"""Images read whole where writing needs sudo(8), with the real script."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.integration.images.nodes import ROOT, Cluster, cargo, deploy, sif
from vizdash import config
from vizdash.images.matrix import collect
from vizdash.imaging import Imaging
from vizdash.model.drift import judge
from vizdash.service import Service

ONE = sif(1 << 20, 1)


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A node whose image was brought by the legacy loop: no digest was recorded. What is done by
    sudo there is written down.
    """
    made = Cluster(tmp_path, monkeypatch)
    made.add("n1")
    await deploy(made.site(), cargo(tmp_path, ONE, "1.0"), "n1")
    (made.root("n1") / "gedit/gedit-1.0.sif.sha256").unlink()
    made.tool("n1", "sudo", 'echo "$@" >>"$NODES/sudo.log"; shift; exec "$@"')
    return made


async def verify(cluster: Cluster, **policy: object) -> list[str]:
    """Read all there is; what was told."""
    shell = cluster.shell(**policy)
    log = str(cluster.folder / "images.jsonl")
    place = config.Cluster("viz", image_root=ROOT, audit_log=log, deploy=shell.deploy)
    images = SimpleNamespace(shell=shell, forget=lambda: None)
    service = SimpleNamespace(config=config.Config(place, {}, {}), remote=None, images=images)
    matrix = await collect(shell, ["n1"], ROOT)
    told: list[str] = []
    chosen = [finding.image for finding in judge(matrix) if finding.image]
    found = await Imaging(cast("Service", service)).verify(matrix, chosen, told.append)
    assert [v.found for v in found] == [hashlib.sha256(ONE).hexdigest()]
    return told


def by_sudo(cluster: Cluster) -> list[str]:
    log = cluster.folder / "sudo.log"
    return log.read_text().splitlines() if log.exists() else []


async def test_where_sudo_is_always_meant_digests_are_recorded_by_it(cluster: Cluster) -> None:
    """The root may be ours to write and the folders in it not: they are made by sudo."""
    await verify(cluster, sudo="always")
    assert any(" verify " in f" {line} " for line in by_sudo(cluster)), by_sudo(cluster)
    _, images = await cluster.seen("n1")
    assert images["gedit-1.0.sif"].digest == hashlib.sha256(ONE).hexdigest()


async def test_where_ones_own_rights_suffice_sudo_is_not_tried(cluster: Cluster) -> None:
    await verify(cluster, sudo="auto")
    assert by_sudo(cluster) == []


async def test_why_nothing_is_recorded_is_told(cluster: Cluster) -> None:
    cluster.tool("n1", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    told = await verify(cluster, sudo="always")
    why = [line for line in told if line.startswith("digests are not recorded: ")]
    assert len(why) == 1 and "sudo says: a password is required" in why[0], told
