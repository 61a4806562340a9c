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

from vizdash.errors import NotFound
from vizdash.model import JobRequest
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

_SQUEUE = [
    "SLURM_BITSTR_LEN",
    "SLURM_CLUSTERS",
    "SQUEUE_ACCOUNT",
    "SQUEUE_ALL",
    "SQUEUE_ARRAY",
    "SQUEUE_ARRAY_UNIQUE",
    "SQUEUE_FEDERATION",
    "SQUEUE_FORMAT",
    "SQUEUE_FORMAT2",
    "SQUEUE_LICENSES",
    "SQUEUE_LOCAL",
    "SQUEUE_NAMES",
    "SQUEUE_PARTITION",
    "SQUEUE_PRIORITY",
    "SQUEUE_QOS",
    "SQUEUE_SIB",
    "SQUEUE_SIBLING",
    "SQUEUE_SORT",
    "SQUEUE_STATES",
    "SQUEUE_USERS",
]

_SCONTROL = [
    "SLURM_BITSTR_LEN",
    "SLURM_CLUSTERS",
    "SLURM_TIME_FORMAT",
    "SCONTROL_ALL",
    "SCONTROL_FEDERATION",
    "SCONTROL_FUTURE",
    "SCONTROL_LOCAL",
    "SCONTROL_SIB",
    "SCONTROL_SIBLING",
]

_SCANCEL = [
    "SLURM_CLUSTERS",
    "SCANCEL_ACCOUNT",
    "SCANCEL_BATCH",
    "SCANCEL_CRON",
    "SCANCEL_CTLD",
    "SCANCEL_FULL",
    "SCANCEL_HURRY",
    "SCANCEL_INTERACTIVE",
    "SCANCEL_NAME",
    "SCANCEL_PARTITION",
    "SCANCEL_QOS",
    "SCANCEL_STATE",
    "SCANCEL_USER",
    "SCANCEL_VERBOSE",
    "SCANCEL_WCKEY",
]

_SACCT = [
    "SLURM_BITSTR_LEN",
    "SACCT_FEDERATION",
    "SACCT_FORMAT",
    "SACCT_LOCAL",
]

# The SLURM_* ones are set inside a job: vizdash may itself run in one.
_SRUN = [
    "SLURM_BCAST",
    "SLURM_CLUSTERS",
    "SLURM_CONTAINER",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPU_BIND",
    "SLURM_DISTRIBUTION",
    "SLURM_EXACT",
    "SLURM_EXCLUSIVE",
    "SLURM_EXPORT_ENV",
    "SLURM_GRES",
    "SLURM_JOBID",
    "SLURM_JOB_ID",
    "SLURM_JOB_NODELIST",
    "SLURM_LABELIO",
    "SLURM_MEM_PER_CPU",
    "SLURM_MEM_PER_GPU",
    "SLURM_MPI_TYPE",
    "SLURM_NODELIST",
    "SLURM_NPROCS",
    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_RESERVATION",
    "SLURM_STDERRMODE",
    "SLURM_STDINMODE",
    "SLURM_STDOUTMODE",
    "SLURM_TIMELIMIT",
    "SLURM_TRES_PER_TASK",
    "SLURM_WORKING_DIR",
]

_SBATCH = [
    "SBATCH_ACCTG_FREQ",
    "SBATCH_ARRAY_INX",
    "SBATCH_BATCH",
    "SBATCH_BURST_BUFFER",
    "SBATCH_CLUSTERS",
    "SBATCH_CLUSTER_CONSTRAINT",
    "SBATCH_CONSOLIDATE_SEGMENTS",
    "SBATCH_CONSTRAINT",
    "SBATCH_CONTAINER",
    "SBATCH_CONTAINER_ID",
    "SBATCH_CONTAINER_TYPE",
    "SBATCH_CORE_SPEC",
    "SBATCH_CPUS_PER_GPU",
    "SBATCH_CPU_FREQ_REQ",
    "SBATCH_DEBUG",
    "SBATCH_DELAY_BOOT",
    "SBATCH_DISTRIBUTION",
    "SBATCH_ERROR",
    "SBATCH_EXCLUSIVE",
    "SBATCH_EXPORT",
    "SBATCH_GET_USER_ENV",
    "SBATCH_GPUS",
    "SBATCH_GPUS_PER_NODE",
    "SBATCH_GPUS_PER_SOCKET",
    "SBATCH_GPUS_PER_TASK",
    "SBATCH_GPU_BIND",
    "SBATCH_GPU_FREQ",
    "SBATCH_GRES",
    "SBATCH_GRES_FLAGS",
    "SBATCH_HINT",
    "SBATCH_IGNORE_PBS",
    "SBATCH_INPUT",
    "SBATCH_JOB_NAME",
    "SBATCH_MEM_BIND",
    "SBATCH_MEM_PER_CPU",
    "SBATCH_MEM_PER_GPU",
    "SBATCH_MEM_PER_NODE",
    "SBATCH_NETWORK",
    "SBATCH_NO_KILL",
    "SBATCH_NO_REQUEUE",
    "SBATCH_OPEN_MODE",
    "SBATCH_OUTPUT",
    "SBATCH_OVERCOMMIT",
    "SBATCH_PARTITION",
    "SBATCH_POWER",
    "SBATCH_PROFILE",
    "SBATCH_REQUEUE",
    "SBATCH_REQ_SWITCH",
    "SBATCH_RESERVATION",
    "SBATCH_SEGMENT_SIZE",
    "SBATCH_SIGNAL",
    "SBATCH_SPREAD_JOB",
    "SBATCH_SPREAD_SEGMENTS",
    "SBATCH_THREADS_PER_CORE",
    "SBATCH_THREAD_SPEC",
    "SBATCH_TIMELIMIT",
    "SBATCH_TRES_BIND",
    "SBATCH_TRES_PER_TASK",
    "SBATCH_USE_MIN_NODES",
    "SBATCH_WAIT",
    "SBATCH_WAIT4SWITCH",
    "SBATCH_WAIT_ALL_NODES",
    "SLURM_ACCTG_FREQ",
    "SLURM_ARBITRARY_NODELIST",
    "SLURM_CLUSTERS",
    "SLURM_CONTAINER",
    "SLURM_CONTAINER_ID",
    "SLURM_CONTAINER_TYPE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPU_FREQ_REQ",
    "SLURM_DISTRIBUTION",
    "SLURM_EXIT_ERROR",
    "SLURM_EXPORT_ENV",
    "SLURM_GET_USER_ENV",
    "SLURM_HINT",
    "SLURM_HOSTFILE",
    "SLURM_JOB_DEPENDENCY",
    "SLURM_JOB_NAME",
    "SLURM_MEM_BIND",
    "SLURM_MEM_PER_CPU",
    "SLURM_MEM_PER_GPU",
    "SLURM_MEM_PER_NODE",
    "SLURM_NPROCS",
    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_CORE",
    "SLURM_NTASKS_PER_GPU",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_NTASKS_PER_SOCKET",
    "SLURM_OPEN_MODE",
    "SLURM_PROFILE",
    "SLURM_STEPMGR",
    "SLURM_THREADS_PER_CORE",
    "SLURM_TRES_PER_TASK",
]

_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_JOB_ID = re.compile(r"[0-9]+(?:[_+][0-9\[\],%:-]+)?\Z")


def _env(unset: list[str], *assign: str) -> tuple[str, ...]:
    """The env(1) prefix: English messages, ``unset`` gone, ``assign`` set."""
    gone = (part for name in unset for part in ("-u", name))
    return ("env", *gone, "LC_ALL=C", *assign)


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
    argv = [*_env(_SQUEUE, "SLURM_TIME_FORMAT=%s"), "squeue"]
    argv += ["--noheader", "--all", "--local", "--states=all", "--noconvert", f"--format={form}"]
    if user is not None:
        argv.append(f"--user={user}")
    if job_id:
        argv.append(f"--jobs={checked_id(job_id)}")
    return Command(tuple(argv), timeout_s=QUERY_TIMEOUT_S)


def show_nodes() -> Command:
    """Ask for every node, one line each, with GresUsed (which needs ``--details``)."""
    return _scontrol("--oneliner", "--details", "show", "node")


def show_partitions() -> Command:
    """Ask for every partition this user may see, one line each."""
    return _scontrol("--oneliner", "show", "partition")


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
    return Command((*_env(_SCONTROL), "scontrol", *arguments), timeout_s=QUERY_TIMEOUT_S)


def sacct(nonce: str, *, since_s: int, user: str | None = None) -> Command:
    """Ask the accounting for the jobs (not their steps) that ran or ended in the last ``since_s``
    seconds; of ``user``, or of everybody whom one may see.

    Fields are told apart by ``nonce``; times come as seconds since the epoch, memory in MiB.
    """
    argv = [*_env(_SACCT, "SLURM_TIME_FORMAT=%s"), "sacct", "--noheader", "--parsable2"]
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
    argv = (*_env(_SCONTROL), "scontrol", "update", *assignments)
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def warn(job_id: str) -> Command:
    """Send the batch shell what it gets before its time limit: SIGUSR1."""
    argv = (*_env(_SCANCEL), "scancel", "--signal=USR1", "--batch", checked_id(job_id))
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def sbatch(request: JobRequest) -> Command:
    """Hand in ``request``, its script on stdin.

    Slurm counts time limits in minutes, so seconds are rounded up to whole ones.
    """
    needs = request.resources
    argv = [*_env(_SBATCH), "sbatch", "--parsable", "--export=NONE", "--no-requeue"]
    argv += [f"--signal=B:USR1@{WARN_S}", f"--job-name={request.name}"]
    argv += [f"--comment={request.comment}", f"--output={request.output.replace('%', '%%')}"]
    argv += ["--open-mode=append", "--nodes=1", "--ntasks=1", f"--cpus-per-task={needs.cores}"]
    argv += [f"--mem={needs.memory_mib}M", f"--time={-(-needs.time_s // 60)}"]
    if needs.gpus:
        argv.append(f"--gres=gpu:{needs.gpus}")
    wishes = {
        "partition": request.partition,
        "nodelist": request.node,
        "exclude": ",".join(request.exclude) if not request.node else "",
        "account": request.account,
        "qos": request.qos,
        "reservation": request.reservation,
        "constraint": request.constraint,
    }
    argv += [f"--{option}={value}" for option, value in wishes.items() if value]
    argv += request.extra
    return Command(tuple(argv), input=request.script, timeout_s=WRITE_TIMEOUT_S)


def step(job_id: str, node: str, argv: Sequence[str]) -> tuple[str, ...]:
    """A command beside a running job, on ``node``: it takes nothing from the job's share
    (srun(1): ``--overlap``, ``--mem=0``), and its streams are those of srun.
    """
    return (
        *_env(_SRUN),
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
    """End one job: SIGCONT and SIGTERM now, SIGKILL after the cluster's KillWait."""
    argv = (*_env(_SCANCEL), "scancel", checked_id(job_id))
    return Command(argv, timeout_s=WRITE_TIMEOUT_S)


def checked_node(name: str) -> str:
    """``name`` if it names one node, else NotFound: a list of hosts would name many."""
    if not _NODE.match(name):
        raise NotFound(f"node {name}", "that is no node's name")
    return name


def checked_id(job_id: str) -> str:
    """``job_id`` if it looks like one, else NotFound: it must never be read as an option."""
    if not _JOB_ID.match(job_id):
        raise NotFound(f"job {job_id}", "that is no Slurm job id")
    return job_id
