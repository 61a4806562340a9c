"""What Slurm's commands print on stderr, as errors that a user can act on.

Messages: the source's slurm_errno table and sbatch's own; with ``LC_ALL=C`` they are English.
"""

from __future__ import annotations

import re

from vizdash.engines.slurm.reasons import describe_reason
from vizdash.errors import CommandFailed, Refused, TimedOut, Unreachable, VizdashError, last_line
from vizdash.transport import Result

#: What says that slurmctld (or munge, or the configuration) could not be asked at all: (part of
#: the message, why, fix). A cause comes before what follows from it.
_UNREACHABLE = (
    # What a retry ends with says less than what it began with.
    ("munge encode failed", "munge does not run on this host", "start munged, or ask for it"),
    ("unable to contact slurm controller", "slurmctld does not answer", ""),
    ("rate limit exceeded", "slurmctld asks for fewer queries", ""),
    (
        "incompatible versions of client and server",
        "Slurm's commands don't fit its controller",
        "use those of the cluster's own version",
    ),
    ("socket timed out", "slurmctld did not answer in time", ""),
    (
        "protocol authentication error",
        "slurmctld refuses this host's munge credential",
        "are its munge key and clock those of the controller?",
    ),
    (
        "could not establish a configuration source",
        "this host has no Slurm configuration",
        "is it part of the cluster?",
    ),
    (
        "unable to process configuration file",
        "this host has no Slurm configuration that can be used",
        "is SLURM_CONF right?",
    ),
    (
        "getaddrinfo() failed",
        "the name of its controller's host can't be resolved here",
        "is SLURM_CONF right, and the name service up?",
    ),
    ("backup controller in standby mode", "only the standby controller answers", ""),
    ("communication connection failure", "slurmctld does not answer", ""),
    ("connection refused", "slurmctld does not answer", ""),
    (
        "zero bytes were transmitted",
        "slurmctld closed the connection",
        "does this host's munge key fit the controller's?",
    ),
    ("unable to establish control", "slurmctld does not answer", ""),
    ("process is shutting down", "slurmctld is shutting down", ""),
)

#: A configuration that Slurm waits for, in vain (s_p_parse_file in parse_config.c).
_NO_CONFIG = re.compile(r"cannot stat file (\S+): ([^,\n]+), retrying")

#: What Slurm's commands print before they retry, for up to a minute, what will hardly work.
RETRIES = (", retrying in 1sec", "getaddrinfo() failed")

#: sbatch's messages, the telling ones first: (part of the message, why, fix).
_REFUSALS = (
    (
        "memory specification can not be satisfied",
        "no node of the partition has that much memory",
        "request less memory",
    ),
    (
        "cpu count per node can not be satisfied",
        "no node of the partition has that many cores",
        "ask for fewer cores",
    ),
    (
        "invalid generic resource (gres)",
        "the cluster has no such GPUs (or other GRES)",
        "ask for none, or for a kind that `vizdash nodes` shows",
    ),
    (
        "invalid gres specification",
        "GPUs were asked for both with and without a type",
        "ask for one or the other",
    ),
    (
        "invalid feature specification",
        "no node has the features that the constraint names",
        "leave out --constraint, or name others",
    ),
    (
        "more processors requested than permitted",
        "the partition gives no job that many cores",
        "ask for fewer cores",
    ),
    (
        "requested nodes not in this partition",
        "the node asked for is not in the partition",
        "name another node or partition",
    ),
    ("invalid node name", "there is no such node", "name another node"),
    (
        "memory required by task is not available",
        "the partition gives no job that much memory",
        "request less memory",
    ),
    (
        "requested node configuration is not available",
        "no node it may run on has the requested cores, memory and GPUs",
        "request less",
    ),
    (
        "requested time limit is invalid",
        "it is more time than the partition allows",
        "request less time",
    ),
    ("invalid time limit specification", "that is no time limit", "write it as 2h or 1-12:00:00"),
    ("invalid --time specification", "that is no time limit", "write it as 2h or 1-12:00:00"),
    ("invalid partition name", "there is no such partition", "name another partition"),
    (
        "no partition specified or system default",
        "the cluster has no default partition",
        "name a partition",
    ),
    (
        "required partition not available",
        "the partition takes no jobs now",
        "wait, or name another partition",
    ),
    ("partition in down state", "the partition is down", "wait, or name another partition"),
    (
        "user's group not permitted",
        "your groups may not use this partition",
        "name another partition, or ask an administrator",
    ),
    (
        "invalid account or account/partition",
        "you may not use this account with this partition",
        "name another account or partition",
    ),
    ("invalid qos", "you may not use this QOS, or there is none such", "name another QOS"),
    (
        "violates accounting/qos policy",
        "it is over a limit of your account or QOS",
        "request less, or stop a session first",
    ),
    (
        "access denied to requested reservation",
        "the reservation is not for you",
        "leave out --reservation, or ask its owner",
    ),
    (
        "requested reservation is invalid",
        "there is no such reservation, or not for this partition",
        "leave out --reservation, or name another",
    ),
    (
        "requested reservation not usable",
        "the reservation can't be used now",
        "leave out --reservation, or wait",
    ),
    (
        "required node not available",
        "the node is down, drained or reserved",
        "name another node, or none",
    ),
    ("system submissions disabled", "the cluster takes no jobs now", "try later"),
    ("maxjobcount limit reached", "the cluster's queue is full", "try later"),
    (
        "requested partition configuration not available",
        "it is more than the partition allows",
        "request less",
    ),
    ("invalid user id", "Slurm does not know you", "ask an administrator"),
    ("access/permission denied", "Slurm does not allow it", "ask an administrator"),
    ("immediate execution impossible", "it can't start at once", "leave out --immediate"),
    ("unrecognized option", "sbatch does not know one of the options after --", "see `man sbatch`"),
    ("invalid license specification", "the cluster has no such licence", "leave out --licenses"),
    (
        "job dependency problem",
        "it can't wait for the job that --dependency names",
        "leave out --dependency",
    ),
    (
        "dos line breaks",
        "the script's lines end as Windows writes them",
        "run `dos2unix` on the script",
    ),
    (
        "does not look like a batch script",
        "the script does not begin with #! and an interpreter",
        "make its first line #!/bin/bash",
    ),
    ("batch script is empty", "the script is empty", "give a job script"),
)

#: What scontrol and scancel say to a change, and what it means: (part of the message, why, fix).
_CHANGES = (
    ("invalid user id", "Slurm does not allow it to you", "ask one of its administrators"),
    ("permission denied", "Slurm does not allow it to you", "ask one of its operators"),
    ("invalid node name", "there is no such node", ""),
    ("invalid node state", "the node's state does not allow it", "is it drained or down?"),
    ("already finished", "it has ended", ""),
    ("already completing or completed", "it has ended", ""),
    ("invalid job id", "it has ended, or there is no such job", ""),
    ("requested time limit is invalid", "it is more time than the partition allows", ""),
)

#: What to do after an sbatch that got no answer.
MAYBE_STARTED = "it may still start: check your sessions before trying again"

_PREFIX = re.compile(
    r"^(?:(?:sbatch|scancel|squeue|scontrol|sacct): (?:(?:error|fatal|info|warning): )?"
    r"|slurm_(?:load_[a-z_]+|update) error: ?)",
    re.IGNORECASE,
)
#: What says no more than that something is wrong.
_IDLE_WORDS = ("Unspecified error", 'Try "sbatch --help" for more information')
_OPTION = re.compile(r"unrecognized option '([^']*)'")
_FAILED = re.compile(r"^(?:Batch job submission failed|allocation failure): ")
_LIMIT_LINE = re.compile(r"^(?:QOS|Assoc|Max)[A-Za-z]+\Z")
_SUBMITTED = re.compile(
    r"^(?:sbatch: error: Batch job submission failed|allocation failure): ", re.MULTILINE
)
#: What sbatch and slurmctld themselves print before that line (err_msg in slurmctld's source).
_OWN_LINE = re.compile(
    r"can not be satisfied|invalid partition specified|problem using reservation"
    r"|required nodes outside of|sleeping and retrying|cpus_per_",
    re.IGNORECASE,
)


def error_lines(stderr: str) -> list[str]:
    """The lines of ``stderr`` without the programs' prefixes, empty ones left out."""
    lines = (_PREFIX.sub("", line.strip()).strip() for line in stderr.splitlines())
    return [_FAILED.sub("", line) for line in lines if line]


def check(program: str, result: Result) -> Result:
    """Return ``result``, or raise Unreachable or CommandFailed according to its stderr."""
    if result.code == 0:
        return result
    raise failure(program, result)


def is_private(result: Result) -> bool:
    """Whether slurmctld keeps what was asked for from ordinary users: ESLURM_ACCESS_DENIED."""
    return result.code != 0 and "access/permission denied" in result.stderr.lower()


def failure(program: str, result: Result) -> VizdashError:
    """The error for a command that failed for no reason of the request's own."""
    words = result.stderr.lower()
    if result.code == 127 or (result.code == 126 and "permission denied" in words):
        return Unreachable(program, "not found there", "is Slurm on PATH? else load its module")
    if error := unreachable(result.stderr):
        return error
    return CommandFailed(program, result.code, "\n".join(error_lines(result.stderr)))


def unreachable(stderr: str) -> Unreachable | None:
    """The error where ``stderr`` says that slurmctld could not be asked; else None."""
    if match := _NO_CONFIG.search(stderr):
        why = f"its configuration {match[1]} can't be read: {match[2]}"
        return Unreachable("Slurm", why, "is SLURM_CONF right?")
    words = stderr.lower()
    for part, why, fix in _UNREACHABLE:
        if part in words:
            return Unreachable("Slurm", why, fix)
    return None


def timed_out(program: str, error: TimedOut) -> VizdashError:
    """The error for a command that was ended before it had answered, with what it had printed.

    An sbatch may have been heard, unless it waited for its configuration.
    """
    known = unreachable(error.stderr)
    if known and (program != "sbatch" or _NO_CONFIG.search(error.stderr)):
        return known
    why = error.why
    if lines := error_lines(error.stderr):
        why = why.removesuffix(last_line(error.stderr)) + lines[-1]
    return TimedOut(program, why, error.fix, stderr=error.stderr)


def refusal(what: str, result: Result) -> VizdashError:
    """The error for an sbatch that failed: Refused in words, Unreachable or TimedOut.

    A message we don't know (a site's job_submit plugin may say anything) is passed on.
    """
    if "socket timed out" in result.stderr.lower():
        # The request may have arrived all the same.
        return TimedOut("sbatch", "slurmctld did not answer in time", MAYBE_STARTED)
    error = failure("sbatch", result)
    if isinstance(error, Unreachable):
        return error
    lines = error_lines(result.stderr)
    words = "\n".join(lines).lower()
    limits = [describe_reason(line) for line in lines if _LIMIT_LINE.match(line)]
    site = _site_lines(result.stderr)
    by_slurm = limits or any(_OWN_LINE.search(line) for line in lines)
    if site and not by_slurm:
        codes = [line for line in lines[-1:] if line not in _IDLE_WORDS]
        return Refused(what, "; ".join([*site, *codes]))
    if option := _OPTION.search(result.stderr):
        return Refused(what, f"sbatch does not know the option {option[1]}", "see `man sbatch`")
    for part, why, fix in _REFUSALS:
        if part in words:
            return Refused(what, "; ".join([limits[0] if limits else why, *site]), fix)
    telling = [line for line in lines if line not in _IDLE_WORDS] or lines
    return Refused(what, "; ".join(telling) or f"sbatch ended with code {result.code}")


def _site_lines(stderr: str) -> list[str]:
    """What a site's job_submit or cli_filter plugin says to the user (slurm.log_user), whatever
    code it returns.
    """
    failed = _SUBMITTED.search(stderr)
    before = stderr[: failed.start()].splitlines() if failed else ()
    printed = (line for line in before if line.startswith("sbatch: "))
    lines = error_lines("\n".join(line for line in printed if "sbatch: warning:" not in line))
    return [line for line in lines if not (_OWN_LINE.search(line) or _LIMIT_LINE.match(line))]


def change_refusal(what: str, result: Result, program: str) -> VizdashError:
    """The error for a change that scontrol or scancel did not make."""
    words = result.stderr.lower()
    if result.code not in {126, 127}:
        for part, why, fix in _CHANGES:
            if part in words:
                return Refused(what, why, fix)
    error = failure(program, result)
    if isinstance(error, Unreachable):
        return error
    return Refused(what, "; ".join(error_lines(result.stderr)) or f"{program}: code {result.code}")
