"""0 done, 1 failed, 2 wrong use or wrong config; errors are one line on stderr."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.unit.cli.vd import Vizdash
from vizdash.engines.local import machine


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-h"], ["--version"], ["-V"], ["nodes", "-h"], ["apps"], ["nodes"], ["config"]],
)
def test_done(vizdash: Vizdash, words: list[str]) -> None:
    said = vizdash(*words)
    assert (said.code, said.err) == (0, "")
    assert said.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "the dashboard needs a terminal (scripts use the verbs: see --help)"),
        (["strat"], "No such command 'strat'"),
        (["nodes", "--jsno"], "No such option"),
        (["start"], "Missing argument 'APP' (see vizdash start --help)"),
        (["start", "desktop", "--memory", "lots"], "'lots' is no amount of memory"),
        (["start", "desktop", "--time", "0"], "'0' is no length of time"),
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
    said = vizdash(*words)
    assert (said.code, said.out) == (2, "")
    assert line in said.line


def test_a_wrong_config_names_its_place(vizdash: Vizdash) -> None:
    vizdash.config.write_text("clusters:\n  here: {engnie: local}\n")
    for verb in (["nodes"], ["apps"], ["config"], ["start", "desktop"], ["doctor"]):
        said = vizdash(*verb)
        assert (said.code, said.out) == (2, "")
        assert said.line == (
            f"{vizdash.config}:2: clusters.here.engnie: no such key (did you mean 'engine'?)"
        )


def test_wrong_keys_of_ones_own_are_found_without_the_dashboard(vizdash: Vizdash) -> None:
    vizdash.config.write_text("ui:\n  keys:\n    stopp: X\n")
    said = vizdash("config")
    assert (said.code, said.out) == (2, "")
    assert said.line == (
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
    ],
)
def test_unknown_names(vizdash: Vizdash, words: list[str], line: str) -> None:
    said = vizdash(*words)
    assert (said.code, said.out) == (2, "")
    assert line in said.line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["start", "desktop", "--timeout", "5s"], "--timeout goes with --wait or --open only"),
        (["start", "desktop", "--test-only", "--open"], "--open does nothing beside --test-only"),
        (["sessions", "--since", "2d"], "--since goes with --ended only"),
        (["logs", "desktop", "--version", "1"], "--version goes with --build only"),
        (["open", "x", "--print", "--handoff"], "--handoff does nothing beside --print"),
        (["images", "--history", "--verify"], "--verify does nothing beside --history"),
        (["images", "--history", "--node", "n"], "--node does nothing beside --history"),
    ],
)
def test_options_that_would_do_nothing(vizdash: Vizdash, words: list[str], line: str) -> None:
    said = vizdash(*words)
    assert (said.code, said.out) == (2, "")
    assert line in said.line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["start", "desktop", "--read-only"], "read-only"),
        (["--read-only", "start", "desktop"], "read-only"),
        (["start", "desktop", "--cpus", "100000"], "100000 cores asked"),
        (["start", "desktop", "--memory", "1000T"], "MiB asked"),
        (["images", "desktop"], "images of 'desktop': no node has one"),
    ],
)
def test_failed(vizdash: Vizdash, words: list[str], line: str) -> None:
    said = vizdash(*words)
    assert (said.code, said.out) == (1, "")
    assert line in said.line


def test_a_word_before_the_dashes_is_not_sbatch_s(vizdash: Vizdash) -> None:
    """sbatch would take it for the job script."""
    app = "presets: {large: {cores: 1}}, runtime: host, host_command: xterm"
    vizdash.config.write_text(f"clusters: {{here: {{engine: local}}}}\napps: {{own: {{{app}}}}}\n")
    for word, fix in (("large", "did you mean --preset large?"), ("x", "arguments of sbatch go")):
        for more in ([], ["--test-only"], ["--", "--nice"]):
            said = vizdash("start", "own", word, *more)
            assert (said.code, said.out) == (2, "")
            assert f"unexpected argument '{word}'" in said.line
            assert fix in said.line
    said = vizdash("start", "own", "--", "--nice", "large")
    assert "unexpected argument" not in said.line
    assert "there is no Slurm here" in said.line


def test_a_test_says_no_where_a_start_would_be_refused(vizdash: Vizdash) -> None:
    """All of this machine's memory: some of it is always in use, and nothing waits here."""
    memory = f"{machine.look().memory_mib}M"
    said = vizdash("start", "desktop", "--cpus", "1", "--memory", memory, "--test-only")
    assert (said.code, said.out) == (1, "")
    assert "no room on this machine" in said.line


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
    said = vizdash("start", "empty")
    assert (said.code, "it has no host_command" in said.line) == (2, True)


def test_a_fault_of_our_own_is_one_line_unless_asked_for(
    vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("uid 12345")

    monkeypatch.setattr(import_module("vizdash.cli.common"), "connect", broken)
    said = vizdash("nodes")
    assert said.code == 1
    assert "vizdash: internal error: KeyError" in said.line
    monkeypatch.setenv("VIZDASH_DEBUG", "1")
    with pytest.raises(KeyError):
        vizdash("nodes")


def test_a_deploy_of_what_is_missing_takes_its_versions_from_the_inventory(
    vizdash: Vizdash,
) -> None:
    for words in (["--version", "1"], ["--from", "/x.sif"], ["--canary", "n1"], ["--force"]):
        said = vizdash("deploy", "gedit", "--missing", *words)
        assert said.code == 2 and f"--missing takes no {words[0]}" in said.err
    assert vizdash("deploy").code == 2
