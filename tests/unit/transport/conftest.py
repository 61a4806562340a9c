from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with an empty ~/.ssh and no agent."""
    (tmp_path / ".ssh").mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "lena")
    monkeypatch.setenv("LOGNAME", "lena")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path


@pytest.fixture
def key(home: Path) -> asyncssh.SSHKey:
    """A key without a passphrase in ~/.ssh."""
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(str(home / ".ssh/id_ed25519"))
    made.write_public_key(str(home / ".ssh/id_ed25519.pub"))
    return made
