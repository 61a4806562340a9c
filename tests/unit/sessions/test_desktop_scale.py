"""A desktop's scale, from the request or the configuration to the job and the browser's address."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.sessions.test_submit import APP, CLUSTER, REQUEST, made, variables
from vizdash.config.load import load
from vizdash.errors import UsageError
from vizdash.model import Job, JobState, Session, SessionRequest, SessionState
from vizdash.sessions.comment import Claim
from vizdash.sessions.folder import connection_of, job_record, pairs_of, status_of
from vizdash.sessions.last_request import parse_request, repeat_request
from vizdash.sessions.listing import session_from_job
from vizdash.sessions.routes import novnc_url
from vizdash.sessions.start_plan import resolve_plan
from vizdash.ui.present.start_form import FormError, StartForm

_SCALED = replace(REQUEST, scale=2)


@pytest.mark.parametrize("request_", [REQUEST, replace(REQUEST, scale=1)])
def test_a_desktop_of_the_usual_scale_has_no_value_for_it(request_: SessionRequest) -> None:
    found = variables(made(request_))
    assert "VIZDASH_SCALE" not in found
    assert found["VIZDASH_GEOMETRY"] == ["1920x1080"]
    assert "SCALE" not in job_record("paraview", "", "vizdash", "7")


def test_a_scaled_desktop_has_more_pixels() -> None:
    found = variables(made(_SCALED))
    assert found["VIZDASH_SCALE"] == ["2"]
    assert found["VIZDASH_GEOMETRY"] == ["3840x2160"]
    found = variables(made(replace(_SCALED, geometry="1000x700")))
    assert found["VIZDASH_GEOMETRY"] == ["2000x1400"]


def test_the_request_wins_over_the_configuration() -> None:
    app = replace(APP, scale=3)
    assert variables(made(app=app))["VIZDASH_SCALE"] == ["3"]
    assert variables(made(_SCALED, app))["VIZDASH_SCALE"] == ["2"]
    assert "VIZDASH_SCALE" not in variables(made(replace(REQUEST, scale=1), app))


@pytest.mark.parametrize(
    ("kind", "words"), [("web", "service without a desktop"), ("legacy", "legacy job script")]
)
def test_what_has_no_desktop_of_vizdashs_is_not_scaled(kind: str, words: str) -> None:
    app = replace(APP, kind=kind, scale=2)
    assert resolve_plan(REQUEST, app, CLUSTER, runtime="host").scale == 1
    with pytest.raises(UsageError, match=words):
        resolve_plan(_SCALED, app, CLUSTER, runtime="host")


def test_a_scaled_desktop_keeps_its_size_in_the_browser() -> None:
    record = pairs_of("SESSION_ID=3f9a01bc\nSCALE=2\nVNC_PORT=6080\nWEB_SOCKET=\n")
    scale = connection_of("3f9a01bc", record).scale
    for scaled, resize in ((scale, "scale"), (1, "remote")):
        settings = parse_qs(urlsplit(novnc_url("n1", 6080, "secret", scaled)).fragment)
        assert settings["resize"] == [resize]


def test_it_is_shown_and_repeated_for_the_owner_alone() -> None:
    status = status_of(pairs_of(job_record("paraview", "", "vizdash", "7", scale=2)))
    job = Job(id="7", user="alice", name="vizdash-paraview", state=JobState.RUNNING)
    claim = Claim("3f9a01bc", "paraview", "1.0", "ready", "ready")
    own = session_from_job(job, claim, status, mine=True)
    assert (own.scale, repeat_request(own).scale) == (2, 2)
    others = session_from_job(job, claim, status, mine=False)
    assert (others.scale, repeat_request(others).scale) == (1, 0)
    usual = Session("3f9a01bc", "7", "paraview", "alice", SessionState.READY)
    assert repeat_request(usual).scale == 0


def test_a_saved_request_keeps_it() -> None:
    values = asdict(_SCALED)
    assert parse_request(values) == _SCALED
    form = StartForm.of_request(APP, _SCALED)
    assert form.texts["scale"] == "2"
    assert form.request().scale == 2
    assert StartForm.of_app(APP).request().scale == 0
    # An older vizdash wrote none.
    del values["scale"]
    assert parse_request(values) == REQUEST
    with pytest.raises(ValueError, match="scale"):
        parse_request({**values, "scale": 99})


@pytest.mark.parametrize("text", ["0", "4", "1.5", "big"])
def test_another_scale_is_refused(text: str) -> None:
    form = StartForm.of_request(APP, REQUEST)
    with pytest.raises(FormError, match="is not 1, 2 or 3"):
        replace(form, texts={**form.texts, "scale": text}).request()


def test_the_users_own_scale_is_in_their_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("apps:\n  desktop: {scale: 2}\n")
    assert load(path=str(path), environ={})[0].apps["desktop"].scale == 2
