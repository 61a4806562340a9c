"""``vizdash images --history``: the site's log, and one's own told apart."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.cli.vd import Vizdash
from vizdash.images import audit
from vizdash.images.audit import Event


@pytest.fixture
def log(vizdash: Vizdash, tmp_path: Path) -> Path:
    path = tmp_path / "images.jsonl"
    vizdash.config.write_text(f"clusters: {{here: {{engine: local, audit_log: {path}}}}}\n")
    return path


def test_nothing_noted_is_said(vizdash: Vizdash, log: Path) -> None:
    said = vizdash("images", "--history")
    assert (said.code, said.out) == (0, "")
    assert said.line == f"nothing is noted in {log}"
    assert vizdash("images", "--history", "--json").json["history"] == []


def test_both_logs_are_shown_in_order_and_told_apart(vizdash: Vizdash, log: Path) -> None:
    deployed = Event("deploy", "gedit", "1.0", "ab" * 32, "viz-node001", user="alice")
    audit.record([Event("build", "gedit", "1.0", user="bob", account="bob", at=100)], "/dev/null/x")
    audit.record([replace(deployed, account="root", detail="a\x1b[31mb", at=200)], str(log))
    audit.record([Event("deploy", "other", at=300)], str(log))
    rows = vizdash("images", "--history", "gedit").out.splitlines()
    assert len(rows) == 3
    assert "bob" in rows[1] and "their own log says so" in rows[1]
    assert "alice as root" in rows[2] and "abababababab" in rows[2] and "\\x1b" in rows[2]
    assert time.strftime("%Y-%m-%d", time.localtime(200)) in rows[2]
    events = vizdash("images", "--history", "--json").json["history"]
    assert [(e["action"], e["trusted"]) for e in events] == [
        ("build", False), ("deploy", True), ("deploy", True)
    ]  # fmt: skip
    assert json.loads(log.read_text().splitlines()[0])["user"] == "alice"
