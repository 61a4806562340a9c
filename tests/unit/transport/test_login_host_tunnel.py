"""The login host's ssh to a node, run by the shells that login hosts have."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from vizdash.transport.ssh.forwarders import _DROP, _HOLD

_SHELLS = [shell for shell in ("sh", "dash", "bash", "ksh") if shutil.which(shell)]
#: An ssh that is refused, and one that makes its socket and holds it until it is killed.
_REFUSED = '#!/bin/sh\necho "$0: Permission denied" >&2\nexit 255\n'
_HOLDS = """#!/usr/bin/python3
import pathlib, signal, socket, sys, time
path = sys.argv[sys.argv.index("-L") + 1].partition(":")[0]
def end(*_):
    pathlib.Path(__file__).with_name("ended").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
server = socket.socket(socket.AF_UNIX)
server.bind(path)
while True:
    time.sleep(0.1)
"""


def _hold(
    shell: str, folder: Path, ssh: str, *, idle_s: int = 50
) -> subprocess.CompletedProcess[str]:
    (folder / "ssh").write_text(ssh)
    (folder / "ssh").chmod(0o755)
    (folder / "sh").symlink_to(shutil.which(shell) or "")
    env = {"PATH": f"{folder}:/usr/bin:/bin", "XDG_RUNTIME_DIR": ""}
    argv = [shell, "-c", _HOLD, shell, "/there/s", "node1", str(idle_s), "--", "-T"]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("shell", _SHELLS)
def test_a_refused_login_is_reported_with_its_reason(shell: str, tmp_path: Path) -> None:
    done = _hold(shell, tmp_path, _REFUSED)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/ssh: Permission denied\n"
    assert done.stdout == ""


@pytest.mark.parametrize("shell", _SHELLS)
def test_a_tunnel_is_dropped(shell: str, tmp_path: Path) -> None:
    folder = _hold(shell, tmp_path, _HOLDS).stdout.strip()
    try:
        assert (Path(folder) / "s").is_socket()
    finally:
        subprocess.run(["sh", "-c", _DROP, "sh", folder], check=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ended").exists() or Path(folder).exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_helper_that_has_ended_is_not_signalled_later(tmp_path: Path) -> None:
    """Its PID may be another process's by the time that the tunnel is dropped."""
    folder = Path(_hold("sh", tmp_path, _HOLDS, idle_s=1).stdout.strip())
    try:
        deadline = time.monotonic() + 60
        while (folder / "idle").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (folder / "s").is_socket()
        assert not (tmp_path / "ended").exists()
    finally:
        subprocess.run(["sh", "-c", _DROP, "sh", folder], check=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
