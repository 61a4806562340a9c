"""The user's environment and that of the session's own programs (assets/jobs/environment.sh)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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


#: A desktop's shell in which a module brings Slurm: its sbatch prints what a job would inherit.
_MODULE = """
source "$JOBS/inner.sh"
runtime=$PWD gl=() VIZDASH_RUNTIME=host VIZDASH_ENV=() found=''
module() { PATH=$PWD/slurm:$PATH; }
export -f module
mkdir slurm
printf '#!/bin/bash\\nenv\\n' >slurm/sbatch
chmod +x slurm/sbatch
user_environment=$(export_statements)
inner_settle_environment
export DISPLAY=:7 VIZDASH_SESSION_ID=0a1b2c3d
(inner_user_environment; exec bash -c 'module load slurm; sbatch job.sh')
"""


def test_a_job_by_a_slurm_of_a_module_does_not_inherit_the_session(tmp_path: Path) -> None:
    environment = {"JOBS": f"{assets()}/jobs", "HOME": str(tmp_path), "SLURM_JOB_ID": "7"}
    output = run_bash(f"cd {tmp_path}; {_MODULE}", **environment)
    names = {line.partition("=")[0] for line in output.splitlines()}
    assert "HOME" in names
    left = {"TMPDIR", "DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "VIZDASH_SESSION_ID"} & names
    assert left == set()
