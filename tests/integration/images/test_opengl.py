"""Who draws OpenGL, asked of a real X server by the script that the smoke test runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from vizdash.service.smoke_test import _renderer_check, describe_renderer


def test_a_machine_without_a_gpu_says_llvmpipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    words = ["Xvnc", "-displayfd", str(write), "-SecurityTypes", "None", "-rfbport", "-1"]
    words += ["-rfbunixpath", str(tmp_path / "rfb")]
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen(words, pass_fds=[write], stdout=log, stderr=log) as server:
        os.close(write)
        try:
            with os.fdopen(read) as pipe:
                display = pipe.readline().strip()
            assert display, (tmp_path / "log").read_text()
            asked = subprocess.run(
                ["bash", "-c", _renderer_check("xterm") + "true"],
                env={**os.environ, "DISPLAY": f":{display}"},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            server.terminate()
    assert describe_renderer(asked.stdout).startswith("OpenGL is drawn by llvmpipe"), asked
