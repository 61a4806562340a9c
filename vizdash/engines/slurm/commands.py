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

from vizdash.engines.slurm.environ import SACCT, SBATCH, SCANCEL, SCONTROL, SQUEUE, SRUN, env
from vizdash.errors import Unknown
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

#: sacct's fields in the order in which parse.py reads them (sacct(1), "--format"). What a person
#: wrote stands between fields that Slurm makes, so that a newline in it is no record's end.
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
    """A mark that no job's text can hold: 96 random bits, chosen after the texts were written."""
    return secrets.token_hex(12)


def field_mark(nonce: str) -> str:
    """What stands between two fields of squeue's answer."""
    return f"<{nonce}>"


def record_mark(nonce: str) -> str:
    """What stands at the end of each job of squeue's answer (a newline follows)."""
    return f"</{nonce}>"


def squeue(nonce: str, *, user: str | None = None, job_id: str = "") -> Command:
    """Ask for jobs in every state, fields and records told apart by ``nonce``.

    The partition is no filter here: ``squeue -p`` costs slurmctld as much as all jobs.
    Times come as seconds since the epoch, memory in MiB (``--noconvert``).
    """
    form = field_mark(nonce).join(f"%{letter}" for letter in JOB_FIELDS) + record_mark(nonce)
    argv = [*env(SQUEUE, "SLURM_TIME_FORMAT=%s"), "squeue"]
    argv += ["--noheader", "--all", "--local", "--states=all", "--noconvert", f"--format={form}"]
    if user is not None:
        argv.append(f"--user={user}")
    if job_id:
        argv.append(f"--jobs={checked_id(job_id)}")
    return Command(tuple(argv), timeout_s=QUERY_TIMEOUT_S)


def job_commands(nonce: str, user: str) -> Command:
    """Ask for the commands (a script's path and arguments) of a user's jobs in every state, and for
    the ids by which the jobs know themselves (SLURM_JOB_ID): an array's task does not know itself
    as ``12_3``.
    """
    form = f"%i{field_mark(nonce)}%A{field_mark(nonce)}%o{record_mark(nonce)}"
    argv = (*env(SQUEUE), "squeue", "--noheader", "--all", "--local", "--states=all")
    return Command((*argv, f"--user={user}", f"--format={form}"), timeout_s=QUERY_TIMEOUT_S)


def show_job(job_id: str) -> Command:
    """Ask for all that Slurm knows of one job."""
    return _scontrol("show", "job", checked_id(job_id))


def show_nodes() -> Command:
    """Ask for every node, one line each, with GresUsed (which needs ``--details``); those of
    hidden partitions, too (``--all``).
    """
    return _scontrol("--all", "--oneliner", "--details", "show", "node")


def show_partitions() -> Command:
    """Ask for every partition, one line each: hidden ones, and those of other people's groups,
    too, since sbatch takes jobs for a hidden one (slurm.conf(5), "Hidden").
    """
    return _scontrol("--all", "--oneliner", "show", "partition")


def show_reservations() -> Command:
    """Ask for every reservation that this user may see, one line each, times in epoch seconds."""
    argv = (*env(SCONTROL, "SLURM_TIME_FORMAT=%s"), "scontrol", "--oneliner")
    return Command((*argv, "show", "reservation"), timeout_s=QUERY_TIMEOUT_S)


def show_config() -> Command:
    """Ask for the controller's configuration: its name, version and SlurmUser."""
    return _scontrol("show", "config")


def whoami() -> Command:
    """Ask for the name that jobs will carry."""
    return Command(("id", "-un"), timeout_s=QUERY_TIMEOUT_S)


def show_user(user: str) -> Command:
    """Ask slurmctld for what it holds of a user of the accounting: the admin level.

    An ordinary user may ask it, and it answers while slurmdbd does not.
    """
    return _scontrol("--oneliner", "show", "assoc_mgr", f"users={user}", "flags=users")


def _scontrol(*arguments: str) -> Command:
    return Command((*env(SCONTROL), "scontrol", *arguments), timeout_s=QUERY_TIMEOUT_S)


def sacct(nonce: str, *, since_s: int, user: str | None = None) -> Command:
    """Ask the accounting for the jobs (not their steps) that ran or ended in the last ``since_s``
    seconds; of ``user``, or of everybody whom one may see.

    Fields are told apart by ``nonce``; times come as seconds since the epoch, memory in MiB.
    """
    argv = [*env(SACCT, "SLURM_TIME_FORMAT=%s"), "sacct", "--noheader", "--parsable2"]
    argv += [f"--delimiter={field_mark(nonce)}", "--allocations", "--noconvert"]
    argv += [f"--starttime=now-{since_s}", "--endtime=now", f"--format={','.join(HISTORY_FIELDS)}"]
    argv.append("--allusers" if user is None else f"--user={user}")
    return Command(tuple(argv), timeout_s=QUERY_TIMEOUT_S)


def drain_node(node: str, reason: str) -> Command:
    """Let no new job onto a node; those that run go on (scontrol(1), "State")."""
    return _update(f"NodeName={checked_node(node)}", "State=DRAIN", f"Reason={reason}")


def resume_node(node: str) -> Command:
    """Let jobs onto a drained, failing or down node again."""
    return _update(f"NodeName={checked_node(node)}", "State=RESUME")


def set_time_limit(job_id: str, time_s: int) -> Command:
    """Give a job another time limit, in seconds from its start; rounded up to minutes."""
    return _update(f"JobId={checked_id(job_id)}", f"TimeLimit={-(-time_s // 60)}")


def set_comment(job_id: str, comment: str) -> Command:
    """Write a job's comment."""
    return _update(f"JobId={checked_id(job_id)}", f"Comment={comment}")


def _update(*assignments: str) -> Command:
    argv = (*env(SCONTROL), "scontrol", "update", *assignments)
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def warn(job_id: str) -> Command:
    """Send the batch shell what it gets before its time limit: SIGUSR1."""
    argv = (*env(SCANCEL), "scancel", "--signal=USR1", "--batch", checked_id(job_id))
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def sbatch(request: JobRequest) -> Command:
    """Hand in ``request``, its script on stdin.

    Slurm counts time limits in minutes, so seconds are rounded up to whole ones.
    """
    argv = [*env(SBATCH), "sbatch", "--parsable", "--export=NONE", "--no-requeue", "--ignore-pbs"]
    argv += [f"--signal=B:USR1@{WARN_S}", f"--job-name={request.name}"]
    argv += [f"--comment={request.comment}", f"--output={request.output.replace('%', '%%')}"]
    # The caller's own folder, or home, need not be there on the node.
    argv += ["--chdir=/", "--open-mode=append", *_placement(request), *request.extra]
    return Command(tuple(argv), input=request.script, timeout_s=WRITE_TIMEOUT_S)


def srun(request: JobRequest, argv: Sequence[str], *, wait_s: int, timeout_s: float) -> Command:
    """Run ``argv`` as a job of its own and wait for its end; the script of ``request`` is its
    standard input. It gives up where it can't start within ``wait_s`` seconds (srun(1),
    "--immediate").
    """
    words = (*env(SRUN), "srun", f"--immediate={wait_s}", f"--job-name={request.name}")
    words += ("--chdir=/", *_placement(request), "--mpi=none", "--unbuffered", "--quiet", *argv)
    return Command(words, input=request.script, timeout_s=timeout_s)


def _placement(request: JobRequest) -> list[str]:
    """What a job needs, where it may run, and who pays."""
    needs = request.resources
    argv = ["--nodes=1", "--ntasks=1", f"--cpus-per-task={needs.cores}"]
    argv += [*memory_option(request.memory, needs), f"--time={-(-needs.time_s // 60)}"]
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
    """How memory is asked for: ``mem``, ``mem-per-cpu`` (rounded up, so that all cores together
    have no less), or ``none``: the site's default, or nothing where memory is not tracked.
    """
    if how == "mem-per-cpu":
        return (f"--mem-per-cpu={-(-needs.memory_mib // needs.cores)}M",)
    return () if how == "none" else (f"--mem={needs.memory_mib}M",)


def would_start(handed_in: Command) -> Command:
    """Ask when what ``handed_in`` (by ``sbatch``) hands in would start; nothing is handed in
    (sbatch(1), "--test-only").
    """
    at = handed_in.argv.index("sbatch")
    argv = (*handed_in.argv[:at], "SLURM_TIME_FORMAT=%s", "sbatch", "--test-only")
    return Command((*argv, *handed_in.argv[at + 1 :]), handed_in.input, QUERY_TIMEOUT_S)


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
    """``name`` if it names one node, else Unknown: a list of hosts would name many."""
    if not _NODE.match(name):
        raise Unknown(f"node {name}", "that is no node's name")
    return name


def checked_id(job_id: str) -> str:
    """``job_id`` if it looks like one, else Unknown: it must never be read as an option."""
    if not _JOB_ID.match(job_id):
        raise Unknown(f"job {job_id}", "that is no Slurm job id")
    return job_id
