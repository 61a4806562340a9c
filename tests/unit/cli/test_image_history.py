"""``vizdash images --history``: the site's log and the user's own, distinguished."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cli.console_script import Vizdash
from vizdash.images import audit_log
from vizdash.images.audit_log import AuditEvent


@pytest.fixture
def log(vizdash: Vizdash, tmp_path: Path) -> Path:
    path = tmp_path / "images.jsonl"
    vizdash.config.write_text(f"clusters: {{here: {{engine: local, audit_log: {path}}}}}\n")
    return path


def test_an_empty_history_is_reported(vizdash: Vizdash, log: Path) -> None:
    output = vizdash("images", "--history")
    assert (output.code, output.out) == (0, "")
    assert output.line == f"no events in {log}"
    assert vizdash("images", "--history", "--json").json["history"] == []


def test_both_logs_are_shown_in_order_and_distinguished(vizdash: Vizdash, log: Path) -> None:
    deployed = AuditEvent("deploy", "gedit", "1.0", "ab" * 32, "viz-node001", user="alice")
    audit_log.append_events(
        [AuditEvent("build", "gedit", "1.0", user="bob", account="bob", at=100)], "/dev/null/x"
    )
    audit_log.append_events(
        [replace(deployed, account="root", detail="a\x1b[31mb", at=200)], str(log)
    )
    audit_log.append_events([AuditEvent("deploy", "other", at=300)], str(log))
    rows = vizdash("images", "--history", "gedit").out.splitlines()
    assert len(rows) == 3
    assert "bob" in rows[1] and "from the user's own log" in rows[1]
    assert "alice as root" in rows[2] and "abababababab" in rows[2] and "\\x1b" in rows[2]
    assert time.strftime("%Y-%m-%d", time.localtime(200)) in rows[2]
    events = vizdash("images", "--history", "--json").json["history"]
    assert [(e["action"], e["trusted"]) for e in events] == [
        ("build", False), ("deploy", True), ("deploy", True)
    ]  # fmt: skip
    assert json.loads(log.read_text().splitlines()[0])["user"] == "alice"
