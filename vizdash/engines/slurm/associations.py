"""Limits of associations and QOS from slurmctld's cache (assoc_mgr), default QOS from slurmdbd."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from vizdash.engines.slurm import values
from vizdash.engines.slurm.parse import one_lines

#: The QOS of a job whose association names none.
_USUAL_QOS = "normal"


def wall_limit(
    answer: str, user: str, account: str, qos: Collection[str], partition_qos: str = ""
) -> int | None:
    """The longest time limit (MaxWallPJ, in minutes) of a user's association with ``account``, of
    each ``qos`` and of the partition's QOS, in seconds, from ``scontrol show assoc_mgr
    flags=users,assoc,qos``; None for no limit. An empty account is the user's default one, an empty
    ``partition_qos`` none.
    """
    account = account or default_account(answer, user)
    limits = [
        record.get("MaxWallPJ", "")
        for record in one_lines(answer, "ClusterName")
        if _named(record, "UserName") == user and record.get("Account") == account
    ]
    limits += [
        record.get("MaxWallPJ", "")
        for record in one_lines(answer, "QOS")
        if _named(record, "QOS") in {*qos, partition_qos}
    ]
    return min((values.number(text) * 60 for text in limits if values.number(text)), default=None)


def default_account(answer: str, user: str) -> str:
    """The user's default account, from the same answer; empty where it is not there."""
    accounts = (
        record.get("DefAccount", "")
        for record in one_lines(answer, "UserName")
        if _named(record, "UserName") == user
    )
    return next(accounts, "")


def default_qos(answer: str, account: str) -> frozenset[str]:
    """The QOS that a job of ``account`` gets when it requests none, from ``sacctmgr show
    associations`` (one ``account|default|allowed`` for each association of the user, inherited
    values included): the association's default, else the only one that it allows, else ``normal``.
    They may differ by partition, so there may be several.
    """
    names = set()
    for line in answer.splitlines():
        name, _, rest = line.partition("|")
        default, _, allowed = rest.partition("|")
        if name == account and rest:
            only = allowed if "," not in allowed else ""
            names.add(default or only or _USUAL_QOS)
    return frozenset(names or {_USUAL_QOS})


def lifts_time_limit(answer: str, qos: Collection[str]) -> bool:
    """Whether jobs of one of ``qos`` may be longer than their partition allows (sacctmgr(1), flag
    "PartitionTimeLimit"), from ``sacctmgr show qos``: a ``name|flags`` for each.
    """
    known = {name.casefold() for name in qos}  # Slurm stores them in lower case
    rows = (line.partition("|") for line in answer.splitlines())
    return any(
        name in known and "PartitionTimeLimit" in flags.split(",") for name, _, flags in rows
    )


def _named(record: Mapping[str, str], key: str) -> str:
    """A name without the number that follows it in parentheses."""
    return re.sub(r"\([0-9]+\)\Z", "", record.get(key, ""))
