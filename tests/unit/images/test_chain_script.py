"""The script that passes a file from node to node (chain.sh), by itself."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from vizdash.util.assets import node_script


def test_the_reason_of_an_ssh_that_ends_at_once_is_reported(tmp_path: Path) -> None:
    """On a busy node it may have ended before the script looks at it."""
    (tmp_path / "part").write_bytes(b"data")
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")
    ssh.chmod(0o755)
    text = node_script("chain.sh").read_text(encoding="utf-8")
    (start,) = (line for line in text.splitlines() if line.lstrip().startswith("coproc "))
    text = text.replace(start, f"{start}\nsleep 0.5")
    argv = ["bash", "--norc", "-s", "--", "MARK", str(tmp_path / "part"), "4", "0"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    with process:
        order = shlex.join(("feed", "n2", "bash", str(ssh), "n2"))
        process.stdin.write(f"{text}{order}\n")
        process.stdin.flush()
        ended = next(line for line in process.stdout if line.startswith("MARK ended "))
        process.stdin.close()
    assert ended == "MARK ended n2 Permission denied (publickey).\n"
