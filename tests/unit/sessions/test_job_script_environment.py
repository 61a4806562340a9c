"""The user's environment and that of the session's own programs (assets/jobs/environment.sh)."""

from __future__ import annotations

import os
import subprocess

import pytest

from vizdash.util.assets import assets

_PATH = "/usr/local/bin:/usr/bin:/bin"


def run_bash(script: str, **environment: str) -> str:
    """What a script prints after it has set its environment aside."""
    text = f"set -u; source {assets()}/jobs/environment.sh\n{script}"
    done = subprocess.run(
        ["bash", "-p", "-c", text],
        env={"PATH": _PATH, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_users_uid_does_not_replace_the_real_one() -> None:
    """bash takes UID from the environment as an ordinary variable."""
    assert run_bash("set_aside_environment; echo $UID", UID="77") == f"{os.getuid()}\n"


@pytest.mark.parametrize("name", ["system_path", "user_environment", "name", "REPLY", "SECONDS"])
def test_a_variable_of_the_scripts_is_not_the_users(name: str) -> None:
    script = f"set_aside_environment; type -P cat; env | grep ^{name}=; echo $((SECONDS > 999))"
    assert run_bash(f'{script}; eval "$user_environment"; type -P cat', **{name: "77"}) == (
        "/usr/bin/cat\n0\n/usr/bin/cat\n"
    )


def test_posix_mode_of_the_users_comes_last() -> None:
    """In it, what fails ends the shell: here UID, which bash has as read-only."""
    saved = run_bash("export POSIXLY_CORRECT=1; export_statements", UID="77", MINE="yes")
    script = 'eval "$saved" 2>/dev/null; echo "$MINE $POSIXLY_CORRECT"'
    assert run_bash(script, saved=saved) == "yes 1\n"


def test_a_configured_ifs_hides_nothing() -> None:
    script = "export IFS=,; set_aside_environment; env | grep -c ^PYTHONHOME; true"
    assert run_bash(script, PYTHONHOME="/nosuch") == "0\n"
