"""The verbs on recorded answers of real Slurm, with hostile texts of other users."""

from __future__ import annotations

import unicodedata
from importlib import import_module

import pytest

from tests.unit.cli.console_script import Vizdash
from tests.unit.engines.slurm_replay import Recording, Replay
from vizdash.config import Config
from vizdash.engines.slurm import SlurmEngine
from vizdash.service.service import Service
from vizdash.transport.forwarders import SshForwarder


def on(monkeypatch: pytest.MonkeyPatch, runner: Replay, user: str = "alice") -> None:
    async def connect(config: Config, *_: object) -> Service:
        return Service(config, SlurmEngine(runner, user=user), runner, SshForwarder())

    monkeypatch.setattr(import_module("vizdash.service.factory"), "connect", connect)


def test_nodes(vizdash: Vizdash, recording: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, Replay(recording))
    rows = {row["name"]: row for row in vizdash("nodes", "--json").json["nodes"]}
    assert rows["viz-node003"]["state"] in {"drained", "draining"}
    assert rows["viz-node003"]["usable"] is False
    assert rows["viz-node003"]["reason"]
    assert len(vizdash("nodes").out.splitlines()) == len(rows) + 1


def test_everybodys_sessions_are_shown_and_the_screen_stays_clean(
    vizdash: Vizdash, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, Replay(recording))
    rows = vizdash("sessions", "--all", "--json").json["sessions"]
    assert recording.job("session") in {row["job_id"] for row in rows}
    output = vizdash("sessions", "--all")
    assert len(output.out.splitlines()) == len(rows) + 1
    assert all(unicodedata.category(c) != "Cc" for c in output.out.replace("\n", ""))


def test_a_cluster_that_is_down_is_one_line(
    vizdash: Vizdash, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, Replay(recording, "-down"))
    for words in (["nodes"], ["sessions"], ["start", "desktop"], ["stop", "3f9a01bc"]):
        output = vizdash(*words)
        assert (output.code, output.out) == (1, "")
        assert output.line


def test_a_configured_partition_that_is_not_there_is_a_wrong_config(
    vizdash: Vizdash, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, Replay(recording))
    vizdash.config.write_text("clusters: {viz: {engine: slurm, partition: vis}}\n")
    for words in (["nodes"], ["start", "desktop"]):
        output = vizdash(*words)
        assert (output.code, output.out) == (2, "")
        assert output.line == (
            "clusters.viz.partition: the cluster shows no partition 'vis' (did you mean 'viz'?)"
        )


def test_an_admin_finds_any_users_session_and_others_their_own(
    vizdash: Vizdash, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = recording.job("session")
    on(monkeypatch, Replay(recording, instead={"scancel": "scancel-ok"}), user="root")
    rows = vizdash("sessions", "--all", "--json").json["sessions"]
    (row,) = [row for row in rows if row["job_id"] == job]
    assert row["mine"] is False
    assert f"only {row['user']} can read it" in vizdash("logs", row["id"]).line
