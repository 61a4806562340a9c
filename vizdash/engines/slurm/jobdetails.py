"""What polls do not ask of jobs: what they run, and where their output goes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vizdash.engines.slurm.commands import field_mark, record_mark


def job_commands(answer: str, nonce: str) -> Iterator[tuple[str, str, str]]:
    """The answer to ``commands.job_commands``: jobs' ids, their own ids and what they run."""
    for record in answer.split(record_mark(nonce) + "\n"):
        job_id, _, rest = record.partition(field_mark(nonce))
        own_id, mark, command = rest.partition(field_mark(nonce))
        if mark:
            yield job_id, own_id, command


def job_log(answer: str) -> str:
    """The file that a job's output goes to (StdOut), from ``scontrol show job``; empty for none.

    It comes after the texts that a person chose.
    """
    found = re.findall(r"^\s+StdOut=(.*)$", answer, re.MULTILINE)
    return found[-1] if found else ""
