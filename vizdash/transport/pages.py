"""One-use pages before a session's own, for browsers that can't read a file of this machine."""

from __future__ import annotations

import asyncio
import secrets

from vizdash.transport import peers
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
_USED = "<!doctype html><title>vizdash</title><p>This page works once: open it again in vizdash."
#: A request's first line is in its first packet; nobody gets to hold one open for longer.
_FIRST_S = 10.0


class PageListener(Listener):
    """A listener that answers ``/open/TOKEN`` itself, once, and leads everything else on.

    The page's address may be seen by other users of this machine (in the argv of whatever starts
    the browser), so the page is given only to processes of this user. Where the system does not
    show whose a connection is (``peers.can_identify``), there are no pages.
    """

    def __init__(self, dial: Dial | str, port: int = 0) -> None:
        super().__init__(dial, port)
        self._pages: dict[str, str] = {}
        self._ever = False
        #: Set once a page has been given away.
        self.taken = asyncio.Event()

    def offer(self, page: str) -> str:
        """Have a page (HTML) ready; returns its address, which says nothing of what is in it, or
        an empty text where pages can't be kept from other users.
        """
        if not peers.can_identify():
            return ""
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
        ends = (writer.get_extra_info(name)[:2] for name in ("peername", "sockname"))
        mine = await asyncio.to_thread(peers.is_ours, *ends)
        page = self._pages.pop(target.removeprefix("/open/"), None) if mine else None
        status = "200 OK" if page else "410 Gone"
        body = (page or _USED).encode()
        writer.write(_HEAD.format(status=status, length=len(body)).encode() + body)
        await writer.drain()
        if page:
            self.taken.set()
        return None


class OnePage(PageListener):
    """A listener that has a page and nothing else: for a session that needs no tunnel."""

    def __init__(self) -> None:
        super().__init__(self._nothing)

    @staticmethod
    async def _nothing() -> tuple[Reader, Writer]:
        raise ConnectionRefusedError
