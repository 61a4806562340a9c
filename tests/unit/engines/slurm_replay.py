"""Real Slurm's recorded answers (tests/recorded), played back to the engine."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests import transcripts
from tests.transcripts import RecordedCommand
from vizdash.engines.slurm import SlurmEngine, commands, parse
from vizdash.model import JobRequest, Resources
from vizdash.transport import Command, Result

FOLDER = Path(__file__).resolve().parents[2] / "recorded"

#: The recorded versions of Slurm: ``22.05``, ``24.11``, ...
VERSIONS = sorted(path.parent.name for path in FOLDER.glob("*/jobs.json"))

#: A request for a desktop, as small as can be.
DESKTOP_REQUEST = JobRequest(
    name="vizdash-desktop",
    script="#!/bin/bash\ntrue\n",
    session_id="0a1b2c3d",
    app="desktop",
    comment="",
    output="/dev/null",
    resources=Resources(),
)

_NONCE = re.compile(r"(?:--format=%i|--delimiter=|%e)<([0-9a-f]{24})>")


@dataclass(frozen=True)
class Recording:
    """The recorded answers of one version of Slurm."""

    version: str

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split("."))

    @cached_property
    def _jobs(self) -> dict[str, Any]:
        jobs: dict[str, Any] = json.loads((FOLDER / self.version / "jobs.json").read_text())
        return jobs

    @cached_property
    def _commands(self) -> dict[str, RecordedCommand]:
        files = sorted((FOLDER / self.version).glob("*.txt"))
        return {name: one for file in files for name, one in transcripts.load(file).items()}

    @property
    def nonce(self) -> str:
        """The random part of the separator in the recording."""
        return str(self._jobs["nonce"])

    def job(self, key: str) -> str:
        """A recorded job's id; empty if this version refused the job."""
        return str(self._jobs["ids"].get(key, ""))

    @property
    def jobs(self) -> dict[str, str]:
        """The ids of all recorded jobs, by their names in the recording."""
        return dict(self._jobs["ids"])

    def argv(self, name: str) -> list[str]:
        """The recorded command, from Slurm's program on."""
        return list(self._commands[name].argv)

    def names(self, start: str = "") -> list[str]:
        """The names of all recorded commands, or of those that begin with ``start``."""
        return [name for name in self._commands if name.startswith(start)]

    def command(self, name: str) -> RecordedCommand:
        """A recorded command with its answer in bytes."""
        return self._commands[name]

    def answer(self, name: str) -> Result:
        """A command's answer as a transport returns it."""
        recorded = self._commands[name]
        assert recorded.code is not None
        return Result(recorded.code, os.fsdecode(recorded.stdout), os.fsdecode(recorded.stderr))

    def engine(self, tail: str = "", user: str = "alice", **instead: str) -> SlurmEngine:
        """An engine that gets these answers, chosen as Replay does."""
        return SlurmEngine(Replay(self, tail, instead), user=user)


@dataclass
class Replay:
    """A CommandRunner that finds the answer by the command, and uses the command's nonce.

    ``tail`` chooses a situation (``-down``); ``instead`` names the answer of a program
    (``sbatch="sbatch-memory"``).
    """

    recording: Recording
    tail: str = ""
    instead: dict[str, str] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)

    async def run(self, command: Command) -> Result:
        """See CommandRunner.run."""
        if command.argv[0] == "cat":  # the images' inventory: this site has none
            return Result(1, "", f"cat: {command.argv[-1]}: No such file or directory\n")
        self.commands.append(command)
        words = from_program(command)
        result = self.recording.answer(self.instead.get(words[0]) or self._name(words))
        match = _NONCE.search(" ".join(words))
        if match is None:
            return result
        if words[-1].startswith("--format=%L\t"):
            text = as_everyones_jobs(result.stdout, self.recording.nonce, match[1])
            return Result(result.code, text, result.stderr)
        stdout = result.stdout.replace(self.recording.nonce, match[1])
        return Result(result.code, stdout, result.stderr)

    def has(self, program: str) -> bool:
        """See CommandRunner.has."""
        return True

    def _name(self, words: list[str]) -> str:
        kinds = {"node": "nodes", "partition": "partitions", "config": "config"}
        kinds["reservation"] = "reservations"
        if words[-1] == "flags=users":
            name = f"user-{words[-2].removeprefix('users=')}{self.tail}"
            # The accounting does not know eve.
            return name if name in self.recording.names("user-") else f"user-eve{self.tail}"
        if words[0] == "scontrol":
            return kinds[words[-1]] + self.tail
        if any(word.startswith("--user=") for word in words):
            return f"{words[0]}-user{self.tail}"
        return words[0] + self.tail


def as_everyones_jobs(answer: str, nonce: str, new_nonce: str) -> str:
    """squeue's recorded answer, as it answers ``commands.squeue_everyone`` (of which a cut record
    has nothing).
    """
    text = ""
    for fields in parse.job_records(answer, nonce):
        by_letter = dict(zip(commands.JOB_FIELDS, fields, strict=True))
        plain = "\t".join(by_letter[letter] for letter in commands.PLAIN_FIELDS)
        texts = (by_letter[letter] for letter in commands.TEXT_FIELDS)
        text += commands.field_mark(new_nonce).join([plain, *texts])
        text += f"{commands.record_mark(new_nonce)}\n"
    return text


def from_program(command: Command) -> list[str]:
    """The command without env(1)'s part."""
    programs = {"squeue", "scontrol", "sbatch", "scancel", "sacct"}
    at = next(i for i, word in enumerate(command.argv) if word in programs)
    return list(command.argv[at:])
