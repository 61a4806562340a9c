"""How many nodes are asked at once, and which not at all."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace

import pytest

from tests.unit.images.answers import answer
from vizdash.config import Cluster, Deploy
from vizdash.images import gate, inventory, watch
from vizdash.images.gate import Gate, Refusals
from vizdash.images.inventory import Inventory
from vizdash.images.matrix import ASKED_S, collect
from vizdash.images.shell import NodeShell
from vizdash.images.verify import verify
from vizdash.images.watch import ImageWatch
from vizdash.model import Image, Node, Place
from vizdash.transport.base import Command, Result
from vizdash.transport.local import LocalRunner

NAMES = tuple(f"viz-node{n:03}" for n in range(1, 501))
CLOSED = "Connection closed by {} port 22\n"
REFUSAL = "anna@{}: Permission denied (publickey).\n"


class Sshd:
    """Stands for all nodes: counts how often each was asked, and how many at once."""

    def __init__(self, *refusing: str, words: str = REFUSAL) -> None:
        self.refusing = set(refusing)
        self.words = words
        self.asked: list[str] = []
        self.timeouts: set[float] = set()
        self.now = self.most = 0

    async def run(self, command: Command) -> Result:
        if command.argv[0] == "cat":
            return Result(1, "", "cat: no such file")
        node = command.argv[-2]
        self.asked.append(node)
        self.timeouts.add(command.timeout_s)
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(5):
            await asyncio.sleep(0)
        self.now -= 1
        if node in self.refusing:
            return Result(255, "", self.words.format(node))
        if " verify " in command.argv[-1]:
            return answer(command, "read", "gedit/gedit-1.0.sif", "ab" * 32, "")
        fields = ("vizdash-images", "1", "place", "x86_64", "anna", "1", "9", "9", "rsync", "1")
        return answer(command, *fields)

    def has(self, program: str) -> bool:
        return True


def known() -> Inventory:
    images = {
        n: (Place(n), (Image("gedit", "/r/gedit/gedit-1.0.sif", "1.0", node=n),)) for n in NAMES
    }
    return Inventory().updated(images.values())


@pytest.mark.parametrize(
    "words",
    [
        REFUSAL,
        "Access denied by pam_slurm_adopt: you have no active jobs on this node\n" + CLOSED,
        "Received disconnect from {}: Too many authentication failures\n",
        "kex_exchange_identification: Connection closed by remote host\n" + CLOSED,
    ],
)
async def test_who_may_not_log_in_tries_a_few_nodes_and_has_the_inventory(words: str) -> None:
    sshd = Sshd(*NAMES, words=words)
    clock = [0.0]
    shell = NodeShell(sshd, refusals=Refusals(lambda: clock[0]))
    left = known()
    found = await collect(shell, NAMES, "/r", inventory=left)
    assert len(sshd.asked) == gate.FIRST
    assert len({name[:9] for name in sshd.asked}) == gate.FIRST, "from all over the cluster"
    assert {i.node for i in found.images} == set(NAMES) and not found.looked
    assert "others refuse: " in found.places[1].failure
    # Looks that come by themselves leave the nodes alone for hours, whoever is asked for.
    for clock[0] in (60.0, 3600.0, gate.REFUSED_S - 1):
        again = await collect(shell, NAMES, "/r", inventory=left)
        assert again.places == found.places
        await collect(shell, NAMES[40:50], "/r")
    assert len(sshd.asked) == gate.FIRST
    clock[0] = gate.REFUSED_S + 1
    await collect(shell, NAMES, "/r")
    assert len(sshd.asked) == 2 * gate.FIRST
    # Who asks for it has it tried.
    sshd.refusing.clear()
    found = await collect(shell, NAMES, "/r", asked=True)
    assert found.looked == set(NAMES)
    assert (await collect(shell, NAMES, "/r")).looked == set(NAMES)


async def test_nodes_that_refuse_keep_nobody_from_the_others() -> None:
    odd = NAMES[10:30]
    sshd = Sshd(*odd)
    shell = NodeShell(sshd)
    for _ in range(3):
        found = await collect(shell, NAMES, "/r")
        assert found.looked == set(NAMES) - set(odd)
    assert [sshd.asked.count(name) for name in odd] == [1] * len(odd)
    assert sshd.asked.count(NAMES[0]) == 3


async def test_a_node_that_is_gone_refuses_nobody() -> None:
    sshd = Sshd(*NAMES, words="ssh: connect to host {} port 22: No route to host\n")
    shell = NodeShell(sshd)
    await collect(shell, NAMES[:20], "/r")
    await collect(shell, NAMES[:20], "/r")
    assert len(sshd.asked) == 40


async def test_who_asks_waits_longer_than_a_dashboard() -> None:
    sshd = Sshd()
    shell = NodeShell(sshd)
    await collect(shell, NAMES[:1], "/r")
    await collect(shell, NAMES[:1], "/r", asked=True)
    assert sorted(sshd.timeouts) == [6.0, ASKED_S] and ASKED_S >= 60


async def test_looks_and_verifications_pass_one_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ulimit -n 256``: with five descriptors for each node there are 32 places at most."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    assert (Gate().places, Gate(8).places, Gate(200).places) == (16, 16, 32)
    sshd = Sshd()
    shell = NodeShell(sshd, Deploy(at_once=200), gate=Gate(200))
    images = [Image("gedit", "/r/gedit/gedit-1.0.sif", "1.0", node=name) for name in NAMES]
    _, verdicts, _ = await asyncio.gather(
        collect(shell, NAMES, "/r"),
        verify(shell, images, "/r", sudo=lambda node: False),
        collect(replace(shell, deploy=Deploy()), NAMES, "/r"),
    )
    assert len(verdicts) == 500 and all(verdict.good for verdict in verdicts)
    assert sshd.most == 32


async def test_a_look_that_finds_the_same_gives_the_same_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody judges it again then: what is judged is told by its identity."""
    made = ImageWatch(LocalRunner(), Cluster("viz"), here=False)
    monkeypatch.setattr(watch, "_GOOD_S", -1.0)

    async def same(*words: object, **more: object) -> object:
        return Inventory(), None

    monkeypatch.setattr(inventory, "read", same)

    async def found(*words: object, **more: object) -> object:
        return replace(first, places=tuple(Place(n) for n in NAMES[:3]))

    first = await collect(NodeShell(Sshd()), (), "/r")
    monkeypatch.setattr(watch, "collect", found)
    nodes = [Node(name, "IDLE") for name in NAMES[:3]]
    matrix = await made.matrix(nodes)
    assert [place.node for place in matrix.places] == list(NAMES[:3])
    assert await made.matrix(nodes) is matrix
