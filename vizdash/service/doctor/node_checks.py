"""Checks of one node, by a short job or by SSH: the values that assets/nodes/doctor.sh prints."""

from __future__ import annotations

import re

from vizdash.engines.slurm import SlurmEngine
from vizdash.errors import TimedOut, Unreachable, VizdashError, last_line
from vizdash.images.node_script import new_mark, split_answer
from vizdash.model import SERVICE_KINDS, JobRequest, Resources
from vizdash.service.doctor import clocks
from vizdash.service.doctor.checks import Case, Check
from vizdash.sessions.job_script import Value, render_script
from vizdash.transport.base import NODE_ANSWER_LIMIT, Command
from vizdash.util.assets import job_script, node_script
from vizdash.util.units import format_memory

_BASH = ("bash", "--norc", "-p", "-s")
#: Seconds for the job to begin, and to finish.
_BEGIN_S = 60
_DONE_S = 300.0
#: srun's own last line for a failed task, which says less than the task's.
_EXITED = re.compile(r"task 0: (Exited with exit code|Killed|Terminated)")
#: Resources of the job.
_SMALL = Resources(cores=1, memory_mib=512, time_s=300)


async def run_node_script(case: Case) -> str:
    """Run the script on the node: as a job, like a session; by SSH if no job can begin soon, or if
    jobs are not allowed.
    """
    mark = new_mark()
    script = _script(case, mark)
    engine, began = case.service.engine, await clocks.login_time(case)
    why = ""
    answer, by = "", "by SSH"
    if not isinstance(engine, SlurmEngine):
        command = Command(_BASH, input=script, timeout_s=_DONE_S, limit_bytes=NODE_ANSWER_LIMIT)
        answer, by = (await case.service.images.shell.runner.run(command)).stdout, "on this machine"
    elif case.jobs and case.service.has("srun"):
        try:
            answer, why = await _by_job(engine, case, script)
        except VizdashError as e:
            if case.node and (error := await clocks.clock_error_by_ssh(case, case.node)):
                raise error from e
            raise
        by = "in a job"
    if not answer and isinstance(engine, SlurmEngine):
        answer, by = await _by_ssh(case, script, why), f"by SSH ({why})" if why else "by SSH"
    values = split_answer(answer, mark, case.node)
    case.facts = dict(zip(values[::2], values[1::2], strict=False))
    off = clocks.difference(int(case.facts["time"]), began, await clocks.login_time(case))
    case.facts["clock"] = str(off)
    return f"{case.facts['node']}: checked {by}, bash {case.facts['bash']}"


def _script(case: Case, mark: str) -> str:
    cluster, app = case.service.config.cluster, case.app
    runtime, image = case.service.apps.runtime_and_image(case.request)
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

    return render_script(text, values, part)


async def _by_job(engine: SlurmEngine, case: Case, script: str) -> tuple[str, str]:
    """The output of the script in a job; empty, with the cause, if no job began in time.

    Raises VizdashError if it began and failed.
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


_SLURMD = "ask an operator: does slurmd run there?"


async def _by_ssh(case: Case, script: str, why: str) -> str:
    shell = case.service.images.shell
    if not case.node:
        raise Unreachable("no node could be checked", why or "jobs are not allowed (read-only)")
    if shell.hosts:
        await shell.hosts.find(case.node)
    command = Command(
        shell.argv(case.node, _BASH),
        input=script,
        timeout_s=_DONE_S,
        limit_bytes=NODE_ANSWER_LIMIT,
    )
    result = await shell.runner.run(command)
    if result.code != 0:
        error = shell.failure(case.node, result.code, result.stderr)
        raise VizdashError(error.what, f"{error.why}; {why}" if why else error.why, error.fix)
    return result.stdout


# ---------------------------------------------------------------- the values it printed


async def check_clock(case: Case) -> str:
    """Whether the clocks agree: munge refuses a difference of minutes."""
    if error := clocks.clock_error(case.facts["node"], int(case.facts["clock"])):
        raise error
    return "the node's clock agrees with the login host's"


async def check_home(case: Case) -> str:
    """The home folder on the node."""
    path, free = case.facts["home"], case.facts["home_free_kib"]
    if problem := case.facts.get("home_problem"):
        where = case.service.config.cluster.state_dir
        if where:  # sessions do not need the home
            return f"{path} {problem} on {case.facts['node']}; sessions use {where}"
        what = f"your home {path} {problem} on {case.facts['node']}"
        raise VizdashError(what, "", "ask an administrator, or set state_dir")
    return f"{path}, {_memory(free)} free"


async def check_folder(case: Case) -> str:
    """The session folder, which the job writes to."""
    if problem := case.facts.get("folder_problem"):
        raise VizdashError(problem, "", "free some space, or set state_dir in the configuration")
    return f"{case.folder.rpartition('/')[0]} is writable on {case.facts['node']}"


async def check_runtime_folder(case: Case) -> str:
    """The folder on the node for sockets and passwords."""
    if problem := case.facts.get("runtime_problem"):
        what = f"no folder for a session on {case.facts['node']}"
        raise VizdashError(what, problem, "ask an administrator to clean up /tmp there")
    free = _memory(case.facts["runtime_free_kib"])
    passed = case.facts["runtime_passed"]
    return f"{case.facts['runtime_folder']}, {free} free{f' ({passed})' if passed else ''}"


async def check_runtime(case: Case) -> str:
    """The container runtime on the node."""
    path = case.facts.get("apptainer", "")
    if not path:
        what = f"neither apptainer nor singularity is installed on {case.facts['node']}"
        raise VizdashError(
            what, "", "install Apptainer on the nodes, or set its module (`modules`)"
        )
    namespaces = case.facts.get("namespaces", "")
    lacks_rights = namespaces.startswith("no user namespaces") and "; setuid" not in namespaces
    # Where unshare(1) may make none, Apptainer may still: AppArmor has profiles for programs.
    if lacks_rights and case.facts.get("image_problem") and case.facts.get("image"):
        raise VizdashError(
            f"{path} starts no container on {case.facts['node']}",
            f"{namespaces}, and it is not setuid: {case.facts['image_problem']}",
            "have user namespaces enabled there (sysctl user.max_user_namespaces), or install "
            "the setuid part of Apptainer",
        )
    return f"{path}, {case.facts.get('apptainer_version')}; {namespaces}"


async def check_image_runs(case: Case) -> str:
    """Whether the image can be read and runs on the node."""
    if problem := case.facts.get("image_problem"):
        fix = f"vizdash deploy {case.app.name} --node {case.node}"
        raise VizdashError(f"the image does not run on {case.facts['node']}", problem, fix)
    if "surveyed" not in case.facts:
        return f"{case.facts.get('image')}: not tried: it needs the session folder"
    return case.facts["image"]


async def check_desktop_programs(case: Case) -> str:
    """The programs of a desktop, in the image or on the host."""
    where = "image" if case.facts.get("image") else f"host {case.facts['node']}"
    parts = [("Xvnc", "tigervnc-standalone-server"), ("vncpasswd", "tigervnc-tools")]
    parts += [("websockify", "websockify"), ("novnc", "novnc")]
    if where == "image":
        fix = f"rebuild the image with it: vizdash build {case.app.name}"
    else:
        fix = "install the package {} there"
    for name, package in parts:
        if not case.facts.get(name):
            what = "noVNC" if name == "novnc" else name
            raise VizdashError(f"{what} is not installed in this {where}", "", fix.format(package))
    if problem := case.facts.get("websockify_problem"):
        raise VizdashError(f"websockify does not run in this {where}", problem, "reinstall it")
    return "; ".join(f"{case.facts[name]}" for name, _ in parts)


async def check_gpu(case: Case) -> str:
    """What renders OpenGL, if the app requests a GPU."""
    if problem := case.facts.get("gpu_problem"):
        what = f"the GPUs of {case.facts['node']} do not work"
        raise VizdashError(what, problem, "ask your operators, or choose another --node")
    device, names = case.facts.get("gl_device", ""), case.facts.get("gpu") or "a GPU"
    if device:
        return f"{names}, OpenGL rendered by {device}"
    return f"OpenGL rendered in software: {case.facts.get('gl_why')}"


def _memory(kib: str) -> str:
    return format_memory(int(kib) / 1024) if kib.isdecimal() else "an unknown amount"


def node_checks(case: Case, needs: tuple[str, ...]) -> tuple[Check, ...]:
    """The checks of the node in ``case``."""
    name = "job on node" if case.service.engine.name == "slurm" else "node script"
    on: tuple[str, ...] = (name,)
    checks = [
        Check(name, run_node_script, needs),
        Check("clock", check_clock, on),
        Check("home on node", check_home, on),
        Check("session folder on node", check_folder, on),
        Check("runtime folder", check_runtime_folder, on),
    ]
    if case.app.kind != "legacy":
        if case.service.apps.runtime_and_image(case.request)[0] == "apptainer":
            checks.append(Check("runtime", check_runtime, on))
            checks.append(Check("image on node", check_image_runs, (name, "runtime")))
            on = ("image on node", "runtime folder")
        if case.app.kind not in SERVICE_KINDS:
            checks.append(Check("desktop programs", check_desktop_programs, (name, *on)))
    if case.request.resources.gpus:
        checks.append(Check("GPU", check_gpu, (name,)))
    return tuple(checks)
