"""Another ssh of the user's may not share a connection that ends with a build or a change."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vizdash.config import Cluster
from vizdash.images.build_hosts import find_build_host
from vizdash.images.node_script import NO_MASTER, NodeShell
from vizdash.transport.forwarders import SSH_OPTIONS
from vizdash.transport.local import LocalRunner

_BUILD = find_build_host("builder", Cluster("viz"), "gedit", slurm=True)
_SHELL = NodeShell(LocalRunner())
#: Command lines of ssh(1), without the host.
_COMMANDS = {
    "a build": _BUILD.argv[:-2],
    "the copy of what was built": _BUILD.reader[:-1],
    "a node": _SHELL.ssh("n1"),
    "a chain": (*_SHELL.ssh("n2", shared=False), *NO_MASTER),
    "a tunnel": ("ssh", *(word for option in SSH_OPTIONS for word in ("-o", option))),
}


@pytest.mark.parametrize("name", _COMMANDS)
def test_it_is_no_master(name: str, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\nControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist yes\n")
    ssh, *words = _COMMANDS[name]
    assert ssh == "ssh"
    argv = ["ssh", "-F", str(config), "-G", *words, "host"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert settings["controlmaster"] == "false"
