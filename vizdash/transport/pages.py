"""One-use pages before a session's own, for browsers that can't read a file of this machine."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from pathlib import Path

from vizdash.transport.base import Reader
from vizdash.transport.listener import Dial, Listener

_HEAD = """HTTP/1.1 {status}\r
Content-Type: text/html; charset=utf-8\r
Content-Length: {length}\r
Cache-Control: no-store\r
Referrer-Policy: no-referrer\r
Connection: close\r
\r
"""
_USED = "<!doctype html><title>vizdash</title><p>This page works once: open it again in vizdash."
#: A request's first line is in its first packet; nobody gets to hold one open for longer.
_FIRST_S = 10.0


class PageListener(Listener):
    """A listener that answers ``/open/TOKEN`` itself, once, and leads everything else on.

    The page's address may be seen by other users of this machine (in the argv of whatever starts
    the browser), so it is given to nobody but processes of our own, as far as the system can
    tell whose a connection is.
    """

    def __init__(self, dial: Dial | str, port: int = 0) -> None:
        super().__init__(dial, port)
        self._pages: dict[str, str] = {}
        self._ever = False

    def offer(self, page: str) -> str:
        """Have a page (HTML) ready; returns its address, which says nothing of what is in it."""
        token = secrets.token_urlsafe(16)
        self._pages[token] = page
        self._ever = True
        return f"http://127.0.0.1:{self.port}/open/{token}"

    async def _first(self, reader: Reader, writer: asyncio.StreamWriter) -> bytes | None:
        if not self._ever:
            return b""
        async with asyncio.timeout(_FIRST_S):
            data = await reader.read(1 << 16)
        verb, _, rest = data.partition(b" ")
        target = rest.partition(b" ")[0].decode("latin-1")
        if verb != b"GET" or not target.startswith("/open/"):
            return data
        peer = writer.get_extra_info("peername")
        mine = await asyncio.to_thread(owner_of, peer[1]) in {None, os.getuid()}
        page = self._pages.pop(target.removeprefix("/open/"), None) if mine else None
        status = "200 OK" if page else "410 Gone"
        body = (page or _USED).encode()
        writer.write(_HEAD.format(status=status, length=len(body)).encode() + body)
        await writer.drain()
        return None


def owner_of(port: int) -> int | None:
    """The user id of the process that connects from ``port`` of 127.0.0.1 (proc(5), /proc/net/tcp);
    None where the system does not tell.
    """
    address = socket.inet_aton("127.0.0.1")[::-1].hex().upper()
    try:
        rows = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    except OSError:
        return None
    for row in rows:
        words = row.split()
        if words[1] == f"{address}:{port:04X}":
            return int(words[7])
    return None
