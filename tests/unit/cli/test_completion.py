"""What a shell completes, queried as the scripts of bash, zsh and fish do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.console_script import Vizdash
from vizdash.cli import options
from vizdash.images.drift import Inventory
from vizdash.model import Image, ImageRoot, Session, SessionState

PROGRAM = Path(sys.executable).with_name("vizdash")


@pytest.fixture
def completed(vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch) -> Completed:
    vizdash.config.write_text(
        "clusters: {here: {engine: local}, viz: {host: alice@login.example.org}}\n"
        "default_cluster: here\napps: {cfd: {title: Flow}}\n"
    )
    return Completed(vizdash, monkeypatch)


class Completed:
    """The words that complete the last one of a command line."""

    def __init__(self, vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch) -> None:
        self._vizdash = vizdash
        self._monkeypatch = monkeypatch

    def __call__(self, line: str) -> list[str]:
        words = line.split(" ")
        with self._monkeypatch.context() as patch:
            patch.setattr("vizdash.cli.completion._TIMEOUT_S", 60.0)
            patch.setenv(options.COMPLETION_VARIABLE, "bash_complete")
            patch.setenv("COMP_WORDS", line)
            patch.setenv("COMP_CWORD", str(len(words) - 1))
            output = self._vizdash()
        assert (output.code, output.err) == (0, "")
        found = (row.partition(",")[2] for row in output.out.splitlines())
        return [*filter(None, found)]


def test_verbs_options_apps_and_clusters(completed: Completed) -> None:
    assert completed("vizdash st") == ["start", "stop"]
    assert "--geometry" in completed("vizdash start --ge")
    assert completed("vizdash start c") == ["cfd"]
    assert set(completed("vizdash build ")) >= {"cfd", "desktop", "gedit"}
    assert completed("vizdash doctor --app cf") == ["cfd"]
    assert completed("vizdash nodes --cluster ") == ["here", "viz"]


def test_nodes_of_the_cluster(completed: Completed) -> None:
    (node,) = completed("vizdash start desktop --node ")
    assert node == os.uname().nodename.partition(".")[0]
    assert completed("vizdash start desktop --node zzz") == []


def test_sessions_and_versions(completed: Completed, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sessions(service: object) -> tuple[Session, ...]:
        ready = Session("3f9a01bc", "7", "gedit", "alice", SessionState.READY, node="n1")
        return (ready, Session("3faa0000", "6", "gedit", "alice", SessionState.ENDED))

    async def inventory(*_: object) -> Inventory:
        images = (Image("gedit", "/i/gedit-1.2.sif", "1.2"), Image("pv", "/i/pv-5.sif", "5"))
        return Inventory({"n1": (ImageRoot("n1"), images)})

    monkeypatch.setattr("vizdash.service.session_queries.SessionQueries.query", sessions)
    monkeypatch.setattr("vizdash.images.drift.read_inventory", inventory)
    assert completed("vizdash stop 3f") == ["3f9a01bc"]
    assert completed("vizdash start gedit --image ") == ["1.2"]
    assert completed("vizdash deploy pv --version ") == ["5"]


def test_a_cluster_that_takes_a_login_is_not_asked(completed: Completed) -> None:
    assert completed("vizdash start desktop --cluster viz --node ") == []


def test_whatever_goes_wrong_completes_nothing(completed: Completed, vizdash: Vizdash) -> None:
    vizdash.config.write_text("clusters: [\n")
    assert completed("vizdash start ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(vizdash: Vizdash, shell: str) -> None:
    output = vizdash("completion", shell)
    assert (output.code, output.err) == (0, "")
    assert options.COMPLETION_VARIABLE in output.out and "vizdash" in output.out


def test_bash_itself_completes_by_it(tmp_path: Path) -> None:
    """The words that bash would offer, by its own machinery."""
    script = (
        f'PATH={PROGRAM.parent}:$PATH; eval "$(vizdash completion bash)"; '
        "COMP_WORDS=(vizdash start gedi) COMP_CWORD=2; _vizdash_completion vizdash; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("gedit\n", "")
