"""Images read whole where writing needs sudo(8), with the real script."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.fakes import FakeEngine, service_on
from tests.integration.images.folder_nodes import (
    ROOT,
    FolderNodes,
    deploy,
    sif_like_bytes,
    write_image,
)
from vizdash import config
from vizdash.images.drift import compare_images
from vizdash.images.survey import survey_nodes
from vizdash.service.image_admin import ImageAdmin

ONE = sif_like_bytes(1 << 20, 1)


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderNodes:
    """A node whose image was brought by the legacy loop: no digest was recorded. What is done by
    sudo there is written down.
    """
    made = FolderNodes(tmp_path, monkeypatch)
    made.add("n1")
    await deploy(made.site(), write_image(tmp_path, ONE, "1.0"), "n1")
    (made.root("n1") / "gedit/gedit-1.0.sif.sha256").unlink()
    made.tool("n1", "sudo", 'echo "$@" >>"$NODES/sudo.log"; shift; exec "$@"')
    return made


async def verify(cluster: FolderNodes, **policy: object) -> list[str]:
    """Verify all images; returns the messages."""
    shell = cluster.shell(**policy)
    log = str(cluster.folder / "images.jsonl")
    place = config.Cluster("viz", image_root=ROOT, audit_log=log, deploy=shell.deploy)
    settings = config.Config(place, {}, {})
    service = service_on(FakeEngine(), config=settings, runner=shell.runner)
    matrix = await survey_nodes(shell, ["n1"], ROOT, asked=True)
    messages: list[str] = []
    chosen = [finding.image for finding in compare_images(matrix) if finding.image]
    found = await ImageAdmin(service).verify(matrix, chosen, messages.append)
    assert [v.found for v in found] == [hashlib.sha256(ONE).hexdigest()]
    return messages


def by_sudo(cluster: FolderNodes) -> list[str]:
    log = cluster.folder / "sudo.log"
    return log.read_text().splitlines() if log.exists() else []


async def test_with_sudo_always_digests_are_recorded_by_sudo(
    cluster: FolderNodes,
) -> None:
    """The root may be ours to write and the folders in it not: they are made by sudo."""
    await verify(cluster, sudo="always")
    assert any(" verify " in f" {line} " for line in by_sudo(cluster)), by_sudo(cluster)
    _, images = await cluster.survey("n1")
    assert images["gedit-1.0.sif"].digest == hashlib.sha256(ONE).hexdigest()


async def test_where_the_users_rights_suffice_sudo_is_not_tried(cluster: FolderNodes) -> None:
    await verify(cluster, sudo="auto")
    assert by_sudo(cluster) == []


async def test_the_reason_why_nothing_is_recorded_is_reported(cluster: FolderNodes) -> None:
    cluster.tool("n1", "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    messages = await verify(cluster, sudo="always")
    why = [line for line in messages if line.startswith("digests are not recorded: ")]
    assert len(why) == 1 and "sudo reports: a password is required" in why[0], messages
