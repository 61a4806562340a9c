"""A session ends within seconds of its work, by the number of the job script's checks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vizdash.util.assets import assets

#: `inner_watch` with real processes for the parts of a desktop. `read` writes down each pause that
#: begins after what a test does at the third look.
_WATCH = """
set -u -o pipefail
for part in environment common gpu inner; do eval "$(grep -v '^source ' "$JOBS/$part.sh")"; done
runtime=$PWD app_code='' windows_failed=0 windows_began=0 python=python3 gl=()
VIZDASH_ENDS_WITH=$ENDS VIZDASH_RUNTIME=host looks=0
: >app.log; : >xvnc.log; : >websockify.log; : >rfb
for name in xvnc websockify app app_log windows; do
  sleep 1000 &
  declare "$name=$!"
done
trap 'kill "$xvnc" "$websockify" "$app" "$app_log" "$windows" 2>/dev/null' EXIT
inner_windows() { :; }
inner_fail() { printf '%s: %s\\n' "$1" "$2" >failed; exit 1; }
read() {
  case " $* " in *' -t '*)
    looks=$((looks + 1))
    if [ "$looks" -gt 3 ]; then echo "$3" >>pauses; fi
    if [ "$looks" = 3 ]; then eval "$HAPPENS"; fi ;;
  esac
  builtin read "$@"
}
inner_make_pause
inner_watch
"""
#: {} ends, and is seen to have ended.
_DIES = "kill -KILL ${}; while child_lives ${}; do sleep 0.05; done"


def _watch(folder: Path, happens: str, ends_with: str = "process") -> tuple[float, str]:
    """Seconds that `inner_watch` pauses after that, and the failure (empty: none)."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "SESSION_ID": "0a1b2c3d"}
    env |= {"JOBS": str(assets() / "jobs"), "HAPPENS": happens, "ENDS": ends_with}
    done = subprocess.run(["bash", "-c", _WATCH], cwd=folder, env=env, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip
    failed = folder / "failed"
    assert done.returncode == failed.exists(), done.stderr
    pauses = (folder / "pauses").read_text().split() if (folder / "pauses").exists() else []
    return sum(map(float, pauses)), failed.read_text() if failed.exists() else ""


@pytest.mark.parametrize("ends_with", ["process", "windows"])
@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("app", "app: the app ended with code 137"),
        ("xvnc", "xvnc: Xvnc ended with code 137"),
        ("websockify", "websockify: websockify ended with code 137"),
    ],
)
def test_what_dies_is_seen_at_once(tmp_path: Path, ends_with: str, part: str, why: str) -> None:
    paused, failed = _watch(tmp_path, _DIES.replace("{}", part), ends_with)
    assert failed.startswith(why), failed
    assert paused <= 2


def test_a_socket_that_is_removed(tmp_path: Path) -> None:
    paused, failed = _watch(tmp_path, "rm rfb")
    assert failed == "runtime: its socket rfb on this node was removed\n"
    assert paused <= 5


def test_the_last_window(tmp_path: Path) -> None:
    """The watcher waits some seconds for another one, and looks each second."""
    (tmp_path / "window").touch()
    over = "kill $windows; true & windows=$!; while child_lives $windows; do sleep 0.05; done"
    paused, failed = _watch(tmp_path, over, "windows")
    assert failed == ""
    text = (assets() / "jobs" / "inner.sh").read_text()
    (gap,) = re.findall(r'"\$\{DISPLAY#:\}" 300 (\d+) \\\n', text)
    (look,) = re.findall(r"^    time\.sleep\((\d+)\)$", text, re.MULTILINE)
    assert paused + int(gap) + int(look) <= 8


#: Starts itself again by a thread, so many times; then ends with 3.
_RESTARTS = """
import os, sys, threading, time
left = int(sys.argv[2])
if not left:
    sys.exit(3)
argv = [sys.executable, "-S", "-E", "-c", sys.argv[1], sys.argv[1], str(left - 1)]
for _ in range(8):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
threading.Thread(target=os.execv, args=(sys.executable, argv)).start()
time.sleep(1000)
"""


def test_a_program_that_a_thread_replaces_has_not_ended(tmp_path: Path) -> None:
    """As Apptainer's: to `wait` for it then would be to wait for the end of the app."""
    script = """
    eval "$(sed -n '/^child_lives()/,/^}/p' "$1")"
    "$2" -S -E -c "$3" "$3" 200 &
    child=$! looks=0 missed=0
    while [ -e "/proc/$child" ]; do
      looks=$((looks + 1))
      if ! child_lives "$child" && [ -e "/proc/$child" ]; then missed=$((missed + 1)); fi
    done
    wait "$child"
    echo "$? $missed $((looks > 100))"
    """
    argv = ["bash", "-c", script, "-", str(assets() / "jobs/inner.sh"), sys.executable, _RESTARTS]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120,
                          check=True)  # fmt: skip
    assert done.stdout == "3 0 1\n", done.stderr
