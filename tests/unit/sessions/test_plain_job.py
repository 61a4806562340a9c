"""A session without options that came later is the same job as ever, to the byte.

What sbatch receives, the values in the script, the record in the folder, and the job's comment and
status are compared with a recording. After a change that is meant: ``python -m
tests.unit.sessions.test_plain_job >tests/unit/sessions/plain_job.txt``.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from vizdash.config import App, Cluster
from vizdash.engines.slurm import commands
from vizdash.model import Resources, SessionRequest
from vizdash.sessions.folder import job_record
from vizdash.sessions.job_script import render_script
from vizdash.sessions.start_plan import resolve_plan
from vizdash.sessions.submit import build_job_request
from vizdash.util.assets import assets

RECORDED = Path(__file__).with_name("plain_job.txt")
_CLUSTER = Cluster("viz", partition="viz", job_scripts="/nonexistent")
_APPS = (
    App("desktop", title="Desktop"),
    App("paraview", host_command="openbox & exec paraview", geometry="1920x1080"),
)
_REQUEST = SessionRequest("", Resources(4, 8192, 1, 7200))
#: The job's own words, by the functions of its script, in a folder that it can write.
_WORDS = """
umask 077
SESSION_ID=3f9a01bc VIZDASH_APP=desktop VIZDASH_FOLDER=$PWD VIZDASH_IMAGE_VERSION=1.0
source common.sh
runtime=$PWD node=n1 job_id=7
status starting xvnc
cat status
status ready ready
grep -v READY= status
viewers=0 since=1800000000
comment_text ready ready
echo
status ended app failed 'a b'
grep -v READY= status
ls -A
"""


def job_texts() -> str:
    """What goes to the engine, for each app and engine."""
    lines = []
    for engine, runtime in (("slurm", "apptainer"), ("slurm", "host"), ("local", "host")):
        for app in _APPS:
            if runtime == "host" and not app.host_command:
                continue
            request = replace(_REQUEST, app=app.name)
            image = f"/images/{app.name}.sif" if runtime == "apptainer" else ""
            plan = resolve_plan(request, app, _CLUSTER, runtime=runtime, image=image, version="1.0")
            plan = replace(plan, session_id="3f9a01bc")
            job = build_job_request(plan, _CLUSTER, engine=engine, folder="/home/alice/s")
            lines += [f"== {engine} {runtime} {app.name}", *commands.sbatch(job).argv]
            script = job.script.split("\n")
            block = script[script.index("# Values of this session, set by vizdash.") :]
            lines += takewhile(lambda line: line.startswith(("#", "S", "V")), block)
    lines += ["== record", job_record("desktop", "1.0", "vizdash", "7")]
    return "\n".join(lines)


def job_words(place: Path) -> str:
    """The comment and the status files that a job writes."""
    jobs = assets() / "jobs"
    script = render_script(_WORDS, {}, lambda name: (jobs / name).read_text(encoding="utf-8"))
    done = subprocess.run(
        ["bash", "-p"],
        input=script,
        cwd=place,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    return "\n".join("UPDATED=" if line.startswith("UPDATED=") else line for line in lines)


def test_a_job_without_options_is_the_same_as_ever(tmp_path: Path) -> None:
    assert f"{job_texts()}\n{job_words(tmp_path)}\n" == RECORDED.read_text(encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(f"{job_texts()}\n{job_words(Path(folder))}\n")
