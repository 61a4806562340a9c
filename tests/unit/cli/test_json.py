"""stdout is the promised object and nothing else."""

from __future__ import annotations

import pytest

from tests.unit.cli.console_script import Vizdash

VERBS = {
    ("nodes",): "nodes",
    ("sessions",): "sessions",
    ("sessions", "--all"): "sessions",
    ("apps",): "apps",
    ("config",): "config",
}


@pytest.mark.parametrize("words", VERBS)
def test_every_reading_verb(vizdash: Vizdash, words: tuple[str, ...]) -> None:
    output = vizdash(*words, "--json")
    assert (output.code, output.err) == (0, "")
    assert isinstance(output.json[VERBS[words]], list)
    assert output.out.count("\n") == 1


@pytest.mark.parametrize(("app", "code"), [((), 0), (("desktop",), 0), (("dekstop",), 2)])
def test_images_are_one_object_whatever_is_asked_for(
    vizdash: Vizdash, app: tuple[str, ...], code: int
) -> None:
    output = vizdash("images", *app, "--json")
    assert (output.code, output.json["images"]) == (code, [])
    assert {"schema", "cluster", "taken_at", "places"} <= output.json.keys()
    assert output.out.count("\n") == 1


def test_apps(vizdash: Vizdash) -> None:
    vizdash.config.write_text("apps: {old: {kind: legacy, vnc_password: tops3cret}}\n")
    output = vizdash("apps", "--json")
    rows = {row["name"]: row for row in output.json["apps"]}
    assert rows["desktop"]["memory_mib"] == 2048
    assert rows["desktop"]["time_s"] == 7200
    assert rows["desktop"]["presets"]["large"]["cores"] == 4
    assert rows["old"]["kind"] == "legacy"
    assert "tops3cret" not in output.out + vizdash("config", "--json").out


def test_config_says_where_from(vizdash: Vizdash) -> None:
    rows = {row["key"]: row for row in vizdash("config", "--json").json["config"]}
    assert rows["clusters.here.engine"] == {
        "key": "clusters.here.engine",
        "value": "local",
        "origin": f"{vizdash.config}:1",
    }


def test_the_local_node(vizdash: Vizdash) -> None:
    (node,) = vizdash("nodes", "--json").json["nodes"]
    assert node["cores"] >= 1
    assert node["memory_mib"] > 100
    assert node["state"] in {"idle", "mixed", "allocated"}


def test_doctor_reports_what_is_missing_and_fails(
    vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    output = vizdash("doctor", "--json")
    rows = {row["what"]: row for row in output.json["findings"]}
    assert rows["Xvnc"]["ok"] is False
    assert "tigervnc" in rows["Xvnc"]["fix"]
    assert output.code == 1
    assert output.line.startswith("doctor: Xvnc: Xvnc is not on PATH")
