"""Handing a desktop to the browser on a person's own computer: the line that they run there."""

from __future__ import annotations

import os
import platform
import shlex
import socket
from collections.abc import Mapping

#: Below every system's own range of passing ports (Linux from 32768, macOS and Windows from 49152).
_FIRST_PORT, _PORTS = 20000, 12000


def local_port(session_id: str, attempt: int = 0) -> int:
    """The port on the person's computer: always the same one for a session, so that the line and
    the browser's tab can be used again; ``attempt`` gives another where that one is taken.
    """
    return _FIRST_PORT + (int(session_id or "0", 16) + attempt) % _PORTS


def this_host(template: str = "") -> str:
    """The name by which a person reaches this very host, not its round-robin alias.

    ``template`` is the site's word for it, with ``{host}`` for the short host name; without one
    it is the fully qualified name where there is one. It may ask a name server.
    """
    name = platform.node()
    short = name.partition(".")[0]
    if template:
        return template.replace("{host}", short)
    full = name if "." in name else socket.getfqdn(name)
    return full if full.partition(".")[0] == short and "localhost" not in full else name


def server_port(environ: Mapping[str, str] = os.environ) -> int:
    """The port of the sshd that the person came in by (ssh(1), SSH_CONNECTION); else 22."""
    words = environ.get("SSH_CONNECTION", "").split()
    return int(words[3]) if len(words) == 4 and words[3].isdecimal() else 22


def ssh_line(port: int, path: str, user: str, host: str, ssh_port: int = 22) -> str:
    """``ssh -N -L PORT:SOCKET user@host`` (ssh(1), -L): no shell, just the way to the socket."""
    other = ["-p", str(ssh_port)] if ssh_port != 22 else []
    return shlex.join(["ssh", "-N", *other, "-L", f"{port}:{path}", f"{user}@{host}"])
