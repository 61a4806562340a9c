"""Which of everyone's jobs matter, and that those lines alone are parsed, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engines.slurm_replay import VERSIONS, Recording
from vizdash.engines.job_selection import MOST_WAITING, JobSelection, SelectedJobs, select_jobs
from vizdash.engines.slurm import commands, parse
from vizdash.engines.slurm.commands import JOB_FIELDS, PLAIN_FIELDS, TEXT_FIELDS
from vizdash.engines.slurm.job_lines import JobLines
from vizdash.errors import Unreachable
from vizdash.model import Job
from vizdash.sessions.capacity_limits import waiting_ahead

Fields = dict[str, str]
NODES = frozenset({"viz-node001", "viz-node002"})
SELECTION = JobSelection("alice", frozenset({"vizdash-", "vizdash/1 ", "gedit"}), NODES, True)

_TEXTS = st.one_of(
    st.sampled_from(("(null)", "vizdash-desktop", "my gedit", "vizdash/1 id=3f9a01bc app=a", "")),
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=12),
)
_STATES = ("PENDING", "RUNNING", "COMPLETING", "COMPLETED", "SUSPENDED", "NEWER")
_NODES = ("", "(null)", "viz-node001", "viz-node[001-003]", "gpu1", "gpu[1-2]")
#: One job as squeue prints it: by field letters.
FIELDS = st.fixed_dictionaries(
    {
        "L": st.sampled_from(("1:00:00", "59:59", "INVALID", "UNLIMITED")),
        "T": st.sampled_from(_STATES),
        "P": st.sampled_from(("viz", "gpu", "viz,gpu")),
        "i": st.integers(1, 99).map(str),
        "u": st.sampled_from(("alice", "bob", "carol")),
        "N": st.sampled_from(_NODES),
        "C": st.sampled_from(("1", "4", "")),
        "m": st.sampled_from(("8192M", "0", "4Gc")),
        "l": st.just("1:00:00"),
        "S": st.sampled_from(("N/A", "1767225600")),
        "V": st.just("1767225000"),
        "e": st.sampled_from(("N/A", "1767229200")),
        "j": _TEXTS,
        "r": st.sampled_from(("None", "Resources", "Priority", "Dependency", "(a sentence)")),
        "b": st.sampled_from(("N/A", "gres:gpu:1")),
        "a": st.sampled_from(("chem", "(null)")),
        "q": st.just("normal"),
        "k": _TEXTS,
    }
)


def everyones(rows: Sequence[Fields], nonce: str) -> str:
    """Squeue's answer to ``commands.squeue_everyone``."""
    mark, end = commands.field_mark(nonce), commands.record_mark(nonce) + "\n"
    heads = ("\t".join(row[letter] for letter in PLAIN_FIELDS) for row in rows)
    tails = (mark.join(row[letter] for letter in TEXT_FIELDS) for row in rows)
    return "".join(f"{h}{mark}{t}{end}" for h, t in zip(heads, tails, strict=True))


def parsed(rows: Sequence[Fields]) -> list[Job]:
    """All jobs, parsed in full."""
    return [parse.job([row[letter] for letter in JOB_FIELDS]) for row in rows]


async def read(lines: JobLines, rows: Sequence[Fields], selection: JobSelection) -> SelectedJobs:
    nonce = commands.new_nonce()
    return await lines.select(everyones(rows, nonce), nonce, selection)


def job(**fields: str) -> Fields:
    values = dict.fromkeys(JOB_FIELDS, "") | {"L": "1:00", "T": "RUNNING", "P": "viz", "i": "1"}
    return values | {"u": "bob", "N": "viz-node001", "j": "solver"} | fields


@settings(max_examples=300)
@given(
    st.lists(st.lists(FIELDS, max_size=12), min_size=1, max_size=3),
    st.sampled_from((SELECTION, JobSelection("bob"), JobSelection("dora", waiting=True))),
)
async def test_the_shortcut_gives_what_parsing_everything_gives(
    polls: list[list[Fields]], selection: JobSelection
) -> None:
    lines = JobLines()
    for rows in polls:
        assert await read(lines, rows, selection) == select_jobs(parsed(rows), selection)


@settings(max_examples=100)
@given(st.lists(FIELDS, max_size=12))
async def test_no_line_is_parsed_twice_and_only_what_matters_once(rows: list[Fields]) -> None:
    lines = JobLines()
    selected = await read(lines, rows, SELECTION)
    unlike = {tuple(sorted(row.items())) for row in rows}
    assert lines.parsed <= min(len(selected.every), len(unlike) + len(rows))
    before = lines.parsed
    assert await read(lines, rows, SELECTION) == selected
    assert lines.parsed == before


async def test_a_changed_time_left_is_no_changed_line() -> None:
    rows = [job(), job(i="2", j="vizdash-desktop"), job(i="3", u="alice")]
    lines = JobLines()
    await read(lines, rows, SELECTION)
    assert lines.parsed == 3
    later = [row | {"L": "0:30"} for row in rows]
    selected = await read(lines, later, SELECTION)
    assert lines.parsed == 3
    assert [j.time_left_s for j in (*selected.own, *selected.sessions)] == [30, 30]
    assert [j.time_left_s for j in selected.holding] == [None]


async def test_one_changed_line_is_one_parsed() -> None:
    rows = [job(i=str(number)) for number in range(50)]
    lines = JobLines()
    await read(lines, rows, SELECTION)
    assert lines.parsed == 50
    rows[7] = rows[7] | {"T": "COMPLETING"}
    await read(lines, rows, SELECTION)
    assert lines.parsed == 51


async def test_lines_that_cannot_matter_are_not_parsed() -> None:
    strangers = [job(N="gpu1"), job(T="COMPLETED"), job(T="PENDING", N="", r="Dependency", S="N/A")]
    lines = JobLines()
    assert await read(lines, strangers, SELECTION) == SelectedJobs()
    assert lines.parsed == 0


async def test_another_selection_reads_the_same_lines_anew() -> None:
    rows, lines = [job(N="gpu1"), job(i="2")], JobLines()
    assert [j.id for j in (await read(lines, rows, SELECTION)).holding] == ["2"]
    wider = JobSelection("alice", nodes=NODES | {"gpu1"})
    assert [j.id for j in (await read(lines, rows, wider)).holding] == ["1", "2"]


async def test_waiting_jobs_beyond_what_the_scheduler_plans_are_counted_only() -> None:
    rows = [job(i=str(n), T="PENDING", N="", r="Priority", S="N/A") for n in range(500)]
    rows += [job(i="900", T="PENDING", N="", r="Priority", S="N/A", P="gpu")]
    lines = JobLines()
    selected = await read(lines, rows, SELECTION)
    assert selected == select_jobs(parsed(rows), SELECTION)
    assert len(selected.waiting) == lines.parsed == MOST_WAITING + 1
    assert len(waiting_ahead(selected.waiting, None, ())) > MOST_WAITING - 1


async def test_a_large_answer_is_handled_in_pieces() -> None:
    rows = [job(i=str(number), N="viz-node002", k="x" * 900) for number in range(3000)]
    rows += [job(i="9999", u="alice", k="y" * 3_000_000)]
    selected = await read(JobLines(), rows, SELECTION)
    assert selected == select_jobs(parsed(rows), SELECTION)
    assert len(selected.holding) == 3000


@pytest.mark.parametrize("left_out", [1, 2, 30, 200])
async def test_a_cut_answer_is_no_answer(left_out: int) -> None:
    nonce = commands.new_nonce()
    answer = everyones([job(), job(i="2")], nonce)[:-left_out]
    with pytest.raises(Unreachable, match="cut short"):
        await JobLines().select(answer, nonce, SELECTION)


async def test_a_nul_is_a_text_like_any_other() -> None:
    rows = [job(j="vizdash-a\0b"), job(i="2", k="vizdash/1 \0\0\0\0\0")]
    selected = await read(JobLines(), rows, SELECTION)
    assert selected == select_jobs(parsed(rows), SELECTION)
    assert [j.name for j in selected.sessions] == ["vizdash-a\0b", "solver"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_recorded_jobs_are_selected_as_if_all_were_parsed(version: str) -> None:
    engine = Recording(version).engine()
    nodes = frozenset(node.name for node in await engine.nodes())
    selection = JobSelection("alice", frozenset({"vizdash"}), nodes, waiting=True)
    selected = await engine.select_jobs(selection)
    assert selected == select_jobs(await engine.jobs(), selection)
    assert selected.own
    assert {job.id for job in selected.own} == {j.id for j in await engine.jobs(user="alice")}


def test_a_selection_that_covers_two() -> None:
    one: Any = JobSelection("alice", frozenset({"a"}), frozenset({"n1"}))
    two = JobSelection("alice", frozenset({"b"}), frozenset({"n2"}), waiting=True)
    assert not one.covers(two)
    assert one.join(two).covers(one)
    assert one.join(two).covers(two)
    assert not JobSelection("bob").covers(JobSelection("alice"))
