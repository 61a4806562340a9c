"""Which renderer draws an image's OpenGL, read from a session's log."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from unittest import mock

import pytest

from vizdash.config import App
from vizdash.model import Resources, Session, SessionState
from vizdash.service import smoke_test
from vizdash.service.smoke_test import _renderer_check, describe_renderer, run_smoke_test
from vizdash.util.assets import job_script

MARK = "vizdash-smoke:"


@pytest.mark.parametrize(
    ("output", "expected"),
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
            "its OpenGL renderer is unknown (the image has no python3)",
        ),
    ],
)
def test_the_log_is_put_in_words(output: str, expected: str) -> None:
    assert describe_renderer(f"step app\n{MARK} {output}\n** (gedit:12): WARNING\n") == expected


def test_a_log_without_a_word_of_it_is_not_taken_for_none() -> None:
    assert "is unknown" in describe_renderer("step app\n")


def test_without_a_display_the_reason_is_reported() -> None:
    """The real script, on this machine."""
    words = ["bash", "-c", _renderer_check("gedit") + "exec true"]
    environ = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
    done = subprocess.run(
        words, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{MARK} none "), done.stdout
    assert describe_renderer(done.stdout).startswith("it has no OpenGL (")


def test_what_virtualgl_draws_is_asked_through_it() -> None:
    assert "| vglrun timeout" in _renderer_check("exec vglrun -d egl paraview")
    assert "vglrun" not in _renderer_check("exec gedit")


def test_the_script_runs_on_old_pythons() -> None:
    """Nothing newer than Python 3.6's grammar."""
    import ast

    assert sys.version_info >= (3, 8)
    ast.parse(job_script("opengl.py").read_text(), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("gpus", "warning", "expected"),
    [
        (0, "", "its desktop answers, OpenGL is drawn by llvmpipe"),
        (
            1,
            "OpenGL in software, without VirtualGL: no GPU",
            "llvmpipe; OpenGL in software, without",
        ),
    ],
)
def test_the_session_gets_the_gpus_and_one_that_is_not_used_is_told(
    monkeypatch: pytest.MonkeyPatch, gpus: int, warning: str, expected: str
) -> None:
    size = Resources(gpus=gpus)
    found = Session(
        "3f9a01bc", "7", "gedit", "alice", SessionState.READY, resources=size, warning=warning
    )
    service = mock.AsyncMock()
    service.apps = mock.Mock(**{"find.return_value": App("gedit", command="gedit")})
    service.config.cluster.ready_timeout_s = 60
    service.images = mock.Mock()
    service.with_app = mock.Mock(return_value=service)
    service.start.return_value = found
    service.sessions.log.return_value = f"{MARK} renderer llvmpipe\n"
    monkeypatch.setattr(smoke_test, "wait_ready", mock.AsyncMock(return_value=found))
    monkeypatch.setattr(smoke_test, "wait_ended", mock.AsyncMock())
    note = asyncio.run(run_smoke_test(service, "gedit", "1.0", "n1", print, gpus=gpus))
    assert expected in note
    (request,) = service.start.await_args.args
    assert request.resources.gpus == gpus
