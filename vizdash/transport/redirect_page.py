"""The one-use page that gives the user's own browser, and nobody else, the secret address."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import secrets
import sys
from pathlib import Path

from typing_extensions import override

from vizdash.transport.base import Reader, Writer
from vizdash.transport.listener import Dial, Listener

_HEAD = """HTTP/1.1 {status}\r
Content-Type: text/html; charset=utf-8\r
Content-Length: {length}\r
Cache-Control: no-store\r
Referrer-Policy: no-referrer\r
Connection: close\r
\r
"""
_OTHERS = "<!doctype html><title>vizdash</title><p>This address is another user's."
_USED = "<!doctype html><title>vizdash</title><p>This page works once: open it again in vizdash."
#: Seconds in which a client has to send its request.
_FIRST_S = 10.0


class PageListener(Listener):
    """A listener that serves ``/open/TOKEN`` itself, once, and relays everything else.

    Other users of this machine may see the page's address (in the argv of the browser), so the page
    is served to this user's processes only. There are no pages on a system that does not show the
    owner of a connection (``can_identify``).
    """

    def __init__(self, dial: Dial | str, port: int = 0) -> None:
        super().__init__(dial, port)
        self._pages: dict[str, str] = {}
        self._has_offered = False
        #: Set when a page has been served.
        self.taken = asyncio.Event()

    def offer(self, page: str) -> str:
        """Offer a page (HTML) and return its address, which reveals nothing of its content; empty
        where pages cannot be kept from other users.
        """
        if not can_identify():
            return ""
        token = secrets.token_urlsafe(16)
        self._pages[token] = page
        self._has_offered = True
        return f"http://127.0.0.1:{self.port}/open/{token}"

    @override
    async def _handle_first(self, reader: Reader, writer: asyncio.StreamWriter) -> bytes | None:
        if not self._has_offered:
            return b""
        async with asyncio.timeout(_FIRST_S):
            data = await reader.read(1 << 16)
        verb, _, rest = data.partition(b" ")
        target = rest.partition(b" ")[0].decode("latin-1")
        if verb != b"GET" or not target.startswith("/open/"):
            return data
        mine = await _is_made_by_us(writer)
        page = self._pages.pop(target.removeprefix("/open/"), None) if mine else None
        await _answer(writer, "200 OK" if page else "410 Gone", page or _USED)
        if page:
            self.taken.set()
        return None


class BrowserListener(PageListener):
    """A PageListener that relays this user's processes only, on a system that shows the owner of a
    connection (``can_identify``): a browser sends the cookie of a service to every port of
    127.0.0.1 (RFC 6265, 8.5), so another user's server there may learn it.
    """

    @override
    async def _handle_first(self, reader: Reader, writer: asyncio.StreamWriter) -> bytes | None:
        if not can_identify() or await _is_made_by_us(writer):
            return await super()._handle_first(reader, writer)
        async with asyncio.timeout(_FIRST_S):
            await reader.read(1 << 16)
        await _answer(writer, "403 Forbidden", _OTHERS)
        return None


async def _answer(writer: Writer, status: str, page: str) -> None:
    body = page.encode()
    writer.write(_HEAD.format(status=status, length=len(body)).encode() + body)
    await writer.drain()


async def _is_made_by_us(writer: asyncio.StreamWriter) -> bool:
    """Whether a process of this user made a connection to a listener."""
    ends = (writer.get_extra_info(name)[:2] for name in ("peername", "sockname"))
    return await asyncio.to_thread(is_ours, *ends)


class OwnListener(Listener):
    """A listener for this user's processes only, on a system that shows the owner of a connection
    (``can_identify``): for a server without a password.
    """

    @override
    async def _handle_first(self, reader: Reader, writer: asyncio.StreamWriter) -> bytes | None:
        return b"" if not can_identify() or await _is_made_by_us(writer) else None


class OnePage(PageListener):
    """A listener that serves a page and nothing else, for a session that needs no tunnel."""

    def __init__(self) -> None:
        super().__init__(self._refuse)

    @staticmethod
    async def _refuse() -> tuple[Reader, Writer]:
        raise ConnectionRefusedError


#: The kernel's tables of TCP sockets (proc(5)): IPv4, and IPv6 with IPv4 connections made by IPv6
#: sockets (``::ffff:127.0.0.1``).
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_KERNEL = Path("/proc/sys/kernel/osrelease")

#: An address and a port, as sockets report them.
Address = tuple[str, int]


def can_identify() -> bool:
    """Whether this system shows the owner of a connection: Linux does, macOS does not."""
    return all(table.is_file() for table in _TABLES[:1])


def owner_of(peer: Address, ours: Address) -> int | None:
    """Return the user id of the process that connected from ``peer`` to ``ours``; None when no
    open socket with exactly these two ends is listed.
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
            if words[9] != "0" and (_parse_address(words[1]), _parse_address(words[2])) == ends:
                return int(words[7])
    return None


def is_ours(peer: Address, ours: Address) -> bool:
    """Whether a process of this user made the connection; False for a peer that is not listed.

    In the Windows Subsystem for Linux, a process of root relays the connections of a Windows
    browser.
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


def _parse_address(text: str) -> Address:
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
