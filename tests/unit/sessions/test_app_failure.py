"""An app that could not be run is named, whatever its command was started by."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vizdash.util.assets import assets

_SCRIPT = """
for part in common inner; do eval "$(grep -v '^source ' "$1/$part.sh")"; done
runtime=$PWD
inner_app_log_ended() { :; }
bash -c "$2" >app.log 2>&1 </dev/null
code=$?
printf '%s\\n' "$3" >>app.log
inner_app_said "$code"
"""
_WARNING = "(app:12): Gtk-WARNING **: 10:11:12.345: theme.css: No such file or directory"


def _shown_error(folder: Path, command: str) -> str:
    """What the session says of an app with this command, and of a warning after its end."""
    argv = ["bash", "-c", _SCRIPT, "-", str(assets() / "jobs"), command, _WARNING]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "SESSION_ID": "0a1b2c3d"}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=60,
                          check=True)  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "nosuch",
        "exec nosuch",
        "env nosuch",
        "nice nosuch",
        "timeout 9 nosuch",
        "nohup nosuch",
        "setsid nosuch",
        "stdbuf -o0 nosuch",
        "printf '#!/usr/bin/env nosuch\\n' >script; chmod +x script; ./script",
    ],
)
def test_a_missing_command_is_named_and_not_a_later_warning(tmp_path: Path, command: str) -> None:
    said = _shown_error(tmp_path, command)
    assert "nosuch" in said
    assert "Gtk-WARNING" not in said


def test_another_code_is_explained_by_the_last_line_that_is_no_warning(tmp_path: Path) -> None:
    assert _shown_error(tmp_path, "echo no licence; exit 3") == "no licence"
