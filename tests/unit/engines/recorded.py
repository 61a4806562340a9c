"""What real Slurm said (tests/recorded), played back to the engine."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vizdash.engines.slurm import SlurmEngine
from vizdash.transport import Command, Result

FOLDER = Path(__file__).resolve().parents[2] / "recorded"

#: The generations of Slurm that were recorded: ``22.05``, ``24.11``, ...
VERSIONS = sorted(path.parent.name for path in FOLDER.glob("*/commands.json"))

_NONCE = re.compile(r"(?:--format=%i|--delimiter=)<([0-9a-f]{24})>")


@dataclass(frozen=True)
class Recording:
    """One generation's answers."""

    version: str

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split("."))

    @cached_property
    def _facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((FOLDER / self.version / "commands.json").read_text())
        return found

    @property
    def nonce(self) -> str:
        """The separator's random part when this was recorded."""
        return str(self._facts["nonce"])

    def job(self, key: str) -> str:
        """A recorded job's id; empty if this generation would not have it."""
        return str(self._facts["ids"].get(key, ""))

    @property
    def jobs(self) -> dict[str, str]:
        """All jobs: what they are called here, and their ids."""
        return dict(self._facts["ids"])

    def asked(self, name: str) -> list[str]:
        """The command whose answer was kept, from the program on."""
        return list(self._facts["asked"][name])

    def names(self, start: str = "") -> list[str]:
        """The names of all answers."""
        return [name for name in self._facts["asked"] if name.startswith(start)]

    def answer(self, name: str) -> Result:
        """An answer as a transport brings it."""
        stem = FOLDER / self.version / name
        return Result(
            int(Path(f"{stem}.code").read_text()),
            os.fsdecode(Path(f"{stem}.out").read_bytes()),
            os.fsdecode(Path(f"{stem}.err").read_bytes()),
        )

    def engine(self, tail: str = "", user: str = "alice", **instead: str) -> SlurmEngine:
        """An engine that is given these answers; see Replay."""
        return SlurmEngine(Replay(self, tail, instead), user=user)


@dataclass
class Replay:
    """A CommandRunner: finds the answer by the command, and plays it with the command's nonce.

    ``tail`` chooses among situations (``-down``); ``instead`` names answers outright, by
    program (``sbatch="sbatch-memory"``).
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
            # eve is someone whom the accounting does not know.
            return name if name in self.recording.names("user-") else f"user-eve{self.tail}"
        if words[0] == "scontrol":
            return kinds[words[-1]] + self.tail
        if any(word.startswith("--user=") for word in words):
            return f"{words[0]}-user{self.tail}"
        return words[0] + self.tail


def from_program(command: Command) -> list[str]:
    """The command without env(1)'s part."""
    programs = {"squeue", "scontrol", "sbatch", "scancel", "sacct"}
    at = next(i for i, word in enumerate(command.argv) if word in programs)
    return list(command.argv[at:])
