"""0 done, 1 failed, 2 wrong use or wrong config; errors are one line on stderr."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.unit.cli.console_script import Vizdash
from vizdash.engines.local import machine


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-h"], ["--version"], ["-V"], ["nodes", "-h"], ["apps"], ["nodes"], ["config"]],
)
def test_done(vizdash: Vizdash, words: list[str]) -> None:
    output = vizdash(*words)
    assert (output.code, output.err) == (0, "")
    assert output.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "the dashboard needs a terminal (for scripts, use the verbs: see --help)"),
        (["strat"], "No such command 'strat'"),
        (["nodes", "--jsno"], "No such option"),
        (["start"], "Missing argument 'APP' (see vizdash start --help)"),
        (["start", "desktop", "--memory", "lots"], "'lots' is not an amount of memory"),
        (["start", "desktop", "--time", "0"], "'0' is not a length of time"),
        (["start", "desktop", "--cpus", "0"], "0 is not in the range"),
        (["start", "desktop", "--geometry", "big"], "write WIDTHxHEIGHT"),
        (["start", "desktop", "--geometry", "1280x720;id"], "write WIDTHxHEIGHT"),
        (["start", "desktop", "--preset", "huge"], "preset 'huge'"),
        (["start", "desktop", "--image", "../../etc/passwd"], "a version or an absolute path"),
        (["stop"], "Missing argument"),
        (["logs", "x", "-n", "0"], "0 is not in the range"),
        (["nodes", "--cluster", "hree"], "cluster 'hree': not in the config (did you mean 'here'"),
        (["nodes", "--config", "/nonexistent.yaml"], "/nonexistent.yaml: no such config file"),
        (["no\nsuch\x1b[2J"], "\\x1b[2J"),
        (["no\udcffsuch"], "\\udcff"),
    ],
)
def test_wrong_use(vizdash: Vizdash, words: list[str], line: str) -> None:
    output = vizdash(*words)
    assert (output.code, output.out) == (2, "")
    assert line in output.line


def test_a_wrong_config_names_its_place(vizdash: Vizdash) -> None:
    vizdash.config.write_text("clusters:\n  here: {engnie: local}\n")
    for verb in (["nodes"], ["apps"], ["config"], ["start", "desktop"], ["doctor"]):
        output = vizdash(*verb)
        assert (output.code, output.out) == (2, "")
        assert output.line == (
            f"{vizdash.config}:2: clusters.here.engnie: no such key (did you mean 'engine'?)"
        )


def test_wrong_configured_keys_are_found_without_the_dashboard(vizdash: Vizdash) -> None:
    vizdash.config.write_text("ui:\n  keys:\n    stopp: X\n")
    output = vizdash("config")
    assert (output.code, output.out) == (2, "")
    assert output.line == (
        f"{vizdash.config}:3: ui.keys.stopp: no such action (did you mean 'stop'?)"
    )
    vizdash.config.write_text("ui:\n  keys:\n    stop: X\n")
    rows = [line.split() for line in vizdash("config", "--explain").out.splitlines()]
    assert ["ui.keys.stop", "X", f"{vizdash.config}:3"] in rows
    assert ["ui.keys.filter", "slash", "built-in"] in rows


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["open", "3f9a01bc"], "session 3f9a01bc: there is no such session of yours (live: none)"),
        (["stop", "3f9a01bc"], "no such session of yours"),
        (["logs", "3f9a01bc"], "no such session of yours"),
        (["message", "3f9a01bc", "x"], "no such session of yours"),
        (["extend", "3f9a01bc", "1h"], "no such session of yours"),
        (["start", "dekstop"], "app 'dekstop': not in the catalogue (did you mean 'desktop'?)"),
        (["build", "dekstop"], "app 'dekstop': not in the catalogue"),
        (["logs", "dekstop", "--build"], "app 'dekstop': not in the catalogue"),
        (["images", "dekstop"], "app 'dekstop': not in the catalogue"),
        (["start", "desktop", "--node", "elsewhere"], "node elsewhere is not in"),
        (["start", "desktop", "--partition", "vis"], "partition 'vis' is not there"),
        (["drain", "elsewhere", "--reason", "x"], "node elsewhere: there is no such node"),
        (["tunnels", "3f9a01bc"], "tunnel to session 3f9a01bc: there is none"),
        (["images", "--node", "elsewhere"], "nodes elsewhere: not in the partition"),
        (["images", "dekstop", "--history"], "app 'dekstop': not in the catalogue"),
        (["doctor", "--node", "elsewhere"], "node elsewhere: not in the partition"),
        (["strat"], "No such command 'strat'. Did you mean 'start'?"),
    ],
)
def test_unknown_names(vizdash: Vizdash, words: list[str], line: str) -> None:
    output = vizdash(*words)
    assert (output.code, output.out) == (2, "")
    assert line in output.line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["start", "desktop", "--timeout", "5s"], "--timeout needs --wait or --open"),
        (["start", "desktop", "--test-only", "--open"], "--open has no effect with --test-only"),
        (["sessions", "--since", "2d"], "--since needs --ended"),
        (["logs", "desktop", "--version", "1"], "--version needs --build"),
        (["open", "x", "--print", "--handoff"], "--handoff has no effect with --print"),
        (["open", "x", "--print", "--viewer"], "--viewer has no effect with --print"),
        (["open", "x", "--viewer", "--quality", "low"], "--quality has no effect with --viewer"),
        (["deploy", "x", "--gpus", "1"], "--gpus needs --smoke"),
        (["start", "desktop", "--account", "x"], "--account x: this machine has no Slurm"),
        (["start", "desktop", "--qos", "x", "--test-only"], "--qos x: this machine has no Slurm"),
        (["start", "desktop", "--constraint", "x"], "--constraint x: this machine has no Slurm"),
        (["start", "desktop", "--reservation", "x"], "--reservation x: this machine has no Slurm"),
        (["images", "--history", "--verify"], "--verify has no effect with --history"),
        (["images", "--history", "--node", "n"], "--node has no effect with --history"),
    ],
)
def test_options_that_would_do_nothing(vizdash: Vizdash, words: list[str], line: str) -> None:
    output = vizdash(*words)
    assert (output.code, output.out) == (2, "")
    assert line in output.line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["start", "desktop", "--read-only"], "read-only"),
        (["--read-only", "start", "desktop"], "read-only"),
        (["start", "desktop", "--cpus", "100000"], "100000 cores requested"),
        (["start", "desktop", "--memory", "1000T"], "GiB requested"),
        (["images", "desktop"], "images of 'desktop': no node has one"),
    ],
)
def test_failed(vizdash: Vizdash, words: list[str], line: str) -> None:
    output = vizdash(*words)
    assert (output.code, output.out) == (1, "")
    assert line in output.line


def test_a_word_before_the_dashes_is_not_sbatch_s(vizdash: Vizdash) -> None:
    """sbatch would take it for the job script."""
    app = "presets: {large: {cores: 1}}, runtime: host, host_command: xterm"
    vizdash.config.write_text(f"clusters: {{here: {{engine: local}}}}\napps: {{own: {{{app}}}}}\n")
    for word, fix in (
        ("large", "did you mean --preset large?"),
        ("x", "write arguments of sbatch"),
    ):
        for more in ([], ["--test-only"], ["--", "--nice"]):
            output = vizdash("start", "own", word, *more)
            assert (output.code, output.out) == (2, "")
            assert f"unexpected argument '{word}'" in output.line
            assert fix in output.line
    output = vizdash("start", "own", "--", "--constraint", "large")
    assert "unexpected argument" not in output.line
    assert "this machine has no Slurm" in output.line


def test_an_image_for_an_app_without_one(vizdash: Vizdash) -> None:
    app = "runtime: host, host_command: xterm, resources: {cores: 1, memory: 1M}"
    vizdash.config.write_text(f"clusters: {{here: {{engine: local}}}}\napps: {{own: {{{app}}}}}\n")
    said = vizdash("start", "own", "--image", "1.0")
    assert (said.code, said.out) == (2, "")
    assert "--image 1.0: own runs on the host, without an image (leave it out)" in said.line
    assert "1 core, " in vizdash("apps").out


def test_a_test_says_no_where_a_start_would_be_refused(vizdash: Vizdash) -> None:
    """All of this machine's memory: some of it is always in use, and nothing waits here."""
    memory = f"{machine.read_machine().memory_mib}M"
    output = vizdash("start", "desktop", "--cpus", "1", "--memory", memory, "--test-only")
    assert (output.code, output.out) == (1, "")
    assert "not enough free capacity on this machine" in output.line


def test_a_refused_start_leaves_nothing(vizdash: Vizdash) -> None:
    vizdash("start", "desktop", "--cpus", "100000")
    sessions = vizdash.config.parents[2] / ".local/state/vizdash/sessions"
    assert not sessions.exists() or not list(sessions.glob("[0-9a-f]*"))


def test_a_job_script_that_cannot_be_used_is_one_line(vizdash: Vizdash) -> None:
    jobs = vizdash.config.parent / "jobs"
    jobs.mkdir()
    (jobs / "site.sh").write_bytes(b"#!/bin/bash\n# caf\xe9\n")
    vizdash.config.write_text(
        f"clusters: {{here: {{engine: local, job_scripts: {jobs}}}}}\n"
        "apps:\n"
        "  bytes: {script: site.sh, runtime: host, host_command: xterm,"
        " resources: {cores: 1, memory: 1M}}\n"
        "  gone: {script: nosuch.sh, runtime: host, host_command: xterm,"
        " resources: {cores: 1, memory: 1M}}\n"
        "  empty: {runtime: host, resources: {cores: 1, memory: 1M}}\n"
    )
    assert "it is not UTF-8 text" in vizdash("start", "bytes").line
    assert f"not in {jobs}" in vizdash("start", "gone").line
    output = vizdash("start", "empty")
    assert (output.code, "it has no host_command" in output.line) == (2, True)


def test_an_internal_error_is_one_line_unless_debugging(
    vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("uid 12345")

    monkeypatch.setattr(import_module("vizdash.service.factory"), "connect", broken)
    output = vizdash("nodes")
    assert output.code == 1
    assert output.line.startswith("internal error: KeyError")
    monkeypatch.setenv("VIZDASH_DEBUG", "1")
    with pytest.raises(KeyError):
        vizdash("nodes")


def test_a_deploy_of_what_is_missing_takes_its_versions_from_the_inventory(
    vizdash: Vizdash,
) -> None:
    for words in (["--version", "1"], ["--from", "/x.sif"], ["--canary", "n1"], ["--force"]):
        output = vizdash("deploy", "gedit", "--missing", *words)
        assert output.code == 2 and f"--missing takes no {words[0]}" in output.err
    assert vizdash("deploy").code == 2
