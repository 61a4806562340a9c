"""Messages of ssh(1) during a login: its progress, and why it failed."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError

#: Lines that ssh prints only with -v.
_VERBOSE = re.compile(
    r"debug\d: |OpenSSH_\d|Authenticated to |Transferred: |Bytes per second: |"
    r"Pseudo-terminal will not be allocated|Killed by signal|Exiting on signal"
)
_DENIED = re.compile(r"(?:\S*@(\S+): )?Permission denied \(([^)]*)\)")
#: ssh's name for the other end of a ProxyCommand.
_PROXY_ENDED = "UNKNOWN port"
_EXCHANGE = ("kex_exchange_identification: ", "ssh_exchange_identification: ")
_RESOLVE = re.compile(r"Could not resolve hostname (\S+): ")
_OFFENDING = re.compile(r"Offending \S+ key in (\S+):(\d+)")
_REVOKED = re.compile(r"host key for \S+ was revoked", re.IGNORECASE)
_NEW_PRINT = re.compile(r"fingerprint for the (\S+) key sent by the remote host is$")
_UNCHECKED = re.compile(r"^Error checking host key .* in (revoked keys file .+)$", re.MULTILINE)
_SHOWN = re.compile(r"debug1: Server host key: (\S+ \S+)")
_BAD_KEY = re.compile(r"^Bad server host key: (.+)$", re.MULTILINE)
_ADMINS = "ask the host's administrators"
_NETWORK = "are you on the right network, or on the VPN?"
_LATER = "it may refuse this address for a while after failed logins"
#: Texts of ssh's last lines, with the reason and the fix.
_ENDS = (
    ("Connection refused", "it refuses the connection", "is sshd running there, on this port?"),
    ("No route to host", "no route to it", _NETWORK),
    ("Network is unreachable", "no route to it", _NETWORK),
    ("Connection reset", "it reset the connection", "it may refuse this address for a while"),
    ("Connection closed by", "it closed the connection during the login", _LATER),
    ("Broken pipe", "it closed the connection during the login", _LATER),
)
_SILENT = ("timed out", "Timeout, server", "during banner exchange")


def is_verbose(line: str) -> bool:
    """Whether ssh prints a line only with -v."""
    return bool(_VERBOSE.match(line))


def is_authenticating(line: str, before: bool) -> bool:
    """Whether a host is authenticating the user after this line; ``before`` is that before it."""
    if line.startswith(("debug1: Connecting to ", "debug1: Executing proxy ", "Authenticated to ")):
        return False
    return before or line.startswith("debug1: Authenticating to ")


def login_failure(output: Sequence[str], name: str, *, typed: bool) -> VizdashError:
    """Return the error for a failed login. ``output`` is that of ssh -v; ``typed`` is whether the
    user has typed a secret.
    """
    lines = [line for line in output if not is_verbose(line)]
    text = "\n".join(lines)
    keys = [match[1] for line in output if (match := _SHOWN.match(line))]
    if error := _host_key(lines, text, name, keys[-1] if keys else ""):
        return error
    if "Too many authentication failures" in text and not typed:
        fix = "name one with IdentityFile and IdentitiesOnly in ~/.ssh/config"
        return Refused(f"login to {name}", "too many keys were offered", fix)
    if match := _DENIED.search(text):
        return _denied(match[1] or name, match[2], name, typed=typed)
    if match := _RESOLVE.search(text):
        return Unreachable(match[1], "unknown host name", "check the spelling, and DNS")
    last = lines[-1] if lines else ""
    if last.endswith(": failure") and len(lines) > 1:  # of bind(2), say
        last = lines[-2]
    words = [line for line in lines[:-1] if not line.startswith(_EXCHANGE)]
    if _PROXY_ENDED in last and words and not _known_end(words[-1]):
        return Unreachable(name, f"its ProxyCommand has ended: {words[-1]}")
    if any(silent in text for silent in _SILENT):
        return TimedOut(name, "it does not answer", _NETWORK)
    for end, why, fix in _ENDS:
        if end in text:
            return Unreachable(name, why, fix)
    return Unreachable(name, last or "ssh ended without a message", f"does `ssh {name}` work?")


def _denied(host: str, methods: str, name: str, *, typed: bool) -> Refused:
    """``host`` denied it; it may be a jump host."""
    if typed:
        return Refused(f"login to {host}", "the password or code was refused", "try again")
    fix = f"does `ssh {name}` work?"
    if "gssapi" in methods:
        fix += " Kerberos needs a ticket: run `kinit`"
    return Refused(
        f"login to {host}", f"none of your keys or tickets was accepted (it takes {methods})", fix
    )


def _known_end(line: str) -> bool:
    return any(end in line for end, _, _ in _ENDS)


def _host_key(lines: Sequence[str], text: str, name: str, key: str) -> Refused | None:
    """``key`` is the last one that a host has shown."""
    if "REVOKED HOST KEY" in text or _REVOKED.search(text):
        return Refused(f"host key of {name}", "it is revoked", _ADMINS)
    if match := _BAD_KEY.search(text):
        why = f"ssh refuses it: {match[1].strip()} (RequiredRSASize)"
        return Refused(f"host key of {name}", why, _ADMINS)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in text:
        shown, match = "another key", _OFFENDING.search(text)
        for line, after in itertools.pairwise(lines):
            if fingerprint := _NEW_PRINT.search(line):
                shown = f"{fingerprint[1]} {after.rstrip('.')}"
        why = f"it shows {shown}, not the one in {match[1]}:{match[2]}" if match else shown
        fix = f"{_ADMINS}; if the new key is right, remove that line"
        return Refused(f"the host key of {name} has changed", why, fix)
    if match := _UNCHECKED.search(text):
        why = f"ssh cannot read its {match[1].strip()}"
        return Refused(f"host key of {name}", why, "check RevokedHostKeys in ~/.ssh/config")
    if "Host key verification failed" in text:
        why = "it is not known, and ssh must not ask (StrictHostKeyChecking)"
        why += f"; it shows {key}" * bool(key)
        return Refused(f"host key of {name}", why, "compare it, then add it to known_hosts")
    return None
