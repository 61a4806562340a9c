"""Streams that fail, and encodings that lack a character: the real console script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.unit.cli.console_script import Vizdash

PROGRAM = str(Path(sys.executable).with_name("vizdash"))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    config = tmp_path / "c.yaml"
    config.write_text(
        "clusters: {here: {engine: local}}\napps: {pv: {title: 파라뷰 ünd}}\n", encoding="utf-8"
    )
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "VIZDASH_CONFIG": str(config),
        "LANG": "C.UTF-8",
    }


def apps(environ: dict[str, str], stdout: int | IO[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PROGRAM, "apps"], check=False, env=environ, stdout=stdout, stderr=subprocess.PIPE
    )


def test_a_full_disk_is_one_line(environ: dict[str, str]) -> None:
    with open("/dev/full", "w") as full:
        done = apps(environ, full)
    assert done.returncode == 1
    assert done.stderr == b"vizdash: output: No space left on device\n"


def test_a_closed_pipe_is_silent(environ: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = apps(environ, write)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_will_do(environ: dict[str, str], encoding: str) -> None:
    done = subprocess.run(
        [PROGRAM, "apps"],
        check=False,
        env={**environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    row = next(line for line in done.stdout.decode(encoding).splitlines() if line[:3] == "pv ")
    assert ("파라뷰" if encoding == "utf-8" else "\\ud30c") in row


def test_every_call_is_logged_and_shown_live_when_requested(
    vizdash: Vizdash, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = vizdash.config.parents[2] / ".local/state/vizdash/log/commands.log"
    assert vizdash("nodes").err == ""
    assert vizdash("stop", "nosuch").code == 2
    lines = log.read_text().splitlines()
    assert lines[0].endswith("exit 0: vizdash nodes")
    assert lines[-1].endswith("exit 2: vizdash stop nosuch")
    monkeypatch.setenv("VIZDASH_DEBUG", "1")
    assert "exit 0: vizdash nodes" in vizdash("nodes").err


@pytest.mark.parametrize(
    ("words", "logged"),
    [
        ("ssh nosuch mysql -pgeheim", "vizdash ssh nosuch …"),
        ("ssh --cluster here nosuch mysql -pgeheim", "vizdash ssh --cluster here nosuch …"),
        ("--cluster here ssh nosuch mysql -pgeheim", "vizdash --cluster here ssh nosuch …"),
        ("ssh nosuch", "vizdash ssh nosuch"),
        ("ssh nosuch -- env KEY=geheim", "vizdash ssh nosuch …"),
        ("start nosuch -- --export=KEY=geheim", "vizdash start nosuch -- …"),
        ("build nosuch --arg key=geheim", "vizdash build nosuch --arg key=…"),
        ("build nosuch --arg=key=geheim -q", "vizdash build nosuch --arg=key=… -q"),
        ("build nosuch --arg", "vizdash build nosuch --arg"),
    ],
)
def test_words_that_may_be_a_secret_are_not_logged(
    vizdash: Vizdash, words: str, logged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the user's own, and the log goes into a report for others."""
    log = vizdash.config.parents[2] / ".local/state/vizdash/log/commands.log"
    monkeypatch.setenv("VIZDASH_DEBUG", "1")
    done = vizdash(*words.split())
    assert done.code == 2
    text = log.read_text()
    assert "geheim" not in text + done.err
    shown = text.splitlines()[-1].partition("vizdash ")
    assert "".join(shown[1:]).replace("'", "") == logged
