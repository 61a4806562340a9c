"""The recorder of Slurm's answers writes transcripts that the tests can load."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.transcripts import load
from tests.unit.engines.slurm_replay import FOLDER, Recording


@pytest.fixture
def record() -> ModuleType:
    """tests/recorded/record, which is a program without an ending."""
    spec = spec_from_loader("record", SourceFileLoader("record", str(FOLDER / "record")))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_writes_a_transcript_for_each_kind_of_case(
    record: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder: Any = record.Recorder(tmp_path, tmp_path)
    recorder.out.mkdir()
    done = subprocess.CompletedProcess([], 1, b"out \xff", b"error\n")
    monkeypatch.setattr(recorder, "ask", lambda *args: done)
    monkeypatch.setattr(recorder, "version", lambda: (24, 11))
    monkeypatch.setattr(recorder, "ids", defaultdict(lambda: "7", {"session": "1"}))
    recorder.case = "queries"
    recorder.queries()
    recorder.cancels()
    recorder.tests()
    recorder.changes()
    recorder.finish()
    assert json.loads((recorder.out / "jobs.json").read_text())["nonce"] == record.NONCE
    real = Recording("24.11")
    for case in ("queries", "cancels", "start-tests", "changes"):
        recorded = load(recorder.out / f"{case}.txt")
        assert recorded.keys() <= load(FOLDER / "24.11" / f"{case}.txt").keys()
        for name, command in recorded.items():
            assert command.argv[0] == real.argv(name)[0]
            assert (command.code, command.stdout, command.stderr) == (1, b"out \xff", b"error\n")
