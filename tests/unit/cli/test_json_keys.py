"""docs/json.md lists every key of the JSON that verbs write."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.console_script import Vizdash
from vizdash.cli import images, output, share, ssh, tunnels
from vizdash.cli.change_report import outcomes
from vizdash.config import Explained
from vizdash.images.audit_log import AuditEvent
from vizdash.images.drift import compare_images
from vizdash.images.image_store import BuiltImage
from vizdash.images.progress import ChangeProgress
from vizdash.model import Gres, Image, ImageRoot, Matrix, Node, Reservation, Session, SessionState
from vizdash.service.doctor import Finding
from vizdash.service.image_admin import ImageOverview
from vizdash.sessions.join import Offer
from vizdash.sessions.share import ShareTerms
from vizdash.sessions.share_records import ShareRecord
from vizdash.sessions.ssh_host import SshHost
from vizdash.sessions.tunnel_records import TunnelRecord

PAGE = Path(__file__).resolve().parents[3] / "docs/json.md"
_ROW = re.compile(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", re.MULTILINE)
_TUNNEL = TunnelRecord(
    id="", session="", job_id="", app="", node="", cluster="", address="", port=1, holder="", pid=1,
    started="", opened_at=1, machine="", host="", pid_space="", boot="",
)  # fmt: skip

_TERMS = ShareTerms("", "", "", "", control=False, expires_at=None)
_SHARE = ShareRecord(
    id="", session="", job_id="", app="", cluster="", pid=1, started="", opened_at=1, machine="",
    host="", pid_space="", boot="", guest="", control=False, expires_at=None, login_host="",
    watching=0,
)  # fmt: skip
_OFFER = Offer("", "", "", "", control=False, expires_at=None, folder="")


def documented_keys() -> dict[str, set[str]]:
    """The page's table: where the keys are, and their names."""
    return {
        name: set(re.findall(r"`(\w+)`", keys)) for name, keys in _ROW.findall(PAGE.read_text())
    }


def keys(something: Any) -> set[str]:
    return {field.name for field in fields(something)}


@pytest.fixture
def image_view(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What ``vizdash images --json`` writes of one image on one node."""
    matrix = Matrix((Image("gedit", "/i/gedit-1.sif", "1", node="n1"),), (ImageRoot("n1"),))
    images._write_json(ImageOverview("viz", matrix), compare_images(matrix), ())
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_every_key_is_listed(vizdash: Vizdash, image_view: dict[str, Any]) -> None:
    node = output.node_json(Node("n1", "IDLE", reservations=(Reservation("r", 0, 1),)))
    session = set(output.session_json(Session("a", "1", "x", "u", SessionState.READY)))
    (app, *_) = vizdash("apps", "--json").json["apps"]
    (preset, *_) = app["presets"].values()
    (outcome,) = outcomes(ChangeProgress(["n1"]))
    assert documented_keys() == {
        "nodes": set(node),
        "gres": keys(Gres),
        "reservations": set(node["reservations"][0]),
        "sessions": session,
        "session": session,
        "stopped": {"ending", "failed"},
        "failed": {"id", "error"},
        "test": {"fits_now", "expected_start_at", "words"},
        "tunnels": set(tunnels._json(_TUNNEL)),
        "hosts": set(ssh._json(SshHost("3f9a01bc", "u", Path("/f")), "n1", "vizdash")),
        "share": set(share._terms_json(_TERMS, "login")),
        "shares": set(share._record_json(_SHARE)),
        "offers": set(share.offer_json(_OFFER)),
        "apps": set(app),
        "presets": set(preset),
        "images": set(image_view["images"][0]),
        "places": set(image_view["places"][0]),
        "image": keys(BuiltImage),
        "history": keys(AuditEvent),
        "deploy": {"app", "version", "digest", "nodes"},
        "rollback": {"app", "version", "nodes"},
        "prune": {"app", "nodes"},
        "outcomes": set(outcome),
        "findings": keys(Finding),
        "config": keys(Explained),
    }
