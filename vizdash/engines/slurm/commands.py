"""The Slurm commands that vizdash runs, as argv.

Each command starts with env(1), so that the caller's own settings for Slurm's tools
(``SQUEUE_FORMAT``, ``SBATCH_PARTITION``, ``SCANCEL_STATE`` and so on; see ENVIRONMENT in
squeue(1), sbatch(1), scancel(1), scontrol(1)) don't steer what vizdash asks. Kept are
``SLURM_CONF`` and ``SLURM_JWT`` (which cluster, who), and for sbatch ``SBATCH_ACCOUNT``,
``SBATCH_QOS`` and ``SBATCH_WCKEY``: who pays is the person's own default.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

from vizdash.engines.slurm.environment import (
    SACCT,
    SACCTMGR,
    SBATCH,
    SCANCEL,
    SCONTROL,
    SQUEUE,
    SRUN,
    env,
)
from vizdash.engines.slurm.sbatch_options import excludes, read_options, without_options
from vizdash.errors import UnknownName
from vizdash.model import JobRequest, Resources
from vizdash.transport import Command

#: squeue's field letters in the order in which parse.py reads them (squeue(1), "--format").
JOB_FIELDS = (
    "i",  # job id: 123, 123_4, 123_[5-9%2], 123+1
    "u",  # user
    "j",  # name
    "T",  # state, long form
    "P",  # partition; several when pending in several
    "r",  # reason, a code or (while Slurm has more to say) a sentence
    "N",  # node list, empty until the job has nodes
    "C",  # CPUs
    "m",  # memory per node, or per CPU
    "b",  # GRES per node
    "l",  # time limit
    "L",  # time left
    "S",  # start, or expected start
    "V",  # submit time
    "a",  # account
    "q",  # QOS
    "e",  # end, or the end that is expected
    "k",  # comment
)

#: The same fields where everyone's jobs are queried, which are many: those that can hold no tab,
#: tabs between them, then the texts of users and administrators. The time left comes first: of a
#: running job nothing else changes.
PLAIN_FIELDS = ("L", "T", "P", "i", "u", "N", "C", "m", "l", "S", "V", "e")
TEXT_FIELDS = ("j", "r", "b", "a", "q", "k")

#: sacct's fields in the order in which parse.py reads them (sacct(1), "--format"). Texts by
#: users stand between fields by Slurm, so that a newline in them does not end the record.
HISTORY_FIELDS = (
    "JobID",
    "User",
    "JobName",
    "State",
    "Partition",
    "NodeList",
    "AllocCPUS",
    "ReqCPUS",
    "ReqMem",
    "ReqTRES",
    "TimelimitRaw",
    "Start",
    "End",
    "Submit",
    "Account",
    "QOS",
    "Comment",
    "ExitCode",
)

#: Seconds that a query may take before it counts as unanswered.
QUERY_TIMEOUT_S = 30.0

#: Seconds for commands that change something: slurmctld may be slow, but they are not repeated.
WRITE_TIMEOUT_S = 60.0

#: Seconds before the limit at which the batch shell gets SIGUSR1.
WARN_S = 300

_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_JOB_ID = re.compile(r"[0-9]+(?:[_+][0-9\[\],%:.-]+)?\Z")
#: The tasks of an array that wait: ``12_[4-9%2]``, with how many may run at once; squeue cuts a
#: long list of them short (squeue(1), SLURM_BITSTR_LEN).
_WAITING_TASKS = re.compile(r"([0-9]+)_\[([^%.\]]*)(.*)")


def new_nonce() -> str:
    """A mark that no job's text can contain: 96 random bits, chosen after all texts."""
    return secrets.token_hex(12)


def field_mark(nonce: str) -> str:
    """The separator of fields in squeue's answer."""
    return f"<{nonce}>"


def record_mark(nonce: str) -> str:
    """The end of each record in squeue's answer (a newline follows)."""
    return f"</{nonce}>"


def squeue(nonce: str, *, user: str | None = None, job_id: str = "") -> Command:
    """Query jobs in every state, with ``nonce`` between fields and records.

    The partition is no filter here: ``squeue -p`` costs slurmctld as much as all jobs.
    Times come as seconds since the epoch, memory in MiB (``--noconvert``).
    """
    form = field_mark(nonce).join(f"%{letter}" for letter in JOB_FIELDS) + record_mark(nonce)
    argv = [*_squeue(form)]
    if user is not None:
        argv.append(f"--user={user}")
    if job_id:
        argv.append(f"--jobs={checked_id(job_id)}")
    return Command(tuple(argv), timeout_s=QUERY_TIMEOUT_S)


def squeue_everyone(nonce: str) -> Command:
    """Query everyone's jobs in every state, as ``squeue``, in the order of PLAIN_FIELDS and
    TEXT_FIELDS: half as much text for the many jobs of a large cluster.
    """
    plain = "\t".join(f"%{letter}" for letter in PLAIN_FIELDS)
    form = field_mark(nonce).join([plain, *(f"%{letter}" for letter in TEXT_FIELDS)])
    return Command(_squeue(form + record_mark(nonce)), timeout_s=QUERY_TIMEOUT_S)


def _squeue(form: str) -> tuple[str, ...]:
    argv = (*env(SQUEUE, "SLURM_TIME_FORMAT=%s"), "squeue", "--noheader", "--all", "--local")
    return (*argv, "--states=all", "--noconvert", f"--format={form}")


def job_commands(nonce: str, user: str) -> Command:
    """Query the commands (script path and arguments) of a user's jobs in every state, and their own
    ids (SLURM_JOB_ID), which for an array task is not ``12_3``.
    """
    form = f"%i{field_mark(nonce)}%A{field_mark(nonce)}%o{record_mark(nonce)}"
    argv = (*env(SQUEUE), "squeue", "--noheader", "--all", "--local", "--states=all")
    return Command((*argv, f"--user={user}", f"--format={form}"), timeout_s=QUERY_TIMEOUT_S)


def show_job(job_id: str) -> Command:
    """Query everything that Slurm knows of one job."""
    return _scontrol("show", "job", checked_id(job_id))


def show_nodes() -> Command:
    """Query every node, one line each, with GresUsed (which needs ``--details``), including those
    of hidden partitions (``--all``).
    """
    return _scontrol("--all", "--oneliner", "--details", "show", "node")


def show_partitions() -> Command:
    """Query every partition, one line each, including hidden ones and those of other users' groups,
    since sbatch accepts jobs for a hidden one (slurm.conf(5), "Hidden").
    """
    return _scontrol("--all", "--oneliner", "show", "partition")


def show_reservations() -> Command:
    """Query the reservations that this user may see, one line each, times in epoch seconds."""
    argv = (*env(SCONTROL, "SLURM_TIME_FORMAT=%s"), "scontrol", "--oneliner")
    return Command((*argv, "show", "reservation"), timeout_s=QUERY_TIMEOUT_S)


def show_config() -> Command:
    """Query the controller's configuration."""
    return _scontrol("show", "config")


def whoami() -> Command:
    """Query the name of the user whose jobs will be submitted."""
    return Command(("id", "-un"), timeout_s=QUERY_TIMEOUT_S)


def show_user(user: str) -> Command:
    """Query slurmctld's cache of a user of the accounting, for the admin level.

    Ordinary users may query it, and it answers also while slurmdbd is down.
    """
    return _scontrol("--oneliner", "show", "assoc_mgr", f"users={user}", "flags=users")


def show_limits(user: str) -> Command:
    """Query slurmctld's cache of a user's associations, and of all QOS, with their limits."""
    flags = "flags=users,assoc,qos"
    return _scontrol("--oneliner", "show", "assoc_mgr", f"users={user}", flags)


def show_default_qos(user: str, cluster: str) -> Command:
    """Query the accounting for the account, default QOS and allowed QOS of each association of a
    user, which slurmctld does not show.
    """
    argv = (*env(SACCTMGR), "sacctmgr", "--readonly", "--noheader", "--parsable2", "show", "assoc")
    argv += (f"user={user}", f"cluster={cluster}", "format=Account,DefaultQOS,QOS")
    return Command(argv, timeout_s=QUERY_TIMEOUT_S)


def show_qos_flags() -> Command:
    """Query the accounting for each QOS and its flags, which slurmctld does not show."""
    argv = (*env(SACCTMGR), "sacctmgr", "--readonly", "--noheader", "--parsable2", "show", "qos")
    return Command((*argv, "format=Name,Flags"), timeout_s=QUERY_TIMEOUT_S)


def _scontrol(*arguments: str) -> Command:
    return Command((*env(SCONTROL), "scontrol", *arguments), timeout_s=QUERY_TIMEOUT_S)


def sacct(nonce: str, *, since_s: int, user: str | None = None) -> Command:
    """Query the accounting for jobs (not their steps) that ran or ended in the last ``since_s``
    seconds: those of ``user``, or all that this user may see.

    ``nonce`` separates the fields; times come as seconds since the epoch, memory in MiB.
    """
    argv = [*env(SACCT, "SLURM_TIME_FORMAT=%s"), "sacct", "--noheader", "--parsable2"]
    argv += [f"--delimiter={field_mark(nonce)}", "--allocations", "--noconvert"]
    argv += [f"--starttime=now-{since_s}", "--endtime=now", f"--format={','.join(HISTORY_FIELDS)}"]
    argv.append("--allusers" if user is None else f"--user={user}")
    return Command(tuple(argv), timeout_s=QUERY_TIMEOUT_S)


def drain_node(node: str, reason: str) -> Command:
    """Drain a node: running jobs finish, no new ones start (scontrol(1), "State")."""
    return _update(f"NodeName={checked_node(node)}", "State=DRAIN", f"Reason={reason}")


def resume_node(node: str) -> Command:
    """Return a drained, failing or down node to service."""
    return _update(f"NodeName={checked_node(node)}", "State=RESUME")


def set_time_limit(job_id: str, time_s: int) -> Command:
    """Change a job's time limit, in seconds from its start, rounded up to minutes."""
    return _update(f"JobId={checked_id(job_id)}", f"TimeLimit={-(-time_s // 60)}")


def set_comment(job_id: str, comment: str) -> Command:
    """Write a job's comment."""
    return _update(f"JobId={checked_id(job_id)}", f"Comment={comment}")


def _update(*assignments: str) -> Command:
    argv = (*env(SCONTROL), "scontrol", "update", *assignments)
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def warn(job_id: str) -> Command:
    """Send the batch shell SIGUSR1, as before its time limit."""
    argv = (*env(SCANCEL), "scancel", "--signal=USR1", "--batch", checked_id(job_id))
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def sbatch(request: JobRequest) -> Command:
    """Submit ``request``, with its script on stdin.

    Slurm counts time limits in minutes, so seconds are rounded up to whole ones. An option that
    sbatch refuses beside another counts for the user, then for vizdash, then for the script.
    """
    argv = [*env(SBATCH), "sbatch", "--parsable", "--export=NONE", "--no-requeue", "--ignore-pbs"]
    argv += [f"--signal=B:USR1@{WARN_S}", f"--job-name={request.name}"]
    log = request.output.replace("%", "%%")
    # slurmd opens a script's own --error and --input before the job, below --chdir, or ends it.
    extra = list(read_options(request.extra))
    # A user's --output also gets stderr, as by sbatch.
    error = next((o.value for o in reversed(extra) if o.name == "output" and o.value), log)
    argv += [f"--comment={request.comment}", f"--output={log}", f"--error={error}"]
    # The current folder, or the home, may not exist on the node.
    argv += ["--input=/dev/null", "--chdir=/", "--open-mode=append"]
    own = [option for option in read_options(_placement(request)) if not excludes(option, extra)]
    argv += [*(option.written for option in own), *request.extra]
    script = without_options(request.script, lambda line: excludes(line, [*own, *extra]))
    return Command(tuple(argv), input=script, timeout_s=WRITE_TIMEOUT_S)


def srun(request: JobRequest, argv: Sequence[str], *, wait_s: int, timeout_s: float) -> Command:
    """Run ``argv`` as a separate job and wait for its end; the script of ``request`` is its
    standard input. srun gives up where the job can't start within ``wait_s`` seconds (srun(1),
    "--immediate").
    """
    words = (*env(SRUN), "srun", f"--immediate={wait_s}", f"--job-name={request.name}")
    words += ("--chdir=/", *_placement(request), "--mpi=none", "--unbuffered", "--quiet", *argv)
    return Command(words, input=request.script, timeout_s=timeout_s)


def _placement(request: JobRequest) -> list[str]:
    """The options for a job's resources, placement and account."""
    needs = request.resources
    argv = ["--nodes=1", "--ntasks=1", f"--cpus-per-task={needs.cores}"]
    argv += [*memory_option(request.memory, needs), f"--time={-(-needs.time_s // 60)}"]
    if request.time_min_s:
        argv.append(f"--time-min={-(-request.time_min_s // 60)}")
    if needs.gpus:
        argv.append(f"--gres=gpu:{needs.gpus}")
    wanted = {
        "partition": request.partition,
        "nodelist": request.node,
        "exclude": ",".join(request.exclude) if not request.node else "",
        "account": request.account,
        "qos": request.qos,
        "reservation": request.reservation,
        "constraint": request.constraint,
    }
    return argv + [f"--{option}={value}" for option, value in wanted.items() if value]


def memory_option(how: str, needs: Resources) -> tuple[str, ...]:
    """The option that requests memory: ``mem``, ``mem-per-cpu`` (rounded up, so that all cores
    together get no less), or ``none``: the site's default, or nothing where memory is not tracked.
    """
    if how == "mem-per-cpu":
        return (f"--mem-per-cpu={-(-needs.memory_mib // needs.cores)}M",)
    return () if how == "none" else (f"--mem={needs.memory_mib}M",)


def sbatch_test_only(submission: Command) -> Command:
    """Query when a ``submission`` (by ``sbatch``) would start; nothing is submitted (sbatch(1),
    "--test-only").
    """
    at = submission.argv.index("sbatch")
    argv = (*submission.argv[:at], "SLURM_TIME_FORMAT=%s", "sbatch", "--test-only")
    return Command((*argv, *submission.argv[at + 1 :]), submission.input, QUERY_TIMEOUT_S)


def step(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
    """A command beside a running job, on ``node``: it takes nothing from the job's share
    (srun(1): ``--overlap``, ``--mem=0``), and its streams are those of srun.
    """
    return (
        *env(SRUN),
        "srun",
        f"--jobid={checked_id(job_id)}",
        "--overlap",
        "--mem=0",
        "--nodes=1",
        "--ntasks=1",
        f"--nodelist={node}",
        "--cpu-bind=none",
        "--mpi=none",
        "--chdir=/",
        "--job-name=vizdash-view",
        "--unbuffered",
        "--quiet",
        *argv,
    )


def scancel(job_id: str) -> Command:
    """End one job: SIGCONT and SIGTERM now, SIGKILL after the cluster's KillWait. Of an array's
    waiting tasks, those that still wait.
    """
    words: tuple[str, ...] = (checked_id(job_id),)
    if tasks := _WAITING_TASKS.match(job_id):
        array, numbers, rest = tasks.groups()
        words = ("--state=PENDING", array if "..." in rest else f"{array}_[{numbers}]")
    return Command((*env(SCANCEL), "scancel", *words), timeout_s=WRITE_TIMEOUT_S)


def checked_node(name: str) -> str:
    """``name`` if it names one node, else UnknownName: a list of hosts would name many."""
    if not _NODE.match(name):
        raise UnknownName(f"node {name}", "that is no node's name")
    return name


def checked_id(job_id: str) -> str:
    """``job_id`` if it looks like one, else UnknownName: it must never be read as an option."""
    if not _JOB_ID.match(job_id):
        raise UnknownName(f"job {job_id}", "that is no Slurm job id")
    return job_id
