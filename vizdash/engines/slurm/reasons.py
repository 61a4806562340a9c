"""Slurm's reason codes in words.

Codes: squeue(1), "JOB REASON CODES", and the source's job_state_reason table. Limits are recognised
by the form of their names (``QOSMaxCpuPerUserLimit``), so that a new one reads well, too.
"""

from __future__ import annotations

import re
from functools import lru_cache

from vizdash.model.job import PRIORITY, RESOURCES

#: Reasons of a job that would run into a reservation.
MAINTENANCE = "the nodes it could use are reserved for maintenance"
MAYBE_RESERVED = "a node it needs is down, drained or reserved"

#: The reason of a job whose exit code was not zero: it says no more than that it failed.
NON_ZERO_EXIT = "it ended with an error"

_WORDS = {
    "AccountNotAllowed": "the account may not use this partition",
    "AccountingPolicy": "a limit of the account or QOS is reached",
    "BadConstraints": "no node meets the request",
    "BeginTime": "it is not to start yet",
    "BurstBufferOperation": "a burst buffer operation failed",
    "BurstBufferResources": "waiting for burst buffer space",
    "BurstBufferStageIn": "its files are being staged in",
    "Cleaning": "its previous run is being cleaned up",
    "Constraints": "no node has the features asked for now",
    "DeadLine": "it could not end before its deadline",
    "Dependency": "waiting for another job",
    "DependencyNeverSatisfied": "the job it depends on can no longer satisfy the dependency",
    "FedJobLock": "another cluster of the federation is trying to start it",
    "FrontEndDown": "no front end node is up",
    "InactiveLimit": "it was inactive for too long",
    "InvalidAccount": "the account is not valid",
    "InvalidQOS": "the QOS is not valid",
    "JobArrayTaskLimit": "the array's limit of running tasks is reached",
    "JobHeldAdmin": "held by an administrator",
    "JobHeldUser": "held by its user",
    "JobHoldMaxRequeue": "held after being requeued too often",
    # 22.05 says so of a job that a signal ended, too.
    "JobLaunchFailure": "it could not be launched on its node, or a signal ended it",
    "Licenses": "waiting for a licence",
    "MaxMemPerLimit": "it asks for more memory than the partition allows",
    "NodeDown": "its node went down",
    "NonZeroExitCode": NON_ZERO_EXIT,
    "OutOfMemory": "it used more memory than it had",
    "PartitionConfig": "the partition does not allow what it asks for, or its account",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition starts no jobs now",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows, or they are down",
    "PartitionTimeLimit": "it asks for more time than the partition allows",
    "PowerNotAvail": "waiting for electric power",
    "PowerReserved": "waiting for electric power that is reserved",
    "Priority": PRIORITY,
    "Prolog": "its node is being prepared",
    "QOSNotAllowed": "the QOS may not be used in this partition",
    "QOSUsageThreshold": "the account has used up its share of the QOS",
    "RaisedSignal": "it was ended by a signal",
    "ReqNodeNotAvail": MAYBE_RESERVED,
    "Reservation": "waiting for its reservation to begin",
    "ReservationDeleted": "its reservation was deleted",
    "ReservationInvalid": "its reservation is no longer valid",
    "Resources": RESOURCES,
    "SchedDefer": "it was requested to start at once or not at all",
    "SystemFailure": "Slurm or its node failed",
    "TimeLimit": "it reached its time limit",
}

NO_LOG = "its node could not open the job's log: the folder is missing, full or read-only there"

#: Sentences that Slurm shows instead of a code: how they begin, and our words.
_SENTENCES = (
    ("Job's account not permitted to use this p", "the account may not use this partition"),
    ("Job's QOS not permitted to use this part", "the QOS may not be used in this partition"),
    # No signal: an exit code of 0:53 is how slurmstepd reports that it could not open the
    # job's output (seen on 24.11).
    ("RaisedSignal:53(", NO_LOG),
    ("RaisedSignal:", "it was ended by a signal"),
    ("ReqNodeNotAvail, Reserved for maintenance", MAINTENANCE),
    ("ReqNodeNotAvail,", MAYBE_RESERVED),
    ("Nodes required for job are DOWN", "every node it could use is down, drained or reserved"),
    ("Nodes_required_for_job_are_DOWN", "every node it could use is down, drained or reserved"),
    ("launch failed requeued held", "held: it could not be launched on its node"),
    ("launch_failed_requeued_held", "held: it could not be launched on its node"),
    ("job requeued in held state", "held after being requeued"),
    ("job_requeued_in_held_state", "held after being requeued"),
    ("JobHoldMaxRequeue", "held after being requeued too often"),
)

_LIMIT = re.compile(
    r"(?P<of>QOS|Assoc|Association|)(?P<kind>Grp|Max|Min)(?P<what>[A-Za-z]*?)"
    r"(?P<run>Run)?(?P<minutes>Min(?:ute)?s)?"
    r"(?P<per>Per(?:Job|User|Node|Account))?(?:Limit|NotSatisfied)?\Z"
)

_RESOURCES = {
    "bb": "burst buffer space",
    "billing": "billing units",
    "cpu": "CPUs",
    "energy": "energy",
    "gres": "GPUs (or other GRES)",
    "job": "running jobs",
    "lic": "licences",
    "license": "licences",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "submitjob": "submitted jobs",
    "wall": "time",
    "wallduration": "time",
}

_OWNERS = {"QOS": "the QOS", "Assoc": "the account", "Association": "the account"}
_PER = {"PerJob": "a job", "PerUser": "a user", "PerNode": "a node", "PerAccount": "an account"}


@lru_cache(maxsize=512)
def describe_reason(reason: str) -> str:
    """A job's reason (squeue's %r) as one short phrase; empty when there is none.

    An unknown one is shown as it is, split into words.
    """
    code = reason.strip()
    if code.startswith("(") and code.endswith(")"):
        code = code[1:-1]
    if code in {"", "None", "null", "N/A"}:
        return ""
    if code in _WORDS:
        return _WORDS[code]
    spaced = code.replace("_", " ")
    for start, words in _SENTENCES:
        if code.startswith(start) or spaced.startswith(start):
            return words + _named(code)
    return _limit_words(code) or _readable(code)


def _named(code: str) -> str:
    """`` (viz-node001)`` from ``ReqNodeNotAvail, UnavailableNodes:viz-node001``, `` (Killed)``
    from ``RaisedSignal:9(Killed)``.
    """
    match = re.search(r"UnavailableNodes:\s*(\S+)", code)
    match = match or re.match(r"RaisedSignal:(?!53\()[0-9]+\((.+)\)", code)
    return f" ({match[1]})" if match else ""


def _limit_words(code: str) -> str:
    """The words for a limit of a QOS, an account or an association; empty if it is none."""
    match = _LIMIT.match(code)
    if match is None:
        return ""
    what = match["what"].lower()
    resource = _RESOURCES.get(what) or _RESOURCES.get(what.removesuffix("s")) or "a resource"
    if match["minutes"]:
        resource = f"{resource} x minutes"
    owner = _OWNERS.get(match["of"], "the QOS")
    if match["kind"] == "Min":
        return f"it asks for less than {owner} demands: {resource}"
    if match["kind"] == "Grp":
        return f"all jobs of {owner} together have reached its limit: {resource}"
    if match["per"]:
        return f"more than {owner} allows {_PER[match['per']]}: {resource}"
    return f"more than {owner} allows: {resource}"


def _readable(code: str) -> str:
    """``SomeNewReason`` as ``some new reason``; a sentence stays one."""
    if " " in code:
        return code
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", code).replace("_", " ")
    return " ".join(w if w.isupper() and len(w) > 1 else w.lower() for w in words.split())
