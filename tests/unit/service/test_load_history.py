"""The load history: a sample a minute for a day, written whole, and no bad data accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vizdash.model import Gres, Node, Session, SessionState, Snapshot
from vizdash.service.load_history import KEPT, LoadHistory, LoadSample, history_file

NODE = Node(
    "n1",
    "MIXED",
    cores=8,
    cores_alloc=2,
    memory_mib=4096,
    memory_alloc_mib=1024,
    gres=(Gres("gpu", "", 2, 1),),
)
MINE = Session("a", "1", "desktop", "me", SessionState.READY)
THEIRS = Session("b", "2", "desktop", "you", SessionState.READY, mine=False)
OVER = Session("c", "3", "desktop", "me", SessionState.ENDED)


def at(seconds: float) -> Snapshot:
    sessions = (MINE, THEIRS, OVER)
    return Snapshot("c", "slurm", "viz", "me", (NODE,), (), sessions, taken_at=seconds)


def test_a_sample_counts_what_is_live_and_what_takes_jobs() -> None:
    assert LoadSample.of(at(60)) == LoadSample(60, 2, 8, 1024, 4096, 1, 2, 2, 1)


def test_one_a_minute() -> None:
    history = LoadHistory(None)
    taken = [history.take(at(s)) for s in (0, 10, 59, 60, 61, 120)]
    assert taken == [True, False, False, True, False, True]
    assert [s.at for s in history.since(60)] == [60, 120]


def test_a_clock_that_ran_ahead_does_not_stop_it(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    history = LoadHistory(path)
    day = 86400.0
    for seconds in (0.0, 60.0, day, day + 60):
        assert history.take(at(seconds))
    history.write()
    history = LoadHistory(path)
    assert [history.take(at(s)) for s in (100.0, 120.0, 180.0)] == [False, True, True]
    history.write()
    assert [s.at for s in LoadHistory(path)] == [0, 60, 120, 180]


def test_a_clock_that_is_set_back_by_seconds_loses_nothing() -> None:
    history = LoadHistory(None)
    taken = [history.take(at(s)) for s in (0, 60, 58, 119, 120)]
    assert taken == [True, True, False, False, True]
    assert [s.at for s in history] == [0, 60, 120]


def test_it_is_bounded() -> None:
    history = LoadHistory(None)
    for n in range(KEPT + 50):
        history.take(at(n * 60.0))
    assert len(history) == KEPT
    assert next(iter(history)).at == 50 * 60


def test_it_outlives_the_program(tmp_path: Path) -> None:
    path = tmp_path / "state" / "history-viz.json"
    history = LoadHistory(path)
    due = []
    for n in range(5):
        history.take(at(n * 60.0))
        due.append(history.due)
    history.write()
    assert [*due, history.due] == [False, False, False, False, True, False]
    assert list(LoadHistory(path)) == list(history)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 2, "samples": [[1]]}',
        '{"schema": 1}',
        '{"schema": 1, "samples": [["x"]]}',
        '{"schema": 1, "samples": [[1,2,3,4,5,6,7,8,9,10]]}',
        '{"schema": 1, "samples": 5}',
    ],
)
def test_a_bad_file_is_an_empty_history(tmp_path: Path, text: str) -> None:
    path = tmp_path / "h.json"
    path.write_text(text)
    history = LoadHistory(path)
    assert len(history) == 0
    history.take(at(0))
    history.write()
    assert json.loads(path.read_text())["schema"] == 1


def test_a_file_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = LoadHistory(tmp_path / "file" / "h.json")
    history.take(at(0))
    history.write()
    assert len(history) == 1


def test_each_cluster_has_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file("viz") == tmp_path / "vizdash" / "history-viz.json"
