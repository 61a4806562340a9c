"""When a job takes its session for idle (assets/jobs/idle.sh), and what follows from it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vizdash.config import App, Cluster
from vizdash.config.lifetime import Idle
from vizdash.errors import UsageError
from vizdash.model import Job, JobState, Resources, SessionRequest
from vizdash.sessions.comment import Claim
from vizdash.sessions.folder import Status, status_of
from vizdash.sessions.job_script import render_script
from vizdash.sessions.listing import session_from_job
from vizdash.sessions.start_plan import StartPlan, resolve_plan
from vizdash.sessions.submit import build_job_request
from vizdash.util.assets import assets

#: ``at TIME ACTIVITY TICKS``: what the job does at that time, as lines.
_JOB = """
umask 077
SESSION_ID=3f9a01bc VIZDASH_APP=desktop VIZDASH_FOLDER=$PWD/f
VIZDASH_IDLE_SECONDS=60 VIZDASH_IDLE_GRACE=20 VIZDASH_IDLE_CPU=10 VIZDASH_IDLE_GPU=5
mkdir -p f r
: >f/connection
source common.sh
say() { echo "log $1"; }
is_service() { [ -n "${SERVICE:-}" ]; }
show_text() { echo "text $1"; }
tell_reporter() { echo "tell $1"; }
end_early() { echo "end $*"; }
session_ticks() { ticks=$now_ticks; }
runtime=$PWD/r keeper_pid=$$
at() {
  printf '%s\\n' "$2" >r/activity
  now_ticks=$3
  keep_idle "$1"
}
"""
#: Samples of a session that nobody uses, from 1000 s on; the last input was long before.
_QUIET = """
for ((t = 1000; t <= LAST; t += 10)); do at "$t" "$t 0 $((t - 100))" 50; done
"""


def script_of(text: str) -> str:
    jobs = assets() / "jobs"
    return render_script(text, {}, lambda name: (jobs / name).read_text(encoding="utf-8"))


def job_says(place: Path, samples: str, **environment: str) -> list[str]:
    env = {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(place), **environment}
    done = subprocess.run(
        ["bash", "-p"],
        input=script_of(_JOB + samples),
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def quiet(last: int) -> str:
    return _QUIET.replace("LAST", str(last))


def test_what_is_idle_for_long_is_warned_and_ends(tmp_path: Path) -> None:
    assert job_says(tmp_path, quiet(1050)) == []
    shown = job_says(tmp_path, quiet(1120))
    assert shown[0].startswith("text This session is idle and ends in 20 seconds")
    assert shown[1] == "tell idle 1080"
    assert shown[2] == "end idle no viewer, no input and no work for 80 seconds"


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        ('at 1075 "1075 1 975" 50', "a viewer"),
        ('at 1075 "1075 0 2" 50', "input"),
        ('at 1075 "1075 0 975" 100', "CPU"),
        ('at 1075 "1075 0 975" 40', "a process with lost CPU time has ended"),
        ('at 1075 "1075 - 975" 50', "viewers that are unknown"),
        ('at 1075 "1075 0 -" 50', "input that is unknown"),
        ('at 1075 "1030 0 930" 50', "a watcher that was stopped"),
        ('at 1075 "no words" 50', "a file that is none"),
        ('at 1075 "1075 0 975" ""', "CPU time that is unknown"),
    ],
)
def test_any_use_and_anything_unknown_keeps_it(tmp_path: Path, sample: str, why: str) -> None:
    shown = job_says(tmp_path, quiet(1070) + sample)
    assert shown[1:] == ["tell idle 1080", "log the session is in use again", "tell idle"], why
    # Then it is idle for the whole time again.
    again = sample + "\n" + quiet(1150).replace("t = 1000", "t = 1080").replace(" 50;", " 110;")
    assert not [line for line in job_says(tmp_path, quiet(1070) + again) if "end" in line[:4]]


def test_the_time_of_a_suspension_is_not_idle_time(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f/status").write_text("VIEWERS=0\n")
    later = quiet(2100).replace("t = 1000", "t = 2000")
    shown = job_says(tmp_path, f"{quiet(1030)}skip_idle 960\n{later}", SERVICE="1")
    assert shown[0].startswith("text This session is idle")
    assert shown[1:3] == [
        "tell idle 2040",
        "end idle no viewer, no input and no work for 80 seconds",
    ]
    # It has been warned before.
    shown = job_says(tmp_path, f"{quiet(1060)}skip_idle 960\nat 2030 '' 50\n", SERVICE="1")
    assert shown[1:] == ["tell idle 1080", "tell idle 2040"]


def test_what_stays_unknown_is_logged_once(tmp_path: Path) -> None:
    samples = "".join(f'at {t} "{t} 0 -" 50\n' for t in range(1000, 1100, 10))
    assert job_says(tmp_path, samples) == [
        "log the session is not idle, since its input is unknown"
    ]


def test_a_service_has_no_input_but_viewers(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    status = tmp_path / "f/status"
    status.write_text("STATE=ready\nVIEWERS=0\n")
    assert any(line.startswith("end idle") for line in job_says(tmp_path, quiet(1120), SERVICE="1"))
    for text in ("STATE=ready\nVIEWERS=2\n", "STATE=ready\n"):
        status.write_text(text)
        assert "end" not in " ".join(job_says(tmp_path, quiet(1120), SERVICE="1"))


@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ("echo 0", True),
        ("echo 4; echo 0", True),
        ("echo 0; echo 40", False),
        ("echo '[N/A]'", False),
        ("exit 9", False),
        (None, False),
    ],
)
def test_a_granted_gpu_that_works_or_is_unknown_keeps_it(
    tmp_path: Path, answer: str | None, ends: bool
) -> None:
    if answer is not None:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin/nvidia-smi"
        program.write_text(f'#!/bin/sh\n[ "$3 $4" = "-i 0,1" ] || exit 3\n{answer}\n')
        program.chmod(0o755)
    shown = job_says(tmp_path, quiet(1120), CUDA_VISIBLE_DEVICES="0,1")
    assert any(line.startswith("end idle") for line in shown) == ends
    amd = job_says(tmp_path, quiet(1120), ROCR_VISIBLE_DEVICES="0")
    assert "end" not in " ".join(amd)


def test_cpu_time_is_that_of_the_processes(tmp_path: Path) -> None:
    """Those of the session that still run, with the children that they have waited for."""
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    samples = f"""
unset -f session_ticks
source idle.sh
mkfifo hold
session_processes() {{ printf '%s\\n' "$child" 999999999; }}
("{sys.executable}" -c "$BURN"; read -r _ <hold) &
child=$!
for _ in {{1..600}}; do
  session_ticks
  if [ "$ticks" -ge 25 ]; then echo enough; break; fi
  sleep 0.1
done
echo >hold
session_processes() {{ :; }}
session_ticks
echo "none: $ticks"
"""
    shown = job_says(tmp_path, samples, BURN=burn)
    assert shown == ["enough", "none: "]


CLUSTER = Cluster("viz", idle=Idle(after_s=1800), job_scripts="/nonexistent")
REQUEST = SessionRequest("desktop", Resources(2, 2048, 0, 7200))


def planned(app: App, cluster: Cluster = CLUSTER, *, keep: bool = False) -> StartPlan:
    request = replace(REQUEST, keep=keep)
    return resolve_plan(request, app, cluster, runtime="apptainer", image="/i.sif")


def test_site_and_app_decide() -> None:
    plan = planned(App("desktop"))
    assert plan.idle == Idle(1800, 300, 10, 5, keep=False)
    assert plan.lifetime_text == "ends when idle for 30 min"
    script = build_job_request(plan, CLUSTER, engine="slurm", folder="/f").script
    assert "\nVIZDASH_IDLE_SECONDS=1800\nVIZDASH_IDLE_GRACE=300\n" in script
    own = planned(App("desktop", idle=Idle(after_s=600, cpu_percent=50))).idle
    assert own == Idle(600, 300, 50, 5, keep=False)
    assert planned(App("desktop", idle=Idle(after_s=0))).idle is None
    assert planned(App("desktop", kind="legacy")).idle is None


def test_keep_is_the_sites_to_allow() -> None:
    with pytest.raises(UsageError, match="this site does not allow it"):
        planned(App("desktop"), keep=True)
    allowed = replace(CLUSTER, idle=Idle(after_s=1800, keep=True))
    assert planned(App("desktop"), allowed, keep=True).idle is None
    assert planned(App("desktop"), replace(CLUSTER, idle=Idle()), keep=True).idle is None


def test_an_idle_session_counts_down_and_ends_with_its_reason() -> None:
    job = Job("7", "alice", "vizdash-desktop", JobState.RUNNING, start_at=1000)
    job = replace(job, time_limit_s=28800, time_left_s=25200)
    claim = Claim("3f9a01bc", "desktop", state="ready")
    status = status_of({"STATE": "ready", "IDLE_END": "4900"})
    session = session_from_job(job, claim, status, mine=True)
    assert (session.idle_left_s, session.ends_in_s) == (300, 300)
    done = replace(job, state=JobState.COMPLETED)
    over = Status(state="ended", result="idle", error="no viewer")
    ended = session_from_job(done, claim, over, mine=True)
    assert (ended.result, ended.error, ended.idle_left_s) == ("idle", "no viewer", None)
