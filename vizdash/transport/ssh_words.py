"""What ssh(1) says when it can't reach a node, in words that name the cause and the fix."""

from __future__ import annotations

import re

from vizdash.errors import HostKeyRefused, LoginRefused, Unreachable, last_line

_UNKNOWN = "Host key verification failed"
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_REVOKED = re.compile(r"host key for \S+ was revoked", re.IGNORECASE)
_OFFENDING = re.compile(r"Offending \S+ key in (\S+):(\d+)")
#: sshd's words for who may not log in, those of pam_slurm_adopt(8), and those of a host that takes
#: no more attempts (sshd_config(5), PerSourcePenalties, MaxStartups).
_REFUSED = (
    "Permission denied (",
    "Access denied",
    "Too many authentication failures",
    "Not allowed at this time",
    "Connection closed by",
    "Connection reset by",
)
_FILES = "~/.ssh/known_hosts or /etc/ssh/ssh_known_hosts"


def node_failure(what: str, node: str, stderr: str, *, where: str = "") -> Unreachable:
    """The error for an ssh(1) to a node that ended with code 255.

    ``where`` is the host that it ran on ("" for this one): its known_hosts files count. ssh, which
    is to ask nobody, says no more of an unknown host key than that it failed.
    """
    on = f" on {where}" if where else ""
    if _CHANGED in stderr:
        match = _OFFENDING.search(stderr)
        line = f"{match[1]}:{match[2]}" if match else _FILES
        why = f"its host key is not the one in {line}{on}"
        return HostKeyRefused(what, why, "ask its administrators; if it is right, remove that line")
    if _REVOKED.search(stderr):
        return HostKeyRefused(what, f"its host key is revoked{on}", "ask its administrators")
    if _UNKNOWN in stderr:
        why = f"its host key is in neither {_FILES.replace(' or ', ' nor ')}{on}"
        fix = f"run `ssh {node}`{on or ' here'} once and compare the fingerprint"
        return HostKeyRefused(what, why, fix)
    # ssh_config(5): "terminating, 1 bad configuration options" comes after the line that is bad.
    lines = [line for line in stderr.splitlines() if ": terminating, " not in line]
    why = last_line("\n".join(lines)) or "ssh ended without a word"
    kind = LoginRefused if any(words in stderr for words in _REFUSED) else Unreachable
    return kind(what, why, f"does `ssh {node}`{on} work for you?")
