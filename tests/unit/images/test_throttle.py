"""How many nodes are queried at once, and which are not queried for a while."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace

import pytest

from tests.unit.images.node_answers import answer
from vizdash.config import Cluster, Deploy
from vizdash.images import drift, survey, throttle
from vizdash.images.drift import Inventory
from vizdash.images.node_script import NodeShell
from vizdash.images.survey import PATIENT_S, ImageSurvey, survey_nodes
from vizdash.images.throttle import LoginRefusals, Throttle
from vizdash.images.verify import verify_images
from vizdash.model import Image, ImageRoot, Node
from vizdash.transport.base import Command, Result
from vizdash.transport.local import LocalRunner

NAMES = tuple(f"viz-node{n:03}" for n in range(1, 501))
CLOSED = "Connection closed by {} port 22\n"
REFUSAL = "anna@{}: Permission denied (publickey).\n"


class CountingSshd:
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
        n: (ImageRoot(n), (Image("gedit", "/r/gedit/gedit-1.0.sif", "1.0", node=n),)) for n in NAMES
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
    sshd = CountingSshd(*NAMES, words=words)
    clock = [0.0]
    shell = NodeShell(sshd, refusals=LoginRefusals(lambda: clock[0]))
    left = known()
    found = await survey_nodes(shell, NAMES, "/r", inventory=left)
    assert len(sshd.asked) == throttle.FIRST
    assert len({name[:9] for name in sshd.asked}) == throttle.FIRST, "from all over the cluster"
    assert {i.node for i in found.images} == set(NAMES) and not found.answered
    assert "others refuse the login: " in found.roots[1].failure
    # Automatic surveys leave the nodes alone for hours, for any user.
    for clock[0] in (60.0, 3600.0, throttle.REFUSED_S - 1):
        again = await survey_nodes(shell, NAMES, "/r", inventory=left)
        assert again.roots == found.roots
        await survey_nodes(shell, NAMES[40:50], "/r")
    assert len(sshd.asked) == throttle.FIRST
    clock[0] = throttle.REFUSED_S + 1
    await survey_nodes(shell, NAMES, "/r")
    assert len(sshd.asked) == 2 * throttle.FIRST
    # Who asks for it has it tried.
    sshd.refusing.clear()
    found = await survey_nodes(shell, NAMES, "/r", asked=True)
    assert found.answered == set(NAMES)
    assert (await survey_nodes(shell, NAMES, "/r")).answered == set(NAMES)


async def test_nodes_that_refuse_do_not_delay_the_others() -> None:
    odd = NAMES[10:30]
    sshd = CountingSshd(*odd)
    shell = NodeShell(sshd)
    for _ in range(3):
        found = await survey_nodes(shell, NAMES, "/r")
        assert found.answered == set(NAMES) - set(odd)
    assert [sshd.asked.count(name) for name in odd] == [1] * len(odd)
    assert sshd.asked.count(NAMES[0]) == 3


async def test_a_node_that_is_gone_blocks_no_request() -> None:
    sshd = CountingSshd(*NAMES, words="ssh: connect to host {} port 22: No route to host\n")
    shell = NodeShell(sshd)
    await survey_nodes(shell, NAMES[:20], "/r")
    await survey_nodes(shell, NAMES[:20], "/r")
    assert len(sshd.asked) == 40


async def test_who_asks_waits_longer_than_a_dashboard() -> None:
    sshd = CountingSshd()
    shell = NodeShell(sshd)
    await survey_nodes(shell, NAMES[:1], "/r")
    await survey_nodes(shell, NAMES[:1], "/r", asked=True)
    assert sorted(sshd.timeouts) == [6.0, PATIENT_S] and PATIENT_S >= 60


async def test_surveys_and_verifications_share_one_throttle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``ulimit -n 256``: with five descriptors for each node there are 32 places at most."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    assert (Throttle().limit, Throttle(8).limit, Throttle(200).limit) == (16, 16, 32)
    sshd = CountingSshd()
    shell = NodeShell(sshd, Deploy(at_once=200), throttle=Throttle(200))
    images = [Image("gedit", "/r/gedit/gedit-1.0.sif", "1.0", node=name) for name in NAMES]
    _, verdicts, _ = await asyncio.gather(
        survey_nodes(shell, NAMES, "/r"),
        verify_images(shell, images, "/r", sudo=lambda node: False),
        survey_nodes(replace(shell, deploy=Deploy()), NAMES, "/r"),
    )
    assert len(verdicts) == 500 and all(verdict.good for verdict in verdicts)
    assert sshd.most == 32


async def test_a_survey_without_changes_gives_the_same_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not judged again then: the judgement is kept by identity."""
    made = ImageSurvey(LocalRunner(), Cluster("viz"), here=False)
    monkeypatch.setattr(survey, "_FRESH_S", -1.0)

    async def same(*words: object, **more: object) -> object:
        return Inventory(), None

    monkeypatch.setattr(drift, "read_inventory", same)

    async def found(*words: object, **more: object) -> object:
        return replace(first, roots=tuple(ImageRoot(n) for n in NAMES[:3]))

    first = await survey_nodes(NodeShell(CountingSshd()), (), "/r")
    monkeypatch.setattr(survey, "survey_nodes", found)
    nodes = [Node(name, "IDLE") for name in NAMES[:3]]
    matrix = await made.cached_matrix(nodes)
    assert [place.node for place in matrix.roots] == list(NAMES[:3])
    assert await made.cached_matrix(nodes) is matrix
