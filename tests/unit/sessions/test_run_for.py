"""Time limits of the job scripts that hold (assets/jobs/limit.sh)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.processes import has_ended
from vizdash.util.assets import assets

_DEAF = "trap '' TERM; sleep 1000 & while :; do sleep 0.1; done"


@pytest.mark.parametrize(
    ("command", "limit_s", "said"),
    [
        ("exit 3", 60, "3"),
        ("sleep 1000 & exit 0", 60, "0"),
        (_DEAF, 1, "124"),
    ],
    ids=["ends", "leaves another", "ignores TERM"],
)
def test_a_limit_holds(tmp_path: Path, command: str, limit_s: int, said: str) -> None:
    script = f'source "$1"; run_for {limit_s} bash -c "$2" >said 2>&1; echo $?'
    argv = ["bash", "-uc", script + '; kill -KILL -- "-$!" 2>/dev/null', "-"]
    argv += [str(assets() / "jobs/limit.sh"), command]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == (said, "")


def test_what_is_killed_goes_with_all_that_it_started(tmp_path: Path) -> None:
    # The time is over when the other one has started.
    wait = 'sleep() { [ ! -s child ] || SECONDS=9999; command sleep "$@"; }'
    run = 'run_for 600 bash -c "$2" >said 2>&1; code=$?; cat child; exit $code'
    script = f'source "$1"; {wait}; {run}'
    argv = ["bash", "-uc", script, "-", str(assets() / "jobs/limit.sh")]
    argv += ["sleep 1000 & echo $! >child; wait"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip
    assert done.returncode == 124, done.stderr
    assert has_ended(done.stdout.strip())
