"""A shared desktop, as its owner's vizdash holds it.

assets/nodes/share.py is its door on a login host: a program at the other end of a pipe, which
passes on the connections of one user. What they may see and do is decided here, where the passwords
of the session are. The share ends with this process, the session, its time, or a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from vizdash.errors import Refused, Unreachable, VizdashError
from vizdash.sessions.folder import Connection
from vizdash.sessions.shared_desktop import serve_guest
from vizdash.transport.base import Forward, PipeRunner, Reader, Writer
from vizdash.transport.job_step import Relay, RelayStream
from vizdash.transport.websocket import accept_websocket, header_values, through_websocket
from vizdash.util.assets import EXEC_PYTHON, node_script

#: Runs a program by Python, with its arguments.
RUN_PYTHON = EXEC_PYTHON + 'echo "there is no python3 on $(uname -n)" >&2; exit 127'
_PASSWORD = string.ascii_letters + string.digits
#: The request that stays open as long as the share does.
PRESENT = "/.vizdash/present"
#: Bytes of a request's head, and seconds for it and for a page of noVNC.
_HEAD_LIMIT, _REQUEST_S = 16 << 10, 60.0
#: Seconds in which a guest's end of a connection has to close after its last byte.
_CLOSE_S = 10.0
_CHUNK = 1 << 16
#: Paths of noVNC's files.
_FILE = re.compile(rb"(?:/[\w-][\w.-]*)+(?:\?[\w.=&%-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ShareTerms:
    """What is shared with whom: ``control`` is whether the guest may use mouse and keyboard,
    ``expires_at`` (seconds since the epoch) when it ends by itself (None: with the session).
    """

    session: str
    job_id: str
    app: str
    guest: str
    control: bool
    expires_at: int | None


class HeldShare:
    """A share that this process holds. ``host`` and ``folder`` are where its door is; ``watching``
    counts the guest's viewers, and ``on_change`` is called when it has changed.
    """

    def __init__(self, terms: ShareTerms, connection: Connection, forward: Forward) -> None:
        """``forward`` leads to the session's web server; it is closed with the share."""
        self.terms = terms
        self.host = self.folder = ""
        self.watching = 0
        self.on_change: Callable[[], None] | None = None
        self._connection = connection
        self._forward = forward
        self._password = "".join(secrets.choice(_PASSWORD) for _ in range(8))
        self._relay: Relay | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._requested = asyncio.Event()

    async def start(self, runner: PipeRunner) -> None:
        """Open the door by ``runner``. Raises Refused with the reason where it can't be opened."""
        texts = [node_script(name).read_text(encoding="utf-8") for name in ("share.py", "relay.py")]
        argv = ("sh", "-c", RUN_PYTHON, "sh", texts[0], "serve", texts[1], self.terms.guest)
        what = f"session {self.terms.session} was not shared"
        try:
            self._relay = Relay(await runner.pipe(argv), what=what, accept=self._accept)
            await self._relay.wait_ready()
        except Unreachable as e:
            await self._close_relay()
            raise Refused(what, e.why or e.what) from e
        except BaseException:
            await asyncio.shield(self._close_relay())
            raise
        self.host, _, self.folder = self._relay.hello.decode(errors="replace").partition(" ")

    async def wait_lost(self) -> str:
        """Wait until it is over, and return why; empty where another vizdash requested its end."""
        assert self._relay is not None
        ends = {
            asyncio.create_task(self._wait_requested()),
            asyncio.create_task(self._relay.wait()),
            asyncio.create_task(self._forward.wait_lost()),
            asyncio.create_task(self._wait_expired()),
        }
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return "" if self._requested.is_set() else done.pop().result() or "its door was closed"
        finally:
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)

    async def _wait_requested(self) -> str:
        await self._requested.wait()
        return ""

    async def _wait_expired(self) -> str:
        if self.terms.expires_at is None:
            await asyncio.Event().wait()
            return ""
        await asyncio.sleep(max(0.0, self.terms.expires_at - time.time()))
        return "its time is over"

    @property
    def ended_on_request(self) -> bool:
        """Whether another vizdash requested its end."""
        return self._requested.is_set()

    def request_end(self) -> None:
        """End it at the request of another vizdash: ``wait_lost`` returns."""
        self._requested.set()

    async def close(self) -> None:
        """End it: the guest's streams break off, and nothing of it is left on the login host."""
        await self._close_relay()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._forward.close()

    async def _close_relay(self) -> None:
        if self._relay is not None:
            await self._relay.close()

    # ------------------------------------------------------------------ the guest's connections

    def _accept(self, stream: RelayStream, door: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(stream, door))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: RelayStream, door: bytes) -> None:
        try:
            with contextlib.suppress(OSError, VizdashError, TimeoutError):
                await (self._answer(stream) if door == b"ask" else self._serve_request(stream))
                # Closing at once would drop what is still on its way.
                stream.write_eof()
                async with asyncio.timeout(_CLOSE_S):
                    while await stream.read(_CHUNK):
                        pass
        finally:
            stream.close()

    async def _answer(self, stream: RelayStream) -> None:
        """Tell the guest's vizdash what is shared; for "join", the password as well. A browser
        never gets here: the guest's port leads to the other socket only.
        """
        async with asyncio.timeout(_REQUEST_S):
            word = await stream.read(64)
        about: dict[str, object] = {"schema": 1, **asdict(self.terms)}
        if word == b"join\n":
            about["password"] = self._password
        stream.write(json.dumps(about).encode())

    async def _serve_request(self, stream: RelayStream) -> None:
        """Answer one HTTP request: a file of noVNC's, or the WebSocket with the desktop."""
        async with asyncio.timeout(_REQUEST_S):
            head, ahead = await _read_head(stream)
        first, *fields = head.split(b"\r\n")
        verb, _, rest = first.partition(b" ")
        path = rest.partition(b" ")[0]
        if verb != b"GET":
            stream.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        elif path == PRESENT.encode():
            stream.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            await stream.read(1)
        elif guest := accept_websocket(header_values(fields), stream, stream, ahead):
            await self._show_desktop(guest)
        elif _FILE.fullmatch(path):
            await self._send_file(stream, path)
        else:
            stream.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async def _show_desktop(self, guest: tuple[Reader, Writer]) -> None:
        terms, connection = self.terms, self._connection
        await serve_guest(
            guest,
            self._password,
            through_websocket(self._forward.dial),
            connection.password if terms.control else connection.view_password,
            control=terms.control,
            watches=self._count,
        )

    async def _send_file(self, stream: RelayStream, path: bytes) -> None:
        """Pass on a file that the session's own web server has."""
        reader, writer = await self._forward.dial()
        try:
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n")
            writer.write(b"Connection: close\r\n\r\n")
            async with asyncio.timeout(_REQUEST_S):
                while data := await reader.read(_CHUNK):
                    stream.write(data)
                    await stream.drain()
        finally:
            writer.close()

    def _count(self, more: int) -> None:
        self.watching += more
        if self.on_change is not None:
            self.on_change()


async def _read_head(stream: Reader) -> tuple[bytes, bytes]:
    """A request's head, and what followed it. Raises OSError for what is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.read(_CHUNK)
        if not part or len(data) > _HEAD_LIMIT:
            raise ConnectionResetError("no request")
        data += part
    head, _, ahead = data.partition(b"\r\n\r\n")
    return head, ahead
