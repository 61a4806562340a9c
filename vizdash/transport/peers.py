"""Whose the other end of a TCP connection of this machine is, as the kernel lists it."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

#: The kernel's tables of TCP sockets (proc(5)): IPv4, and IPv6 with IPv4 connections made by IPv6
#: sockets (``::ffff:127.0.0.1``).
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_KERNEL = Path("/proc/sys/kernel/osrelease")

#: An address and a port, as sockets report them.
Address = tuple[str, int]


def can_identify() -> bool:
    """Whether this system shows who owns a connection: Linux does, macOS does not."""
    return all(table.is_file() for table in _TABLES[:1])


def owner_of(peer: Address, ours: Address) -> int | None:
    """The user id of the process that connected from ``peer`` to our ``ours``; None when no
    socket with exactly these two ends is listed (or it has been closed by its process).
    """
    ends = (_plain(peer), _plain(ours))
    for table in _TABLES:
        try:
            rows = table.read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for row in rows:
            # sl, local address, remote address, state, queues, timer, retransmits, uid, timeout,
            # inode; a socket that no process holds any more has the inode 0 and uid 0.
            words = row.split()
            if words[9] != "0" and (_listed(words[1]), _listed(words[2])) == ends:
                return int(words[7])
    return None


def is_ours(peer: Address, ours: Address) -> bool:
    """Whether a process of this user made the connection. A peer that is not listed is not ours.

    In the Windows Subsystem for Linux a connection of a Windows browser is relayed by a process
    of root's.
    """
    owner = owner_of(peer, ours)
    return owner == os.geteuid() or (owner == 0 and _in_wsl())


def _in_wsl() -> bool:
    try:
        return "microsoft" in _KERNEL.read_text("ascii").lower()
    except (OSError, UnicodeDecodeError):
        return False


def _plain(address: Address) -> Address:
    return _unmapped(ipaddress.ip_address(address[0].partition("%")[0])), address[1]


def _listed(text: str) -> Address:
    """``0100007F:1F90`` as 127.0.0.1 and 8080: each 32-bit word in the machine's byte order."""
    address, _, port = text.partition(":")
    raw = bytes.fromhex(address)
    words = [raw[at : at + 4] for at in range(0, len(raw), 4)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return _unmapped(ipaddress.ip_address(b"".join(words))), int(port, 16)


def _unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
