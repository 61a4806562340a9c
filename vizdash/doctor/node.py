"""Checks of one node, by a single short job (or ssh): what assets/nodes/doctor.sh says of it."""

from __future__ import annotations

import re

from vizdash.doctor.case import Case
from vizdash.doctor.check import Check
from vizdash.engines.slurm import SlurmEngine
from vizdash.errors import TimedOut, Unreachable, VizdashError, last_line
from vizdash.images.shell import fields, new_mark
from vizdash.model import JobRequest, Resources
from vizdash.resources import job_script, node_script
from vizdash.sessions.script import Value, render
from vizdash.transport.base import Command
from vizdash.units import duration_words

_BASH = ("bash", "--norc", "-p", "-s")
#: Seconds that the job has to begin, and to be done.
_BEGIN_S = 60
_DONE_S = 300.0
#: srun's last line for a task that failed, which says less than the task's own.
_EXITED = re.compile(r"task 0: (Exited with exit code|Killed|Terminated)")
#: A job that asks for little: cores, MiB, GPUs, seconds.
_SMALL = Resources(cores=1, memory_mib=512, time_s=300)
#: Seconds that the clocks may differ by, and by which munge refuses (munge(7), time to live).
_CLOCKS_S = 30
_MUNGE_S = 300


async def probe(case: Case) -> str:
    """Run the script on the node: as a job, which is what a session is; where none can begin soon
    (or may be run), by ssh.
    """
    mark = new_mark()
    script = _script(case, mark)
    engine, began = case.service.engine, await _login_time(case)
    why = ""
    answer, by = "", "by ssh"
    if not isinstance(engine, SlurmEngine):
        command = Command(_BASH, input=script, timeout_s=_DONE_S)
        answer, by = (await case.service.images.shell.runner.run(command)).stdout, "on this machine"
    elif case.jobs and case.service.has("srun"):
        answer, why = await _by_job(engine, case, script)
        by = "in a job"
    if not answer and isinstance(engine, SlurmEngine):
        answer, by = await _by_ssh(case, script, why), f"by ssh ({why})" if why else "by ssh"
    values = fields(answer, mark, case.node)
    case.facts = dict(zip(values[::2], values[1::2], strict=False))
    case.facts["clock"] = _clock(int(case.facts["time"]), began, await _login_time(case))
    return f"{case.facts['node']}: asked {by}, bash {case.facts['bash']}"


def _script(case: Case, mark: str) -> str:
    cluster, app = case.service.config.cluster, case.app
    runtime, image = case.service.image_of(case.request)
    values: dict[str, Value] = {
        "VIZDASH_MARK": mark,
        "SESSION_ID": case.session_id,
        "VIZDASH_FOLDER": case.folder,
        "VIZDASH_ENGINE": "none",
        "VIZDASH_RUNTIME": "none" if app.kind == "legacy" else runtime,
        "VIZDASH_IMAGE": image,
        "VIZDASH_BINDS": (*cluster.binds, *app.binds),
        "VIZDASH_GPUS": case.request.resources.gpus,
    }
    text = node_script("doctor.sh").read_text(encoding="utf-8")

    def part(name: str) -> str:
        return job_script(name).read_text(encoding="utf-8")

    return render(text, values, part)


async def _by_job(engine: SlurmEngine, case: Case, script: str) -> tuple[str, str]:
    """What the script printed in a job; nothing, and why, where no job could begin in time.

    Raises VizdashError where it began and failed.
    """
    cluster = case.service.config.cluster
    size = Resources(1, _SMALL.memory_mib, case.request.resources.gpus, _SMALL.time_s)
    request = JobRequest(
        name="doctor",
        script=script,
        session_id=case.session_id,
        app=case.app.name,
        comment="",
        output="",
        resources=size,
        node=case.node,
        account=case.request.account or cluster.account,
        qos=case.request.qos or cluster.qos,
        partition=case.request.partition or cluster.partition,
        memory=cluster.memory_request,
    )
    try:
        result = await engine.run_job(request, _BASH, wait_s=_BEGIN_S, timeout_s=_DONE_S)
    except TimedOut as e:
        why = last_line(e.stderr) or e.why
        raise VizdashError(f"a job on {case.node or 'a node'} did not end", why, _SLURMD) from e
    if result.code == 0:
        return result.stdout, ""
    lines = [line for line in result.stderr.splitlines() if not _EXITED.search(line)]
    why = (
        last_line("\n".join(lines) or result.stderr).removeprefix("srun: ").removeprefix("error: ")
    )
    if "Unable to allocate" in result.stderr or "Immediate execution" in result.stderr:
        return "", f"no job began in {_BEGIN_S} s: {why}"
    raise VizdashError(f"a job on {case.node or 'a node'} failed", why, _SLURMD)


_SLURMD = "ask its operators: does slurmd run there?"


async def _by_ssh(case: Case, script: str, why: str) -> str:
    shell = case.service.images.shell
    if not case.node:
        raise Unreachable("no node could be asked", why or "jobs are not to be run")
    if shell.hosts:
        await shell.hosts.find(case.node)
    command = Command(shell.argv(case.node, _BASH), input=script, timeout_s=_DONE_S)
    result = await shell.runner.run(command)
    if result.code != 0:
        error = shell.failure(case.node, result.code, result.stderr)
        raise VizdashError(error.what, f"{error.why}; {why}" if why else error.why, error.mend)
    return result.stdout


async def _login_time(case: Case) -> int:
    """The clock of the host that Slurm's commands run on, in seconds since the epoch."""
    result = await case.service.images.shell.runner.run(Command(("date", "+%s")))
    return int(result.check("date").stdout)


def _clock(there: int, before: int, after: int) -> str:
    """By how many seconds the node's clock is off at least; negative where it is behind."""
    return str(max(0, there - after) or -max(0, before - there))


# ---------------------------------------------------------------- what it said


async def clock(case: Case) -> str:
    """Whether the clocks agree: munge refuses what is minutes off."""
    off = int(case.facts["clock"])
    if abs(off) <= _CLOCKS_S:
        return "the node's clock agrees with the login host's"
    words = f"{duration_words(abs(off))} {'ahead' if off > 0 else 'behind'}"
    why = f"munge refuses at {duration_words(_MUNGE_S)}"
    fix = "have both hosts keep time by NTP (chronyd)"
    raise VizdashError(f"the clock of {case.facts['node']} is {words}", why, fix)


async def home(case: Case) -> str:
    """The home, as the node sees it."""
    path, free = case.facts["home"], case.facts["home_free_kib"]
    if problem := case.facts.get("home_problem"):
        where = case.service.config.cluster.state_dir
        if where:  # sessions do without
            return f"{path} {problem} on {case.facts['node']}; sessions use {where}"
        what = f"your home {path} {problem} on {case.facts['node']}"
        raise VizdashError(what, "", "ask its administrators, or set state_dir")
    return f"{path}, {_mib(free)} free"


async def folder(case: Case) -> str:
    """A session's folder, which the job writes into."""
    if problem := case.facts.get("folder_problem"):
        raise VizdashError(problem, "", "free some space, or see state_dir in the config")
    return f"{case.folder.rpartition('/')[0]} can be written on {case.facts['node']}"


async def runtime_folder(case: Case) -> str:
    """Where sockets and passwords go."""
    if problem := case.facts.get("runtime_problem"):
        what = f"no folder for a session on {case.facts['node']}"
        raise VizdashError(what, problem, "have /tmp cleaned up there")
    free = _mib(case.facts["runtime_free_kib"])
    passed = case.facts["runtime_passed"]
    return f"{case.facts['runtime_folder']}, {free} free{f' ({passed})' if passed else ''}"


async def runtime(case: Case) -> str:
    """What runs images there."""
    path = case.facts.get("apptainer", "")
    if not path:
        what = f"neither apptainer nor singularity is installed on {case.facts['node']}"
        raise VizdashError(what, "", "install Apptainer on the nodes, or name its module")
    return f"{path}, {case.facts.get('apptainer_version')}; {case.facts.get('namespaces')}"


async def image_runs(case: Case) -> str:
    """Whether the image can be read and runs."""
    if problem := case.facts.get("image_problem"):
        fix = f"vizdash deploy {case.app.name} --node {case.node}"
        raise VizdashError(f"the image does not run on {case.facts['node']}", problem, fix)
    if "surveyed" not in case.facts:
        return f"{case.facts.get('image')}: not run, since there is no folder for it"
    return case.facts["image"]


async def desktop(case: Case) -> str:
    """The desktop's programs, in the image or on the host."""
    where = "image" if case.facts.get("image") else f"host {case.facts['node']}"
    parts = [("Xvnc", "tigervnc-standalone-server"), ("vncpasswd", "tigervnc-tools")]
    parts += [("websockify", "websockify"), ("novnc", "novnc")]
    if where == "image":
        fix = f"build it with it: vizdash build {case.app.name}"
    else:
        fix = "install it there: package {}"
    for name, package in parts:
        if not case.facts.get(name):
            what = "noVNC" if name == "novnc" else name
            raise VizdashError(f"{what} is not installed in this {where}", "", fix.format(package))
    if problem := case.facts.get("websockify_problem"):
        raise VizdashError(f"websockify does not run in this {where}", problem, "install it again")
    return "; ".join(f"{case.facts[name]}" for name, _ in parts)


async def gpu(case: Case) -> str:
    """What draws OpenGL, where the app asks for a GPU."""
    device, names = case.facts.get("gl_device", ""), case.facts.get("gpu") or "a GPU"
    if device:
        return f"{names}, drawn on by {device}"
    return f"OpenGL in software: {case.facts.get('gl_why')}"


def _mib(kib: str) -> str:
    return f"{int(kib) // 1024} MiB" if kib.isdecimal() else "an unknown amount"


def checks(case: Case, needs: tuple[str, ...]) -> tuple[Check, ...]:
    """The checks of the node that ``case`` is about."""
    name = "job on node" if case.service.engine.name == "slurm" else "node script"
    on: tuple[str, ...] = (name,)
    found = [
        Check(name, probe, needs),
        Check("clock", clock, on),
        Check("home on node", home, on),
        Check("session folder on node", folder, on),
        Check("runtime folder", runtime_folder, on),
    ]
    if case.app.kind != "legacy":
        if case.service.image_of(case.request)[0] == "apptainer":
            found.append(Check("runtime", runtime, on))
            found.append(Check("image on node", image_runs, (name, "runtime")))
            on = ("image on node", "runtime folder")
        found.append(Check("desktop programs", desktop, (name, *on)))
    if case.request.resources.gpus:
        found.append(Check("GPU", gpu, (name,)))
    return tuple(found)
