"""README lists every key of the JSON that verbs write."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.vd import Vizdash
from vizdash import output
from vizdash.cli import images, tunnels
from vizdash.cli.outcome import outcomes
from vizdash.config import Explained
from vizdash.doctor import Finding
from vizdash.images.audit import Event
from vizdash.images.progress import Progress
from vizdash.images.store import Built
from vizdash.imaging import View
from vizdash.model import Gres, Image, Matrix, Node, Place, Reservation, Session, SessionState
from vizdash.model.drift import judge
from vizdash.sessions.tunnel_records import TunnelRecord

README = Path(__file__).resolve().parents[3] / "README.md"
_ROW = re.compile(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", re.MULTILINE)
_TUNNEL = TunnelRecord(
    id="", session="", job_id="", app="", node="", cluster="", address="", port=1, holder="", pid=1,
    started="", opened_at=1, machine="", host="", pid_space="", boot="",
)  # fmt: skip


def listed() -> dict[str, set[str]]:
    """README's table: where the keys are, and their names."""
    return {
        name: set(re.findall(r"`(\w+)`", keys)) for name, keys in _ROW.findall(README.read_text())
    }


def keys(something: Any) -> set[str]:
    return {field.name for field in fields(something)}


@pytest.fixture
def image_view(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``vizdash images --json`` writes of one image on one node."""
    matrix = Matrix((Image("gedit", "/i/gedit-1.sif", "1", node="n1"),), (Place("n1"),))
    images._write_json(View("viz", matrix), judge(matrix), ())
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_key_is_listed(vizdash: Vizdash, image_view: dict[str, Any]) -> None:
    node = output.node_json(Node("n1", "IDLE", reservations=(Reservation("r", 0, 1),)))
    session = set(output.session_json(Session("a", "1", "x", "u", SessionState.READY)))
    (app, *_) = vizdash("apps", "--json").json["apps"]
    (preset, *_) = app["presets"].values()
    (outcome,) = outcomes(Progress(["n1"]))
    assert listed() == {
        "nodes": set(node),
        "gres": keys(Gres),
        "reservations": set(node["reservations"][0]),
        "sessions": session,
        "session": session,
        "stopped": {"ending", "failed"},
        "failed": {"id", "error"},
        "test": {"fits_now", "expected_start_at", "words"},
        "tunnels": set(tunnels._json(_TUNNEL)),
        "apps": set(app),
        "presets": set(preset),
        "images": set(image_view["images"][0]),
        "places": set(image_view["places"][0]),
        "image": keys(Built),
        "history": keys(Event),
        "deploy": {"app", "version", "digest", "nodes"},
        "rollback": {"app", "version", "nodes"},
        "prune": {"app", "nodes"},
        "outcomes": set(outcome),
        "findings": keys(Finding),
        "config": keys(Explained),
    }
