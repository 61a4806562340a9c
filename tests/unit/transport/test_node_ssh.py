"""Which of a node's names is given to ssh: with the real getent and ssh of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import asyncssh
import pytest

from vizdash.errors import Unreachable
from vizdash.model import Node
from vizdash.transport.base import Command, Result
from vizdash.transport.local import LocalRunner
from vizdash.transport.node_ssh import NodeHost, NodeHosts

#: Never resolves (RFC 6761).
NOWHERE = "viz-node001.invalid"


class Counting(LocalRunner):
    """Counts the commands."""

    count = 0

    async def run(self, command: Command) -> Result:
        self.count += 1
        return await super().run(command)


def hosts(*nodes: Node) -> tuple[NodeHosts, Counting]:
    runner = Counting()

    async def query() -> Sequence[Node]:
        return nodes

    return NodeHosts(runner, query), runner


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (Node("localhost", "IDLE", address="127.0.0.9", hostname="elsewhere.invalid"), "localhost"),
        (Node(NOWHERE, "IDLE", address="127.0.0.9", hostname="localhost"), "localhost"),
        (Node(NOWHERE, "IDLE", address="127.0.0.9", hostname=NOWHERE), "127.0.0.9"),
        (Node(NOWHERE, "IDLE", address="::1", hostname=NOWHERE), "::1"),
        (Node(NOWHERE, "IDLE", address="-oProxyCommand=x", hostname=NOWHERE), NOWHERE),
        (Node(NOWHERE, "IDLE", address="node.invalid", hostname=NOWHERE), NOWHERE),
    ],
)
async def test_the_first_name_that_resolves(node: Node, name: str) -> None:
    found, runner = hosts(node)
    assert found.known(node.name) == NodeHost(node.name)
    assert (await found.find(node.name)).name == name
    assert found.known(node.name).name == name
    before = runner.count
    await found.find(node.name)  # resolved once, and not at once again where nothing was
    assert runner.count == before


async def test_a_node_with_one_name_costs_nothing() -> None:
    found, runner = hosts(Node(NOWHERE, "IDLE", address=NOWHERE, hostname=NOWHERE))
    assert await found.find(NOWHERE) == NodeHost(NOWHERE)
    assert await found.find("unknown") == NodeHost("unknown")
    assert runner.count == 0


async def test_an_address_that_changes_is_found_again() -> None:
    found, _ = hosts(Node(NOWHERE, "IDLE", address="127.0.0.9"))
    assert (await found.find(NOWHERE)).name == "127.0.0.9"
    found.learn([Node(NOWHERE, "IDLE", address="127.0.0.8")])
    assert (await found.find(NOWHERE)).name == "127.0.0.8"


async def test_an_engine_that_does_not_answer_leaves_the_name() -> None:
    async def query() -> Sequence[Node]:
        raise Unreachable("Slurm", "slurmctld does not answer")

    assert await NodeHosts(LocalRunner(), query).find(NOWHERE) == NodeHost(NOWHERE)


def test_an_ipv6_address_is_distinguished_from_a_path() -> None:
    assert NodeHost("fe80::1").rsync == "[fe80::1]"
    assert NodeHost("viz-node001").rsync == "viz-node001"


@pytest.mark.parametrize(
    ("setting", "known", "alias"),
    [
        ("", "127.0.0.9", ""),
        ("", NOWHERE, NOWHERE),
        ("HostKeyAlias the-node", "the-node", "the-node"),
        ("HostKeyAlias the-node", NOWHERE, ""),
        ("HostKeyAlias the-node\n Port 2222", "the-node", "the-node"),
    ],
)
async def test_the_name_that_its_host_key_is_known_by(
    setting: str, known: str, alias: str, home: Path
) -> None:
    """What our settings say of the node's own name counts, though ssh is given its address."""
    (home / ".ssh/config").write_text(f"Host {NOWHERE}\n {setting}\n")
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    (home / ".ssh/known_hosts").write_text(f"{known} {key}")
    found, _ = hosts(Node(NOWHERE, "IDLE", address="127.0.0.9", hostname=NOWHERE))
    assert await found.find(NOWHERE) == NodeHost("127.0.0.9", alias)
