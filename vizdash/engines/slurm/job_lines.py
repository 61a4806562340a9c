"""Everyone's jobs from squeue's lines: only those that matter are parsed, each line once."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace

from vizdash.engines.job_selection import (
    OTHER,
    OWN,
    SESSION,
    WAITS,
    JobSelection,
    JobSorter,
    SelectedJobs,
)
from vizdash.engines.slurm import parse, values
from vizdash.engines.slurm.commands import PLAIN_FIELDS, TEXT_FIELDS, field_mark, record_mark
from vizdash.engines.slurm.reasons import describe_reason
from vizdash.errors import Unreachable
from vizdash.model import Job, JobState

#: Characters of an answer that are handled at a time.
_PIECE = 1 << 19
#: Stands for the separator, which differs from answer to answer, in lines that are remembered.
_STAND_IN = "\0"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line's job, what it is to the selection, and its time left as squeue prints it."""

    job: Job
    kind: int
    left: str


class JobLines:
    """Selects jobs from squeue's answers, and remembers those of the last one by their lines.
    ``parsed`` counts the lines that were made into jobs.
    """

    def __init__(self) -> None:
        self.parsed = 0
        self._selection: JobSelection | None = None
        self._known: dict[str, _Line] = {}

    async def select(self, answer: str, nonce: str, selection: JobSelection) -> SelectedJobs:
        """The jobs of ``selection`` in an answer to ``commands.squeue_everyone``.

        Raises Unreachable where the answer is incomplete.
        """
        end = record_mark(nonce) + "\n"
        if answer and not answer.endswith(end):
            raise Unreachable("squeue", "its answer was cut short")
        known = self._known if selection == self._selection else {}
        kept: dict[str, _Line] = {}
        sorter = JobSorter(selection)
        mark = field_mark(nonce)
        # No text of Slurm's holds a NUL.
        stand_in = _STAND_IN if _STAND_IN not in answer else mark
        at = 0
        while at < len(answer):
            stop = answer.find(end, min(at + _PIECE, len(answer) - len(end))) + len(end)
            for record in answer[at:stop].replace(mark, stand_in).split(end)[:-1]:
                left, _, text = record.partition("\t")
                line = self._line(left, text, stand_in, sorter, known.get(text))
                if line is not None:
                    kept[text] = line
                    sorter.put(line.job, line.kind)
            at = stop
            await asyncio.sleep(0)  # a large answer takes long: keys come first
        self._selection, self._known = selection, kept
        return sorter.selected

    def _line(
        self, left: str, text: str, mark: str, sorter: JobSorter, known: _Line | None
    ) -> _Line | None:
        """What a line holds; None where it does not matter, or has not every field."""
        if known is None:
            return self._read(left, text, mark, sorter)
        if known.left == left or known.kind not in {OWN, SESSION}:
            return (
                known if known.kind != WAITS or sorter.wants_waiting(known.job.partition) else None
            )
        job = replace(known.job, time_left_s=values.seconds(left))
        return _Line(job, known.kind, left)

    def _read(self, left: str, text: str, mark: str, sorter: JobSorter) -> _Line | None:
        plain, *texts = text.split(mark)
        words = plain.split("\t")
        if len(words) + 1 != len(PLAIN_FIELDS) or len(texts) != len(TEXT_FIELDS):
            return None
        code, partition, job_id, user, node, cpus, memory, limit, start, submit, end = words
        name, reason, gres, account, qos, comment = texts
        kind = sorter.class_by_texts(user, name, "" if comment == "(null)" else comment)
        if kind == OTHER:
            state = parse.STATES.get(code, JobState.UNKNOWN)
            kind = sorter.holds(state, values.text(node))
            if state is JobState.PENDING and (kind or sorter.wants_waiting(partition)):
                kind |= sorter.waits(state, describe_reason(reason), values.epoch(start))
            if kind == OTHER:
                return None
            left = ""
        self.parsed += 1
        shared = map(sys.intern, (user, name, code, partition, reason, node))
        user, name, code, partition, reason, node = shared
        account, qos = sys.intern(account), sys.intern(qos)
        job = parse.job(
            [job_id, user, name, code, partition, reason, node, cpus, memory, gres, limit, left,
             start, submit, account, qos, end, comment]
        )  # fmt: skip
        return _Line(job, kind, left)
