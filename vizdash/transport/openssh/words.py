"""What ssh(1) prints during a login: how far it has come, and why it failed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError

#: What -v adds for the person who looks for a fault.
_VERBOSE = re.compile(
    r"debug\d: |OpenSSH_\d|Authenticated to |Transferred: |Bytes per second: |"
    r"Pseudo-terminal will not be allocated|Killed by signal|Exiting on signal"
)
_DENIED = re.compile(r"(?:\S*@(\S+): )?Permission denied \(([^)]*)\)")
#: How a connection through a ProxyCommand ends when that does.
#: How ssh calls the other end of a ProxyCommand.
_PROXY_ENDED = "UNKNOWN port"
_EXCHANGE = ("kex_exchange_identification: ", "ssh_exchange_identification: ")
_RESOLVE = re.compile(r"Could not resolve hostname (\S+?):")
_OFFENDING = re.compile(r"Offending \S+ key in (\S+):(\d+)")
_REVOKED = re.compile(r"host key for \S+ was revoked", re.IGNORECASE)
_NEW_PRINT = re.compile(r"fingerprint for the (\S+) key sent by the remote host is$")
_ADMINS = "ask the host's administrators"
_NETWORK = "are you in the right network, or on the VPN?"
_LATER = "it may refuse this address for a while after failed logins"
#: Words of ssh's last lines: why, and the fix.
_ENDS = (
    ("Connection refused", "it refuses the connection", "does an sshd run there, at this port?"),
    ("No route to host", "no route to it", _NETWORK),
    ("Network is unreachable", "no route to it", _NETWORK),
    ("Connection reset", "it reset the connection", "it may refuse this address for a while"),
    ("Connection closed by", "it closed the connection during the login", _LATER),
    ("Broken pipe", "it closed the connection during the login", _LATER),
)
_SILENT = ("timed out", "Timeout, server", "during banner exchange")


def is_verbose(line: str) -> bool:
    """Whether a line is there for -v alone."""
    return bool(_VERBOSE.match(line))


def authenticates(line: str, before: bool) -> bool:
    """Whether a host decides on a person after this line: it has been reached, and has not let
    them in yet. ``before`` is what held before it.
    """
    if line.startswith(("debug1: Connecting to ", "debug1: Executing proxy ", "Authenticated to ")):
        return False
    return before or line.startswith("debug1: Authenticating to ")


def login_failure(lines: Sequence[str], name: str, *, typed: bool) -> VizdashError:
    """The error for a login that ssh has given up. ``lines`` are what it printed, but for what -v
    adds; ``typed`` is whether a person gave a secret.
    """
    text = "\n".join(lines)
    if error := _host_key(lines, text, name):
        return error
    if "Too many authentication failures" in text and not typed:
        fix = "name one with IdentityFile and IdentitiesOnly in ~/.ssh/config"
        return Refused(f"login to {name}", "too many keys were offered", fix)
    if match := _DENIED.search(text):
        return _denied(match[1] or name, match[2], name, typed=typed)
    if match := _RESOLVE.search(text):
        return Unreachable(match[1], "no host of that name is known", "check its spelling, and DNS")
    last = lines[-1] if lines else ""
    words = [line for line in lines[:-1] if not line.startswith(_EXCHANGE)]
    if _PROXY_ENDED in last and words and not _known_end(words[-1]):
        return Unreachable(name, f"its ProxyCommand ended: {words[-1]}")
    if any(silent in text for silent in _SILENT):
        return TimedOut(name, "it does not answer", _NETWORK)
    for end, why, fix in _ENDS:
        if end in text:
            return Unreachable(name, why, fix)
    return Unreachable(name, last or "ssh ended without a word", f"does `ssh {name}` work?")


def _denied(host: str, methods: str, name: str, *, typed: bool) -> Refused:
    """``host`` is who denies it: one on the way, perhaps."""
    if typed:
        return Refused(f"login to {host}", "the password or code was refused", "try again")
    fix = f"does `ssh {name}` work?"
    if "gssapi" in methods:
        fix += " Kerberos wants a ticket: run `kinit`"
    return Refused(f"login to {host}", f"nothing of yours was accepted (it takes {methods})", fix)


def _known_end(line: str) -> bool:
    return any(end in line for end, _, _ in _ENDS)


def _host_key(lines: Sequence[str], text: str, name: str) -> Refused | None:
    if "REVOKED HOST KEY" in text or _REVOKED.search(text):
        return Refused(f"host key of {name}", "it is revoked", _ADMINS)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        shown, match = "another key", _OFFENDING.search(text)
        for line, after in itertools.pairwise(lines):
            if found := _NEW_PRINT.search(line):
                shown = f"{found[1]} {after.rstrip('.')}"
        why = f"it shows {shown}, not the one in {match[1]}:{match[2]}" if match else shown
        fix = f"{_ADMINS}; if it is right, remove that line"
        return Refused(f"the host key of {name} has changed", why, fix)
    if "Host key verification failed" in text:
        why = "it is not known, and ssh's settings ask nobody (StrictHostKeyChecking)"
        return Refused(f"host key of {name}", why, "compare it, then add it to known_hosts")
    return None
