"""Errors of asyncssh as one line with the cause and the fix."""

from __future__ import annotations

import errno
import socket

import asyncssh

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError

_ERRNO = {
    errno.ECONNREFUSED: ("it refuses the connection", "is sshd running there, on this port?"),
    errno.EHOSTUNREACH: ("no route to it", "are you on the right network, or on the VPN?"),
    errno.ENETUNREACH: ("no route to it", "are you on the right network, or on the VPN?"),
    errno.ENETDOWN: ("the network is down", ""),
    errno.ETIMEDOUT: ("it does not answer", "are you on the right network, or on the VPN?"),
    errno.ECONNRESET: ("it reset the connection", "it may refuse this address for a while"),
    errno.EPIPE: ("the connection broke", ""),
}


def login_error(error: BaseException, host: str, *, typed: bool = False) -> VizdashError:
    """Return the error for a failed login. ``typed``: the user has typed a secret."""
    if isinstance(error, asyncssh.PermissionDenied):
        return _denied(error, host, typed=typed)
    if isinstance(error, TimeoutError):
        return TimedOut(host, "it does not answer", "are you on the right network, or on the VPN?")
    if isinstance(error, socket.gaierror):
        return Unreachable(host, "unknown host name", "check the spelling, and DNS")
    if isinstance(error, OSError):
        why, fix = _ERRNO.get(error.errno or 0, (error.strerror or str(error), ""))
        return Unreachable(host, why, fix)
    if isinstance(error, asyncssh.ChannelOpenError):
        return Unreachable(host, f"the jump host can't reach it: {error.reason}")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Unreachable(host, f"no common cipher: {error.reason}")
    if isinstance(error, asyncssh.ConnectionLost):
        fix = "it may refuse this address for a while after failed logins"
        return Unreachable(host, "it closed the connection during the login", fix)
    if isinstance(error, asyncssh.DisconnectError):
        if "too many authentication failures" in error.reason.lower():
            fix = "name one with IdentityFile and IdentitiesOnly in ~/.ssh/config"
            return Refused(f"login to {host}", "too many keys were offered", fix)
        return Unreachable(host, error.reason)
    return Unreachable(host, " ".join(str(error).split()) or type(error).__name__)


def explain_batch(error: Refused, host: str) -> Refused:
    """Return the error for a login that was refused while BatchMode is set (ssh_config(5))."""
    why = f"{error.why}; BatchMode is yes in your ssh settings, so nothing is asked"
    return Refused(error.what, why, f"does `ssh -o BatchMode=no {host}` work?")


def _denied(error: asyncssh.PermissionDenied, host: str, *, typed: bool) -> VizdashError:
    what = f"login to {host}"
    if "many authentication failures" in error.reason.lower() and not typed:
        fix = "name one with IdentityFile and IdentitiesOnly in ~/.ssh/config"
        return Refused(what, "too many keys were offered", fix)
    if typed:
        return Refused(what, "the password or code was refused", "try again")
    return Refused(what, "none of your keys was accepted", f"does `ssh {host}` work?")


def describe_loss(error: BaseException | None) -> str:
    """Return the reason why a connection was lost."""
    if isinstance(error, asyncssh.ConnectionLost):
        reason = error.reason.strip().rstrip(".")
        if "keepalive" in reason.lower() or "timeout" in reason.lower():
            return "it no longer answers"
        return "the connection broke"
    if isinstance(error, asyncssh.DisconnectError):
        return f"it ended the connection: {error.reason}"
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0, (error.strerror or "the connection broke", ""))[0]
    return "it ended the connection"
