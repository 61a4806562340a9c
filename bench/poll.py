"""What reading a poll of a big cluster costs: 1,000 nodes and 10,000 jobs.

The text has the shape that Slurm 24.11 was recorded with (tests/recorded), record by record with
other names and numbers. The other sides: only splitting the same text into its fields, and what
``json.loads`` takes for the same fields as JSON (Slurm's own JSON holds ten times as many).
"""

from __future__ import annotations

import itertools
import json
import re

from bench.sides import in_turn, row, worked
from tests.unit.engines.slurm_replay import Recording
from vizdash.engines.slurm import parse
from vizdash.engines.slurm.commands import JOB_FIELDS, field_mark, record_mark

_RECORDED = Recording("24.11")
NODES, JOBS = 1_000, 10_000


def nodes_text(count: int) -> str:
    """The answer of ``scontrol show node`` for ``count`` nodes."""
    lines = [line for line in _RECORDED.answer("nodes").stdout.splitlines() if line]
    names = (f"viz-node{number:05}" for number in itertools.count())
    return "\n".join(
        re.sub(r"^NodeName=\S+", f"NodeName={next(names)}", line)
        for line in itertools.islice(itertools.cycle(lines), count)
    )


def jobs_text(count: int) -> tuple[str, str]:
    """The answer of squeue for ``count`` jobs, and its nonce."""
    nonce = _RECORDED.nonce
    records = list(parse.job_records(_RECORDED.answer("squeue").stdout, nonce))
    mark, end = field_mark(nonce), record_mark(nonce) + "\n"
    chosen = itertools.islice(itertools.cycle(records), count)
    return "".join(mark.join([str(i), *r[1:]]) + end for i, r in enumerate(chosen, 1)), nonce


def run(rounds: int = 9) -> None:
    """Both texts, parsed as a poll does."""
    nodes = nodes_text(NODES)
    jobs, nonce = jobs_text(JOBS)
    assert len(parse.nodes(nodes)) == NODES
    assert len(parse.jobs(jobs, nonce)) == JOBS
    fields = [dict(zip(JOB_FIELDS, r, strict=True)) for r in parse.job_records(jobs, nonce)]
    as_json = json.dumps(fields)
    print(
        f"  {NODES:,} nodes are {len(nodes) / 1e6:.1f} MB, {JOBS:,} jobs {len(jobs) / 1e6:.1f} MB"
    )

    def split_nodes() -> float:
        return worked(lambda: [line.split() for line in nodes.splitlines()])

    def split_jobs() -> float:
        return worked(lambda: list(parse.job_records(jobs, nonce)))

    def read_nodes() -> float:
        return worked(lambda: parse.nodes(nodes))

    def read_jobs() -> float:
        return worked(lambda: parse.jobs(jobs, nonce))

    row(f"{NODES:,} nodes", in_turn(read_nodes, split_nodes, rounds), "splitting the text")
    row(f"{JOBS:,} jobs", in_turn(read_jobs, split_jobs, rounds), "splitting the text")
    loads = in_turn(read_jobs, lambda: worked(lambda: json.loads(as_json)), rounds)
    row(f"{JOBS:,} jobs", loads, "json.loads of the same fields")
