"""VirtualGL draws on the GPU that Slurm allocated, or the app starts without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab import Lab
from tests.lab.verbs import list_sessions, run_vizdash, start_session
from tests.waiting import wait_until

NODE = "viz-node003"
#: As in tests/unit/sessions/test_job_script_gpu.py: the DRI devices count in the other order.
_MAKE = """
for pair in 0000:03:00.0/card0 0000:3b:00.0/card2 0000:af:00.0/card1; do
  mkdir -p gpus/sys/bus/pci/devices/${pair%/*}/drm/${pair#*/} gpus/dev/dri
  touch gpus/dev/dri/${pair#*/}
done
echo 'export VIZDASH_GPU_ROOT=$HOME/gpus' >.bash_profile
"""
_SMI = """#!/bin/sh
echo '0, GPU-aaaaaaaa-1111-2222-3333-444444444444, 00000000:3B:00.0'
echo '1, GPU-bbbbbbbb-1111-2222-3333-444444444444, 00000000:AF:00.0'
"""
#: Writes down how it is called; ``vgl-fails`` in the home names the program that it fails for.
_VGLRUN = """#!/bin/sh
echo "$2 ${3##*/}" >>$HOME/vglrun.log
case ${3##*/} in "$(cat $HOME/vgl-fails 2>/dev/null)")
  echo '[VGL] ERROR: in init3D-- could not open the EGL device' >&2; exit 1 ;;
esac
shift 2
exec "$@"
"""
_APP = (
    '  drawing: {runtime: host, host_command: "exec openbox", '
    "resources: {cores: 1, memory: 1G, gpus: 1, time: 1h}}\n"
)


@pytest.fixture
def drawing(lab: Lab, site: None) -> Iterator[Lab]:
    """A node with two GPUs and VirtualGL, and an app that asks for a GPU."""
    config = lab.login.root / "etc/vizdash/config.yaml"
    config.write_text(config.read_text() + _APP)
    lab.login.run(_MAKE, user="alice")
    programs = lab.hosts[NODE].root / "usr/local/bin"
    for name, text in {"nvidia-smi": _SMI, "vglrun": _VGLRUN}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    yield lab
    for name in ("nvidia-smi", "vglrun"):
        (programs / name).unlink(missing_ok=True)
    left = "gpus .bash_profile vglrun.log vgl-fails"
    lab.login.run(["sh", "-c", f"cd /home/alice && rm -rf {left}"])


def _calls(lab: Lab) -> list[str]:
    """The devices and programs that vglrun was called with for apps."""
    text: str = lab.login.run(["cat", "/home/alice/vglrun.log"]).stdout
    return [line for line in text.splitlines() if line.endswith(" bash")]


def _warned(lab: Lab, session_id: str) -> dict[str, Any]:
    """The session, once its job has said what draws it and that this is not its GPU."""
    return _find(lab, session_id, lambda row: bool(row["renderer"] and row["warning"]))


def _find(lab: Lab, session_id: str, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """A session's row, once this is true of it."""
    found: dict[str, Any] = {}

    def is_true() -> bool:
        found.update(next(s for s in list_sessions(lab) if s["id"] == session_id))
        return true(found)

    wait_until(is_true, "what draws the session", seen=lambda: str(found))
    return found


def test_a_gpu_that_is_given_and_does_not_draw_is_reported(drawing: Lab) -> None:
    """By VirtualGL that renders in software, and where there is none."""
    session = _warned(drawing, start_session(drawing, "drawing")["id"])
    assert session["renderer"].startswith("llvmpipe")
    drawn = f"vglrun -d /dev/dri/card2 renders with {session['renderer']}"
    assert session["warning"].startswith("OpenGL in software: ")
    assert session["warning"].endswith(drawn)
    listed = run_vizdash(drawing, "sessions").stdout
    assert "GPU unused: llvmpipe draws" in listed
    run_vizdash(drawing, "stop", session["id"])
    (drawing.hosts[NODE].root / "usr/local/bin/vglrun").unlink()
    session = _warned(drawing, start_session(drawing, "drawing")["id"])
    assert session["warning"] == (
        "OpenGL in software, without VirtualGL: VirtualGL (vglrun) is not installed in this host"
    )
    run_vizdash(drawing, "stop", session["id"])


def test_each_session_draws_on_its_own_gpu(drawing: Lab) -> None:
    first, second = start_session(drawing, "drawing"), start_session(drawing, "drawing")
    calls = ["/dev/dri/card2 bash", "/dev/dri/card1 bash"]
    wait_until(lambda: sorted(_calls(drawing)) == sorted(calls), "a desktop on each")
    for session in (first, second):
        run_vizdash(drawing, "stop", session["id"])


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ("true", []),  # the trial before the app
        ("bash", ["/dev/dri/card2 bash"]),  # what a trial without glxinfo can't see
    ],
)
def test_without_a_working_virtualgl_it_draws_in_software(
    drawing: Lab, fails: str, calls: list[str]
) -> None:
    drawing.login.run(f"echo {fails} >~/vgl-fails", user="alice")
    session = start_session(drawing, "drawing")
    session = _find(drawing, session["id"], lambda row: bool(row["warning"]))
    assert _calls(drawing) == calls
    log = run_vizdash(drawing, "logs", session["id"]).stdout
    (line,) = [line for line in log.splitlines() if "OpenGL in software" in line]
    assert "vglrun -d /dev/dri/card2: [VGL] ERROR: in init3D-- could not open" in line
    assert session["warning"] == line
    run_vizdash(drawing, "stop", session["id"])
