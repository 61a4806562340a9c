"""The console script in this process: its output and exit code."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vizdash.cli.program import main


@dataclass(frozen=True)
class Output:
    """What a verb printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("vizdash: ")
        return self.err.removeprefix("vizdash: ").rstrip("\n")

    @property
    def json(self) -> dict[str, Any]:
        """Stdout as the promised object."""
        found: dict[str, Any] = json.loads(self.out)
        assert found["schema"] == 1
        assert set(found) >= {"cluster", "taken_at"}
        return found


class Vizdash:
    """Runs verbs with a test's own home and config."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = home / ".config/vizdash/config.yaml"
        self.config.parent.mkdir(parents=True)
        self.config.write_text("clusters: {here: {engine: local}}\n")
        self._capsys = capsys

    def __call__(self, *words: str) -> Output:
        sys.argv = ["vizdash", *words]
        code: object = 0
        try:
            main()
        except SystemExit as e:
            code = e.code
        out, err = self._capsys.readouterr()
        assert isinstance(code, int)
        assert "Traceback" not in err
        return Output(code, out, err)
