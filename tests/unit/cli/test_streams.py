"""Streams that fail, and encodings that lack a character: the real console script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from tests.unit.cli.vd import Vizdash

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


def test_every_call_is_logged_and_shown_live_when_asked_for(
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
