from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

import asyncssh
import pytest

#: ssh(1) takes the home from the passwd entry, not from $HOME: a wrapper gives it the test's files
#: as the user's. The lines after the user's own are defaults that name that home.
_SSH = """#!/bin/sh
{ cat "$HOME/.ssh/config" 2>/dev/null
  echo; echo "Match all"
  echo "UserKnownHostsFile $HOME/.ssh/known_hosts $HOME/.ssh/known_hosts2"
  echo "GlobalKnownHostsFile none"
  if [ -n "$VIZDASH_TEST_KEY" ]; then echo "IdentityFile $VIZDASH_TEST_KEY"; fi
} > "$HOME/.ssh/whole.$$"
REAL -F "$HOME/.ssh/whole.$$" "$@"
code=$?
rm -f "$HOME/.ssh/whole.$$"
exit $code
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty ~/.ssh and no agent, for this process and for ssh."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "lena")
    monkeypatch.setenv("LOGNAME", "lena")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    real = shutil.which("ssh")
    assert real, "no ssh here: install OpenSSH's client"
    wrapper = tmp_path / "bin/ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(_SSH.replace("REAL", real))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("vizdash.transport.ssh.settings.home_folder", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def key(home: Path) -> asyncssh.SSHKey:
    """A key without a passphrase in ~/.ssh."""
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(str(home / ".ssh/id_ed25519"))
    (home / ".ssh/id_ed25519").chmod(0o600)
    made.write_public_key(str(home / ".ssh/id_ed25519.pub"))
    return made


@pytest.fixture
def openssh_key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ssh(1) take ~/.ssh/id_ed25519 of this home; by itself it takes the account's keys."""
    monkeypatch.setenv("VIZDASH_TEST_KEY", str(home / ".ssh/id_ed25519"))


@pytest.fixture(params=["builtin", "openssh"])
def transport(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Literal["builtin", "openssh"]:
    """The built-in client and ssh(1) in turn, with ~/.ssh/id_ed25519 as the default key."""
    monkeypatch.setenv("VIZDASH_TEST_KEY", str(home / ".ssh/id_ed25519"))
    chosen: Literal["builtin", "openssh"] = request.param
    return chosen
