"""Many records of scontrol: read the short way as the long way, and not again while unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.engines.slurm_replay import VERSIONS, Recording, Replay
from vizdash.engines.slurm import SlurmEngine, parse
from vizdash.engines.slurm.parse import RecordReader, read_pairs
from vizdash.model import Node

_PLAIN = "NodeName={name} Arch=x86_64  CPUAlloc={alloc} Gres=(null) CfgTRES=cpu=4,mem=1G"
_WITH_OS = _PLAIN + " OS=Linux 6.1 #1 SMP  RealMemory=3584 State=MIXED"
_WITH_REASON = _WITH_OS + " Reason=out of order [root@2026-11-29T05:00:00]"
_FORMS = (_PLAIN, _WITH_OS, _WITH_REASON)

#: Endings and words that a record may have where another has none.
_ODD = st.one_of(
    st.sampled_from(
        ("", " ", "  ", "\n", " \t", " a b", " X=1", " RealMemory=1", " State=DOWN", " Reason=a=b")
    ),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=8),
)


def primed() -> RecordReader:
    """A reader that has seen enough records of each form."""
    reader = RecordReader()
    for form in _FORMS:
        for number in range(parse.ALIKE + 1):
            reader.read(form.format(name=f"n{number}", alloc=number))
    return reader


_READER = primed()


@settings(max_examples=500)
@given(st.sampled_from(_FORMS), _ODD, _ODD, _ODD, st.integers(0, 120))
@example(_WITH_REASON, "", "", " and Comment=x=y", 0)
@example(_WITH_OS, "", "\n", "", 70)
def test_the_short_way_reads_what_the_long_way_reads(
    form: str, name: str, alloc: str, end: str, at: int
) -> None:
    record = form.format(name=f"n{name}", alloc=f"4{alloc}") + end
    for one in (record, record[:at] + end + record[at:]):
        assert _READER.read(one) == read_pairs(one)


def test_the_short_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, calls = primed(), []

    def long_way(record: str) -> Mapping[str, str]:
        calls.append(record)
        return {}

    monkeypatch.setattr(parse, "read_pairs", long_way)
    for form in _FORMS:
        assert reader.read(form.format(name="n7", alloc="2"))["NodeName"] == "n7"
    assert calls == []


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_nodes_of_a_large_cluster(version: str) -> None:
    """The recorded nodes, many times over."""
    lines = [line for line in Recording(version).answer("nodes").stdout.splitlines() if line]
    reader = RecordReader()
    for number in range(150):
        for line in lines:
            record = line.replace("NodeName=", f"NodeName=x{number}", 1)
            assert reader.read(record) == read_pairs(record)


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_unchanged_node_is_not_parsed_again(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording(version)
    engine = SlurmEngine(Replay(recording), user="alice")
    first = await engine.nodes()
    assert first == parse.nodes(recording.answer("nodes").stdout, await engine._configured())

    def fail(*_: object) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(parse, "node", fail)
    again = await engine.nodes()
    assert all(one is other for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("version", VERSIONS)
async def test_nodes_and_partitions_together_are_one_query_of_each(version: str) -> None:
    replay = Replay(Recording(version))
    engine = SlurmEngine(replay, user="alice")
    nodes, partitions = await asyncio.gather(engine.nodes(), engine.partitions())
    asked = [command.argv[-1] for command in replay.commands]
    assert sorted(asked) == ["config", "node", "partition"]
    assert {name for p in partitions for name in p.nodes} <= {node.name for node in nodes}
    alone = SlurmEngine(Replay(Recording(version)), user="alice")
    assert await alone.partitions() == partitions


def test_a_changed_node_is_parsed_again() -> None:
    known: dict[str, Node] = {}
    text = "NodeName=a State=IDLE CPUTot=4\nNodeName=b State=IDLE CPUTot=4\n"
    first = parse.nodes(text, known=known)
    second = parse.nodes(text.replace("b State=IDLE", "b State=DOWN"), known=known)
    assert second[0] is first[0]
    assert [node.state for node in second] == ["IDLE", "DOWN"]
    assert len(known) == 2
