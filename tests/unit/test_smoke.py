"""Who draws an image's OpenGL, as a session's log tells it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vizdash.resources import node_script
from vizdash.smoke import _ask, renderer_in

MARK = "vizdash-smoke:"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "renderer llvmpipe (LLVM 19.1.7, 256 bits)",
            "OpenGL is drawn by llvmpipe (LLVM 19.1.7, 256 bits)",
        ),
        ("renderer NVIDIA A40/PCIe/SSE2", "OpenGL is drawn by NVIDIA A40/PCIe/SSE2"),
        (
            "none libGL.so.1: cannot open shared object file: No such file or directory",
            "it has no OpenGL (the image has no libGL.so.1)",
        ),
        ("none its X server has no GLX", "it has no OpenGL (its X server has no GLX)"),
        ("renderer ", "it has no OpenGL (libGL names no renderer)"),
        (
            "untold the image has no python3",
            "what draws its OpenGL was not told (the image has no python3)",
        ),
    ],
)
def test_the_log_is_put_in_words(said: str, told: str) -> None:
    assert renderer_in(f"step app\n{MARK} {said}\n** (gedit:12): WARNING\n") == told


def test_a_log_without_a_word_of_it_is_not_taken_for_none() -> None:
    assert "was not told" in renderer_in("step app\n")


def test_without_a_display_the_reason_is_told() -> None:
    """The real script, on this machine."""
    words = ["bash", "-c", _ask("gedit") + "exec true"]
    environ = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    done = subprocess.run(
        words, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{MARK} none "), done.stdout
    assert renderer_in(done.stdout).startswith("it has no OpenGL (")


def test_what_virtualgl_draws_is_asked_through_it() -> None:
    assert "| vglrun timeout" in _ask("exec vglrun -d egl paraview")
    assert "vglrun" not in _ask("exec gedit")


def test_the_script_runs_on_old_pythons() -> None:
    """Nothing newer than Python 3.6's grammar."""
    import ast

    assert sys.version_info >= (3, 8)
    ast.parse(node_script("opengl.py").read_text(), feature_version=(3, 6))
