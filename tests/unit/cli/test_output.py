"""What verbs print: safe on a terminal, aligned, and the promised JSON."""

from __future__ import annotations

import json
import time
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vizdash.cli import output
from vizdash.model import Gres, Node, Reservation, Resources, Session, SessionState
from vizdash.util.text import cell_width, escape_control

EVIL = "\x1b[2J\x1b]0;x\x07\r\n\x9b31m\u202egnp\u200b\u2028\udcff\x00\x7f"


@given(st.text())
def test_nothing_that_moves_a_cursor_or_hides_gets_through(text: str) -> None:
    shown = escape_control(text + EVIL)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    assert "\n" not in shown
    shown.encode()


def test_escapes_can_be_read() -> None:
    assert escape_control("a\x1b[0m\nb") == "a\\x1b[0m\\nb"
    assert escape_control("파라뷰 ünd 🖥") == "파라뷰 ünd 🖥"


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3),
        ("한글", 4),
        ("e\u0301", 1),
        ("🖥", 1),
        ("😀", 2),
        ("ｗ", 2),
        ("a\u20dd", 1),
        ("", 0),
    ],
)
def test_widths(text: str, width: int) -> None:
    assert cell_width(text) == width


def test_columns_are_aligned_whatever_they_hold() -> None:
    rows = [("파라뷰", "x"), ("e\u0301", "y"), (EVIL, "z"), ("", "w")]
    lines = output.table(("NAME", "MARK"), rows).split("\n")
    assert len(lines) == 5
    starts = {
        cell_width(line[: line.rindex(mark)]) for line, mark in zip(lines[1:], "xyzw", strict=True)
    }
    assert starts == {cell_width(lines[0][: lines[0].rindex("MARK")])}
    assert all(line == line.rstrip() for line in lines)


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_message(f"bad {EVIL}")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vizdash: bad \\x1b")
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_json_keeps_its_promise(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json("nodes", [{"name": EVIL}], "viz")
    text = capsys.readouterr().out
    found = json.loads(text)
    assert (found["schema"], found["cluster"]) == (1, "viz")
    assert isinstance(found["taken_at"], int)
    assert found["nodes"] == [{"name": EVIL}]
    assert text.isascii()
    assert text.count("\n") == 1


#: Keys may be added within a schema; these may not go.
NODE_KEYS = {
    "name": "n1",
    "state": "mixed",
    "usable": True,
    "reason": "",
    "cores": 8,
    "cores_alloc": 2,
    "memory_mib": 16384,
    "memory_alloc_mib": 2048,
    "gres": [{"name": "gpu", "type": "a100", "total": 2, "used": 1}],
    "partitions": ["viz"],
    "features": [],
    "os_load": 0.5,
}
SESSION_KEYS = {
    "id": "3f9a01bc",
    "job_id": "7",
    "app": "desktop",
    "user": "alice",
    "mine": True,
    "state": "ready",
    "kind": "vizdash",
    "node": "n1",
    "partition": "viz",
    "account": "chem",
    "qos": "normal",
    "reason": "",
    "result": "",
    "step": "",
    "error": "",
    "cores": 2,
    "memory_mib": 2048,
    "gpus": 1,
    "time_limit_s": 7200,
    "time_left_s": 3600,
    "image_version": "1.0",
    "image_digest": "",
    "newer_version": "",
    "warning": "",
    "renderer": "NVIDIA A40/PCIe/SSE2",
    "submitted_at": 1799999990,
    "expected_start_at": None,
    "started_at": 1800000000,
}


RESERVATION_KEYS = {
    "name": "r",
    "start_at": 1799999990,
    "end_at": 1800000000,
    "maintenance": False,
    "users": ["bob"],
    "accounts": [],
    "groups": [],
}


def test_memory_that_is_not_tracked_is_no_number() -> None:
    node = Node("n1", "IDLE", cores=4, memory_mib=1, memory_tracked=False)
    found = output.node_json(node)
    assert (found["memory_mib"], found["memory_alloc_mib"]) == (None, None)
    assert "not tracked" in output.node_row(node)
    size = Resources(cores=2, memory_mib=0)
    session = Session("1", "2", "desktop", "alice", SessionState.READY, resources=size)
    assert output.session_json(session)["memory_mib"] is None
    assert "2c" in output.session_row(session)


def test_a_nodes_row_says_what_is_reserved_and_until_when() -> None:
    at = int(time.time()) + 3600
    bobs = Reservation("r", at - 7200, at, ("n1",), users=("bob",))
    shown = output.node_row(Node("n1", "IDLE", reason="old", reservations=(bobs,)))[-1]
    assert shown.startswith("old; reserved for bob until ")


def test_the_keys_of_schema_1_are_all_there() -> None:
    node = Node(
        "n1",
        "MIXED",
        cores=8,
        cores_alloc=2,
        memory_mib=16384,
        memory_alloc_mib=2048,
        gres=(Gres("gpu", "a100", 2, 1),),
        partitions=("viz",),
        os_load=0.5,
    )
    session = Session(
        "3f9a01bc",
        "7",
        "desktop",
        "alice",
        SessionState.READY,
        node="n1",
        partition="viz",
        account="chem",
        qos="normal",
        resources=Resources(2, 2048, 1, 7200),
        image_version="1.0",
        renderer="NVIDIA A40/PCIe/SSE2",
        submitted_at=1799999990,
        started_at=1800000000,
        time_left_s=3600,
    )
    reserved = replace(
        node, reservations=(Reservation("r", 1799999990, 1800000000, ("n1",), users=("bob",)),)
    )
    (reservation,) = output.node_json(reserved)["reservations"]
    for made, promised in (
        (reservation, RESERVATION_KEYS),
        (output.node_json(node), NODE_KEYS),
        (output.session_json(session), SESSION_KEYS),
    ):
        found = json.loads(json.dumps(made))
        assert {key: found[key] for key in promised} == promised


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": SessionState.ENDED, "result": "failed", "step": "xvnc", "error": "no"},
         "failed at xvnc: no"),
        ({"state": SessionState.ENDED, "result": "failed", "error": "no"}, "failed at start: no"),
        ({"state": SessionState.ENDED, "result": "timed out"}, "timed out"),
        ({"state": SessionState.PENDING, "reason": "waits"}, "waits"),
        ({"state": SessionState.STARTING, "step": "image"}, "step image"),
        ({"state": SessionState.READY}, ""),
        ({"state": SessionState.READY, "newer_version": "2.2"}, "2.2 is out"),
        ({"state": SessionState.READY, "viewers": 1, "newer_version": "2.2"}, "viewed; 2.2 is out"),
        ({"state": SessionState.READY, "viewers": 1, "renderer": "llvmpipe (LLVM 19)",
          "resources": Resources(gpus=1)}, "viewed; GPU unused: llvmpipe draws"),
        ({"state": SessionState.READY, "renderer": "llvmpipe (LLVM 19)"}, ""),
    ],
)  # fmt: skip
def test_the_note_of_a_session(values: dict[str, object], words: str) -> None:
    session = Session("3f9a01bc", "7", "desktop", "alice", **values)  # type: ignore[arg-type]
    assert output.note(session) == words


@pytest.mark.parametrize(("later_s", "form"), [(0, "%H:%M"), (3 * 86400, "%a %d %b, %H:%M")])
def test_an_expected_start_has_its_day_when_that_is_not_today(
    later_s: int, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 1_800_000_000 + later_s
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    waits = Session("3f9a01bc", "7", "desktop", "alice", SessionState.PENDING, reason="waits")
    shown = output.note(replace(waits, expected_start_at=at))
    assert shown == f"waits; expected start {time.strftime(form, time.localtime(at))}"
