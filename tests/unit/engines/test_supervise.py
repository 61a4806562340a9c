"""The local engine's supervisor, by itself."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from vizdash.util.assets import assets

_DEADLINE_S = 60


def test_a_cancel_is_not_lost_as_soon_as_the_supervisor_is_known(tmp_path: Path) -> None:
    """Its file exists, but it has gone no further: mv(1) has not returned yet."""
    folder, programs = tmp_path / "session", tmp_path / "programs"
    folder.mkdir()
    programs.mkdir()
    slow = programs / "mv"
    slow.write_text(
        f'#!/bin/sh\nPATH=/usr/bin:/bin\nmv "$@"\nuntil [ -e {tmp_path}/go ]; do sleep 0.05; done\n'
    )
    slow.chmod(0o755)
    (folder / "script").write_text(f"touch {tmp_path}/ran\nsleep 1000\n")
    # The supervisor takes the system's programs before the user's: here, ours are the system's.
    jobs = shutil.copytree(assets() / "jobs", tmp_path / "jobs")
    environment = jobs / "environment.sh"
    text = environment.read_text()
    assert "\nsystem_path=" in text
    environment.write_text(text.replace("\nsystem_path=", f"\nsystem_path={programs}:"))
    words = [str(jobs / "supervise.sh"), str(folder), secrets.token_hex(4), "3600", "300"]
    process = subprocess.Popen(["bash", "-p", *words, str(jobs / "sweep.sh")])
    try:
        deadline = time.monotonic() + _DEADLINE_S
        while not (folder / "supervisor").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert process.wait(_DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert "STATE=ended\n" in (folder / "status").read_text()
    assert "RESULT=cancelled\n" in (folder / "status").read_text()
    assert not (tmp_path / "ran").exists()


def test_it_shows_that_it_lives_by_the_age_of_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "script").write_text("exec sleep 1000\n")
    jobs = shutil.copytree(assets() / "jobs", tmp_path / "jobs")
    text = (jobs / "supervise.sh").read_text()
    assert text.count("at > now && at - now < 30 ? at - now : 30") == 1
    (jobs / "supervise.sh").write_text(
        text.replace("at > now && at - now < 30 ? at - now : 30", "1")
    )
    words = [str(jobs / "supervise.sh"), str(folder), secrets.token_hex(4), "3600", "300"]
    process = subprocess.Popen(["bash", "-p", *words, str(jobs / "sweep.sh")])
    try:
        ages: set[int] = set()
        deadline = time.monotonic() + _DEADLINE_S
        while len(ages) < 3:
            assert time.monotonic() < deadline, ages
            time.sleep(0.1)
            if (folder / "supervisor").exists():
                ages.add((folder / "supervisor").stat().st_mtime_ns)
        process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert process.wait(_DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()


#: A job script that says which signals it got.
_SCRIPT = """\
trap 'echo warned >>{said}' USR1
trap 'echo ended >>{said}; exit' TERM
touch {said}.up
while :; do sleep 0.1 & wait "$!"; done
"""


def _supervised(
    tmp_path: Path, limit: int, end: int, *, warn: int = 1
) -> tuple[subprocess.Popen[bytes], Path]:
    """Begun with a limit in seconds, and extended to ``end``, in seconds since the epoch; warned
    ``warn`` seconds before its end, if its limit is longer than that.
    """
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "script").write_text(_SCRIPT.format(said=tmp_path / "said"))
    (folder / "end").write_text(f"{end}\n")
    jobs = assets() / "jobs"
    words = [str(jobs / "supervise.sh"), str(folder), secrets.token_hex(4), str(limit), str(warn)]
    return subprocess.Popen(["bash", "-p", *words, str(jobs / "sweep.sh")]), folder


def test_an_extended_session_outlives_its_first_limit(tmp_path: Path) -> None:
    process, folder = _supervised(tmp_path, 2, int(time.time()) + 100_000)
    try:
        deadline = time.monotonic() + _DEADLINE_S
        while not (tmp_path / "said.up").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        over = time.time() + 5  # well after the first limit
        while time.time() < over:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        (tmp_path / "go").touch()
        assert process.wait(_DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "said").read_text() == "ended\n"
    assert "RESULT=cancelled\n" in (folder / "status").read_text()
    assert not (folder / "end").exists()


def test_the_new_end_is_an_end(tmp_path: Path) -> None:
    # No warning: on a busy machine it would come before the script takes it, and end it.
    process, folder = _supervised(tmp_path, 100_000, int(time.time()) + 2, warn=200_000)
    try:
        assert process.wait(_DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert "RESULT=timed-out\n" in (folder / "status").read_text()
