"""What went wrong with a connection, in one line that names the cause and the mend."""

from __future__ import annotations

import errno
import socket

import asyncssh

from vizdash.errors import Refused, TimedOut, Unreachable, VizdashError

_ERRNO = {
    errno.ECONNREFUSED: ("it refuses the connection", "does an sshd run there, at this port?"),
    errno.EHOSTUNREACH: ("no route to it", "are you in the right network, or on the VPN?"),
    errno.ENETUNREACH: ("no route to it", "are you in the right network, or on the VPN?"),
    errno.ENETDOWN: ("the network is down", ""),
    errno.ETIMEDOUT: ("it does not answer", "are you in the right network, or on the VPN?"),
    errno.ECONNRESET: ("it reset the connection", "it may refuse this address for a while"),
    errno.EPIPE: ("the connection broke", ""),
}


def in_words(error: BaseException, host: str, *, typed: bool = False) -> VizdashError:
    """The error for a login that failed. ``typed``: a person gave a secret."""
    if isinstance(error, asyncssh.PermissionDenied):
        return _denied(error, host, typed=typed)
    if isinstance(error, TimeoutError):
        return TimedOut(host, "it does not answer", "are you in the right network, or on the VPN?")
    if isinstance(error, socket.gaierror):
        return Unreachable(host, "no host of that name is known", "check its spelling, and DNS")
    if isinstance(error, OSError):
        why, mend = _ERRNO.get(error.errno or 0, (error.strerror or str(error), ""))
        return Unreachable(host, why, mend)
    if isinstance(error, asyncssh.ChannelOpenError):
        return Unreachable(host, f"the jump host can't reach it: {error.reason}")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Unreachable(host, f"no common cipher: {error.reason}")
    if isinstance(error, asyncssh.ConnectionLost):
        mend = "it may refuse this address for a while after failed logins"
        return Unreachable(host, "it closed the connection during the login", mend)
    if isinstance(error, asyncssh.DisconnectError):
        if "too many authentication failures" in error.reason.lower():
            mend = "name one with IdentityFile and IdentitiesOnly in ~/.ssh/config"
            return Refused(f"login to {host}", "too many keys were offered", mend)
        return Unreachable(host, error.reason)
    return Unreachable(host, " ".join(str(error).split()) or type(error).__name__)


def _denied(error: asyncssh.PermissionDenied, host: str, *, typed: bool) -> VizdashError:
    what = f"login to {host}"
    if "many authentication failures" in error.reason.lower() and not typed:
        mend = "name one with IdentityFile and IdentitiesOnly in ~/.ssh/config"
        return Refused(what, "too many keys were offered", mend)
    if typed:
        return Refused(what, "the password or code was refused", "try again")
    return Refused(what, "no key of yours was accepted", f"does `ssh {host}` work?")


def lost_words(error: BaseException | None) -> str:
    """Why a connection that was up is gone."""
    if isinstance(error, asyncssh.ConnectionLost):
        reason = error.reason.strip().rstrip(".")
        if "keepalive" in reason.lower() or "timeout" in reason.lower():
            return "it does not answer any more"
        return "the connection broke"
    if isinstance(error, asyncssh.DisconnectError):
        return f"it ended the connection: {error.reason}"
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0, (error.strerror or "the connection broke", ""))[0]
    return "it ended the connection"
